"""Every model against the same network in PyTorch, with the same weights."""

import numpy as np
import pytest
from decided import Decisions
from decided import gradients as decided_gradients
from torch_twins import torch, twin

import gpucnn as g
import gpucnn.functional as F
from gpucnn.initializers import undrawn
from gpucnn.models import MODELS

SMALL = [name for name in MODELS if not MODELS[name].for_imagenet]
LARGE = [name for name in MODELS if MODELS[name].for_imagenet]

torch.set_num_threads(1)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, g.Dropout):
            module.p = 0.0
    return model


@pytest.mark.parametrize("name", SMALL)
def test_gradients_in_float64_are_those_of_torch(name):
    """Loss and the gradient of each parameter in training, then what batch normalisation took down.

    A bias in front of batch normalisation has a gradient of rounding alone.
    """
    model = without_dropout(MODELS[name]().initialize(1).to(g.CPU, np.float64))
    other = twin(name, model)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, *model.input_shape)), rng.integers(0, 10, 3)
    with np.errstate(under="ignore"):
        loss = F.cross_entropy(model(g.Tensor(x)), y)
        loss.backward()
    outputs, target = other(torch.from_numpy(x)), torch.from_numpy(y)
    first, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    losses = [torch.nn.functional.cross_entropy(each, target) for each in (first, *auxiliary)]
    expected = losses[0] + 0.3 * sum(losses[1:])
    expected.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
    for (key, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert np.abs(p.grad - q.grad.numpy()).max() <= 1e-8 * max(np.abs(q.grad.numpy()).max(), 1e-6), key
    np.testing.assert_allclose(model.eval()(g.Tensor(x)).data, other.eval()(torch.from_numpy(x)).detach(), rtol=1e-8)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_in_float32_are_those_in_float64(name):
    """Of the CPU's kernels; the reference in float64 decides as they did.

    Each of 56 layers without a shortcut enlarges what those before it rounded, in PyTorch, too (docs/decisions.md).
    There the reference begins anew behind each batch normalisation.
    """
    shape, decisions = MODELS[name].default_shape(), Decisions(anew=name == "plain56")
    n = 8
    loss, actual = decided_gradients(g.CPU, MODELS[name](), shape, decisions, n)
    reference = g.Device("cpu", kernels="conv2d_relu_maxpool=xp")
    expected_loss, expected = decided_gradients(reference, MODELS[name](), shape, decisions, n, np.float64)
    assert decisions.overruled <= 1e-3 * decisions.own
    assert abs(loss - expected_loss) <= 1e-4 * expected_loss
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for key, gradient in actual.items():
        size = max(np.abs(expected[key]).max(), 1e-3 * largest)
        assert np.abs(gradient - expected[key]).max() <= 1e-3 * size, key


@pytest.mark.parametrize("name", LARGE)
def test_one_image_of_imagenet_gives_the_logits_of_torch(name):
    """Small numbers as weights: drawing a hundred million takes seconds."""
    with undrawn():
        model = MODELS[name]().eval()
    values = np.random.default_rng(0).uniform(-1, 1, 1 << 16).astype(np.float32)
    for p in model.parameters():
        scale = np.float32(np.sqrt(6 / (p.data[0].size or 1))) if p.ndim > 1 else np.float32(0.1)
        p.data = np.resize(values[p.data.size % 1000 :], p.shape) * scale
    x = np.random.default_rng(1).standard_normal((1, *model.input_shape), np.float32)
    reference = g.Device(kernels="xp")  # those of the CPU compute 16 images in the time of one
    with g.no_grad(), torch.no_grad():
        y = model.to(reference)(g.Tensor(x, device=reference)).numpy()
        expected = twin(name, model).eval()(torch.from_numpy(x)).numpy()
    assert y.shape == (1, 1000)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
