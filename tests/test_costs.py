"""FLOPs and bytes of passes: examples worked by hand, published totals, and arrays and taps that are counted."""

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device
from gpucnn.costs import Cost, Costs, passes, update, y_shape
from gpucnn.models import MODELS
from gpucnn.profiling import listening
from gpucnn.summary import summarize


def heard(run):
    """pass -> Cost of what `run` computes."""
    with listening(costs := Costs()):
        run()
    return costs.passes


def test_lenets_first_convolution():
    # 512 images of 3x32x32, 5x5 to 6x28x28: 512*6*28*28 = 2,408,448 results, each of 3*5*5 = 75 products and sums
    flops = 2 * 2_408_448 * 75  # 361,267,200: 0.36 GFLOP
    # x 512*3*32*32 = 1,572,864, w 6*75 = 450, b 6, y 2,408,448: together 3,981,768 numbers, 15.9 MB
    found = passes("conv2d", (512, 3, 32, 32), (6, 3, 5, 5), ((1, 1), (0, 0)), needs_gx=False)
    assert found == {"forward": Cost(flops, 15_927_072), "backward_weight": Cost(flops, 15_927_072)}
    assert flops == 361_267_200
    assert found["forward"].intensity == pytest.approx(22.68, abs=0.01)


def test_alexnets_fourth_convolution_with_padding():
    # 512*256*8*8 = 8,388,608 results of 256*9 = 2,304 products: 38.65 GFLOP; taps in the padding count like others
    # x and y 8,388,608 each, w 256*2,304 = 589,824, b 256: 17,367,296 numbers, 69.5 MB
    found = passes("conv2d", (512, 256, 8, 8), (256, 256, 3, 3), ((1, 1), (1, 1)))
    assert found["forward"] == found["backward_weight"] == Cost(38_654_705_664, 69_469_184)
    assert found["backward_input"] == Cost(38_654_705_664, 69_468_160)  # without the 256 biases


def test_a_linear_layer():
    # 512 rows of 400 to 120: 61,440 results of 400 products; 204,800 + 48,000 + 120 + 61,440 numbers
    found = passes("linear", (512, 400), (120, 400))
    assert found["forward"] == Cost(49_152_000, 1_257_440)
    assert passes("linear", (512, 400), (120, 400), bias=False)["forward"].bytes == 1_257_440 - 480


def test_pooling_and_relu_only_move():
    # max pooling of 2x4x6x6 by 3: 288 numbers read, 32 written, and 32 codes of one byte
    window = (3, 3), (3, 3), (0, 0)
    moved = passes("max_pool2d", (2, 4, 6, 6), (), window)
    assert moved == {"forward": Cost(0, 4 * (288 + 32) + 32), "backward": Cost(0, 4 * (288 + 32) + 32)}
    assert passes("avg_pool2d", (2, 4, 6, 6), (), window)["forward"] == Cost(0, 4 * (288 + 32))
    assert passes("adaptive_avg_pool2d", (2, 4, 6, 6))["forward"] == Cost(0, 4 * (288 + 8))
    # relu: x to y; then gy and y to gx
    assert passes("relu", (7, 3)) == {"forward": Cost(0, 4 * 42), "backward": Cost(0, 4 * 63)}
    assert passes("dropout", (7, 3))["backward"] == Cost(0, 4 * 42)  # draws again


def test_three_layers_in_one():
    # 2x3x8x8, 3x3 to 4x6x6, pooled by 2 to 4x3x3: 288 results before pooling of 27 products, 72 after
    arguments = (1, 1), (0, 0), (2, 2)
    found = passes("conv2d_relu_maxpool", (2, 3, 8, 8), (4, 3, 3, 3), arguments)
    # x 384, w 108, b 4, y 72 numbers, and 72 codes; backward writes gx, gw and gb and reads gy, x, w and the codes
    assert found == {
        "forward": Cost(2 * 288 * 27, 4 * (384 + 108 + 4 + 72) + 72),
        "backward": Cost(2 * 2 * 288 * 27, 4 * (2 * 384 + 2 * 108 + 4 + 72) + 72),
    }
    assert y_shape("conv2d_relu_maxpool", (2, 3, 8, 8), (4, 3, 3, 3), arguments) == (2, 4, 3, 3)


