"""Training on the simulator: the whole path, tape, layers, loss and optimizer, on the kernels of a GPU."""

import numpy as np
import pytest
from decided import Decisions, gradients

import gpucnn.functional as F
from gpucnn import Device, Tensor
from gpucnn.models import model_class
from gpucnn.optim import SGD

KINDS = ["raw", "numba"]


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("model, shape", [("lenet", (3, 32, 32)), ("tinydigits-cnn", (1, 8, 8))])
def test_gradients_are_those_of_the_reference(model, shape, kernels):
    decisions = Decisions()
    loss, actual = gradients(Device("sim", kernels=kernels), model_class(model)(shape, 10), shape, decisions)
    reference = Device("cpu", kernels="xp")
    expected_loss, expected = gradients(reference, model_class(model)(shape, 10), shape, decisions)
    assert decisions.own > 0 and decisions.overruled <= 1e-4 * decisions.own
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
