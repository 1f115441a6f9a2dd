import inspect
import re

import numpy as np
import pytest

import gpucnn as g
from gpucnn.errors import UsageError
from gpucnn.initializers import undrawn
from gpucnn.models import MODELS, model_class
from gpucnn.summary import summarize

RESNET20 = 432 + 32 + (6 * 2304 + 192) + (4608 + 5 * 9216 + 384) + (18432 + 5 * 36864 + 768) + 650
RESNET56 = 432 + 32 + (18 * 2304 + 576) + (4608 + 17 * 9216 + 1152) + (18432 + 17 * 36864 + 2304) + 650
RESNET110 = 432 + 32 + (36 * 2304 + 1152) + (4608 + 35 * 9216 + 2304) + (18432 + 35 * 36864 + 4608) + 650
DENSE = [sum((9 * 12 + 2) * (ci + 12 * i) for i in range(6)) for ci in (16, 88, 160)]


def inception(ci, one, three_before, three, five_before, five, after_pool):
    """Weights without biases and two numbers of batch normalisation for each output: a quarter of the channels."""
    ci, one, three_before, three, five_before, five, after_pool = (
        size // 4 for size in (ci, one, three_before, three, five_before, five, after_pool)
    )
    weights = ci * (one + three_before + five_before + after_pool) + 9 * three_before * three + 25 * five_before * five
    return weights + 2 * (one + three_before + three + five_before + five + after_pool)


INCEPTION = [
    inception(192, 64, 96, 128, 16, 32, 32),
    inception(256, 128, 128, 192, 32, 96, 64),
    inception(480, 192, 96, 208, 16, 48, 64),
    inception(512, 160, 112, 224, 24, 64, 64),
    inception(512, 128, 128, 256, 24, 64, 64),
    inception(512, 112, 144, 288, 32, 64, 64),
    inception(528, 256, 160, 320, 32, 128, 128),
    inception(832, 256, 160, 320, 32, 128, 128),
    inception(832, 384, 192, 384, 48, 128, 128),
]
GOOGLENET = 27 * 48 + 96 + sum(INCEPTION) + 2570
AUXILIARY = [ci * 32 + 64 + 128 * 256 + 256 + 2570 for ci in (128, 132)]

PARAMETERS = {  # published, or counted by hand from the layers
    "lenet": 62_006,
    "lenet-1998": 61_706,
    "alexnet": 62_378_344,
    "alexnet-grouped": 60_965_224,
    "alexnet-lite": 2_310_154,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg-lite": 896 + 9248 + 18496 + 36928 + 73856 + 147584 + 524544 + 2570,
    "googlenet": 6_998_552,
    "googlenet-lite": GOOGLENET,
    "googlenet-lite-aux": GOOGLENET + sum(AUXILIARY),
    "resnet20": RESNET20,
    "resnet56": RESNET56,
    "resnet110": RESNET110,
    "plain20": RESNET20,
    "plain56": RESNET56,
    "densenet-lite": 432 + sum(DENSE) + (176 + 88**2) + (320 + 160**2) + 464 + 2330,
    "vit-tiny": (6272 + 64 * 128) + 6 * (4 * 128**2 + 4 * 128 + 2 * 128 * 256 + 3 * 128 + 4 * 128) + 256 + 1290,
    "simplecnn": 94_538,
    "mnist-cnn": 21_840,
    "tinytorch-cifar": 612_234,
    "mlp": 3072 * 512 + 512 + 512 * 256 + 256 + 2570,
    "linear": 30_730,
    "tinydigits-cnn": 810,
    "tinydigits-mlp": 2_410,
}
DEEP = "resnet56", "resnet110", "plain56"  # resnet20 with more of the same
SMALL = [name for name in MODELS if not MODELS[name].for_imagenet and name not in DEEP]


