"""2-D max pooling on the CPU: a vector holds one pixel of several images. Shapes and codes as in maxpool2d_xp.py.

Backward gathers: each input adds up the gradients of those windows whose maximum it was, in the order of its places
in them, so threads share no result. ValueError where shapes do not go together, NotImplementedError for windows that
a byte has no codes for.
"""

import numpy as np
from numba import prange

from .arrays import Array, Pair, out_size
from .cpu import layout
from .cpu.compiled import FEW, compiled, inlined
from .cpu.simd import LANES, address, load, load_codes, splat, store, store_codes, where_equal, where_larger
from .cpu.windows import along, readers
from .maxpool2d_xp import DEAD
from .shapes import expect


def forward(
    x: Array, size: Pair, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and code (n, c, oh, ow)"""
    if size[0] * size[1] > DEAD:
        raise NotImplementedError(f"max pooling over {size[0]}x{size[1]} places: a window has at most {DEAD}")
    shape = *x.shape[:2], *out_size(x.shape[2:], size, stride, padding)
    (y, y_lines), (code, code_lines) = layout.empty(shape), layout.empty(shape, np.uint8)
    _forward(layout.lines(x), y_lines, code_lines, *size, *stride, *padding)
    return layout.to_out((y, code), out)


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
    """gx (n, c, h, w)"""
    expect("code", code, gy.shape)
    expect("gy", gy, (*x_shape[:2], *out_size(x_shape[2:], size, stride, padding)))
    gx, gx_lines = layout.empty(x_shape)
    rows, columns = along(readers, x_shape[2:], gy.shape[2:], size, stride, padding)
    _backward(layout.lines(gy), layout.lines(code), gx_lines, rows, columns, size[1], stride)
    return layout.to_out(gx, out)


@compiled("void(f4[:,:,:,:], f4[:,:,:,:], u1[:,:,:,:], i8, i8, i8, i8, i8, i8)", parallel=True)
def _forward(x, y, code, kh, kw, sh, sw, ph, pw):
    rows = y.shape[0] * y.shape[1]
    if x.size < FEW:
        for row in range(rows):
            _forward_row(x, y, code, row, kh, kw, sh, sw, ph, pw)
    else:
        for row in prange(rows):
            _forward_row(x, y, code, np.int64(row), kh, kw, sh, sw, ph, pw)


@inlined
def _forward_row(x, y, code, row, kh, kw, sh, sw, ph, pw):
    """One row of windows. Padding is never read: minus infinity at the first place that is none stands for it."""
    c, oy = row // y.shape[1], row % y.shape[1]
    top, left_step = oy * sh - ph, x.strides[2]
    ky0, ky1 = max(0, -top), min(kh, x.shape[1] - top)
    for ox in range(y.shape[2]):
        left = ox * sw - pw
        kx0, kx1 = max(0, -left), min(kw, x.shape[2] - left)
        for lane in range(0, y.shape[3], LANES):
            best, place = splat(np.float32(-np.inf)), splat(np.float32((ky0 * kw + kx0) % 256))
            for ky in range(ky0, ky1):
                line = address(x, (c, top + ky, left, lane))
                for kx in range(kx0, kx1):
                    value = load(line + kx * left_step)
                    place = where_larger(value, best, splat(np.float32(ky * kw + kx)), place)
                    best = where_larger(value, best, value, best)
            store(address(y, (c, oy, ox, lane)), best)
            store_codes(address(code, (c, oy, ox, lane)), place)


@compiled("void(f4[:,:,:,:], u1[:,:,:,:], f4[:,:,:,:], i8[:,::1], i8[:,::1], i8, UniTuple(i8, 2))", parallel=True)
def _backward(gy, code, gx, rows, columns, kw, stride):
    count = gx.shape[0] * gx.shape[1]
    if gx.size < FEW:
        for row in range(count):
            _backward_row(gy, code, gx, row, rows, columns, kw, stride)
    else:
        for row in prange(count):
            _backward_row(gy, code, gx, np.int64(row), rows, columns, kw, stride)


@inlined
def _backward_row(gy, code, gx, row, rows, columns, kw, stride):
    """One row of inputs. rows, columns: `readers`, whose taps are the places in the windows over an input."""
    c, iy = row // gx.shape[1], row % gx.shape[1]
    zero = splat(np.float32(0))
    ky, tall, oy = rows[iy, 0], rows[iy, 1], rows[iy, 2]
    for ix in range(gx.shape[2]):
        kx, wide, ox = columns[ix, 0], columns[ix, 1], columns[ix, 2]
        for lane in range(0, gx.shape[3], LANES):
            total = zero
            for up in range(tall):
                codes, shares = address(code, (c, oy - up, ox, lane)), address(gy, (c, oy - up, ox, lane))
                for back in range(wide):
                    place = splat(np.float32((ky + up * stride[0]) * kw + kx + back * stride[1]))
                    share = load(shares - back * gy.strides[2])
                    total = total + where_equal(load_codes(codes - back * code.strides[2]), place, share, zero)
            store(address(gx, (c, iy, ix, lane)), total)
