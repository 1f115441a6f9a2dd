"""2-D max pooling in Numba: maxpool2d.cu line by line, with the reasons there. Shapes as in maxpool2d_xp.py.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements or a byte the places in a window.
"""

from math import inf

from numba import cuda, float32

from .arrays import Array, Pair
from .launch import Bytes, Floats, Int, numba_kernel
from .pooling import BLOCK, backward_result, blocks, maximum_result
from .shapes import expect


@numba_kernel
def maxpool2d_forward(
    x: Floats, y: Floats, code: Bytes, n: Int, c: Int, h: Int, w_: Int, kh: Int, kw: Int, sh: Int, sw: Int, ph: Int,
    pw: Int, oh: Int, ow: Int,
):  # fmt: skip
    """Thread i computes y[i] and code[i]: of the places of its window in the image, the first of the largest."""
    i = cuda.grid(1)
    if i >= n * c * oh * ow:
        return
    ox, oy, plane = i % ow, i // ow % oh, i // (ow * oh)
    top, left = oy * sh - ph, ox * sw - pw
    ky0, ky1 = max(-top, 0), min(h - top, kh)
    kx0, kx1 = max(-left, 0), min(w_ - left, kw)
    best = float32(-inf)
    place = ky0 * kw + kx0
    for ky in range(ky0, ky1):
        for kx in range(kx0, kx1):
            value = x[(plane * h + top + ky) * w_ + left + kx]
            if value > best or (value != value and best == best):  # a NaN differs from itself
                best = value
                place = ky * kw + kx
    y[i] = best
    code[i] = place


@numba_kernel
def maxpool2d_backward(
    gy: Floats, code: Bytes, gx: Floats, n: Int, c: Int, h: Int, w_: Int, kh: Int, kw: Int, sh: Int, sw: Int, ph: Int,
    pw: Int, oh: Int, ow: Int,
):  # fmt: skip
    """Thread i computes gx[i] from the windows that its input is in, oy0 .. oy1-1 by ox0 .. ox1-1."""
    i = cuda.grid(1)
    if i >= n * c * h * w_:
        return
    ix, iy, plane = i % w_, i // w_ % h, i // (w_ * h)
    oy0, oy1 = max(iy + ph - kh + sh, 0) // sh, min((iy + ph) // sh + 1, oh)
    ox0, ox1 = max(ix + pw - kw + sw, 0) // sw, min((ix + pw) // sw + 1, ow)
    sum = float32(0)
    for oy in range(oy0, oy1):
        for ox in range(ox0, ox1):
            o = (plane * oh + oy) * ow + ox
            place = (iy + ph - oy * sh) * kw + ix + pw - ox * sw
            if code[o] == place:
                sum += gy[o]
    gx[i] = sum


def forward(
    x: Array, size: Pair, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and code (n, c, oh, ow)."""
    g, y, code = maximum_result(x, size, stride, padding, out)
    maxpool2d_forward.launch(blocks(y), (BLOCK,), (x, y, code, *g))
    return y, code


def backward(
    gy: Array,
    code: Array,
    x_shape: tuple,
    size: Pair,
    stride: Pair,
    padding: Pair,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """gx (n, c, h, w)."""
    expect("code", code, gy.shape)
    g, gx = backward_result(gy, x_shape, size, stride, padding, out)
    maxpool2d_backward.launch(blocks(gx), (BLOCK,), (gy, code, gx, *g))
    return gx
