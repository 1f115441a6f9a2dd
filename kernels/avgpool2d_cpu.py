"""2-D average pooling on the CPU: a vector holds one pixel of several images. Shapes as in avgpool2d_xp.py.

Backward gathers, so threads share no result. ValueError where shapes do not go together.
"""

import numpy as np
from numba import prange

from .arrays import Array, Pair, out_size
from .cpu import layout
from .cpu.compiled import FEW, compiled, inlined
from .cpu.simd import LANES, address, load, splat, store
from .cpu.windows import along, readers
from .shapes import expect


def forward(x: Array, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, oh, ow)"""
    y, y_lines = layout.empty((*x.shape[:2], *out_size(x.shape[2:], size, stride, padding)))
    _forward(layout.lines(x), y_lines, *size, *stride, *padding)
    return layout.to_out(y, out)


def backward(
    gy: Array, x_shape: tuple, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, c, h, w)"""
    expect("gy", gy, (*x_shape[:2], *out_size(x_shape[2:], size, stride, padding)))
    gx, gx_lines = layout.empty(x_shape)
    rows, columns = along(readers, x_shape[2:], gy.shape[2:], size, stride, padding)
    _backward(layout.lines(gy), gx_lines, rows, columns, 1 / (size[0] * size[1]))
    return layout.to_out(gx, out)


@compiled("void(f4[:,:,:,:], f4[:,:,:,:], i8, i8, i8, i8, i8, i8)", parallel=True)
def _forward(x, y, kh, kw, sh, sw, ph, pw):
    rows = y.shape[0] * y.shape[1]
    if x.size < FEW:
        for row in range(rows):
            _forward_row(x, y, row, kh, kw, sh, sw, ph, pw)
    else:
        for row in prange(rows):
            _forward_row(x, y, np.int64(row), kh, kw, sh, sw, ph, pw)


@inlined
def _forward_row(x, y, row, kh, kw, sh, sw, ph, pw):
    """One row of windows. Padding adds nothing."""
    c, oy = row // y.shape[1], row % y.shape[1]
    top, share = oy * sh - ph, splat(np.float32(1 / (kh * kw)))
    for ox in range(y.shape[2]):
        left = ox * sw - pw
        for lane in range(0, y.shape[3], LANES):
            total = splat(np.float32(0))
            for iy in range(max(0, top), min(top + kh, x.shape[1])):
                for ix in range(max(0, left), min(left + kw, x.shape[2])):
                    total = total + load(address(x, (c, iy, ix, lane)))
            store(address(y, (c, oy, ox, lane)), total * share)


@compiled("void(f4[:,:,:,:], f4[:,:,:,:], i8[:,::1], i8[:,::1], f4)", parallel=True)
def _backward(gy, gx, rows, columns, share):
    count = gx.shape[0] * gx.shape[1]
    if gx.size < FEW:
        for row in range(count):
            _backward_row(gy, gx, row, rows, columns, share)
    else:
        for row in prange(count):
            _backward_row(gy, gx, np.int64(row), rows, columns, share)


@inlined
def _backward_row(gy, gx, row, rows, columns, share):
    """One row of inputs, each from all windows over it: rows, columns of `readers`."""
    c, iy = row // gx.shape[1], row % gx.shape[1]
    tall, oy = rows[iy, 1], rows[iy, 2]
    for ix in range(gx.shape[2]):
        wide, ox = columns[ix, 1], columns[ix, 2]
        for lane in range(0, gx.shape[3], LANES):
            total = splat(np.float32(0))
            for up in range(tall):
                last = address(gy, (c, oy - up, ox, lane))
                for back in range(wide):
                    total = total + load(last - back * gy.strides[2]) * splat(share)
            store(address(gx, (c, iy, ix, lane)), total)