@pytest.mark.parametrize("name", MODELS)
def test_parameters(name):
    with undrawn():
        model = MODELS[name]()
    count = sum(p.data.size for p in model.parameters())
    assert count == PARAMETERS[name]
    doc = MODELS[name].__doc__
    assert f"{count:,} parameters" in doc, doc


def test_the_auxiliary_classifiers_of_googlenet():
    with undrawn():
        model = type("WithAuxiliary", (MODELS["googlenet"],), {"auxiliary": True})()
    assert sum(p.data.size for p in model.parameters()) == 13_378_280


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_those_in_the_comments(name):
    """A line of `build` that ends in a comment like 6x28x28 makes a layer with outputs of that shape."""
    with undrawn():
        model = MODELS[name]()
    rows = summarize(model.to(g.Device(kernels="xp")), model.input_shape)
    counted = sum(p.data.size for key, p in model.named_parameters() if not key.startswith("aux"))
    assert sum(row.parameters for row in rows) == counted
    assert rows[-1].output_shape == (model.classes,)
    source = inspect.getsource(inspect.getmodule(MODELS[name]))
    own = source[source.index(f"class {MODELS[name].__name__}(") :].partition("\nclass ")[0]
    said = [tuple(map(int, text.split("x"))) for text in re.findall(r"\)\]?,?  # (\d+(?:x\d+)+)$", own, re.M)]
    shapes = iter(row.output_shape for row in rows)
    assert [shape for shape in said if shape not in shapes] == [], "in this order"


@pytest.mark.parametrize("name", SMALL)
def test_images_do_not_see_each_other(name):
    model = MODELS[name]().initialize(0).eval()
    x = g.Tensor(np.random.default_rng(0).normal(size=(3, *model.input_shape)).astype(np.float32))
    y = model(x)
    assert y.shape == (3, 10)
    assert y.dtype == np.float32
    alone = np.concatenate([model(g.Tensor(x.data[i : i + 1])).data for i in range(3)])
    np.testing.assert_allclose(y.data, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    model = MODELS[name](num_classes=7).initialize(0)
    x = np.random.default_rng(0).normal(size=(4, *model.input_shape)).astype(np.float32)
    g.functional.cross_entropy(model(g.Tensor(x)), np.arange(4)).backward()
    for key, p in model.named_parameters():
        assert p.grad.shape == p.shape, key
        assert np.abs(p.grad).max() > 0, key


def test_a_model_names_what_it_cannot_take():
    with pytest.raises(UsageError, match=r"LeNet1998 takes images with 1 channel\(s\), these have 3"):
        MODELS["lenet-1998"]((3, 32, 32), 10)
    with pytest.raises(UsageError, match="LeNet takes images of 32x32, these have 28x28"):
        MODELS["lenet"]((1, 28, 28), 10)
    with pytest.raises(UsageError, match="at least 2 classes"):
        MODELS["lenet"]((3, 32, 32), 1)


def test_unknown_model_offers_the_nearest():
    with pytest.raises(UsageError) as error:
        model_class("resnet5")
    assert error.value.hint == "did you mean resnet56?"


def test_same_seed_same_weights():
    one, two, other = (MODELS["lenet"]().initialize(seed).state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert not any(np.array_equal(one[key], other[key]) for key in one)


def test_summary_leaves_the_model_as_it_was_and_names_the_failing_layer():
    model = g.Sequential(g.Conv2d(3, 4, 3), g.Dropout(0.5), g.Conv2d(4, 2, 5))
    rows = summarize(model, (3, 8, 8))
    assert [(row.name, row.output_shape, row.parameters) for row in rows] == [
        ("0", (4, 6, 6), 112),
        ("1", (4, 6, 6), 0),
        ("2", (2, 2, 2), 202),
    ]
    assert model.training
    assert "forward" not in vars(getattr(model, "0"))
    with pytest.raises(UsageError, match=r"2 Conv2d.*kernel 5x5 is larger than its input 4x4"):
        summarize(model, (3, 6, 6))
