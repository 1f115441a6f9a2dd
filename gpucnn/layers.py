"""Layers: state plus one functional call each, with PyTorch's names, defaults and state-dict keys."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from . import functional as F
from .functional.pool import pool_window
from .functional.shape import pair
from .initializers import draws, uniform_fan_in
from .module import Module, Parameter
from .tensor import Tensor


def _short(value: Any) -> str:
    """(3, 3) -> "3", (3, 5) -> "(3, 5)", "same" -> "'same'": for repr."""
    if isinstance(value, str):
        return repr(value)
    return str(value[0]) if value[0] == value[1] else str(tuple(value))


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


class Conv2d(Module):
    """x (n, in_channels, h, w) -> (n, out_channels, oh, ow); weight (out, in/groups, kh, kw), bias (out,)"""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        _positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups must divide {in_channels} and {out_channels} channels, got {groups}")
        self.stride, self.groups = pair("stride", stride, 1), groups
        self.padding = padding if padding == "same" else pair("padding", padding, 0)
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding 'same' needs stride 1, got {stride!r}")
        kernel = pair("kernel_size", kernel_size, 1)
        self.weight = Parameter(np.zeros((out_channels, in_channels // groups, *kernel), np.float32))
        self.bias = Parameter(np.zeros(out_channels, np.float32)) if bias else None
        if draws():
            self.reset_parameters(np.random.default_rng())

    def reset_parameters(self, rng: np.random.Generator) -> None:
        _reset(self, rng, math.prod(self.weight.shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)

    def extra_repr(self) -> str:
        co, ci, *kernel = self.weight.shape
        text = f"{ci * self.groups}, {co}, kernel_size={_short(kernel)}"
        text += f", stride={_short(self.stride)}" if self.stride != (1, 1) else ""
        text += f", padding={_short(self.padding)}" if self.padding != (0, 0) else ""
        return text + (f", groups={self.groups}" if self.groups > 1 else "")


class Linear(Module):
    """x (..., in_features) -> (..., out_features); weight (out, in), bias (out,)"""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        _positive(in_features=in_features, out_features=out_features)
        self.weight = Parameter(np.zeros((out_features, in_features), np.float32))
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None
        if draws():
            self.reset_parameters(np.random.default_rng())

    def reset_parameters(self, rng: np.random.Generator) -> None:
        _reset(self, rng, self.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


def _reset(layer: Any, rng: np.random.Generator, fan_in: int) -> None:
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.data = parameter.device.asarray(uniform_fan_in(rng, parameter.shape, fan_in), parameter.dtype)


class _BatchNorm(Module):
    """Parameters weight, bias; buffers running_mean, running_var, num_batches_tracked."""

    ndims: tuple[int, ...]

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        _positive(num_features=num_features)
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean = Tensor(np.zeros(num_features, np.float32))
        self.running_var = Tensor(np.ones(num_features, np.float32))
        self.num_batches_tracked = Tensor(np.zeros((), np.int64))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        for tensor in (self.weight, self.running_var):
            tensor.data = tensor.device.xp.ones_like(tensor.data)
        for tensor in (self.bias, self.running_mean, self.num_batches_tracked):
            tensor.data = tensor.device.xp.zeros_like(tensor.data)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.ndims or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"{type(self).__name__}({self.extra_repr()}) cannot take an input of shape {x.shape}")
        if self.training:
            self.num_batches_tracked.data += 1
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return str(self.weight.shape[0])


class BatchNorm1d(_BatchNorm):
    """x (n, c) or (n, c, l): batch normalisation over all but the channels"""

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """x (n, c, h, w): batch normalisation over all but the channels"""

    ndims = (4,)


class MaxPool2d(Module):
    """x (n, c, h, w) -> (n, c, oh, ow): the largest value of each window"""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.window = pool_window(kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, *self.window)

    def extra_repr(self) -> str:
        size, stride, padding = self.window
        text = f"kernel_size={_short(size)}"
        text += f", stride={_short(stride)}" if stride != size else ""
        return text + (f", padding={_short(padding)}" if padding != (0, 0) else "")


class AvgPool2d(MaxPool2d):
    """x (n, c, h, w) -> (n, c, oh, ow): the mean of each window, padding counted"""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, *self.window)


class AdaptiveAvgPool2d(Module):
    """x (n, c, h, w) -> (n, c, 1, 1): the mean of each channel"""

    def __init__(self, output_size: Any = 1) -> None:
        if pair("output_size", output_size, 1) != (1, 1):
            raise ValueError(f"AdaptiveAvgPool2d has only output_size 1, got {output_size!r}")

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x)


_NEXT_CALL = 1 << 16  # more than a model has dropout layers


class Dropout(Module):
    """Zero elements with probability p in training; `place` fixes the draws (see functional.dropout)."""

    place: F.Place | None = None

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"the dropout probability must be between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, place=self._next_place())

    def _next_place(self) -> F.Place | None:
        """The place of this call; a second call in the same step then draws elsewhere."""
        place = self.place
        if place is not None:
            self.place = replace(place, use=place.use + _NEXT_CALL)
        return place

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Zero whole channels of (n, c, h, w) with probability p in training."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training, place=self._next_place())


class Flatten(Module):
    """x (n, ...) -> (n, features)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, 1)


class ReLU(Module):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class GELU(Module):
    """x * Phi(x)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)
