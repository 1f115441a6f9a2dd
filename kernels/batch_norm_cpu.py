"""Batch normalisation on the CPU: a vector holds one pixel of several images. Shapes as in batch_norm_xp.py.

A thread takes a channel through both of its passes, the second of which finds it in the cache. Numbers of an image are
added up in float32, those of all in float64. ValueError where shapes do not go together.
"""

import math
from functools import lru_cache

import numpy as np
from numba import prange

from .arrays import Array
from .cpu import layout
from .cpu.compiled import FEW, compiled, inlined
from .cpu.simd import LANES, address, lane_sum, load, splat, store
from .shapes import expect, result


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float,
    eps: float,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, ...]:
    """y, the batch's mean and scale (c,), and the new running_mean, running_var and number of batches ()."""
    _expect(x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    expect("batches", batches, ())
    place, *others, new_batches = out or (None,) * 6
    found = tuple(result("out", weight, weight.shape, other) for other in others)
    new_batches = result("out[5]", batches, (), new_batches)
    y, y_lines = layout.empty(x.shape)
    known, counts = (weight, bias, running_mean, running_var), (batches.reshape(1), new_batches.reshape(1))
    _forward(_planes(layout.lines(x)), _ones(len(x)), known, found, counts, len(x), momentum, eps, _planes(y_lines))
    return layout.to_out(y, place), *found, new_batches


def evaluate(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and scale (c,) with the mean and variance that are given."""
    _expect(x, weight=weight, bias=bias, mean=mean, var=var)
    place, scale = out or (None, None)
    scale = result("out[1]", weight, weight.shape, scale)
    y, y_lines = layout.empty(x.shape)
    _evaluate(_planes(layout.lines(x)), (weight, bias, mean, var, scale), eps, _planes(y_lines))
    return layout.to_out(y, place), scale


def backward(
    gy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    scale: Array,
    training: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """gx of x's shape, gw and gb (c,)."""
    _expect(x, weight=weight, mean=mean, scale=scale)
    expect("gy", gy, x.shape)
    place, *others = out or (None, None, None)
    gw, gb = (result("out", weight, weight.shape, other) for other in others)
    gx, gx_lines = layout.empty(x.shape)
    planes = _planes(layout.lines(gy)), _planes(layout.lines(x))
    _backward(*planes, _ones(len(x)), (weight, mean, scale, gw, gb), len(x), training, _planes(gx_lines))
    return layout.to_out(gx, place), gw, gb


def _expect(x: Array, **of_channels: Array) -> None:
    for name, array in of_channels.items():
        expect(name, array, x.shape[1:2])


def _planes(x: np.ndarray) -> np.ndarray:
    """(c, ..., lanes) -> (c, pixels, lanes)"""
    return x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])


@lru_cache(maxsize=16)
def _ones(n: int) -> np.ndarray:
    """(lanes,): 1 for each image, 0 behind the last one."""
    ones = np.zeros(layout.line_count(n) * layout.LINE, np.float32)
    ones[:n] = 1
    return ones


_OF_CHANNELS = "UniTuple(f4[::1], 4), UniTuple(f4[::1], 4), UniTuple(i8[::1], 2)"


@compiled(f"void(f4[:,:,:], f4[::1], {_OF_CHANNELS}, i8, f8, f8, f4[:,:,:])", parallel=True)
def _forward(x, ones, known, found, counts, n, momentum, eps, y):
    """known: weight, bias, running_mean, running_var; fills found: mean, scale, new_mean, new_var; and y."""
    counts[1][0] = counts[0][0] + 1
    if x.size < FEW:
        for c in range(len(x)):
            _forward_channel(x, ones, known, found, n, momentum, eps, y, c)
    else:
        for c in prange(len(x)):
            _forward_channel(x, ones, known, found, n, momentum, eps, y, np.int64(c))


