"""Gradients whose norm is limited, against PyTorch's, in steps that are recorded and in those that are not."""

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device
from gpucnn.backend import probe_cuda
from gpucnn.data import Batches, load
from gpucnn.optim import constant
from gpucnn.steps import DeviceSteps
from gpucnn.training import fit

DATA = load("tinydigits")
WEIGHT = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32) / 8
DEVICES = {
    "cpu": Device("cpu"),
    "reference": Device("cpu", kernels="xp"),
    "sim": Device("sim", kernels="raw"),
    "sim, one by one": Device("sim", kernels="raw", graph=False),
    "cuda": Device("cuda", kernels="raw"),
}
each_device = pytest.mark.parametrize(
    "device", [key if key != "cuda" else pytest.param(key, marks=pytest.mark.gpu) for key in DEVICES]
)


def trained(device, max_norm, epochs=3):
    """The weights of a linear model after 5 steps an epoch."""
    if device.type == "cuda" and (fault := probe_cuda()):
        pytest.skip(f"no GPU: {fault}")
    model = g.Sequential(g.Flatten(), g.Linear(64, 10))
    model.load_state_dict({"1.weight": WEIGHT, "1.bias": np.zeros(10, np.float32)})
    model.to(device)
    optimizer = g.optim.SGD(model.named_parameters(), 0.5, 0.9)
    optimizer.max_norm = max_norm
    images = {"device": device, "mean": DATA.mean, "std": DATA.std}
    train = Batches(DATA.train_x[:320], DATA.train_y[:320], 64, **images)
    list(fit(model, optimizer, train, train, epochs=epochs, schedule=constant()))
    return model.state_dict()


def trained_by_torch(max_norm, epochs=3):
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    weight, bias = torch.tensor(WEIGHT, requires_grad=True), torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], 0.5, 0.9)
    norms = []
    for _ in range(epochs):
        for start in range(0, 320, 64):
            places = slice(start, start + 64)
            pixels = DATA.train_x[places].reshape(64, -1).astype(np.float32)
            x = torch.tensor((pixels - np.float32(DATA.mean[0])) / np.float32(DATA.std[0]))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(x @ weight.T + bias, torch.tensor(DATA.train_y[places])).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_([weight, bias], max_norm)))
            optimizer.step()
    return weight.detach().numpy(), bias.detach().numpy(), norms


@each_device
@pytest.mark.parametrize("max_norm", [0.1, 0.4, 1e6])
def test_training_is_pytorch_s(device, max_norm):
    """With a limit below all norms, between them, and above."""
    weight, bias, norms = trained_by_torch(max_norm)
    assert (min(norms) < max_norm) == (max_norm > 0.1) and (max(norms) > max_norm) == (max_norm < 1e6), norms
    ours = trained(DEVICES[device], max_norm)
    np.testing.assert_allclose(ours["1.weight"], weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["1.bias"], bias, rtol=1e-4, atol=1e-5)


def test_no_limit_is_a_limit_that_is_never_reached():
    free, limited = (trained(DEVICES["reference"], max_norm) for max_norm in (None, 1e6))
    assert all(np.array_equal(free[name], limited[name]) for name in free)


@pytest.mark.parametrize("device", ["sim", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_steps_are_repeated_with_it(device, monkeypatch):
    """As they were recorded, to the bits of steps that are not."""
    made = []

    class Seen(DeviceSteps):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("gpucnn.steps.DeviceSteps", Seen)
    repeated = trained(DEVICES[device], 0.5)
    one_by_one = trained(Device(DEVICES[device].type, kernels="raw", graph=False), 0.5)
    assert made[0].is_repeated and not made[1].is_repeated
    assert all(np.array_equal(repeated[name], one_by_one[name]) for name in repeated)


def test_the_norm_is_that_of_all_gradients_that_there_are():
    """3 and 4 make 5; what a parameter without a gradient had in the step before does not count."""
    a, b, c = (g.Parameter(np.zeros(1, np.float32)) for _ in range(3))
    optimizer = g.optim.SGD([a, b, c], 1.0)
    optimizer.max_norm = 1.0
    for p, gradient in ((a, 3), (b, 4), (c, 12)):
        p.grad = np.full(1, gradient, np.float32)
    optimizer.step()
    np.testing.assert_allclose([a.data[0], b.data[0], c.data[0]], [-3 / 13, -4 / 13, -12 / 13], rtol=1e-6)
    c.grad = None
    optimizer.step()
    np.testing.assert_allclose([a.data[0], b.data[0]], [-3 / 13 - 3 / 5, -4 / 13 - 4 / 5], rtol=1e-6)
    np.testing.assert_allclose(c.data[0], -12 / 13, rtol=1e-6)


def test_gradients_of_two_dtypes_have_no_norm():
    a, b = g.Parameter(np.zeros(1, np.float32)), g.Parameter(np.zeros(1, np.float64))
    optimizer = g.optim.SGD([a, b], 1.0)
    optimizer.max_norm = 1.0
    a.grad, b.grad = np.ones(1, np.float32), np.ones(1)
    with pytest.raises(ValueError, match="no norm to be limited"):
        optimizer.step()


def test_the_gradient_of_one_step_by_hand():
    model = g.Sequential(g.Linear(2, 2, bias=False))
    model.load_state_dict({"0.weight": np.zeros((2, 2), np.float32)})
    optimizer = g.optim.SGD(model.named_parameters(), 1.0)
    optimizer.max_norm = 0.25
    loss = F.cross_entropy(model(g.Tensor(np.array([[3.0, 4.0]], np.float32))), np.array([0]))
    loss.backward()
    optimizer.step()  # the gradient is (softmax - one-hot) times x: half of +-(3, 4), whose norm is 5 / sqrt(2)
    expected = 0.25 / (5 / np.sqrt(2)) * 0.5 * np.array([[3.0, 4.0], [-3.0, -4.0]])
    np.testing.assert_allclose(model.state_dict()["0.weight"], expected, rtol=1e-5)
