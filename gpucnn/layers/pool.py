"""Pooling."""

from typing import Any

from .. import functional as F
from ..functional.pool import pool_window
from ..functional.shape import pair
from ..module import Module
from ..tensor import Tensor
from .arguments import short


class MaxPool2d(Module):
    """x (n, c, h, w) -> (n, c, oh, ow): the largest value of each window"""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.window = pool_window(kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, *self.window)

    def extra_repr(self) -> str:
        size, stride, padding = self.window
        text = f"kernel_size={short(size)}"
        text += f", stride={short(stride)}" if stride != size else ""
        return text + (f", padding={short(padding)}" if padding != (0, 0) else "")


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
