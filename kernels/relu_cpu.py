"""The rectified linear unit on the CPU, a vector at a time. Formula as in relu_xp.py.

ValueError where shapes do not go together.
"""

from math import prod

import numpy as np
from numba import prange

from .arrays import Array
from .cpu import layout
from .cpu.compiled import FEW, compiled, inlined
from .cpu.simd import LANES, load, splat, store, where_greater, where_not_less_or_equal
from .shapes import expect

_PARTS = 32


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y, of x's shape; NaN stays NaN."""
    y, y_lines = layout.empty(x.shape or (1,))
    _forward(_rows(_lines(x)), _rows(y_lines))
    return layout.to_out(y.reshape(x.shape), out)


def backward(gy: Array, y: Array, out: Array | None = None, workspace=None) -> Array:
    """gx: gy where y is positive, else 0."""
    expect("gy", gy, y.shape)
    gx, gx_lines = layout.empty(gy.shape or (1,))
    _backward(_rows(_lines(gy)), _rows(_lines(y)), _rows(gx_lines))
    return layout.to_out(gx.reshape(gy.shape), out)


def _lines(x: np.ndarray) -> np.ndarray:
    """A number without dimensions is one image."""
    return layout.lines(x if x.ndim else x.reshape(1))


def _rows(x: np.ndarray) -> np.ndarray:
    """(..., lanes) -> (rows, lanes)"""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


@compiled("void(f4[:,:], f4[:,:])", parallel=True)
def _forward(x, y):
    rows = x.shape[0]
    if x.size < FEW:
        _forward_part(x, y, 0, rows)
    else:
        for i in prange(_PARTS):
            _forward_part(x, y, i * rows // _PARTS, (i + 1) * rows // _PARTS)


@inlined
def _forward_part(x, y, start, stop):
    zero = splat(np.float32(0))
    for row in range(start, stop):
        from_, to = x.ctypes.data + row * x.strides[0], y.ctypes.data + row * y.strides[0]
        for lane in range(0, x.shape[1], LANES):
            value = load(from_ + lane * 4)
            store(to + lane * 4, where_not_less_or_equal(value, zero, value, zero))


@compiled("void(f4[:,:], f4[:,:], f4[:,:])", parallel=True)
def _backward(gy, y, gx):
    rows = y.shape[0]
    if y.size < FEW:
        _backward_part(gy, y, gx, 0, rows)
    else:
        for i in prange(_PARTS):
            _backward_part(gy, y, gx, i * rows // _PARTS, (i + 1) * rows // _PARTS)


@inlined
def _backward_part(gy, y, gx, start, stop):
    zero = splat(np.float32(0))
    for row in range(start, stop):
        gy_at, y_at, gx_at = (
            gy.ctypes.data + row * gy.strides[0],
            y.ctypes.data + row * y.strides[0],
            gx.ctypes.data + row * gx.strides[0],
        )
        for lane in range(0, y.shape[1], LANES):
            store(gx_at + lane * 4, where_greater(load(y_at + lane * 4), zero, load(gy_at + lane * 4), zero))
