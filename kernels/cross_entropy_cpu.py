"""Softmax cross entropy on the CPU: a lane is an image, classes run down. Shapes and formula as in cross_entropy_xp.py.

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
    logits: Array, target: Array, label_smoothing: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """loss () and log_p (n, classes)"""
    expect("target", target, logits.shape[:1])
    log_p, log_p_lines = layout.empty(logits.shape)
    loss = np.empty((), np.float32)
    _forward(layout.lines(logits), _integers(target), label_smoothing, log_p_lines, loss.reshape(1))
    return layout.to_out((loss, log_p), out)


def backward(
    gy: Array, log_p: Array, target: Array, label_smoothing: float, out: Array | None = None, workspace=None
) -> Array:
    """The gradient of the logits (n, classes)."""
    n, classes = log_p.shape
    expect("gy", gy, ())
    expect("target", target, (n,))
    gx, gx_lines = layout.empty(log_p.shape)
    share = label_smoothing / classes
    gy = np.asarray(gy, np.float32).reshape(1)
    _backward(gy, layout.lines(log_p), _integers(target), 1 - label_smoothing, share, gx_lines)
    return layout.to_out(gx, out)


def _integers(target: Array) -> np.ndarray:
    return np.ascontiguousarray(target, np.int32)


@compiled("void(f4[:,:], i4[::1], f8, f4[:,:], f4[::1])")
def _forward(logits, target, label_smoothing, log_p, loss):
    """Fills log_p and loss (1,). Lanes behind the last image are computed as all others, and count for nothing."""
    classes, lanes = logits.shape
    n, step = len(target), logits.strides[0]
    line = np.empty(LANES, np.float32)
    at_target, everywhere = 0.0, 0.0
    for lane0 in range(0, lanes, LANES):
        x = logits.ctypes.data + lane0 * 4
        largest, total = load(x), splat(np.float32(0))
        for k in range(classes):
            largest = where_greater(load(x + k * step), largest, load(x + k * step), largest)
        for k in range(classes):
            total = total + exp(load(x + k * step) - largest)
        store(line.ctypes.data, total)
        for lane in range(LANES):
            line[lane] = math.log(line[lane])
        for k in range(classes):
            y = log_p.ctypes.data + k * log_p.strides[0] + lane0 * 4
            store(y, load(x + k * step) - largest - load(line.ctypes.data))
        for lane in range(lane0, min(lane0 + LANES, n)):
            at_target += log_p[target[lane], lane]
            if label_smoothing > 0:  # a class of probability 0 makes the loss infinite only where smoothing wants it
                for k in range(classes):
                    everywhere += log_p[k, lane]
    total = -(1 - label_smoothing) * at_target / n
    loss[0] = total - label_smoothing * everywhere / (n * classes) if label_smoothing > 0 else total


@compiled("void(f4[:], f4[:,:], i4[::1], f4, f4, f4[:,:])")
def _backward(gy, log_p, target, sure, share, gx):
    """gx = (exp(log_p) - share - sure at the target) * gy / n; zeros in the lanes behind the last image."""
    classes, lanes = log_p.shape
    scale = np.float32(np.float64(gy[0]) / len(target))
    for k in range(classes):
        for lane in range(0, lanes, LANES):
            p = exp(load(log_p.ctypes.data + k * log_p.strides[0] + lane * 4))
            store(gx.ctypes.data + k * gx.strides[0] + lane * 4, (p - splat(share)) * splat(scale))
        gx[k, len(target) :] = 0
    for lane in range(len(target)):
        gx[target[lane], lane] -= sure * scale