def test_attention():
    # 2 sequences of 5 tokens, 8 features: each token's weights for 5 are 5*8 products, and so are its sums: 800 in all
    found = heard(lambda: F.self_attention(g.Tensor(np.zeros((2, 5, 24), np.float32), requires_grad=True), 2))
    assert found == {
        "self_attention.forward": Cost(2 * 800, 4 * (240 + 80)),
        "self_attention.backward": Cost(2 * 2 * 800, 4 * (240 + 80 + 240)),  # reads qkv and gy, writes gqkv
    }


def test_an_optimizers_step():
    assert update(62_006, 1) == Cost(0, 5 * 4 * 62_006)  # SGD: p, g and v read, p and v written
    assert update(10, 2).bytes == 7 * 4 * 10


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_convolutions_against_taps_and_arrays(stride, groups):
    """Without padding, a convolution of ones with ones sums up its taps; and bytes are those of the arrays."""
    x, w = (
        g.Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in ((3, 4, 9, 7), (6, 4 // groups, 3, 2))
    )
    b = g.Tensor(np.zeros(6, np.float32), requires_grad=True)
    found = heard(lambda: F.conv2d(x, w, b, stride, groups=groups))
    y = F.conv2d(x, w, b, stride, groups=groups).data
    assert set(found) == {"conv2d.forward", "conv2d.backward_input", "conv2d.backward_weight"}
    assert {cost.flops for cost in found.values()} == {2 * int(y.sum())}
    assert found["conv2d.forward"].bytes == sum(array.nbytes for array in (x.data, w.data, b.data, y))


@pytest.mark.parametrize(
    ("network", "forward", "training"), [("lenet", 1.30e6, 3.20e6), ("alexnet-lite", 0.194e9, 0.58e9)]
)
def test_networks_have_their_published_flops_an_image(network, forward, training):
    rows = summarize(MODELS[network]((3, 32, 32), 10), (3, 32, 32))
    assert sum(row.flops for row in rows) == pytest.approx(forward, rel=5e-3)
    assert sum(row.training_flops for row in rows) == pytest.approx(training, rel=5e-3)
    assert rows[0].training_flops == 2 * rows[0].flops, "nobody wants the gradient of the images"


@pytest.mark.parametrize("fuse", [True, False])
def test_a_model_has_the_same_flops_fused_or_not(fuse):
    model = MODELS["tinydigits-cnn"]((1, 8, 8), 10).to(Device("cpu", fuse=fuse))
    x = g.Tensor(np.zeros((5, 1, 8, 8), np.float32), device=Device("cpu", fuse=fuse))
    found = heard(lambda: model(x))
    # conv 8x6x6 of 9 products, forward and gw; linear 72 to 10, three passes
    assert sum(cost.flops for cost in found.values()) == 5 * 2 * (2 * 8 * 36 * 9 + 3 * 720)
    assert ("features.1.forward" in found) == (not fuse)
    with g.no_grad():
        assert {name.rpartition(".")[2] for name in heard(lambda: model(x))} == {"forward"}


def test_a_layer_that_runs_twice_costs_twice_and_what_is_not_modelled_nothing():
    layer = g.Linear(3, 3)
    model = g.Sequential(layer, layer)
    x = g.Tensor(np.zeros((2, 3), np.float32))
    assert heard(lambda: model(x))["0.forward"] == Cost(2 * 2 * 2 * 9, 2 * 4 * (6 + 9 + 3 + 6))
    assert heard(lambda: x.reshape(6) + 1) == {}
