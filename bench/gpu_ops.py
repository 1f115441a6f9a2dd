"""Every op of LeNet and AlexNet-lite alone, and odd shapes: one function for each pass, in gpucnn and in PyTorch.

forward   y          of conv2d, linear and max_pool2d
gx        gx
gw        gw, gb     of conv2d and linear
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from cpu_shapes import Op, ops
from gpucnn_kernels.arrays import out_size
from gpucnn_kernels.shapetable import SHAPES

Array = Any
Passes = dict[str, Callable[..., Any]]
RESULTS = {"forward": ("y",), "gx": ("gx",), "gw": ("gw", "gb")}
MODULES = {"conv2d": "conv2d", "linear": "linear", "max_pool2d": "maxpool2d"}  # kind of Op -> op with kernels
SMALL = 1 << 16  # elements of an odd shape


def layers() -> list[Op]:
    """Those of both networks, those with most to multiply first."""
    both = {"lenet", "alexnet-lite"}
    return sorted((op for op in ops() if both & {*op.networks}), key=lambda op: -multiplications(op, 1))


def odd() -> list[tuple[int, Op]]:
    """(batch, op) of the shapes that all kernels are tested on, without the long ones."""
    found = []
    for n, ci, h, w_, co, kernel, stride, padding, _ in SHAPES["conv2d"]:
        if n * ci * h * w_ < SMALL:
            found.append((n, Op("conv2d", (ci, h, w_), (co, ci, *kernel), (stride, padding), True)))
    for n, ci, co, _ in SHAPES["linear"]:
        if max(n, ci, co) < SMALL:
            found.append((n, Op("linear", (ci,), (co, ci), (), True)))
    return found


def y_shape(op: Op, n: int) -> tuple[int, ...]:
    if op.kind == "linear":
        return n, op.w[0]
    size, stride, padding = (op.w[2:], *op.arguments) if op.w else op.arguments
    return n, op.w[0] if op.w else op.x[0], *out_size(op.x[1:], size, stride, padding)


def multiplications(op: Op, n: int) -> int:
    return prod(y_shape(op, n)) * prod(op.w[1:]) if op.w else 0


@dataclass
class Arrays:
    """What an op is called with: x, w, b and gy; code: what a max pool's backward is told by its forward."""

    x: Array
    w: Array
    b: Array
    gy: Array
    code: Array = None

    def map(self, change: Callable[[Array], Array]) -> "Arrays":
        return Arrays(*(None if each is None else change(each) for each in vars(self).values()))

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in vars(self).values() if each is not None)


def draw(op: Op, n: int) -> Arrays:
    """Normally distributed float32 on the host; weights scaled so that y has about the size of x."""
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal(shape, np.float32) for shape in ((n, *op.x), y_shape(op, n)))
    if not op.w:
        return Arrays(x, None, None, gy)
    w = rng.standard_normal(op.w, np.float32) / np.float32(prod(op.w[1:]) ** 0.5)
    return Arrays(x, w, rng.standard_normal(op.w[0], np.float32), gy)


def ours(module: Any, op: Op, a: Arrays) -> Passes:
    """The passes of the kernels in `module`; each takes `out`."""
    if op.kind == "conv2d":
        return {
            "forward": partial(module.forward, a.x, a.w, a.b, *op.arguments),
            "gx": partial(module.backward_input, a.gy, a.w, a.x.shape, *op.arguments),
            "gw": partial(module.backward_weight, a.gy, a.x, a.w.shape, *op.arguments),
        }
    if op.kind == "linear":
        return {
            "forward": partial(module.forward, a.x, a.w, a.b),
            "gx": partial(module.backward_input, a.gy, a.w),
            "gw": partial(module.backward_weight, a.gy, a.x),
        }
    if a.code is None:
        a.code = module.forward(a.x, *op.arguments)[1]
    return {
        "forward": partial(module.forward, a.x, *op.arguments),
        "gx": partial(module.backward, a.gy, a.code, a.x.shape, *op.arguments),
    }


def theirs(torch: Any, op: Op, a: Arrays) -> Passes:
    """The same passes in PyTorch, as its autograd calls them."""
    aten = torch.ops.aten
    if op.kind == "conv2d":
        how = *op.arguments, (1, 1), False, (0, 0), 1
        backward = partial(aten.convolution_backward, a.gy, a.x, a.w, [op.w[0]], *how)
        return {
            "forward": lambda: aten.convolution(a.x, a.w, a.b, *how),
            "gx": lambda: backward([True, False, False])[0],
            "gw": lambda: backward([False, True, True])[1:],
        }
    if op.kind == "linear":
        return {
            "forward": lambda: torch.nn.functional.linear(a.x, a.w, a.b),
            "gx": lambda: a.gy @ a.w,
            "gw": lambda: (a.gy.T @ a.x, a.gy.sum(0)),
        }
    if a.code is None:
        a.code = aten.max_pool2d_with_indices(a.x, *op.arguments)[1]
    how = *op.arguments, (1, 1), False
    return {
        "forward": lambda: aten.max_pool2d_with_indices(a.x, *how)[0],
        "gx": lambda: aten.max_pool2d_with_indices_backward(a.gy, a.x, *how, a.code),
    }
