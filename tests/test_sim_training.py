"""Training on the simulator: the whole path, tape, layers, loss and optimizer, on the kernels of a GPU."""

import numpy as np
import pytest
from decided import Decisions, gradients

import gpucnn.functional as F
from gpucnn import Device, Tensor
from gpucnn.models import model_class
from gpucnn.optim import SGD

KINDS = ["raw", "numba"]
LIMITS = {"tf32x3": 1e-6, "tf32": 2e-3, "bf16": 1e-2}  # of the norm of a gradient


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


@pytest.mark.parametrize("kernels", LIMITS)
@pytest.mark.parametrize("model, shape", [("lenet", (3, 32, 32)), ("tinydigits-cnn", (1, 8, 8))])
def test_gradients_of_tensor_cores_are_those_of_the_reference_in_float64(model, shape, kernels):
    """With the decisions of the tensor cores imposed on it: those are of the fused layers, so it fuses, too."""
    decisions = Decisions()
    loss, actual = gradients(Device("sim", kernels=kernels), model_class(model)(shape, 10), shape, decisions)
    reference = Device("cpu", kernels="conv2d_relu_maxpool=xp")
    network = model_class(model)(shape, 10)
    expected_loss, expected = gradients(reference, network, shape, decisions, dtype=np.float64)
    limit = LIMITS[kernels]
    assert decisions.own > 0 and decisions.overruled <= limit * decisions.own
    assert abs(loss - expected_loss) <= limit * expected_loss
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert np.linalg.norm(gradient - expected[name]) <= limit * np.linalg.norm(expected[name]), name


def losses(device, steps):
    """Of the smallest network with convolutions, which learns to find the brightest column of noise.

    At a higher rate the steps are chaotic, and tell nothing of rounding.
    """
    rng = np.random.default_rng(0)
    model = model_class("tinydigits-cnn")((1, 8, 8), 10).initialize(0).to(device)
    optimizer = SGD(model.named_parameters(), lr=0.02, momentum=0.9)
    found = []
    for _ in range(steps):
        images = rng.standard_normal((16, 1, 8, 8))
        x = Tensor(device.asarray(images, np.float32), device=device)
        loss = F.cross_entropy(model(x), images.sum((1, 2)).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.data))
    return found


@pytest.mark.parametrize("kernels", KINDS)
def test_a_few_steps_follow_the_reference_and_repeat_to_the_bit(kernels):
    on_sim = losses(Device("sim", kernels=kernels), 5)
    assert losses(Device("sim", kernels=kernels), 5) == on_sim
    np.testing.assert_allclose(on_sim, losses(Device("cpu", kernels="xp"), 5), rtol=1e-4)


@pytest.mark.parametrize("kernels", LIMITS)
def test_fifty_steps_on_tensor_cores_follow_those_in_float32_and_repeat_to_the_bit(kernels):
    on_sim = losses(Device("sim", kernels=kernels), 50)
    assert losses(Device("sim", kernels=kernels), 50) == on_sim
    np.testing.assert_allclose(on_sim, losses(Device("sim", kernels="raw"), 50), rtol=1e-2)
