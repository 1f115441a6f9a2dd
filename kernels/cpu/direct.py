"""Convolution of any shape, without copies of windows: each tile of the result walks through the inputs it needs.

    y[co, oy, ox] = b[co] + sum over ci, ky, kx of w[co, ci, ky, kx] * x[ci, oy*sh + ky - ph, ox*sw + kx - pw]

All arrays are lines of images (layout.py), so this is one `multiply` tile (tiles.py) for a few channels co of a pixel
(oy, ox), and its walk leads over ci, ky and kx. At the border the walk is shorter: nothing is padded. The gradient of x
is the same sum with the roles of x and y exchanged; that of w, a sum over pixels and images, is made of `correlate`
tiles. "Direct" as in Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
architectures".

Work is divided over threads so that each sum has one order, whatever their number.
"""

import numba
import numpy as np
from numba import prange

from ..maxpool2d_xp import DEAD
from .compiled import compiled, inlined
from .layout import LINE, LINE_BYTES, plain
from .simd import LANES, address, lane_sum, load, load_codes, relu_maxpool, splat, store, where_equal
from .target import TARGET
from .tiles import (
    DOT_HEIGHTS,
    HEIGHTS,
    correlate,
    lines_of_bias,
    multiply,
    tile_count,
    tile_range,
    tiles_in_all,
    tiles_of,
)

_WIDTH = TARGET.lines * LINE  # images of a tile
_L2 = 1 << 18  # bytes of it for the inputs of a row
_TERMS = 256  # of a sum that is added up at a time: its rounding errors grow with that number
_TASKS = 16  # in the gradient of w, at least
_NO_ROOM = np.empty((0, 0), np.float32)
_LINES_IN_L1 = 64  # of each of the dot_rows + dot_columns operands in the gradient of w

_LINES, _WEIGHTS, _CODES = "f4[:,:,:,:]", "f4[:,:,:,::1]", "u1[:,:,:,:]"


