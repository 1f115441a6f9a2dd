"""Rows of images on their way to the 8 points of F(4, 5), and back: see winograd_rows.py. The maps are in points.py.

Points lie as (POINTS, channels, rows, tiles, LINE), the tiles side by side in a row: 4 outputs, or the 8 inputs that
these need, of which neighbours share 4. All of this is of one line of images, `lane` its first.
"""

import numpy as np

from .compiled import inlined
from .layout import LINE, LINE_BYTES
from .points import gradients_to_points5, inputs_to_points5, load4, load8, plus4, points5_to_outputs, store4, store8
from .simd import (
    BYTES,
    LANES,
    PARTS,
    address,
    load,
    load_codes,
    relu_maxpool,
    relu_maxpool4,
    splat,
    store,
    where_equal,
)

POINTS, TAPS, OUT = 8, 5, 4


def size_of(channels: int, rows: int, tiles: int) -> int:
    """How many float32 `taken` needs."""
    return POINTS * channels * (rows | 1) * (tiles | 1) * LINE


@inlined
def taken(room, channels, rows, tiles):
    """The memory `room` as points. Odd distances use all sets of the cache."""
    shape = POINTS, channels, rows | 1, tiles | 1, LINE
    return room[: POINTS * channels * shape[2] * shape[3] * LINE].reshape(shape)


@inlined
def inputs_at_points(x, lane, top, bottom, v, tiles, padding):
    """v = B^T x for the rows top .. bottom - 1."""
    width = x.shape[2]
    patch = np.empty((POINTS, LINE), np.float32)
    for c in range(x.shape[0]):
        for row in range(top, bottom):
            for tile in range(tiles):
                left = tile * OUT - padding
                at, step = address(x, (c, row, left, lane)), x.strides[2]
                if left < 0 or left + POINTS > width:
                    patch[:] = 0
                    for i in range(max(0, -left), min(POINTS, width - left)):
                        for part in range(PARTS):
                            store(address(patch, (i, part * LANES)), load(at + i * step + part * BYTES))
                    at, step = address(patch, (0,)), LINE_BYTES
                for part in range(PARTS):
                    to = address(v, (0, c, row - top, tile, part * LANES))
                    store8(to, v.strides[0], inputs_to_points5(load8(at + part * BYTES, step)))


@inlined
def gradients_at_points(gy, code, lane, top, bottom, d, tiles, pool, fused):
    """d = A gy for the rows top .. bottom - 1 of before pool and ReLU, to which the codes bring gy back."""
    (qh, qw), (pooled_rows, pooled_columns) = pool, gy.shape[1:3]
    per_tile, step, code_step, zero = OUT // qw, gy.strides[2], code.strides[2], splat(np.float32(0))
    pixels = np.empty((OUT, LANES), np.float32)
    for k in range(gy.shape[0]):
        for row in range(top, bottom):
            y, first = row // qh, row % qh * qw  # the row of gy, and the code of its first place here
            place0, place1 = splat(np.float32(first)), splat(np.float32(first + 1))
            for tile in range(tiles):
                left = tile * per_tile
                count = min(per_tile, pooled_columns - left) if y < pooled_rows else 0
                pixels[:] = 0
                for part in range(PARTS):
                    at = address(gy, (k, y, left, lane + part * LANES))
                    at_code = address(code, (k, y, left, lane + part * LANES))
                    to = address(d, (0, k, row - top, tile, part * LANES))
                    if fused and qw == 2 and count == 2:  # the usual one, in registers
                        value, place = load(at), load_codes(at_code)
                        g0, g1 = where_equal(place, place0, value, zero), where_equal(place, place1, value, zero)
                        value, place = load(at + step), load_codes(at_code + code_step)
                        g2, g3 = where_equal(place, place0, value, zero), where_equal(place, place1, value, zero)
                    else:
                        for i in range(count):
                            for q in range(qw):
                                value = load(at + i * step)
                                if fused:
                                    place = load_codes(at_code + i * code_step)
                                    value = where_equal(place, splat(np.float32(first + q)), value, zero)
                                store(address(pixels, (i * qw + q,)), value)
                        g0, g1, g2, g3 = load4(address(pixels, (0,)), BYTES)
                    store8(to, d.strides[0], gradients_to_points5(g0, g1, g2, g3))


@inlined
def outputs_from_points(m, steps, bias, y, step, code, code_step, count, pool, fused):
    """`count` of y = A^T m + bias of a tile; or of the max pool and code of its ReLU, of pool[0] rows. Addresses.

    m has the strides `steps`: of rows, points, ...
    """
    qh, qw = pool
    if fused and qh == 2 and qw == 2 and count == 2:  # the usual one, in registers
        for part in range(PARTS):
            v = plus4(points5_to_outputs(load8(m + part * BYTES, steps[1])), bias)
            w = plus4(points5_to_outputs(load8(m + steps[0] + part * BYTES, steps[1])), bias)
            to, to_code = y + part * BYTES, code + part * LANES
            relu_maxpool4(v[0], v[1], w[0], w[1], to, to_code)
            relu_maxpool4(v[2], v[3], w[2], w[3], to + step, to_code + code_step)
        return
    pixels = np.empty((qh, OUT, LINE), np.float32)
    for row in range(qh):
        for part in range(PARTS):
            v = plus4(points5_to_outputs(load8(m + row * steps[0] + part * BYTES, steps[1])), bias)
            store4(address(pixels, (row, 0, part * LANES)), LINE_BYTES, v)
    for i in range(count):
        at, to = address(pixels, (0, i * qw)), y + i * step
        if fused:
            relu_maxpool(at, OUT * LINE_BYTES, LINE_BYTES, qh, qw, to, code + i * code_step)
        else:
            for part in range(PARTS):
                store(to + part * BYTES, load(at + part * BYTES))
