"""3x3 convolution with stride 1 by Winograd's F(4x4, 3x3): 36 products for 16 outputs, where the sum itself takes 144.

A 1-D convolution of 6 inputs d with 3 weights g gives 4 outputs y. Seen as polynomials it is a product, and a product
is known by its values at 6 points; so y = A^T [(G g) * (B^T d)] (Lavin and Gray 2015, arXiv:1509.09308). In two
dimensions the matrices act on rows and columns, the products in the middle are 36 matrix products over channels:

    u[point] (co, ci) = G w G^T          v[point] (ci, images) = B^T x B        m[point] = u[point] @ v[point]
    y = A^T m A

and the gradients are the transposed maps, in the order of the chain rule (not other convolutions):

    dm = A gy A^T        gx += B (u^T dm) B^T, overlapping        gw = G^T (dm v^T) G

The points are 0, 1/sqrt 2, -1/sqrt 2, sqrt 2, -sqrt 2 and infinity. They decide the rounding errors: those of the
usual 0, 1, -1, 2, -2 are several times as large (docs/decisions.md). points.py has the matrices.

The tiles of 4x4 outputs are taken in chunks of all images, so that v and m of a chunk stay in the cache. The maps touch
36 places far apart for each channel, which a CPU does not foresee: they ask for those of the next channels while they
compute.
"""

import numpy as np
from numba import prange

from ..maxpool2d_xp import DEAD
from .bits import transpose
from .compiled import compiled, inlined
from .filters import weights_gradient
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
    lane_sum,
    load,
    load_codes,
    prefetch,
    prefetch_to_write,
    relu_maxpool,
    splat,
    store,
    where_equal,
)
from .target import TARGET
from .tiles import HEIGHTS, multiply, tile_count, tile_range, tiles_of

_POINTS = 36

_LINES, _WEIGHTS, _CODES = "f4[:,:,:,:]", "f4[:,:,:,::1]", "u1[:,:,:,:]"


def fits(w_shape: tuple, stride: tuple, padding: tuple, pool: tuple, out: tuple) -> bool:
    """Whether a convolution can be computed this way, and is large enough to gain by it."""
    co, ci, *kernel = w_shape
    small = tuple(kernel) == (3, 3) and tuple(stride) == (1, 1) and max(padding) <= 2
    return small and 4 % pool[0] == 0 and 4 % pool[1] == 0 and min(co, ci) >= 16 and min(out) >= 4


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
def _transform_inputs(x, c, v, first, tiles, columns, padding):
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
            prefetch_to_write(to + _AHEAD, 1, 0, _POINTS, v.strides[0])
            for k in range(6):
                d = load6(address(rows, (0,)) + k * BYTES, 6 * BYTES)
                store6(to + k * v.strides[0], 6 * v.strides[0], inputs_to_points(d[0], d[1], d[2], d[3], d[4], d[5]))


@inlined
def _transform_outputs(m, k, b, y, code, first, tiles, columns, pool, fused):
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
                prefetch(at + _AHEAD, 1, 0, _POINTS, m.strides[0])
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
def _transform_gradients(gy, code, k, m, first, tiles, columns, pool, fused, bias_sums):
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
            prefetch_to_write(at + _AHEAD, 1, 0, _POINTS, m.strides[0])
            for i in range(6):
                g = load4(address(half, (0,)) + i * BYTES, 6 * BYTES)
                store6(at + i * m.strides[0], 6 * m.strides[0], outputs_to_points(g[0], g[1], g[2], g[3]))
    store(address(bias_sums, (k,)), total)


