"""A CUDA kernel of your own in a network that trains: examples/my_conv.cu computes all of its convolutions.

python examples/my_conv.py             on a GPU if there is one, otherwise on the simulator, which needs none
python examples/my_conv.py mine.cu     the same with a kernel that you have changed; docs/your-own-kernel.md says how
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import gpucnn as g
import gpucnn.functional as F
from gpucnn.backend import probe_cuda
from gpucnn.data import Batches, load
from gpucnn.models import MODELS
from gpucnn.training import fit

EXAMPLE = Path(__file__).with_name("my_conv.cu")


def check(device: g.Device) -> float:
    """How far the kernel is from the reference in float64, as a share of the largest result; odd shapes, no bias."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9, 7)), rng.standard_normal((5, 3, 3, 2))

    def conv(device: g.Device, dtype: type) -> np.ndarray:
        x_, w_ = (g.Tensor(array.astype(dtype), device=device) for array in (x, w))
        return F.conv2d(x_, w_, stride=(2, 1), padding=(1, 0)).numpy()

    expected = conv(g.CPU, np.float64)
    return float(np.abs(conv(device, np.float32) - expected).max() / np.abs(expected).max())


def train(device: g.Device, epochs: int) -> list[float]:
    """The training loss of each epoch; what is drawn at random is the same on every device."""
    digits = load("tinydigits")
    feed: dict[str, Any] = {"device": device, "mean": digits.mean, "std": digits.std}
    batches = Batches(digits.train_x, digits.train_y, 32, shuffle=True, drop_last=True, **feed)
    test = Batches(digits.test_x, digits.test_y, 200, **feed)
    model = MODELS["tinydigits-cnn"]().initialize(seed=0).to(device)
    optimizer = g.optim.SGD(model.named_parameters(), lr=0.05, momentum=0.9)
    losses = []
    for epoch in fit(model, optimizer, batches, test, epochs=epochs, schedule=g.optim.constant()):
        losses.append(epoch.train_loss)
        print(f"{device}  epoch {epoch.epoch}  loss {epoch.train_loss:.4f}  test accuracy {epoch.test_accuracy:.1%}")
    return losses


def main(file: Path = EXAMPLE, epochs: int = 3) -> tuple[float, list[float], list[float]]:
    """(error of the kernel, losses of training with it, losses of training with gpucnn's own kernels of the CPU)"""
    where = "sim" if probe_cuda() else "cuda"
    device = g.Device(where, kernels=f"raw,conv2d={file}")  # the kernels in CUDA C, but those of `file` first
    print(f"kernels {device.kernels_in_words()}")
    error = check(device)
    print(f"the kernel is within {error:.1e} of the reference")
    if not error < 1e-5:  # NaN is not
        raise SystemExit(f"{file.name} computes something else: gpucnn kernels check {file} --op conv2d")
    ours, reference = train(device, epochs), train(g.CPU, epochs)
    print(f"the losses are within {np.abs(np.subtract(ours, reference)).max():.1e} of those without it")
    return error, ours, reference


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else EXAMPLE)
