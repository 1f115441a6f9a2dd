"""Global average pooling on the CPU: a vector holds one pixel of several images. Shapes as in globalavgpool2d_xp.py.

ValueError where shapes do not go together.
"""

from math import prod

import numpy as np

from .arrays import Array
from .cpu import layout
from .cpu.compiled import compiled
from .cpu.simd import LANES, load, splat, store
from .shapes import expect


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, 1, 1)"""
    y, y_lines = layout.empty((*x.shape[:2], 1, 1))
    _forward(_planes(layout.lines(x)), _planes(y_lines))
    return layout.to_out(y, out)


def backward(gy: Array, x_shape: tuple, out: Array | None = None, workspace=None) -> Array:
    """gx (n, c, h, w)"""
    expect("gy", gy, (*x_shape[:2], 1, 1))
    gx, gx_lines = layout.empty(x_shape)
    _backward(_planes(layout.lines(gy)), _planes(gx_lines))
    return layout.to_out(gx, out)


def _planes(x: np.ndarray) -> np.ndarray:
    """(c, h, w, lanes) -> (c, pixels, lanes)"""
    return x.reshape(len(x), prod(x.shape[1:-1]), x.shape[-1])


@compiled("void(f4[:,:,:], f4[:,:,:])")
def _forward(x, y):
    """x (c, pixels, lanes) -> y (c, 1, lanes)"""
    channels, pixels, lanes = x.shape
    share = splat(np.float32(1 / pixels))
    for c in range(channels):
        for lane in range(0, lanes, LANES):
            total = splat(np.float32(0))
            for pixel in range(pixels):
                total = total + load(x.ctypes.data + c * x.strides[0] + pixel * x.strides[1] + lane * 4)
            store(y.ctypes.data + c * y.strides[0] + lane * 4, total * share)


@compiled("void(f4[:,:,:], f4[:,:,:])")
def _backward(gy, gx):
    """gy (c, 1, lanes) -> gx (c, pixels, lanes)"""
    channels, pixels, lanes = gx.shape
    share = splat(np.float32(1 / pixels))
    for c in range(channels):
        for pixel in range(pixels):
            for lane in range(0, lanes, LANES):
                each = load(gy.ctypes.data + c * gy.strides[0] + lane * 4) * share
                store(gx.ctypes.data + c * gx.strides[0] + pixel * gx.strides[1] + lane * 4, each)
