"""Every model for small pictures learns from real ones, on the kernels of the CPU.

Few of them, but enough for a loss to fall. What a recipe of `gpucnn train` gives, only whole runs tell.
"""

import os

import numpy as np
import pytest

import gpucnn as g
from gpucnn.data import Batches, fit_images, load
from gpucnn.errors import DataError
from gpucnn.models import MODELS
from gpucnn.training import fit

SMALL = [name for name in MODELS if not MODELS[name].for_imagenet]
# Pictures, of a batch, epochs, rate. Those that take long learn one picture of each class by heart.
QUICK, BY_HEART = (320, 32, 8, 3e-3), (10, 10, 15, 1e-3)
SLOW = (
    "alexnet-lite", "vgg-lite", "googlenet-lite", "googlenet-lite-aux", "resnet20", "resnet56", "resnet110", "plain20",
    "plain56", "densenet-lite", "vit-tiny",
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    """name -> pictures uint8 (n, c, h, w) of a data set and their labels: the ten classes in turns."""
    if not os.environ.get("GPUCNN_DATA_DIR"):
        pytest.skip("no data: set GPUCNN_DATA_DIR")
    try:
        both = [load(name, download=False) for name in ("cifar10", "mnist")]
    except DataError:
        pytest.skip("no data: set GPUCNN_DATA_DIR")
    chosen = {}
    for data in both:
        order = np.stack([np.flatnonzero(data.train_y == label)[: QUICK[0] // 10] for label in range(10)], 1).ravel()
        chosen[data.name] = data.train_x[order], data.train_y[order]
    return chosen


def sized(x, size):
    """MNIST's x (n, 1, 28, 28) as (n, 1, *size), framed; for 8x8 then the mean of 4x4 pixels each."""
    framed, _ = fit_images(x, (32, 32) if size == (8, 8) else size, "mnist")
    return framed.reshape(len(x), 1, 8, 4, 8, 4).mean((3, 5)).astype(np.uint8) if size == (8, 8) else framed


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_falls(name, pictures):
    """Well below that of guessing, and below its own of the first epoch."""
    kind, (n, batch_size, epochs, rate) = MODELS[name], BY_HEART if name in SLOW else QUICK
    x, y = pictures["mnist" if kind.channels == 1 else "cifar10"]
    x = sized(x[:n], kind.default_shape()[1:])
    batches = Batches(x, y[:n], batch_size, device=g.CPU, mean=x.mean((0, 2, 3)), std=x.std((0, 2, 3)), shuffle=True)
    model = kind().initialize(0)
    optimizer = g.optim.Adam(model.named_parameters(), rate)
    training = fit(model, optimizer, batches, batches, epochs=epochs, schedule=g.optim.constant())
    losses = [epoch.train_loss for epoch in training]
    guessing = np.log(10) * (1.6 if name == "googlenet-lite-aux" else 1)  # two auxiliary losses count 0.3 each
    assert min(losses[-3:]) < 0.85 * min(losses[0], guessing), losses
