"""2-D average pooling in Numba: avgpool2d.cu line by line, with the reasons there. Shapes as in avgpool2d_xp.py.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from numba import cuda, float32

from .arrays import Array, Pair
from .launch import Floats, Int, numba_kernel
from .pooling import BLOCK, average_result, backward_result, blocks


@numba_kernel
def avgpool2d_forward(
    x: Floats, y: Floats, n: Int, c: Int, h: Int, w_: Int, kh: Int, kw: Int, sh: Int, sw: Int, ph: Int, pw: Int,
    oh: Int, ow: Int,
):  # fmt: skip
    """Thread i computes y[i] from the places of its window that lie in the image."""
    i = cuda.grid(1)
    if i >= n * c * oh * ow:
        return
    ox, oy, plane = i % ow, i // ow % oh, i // (ow * oh)
    top, left = oy * sh - ph, ox * sw - pw
    ky0, ky1 = max(-top, 0), min(h - top, kh)
    kx0, kx1 = max(-left, 0), min(w_ - left, kw)
    sum = float32(0)
    for ky in range(ky0, ky1):
        for kx in range(kx0, kx1):
            sum += x[(plane * h + top + ky) * w_ + left + kx]
    y[i] = sum / float32(kh * kw)


@numba_kernel
def avgpool2d_backward(
    gy: Floats, gx: Floats, n: Int, c: Int, h: Int, w_: Int, kh: Int, kw: Int, sh: Int, sw: Int, ph: Int, pw: Int,
    oh: Int, ow: Int,
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
            sum += gy[(plane * oh + oy) * ow + ox]
    gx[i] = sum / float32(kh * kw)


def forward(x: Array, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, oh, ow)."""
    g, y = average_result(x, size, stride, padding, out)
    avgpool2d_forward.launch(blocks(y), (BLOCK,), (x, y, *g))
    return y


def backward(
    gy: Array, x_shape: tuple, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, c, h, w)."""
    g, gx = backward_result(gy, x_shape, size, stride, padding, out)
    avgpool2d_backward.launch(blocks(gx), (BLOCK,), (gy, gx, *g))
    return gx
