"""What the passes of a layer must compute and move, whatever kernels do it.

    conv2d of x (n, ci, h, w) with w (co, ci, kh, kw) to y (n, co, oh, ow), in each pass

    flops   2 * y.size * ci * kh * kw     a multiplication and an addition a tap
    bytes   x.size + w.size + b.size + y.size, of 4 bytes each     every operand and every result moved once

Only the products of convolutions, matrices and attention count: what ReLU, pooling, biases and optimizers compute hides
behind what they move. Nothing is counted twice or for free: no copies between layouts, no rereading, and no caches
(Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from .backend import out_size
from .functional.activation import GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .functional.attention import SelfAttention
from .functional.conv import Conv2d, Conv2dReluMaxPool
from .functional.dropout import Dropout
from .functional.linear import Linear
from .functional.loss import CrossEntropy
from .functional.norm import BatchNorm, LayerNorm, LocalResponseNorm
from .functional.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .profiling import Listener

Shape = Sequence[int]
NUMBER = 4  # bytes of a float32
CODE = 1  # bytes of the place of a maximum in its window


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, and bytes read or written."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.flops / self.bytes if self.bytes else 0.0


def y_shape(op: str, x: Shape, w: Shape = (), arguments: Sequence = ()) -> tuple[int, ...]:
    """The shape of what `op` makes of x and w; see passes."""
    if op == "linear":
        return *x[:-1], w[0]
    if op in ("conv2d", "conv2d_relu_maxpool"):
        stride, padding, *window = arguments
        size = out_size(tuple(x[2:]), tuple(w[2:]), stride, padding)
        if window:
            size = size[0] // window[0][0], size[1] // window[0][1]
        return x[0], w[0], *size
    if op == "self_attention":
        return *x[:-1], x[-1] // 3
    if op in ("max_pool2d", "avg_pool2d"):
        return *x[:2], *out_size(tuple(x[2:]), *arguments)
    return (*x[:2], 1, 1) if op == "adaptive_avg_pool2d" else tuple(x)


def passes(
    op: str, x: Shape, w: Shape = (), arguments: Sequence = (), needs_gx: bool = True, bias: bool = True
) -> dict[str, Cost]:
    """pass -> Cost, by the names that kernels give their functions.

    op: a function of gpucnn.functional; an unknown one reads x and writes as much. arguments: (stride, padding) of
    conv2d, with `pool` behind them of conv2d_relu_maxpool; (size, stride, padding) of a pooling. needs_gx: whether the
    gradient of x is wanted, which it is not in a network's first layer.
    """
    y = y_shape(op, x, w, arguments)
    nx, ny, nw, nb = prod(x), prod(y), prod(w) if w else 0, w[0] if w and bias else 0
    if op in ("conv2d", "linear"):
        flops, operands = 2 * ny * prod(w[1:]), nx + nw + ny
        found = {"forward": Cost(flops, NUMBER * (operands + nb))}
        if needs_gx:
            found["backward_input"] = Cost(flops, NUMBER * operands)
        return found | {"backward_weight": Cost(flops, NUMBER * (operands + nb))}
    if op == "conv2d_relu_maxpool":
        flops = 2 * prod(y_shape("conv2d", x, w, arguments[:2])) * prod(w[1:])
        backward = NUMBER * ((1 + needs_gx) * nx + 2 * nw + nb + ny) + CODE * ny
        return {
            "forward": Cost(flops, NUMBER * (nx + nw + nb + ny) + CODE * ny),
            "backward": Cost(flops * (1 + needs_gx), backward),
        }
    if op == "self_attention":  # weights of t tokens for t tokens, and the sums that they weigh; of each, two gradients
        flops = 2 * 2 * ny * x[1]
        found = {"forward": Cost(flops, NUMBER * (nx + ny))}
        return found | ({"backward": Cost(2 * flops, NUMBER * (2 * nx + ny))} if needs_gx else {})
    moved = NUMBER * (nx + ny) + (CODE * ny if op == "max_pool2d" else 0)
    found = {"forward": Cost(0, moved)}  # of the cross entropy, ny numbers are those of its gradient
    if needs_gx and op != "cross_entropy":
        found["backward"] = Cost(0, moved + NUMBER * ny * (op in _SLOPES))
    return found


def update(parameters: int, states: int) -> Cost:
    """Of a step of an optimizer that keeps `states` numbers beside each parameter: SGD one, Adam two."""
    return Cost(0, NUMBER * parameters * (3 + 2 * states))  # p, g and the states are read, p and the states written


_SLOPES = {
    "relu",
    "sigmoid",
    "tanh",
    "gelu",
    "softmax",
    "log_softmax",
    "batch_norm",
    "layer_norm",
    "lrn",
}  # gx takes x or y beside gy
_OPS = {  # those that are modelled; a reshape, say, is not
    Conv2d: "conv2d",
    Conv2dReluMaxPool: "conv2d_relu_maxpool",
    Linear: "linear",
    MaxPool2d: "max_pool2d",
    AvgPool2d: "avg_pool2d",
    GlobalAvgPool2d: "adaptive_avg_pool2d",
    ReLU: "relu",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    GELU: "gelu",
    Softmax: "softmax",
    LogSoftmax: "log_softmax",
    BatchNorm: "batch_norm",
    LayerNorm: "layer_norm",
    LocalResponseNorm: "lrn",
    SelfAttention: "self_attention",
    Dropout: "dropout",
    CrossEntropy: "cross_entropy",
}


class Costs(Listener):
    """Hears a model run, and keeps the Cost of each pass; those of backward where the tape records."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: dict[str, Cost] = {}  # "features.0.backward_weight" -> Cost

    def applied(self, function: Any, layer: str, inputs: tuple) -> None:
        op = _OPS.get(type(function))
        if op is None:
            return
        x, *parameters = (tensor.shape for tensor in inputs)
        w = parameters[0] if op in ("conv2d", "conv2d_relu_maxpool", "linear") else ()
        arguments = (function.stride, function.padding) if op == "conv2d" else getattr(function, "window", ())
        found = passes(op, x, w, arguments, function.needs[:1] == (True,), len(parameters) > 1)
        for direction in found if any(function.needs) else ("forward",):
            name = f"{layer}.{direction}"
            self.passes[name] = self.passes.get(name, Cost()) + found[direction]
