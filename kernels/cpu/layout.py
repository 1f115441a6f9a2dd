"""Images innermost: how arrays lie in memory between the kernels of the CPU.

    logical   x (n, c, h, w), as everywhere
    physical  lines(x) (c, h, w, lanes), C-contiguous but for the gap behind the lanes

           image 0 1 2 3 ... 15 | 16 17 ... n-1 - - - | gap
    c,h,w    [  a line of 64 B  |  the next line      |     ]   one row of lanes; the next row is the next pixel

Each vector of a kernel then holds the same pixel of 4, 8 or 16 images: channels, kernel sizes and strides may be
anything, no lane is ever wasted on them, and no kernel shuffles lanes (cuda-convnet kept its images this way, too,
Krizhevsky 2012). Since the batch is a dimension with a stride like any other, these are ordinary NumPy arrays of
shape (n, c, h, w): the layout is in the strides. Flattening and unflattening c, h, w stays a view.

The last line is filled up with lanes that belong to no image. Every kernel computes whole lines, so they hold
numbers: zeros in a gradient, something finite in an activation, which makes sums over all lanes right.

Rows of lanes whose length is a multiple of 256 bytes would lie in few sets of the cache; those get one line more.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .compiled import compiled
from .memory import POOL, Block

LINE = 16  # images
LINE_BYTES = 4 * LINE
_SMALL = 1 << 12  # bytes that the system gives as fast as the pool


def line_count(n: int) -> int:
    """The lines that n images take."""
    return -(-n // LINE)


class _Place(NamedTuple):
    """How an array (n, ...) lies in this layout."""

    strides: tuple[int, ...]
    lines: tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides of (..., lanes)
    size: int  # bytes
    shape_of: tuple[int, int]  # Block's


@lru_cache(maxsize=1024)
def _place(shape: tuple[int, ...], dtype: type) -> _Place:
    n, *rest = shape
    item = np.dtype(dtype).itemsize
    count = line_count(n)
    size = (count + (count % 4 == 0)) * LINE * item
    strides: list[int] = []
    for length in reversed(rest):
        strides.insert(0, size)
        size *= length
    physical = (*rest, count * LINE), (*strides, item)
    return _Place((item, *strides), physical, size, (n, prod(shape)))


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """x (n, ...), an array of the pool in this layout with undefined content, and lines(x)."""
    place = _place(shape, dtype)
    block = POOL.take(place.size)
    block.shape_of = place.shape_of
    physical, strides = place.lines
    return np.ndarray(shape, dtype, block, 0, place.strides), np.ndarray(physical, dtype, block, 0, strides)


def plain(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """A C-contiguous array, of the pool where it is not small, its content undefined."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.empty(shape, dtype) if size < _SMALL else np.ndarray(shape, dtype, POOL.take(size))


def _block(x: np.ndarray, place: _Place) -> Block | None:
    """The memory of x, where x is all of an array that `empty` made, perhaps flattened since; else None."""
    base = x.base
    while type(base) is np.ndarray:
        base = base.base
    if type(base) is not Block or base.shape_of != place.shape_of:
        return None
    dense = x.strides == place.strides or all(
        a == b or length == 1 for a, b, length in zip(x.strides, place.strides, x.shape, strict=True)
    )
    return base if dense else None


def lines(x: np.ndarray) -> np.ndarray:
    """x (n, ...) as it lies in memory, (..., lanes): its own memory where x is in this layout, else a copy of it."""
    dtype: Any = x.dtype.type
    place = _place(x.shape, dtype)
    block = _block(x, place)
    if block is None:
        y, physical = empty(x.shape, dtype)
        if x.strides[0] == x.itemsize:  # images innermost, but in other memory: what NumPy makes of ours
            y[...] = x
            physical[..., len(x) :] = 0
            return physical
        writable = np.require(x, requirements=["C", "W"])  # as the type of the kernel's argument is
        rows = writable.reshape(len(x), prod(x.shape[1:]))
        _fill_lines(rows, physical.reshape(rows.shape[1], physical.shape[-1]))
        return physical
    shape, strides = place.lines
    return np.ndarray(shape, dtype, block, 0, strides)


def to_out(result: Any, out: Any) -> Any:
    """`result`, an array or a tuple of them, or `out` filled with it: what a caller who owns the memory asked for.

    What is None in the result stays None.
    """
    if out is None or result is None:
        return result
    if isinstance(result, tuple):
        return tuple(to_out(each, to) for each, to in zip(result, out, strict=True))
    out[...] = result
    return out


@compiled("void(f4[:,::1], f4[:,:])", "void(u1[:,::1], u1[:,:])")
def _fill_lines(x, y):
    """x (n, k) -> y (k, lanes), zeros in the lanes from n on. In squares, so that both sides stay in the cache."""
    n, k = x.shape
    for lane0 in range(0, y.shape[1], LINE):
        images = min(LINE, n - lane0)
        for i0 in range(0, k, LINE):
            count = min(LINE, k - i0)
            for lane in range(images):
                for i in range(count):
                    y[i0 + i, lane0 + lane] = x[lane0 + lane, i0 + i]
            for i in range(count):
                y[i0 + i, lane0 + images : lane0 + LINE] = 0
