"""Channels innermost: how arrays lie in memory between the kernels of tensor cores.

    logical   x (n, c, h, w), as everywhere
    physical  (n, h, w, padded), padded being c filled up to a multiple of 4

A 16-byte copy then brings 4 channels of a pixel. As on the CPU (cpu/layout.py) the layout is in the strides: results
are views (n, c, h, w) of such memory, and an array that lies otherwise is converted by one kernel. What stands in the
channels from c on is never read.
"""

from typing import Any

from .arrays import Array, namespace
from .launch import CudaC, ceil_div
from .shapes import countable, result

kernels = CudaC("channelslast")

_SIDE, _BLOCK = 32, 256
Strides = tuple[int, int, int, int]


def padded(channels: int) -> int:
    """The channels that a pixel has room for."""
    return ceil_div(channels, 4) * 4


def empty(like: Array, shape: tuple, dtype: Any = None) -> Array:
    """A new array (n, c, h, w) in this layout, beside `like` and of its dtype unless another one is given."""
    n, c, h, w = shape
    countable((n, h, w, padded(c)))
    memory = namespace(like).empty((n, h, w, padded(c)), dtype or like.dtype)
    return memory[..., :c].transpose(0, 3, 1, 2)


def strides(x: Array) -> Strides:
    """In elements; those along a length of 1 as if it were longer, in the layout where x may be in it."""
    _, c, h, w = x.shape
    inner = padded(c)
    ours = h * w * inner, 1, w * inner, inner
    steps = tuple(step // x.itemsize for step in x.strides)
    if all(length == 1 or a == b for length, a, b in zip(x.shape, steps, ours, strict=True)):
        return ours
    return steps


def memory(x: Array) -> Array:
    """The memory of x, in this layout or C-contiguous, as a C-contiguous array that kernels take. Else ValueError."""
    if x.flags.c_contiguous:
        return x
    n, c, h, w = x.shape
    if not _is_here(x):
        raise ValueError(f"an array of shape {x.shape} and strides {x.strides} is in no layout that kernels know")
    span = (n * h * w - 1) * padded(c) + c  # without the channels behind the last pixel's: they may be somebody else's
    return namespace(x).lib.stride_tricks.as_strided(x, (span,), (x.itemsize,))


def _is_here(x: Array) -> bool:
    inner = padded(x.shape[1])
    return x.size > 0 and strides(x) == (x.shape[2] * x.shape[3] * inner, 1, x.shape[3] * inner, inner)


def _aligned(x: Array) -> bool:
    """Whether x starts where 4 elements may be copied at once; a parameter, cut from a long vector, may not."""
    return (x.data.ptr if hasattr(x, "get") else x.ctypes.data) % (4 * x.itemsize) == 0


def channels_last(x: Array) -> Array:
    """x (n, c, h, w) in this layout: as it is where it is in it, else a copy."""
    if _is_here(x) and _aligned(x):
        return x
    x = namespace(x).ascontiguousarray(x)
    n, c, h, w = x.shape
    y = empty(x, x.shape)
    grid = ceil_div(n * h * w, _SIDE), ceil_div(c, _SIDE)
    kernels.launch("channels_innermost", grid, (_SIDE * 8,), (x, memory(y), n, c, h * w, padded(c)))
    return y


def contiguous(x: Array) -> Array:
    """x, of any shape, C-contiguous: as it is, or a copy; from this layout by one kernel."""
    if x.flags.c_contiguous:
        return x
    if x.ndim != 4 or x.dtype != "float32" or not _is_here(x):
        return namespace(x).ascontiguousarray(x)
    n, c, h, w = x.shape
    y = namespace(x).empty(x.shape, x.dtype)
    grid = ceil_div(n * h * w, _SIDE), ceil_div(c, _SIDE)
    kernels.launch("channels_outermost", grid, (_SIDE * 8,), (memory(x), y, n, c, h * w, padded(c)))
    return y


def copied(x: Array) -> Array:
    """A copy that lies in memory as x does."""
    return x.copy() if x.flags.c_contiguous or x.ndim != 4 else channels_last(x.copy())


def weights(w: Array, back: bool = False) -> Array:
    """w (co, ci, kh, kw) -> (co, kh, kw, padded ci); going back (ci, kh, kw, padded co), the window turned around."""
    w = namespace(w).ascontiguousarray(w)
    co, ci, kh, kw = w.shape
    taps = kh * kw
    if taps == 1 and not back and ci == padded(ci) and _aligned(w):
        return w
    rows, columns, row_step, column_step = (ci, co, taps, ci * taps) if back else (co, ci, ci * taps, taps)
    countable((rows, kh, kw, padded(columns)))
    y = namespace(w).empty((rows, kh, kw, padded(columns)), w.dtype)
    sizes = rows, taps, columns, padded(columns), row_step, column_step, back
    kernels.launch("weights_innermost", (ceil_div(y.size, _BLOCK),), (_BLOCK,), (w, y, *sizes))
    return y


def unpool(gy: Array, code: Array, shape: tuple, pool: tuple[int, int]) -> Array:
    """The gradient (n, co, oh, ow) before ReLU and pooling of what lies after them, gy; in this layout."""
    n, c, oh, ow = shape
    gz = empty(gy, shape)
    gy, code = (x if x.flags.c_contiguous or _is_here(x) else namespace(x).ascontiguousarray(x) for x in (gy, code))
    grid = (ceil_div(n * oh * ow * padded(c), _BLOCK),)
    sizes = n, c, padded(c), oh, ow, *pool, *strides(gy), *strides(code)
    kernels.launch("unpool", grid, (_BLOCK,), (memory(gy), memory(code), memory(gz), *sizes))
    return gz


def output(like: Array, shape: tuple, out: Array | None, dtype: Any = None) -> Array:
    """`out`, which must have `shape` and be C-contiguous or in this layout, or a new array in it."""
    return empty(like, shape, dtype) if out is None else result("out", like, shape, out, dtype)
