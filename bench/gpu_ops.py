"""Every op of LeNet and AlexNet-lite alone, and odd shapes: one function for each pass, in gpucnn and in PyTorch.

forward   y          of conv2d, linear and max_pool2d
gx        gx
gw        gw, gb     of conv2d and linear
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
from cpu_shapes import Op, ops
from gpucnn_kernels.shapetable import SHAPES

import gpucnn as g
from gpucnn import costs
from gpucnn.models import model_class

Array = Any
Passes = dict[str, Callable[..., Any]]
RESULTS = {"forward": ("y",), "gx": ("gx",), "gw": ("gw", "gb"), "backward": ("gx", "gw", "gb")}
NETWORKS = ("lenet", "alexnet-lite")
SMALL = 1 << 16  # elements of an odd shape


class Fused(Op):
    """Convolution, ReLU and max pooling: `arguments` are stride, padding and pool, (1, 1) where there is none."""

    @property
    def convolution(self) -> Op:
        return Op("conv2d", self.x, self.w, self.arguments[:2], self.needs_gx)

    def text(self) -> str:
        return self.convolution.text().replace("conv2d", "conv2d+relu" + "+maxpool" * (self.arguments[2] != (1, 1)), 1)


def layers() -> list[Op]:
    """Those of both networks, alone and as they run fused: pooling, then those with most to multiply first."""
    alone = [op for op in ops() if {*NETWORKS} & {*op.networks}]
    return sorted([*fused(), *alone], key=lambda op: (bool(op.w), -cost(op, "forward", 1).flops))


def fused() -> list[Fused]:
    """Every convolution of the networks, with its ReLU and its pooling."""
    found = []
    for network in NETWORKS:
        shape: tuple = (3, 32, 32)
        each = [layer for _, layer in model_class(network)(shape, 10).features.children()]
        for i, layer in enumerate(each):
            if isinstance(layer, g.Conv2d):
                pool = each[i + 2].window[0] if isinstance(each[min(i + 2, len(each) - 1)], g.MaxPool2d) else (1, 1)
                arguments = layer.stride, layer.padding, pool
                found.append(Fused("conv2d_relu_maxpool", shape, layer.weight.shape, arguments, i > 0, (network,)))
                shape = y_shape(found[-1], 1)[1:]
    return found


def implemented_as(op: Op) -> str:
    """The name of the op in kernels/."""
    return "maxpool2d" if op.kind == "max_pool2d" else op.kind


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
    return costs.y_shape(op.kind, (n, *op.x), op.w, op.arguments)


def cost(op: Op, part: str, n: int) -> costs.Cost:
    """Of a pass, by the names above."""
    passes = costs.passes(op.kind, (n, *op.x), op.w, op.arguments, op.needs_gx or part == "gx")
    gradients = {"gx": "backward_input" if op.w else "backward", "gw": "backward_weight"}
    return passes[gradients.get(part, part)]


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


@lru_cache(1)
def draw(op: Op, n: int) -> Arrays:
    """Normally distributed float32 on the host; weights scaled so that y has about the size of x.

    The same arrays for whoever asks: nobody may write to them.
    """
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
    if isinstance(op, Fused):
        if a.code is None:
            a.code = module.forward(a.x, a.w, a.b, *op.arguments)[1]
        return {
            "forward": partial(module.forward, a.x, a.w, a.b, *op.arguments),
            "backward": partial(module.backward, a.gy, a.code, a.x, a.w, *op.arguments, (op.needs_gx, True)),
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
    if isinstance(op, Fused):
        return _theirs_fused(aten, op, a)
    if a.code is None:
        a.code = aten.max_pool2d_with_indices(a.x, *op.arguments)[1]
    how = *op.arguments, (1, 1), False
    return {
        "forward": lambda: aten.max_pool2d_with_indices(a.x, *how)[0],
        "gx": lambda: aten.max_pool2d_with_indices_backward(a.gy, a.x, *how, a.code),
    }


def _theirs_fused(aten: Any, op: Fused, a: Arrays) -> Passes:
    stride, padding, size = op.arguments
    how, pool = (stride, padding, (1, 1), False, (0, 0), 1), (size, size, (0, 0), (1, 1), False)

    def forward() -> tuple:
        y = aten.relu(aten.convolution(a.x, a.w, a.b, *how))
        return (y, None) if size == (1, 1) else aten.max_pool2d_with_indices(y, *pool)

    y, a.code = aten.relu(aten.convolution(a.x, a.w, a.b, *how)), forward()[1]

    def backward() -> tuple:
        gz = a.gy if a.code is None else aten.max_pool2d_with_indices_backward(a.gy, y, *pool, a.code)
        gz = aten.threshold_backward(gz, y, 0)
        return aten.convolution_backward(gz, a.x, a.w, [op.w[0]], *how, [op.needs_gx, True, True])

    return {"forward": forward, "backward": backward}