@inlined
def lines_at_a_time(row, lanes):
    """How many lanes a task takes: the lines of a row of windows, `row` of them for 16 images, should stay in L2.

    All of them where they fit: images lie side by side, so the more at a time, the longer are the runs in memory.
    """
    return max(_WIDTH, min(lanes, _L2 // (4 * row) // _WIDTH * _WIDTH))


@compiled(f"void({_WEIGHTS}, f4[:,:,:,:,::1], b1)")
def pack(w, a, exchanged):
    """w (co, ci, kh, kw) -> a (tiles of co, ci, kh, kw, TARGET.rows): what a tile needs at a time, side by side.

    exchanged: (tiles of ci, co, ...) instead, for the gradient of the input.
    """
    count, (depth, kh, kw, _) = w.shape[1] if exchanged else w.shape[0], a.shape[1:]
    tiles = tiles_of(count, HEIGHTS)
    for tile in range(len(a)):
        first, rows = tile_range(tile, tiles, HEIGHTS, count)
        for k in range(depth):
            for row in range(rows):
                o, i = (k, first + row) if exchanged else (first + row, k)
                for ky in range(kh):
                    for kx in range(kw):
                        a[tile, k, ky, kx, row] = w[o, i, ky, kx]


@inlined
def fill_walk(walk, depth, kernel, ys, xs, taps, steps):
    """The places of a window with `depth` channels: rows ys, xs of a table of taps; returns how many there are.

    taps: how far they lie apart; steps: of channels, rows and columns of lines, in bytes.
    """
    place = 0
    for k in range(depth):
        for y in range(ys[1]):
            for x in range(xs[1]):
                tap = (k * kernel[0] + ys[0] + y * taps[0]) * kernel[1] + xs[0] + x * taps[1]
                walk[place, 0] = 4 * TARGET.rows * tap
                walk[place, 1] = k * steps[0] + y * steps[1] + x * steps[2]
                place += 1
    return place


def room_for(x: np.ndarray, a: np.ndarray, out: np.ndarray, pool: tuple, stride: int) -> np.ndarray:
    """Memory where `convolve` copies the rows of x that a task reads, for each thread; empty where that is no use.

    Where hardly a line of a row of windows fits L2, a task takes the fewest, and each pixel would be a jump of its own.
    """
    depth, kh = a.shape[1:3]
    lanes = out.shape[3]
    if lanes == _WIDTH or lines_at_a_time.py_func(depth * kh * x.shape[2], lanes) > _WIDTH:
        return _NO_ROOM
    rows = (pool[0] - 1) * stride + kh
    return plain((numba.get_num_threads(), depth * (rows * x.shape[2] | 1) * _WIDTH))


@inlined
def _copy_rows(x, top, bottom, first_lane, end, room):
    """(address, steps of channels, rows and columns) of a copy of some lanes of the rows top .. bottom - 1."""
    width = x.shape[2]
    start, pixel = address(room, (0,)), 4 * _WIDTH
    steps = ((bottom - top) * width | 1) * pixel, width * pixel, pixel
    for k in range(x.shape[0]):
        for row in range(top, bottom):
            at, to = address(x, (k, row, 0, first_lane)), start + k * steps[0] + (row - top) * steps[1]
            for column in range(width):
                for lane in range(0, end - first_lane, LANES):
                    store(to + column * pixel + 4 * lane, load(at + column * x.strides[2] + 4 * lane))
    return start, steps


@compiled(
    f"void({_LINES}, f4[:,:,:,:,::1], f4[::1], {_LINES}, {_CODES}, i8[:,::1], i8[:,::1], "
    "UniTuple(i8, 2), i8, UniTuple(i8, 2), b1, f4[:,::1])",
    level=1,
    parallel=True,
)
def convolve(x, a, b, y, code, rows, columns, taps, direction, pool, fused, copies):
    """y = the sums of windows of x with the packed weights a, plus b, which may be empty; copies: see `room_for`.

    With the table `windows` (windows.py), taps (1, 1) and direction 1, the forward pass; where `fused`, the max pool
    after a ReLU with its code. With `readers`, taps `stride` and direction -1, from gy, the gradient of the input.
    """
    (depth, kh, kw), count, (qh, qw) = a.shape[1:4], y.shape[0], pool
    lanes, pooled_rows, pooled_columns = y.shape[3], y.shape[1], y.shape[2]
    tiles = tiles_of(count, HEIGHTS)
    starts, start_step = lines_of_bias(b), LINE_BYTES if b.size else 0
    group = lines_at_a_time(depth * kh * x.shape[2], lanes)
    for index in prange(tile_count(lanes, group) * pooled_rows):
        task = np.int64(index)
        row, first_lane = task % pooled_rows, task // pooled_rows * group
        end = min(lanes, first_lane + group)
        before_pool = np.empty((TARGET.rows, qh, qw, group), np.float32)
        walk = np.empty((depth * kh * kw, 2), np.int32)
        known = (np.int64(-1), np.int64(-1), np.int64(-1), np.int64(-1))
        length = 0
        origin, top, steps = address(x, (0, 0, 0, first_lane)), np.int64(0), x.strides[:3]
        if copies.size > 0:
            top, bottom = rows[row * qh, 2], min(x.shape[1], rows[row * qh + qh - 1, 2] + rows[row * qh + qh - 1, 1])
            if direction < 0:
                top, bottom = top - rows[row * qh, 1] + 1, top + 1
            origin, steps = _copy_rows(x, top, bottom, first_lane, end, copies[numba.get_thread_id()])
        places = steps[0], direction * steps[1], direction * steps[2]
        for tile in range(len(a)):
            first, channels = tile_range(tile, tiles, HEIGHTS, count)
            for column in range(pooled_columns):
                for place in range(qh * qw):
                    dy, dx = place // qw, place % qw
                    oy, ox = row * qh + dy, column * qw + dx
                    window = (rows[oy, 0], rows[oy, 1], columns[ox, 0], columns[ox, 1])
                    if known != window:
                        known = window
                        length = fill_walk(walk, depth, (kh, kw), window[:2], window[2:], taps, places)
                    if fused:
                        sums, step = address(before_pool, (0, dy, dx, 0)), before_pool.strides[0]
                    else:
                        sums, step = address(y, (first, oy, ox, first_lane)), y.strides[0]
                    images = origin + (rows[oy, 2] - top) * steps[1] + columns[ox, 2] * steps[2]
                    for lane in range(first_lane, end, _WIDTH):
                        to = sums + 4 * (lane - first_lane)
                        start, start_row, start_line = address(starts, (first,)) if b.size else 0, start_step, 0
                        for part in range(0, max(length, 1), _TERMS):
                            multiply(
                                to, step, LINE_BYTES, start, start_row, start_line,
                                address(a, (tile,)), 4, TARGET.rows, images + 4 * (lane - first_lane), LINE_BYTES,
                                address(walk, (part,)), min(_TERMS, length - part), channels,
                                min(TARGET.lines, (end - lane) // LINE),
                            )  # fmt: skip
                            start, start_row, start_line = to, step, LINE_BYTES
                if fused:
                    for channel in range(channels):
                        for lane in range(first_lane, end, LINE):
                            relu_maxpool(
                                address(before_pool, (channel, 0, 0, lane - first_lane)), before_pool.strides[1],
                                before_pool.strides[2], qh, qw,
                                address(y, (first + channel, row, column, lane)),
                                address(code, (first + channel, row, column, lane)),
                            )  # fmt: skip


def parts_of(w_shape: tuple, out: tuple) -> int:
    """How many parts of the rows of outputs are summed apart for the gradient of w: enough tasks, by shapes alone."""
    tiles = tiles_in_all(w_shape[0], DOT_HEIGHTS) * -(-w_shape[1] // TARGET.dot_columns)
    return max(1, min(out[0], _TASKS // tiles))


@inlined
def take_piece(gy, code, o, rows, oy, start, width, pool, fused, piece):
    """piece (rows, width * lanes): row oy of gy, columns `start` on, of channels `o` on; from before pool and ReLU."""
    (qh, qw), (pooled_rows, pooled_columns, lanes) = pool, gy.shape[1:]
    zero = splat(np.float32(0))
    y = oy // qh
    for row in range(rows):
        for column in range(width):
            x = (start + column) // qw
            to, value = address(piece, (row, column * lanes)), address(gy, (o + row, y, x, 0))
            if y >= pooled_rows or x >= pooled_columns:  # left over by the pool
                for lane in range(0, lanes, LANES):
                    store(to + 4 * lane, zero)
            elif fused:
                place = splat(np.float32(oy % qh * qw + (start + column) % qw))
                found = address(code, (o + row, y, x, 0))
                for lane in range(0, lanes, LANES):
                    here = where_equal(load_codes(found + lane), place, load(value + 4 * lane), zero)
                    store(to + 4 * lane, here)
            else:
                for lane in range(0, lanes, LANES):
                    store(to + 4 * lane, load(value + 4 * lane))


@inlined
def sum_of_gradients(gy, code, o, fused):
    """The gradient of bias o: the sum of gy; where `fused`, of what ReLU let through."""
    total = zero = splat(np.float32(0))
    for y in range(gy.shape[1]):
        for x in range(gy.shape[2]):
            at, found = address(gy, (o, y, x, 0)), address(code, (o, y, x, 0))
            for lane in range(0, gy.shape[3], LANES):
                value = load(at + 4 * lane)
                if fused:
                    value = where_equal(load_codes(found + lane), splat(np.float32(DEAD)), zero, value)
                total = total + value
    return lane_sum(total)


@compiled(
    f"void({_LINES}, {_CODES}, {_LINES}, {_WEIGHTS}, f4[::1], f4[:,:,:,:,:,::1], i8[:,::1], i8[:,::1], "
    "i8, i8, i8, UniTuple(i8, 2), b1)",
    level=1,
    parallel=True,
)
def backward_weight(gy, code, x, gw, gb, sums, rows, taps, ow, stride, padding, pool, fused):
    """gw and gb; sums: room for (parts, co, ci, kh, kw, LANES), of which each sums over its own rows of outputs.

    rows: `windows` of the rows of outputs; taps: `pixels` of the columns of taps; ow, stride, padding: of columns.
    A piece of gy meets all taps while it is in the fastest cache.
    """
    (parts, co, ci, kh, kw, _), oh, lines = sums.shape, len(rows), gy.shape[3] // LINE
    chunk = max(1, _LINES_IN_L1 // lines)
    co_tiles, ci_tiles = tiles_of(co, DOT_HEIGHTS), tile_count(ci, TARGET.dot_columns)
    tiles = (co_tiles[0] + co_tiles[1]) * ci_tiles
    gy_column = lines * LINE_BYTES
    walk = np.empty((chunk * lines, 2), np.int32)
    for i in range(chunk * lines):
        column, run = i // lines, i % lines * LINE_BYTES
        walk[i, 0], walk[i, 1] = column * gy_column + run, column * stride * x.strides[2] + run
    for index in prange(parts * tiles):
        part, tile = np.int64(index) // tiles, np.int64(index) % tiles
        o, height = tile_range(tile // ci_tiles, co_tiles, DOT_HEIGHTS, co)
        i = tile % ci_tiles * TARGET.dot_columns
        sums[part, o : o + height, i : i + TARGET.dot_columns] = 0
        piece = np.empty((TARGET.dot_rows, (chunk * lines | 1) * LINE), np.float32)  # odd: over all sets of the cache
        for oy in range(oh * part // parts, oh * (part + 1) // parts):
            for start in range(0, ow, chunk):
                take_piece(gy, code, o, height, oy, start, min(chunk, ow - start), pool, fused, piece)
                for tap in range(rows[oy, 1] * kw):
                    ky, kx = rows[oy, 0] + tap // kw, tap % kw
                    ox, end = max(taps[kx, 0], start), min(taps[kx, 1], start + chunk)
                    correlate(
                        address(sums, (part, o, i, ky, kx, 0)), sums.strides[1], sums.strides[2],
                        address(piece, (0,)) + (ox - start) * gy_column, piece.strides[0],
                        address(x, (i, rows[oy, 2] + tap // kw, 0, 0)) + (ox * stride + kx - padding) * x.strides[2],
                        x.strides[0], address(walk, (0,)), max(0, end - ox) * lines,
                        height, min(TARGET.dot_columns, ci - i),
                    )  # fmt: skip
    for index in prange(co):
        o = np.int64(index)
        gb[o] = sum_of_gradients(gy, code, o, fused)
        for i in range(ci):
            for tap in range(kh * kw):
                total = np.float32(0)
                for part in range(parts):
                    total += lane_sum(load(address(sums, (part, o, i, tap // kw, tap % kw, 0))))
                gw[o, i, tap // kw, tap % kw] = total
