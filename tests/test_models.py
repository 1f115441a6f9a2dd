import numpy as np
import pytest

import gpucnn as g
from gpucnn.errors import UsageError
from gpucnn.models import MODELS, model_class
from gpucnn.summary import summarize

PARAMETERS = {  # counted by hand from the layers; lenet-1998 and the tiny ones are published, too
    "lenet": 62_006,
    "lenet-1998": 61_706,
    "alexnet-lite": 2_310_154,
    "mlp": 3072 * 512 + 512 + 512 * 256 + 256 + 2570,
    "linear": 30_730,
    "tinydigits-cnn": 810,
    "tinydigits-mlp": 2_410,
}


def shape_of(kind):
    return (kind.channels or 3, *(kind.image_size or (32, 32)))


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_output(name):
    shape = shape_of(MODELS[name])
    model = MODELS[name](shape, 10).initialize(0).eval()
    rows = summarize(model, shape)
    assert sum(row.parameters for row in rows) == sum(p.data.size for p in model.parameters()) == PARAMETERS[name]
    assert rows[-1].output_shape == (10,)
    x = g.Tensor(np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32))
    y = model(x)
    assert y.shape == (3, 10)
    assert y.dtype == np.float32
    alone = np.concatenate([model(g.Tensor(x.data[i : i + 1])).data for i in range(3)])
    np.testing.assert_allclose(y.data, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    shape = shape_of(MODELS[name])
    model = MODELS[name](shape, 7).initialize(0)
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
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
        model_class("alexnet")
    assert error.value.hint == "did you mean alexnet-lite?"


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
