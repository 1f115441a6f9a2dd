"""Convolution; the arithmetic is in the kernels of the ops conv2d and conv2d_relu_maxpool."""

from typing import Any

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor
from .shape import pad, pair, same_dtype, weights


class Conv2d(Function):
    """Groups are a loop over slices of the channels; the kernels know only one group."""

    def __init__(self, stride: tuple[int, int], padding: tuple[int, int], groups: int) -> None:
        self.stride, self.padding, self.groups = stride, padding, groups
        self.repeatable = groups == 1

    def forward(self, x: Array, w: Array, b: Array | None = None) -> Array:
        self.x, self.b = x, b
        kernel = self.device.kernel("conv2d", w.dtype)
        self.ws = [weights(kernel, self._slice(w, g)) for g in range(self.groups)]
        parts = [
            kernel.forward(self._slice(x, g, 1), w, self._slice(b, g), self.stride, self.padding)
            for g, w in enumerate(self.ws)
        ]
        return self._join(parts, 1)

    def backward(self, gy: Array) -> tuple:
        kernel = self.device.kernel("conv2d", gy.dtype)
        gxs, gws, gbs = [], [], []
        for g, w in enumerate(self.ws):
            gy_g, x = self._slice(gy, g, 1), self._slice(self.x, g, 1)
            if self.needs[0]:
                gxs.append(kernel.backward_input(gy_g, w, x.shape, self.stride, self.padding))
            if any(self.needs[1:]):
                into = self.into(1, 2) if self.groups == 1 else None
                gw, gb = kernel.backward_weight(gy_g, x, w.shape, self.stride, self.padding, into)
                gws.append(gw)
                gbs.append(gb)
        gx, gw, gb = self._join(gxs, 1), self._join(gws, 0), self._join(gbs, 0)
        return (gx, gw) if self.b is None else (gx, gw, gb)

    def _slice(self, array: Any, group: int, dim: int = 0) -> Any:
        """The channels of one group along `dim`, as kernels take them."""
        if array is None:
            return None
        size = array.shape[dim] // self.groups
        part = slice(group * size, (group + 1) * size)
        return self.device.contiguous(array[part] if dim == 0 else array[:, part])

    def _join(self, parts: list, dim: int) -> Any:
        """One array of what the groups gave; None where nobody needed it."""
        if len(parts) > 1:
            return self.device.xp.concatenate(parts, dim)
        return parts[0] if parts else None


class Conv2dReluMaxPool(Function):
    """One group only. Its kernels take arrays in whatever layout, on every device: they hand each other their own."""

    repeatable = True

    def __init__(self, stride: tuple[int, int], padding: tuple[int, int], pool: tuple[int, int]) -> None:
        self.window = stride, padding, pool

    def forward(self, x: Array, w: Array, b: Array | None = None) -> Array:
        kernel = self.device.kernel("conv2d_relu_maxpool", x.dtype)
        self.x, self.w, self.b = x, weights(kernel, w), b
        y, self.code = kernel.forward(self.x, self.w, self.b, *self.window)
        return y

    def backward(self, gy: Array) -> tuple:
        kernel = self.device.kernel("conv2d_relu_maxpool", gy.dtype)
        needs, into = (self.needs[0], any(self.needs[1:])), self.into(1, 2)
        gradients = kernel.backward(gy, self.code, self.x, self.w, *self.window, needs, into and (None, *into))
        return gradients[:2] if self.b is None else gradients


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, *, groups: int = 1
) -> Tensor:
    """x (n, ci, h, w), weight (co, ci/groups, kh, kw), bias (co,) -> (n, co, oh, ow): cross-correlation.

    stride, padding: an integer or a (vertical, horizontal) pair; padding may be "same" (stride 1: oh, ow = h, w).
    ValueError where shapes do not go together or the kernel is larger than its padded input.
    """
    inputs, stride, padding = _arguments(x, weight, bias, stride, padding, groups)
    return Conv2d.apply(*inputs, stride=stride, padding=padding, groups=groups)


def conv2d_relu_maxpool(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, pool: Any = 1
) -> Tensor:
    """max_pool2d(relu(conv2d(x, weight, bias, stride, padding)), pool) in one; a pool of 1 is none."""
    inputs, stride, padding = _arguments(x, weight, bias, stride, padding, 1)
    return Conv2dReluMaxPool.apply(*inputs, stride=stride, padding=padding, pool=pair("pool", pool, 1))


def _arguments(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, groups: int) -> tuple:
    """(tensors, stride, padding) of a convolution, checked; "same" has become numbers."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(f"conv2d takes x (n, c, h, w) and weight (co, ci, kh, kw), got {x.shape} and {weight.shape}")
    stride = pair("stride", stride, 1)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding 'same' needs stride 1, got {stride}")
        (top, bottom), (left, right) = (((k - 1) // 2, k // 2) for k in weight.shape[2:])
        if (top, left) != (bottom, right):  # an even kernel: one more zero below and at the right
            x = pad(x, (0, right - left, 0, bottom - top))
        padding = top, left
    padding = pair("padding", padding, 0)
    co, ci = weight.shape[:2]
    if groups < 1 or co % groups:
        raise ValueError(f"groups must divide the {co} output channels, got {groups}")
    if x.shape[1] != ci * groups:
        raise ValueError(f"the input has {x.shape[1]} channels, the convolution takes {ci * groups}")
    if bias is not None and bias.shape != (co,):
        raise ValueError(f"the bias has shape {bias.shape}, the convolution has {co} output channels")
    same_dtype(x, weight)
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return inputs, stride, padding
