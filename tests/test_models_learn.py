"""Every small model learns, on the kernels of the CPU. What a recipe of `gpucnn train` gives, only whole runs tell."""

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn.models import MODELS

DEEP = "resnet110", "resnet56"  # resnet20 with more of the same; plain56 is the one that is hard
SMALL = [name for name in MODELS if not MODELS[name].for_imagenet and name not in DEEP]
STEPS, N = 60, 4
RATES = {"alexnet-lite": 3e-4, "vgg-lite": 3e-3, "tinydigits-cnn": 1e-2, "tinydigits-mlp": 1e-2}


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_falls(name):
    """To half of that of guessing, on four pictures of noise with labels of their own."""
    model = MODELS[name]().initialize(0)
    optimizer = g.optim.Adam(model.named_parameters(), RATES.get(name, 1e-3))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, *model.input_shape)).astype(np.float32), np.arange(N)
    losses = []
    while len(losses) < STEPS and (not losses or losses[-1] > np.log(10) / 2):
        outputs = model(g.Tensor(x))
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()
        optimizer.step()
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        losses.append(F.cross_entropy(logits.detach(), y).item())
    assert len(losses) < STEPS, losses
