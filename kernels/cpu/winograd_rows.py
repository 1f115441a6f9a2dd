"""Convolution with windows 5 columns wide by Winograd's F(4, 5) along rows: 8 products for 4 outputs instead of 20.

winograd.py tells the idea; this is the same in one dimension, while the rows of a window are summed up as they are:

    u[point] = G w      v[point] = B^T x      y = A^T m
    m[point][co, oy] = sum over ci, ky of u[point][co, ci, ky] * v[point][ci, oy + ky]

So each point is a convolution with windows one column wide, and is made of the same tiles as direct.py. The gradients
are the transposed maps again. Transforming one dimension costs little, so a few channels are enough for it to pay, and
rounding errors are about those of the sum itself.

A task is a line of images and some rows of them, whose numbers at the points stay in the second cache.
"""

import numba
import numpy as np
from numba import prange

from .compiled import compiled, inlined
from .direct import fill_walk, sum_of_gradients
from .layout import LINE, LINE_BYTES, plain
from .points import add8, load8, points5_to_inputs, points5_to_weights, store8, weights_to_points5
from .rows import (
    OUT,
    POINTS,
    TAPS,
    gradients_at_points,
    inputs_at_points,
    outputs_from_points,
    size_of,
    taken,
)
from .simd import BYTES, LANES, PARTS, address, aligned, lane_sum, load, splat, store
from .target import TARGET
from .tiles import DOT_HEIGHTS, HEIGHTS, correlate, multiply, tile_count, tile_range, tiles_in_all, tiles_of

_L1, _L2 = 3 << 13, 1 << 18  # bytes of them for what a task reads again and again
_PARTS = 8  # of the tasks in the gradient of w, each a sum of its own
_MOST = 1 << 13  # rows of weights whose gradients at all points a cache still holds

_LINES, _WEIGHTS, _CODES = "f4[:,:,:,:]", "f4[:,:,:,::1]", "u1[:,:,:,:]"
_PACKED, _TABLE, _PAIR = "f4[:,:,:,:,::1]", "i8[:,::1]", "UniTuple(i8, 2)"


def fits(w_shape: tuple, stride: tuple, padding: tuple, pool: tuple, out: tuple) -> bool:
    """Whether a convolution can be computed this way, and has the size to gain by it."""
    co, ci, kh, kw = w_shape
    possible = kw == TAPS and stride[1] == 1 and padding[0] < kh and padding[1] < kw and OUT % pool[1] == 0
    return possible and min(co, ci * kh) >= 6 and co * ci * kh <= _MOST and out[1] >= OUT


@inlined
def _pack(w, a, exchanged):
    """a (tiles of co, ci, kh, POINTS, TARGET.rows), or of ci where `exchanged`, = G w: see `pack` of direct.py."""
    count, depth, kh = (w.shape[1], w.shape[0], w.shape[2]) if exchanged else w.shape[:3]
    tiles = tiles_of(count, HEIGHTS)
    for tile in range(len(a)):
        first, rows = tile_range(tile, tiles, HEIGHTS, count)
        for k in range(depth):
            for row in range(rows):
                o, i = (k, first + row) if exchanged else (first + row, k)
                for ky in range(kh):
                    g = w[o, i, ky]
                    u = weights_to_points5(g[0], g[1], g[2], g[3], g[4])
                    to = a[tile, k, ky, :, row]
                    to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7] = u