@inlined
def _add_inputs(v, c, gx, first, tiles, columns, padding):
    """gx += B v B^T of channel c; neighbouring tiles overlap by two pixels."""
    h, w_, lanes = gx.shape[1:]
    lines = lanes // LINE
    half = np.empty((6, 6, LANES), np.float32)
    for tile in range(tiles):
        top = (first + tile) // columns * 4 - padding[0]
        left = (first + tile) % columns * 4 - padding[1]
        for part in range(lines * PARTS):
            at = address(v, (0, tile * lines + part // PARTS, c, part % PARTS * LANES))
            prefetch(at + _AHEAD, 1, 0, _POINTS, v.strides[0])
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


@inlined
def _walk(depth):
    """The places of a product over `depth`: weights lie TARGET.rows, lines LINE_BYTES apart."""
    walk = np.empty((depth, 2), np.int32)
    for k in range(depth):
        walk[k, 0], walk[k, 1] = k * 4 * TARGET.rows, k * LINE_BYTES
    return walk


@inlined
def _multiply(u, v, m, point, lines, walk):
    """m[point] = u[point] @ v[point] for the first `lines` lines of the chunk."""
    count = m.shape[2]
    tiles = tiles_of(count, HEIGHTS)
    for line in range(0, lines, TARGET.lines):
        for tile in range(u.shape[1]):
            first, rows = tile_range(tile, tiles, HEIGHTS, count)
            prefetch_to_write(address(m, (point, line, first, 0)), TARGET.lines, m.strides[1], rows, LINE_BYTES)
            multiply(
                address(m, (point, line, first, 0)), LINE_BYTES, m.strides[1], 0, 0, 0,
                address(u, (point, tile, 0, 0)), 4, TARGET.rows, address(v, (point, line, 0, 0)), v.strides[1],
                address(walk, (0,)), len(walk), rows, min(TARGET.lines, lines - line),
            )  # fmt: skip


@inlined
def turn(source, target):
    """16 lines one after another in memory, as their columns."""
    for i in range(0, LINE, LANES):
        for j in range(0, LINE, LANES):
            transpose(target + i * LINE_BYTES + j * 4, LINE_BYTES, source + j * LINE_BYTES + i * 4, LINE_BYTES)


@inlined
def _multiply_weights(m, v, gu, point, lines, begin):
    """gu[point] (co, ci) += m[point] @ v[point]^T: sums over images, so panels of 16 channels of v are transposed."""
    co, ci = m.shape[2], v.shape[2]
    tiles = tiles_of(co, HEIGHTS)
    panels = np.empty((TARGET.lines, lines, LINE, LINE), np.float32)
    walk = np.empty((lines * LINE, 2), np.int32)
    for k in range(lines * LINE):
        walk[k, 0], walk[k, 1] = k // LINE * m.strides[1] + k % LINE * 4, k * LINE_BYTES
    for start in range(0, ci, LINE * TARGET.lines):
        count = tile_count(min(ci - start, LINE * TARGET.lines), LINE)
        for panel in range(count):
            for line in range(lines):
                turn(address(v, (point, line, start + panel * LINE, 0)), address(panels, (panel, line)))
        for tile in range(tiles[0] + tiles[1]):
            first, rows = tile_range(tile, tiles, HEIGHTS, co)
            sums = address(gu, (point, first, start, 0))
            prefetch_to_write(sums, rows, gu.strides[1], count, LINE_BYTES)
            begins = (0, 0, 0) if begin else (sums, gu.strides[1], LINE_BYTES)
            multiply(
                sums, gu.strides[1], LINE_BYTES, begins[0], begins[1], begins[2],
                address(m, (point, 0, first, 0)), LINE_BYTES, TARGET.rows, address(panels, (0,)), panels.strides[0],
                address(walk, (0,)), len(walk), rows, count,
            )  # fmt: skip


@compiled(
    f"void({_LINES}, {_WEIGHTS}, f4[::1], {_LINES}, {_CODES}, {_LINES}, {_LINES}, "
    "UniTuple(i8, 2), UniTuple(i8, 2), b1)",
    level=1,
    parallel=True,
)
def forward(x, u, b, y, code, v, m, padding, pool, fused):
    """y, and code where `fused`; u from transform_weights; v and m: room for a chunk."""
    ci, co, lines = x.shape[0], y.shape[0], x.shape[3] // LINE
    columns = tile_count(y.shape[2] * pool[1], 4)
    tiles = tile_count(y.shape[1] * pool[0], 4) * columns
    chunk = v.shape[1] // lines
    walk = _walk(ci)
    for first in range(0, tiles, chunk):
        count = min(chunk, tiles - first)
        for c in prange(ci):
            _transform_inputs(x, np.int64(c), v, first, count, columns, padding)
        for point in prange(_POINTS):
            _multiply(u, v, m, np.int64(point), count * lines, walk)
        for k in prange(co):
            _transform_outputs(m, np.int64(k), b, y, code, first, count, columns, pool, fused)


@compiled(
    f"void({_LINES}, {_CODES}, {_LINES}, {_WEIGHTS}, {_LINES}, {_WEIGHTS}, f4[::1], {_LINES}, {_LINES}, {_LINES}, "
    "UniTuple(i8, 2), UniTuple(i8, 2), b1, b1, b1)",
    level=1,
    parallel=True,
)
def backward(gy, code, x, u, gx, gw, gb, v, m, gu, padding, pool, fused, need_x, need_w):
    """gx where need_x, from u of the exchanged weights; gw and gb where need_w."""
    ci, co, lines = x.shape[0], gy.shape[0], x.shape[3] // LINE
    columns = tile_count(gy.shape[2] * pool[1], 4)
    tiles = tile_count(gy.shape[1] * pool[0], 4) * columns
    chunk = v.shape[1] // lines
    walk = _walk(co)
    bias_sums = np.zeros((co, LANES), np.float32)
    for first in range(0, tiles, chunk):
        count = min(chunk, tiles - first)
        for k in prange(co):
            _transform_gradients(gy, code, np.int64(k), m, first, count, columns, pool, fused, bias_sums)
        if need_w:
            for c in prange(ci):
                _transform_inputs(x, np.int64(c), v, first, count, columns, padding)
            for point in prange(_POINTS):
                _multiply_weights(m, v, gu, np.int64(point), count * lines, first == 0)
        if need_x:
            for point in prange(_POINTS):
                _multiply(u, m, v, np.int64(point), count * lines, walk)
            for c in prange(ci):
                if first == 0:
                    gx[c] = 0
                _add_inputs(v, np.int64(c), gx, first, count, columns, padding)
    if need_w:
        for k in prange(co):
            weights_gradient(gu, np.int64(k), gw)
            gb[k] = lane_sum(load(address(bias_sums, (np.int64(k), 0))))
