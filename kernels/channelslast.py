"""Channels innermost: how arrays lie in memory between the kernels of tensor cores.

    logical   x (n, c, h, w), as everywhere
    physical  (n, h, w, padded), padded being c filled up to a multiple of 4

A 16-byte copy then brings 4 channels of a pixel. As on the CPU (cpu/layout.py) the layout is in the strides: results
are views (n, c, h, w) of such memory, and an array that lies otherwise is converted by one kernel. What stands in the
channels from c on is nobody's, and counts nowhere; only in weights it is zeros.
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
    return _address(x) % (4 * x.itemsize) == 0


def _address(x: Array) -> int:
    return x.data.ptr if hasattr(x, "get") else x.ctypes.data


def channels_last(x: Array) -> Array:
    """x (n, c, h, w) in this layout: as it is where it is in it, else a copy."""
    return x if _is_here(x) and _aligned(x) else _copy(x)


def whole(x: Array) -> Array:
    """x in this layout, as the array (n, h, w, padded) that it is cut from, or a copy of such a shape.

    For kernels that read all channels of a pixel, those that fill it up among them: behind the last one of an array
    that merely lies so there may be nothing.
    """
    x = channels_last(x)
    n, c, h, w = x.shape
    shape, base = (n, h, w, padded(c)), x.base
    if getattr(base, "shape", None) == shape and base.dtype == x.dtype and _address(base) == _address(x):
        return base
    return memory(x).reshape(shape) if c == padded(c) else _copy(x).base


def _copy(x: Array) -> Array:
    y = empty(x, x.shape)
    if x.dtype == "uint8":  # codes, which lie otherwise in no network
        y[...] = x
        return y
    x = namespace(x).ascontiguousarray(x)
    n, c, h, w = x.shape
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


def weights(w: Array) -> Array:
    """w (co, ci, kh, kw) in this layout, for `read_weights`: as it is if it needs no copy, else one for both ways."""
    co, ci, kh, kw = w.shape
    if _both_ways(w) is not None or (kh == kw == 1 and ci == padded(ci) and w.flags.c_contiguous and _aligned(w)):
        return w
    forward = _convert(w, 0)[0, : co * kh * kw * padded(ci)]
    return forward.reshape(co, kh, kw, padded(ci))[..., :ci].transpose(0, 3, 1, 2)


def read_weights(w: Array, back: bool = False) -> Array:
    """What the kernels read of `weights(w)`: (co, kh, kw, padded ci), or going back (ci, kh, kw, padded co), the window
    turned around. The latter lies behind the former, or is made where `weights` made no copy.
    """
    co, ci, kh, kw = w.shape
    forward = co * kh * kw * padded(ci)
    if back and _both_ways(w) is None:
        return _convert(w, forward)
    w = weights(w)
    both = _both_ways(w)
    return w if both is None else both[0, forward:] if back else both[0, :forward]


def _both_ways(w: Array) -> Array | None:
    """The memory of an array that `weights` made: of a shape that no other array is cut from."""
    found = getattr(w.base, "shape", None) == _shape_of_both(w) and _address(w.base) == _address(w) and _is_here(w)
    return w.base if found else None


def _shape_of_both(w: Array) -> tuple[int, int]:
    co, ci, kh, kw = w.shape
    return 1, kh * kw * (co * padded(ci) + ci * padded(co))


def _convert(w: Array, skipped: int) -> Array:
    """Weights for both ways without the first `skipped` numbers."""
    w = namespace(w).ascontiguousarray(w)
    co, ci, kh, kw = w.shape
    one, size = _shape_of_both(w)
    countable((one, size))
    y = namespace(w).empty((one, size - skipped), w.dtype)
    grid = (ceil_div(y.size, _BLOCK),)
    kernels.launch("weights_innermost", grid, (_BLOCK,), (w, y, co, ci, kh * kw, skipped))
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
