"""Pooling; the arithmetic is in the kernels of the ops maxpool2d, avgpool2d and globalavgpool2d."""

from typing import Any

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor
from .shape import pair


class Pool2d(Function):
    repeatable = True

    def __init__(self, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        self.window = size, stride, padding


class MaxPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        x = self.device.contiguous(x)
        y, self.code = self.device.kernel("maxpool2d", x.dtype).forward(x, *self.window)
        return y

    def backward(self, gy: Array) -> Array:
        gy = self.device.contiguous(gy)
        return self.device.kernel("maxpool2d", gy.dtype).backward(gy, self.code, self.x_shape, *self.window)


class AvgPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        x = self.device.contiguous(x)
        return self.device.kernel("avgpool2d", x.dtype).forward(x, *self.window)

    def backward(self, gy: Array) -> Array:
        gy = self.device.contiguous(gy)
        return self.device.kernel("avgpool2d", gy.dtype).backward(gy, self.x_shape, *self.window)


class GlobalAvgPool2d(Function):
    repeatable = True

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return self.device.kernel("globalavgpool2d", x.dtype).forward(self.device.contiguous(x))

    def backward(self, gy: Array) -> Array:
        gy = self.device.contiguous(gy)
        return self.device.kernel("globalavgpool2d", gy.dtype).backward(gy, self.x_shape)


def pool_window(kernel_size: Any, stride: Any, padding: Any) -> tuple:
    """The three pairs of a pooling window; stride None means the kernel size."""
    size = pair("kernel_size", kernel_size, 1)
    step = size if stride is None else pair("stride", stride, 1)
    around = pair("padding", padding, 0)
    if 2 * around[0] > size[0] or 2 * around[1] > size[1]:
        raise ValueError(f"padding must be at most half of kernel_size {size}, got {padding!r}")
    return size, step, around


def _images(x: Tensor) -> Tensor:
    if x.ndim != 4:
        raise ValueError(f"pooling takes x (n, c, h, w), got {x.shape}")
    return x


def max_pool2d(x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """x (n, c, h, w) -> (n, c, oh, ow): the largest value of each window; padding is minus infinity.

    Ties send their gradient to the first element of the window in row-major order.
    """
    size, stride, padding = pool_window(kernel_size, stride, padding)
    return MaxPool2d.apply(_images(x), size=size, stride=stride, padding=padding)


def avg_pool2d(x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """x (n, c, h, w) -> (n, c, oh, ow): the mean of each window; padding is zero and counts in the divisor."""
    size, stride, padding = pool_window(kernel_size, stride, padding)
    return AvgPool2d.apply(_images(x), size=size, stride=stride, padding=padding)


def adaptive_avg_pool2d(x: Tensor, output_size: Any = 1) -> Tensor:
    """x (n, c, h, w) -> (n, c, 1, 1): the mean of each channel; 1 is the only output size there is."""
    if pair("output_size", output_size, 1) != (1, 1):
        raise ValueError(f"adaptive_avg_pool2d has only output_size 1, got {output_size!r}")
    return GlobalAvgPool2d.apply(_images(x))
