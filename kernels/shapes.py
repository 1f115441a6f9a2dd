"""What launches have in common: arrays have the shape that a kernel will take for granted, and int32 counts them."""

from typing import Any

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
