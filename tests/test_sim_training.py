"""Training on the simulator: the whole path, tape, layers, loss and optimizer, on the kernels of a GPU."""

import numpy as np
import pytest
from decided import Decisions, gradients
from rounding import to_bf16, to_tf32, toward_zero

import gpucnn.functional as F
from gpucnn import Device, Tensor
from gpucnn.layers import Conv2d, Linear
from gpucnn.models import model_class
from gpucnn.models.alexnet import AlexNetLite
from gpucnn.optim import SGD

KINDS = ["raw", "numba"]
ROUNDING = {"tf32x3": None, "tf32": to_tf32, "bf16": to_bf16}


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("model, shape", [("lenet", (3, 32, 32)), ("tinydigits-cnn", (1, 8, 8))])
def test_gradients_are_those_of_the_reference(model, shape, kernels):
    decisions = Decisions()
    loss, actual = gradients(Device("sim", kernels=kernels), model_class(model)(shape, 10), shape, decisions)
    reference = Device("cpu", kernels="conv2d_relu_maxpool=xp" if kernels == "raw" else "xp")  # fused where ours is
    expected_loss, expected = gradients(reference, model_class(model)(shape, 10), shape, decisions)
    assert decisions.own > 0 and decisions.overruled <= 1e-4 * decisions.own
    assert abs(loss - expected_loss) <= 1e-5 * expected_loss
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert np.abs(gradient - expected[name]).max() <= 1e-5 * np.abs(expected[name]).max(), name


@pytest.mark.parametrize("model", ["lenet", "simplecnn", "alexnet-lite", "resnet20"])
def test_a_step_at_batch_2_is_that_of_the_reference_in_float64(model):
    """In CUDA C, the optimizer's included. Depth and batch normalisation enlarge what float32 rounds."""
    decisions, shape, ours = Decisions(), (3, 32, 32), model_class(model)()
    loss, actual = gradients(Device("sim", kernels="raw"), ours, shape, decisions, 2)
    reference = Device("cpu", kernels="conv2d_relu_maxpool=xp")  # fused, as ours
    exact_loss, exact = gradients(reference, model_class(model)(), shape, decisions, 2, np.float64)
    assert decisions.own > 0 and decisions.overruled <= 1e-3 * decisions.own
    assert abs(loss - exact_loss) <= 1e-5 * exact_loss
    before = ours.state_dict()
    SGD(ours.named_parameters(), lr=1.0, weight_decay=0.1).step()
    for name, p in ours.named_parameters():
        off = 1e-3 * np.abs(exact[name]).max()
        assert np.abs(actual[name] - exact[name]).max() <= off, name
        moved = before[name] - p.data
        rounding = 1e-6 * np.abs(before[name]).max()
        assert np.abs(moved - exact[name] - 0.1 * before[name]).max() <= off + rounding, name


class NarrowAlexNet(AlexNetLite):
    """An eighth of the channels and features, but three and ten; dropout as it is."""

    def build(self, *shape):
        super().build(*shape)
        for part in (self.features, self.classifier):
            for name, layer in part.children():
                if isinstance(layer, (Conv2d, Linear)):
                    co, ci, *kernel = (size // 8 if size > 10 else size for size in layer.weight.shape)
                    narrow = Conv2d(ci, co, kernel, padding=layer.padding) if kernel else Linear(ci, co)
                    setattr(part, name, narrow)


STEPS = {
    "lenet": (model_class("lenet"), (3, 32, 32), 8),
    "alexnet-lite": (NarrowAlexNet, (3, 32, 32), 4),
    "tinydigits-cnn": (model_class("tinydigits-cnn"), (1, 8, 8), 8),
}


def of_tensor_cores(network, kernels, rounding):
    """(how far the gradient of each parameter, and the loss, are from those in float64, what the latter decided).

    These are of a step whose factors `rounding` rounds. Distances are shares of the norm of what they should be.
    """
    model, shape, n = STEPS[network]
    decisions = Decisions(rounding)
    loss, actual = gradients(Device("sim", kernels=kernels), model(shape, 10), shape, decisions, n)
    reference = Device("cpu", kernels="conv2d_relu_maxpool=xp")  # the decisions are those of fused layers
    exact_loss, exact = gradients(reference, model(shape, 10), shape, decisions, n, np.float64)
    assert actual.keys() == exact.keys()
    off = {name: np.linalg.norm(g - exact[name]) / np.linalg.norm(exact[name]) for name, g in actual.items()}
    return off | {"loss": abs(loss - exact_loss) / exact_loss}, decisions


@pytest.mark.parametrize("kernels", ROUNDING)
@pytest.mark.parametrize("network", STEPS)
def test_a_step_on_tensor_cores_is_that_of_a_reference_that_rounds_at_the_same_places(network, kernels):
    """Everything but the factors of products is float64 there, so that what is left are sums in float32."""
    off, decisions = of_tensor_cores(network, kernels, ROUNDING[kernels])
    assert max(off.values()) <= 1e-6, off
    assert decisions.own > 0 and decisions.overruled <= 1e-3 * decisions.own


@pytest.mark.parametrize(
    "kernels, rounding",
    [("tf32", None), ("tf32", toward_zero), ("tf32", to_bf16), ("bf16", None), ("bf16", to_tf32), ("tf32x3", to_tf32)],
)
def test_a_reference_that_rounds_otherwise_is_told_from_them(kernels, rounding):
    """By what the precision itself is off, as much in one that does not round."""
    off, _ = of_tensor_cores("lenet", kernels, rounding)
    assert 1e-4 <= max(off.values()) <= 1e-2, off


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


@pytest.mark.parametrize("kernels", ROUNDING)
def test_fifty_steps_on_tensor_cores_follow_those_in_float32_and_repeat_to_the_bit(kernels):
    on_sim = losses(Device("sim", kernels=kernels), 50)
    assert losses(Device("sim", kernels=kernels), 50) == on_sim
    np.testing.assert_allclose(on_sim, losses(Device("sim", kernels="raw"), 50), rtol=1e-2)


@pytest.mark.parametrize("kernels", ["tf32", "bf16"])
def test_weights_are_float32_whatever_multiplies_them(kernels):
    """A step far below what the factors are rounded to is not lost."""
    device, lr = Device("sim", kernels=kernels), 2.0**-16
    model = model_class("tinydigits-cnn")((1, 8, 8), 10).initialize(0).to(device)
    optimizer = SGD(model.named_parameters(), lr=lr)
    x = Tensor(np.random.default_rng(0).standard_normal((16, 1, 8, 8)).astype(np.float32), device=device)
    F.cross_entropy(model(x), np.arange(16) % 10).backward()
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    optimizer.step()
    moved, lost = [], []
    for name, p in model.named_parameters():
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.data, before[name] - lr * p.grad, rtol=2.0**-22, atol=1e-12)
        moved += (p.data != before[name]).ravel().tolist()
        lost += (ROUNDING[kernels](p.data) == ROUNDING[kernels](before[name])).ravel().tolist()
    assert np.mean(moved) > 0.5 < np.mean(lost)
