"""What launches have in common: arrays have the shape that a kernel will take for granted, and int32 counts them."""

from typing import Any

import numpy as np

from .arrays import Array, namespace
from .launch import total

_MOST = 2**31 - 1024  # the threads of the last block count on behind the end


def expect(name: str, array: Array, shape: tuple) -> None:
    """ValueError where `array` has another shape: a kernel would read or write beside it."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


def countable(*shapes: tuple) -> None:
    """NotImplementedError where an array of one of `shapes` has more elements than int32 indices can name."""
    for shape in shapes:
        total(shape, _MOST)


def fours(*arrays: Array) -> int:
    """How many groups of four elements a kernel can take in one 16-byte access each: none where an array of
    float32 begins between two such groups.
    """
    addresses = (array.data.ptr if hasattr(array, "get") else array.ctypes.data for array in arrays)
    return 0 if any(address % 16 for address in addresses) else arrays[0].size // 4


def in_memory(name: str, value: Any, like: Array, dtype: str) -> Array:
    """A number as a kernel reads it, from memory beside `like`: an array of one element is it already."""
    if isinstance(value, (int, float, np.generic)):
        return namespace(like).full(1, value, dtype)
    if value.size != 1:
        raise ValueError(f"{name} is a number or an array of one element, got shape {value.shape}")
    return value


def result(name: str, like: Array, shape: tuple, out: Array | None, dtype: Any = None) -> Array:
    """`out`, which must have `shape`, or a new array beside `like`, of its dtype unless another one is given."""
    if out is None:
        return namespace(like).empty(shape, dtype or like.dtype)
    expect(name, out, shape)
    return out


def scratch(op: str, like: Array, size: int, workspace: Array | None) -> Array:
    """`workspace`, or a new array of `size` beside `like`. ValueError where it is too small."""
    if workspace is None:
        return namespace(like).empty(size, like.dtype)
    if workspace.size < size:
        raise ValueError(f"workspace has {workspace.size} elements, {op} needs {size} here")
    return workspace