def _rows_at_a_time(rows: int, bytes_of_row: int, most: int, least: int) -> int:
    """Rows of a part, of `rows` in even parts: as many as take `most` bytes, but at least `least`."""
    return -(-rows // -(-rows // max(least, most // bytes_of_row)))


def _rooms(*size: int) -> np.ndarray:
    """Memory for points, `size` float32 together, for each thread."""
    return plain((numba.get_num_threads(), sum(size)))


def forward(x, w, b, y, code, rows, stride, padding, pool, fused) -> None:
    """y, and code where `fused`, of lines. b may be empty; rows: `windows` (windows.py) of rows and the stride there;
    padding: of columns.
    """
    co, ci, kh, _ = w.shape
    tiles = -(-y.shape[2] * pool[1] // OUT)
    block = _rows_at_a_time(y.shape[1], 4 * size_of(ci, 1, tiles) * pool[0], _L2, kh)
    rooms = _rooms(size_of(ci, (block * pool[0] - 1) * stride + kh, tiles))
    a = plain((tiles_in_all(co, HEIGHTS), ci, kh, POINTS, TARGET.rows))
    _forward(x, w, b, y, code, a, rooms, block, rows, padding, pool, fused)


def backward_input(gy, code, w, gx, rows, stride, padding, pool, fused) -> None:
    """gx, of lines. rows: `readers` of rows and the stride there; padding: of columns."""
    co, ci, kh, _ = w.shape
    tiles = -(-gy.shape[2] * pool[1] // OUT)
    block = _rows_at_a_time(gx.shape[1], 4 * size_of(co, 1, tiles), _L2, kh)
    rooms = _rooms(size_of(co, block + kh, tiles))
    a = plain((tiles_in_all(ci, HEIGHTS), co, kh, POINTS, TARGET.rows))
    _backward_input(gy, code, w, gx, a, rooms, block, rows, stride, padding, pool, fused)


def backward_weight(gy, code, x, gw, gb, rows, taps, stride, padding, pool, fused) -> None:
    """gw and gb. rows, taps: `windows` and `pixels` of rows and the stride there; padding: of columns."""
    co, ci, kh, _ = gw.shape
    tiles = -(-gy.shape[2] * pool[1] // OUT)
    block = _rows_at_a_time(len(rows), 4 * size_of(co + ci * stride, 1, tiles), _L2, kh)
    piece = _rows_at_a_time(block, 4 * LINE * tiles * (TARGET.dot_rows + ci * stride), _L1, 1)
    rooms = _rooms(
        size_of(co, block, tiles), size_of(ci, (block - 1) * stride + kh, tiles), POINTS * kh * co * ci * LANES
    )
    points = plain((_PARTS, co, ci, kh, POINTS))
    _backward_weight(gy, code, x, gw, gb, points, rooms, block, piece, rows, taps, stride, padding, pool, fused)


@inlined
def _multiply(a, tile, v, row, column, walk, length, channels, columns, m):
    """m (POINTS, channels, columns, LINE): each point's sums over the walk, from row and column of v on."""
    for point in range(POINTS):
        multiply(
            address(m, (point, 0)), m.strides[1], m.strides[2], 0, 0, 0,
            address(a, (tile,)) + point * 4 * TARGET.rows, 4, TARGET.rows, address(v, (point, 0, row, column)),
            LINE_BYTES, address(walk, (0,)), length, channels, columns,
        )  # fmt: skip


@compiled(
    f"void({_LINES}, {_WEIGHTS}, f4[::1], {_LINES}, {_CODES}, {_PACKED}, f4[:,::1], i8, {_TABLE}, i8, {_PAIR}, b1)",
    level=1,
    parallel=True,
)
def _forward(x, w, b, y, code, a, rooms, block, rows, padding, pool, fused):
    (count, depth, kh, _), (qh, qw) = w.shape, pool
    _pack(w, a, False)
    pooled_rows, pooled_columns, lanes = y.shape[1:]
    tiles, per_tile, of_channels = tile_count(pooled_columns * qw, OUT), OUT // qw, tiles_of(count, HEIGHTS)
    blocks = tile_count(pooled_rows, block)
    for index in prange(lanes // LINE * blocks):
        task = np.int64(index)
        lane, first = task // blocks * LINE, task % blocks * block
        end = min(pooled_rows, first + block)
        top, bottom = rows[first * qh, 2], rows[end * qh - 1, 2] + rows[end * qh - 1, 1]
        v = taken(rooms[numba.get_thread_id()], depth, bottom - top, tiles)
        inputs_at_points(x, lane, top, bottom, v, tiles, padding)
        m = aligned((qh, POINTS, TARGET.rows, TARGET.lines, LINE))
        walk = np.empty((depth * kh, 2), np.int32)
        known, length = (np.int64(-1), np.int64(-1)), np.int64(0)
        for column in range(0, tiles, TARGET.lines):
            columns = min(TARGET.lines, tiles - column)
            for row in range(first, end):
                for tile in range(len(a)):
                    channel, channels = tile_range(tile, of_channels, HEIGHTS, count)
                    for dy in range(qh):
                        oy = row * qh + dy
                        if known != (rows[oy, 0], rows[oy, 1]):
                            known = rows[oy, 0], rows[oy, 1]
                            length = fill_walk(
                                walk, depth, (kh, POINTS), known, (0, 1), (1, 1), (v.strides[1], v.strides[2], 0)
                            )
                        _multiply(a, tile, v, rows[oy, 2] - top, column, walk, length, channels, columns, m[dy])
                    for k in range(channels):
                        bias = splat(b[channel + k] if b.size else np.float32(0))
                        for j in range(columns):
                            left = (column + j) * per_tile
                            outputs_from_points(
                                address(m, (0, 0, k, j)), m.strides, bias,
                                address(y, (channel + k, row, left, lane)), y.strides[2],
                                address(code, (channel + k, row, left, lane)), code.strides[2],
                                min(per_tile, pooled_columns - left), pool, fused,
                            )  # fmt: skip


@compiled(
    f"void({_LINES}, {_CODES}, {_WEIGHTS}, {_LINES}, {_PACKED}, f4[:,::1], i8, {_TABLE}, i8, i8, {_PAIR}, b1)",
    level=1,
    parallel=True,
)
def _backward_input(gy, code, w, gx, a, rooms, block, rows, stride, padding, pool, fused):
    (depth, _, kh, _), (count, height, width, lanes) = w.shape, gx.shape
    _pack(w, a, True)
    tiles, of_channels = tile_count(gy.shape[2] * pool[1], OUT), tiles_of(count, HEIGHTS)
    blocks = tile_count(height, block)
    for index in prange(lanes // LINE * blocks):
        task = np.int64(index)
        lane, first = task // blocks * LINE, task % blocks * block
        end = min(height, first + block)
        top, bottom = rows[first, 2] - rows[first, 1] + 1, rows[end - 1, 2] + 1
        d = taken(rooms[numba.get_thread_id()], depth, bottom - top, tiles)
        gradients_at_points(gy, code, lane, top, bottom, d, tiles, pool, fused)
        patch = np.empty((POINTS, LANES), np.float32)
        m = aligned((POINTS, TARGET.rows, TARGET.lines, LINE))
        walk = np.empty((depth * kh, 2), np.int32)
        known, length = (np.int64(-1), np.int64(-1)), np.int64(0)
        for row in range(first, end):
            if known != (rows[row, 0], rows[row, 1]):
                known = rows[row, 0], rows[row, 1]
                length = fill_walk(
                    walk, depth, (kh, POINTS), known, (0, 1), (stride, 1), (d.strides[1], -d.strides[2], 0)
                )
            for tile in range(len(a)):
                channel, channels = tile_range(tile, of_channels, HEIGHTS, count)
                gx[channel : channel + channels, row, :, lane : lane + LINE] = 0
                for column in range(0, tiles, TARGET.lines):
                    columns = min(TARGET.lines, tiles - column)
                    _multiply(a, tile, d, rows[row, 2] - top, column, walk, length, channels, columns, m)
                    for k in range(channels):
                        for j in range(columns):
                            left = (column + j) * OUT - padding
                            for part in range(PARTS):
                                inputs = points5_to_inputs(load8(address(m, (0, k, j, part * LANES)), m.strides[0]))
                                to = address(gx, (channel + k, row, left, lane + part * LANES))
                                if left >= 0 and left + POINTS <= width:
                                    add8(to, gx.strides[2], inputs)
                                else:
                                    at = address(patch, (0,))
                                    store8(at, BYTES, inputs)
                                    for i in range(max(0, -left), min(POINTS, width - left)):
                                        here = to + i * gx.strides[2]
                                        store(here, load(here) + load(at + i * BYTES))


@compiled(
    f"void({_LINES}, {_CODES}, {_LINES}, {_WEIGHTS}, f4[::1], {_PACKED}, f4[:,::1], i8, i8, {_TABLE}, {_TABLE}, "
    f"i8, i8, {_PAIR}, b1)",
    level=1,
    parallel=True,
)
def _backward_weight(gy, code, x, gw, gb, points, rooms, block, piece, rows, taps, stride, padding, pool, fused):
    """The tasks are in as many parts as `points` has, each a sum of its own."""
    (co, ci, kh, _), lanes, height = gw.shape, x.shape[3], len(rows)
    tiles = tile_count(gy.shape[2] * pool[1], OUT)
    co_tiles, ci_tiles = tiles_of(co, DOT_HEIGHTS), tile_count(ci, TARGET.dot_columns)
    blocks = tile_count(height, block)
    tasks = lanes // LINE * blocks
    parts = len(points)
    for index in prange(parts):
        part, room = np.int64(index), rooms[numba.get_thread_id()]
        size = POINTS * kh * co * ci * LANES
        sums, room = room[:size].reshape((POINTS, kh, co, ci, LANES)), room[size:]
        sums[:] = 0
        walk = np.empty((piece * tiles, 2), np.int32)
        for task in range(tasks * part // parts, tasks * (part + 1) // parts):
            lane, first = task // blocks * LINE, task % blocks * block
            end = min(height, first + block)
            top, bottom = rows[first, 2], rows[end - 1, 2] + rows[end - 1, 1]
            d = taken(room, co, end - first, tiles)
            v = taken(room[d.size :], ci, bottom - top, tiles)
            gradients_at_points(gy, code, lane, first, end, d, tiles, pool, fused)
            inputs_at_points(x, lane, top, bottom, v, tiles, padding)
            for i in range(len(walk)):
                run = i % tiles * LINE_BYTES
                walk[i, 0], walk[i, 1] = i // tiles * d.strides[2] + run, i // tiles * stride * v.strides[2] + run
            for point in range(POINTS):
                for start in range(first, end, piece):
                    for tile in range((co_tiles[0] + co_tiles[1]) * ci_tiles):
                        o, o_rows = tile_range(tile // ci_tiles, co_tiles, DOT_HEIGHTS, co)
                        i = tile % ci_tiles * TARGET.dot_columns
                        for ky in range(kh):
                            oy, stop = max(taps[ky, 0], start), min(taps[ky, 1], start + piece, end)
                            if oy < stop:
                                correlate(
                                    address(sums, (point, ky, o, i)), sums.strides[2], sums.strides[3],
                                    address(d, (point, o, oy - first)), d.strides[1],
                                    address(v, (point, i, rows[oy, 2] + ky - rows[oy, 0] - top)), v.strides[1],
                                    address(walk, (0,)), (stop - oy) * tiles, o_rows, min(TARGET.dot_columns, ci - i),
                                )  # fmt: skip
        for o in range(co):
            for i in range(ci):
                for ky in range(kh):
                    for point in range(POINTS):
                        points[part, o, i, ky, point] = lane_sum(load(address(sums, (point, ky, o, i))))
    for index in prange(co):
        channel = np.int64(index)
        gb[channel] = sum_of_gradients(gy, code, channel, fused)
        total = np.empty(POINTS, np.float32)
        for i in range(ci):
            for ky in range(kh):
                total[:] = 0
                for one in points[:, channel, i, ky]:
                    for point in range(POINTS):
                        total[point] += one[point]
                g = gw[channel, i, ky]
                g[0], g[1], g[2], g[3], g[4] = points5_to_weights(total)
