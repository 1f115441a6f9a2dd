"""Dropout on the CPU: Philox on a vector of images at a time. Shapes and draws as in dropout_xp.py, in float32.

ValueError where shapes do not go together.
"""

from math import prod

import numpy as np
from numba import prange

from .arrays import Array, number
from .cpu import layout
from .cpu.bits import draw_scales
from .cpu.compiled import compiled, inlined
from .cpu.simd import BYTES, LANES, load, store
from .shapes import expect

_WORD = 2**32
_FEW = 1 << 12  # draws, which take less time than threads take to start


def forward(
    x: Array,
    p: float,
    seed: int,
    use: int,
    epoch: int | Array,
    samples: Array,
    channels: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """y, of x's shape."""
    n = len(x)
    expect("samples", samples, (n,))
    y, to = layout.empty(x.shape)
    draws = prod(x.shape[1:2] if channels else x.shape[1:])
    lanes = to.shape[-1]
    shape = draws, prod(x.shape[1:]) // max(draws, 1), lanes
    places = layout.plain((lanes,), np.uint32)
    places[:n], places[n:] = samples, 0
    threshold = round(p * _WORD)
    scale = 1 / (1 - p) if threshold < _WORD else 0  # no draw reaches 2**32
    place = number(epoch), use, seed % _WORD, seed // _WORD % _WORD
    _scale(layout.lines(x).reshape(shape), to.reshape(shape), places, *place, threshold, scale)
    return layout.to_out(y, out)


def backward(
    gy: Array,
    p: float,
    seed: int,
    use: int,
    epoch: int | Array,
    samples: Array,
    channels: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """gx, of gy's shape: the same draws again."""
    return forward(gy, p, seed, use, epoch, samples, channels, out, workspace)


@compiled("void(f4[:,:,:], f4[:,:,:], u4[::1], i8, i8, i8, i8, i8, f4)", parallel=True)
def _scale(x, y, samples, epoch, use, key0, key1, threshold, scale):
    """x (draws, rows of a draw, lanes) -> y: times `scale` or 0."""
    fours = (x.shape[0] + 3) // 4
    if x.shape[0] * x.shape[2] < _FEW:
        for four in range(fours):
            _scale_four(x, y, samples, four, epoch, use, key0, key1, threshold, scale)
    else:
        for four in prange(fours):
            _scale_four(x, y, samples, four, epoch, use, key0, key1, threshold, scale)


@inlined
def _scale_four(x, y, samples, four, epoch, use, key0, key1, threshold, scale):
    """The draws 4*four .. 4*four + 3 of all images."""
    scales = np.empty((4, LANES), np.float32)
    for lane in range(0, x.shape[2], LANES):
        draw_scales(scales.ctypes.data, samples.ctypes.data + lane * 4, four, epoch, use, key0, key1, threshold, scale)
        for draw in range(min(4, x.shape[0] - 4 * four)):
            factor = load(scales.ctypes.data + draw * BYTES)
            x_at = x.ctypes.data + (4 * four + draw) * x.strides[0] + lane * 4
            y_at = y.ctypes.data + (4 * four + draw) * y.strides[0] + lane * 4
            for row in range(x.shape[1]):
                store(y_at + row * y.strides[1], load(x_at + row * x.strides[1]) * factor)
