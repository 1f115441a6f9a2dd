"""Softmax cross entropy on the CPU: a lane is an image, classes run down. Formulas as in cross_entropy_xp.py.

ValueError where shapes do not go together.
"""

import math

import numpy as np

from .arrays import Array
from .cpu import layout
from .cpu.bits import exp
from .cpu.compiled import compiled
from .cpu.simd import LANES, load, splat, store, where_greater
from .shapes import expect


def forward(
    logits: Array,
    target: Array,
    label_smoothing: float,
    sums: Array | None = None,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """loss (), totals (2,) and gx (n, classes)"""
    expect("target", target, logits.shape[:1])
    before = np.zeros(2, np.float32) if sums is None else sums
    expect("sums", before, (2,))
    totals = out[1] if out and out[1] is not None else np.empty(2, np.float32)
    gx, gx_lines = layout.empty(logits.shape)
    loss = np.empty((), np.float32)
    target = np.ascontiguousarray(target, np.int32)
    _forward(layout.lines(logits), target, label_smoothing, before, loss.reshape(1), totals, gx_lines)
    return layout.to_out((loss, totals, gx), out)


@compiled("void(f4[:,:], i4[::1], f8, f4[::1], f4[::1], f4[::1], f4[:,:])")
def _forward(logits, target, label_smoothing, sums, loss, totals, gx):
    """Fills loss (1,), totals and gx, with zeros in the lanes behind the last image; totals may be sums.

    Those lanes are computed as all others, and count for nothing.
    """
    classes, lanes = logits.shape
    n, step, g_step = len(target), logits.strides[0], gx.strides[0]
    sure, share = (1 - label_smoothing) / n, label_smoothing / classes / n
    top, line = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    at_target, everywhere, right = 0.0, 0.0, 0
    for lane0 in range(0, lanes, LANES):
        x, g = logits.ctypes.data + lane0 * 4, gx.ctypes.data + lane0 * 4
        largest, total = load(x), splat(np.float32(0))
        for k in range(classes):
            largest = where_greater(load(x + k * step), largest, load(x + k * step), largest)
        for k in range(classes):
            e = exp(load(x + k * step) - largest)
            total = total + e
            store(g + k * g_step, e)
        store(top.ctypes.data, largest)
        store(line.ctypes.data, total)
        for lane in range(lane0, min(lane0 + LANES, n)):
            log_sum = np.float64(top[lane - lane0]) + math.log(np.float64(line[lane - lane0]))
            at_target += logits[target[lane], lane] - log_sum
            if label_smoothing > 0:  # a class of probability 0 makes the loss infinite only where smoothing wants it
                for k in range(classes):
                    everywhere += logits[k, lane] - log_sum
            answer, best = 0, logits[0, lane]
            for k in range(1, classes):
                value = logits[k, lane]
                if value > best or (value != value and best == best):
                    answer, best = k, value
            right += answer == target[lane]
        for lane in range(LANES):
            line[lane] = 1 / (np.float64(line[lane]) * n)
        for k in range(classes):
            store(g + k * g_step, load(g + k * g_step) * load(line.ctypes.data) - splat(np.float32(share)))
    for lane in range(n):
        gx[target[lane], lane] -= sure
    gx[:, n:] = 0
    lost = -(1 - label_smoothing) * at_target
    if label_smoothing > 0:
        lost -= label_smoothing * everywhere / classes
    loss[0] = lost / n
    totals[0] = sums[0] + lost
    totals[1] = sums[1] + right
