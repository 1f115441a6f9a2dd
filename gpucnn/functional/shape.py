"""Shapes: flatten, reshape, transpose, cat, pad, and the int-or-pair arguments of everything two-dimensional."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


def pair(name: str, value: Any, minimum: int) -> tuple[int, int]:
    """3 -> (3, 3), (3, 5) -> (3, 5); ValueError names the argument where one is below `minimum`."""
    both = (value, value) if isinstance(value, int) else value
    if not (isinstance(both, Sequence) and len(both) == 2 and all(isinstance(v, int) for v in both)):
        raise ValueError(f"{name} must be an integer or a pair of them, got {value!r}")
    if min(both) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    return both[0], both[1]


def same_dtype(x: Tensor, weight: Tensor) -> None:
    """TypeError where the input is float64 (NumPy's default) and the weights float32, or the other way round."""
    if x.dtype != weight.dtype:
        raise TypeError(f"the input is {x.dtype}, the weights are {weight.dtype}: convert one with astype or Module.to")


def weights(kernel: Any, w: Any) -> Any:
    """The array w as `kernel` reads it: one that has a layout of its own converts it once, for forward and backward."""
    return kernel.weights(w) if hasattr(kernel, "weights") else w


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1."""
    return x.reshape(*shape)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions start_dim .. end_dim into one."""
    start, end = range(x.ndim)[start_dim], range(x.ndim)[end_dim]
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


class Transpose(Function):
    def __init__(self, dim0: int, dim1: int) -> None:
        self.dims = dim0, dim1

    def forward(self, x: Array) -> Array:
        self.ndim = x.ndim
        return self.device.xp.ascontiguousarray(x.swapaxes(*self.dims))

    def backward(self, gy: Array) -> Array:
        return gy.swapaxes(*self.dims)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """The dimensions dim0 and dim1 change places."""
    return Transpose.apply(x, dim0=dim0, dim1=dim1)


class Cat(Function):
    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, *xs: Array) -> Array:
        self.cuts = list(accumulate(x.shape[self.dim] for x in xs))[:-1]
        return self.device.xp.concatenate(xs, self.dim)

    def backward(self, gy: Array) -> tuple:
        return tuple(self.device.xp.split(gy, self.cuts, self.dim))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along `dim`; all other sizes must agree."""
    if not tensors:
        raise ValueError("cat takes at least one tensor")
    return Cat.apply(*tensors, dim=dim)


class Pad(Function):
    def __init__(self, widths: tuple) -> None:
        self.widths = widths

    def forward(self, x: Array) -> Array:
        return self.device.xp.pad(x, self.widths)

    def backward(self, gy: Array) -> Array:
        return gy[
            tuple(slice(before, size - after) for (before, after), size in zip(self.widths, gy.shape, strict=True))
        ]


def pad(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Zeros around the last dimensions: (left, right), or (left, right, top, bottom), ..."""
    pairs = [tuple(widths[i : i + 2]) for i in range(0, len(widths), 2)]
    return Pad.apply(x, widths=(*[(0, 0)] * (x.ndim - len(pairs)), *reversed(pairs)))
