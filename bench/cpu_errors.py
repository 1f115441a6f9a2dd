"""Rounding errors of the CPU's convolutions, and of PyTorch's, on the shapes of LeNet and AlexNet-lite.

python bench/cpu_errors.py -> results/cpu-errors.json

Everything against the reference kernels in float64, on float32 numbers from the normal distribution; the weights are
scaled so that results have about the size of the inputs. PyTorch, where it is there, in float32 and NCHW.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import gpucnn_kernels
import machine
import numpy as np

import gpucnn as g
from gpucnn.models import model_class

RESULT = Path(__file__).parent / "results" / "cpu-errors.json"
BATCH = 32
KINDS = ("cpu", "exact", "torch")
Arrays = tuple[Any, ...]


def shapes(batch: int = BATCH) -> list[tuple[tuple, tuple, tuple]]:
    """(x, w, padding) of each convolution of LeNet and AlexNet-lite, all of stride 1."""
    found = []
    for network in ("lenet", "alexnet-lite"):
        c, h, w_ = 3, 32, 32
        for layer in model_class(network)((c, h, w_)).features.children():
            match layer[1]:
                case g.Conv2d() as conv:
                    found.append(((batch, c, h, w_), conv.weight.shape, conv.padding))
                    _, c, h, w_ = y_shape(*found[-1])
                case g.MaxPool2d():
                    h, w_ = h // 2, w_ // 2
    return found


def y_shape(x: tuple, w: tuple, padding: tuple) -> tuple:
    return x[0], w[0], *(x[i] + 2 * padding[i - 2] - w[i] + 1 for i in (2, 3))


def drawn(x_shape: tuple, w_shape: tuple, padding: tuple) -> Arrays:
    """x, w, b and gy"""
    rng = np.random.default_rng(0)
    taps = float(np.prod(w_shape[1:]))
    x, b, gy = (rng.standard_normal(s, np.float32) for s in (x_shape, w_shape[:1], y_shape(x_shape, w_shape, padding)))
    return x, rng.standard_normal(w_shape, np.float32) / np.float32(taps**0.5), b, gy


def results(kind: str, x: Any, w: Any, b: Any, gy: Any, padding: tuple) -> Arrays:
    """(y, gx, gw)"""
    if kind == "torch":
        torch = importlib.import_module("torch")
        leaves = [torch.from_numpy(each).requires_grad_() for each in (x, w, b)]
        y = torch.nn.functional.conv2d(*leaves, padding=padding)
        y.backward(torch.from_numpy(gy))
        return y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves[:2])
    conv2d = gpucnn_kernels.load("conv2d", kind)
    window = (1, 1), padding
    gw, _ = conv2d.backward_weight(gy, x, w.shape, *window)
    return conv2d.forward(x, w, b, *window), conv2d.backward_input(gy, w, x.shape, *window), gw


def errors(kinds: tuple[str, ...], x_shape: tuple, w_shape: tuple, padding: tuple) -> dict[str, dict[str, list[float]]]:
    """kind -> y, gx, gw -> [largest error over largest value, length of the error over that of the value]."""
    arrays = drawn(x_shape, w_shape, padding)
    exact = results("xp", *(each.astype(np.float64) for each in arrays), padding)
    found: dict[str, dict[str, list[float]]] = {}
    for kind in kinds:
        ours = results(kind, *arrays, padding)
        found[kind] = {name: _distances(*pair) for name, *pair in zip(("y", "gx", "gw"), ours, exact, strict=True)}
    return found


def _distances(a: Any, b: Any) -> list[float]:
    off = a - b
    return [float(np.abs(off).max() / np.abs(b).max()), float(np.linalg.norm(off) / np.linalg.norm(b))]


def main() -> None:
    kinds, versions = KINDS, {}
    try:
        versions["torch"] = importlib.import_module("torch").__version__
    except ModuleNotFoundError:
        kinds = KINDS[:2]
    rows = [{"x": x, "w": w, "errors": errors(kinds, x, w, padding)} for x, w, padding in shapes()]
    RESULT.write_text(json.dumps({"rows": rows, "machine": machine.describe() | versions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
