"""Pictures into a batch on the CPU, written where the network will read them; see augment_xp.py.

There are only 256 pixel values: what they become in each channel is computed once, by the reference's operations, and
looked up. A thread fills a row of all pictures: the places of a row lie side by side, and stay in the cache.
"""

from typing import Any

import numpy as np
from numba import prange

from .arrays import Array
from .augment_xp import PAD, SQUARE
from .cpu.compiled import compiled, inlined
from .cpu.layout import empty, to_out

_NO_WORDS = np.zeros((0, 4), np.uint32)


def forward(
    x: Array,
    samples: Array,
    words: Any,
    mean: Array,
    std: Array,
    crop: bool,
    flip: bool,
    cutout: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """y (n, c, h, w); NotImplementedError for pixels that are no bytes."""
    if x.dtype != np.uint8 or mean.dtype != np.float32:
        raise NotImplementedError(f"augment takes uint8 to float32, got {x.dtype} to {mean.dtype}")
    table = ((np.arange(256, dtype=np.float32) - mean[:, None]) / std[:, None]).astype(np.float32)
    y, y_lines = empty((len(samples), *x.shape[1:]))
    _fill(x, samples, _NO_WORDS if words is None else words, table, crop, flip, cutout, y_lines)
    return to_out(y, out)


@inlined
def _below(draw, limit):
    """In 0 .. limit-1: see philox_xp.py."""
    return np.int64((np.uint64(draw) * np.uint64(limit)) >> np.uint64(32))


@compiled("void(u1[:,:,:,::1], i4[::1], u4[:,::1], f4[:,::1], b1, b1, b1, f4[:,:,:,:])", parallel=True)
def _fill(x, samples, words, table, crop, flip, cutout, y):
    channels, h, w = y.shape[:3]
    n = len(samples)
    down, right, mirrored = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for image in range(n):
        if crop:
            down[image] = _below(words[image, 0], 2 * PAD + 1) - PAD
            right[image] = _below(words[image, 1], 2 * PAD + 1) - PAD
        if flip:
            mirrored[image] = words[image, 2] >= 1 << 31
    pixels = x.reshape(x.size)
    for channel_row in prange(channels * h):
        channel, row = channel_row // h, channel_row % h
        to, values = y[channel, row], table[channel]
        black = values[0]
        to[:, n:] = 0
        for image in range(n):
            source, shift, step = row + down[image], -right[image], 1
            if mirrored[image]:
                shift, step = -shift, -1
            first, last = min(max(shift, 0), w), max(min(w + shift, w), 0)  # outside, the window is on the padding
            if not 0 <= source < h:
                first, last = w, w
            place = ((samples[image] * channels + channel) * h + source) * w + (w - 1 + shift if step < 0 else -shift)
            for column in range(first):
                to[column, image] = black
            for column in range(first, last):
                to[column, image] = values[pixels[place + step * column]]
            for column in range(last, w):
                to[column, image] = black
            if cutout:
                centre = _below(words[image, 3], h * w)
                top, left = centre // w - SQUARE // 2, centre % w - SQUARE // 2
                if top <= row < top + SQUARE:
                    to[max(left, 0) : left + SQUARE, image] = 0
