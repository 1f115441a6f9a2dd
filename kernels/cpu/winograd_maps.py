"""To Winograd's 36 points and back, a channel of a chunk of tiles at a time: see winograd.py for what the maps are.

Each touches 36 places far apart for a tile of a channel, which a CPU does not foresee: it asks for those of the next
channels while it computes. Without that they take half as long again.
"""

import numpy as np

from ..maxpool2d_xp import DEAD
from .compiled import inlined
from .layout import LINE, LINE_BYTES
from .points import (
    inputs_to_points,
    load4,
    load6,
    outputs_to_points,
    plus4,
    points_to_inputs,
    points_to_outputs,
    store4,
    store6,
)
from .simd import (
    BYTES,
    LANES,
    PARTS,
    address,
    load,
    load_codes,
    prefetch,
    prefetch_to_write,
    relu_maxpool,
    splat,
    store,
    where_equal,
)

POINTS = 36
_AHEAD = 4 * LINE_BYTES  # the channel after the next ones, in v and m


@inlined
def _inside(j, first, last, at, zeros):
    """at, where `first` <= j < `last`."""
    return at if first <= j < last else zeros


@inlined
def _load6_inside(at, step, first, last, zeros):
    """load6, with zeros in the place of what is not from `first` up to `last`."""
    return (
        load(_inside(0, first, last, at, zeros)),
        load(_inside(1, first, last, at + step, zeros)),
        load(_inside(2, first, last, at + 2 * step, zeros)),
        load(_inside(3, first, last, at + 3 * step, zeros)),
        load(_inside(4, first, last, at + 4 * step, zeros)),
        load(_inside(5, first, last, at + 5 * step, zeros)),
    )