@inlined
def _forward_channel(x, ones, known, found, n, momentum, eps, y, c):
    """A number of the channel is taken off all of them before they are squared, so that nothing cancels."""
    weight, bias, running_mean, running_var = known
    mean, scale, new_mean, new_var = found
    _, pixels, lanes = x.shape
    count, shift = n * pixels, x[c, 0, 0]
    total, squares = 0.0, 0.0
    for pixel in range(pixels):
        sum_, square = splat(np.float32(0)), splat(np.float32(0))
        for lane in range(0, lanes, LANES):
            value = (load(address(x, (c, pixel, lane))) - splat(shift)) * load(address(ones, (lane,)))
            sum_, square = sum_ + value, square + value * value
        total += lane_sum(sum_)
        squares += lane_sum(square)
    away = total / count
    var = max(squares / count - away * away, 0.0)
    middle, inverse = shift + away, 1 / math.sqrt(var + eps)
    mean[c], scale[c] = middle, inverse
    new_mean[c] = running_mean[c] + momentum * (middle - running_mean[c])
    new_var[c] = running_var[c] + momentum * (var * (count / (count - 1)) - running_var[c])
    _normalise(x, y, c, mean[c], np.float32(inverse * weight[c]), bias[c])


@inlined
def _normalise(x, y, c, mean, factor, bias):
    """y = (x - mean) * factor + bias, in one channel."""
    _, pixels, lanes = x.shape
    for pixel in range(pixels):
        for lane in range(0, lanes, LANES):
            value = load(address(x, (c, pixel, lane))) - splat(mean)
            store(address(y, (c, pixel, lane)), value * splat(factor) + splat(bias))


@compiled("void(f4[:,:,:], UniTuple(f4[::1], 5), f8, f4[:,:,:])", parallel=True)
def _evaluate(x, of_channels, eps, y):
    """of_channels: weight, bias, mean, var, and scale, which is filled, as y is."""
    if x.size < FEW:
        for c in range(len(x)):
            _evaluate_channel(x, of_channels, eps, y, c)
    else:
        for c in prange(len(x)):
            _evaluate_channel(x, of_channels, eps, y, np.int64(c))


@inlined
def _evaluate_channel(x, of_channels, eps, y, c):
    weight, bias, mean, var, scale = of_channels
    inverse = 1 / math.sqrt(var[c] + eps)
    scale[c] = inverse
    _normalise(x, y, c, mean[c], np.float32(inverse * weight[c]), bias[c])


@compiled("void(f4[:,:,:], f4[:,:,:], f4[::1], UniTuple(f4[::1], 5), i8, b1, f4[:,:,:])", parallel=True)
def _backward(gy, x, ones, of_channels, n, training, gx):
    """of_channels: weight, mean, scale, and gw, gb, which are filled, as gx is."""
    if x.size < FEW:
        for c in range(len(x)):
            _backward_channel(gy, x, ones, of_channels, n, training, gx, c)
    else:
        for c in prange(len(x)):
            _backward_channel(gy, x, ones, of_channels, n, training, gx, np.int64(c))


@inlined
def _backward_channel(gy, x, ones, of_channels, n, training, gx, c):
    """Lanes behind the last image are 0 in gy, and so they must be in gx."""
    weight, mean, scale, gw, gb = of_channels
    _, pixels, lanes = x.shape
    middle, inverse = splat(mean[c]), splat(scale[c])
    of_gy, of_product = 0.0, 0.0
    for pixel in range(pixels):
        sum_, product = splat(np.float32(0)), splat(np.float32(0))
        for lane in range(0, lanes, LANES):
            each = load(address(gy, (c, pixel, lane)))
            sum_ = sum_ + each
            product = product + each * ((load(address(x, (c, pixel, lane))) - middle) * inverse)
        of_gy += lane_sum(sum_)
        of_product += lane_sum(product)
    gw[c], gb[c] = of_product, of_gy
    share = 1 / (n * pixels) if training else 0.0
    of_gy_each, of_product_each = splat(np.float32(of_gy * share)), splat(np.float32(of_product * share))
    factor = splat(weight[c] * scale[c])
    for pixel in range(pixels):
        for lane in range(0, lanes, LANES):
            normal = (load(address(x, (c, pixel, lane))) - middle) * inverse
            each = load(address(gy, (c, pixel, lane))) - of_gy_each - normal * of_product_each
            store(address(gx, (c, pixel, lane)), each * factor * load(address(ones, (lane,))))
