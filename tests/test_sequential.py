"""Sequential: which layers run as one, and that this changes nothing but the time."""

import inspect

import gpucnn_kernels as kernels
import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn import sequential
from gpucnn.backend import Device
from gpucnn.models import MODELS
from gpucnn.summary import summarize

FUSED = Device(kernels="conv2d_relu_maxpool=xp")  # the reference, asked for by name
UNFUSED = Device(kernels="xp")
CONV, RELU, POOL = g.Conv2d(2, 3, 3), g.ReLU(), g.MaxPool2d(2)


class MyReLU(g.ReLU):
    """A layer of a user."""


def described(modules, device=FUSED):
    """The steps that `modules` become: the name of a layer, or the arguments of the fused op."""
    steps = sequential.fused(modules, device, np.dtype("float32"))
    return [type(step).__name__ if isinstance(step, g.Module) else step.keywords["pool"] for step in steps]


def test_who_fuses():
    assert FUSED.fuses("conv2d_relu_maxpool")
    assert not UNFUSED.fuses("conv2d_relu_maxpool")
    assert not Device(kernels="conv2d_relu_maxpool=xp", fuse=False).fuses("conv2d_relu_maxpool")
    assert Device("sim").fuses("conv2d_relu_maxpool")
    assert not Device("sim", kernels="numba").fuses("conv2d_relu_maxpool")


@pytest.mark.parametrize("part", ["conv2d=numba", "maxpool2d=numba", "relu=xp", "conv2d=examples/my_conv.cu"])
def test_kernels_that_were_named_for_a_part_run(part):
    assert not Device("sim", kernels=f"raw,{part}").fuses("conv2d_relu_maxpool")
    assert Device("sim", kernels=f"raw,{part},conv2d_relu_maxpool=raw").fuses("conv2d_relu_maxpool")


@pytest.mark.parametrize(
    "modules, expected",
    [
        ([], []),
        ([CONV, RELU], [(1, 1)]),
        ([CONV, RELU, POOL], [(2, 2)]),
        ([CONV, RELU, POOL, CONV, RELU, CONV, POOL], [(2, 2), (1, 1), "Conv2d", "MaxPool2d"]),
        ([CONV], ["Conv2d"]),
        ([CONV, POOL, RELU], ["Conv2d", "MaxPool2d", "ReLU"]),
        ([CONV, RELU, g.MaxPool2d((3, 2))], [(3, 2)]),
        ([CONV, RELU, g.MaxPool2d(3, 2)], [(1, 1), "MaxPool2d"]),
        ([CONV, RELU, g.MaxPool2d(2, padding=1)], [(1, 1), "MaxPool2d"]),
        ([CONV, RELU, g.AvgPool2d(2)], [(1, 1), "AvgPool2d"]),
        ([CONV, MyReLU(), POOL], ["Conv2d", "MyReLU", "MaxPool2d"]),
        ([g.Conv2d(2, 4, 3, groups=2), RELU], ["Conv2d", "ReLU"]),
        ([CONV, g.Sequential(RELU), POOL], ["Conv2d", "Sequential", "MaxPool2d"]),
    ],
)
def test_what_is_fused(modules, expected):
    assert described(modules) == expected
    assert described(modules, UNFUSED) == [type(module).__name__ for module in modules]


def test_a_pool_that_the_kernels_do_not_take_runs_by_itself(monkeypatch):
    monkeypatch.setattr(kernels.load("conv2d_relu_maxpool", "xp"), "POOLS", ((1, 1), (2, 2)), raising=False)
    assert described([CONV, RELU, g.MaxPool2d(3)]) == [(1, 1), "MaxPool2d"]
    assert described([CONV, RELU, POOL]) == [(2, 2)]


def test_a_layer_whose_forward_was_replaced_runs_by_itself():
    relu = g.ReLU()
    relu.forward = lambda x: x
    assert described([CONV, relu, POOL]) == ["Conv2d", "ReLU", "MaxPool2d"]


def loss_and_gradients(name, device, dtype):
    model = MODELS[name]().initialize(3).to(device, dtype).eval()
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(dtype)
    loss = F.cross_entropy(model(g.Tensor(x, device=device)), [1, 0, 7])
    loss.backward()
    return [loss.numpy(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("name", ["lenet", "alexnet-lite"])
def test_fused_and_unfused_give_the_same_numbers(name):
    fused, unfused = (loss_and_gradients(name, device, np.float64) for device in (FUSED, UNFUSED))
    for ours, theirs in zip(fused, unfused, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype, rounding", [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_the_default_of_the_cpu_gives_the_numbers_of_the_reference(dtype, rounding):
    ours, theirs = (loss_and_gradients("lenet", device, dtype) for device in (Device("cpu"), UNFUSED))
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= rounding * np.abs(b).max()


def test_an_even_kernel_with_padding_same():
    layers = g.Sequential(g.Conv2d(2, 3, (4, 2), padding="same"), g.ReLU(), g.MaxPool2d(2)).initialize(0)
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 6)).astype(np.float32)
    fused, unfused = (layers.to(device)(g.Tensor(x, device=device)).numpy() for device in (FUSED, UNFUSED))
    np.testing.assert_array_equal(fused, unfused)


def test_what_is_told_of_a_model_does_not_change():
    fused, unfused = (MODELS["alexnet-lite"]().to(device) for device in (FUSED, UNFUSED))
    assert repr(fused) == repr(unfused)
    assert list(fused.state_dict()) == list(unfused.state_dict())
    assert summarize(fused, (3, 32, 32)) == summarize(unfused, (3, 32, 32))


@pytest.mark.parametrize("needs", [(True, False), (False, True), (False, False)])
def test_gradients_that_nobody_needs_are_none(needs):
    for impl in kernels.implementations("conv2d_relu_maxpool"):
        module = kernels.load("conv2d_relu_maxpool", impl)
        rng = np.random.default_rng(0)
        x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 6, 6), (4, 3, 3, 3)))
        y, code = module.forward(x, w, None, (1, 1), (1, 1), (2, 2))
        arguments = y, code, x, w, (1, 1), (1, 1), (2, 2)
        expected = module.backward(*arguments)
        found = module.backward(*arguments, needs)
        for needed, one, other in zip((needs[0], needs[1], needs[1]), found, expected, strict=True):
            assert np.array_equal(one, other) if needed else one is None


def test_dead_outputs_and_nan():
    module = kernels.load("conv2d_relu_maxpool", "xp")
    x = np.array([-1.0, 0.0, 2.0, np.nan]).reshape(4, 1, 1, 1)
    y, code = module.forward(x, np.ones((1, 1, 1, 1)), None, (1, 1), (0, 0), (1, 1))
    np.testing.assert_array_equal(y.ravel(), [0, 0, 2, np.nan])
    assert code.ravel().tolist() == [module.DEAD, module.DEAD, 0, 0]


def test_the_functions_of_both_paths_take_the_same_arguments():
    plain, fused = (list(inspect.signature(f).parameters) for f in (F.conv2d, F.conv2d_relu_maxpool))
    assert fused == [*plain[:-1], "pool"]
