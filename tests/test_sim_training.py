"""Training on the simulator: the whole path, tape, layers, loss and optimizer, on the kernels of a GPU."""

import numpy as np
import pytest

import gpucnn.functional as F
from gpucnn import Device, Tensor
from gpucnn.functional.activation import ReLU
from gpucnn.functional.pool import MaxPool2d
from gpucnn.models import model_class
from gpucnn.optim import SGD

KINDS = ["raw", "numba"]


def gradients(device, model_name, shape, decisions):
    """name -> gradient of one batch of 8. The first call fills `decisions`: which ReLUs are on, which input of a
    window is its maximum; a later one is made to decide alike, for on the other side of a tie a gradient differs by
    more than rounding."""
    imposed, made = iter(list(decisions)), []

    class DecidedReLU(ReLU):
        def backward(self, gy):
            return gy * self.on

        def forward(self, x):
            y = super().forward(x)
            self.on = next(imposed) if decisions else y > 0
            made.append(self.on)
            return y

    class DecidedMaxPool2d(MaxPool2d):
        def forward(self, x):
            y = super().forward(x)
            self.code = next(imposed) if decisions else self.code
            made.append(self.code)
            return y

    rng = np.random.default_rng(7)
    model = model_class(model_name)(shape, 10).initialize(3).to(device)
    x = Tensor(device.asarray(rng.standard_normal((8, *shape)), np.float32), device=device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpucnn.functional.activation.ReLU", DecidedReLU)
        patch.setattr("gpucnn.functional.pool.MaxPool2d", DecidedMaxPool2d)
        loss = F.cross_entropy(model(x), rng.integers(0, 10, 8))
        loss.backward()
    decisions[:] = made
    return float(loss.data), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("model, shape", [("lenet", (3, 32, 32)), ("tinydigits-cnn", (1, 8, 8))])
def test_gradients_are_those_of_the_reference(model, shape, kernels):
    decisions = []
    expected_loss, expected = gradients(Device("cpu", kernels="xp"), model, shape, decisions)
    assert decisions
    loss, actual = gradients(Device("sim", kernels=kernels), model, shape, decisions)
    assert abs(loss - expected_loss) <= 1e-5 * expected_loss
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert np.abs(gradient - expected[name]).max() <= 1e-5 * np.abs(expected[name]).max(), name


@pytest.mark.parametrize("kernels", KINDS)
def test_a_few_steps_follow_the_reference_and_repeat_to_the_bit(kernels):
    def losses(device):
        rng = np.random.default_rng(0)
        model = model_class("tinydigits-cnn")((1, 8, 8), 10).initialize(0).to(device)
        optimizer = SGD(model.named_parameters(), lr=0.1, momentum=0.9)
        found = []
        for _ in range(5):
            x = Tensor(device.asarray(rng.standard_normal((16, 1, 8, 8)), np.float32), device=device)
            loss = F.cross_entropy(model(x), rng.integers(0, 10, 16))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss.data))
        return found

    on_sim = losses(Device("sim", kernels=kernels))
    assert losses(Device("sim", kernels=kernels)) == on_sim
    np.testing.assert_allclose(on_sim, losses(Device("cpu", kernels="xp")), rtol=1e-4)
