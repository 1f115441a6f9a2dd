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

import numpy as np

from .compiled import compiled
from .memory import POOL, Block

LINE = 16  # images
LINE_BYTES = 4 * LINE


def line_count(n: int) -> int:
    """The lines that n images take."""
    return -(-n // LINE)


@lru_cache(maxsize=1024)
def _strides(shape: tuple[int, ...], item: int) -> tuple[tuple[int, ...], int]:
    """(strides, bytes) of an array (n, ...) in this layout."""
    n, *rest = shape
    count = line_count(n)
    size = (count + (count % 4 == 0)) * LINE * item
    strides = []
    for length in reversed(rest):
        strides.append(size)
        size *= length
    return (item, *reversed(strides)), size


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """An array (n, ...) of the pool in this layout, its content undefined."""
    strides, size = _strides(shape, np.dtype(dtype).itemsize)
    block = POOL.take(size)
    block.shape_of = shape[0], prod(shape)
    return np.ndarray(shape, dtype, block, 0, strides)


def plain(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """A C-contiguous array of the pool, its content undefined."""
    return np.ndarray(shape, dtype, POOL.take(prod(shape) * np.dtype(dtype).itemsize))


def _block(x: np.ndarray) -> Block | None:
    """The memory of x, where x is all of an array that `empty` made, perhaps flattened since; else None."""
    base = x.base
    while type(base) is np.ndarray:
        base = base.base
    if type(base) is not Block or base.shape_of != (len(x), x.size):
        return None
    strides, _ = _strides(x.shape, x.itemsize)
    dense = x.strides == strides or all(
        a == b or length == 1 for a, b, length in zip(x.strides, strides, x.shape, strict=True)
    )
    return base if dense else None


def lines(x: np.ndarray) -> np.ndarray:
    """x (n, ...) as it lies in memory, (..., lanes): its own memory where x is in this layout, else a copy of it."""
    block = _block(x)
    if block is None:
        y = empty(x.shape, x.dtype.type)
        physical = lines(y)
        rows = np.require(x, requirements="CW").reshape(len(x), prod(x.shape[1:]))  # writable: as the kernel's type is
        _fill_lines(rows, physical.reshape(rows.shape[1], physical.shape[-1]))
        return physical
    strides, _ = _strides(x.shape, x.itemsize)
    return np.ndarray((*x.shape[1:], line_count(len(x)) * LINE), x.dtype, block, 0, (*strides[1:], x.itemsize))


def to_out(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """`result`, or `out` filled with it: what a caller who owns the memory asked for."""
    if out is None:
        return result
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
