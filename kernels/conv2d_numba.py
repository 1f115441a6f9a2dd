"""2-D cross-correlation in Numba CUDA, line against line with conv2d.cu. Shapes and formula as in conv2d_xp.py.

Rung 1 stands here, rung 3 in convgemm.py. Arrays are float32 and C-contiguous. ValueError where shapes do not go
together, TypeError for another dtype, NotImplementedError where int32 cannot count the elements.
"""

from numba import cuda, float32, int32, uint32

from . import convgemm
from .arrays import Array, Pair
from .convgemm import div, mod
from .convolution import (
    TAPS,
    THREADS,
    TILES,
    backward_input_result,
    backward_weight_result,
    channel_tile,
    forward_result,
    partial_sums,
    splits,
)
from .launch import Floats, Int, ceil_div, numba_kernel

_BLOCK = 256  # threads of the naive kernels


@numba_kernel
def conv2d_forward_naive(
    x: Floats, w: Floats, b: Floats, y: Floats, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int, kw: Int,
    sh: Int, sw: Int, ph: Int, pw: Int, oh: Int, ow: Int,
):  # fmt: skip
    i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i >= n * co * oh * ow:
        return
    ox, oy, o, image = mod(i, ow), mod(div(i, ow), oh), mod(div(i, ow * oh), co), div(i, ow * oh * co)
    total = b[uint32(o)] if b.size > 0 else float32(0)
    for c in range(ci):
        for ky in range(kh):
            iy = int32(oy * sh + ky - ph)
            if iy < 0 or iy >= h:
                continue
            for kx in range(kw):
                ix = int32(ox * sw + kx - pw)
                if ix < 0 or ix >= w_:
                    continue
                x_at = uint32(((image * ci + c) * h + iy) * w_ + ix)
                total += x[x_at] * w[uint32(((o * ci + c) * kh + ky) * kw + kx)]
    y[uint32(i)] = total


@numba_kernel
def conv2d_backward_input_naive(
    gy: Floats, w: Floats, gx: Floats, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int, kw: Int, sh: Int, sw: Int,
    ph: Int, pw: Int, oh: Int, ow: Int,
):  # fmt: skip
    i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i >= n * ci * h * w_:
        return
    ix, iy, c, image = mod(i, w_), mod(div(i, w_), h), mod(div(i, w_ * h), ci), div(i, w_ * h * ci)
    total = float32(0)
    for o in range(co):
        for ky in range(kh):
            oy = div(iy + ph - ky, sh)
            if iy + ph - ky < 0 or mod(iy + ph - ky, sh) != 0 or oy >= oh:
                continue
            for kx in range(kw):
                ox = div(ix + pw - kx, sw)
                if ix + pw - kx < 0 or mod(ix + pw - kx, sw) != 0 or ox >= ow:
                    continue
                gy_at = uint32(((image * co + o) * oh + oy) * ow + ox)
                total += gy[gy_at] * w[uint32(((o * ci + c) * kh + ky) * kw + kx)]
    gx[uint32(i)] = total


@numba_kernel
def conv2d_backward_weight_naive(
    gy: Floats, x: Floats, gw: Floats, gb: Floats, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int, kw: Int,
    sh: Int, sw: Int, ph: Int, pw: Int, oh: Int, ow: Int,
):  # fmt: skip
    i, weights = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x), int32(co * ci * kh * kw)
    if i >= weights + co:
        return
    bias = i >= weights
    kx, ky, c = mod(i, kw), mod(div(i, kw), kh), mod(div(i, kw * kh), ci)
    o = int32(i - weights) if bias else div(i, kw * kh * ci)
    total = float32(0)
    for image in range(n):
        for oy in range(oh):
            iy = int32(oy * sh + ky - ph)
            if not bias and (iy < 0 or iy >= h):
                continue
            for ox in range(ow):
                ix = int32(ox * sw + kx - pw)
                g = gy[uint32(((image * co + o) * oh + oy) * ow + ox)]
                if bias:
                    total += g
                elif ix >= 0 and ix < w_:
                    total += g * x[uint32(((image * ci + c) * h + iy) * w_ + ix)]
    if bias:
        gb[uint32(o)] = total
    else:
        gw[uint32(i)] = total


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow)."""
    g, y = forward_result(x, w, b, stride, padding, out)
    tile = channel_tile(g.co)
    grid = ceil_div(g.pixels, TILES[tile].pixels), ceil_div(g.co, tile)
    convgemm.forward(tile).launch(grid, (THREADS,), (x, w, b, y, *g))
    return y


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w)."""
    g, gx = backward_input_result(gy, w, x_shape, stride, padding, out)
    tile = channel_tile(g.ci)
    pixels = g.n * ceil_div(g.h, g.sh) * ceil_div(g.w_, g.sw)  # of each of the sh * sw classes
    grid = g.sh * g.sw * ceil_div(pixels, TILES[tile].pixels), ceil_div(g.ci, tile)
    convgemm.backward_input(tile).launch(grid, (THREADS,), (gy, w, gx, *g))
    return gx


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,). workspace: a float32 array of `convolution.workspace_size` or more elements."""
    g, gw, gb = backward_weight_result(gy, x, w_shape, stride, padding, out)
    tile, partial, (count, chunk) = channel_tile(g.co), partial_sums(gy, g, workspace), splits(g)
    grid = count, ceil_div(g.taps + 1, TAPS), ceil_div(g.co, tile)
    convgemm.backward_weight(tile).launch(grid, (THREADS,), (gy, x, partial, chunk, *g))
    arguments = partial, gw, gb, count, g.co, g.taps
    convgemm.conv2d_backward_weight_reduce.launch((ceil_div(g.co * (g.taps + 1), 32),), (256,), arguments)
    return gw, gb


# The ladder, as in conv2d_raw.py.


def forward_naive(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """One thread computes one output."""
    g, y = forward_result(x, w, b, stride, padding, out)
    conv2d_forward_naive.launch((ceil_div(y.size, _BLOCK),), (_BLOCK,), (x, w, b, y, *g))
    return y


def backward_input_naive(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """One thread computes one input's gradient."""
    g, gx = backward_input_result(gy, w, x_shape, stride, padding, out)
    conv2d_backward_input_naive.launch((ceil_div(gx.size, _BLOCK),), (_BLOCK,), (gy, w, gx, *g))
    return gx


def backward_weight_naive(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """One thread computes one weight's gradient, or one bias's."""
    g, gw, gb = backward_weight_result(gy, x, w_shape, stride, padding, out)
    conv2d_backward_weight_naive.launch((ceil_div(gw.size + gb.size, _BLOCK),), (_BLOCK,), (gy, x, gw, gb, *g))
    return gw, gb


forward_gemm, backward_input_gemm, backward_weight_gemm = forward, backward_input, backward_weight
