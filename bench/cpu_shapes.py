"""Every convolution, pooling and linear layer of the networks as one op alone, in gpucnn and in PyTorch.

Where a network follows an op with ReLU or pooling, the ops are still timed one by one, unfused on both sides. Arrays
lie as the ops of each side leave them for each other: images innermost in gpucnn, channels first in PyTorch.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gpucnn_kernels.cpu import layout

import gpucnn as g
import gpucnn.functional as F
from gpucnn.models import model_class

Array = Any
Calls = tuple[Callable[[], Any], Callable[[], Any]]  # forward; forward and backward
NETWORKS = ("lenet", "alexnet-lite", "lenet-1998", "tinydigits-cnn")


@dataclass(frozen=True)
class Op:
    """`kind` is a function of gpucnn.functional, and has the same name in PyTorch.

    x (c, h, w) or (features,), w the shape of the weight or (); arguments: (stride, padding) of a convolution, (size,
    stride, padding) of a pooling; needs_gx: whether the gradient of the input is wanted.
    """

    kind: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    arguments: tuple[tuple[int, int], ...]
    needs_gx: bool
    networks: tuple[str, ...] = ()

    def text(self) -> str:
        """E.g. "conv2d 3x32x32 -> 64, 3x3, padding 1, no gx"."""
        parts = [f"{self.kind} {'x'.join(map(str, self.x))}" + (f" -> {self.w[0]}" if self.w else "")]
        if self.kind == "conv2d":
            (stride, padding), size = self.arguments, self.w[2:]
        elif self.arguments:
            size, stride, padding = self.arguments
            stride = (1, 1) if stride == size else stride
        if self.arguments:
            parts.append(_by(size))
            parts += [f"stride {_by(stride)}"] if stride != (1, 1) else []
            parts += [f"padding {_by(padding)}"] if padding != (0, 0) else []
        return ", ".join([*parts, *([] if self.needs_gx else ["no gx"])])


def _by(pair: tuple[int, ...]) -> str:
    return "x".join(map(str, pair))


def ops() -> list[Op]:
    """Each op once, in the order of the networks, found by running them on zeros."""
    found: dict[Op, list[str]] = {}
    for network in NETWORKS:
        kind = model_class(network)
        model = kind((kind.channels or 3, *(kind.image_size or (32, 32))), 10)
        for layer in model.modules():
            if isinstance(layer, g.Conv2d | g.MaxPool2d | g.Linear):
                layer.forward = partial(_record, layer, layer.forward, found, network)  # type: ignore[method-assign]
        model(g.Tensor(np.zeros((1, *model.input_shape), np.float32)))
    return [dataclasses.replace(op, networks=tuple(dict.fromkeys(used))) for op, used in found.items()]


def _record(layer: Any, forward: Any, found: dict[Op, list[str]], network: str, x: g.Tensor) -> g.Tensor:
    match layer:
        case g.Conv2d():
            kind, w, arguments = "conv2d", layer.weight.shape, (layer.stride, layer.padding)
        case g.Linear():
            kind, w, arguments = "linear", layer.weight.shape, ()
        case _:
            kind = "avg_pool2d" if isinstance(layer, g.AvgPool2d) else "max_pool2d"
            w, arguments = (), layer.window
    found.setdefault(Op(kind, x.shape[1:], w, arguments, x.requires_grad), []).append(network)
    return forward(x)


def _arrays(op: Op, batch: int) -> list[Array]:
    """x, and where the op has them w and b."""
    rng = np.random.default_rng(0)
    parameters = [op.w, op.w[:1]] if op.w else []
    return [rng.standard_normal(shape, dtype=np.float32) for shape in ((batch, *op.x), *parameters)]


def ours(op: Op, batch: int) -> Calls:
    """Through the tape, as a layer calls it."""
    x, *parameters = _arrays(op, batch)
    x = _innermost(x)
    inputs = [g.Tensor(x, requires_grad=op.needs_gx), *(g.Parameter(p) for p in parameters)]
    call = partial(getattr(F, op.kind), *inputs, *op.arguments)
    return _calls(call, inputs, lambda y: _innermost(np.ones_like(y.data)))


def _innermost(array: Array) -> Array:
    """A copy in the layout of the CPU's kernels."""
    copy, lines = layout.empty(array.shape)
    lines[...] = 0
    copy[...] = array
    return copy


def theirs(op: Op, batch: int) -> Calls:
    """PyTorch's default: channels first."""
    import torch

    inputs = [torch.from_numpy(array) for array in _arrays(op, batch)]
    for i, each in enumerate(inputs):
        each.requires_grad_(i > 0 or op.needs_gx)
    call = partial(getattr(torch.nn.functional, op.kind), *inputs, *op.arguments)
    return _calls(call, inputs, torch.ones_like)


def _calls(call: Callable[[], Any], inputs: list[Any], ones: Callable[[Any], Any]) -> Calls:
    gy = ones(call())

    def both() -> None:
        for each in inputs:
            each.grad = None
        call().backward(gy)

    return call, both