@inlined
def transform_inputs(x, c, v, first, tiles, columns, padding):
    """v (36, lines of the chunk, ci, LINE) = B^T x B of channel c, tiles `first` .. of rows of `columns` tiles."""
    h, w_, lanes = x.shape[1:]
    lines = lanes // LINE
    row_step, step = x.strides[1], x.strides[2]
    rows, zeros = np.empty((6, 6, LANES), np.float32), np.zeros(LANES, np.float32)
    for tile in range(tiles):
        top = (first + tile) // columns * 4 - padding[0]
        left = (first + tile) % columns * 4 - padding[1]
        i0, i1, j0, j1 = max(0, -top), min(6, h - top), max(0, -left), min(6, w_ - left)
        for part in range(lines * PARTS):
            at = address(x, (c, top, left, part * LANES))
            for i in range(6):
                count = j1 if i0 <= i < i1 else 0
                d = _load6_inside(at + i * row_step, step, j0, count, address(zeros, (0,)))
                store6(address(rows, (i,)), BYTES, inputs_to_points(d[0], d[1], d[2], d[3], d[4], d[5]))
            prefetch(at + x.strides[0] + i0 * row_step + j0 * step, i1 - i0, row_step, j1 - j0, step)
            to = address(v, (0, tile * lines + part // PARTS, c, part % PARTS * LANES))
            prefetch_to_write(to + _AHEAD, 1, 0, POINTS, v.strides[0])
            for k in range(6):
                d = load6(address(rows, (0,)) + k * BYTES, 6 * BYTES)
                store6(to + k * v.strides[0], 6 * v.strides[0], inputs_to_points(d[0], d[1], d[2], d[3], d[4], d[5]))


@inlined
def transform_outputs(m, k, b, y, code, first, tiles, columns, pool, fused):
    """y = A^T m A + b of channel k; or max pool and code of its ReLU."""
    rows, width, lanes = y.shape[1:]
    qh, qw = pool
    lines = lanes // LINE
    half = np.empty((4, 6, LANES), np.float32)
    pixels = np.empty((4, 4, LINE), np.float32)
    bias = splat(b[k] if b.size else np.float32(0))
    for tile in range(tiles):
        top, left = (first + tile) // columns * 4 // qh, (first + tile) % columns * 4 // qw
        for line in range(lines):
            for part in range(PARTS):
                at = address(m, (0, tile * lines + line, k, part * LANES))
                prefetch(at + _AHEAD, 1, 0, POINTS, m.strides[0])
                for i in range(6):
                    d = load6(at + i * m.strides[0], 6 * m.strides[0])
                    store4(
                        address(half, (0,)) + i * BYTES,
                        6 * BYTES,
                        points_to_outputs(d[0], d[1], d[2], d[3], d[4], d[5]),
                    )
                for i in range(4):
                    d = load6(address(half, (i,)), BYTES)
                    out = points_to_outputs(d[0], d[1], d[2], d[3], d[4], d[5])
                    store4(address(pixels, (i,)) + part * BYTES, 4 * LINE, plus4(out, bias))
            height, length = min(4 // qh, rows - top), min(4 // qw, width - left)
            prefetch_to_write(address(y, (k + 1, top, left, line * LINE)), height, y.strides[1], length, y.strides[2])
            for i in range(height):
                for j in range(length):
                    to = address(y, (k, top + i, left + j, line * LINE))
                    at = address(pixels, (i * qh, j * qw))
                    if fused:
                        to_code = address(code, (k, top + i, left + j, line * LINE))
                        relu_maxpool(at, 4 * 4 * LINE, 4 * LINE, qh, qw, to, to_code)
                    else:
                        for part in range(PARTS):
                            store(to + part * BYTES, load(at + part * BYTES))


@inlined
def transform_gradients(gy, code, k, m, first, tiles, columns, pool, fused, bias_sums):
    """m = A gy A^T of channel k, gy brought back to before pool and ReLU by its code; bias_sums[k] += its sums."""
    rows, width, lanes = gy.shape[1:]
    qh, qw = pool
    lines = lanes // LINE
    zero = splat(np.float32(0))
    pixels = np.empty((4, 4, LANES), np.float32)
    half = np.empty((4, 6, LANES), np.float32)
    total = load(address(bias_sums, (k,)))
    for tile in range(tiles):
        top, left = (first + tile) // columns * 4 // qh, (first + tile) % columns * 4 // qw
        height, length = min(4 // qh, rows - top), min(4 // qw, width - left)
        pixels[:] = 0
        for part in range(lines * PARTS):
            next_gy = address(gy, (k + 1, top, left, part * LANES))
            prefetch(next_gy, height, gy.strides[1], length, gy.strides[2])
            if fused:
                next_code = address(code, (k + 1, top, left, part * LANES))
                prefetch(next_code, height, code.strides[1], length, code.strides[2])
            for i in range(height):
                for j in range(length):
                    value, at = (
                        load(address(gy, (k, top + i, left + j, part * LANES))),
                        address(pixels, (i * qh, j * qw)),
                    )
                    if fused:
                        place = load_codes(address(code, (k, top + i, left + j, part * LANES)))
                        value = where_equal(place, splat(np.float32(DEAD)), zero, value)
                        if qh * qw == 1:
                            store(at, value)
                        else:
                            for y in range(qh):
                                for x in range(qw):
                                    here = where_equal(place, splat(np.float32(y * qw + x)), value, zero)
                                    store(at + (y * 4 + x) * BYTES, here)
                    else:
                        store(at, value)
                    total = total + value
            for i in range(4):
                g = load4(address(pixels, (i,)), BYTES)
                store6(address(half, (i,)), BYTES, outputs_to_points(g[0], g[1], g[2], g[3]))
            at = address(m, (0, tile * lines + part // PARTS, k, part % PARTS * LANES))
            prefetch_to_write(at + _AHEAD, 1, 0, POINTS, m.strides[0])
            for i in range(6):
                g = load4(address(half, (0,)) + i * BYTES, 6 * BYTES)
                store6(at + i * m.strides[0], 6 * m.strides[0], outputs_to_points(g[0], g[1], g[2], g[3]))
    store(address(bias_sums, (k,)), total)


@inlined
def add_inputs(v, c, gx, first, tiles, columns, padding):
    """gx += B v B^T of channel c; neighbouring tiles overlap by two pixels."""
    h, w_, lanes = gx.shape[1:]
    lines = lanes // LINE
    half = np.empty((6, 6, LANES), np.float32)
    for tile in range(tiles):
        top = (first + tile) // columns * 4 - padding[0]
        left = (first + tile) % columns * 4 - padding[1]
        for part in range(lines * PARTS):
            at = address(v, (0, tile * lines + part // PARTS, c, part % PARTS * LANES))
            prefetch(at + _AHEAD, 1, 0, POINTS, v.strides[0])
            i0, i1, j0, j1 = max(0, -top), min(6, h - top), max(0, -left), min(6, w_ - left)
            next_gx = address(gx, (c + 1, top + i0, left + j0, part * LANES))
            prefetch_to_write(next_gx, i1 - i0, gx.strides[1], j1 - j0, gx.strides[2])
            for i in range(6):
                d = load6(at + i * v.strides[0], 6 * v.strides[0])
                store6(address(half, (0,)) + i * BYTES, 6 * BYTES, points_to_inputs(d[0], d[1], d[2], d[3], d[4], d[5]))
            for i in range(i0, i1):
                d = load6(address(half, (i,)), BYTES)
                store6(address(half, (i,)), BYTES, points_to_inputs(d[0], d[1], d[2], d[3], d[4], d[5]))
                for j in range(j0, j1):
                    to = address(gx, (c, top + i, left + j, part * LANES))
                    store(to, load(to) + load(address(half, (i, j))))
