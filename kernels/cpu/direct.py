"""Convolution of any shape, without copies of windows: each tile of the result walks through the inputs it needs.

    y[co, oy, ox] = b[co] + sum over ci, ky, kx of w[co, ci, ky, kx] * x[ci, oy*sh + ky - ph, ox*sw + kx - pw]

All arrays are lines of images (layout.py), so this is one `outer` tile for a few channels co of a pixel (oy, ox), and
its three loops are ci, ky and kx. At the border the loops over ky and kx are shorter: nothing is padded. The gradient
of x is the same sum with the roles of x and y exchanged; that of w, a sum over pixels and images, is made of `dot`
tiles. "Direct" as in Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
architectures"; that the loops take arbitrary steps replaces the im2col matrix.

Work is divided over threads so that each sum has one order, whatever their number.
"""

import numpy as np
from numba import prange

from ..maxpool2d_xp import DEAD
from .compiled import compiled, inlined
from .layout import LINE, LINE_BYTES
from .simd import LANES, address, load, load_codes, relu_maxpool, splat, store, where_equal
from .target import TARGET
from .tiles import DOT_HEIGHTS, HEIGHTS, correlate, multiply, tile_count, tile_range, tiles_of

_WIDTH = TARGET.lines * LINE  # images of a tile
_L2 = 1 << 18  # bytes of it for the inputs of a row
_TASKS = 16  # in the gradient of w, at least
_LINES_IN_L1 = 64  # of each of the dot_rows + dot_columns operands in the gradient of w

_LINES, _WEIGHTS, _CODES = "f4[:,:,:,:]", "f4[:,:,:,::1]", "u1[:,:,:,:]"


@inlined
def window_range(o, size, kernel, stride, padding):
    """(first, count) of the taps k of output o that lie on inputs: 0 <= o*stride + k - padding < size."""
    first = max(0, padding - o * stride)
    return first, max(0, min(kernel, size + padding - o * stride) - first)


@inlined
def outputs_range(i, size, kernel, stride, padding):
    """(first tap, first output, count) of what reads input i: tap k from output (i + padding - k) / stride.

    Each following tap is `stride` further, its output one earlier. size: of the output.
    """
    o = min((i + padding) // stride, size - 1)
    k = i + padding - o * stride
    return k, o, max(0, min(o + 1, (kernel - k + stride - 1) // stride))


@inlined
def pixels_range(k, size, out, stride, padding):
    """(first, count) of the outputs whose tap k lies on an input."""
    first = max(0, (padding - k + stride - 1) // stride)
    last = min(out - 1, (size - 1 + padding - k) // stride)
    return first, max(0, last - first + 1)


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
def fill_walk(walk, depth, kernel, ys, xs, step, steps):
    """The places of depth x window taps: ys, xs = (first tap, count), `step` taps apart; steps: of the lines, in bytes.

    Returns how many there are.
    """
    place = 0
    for k in range(depth):
        for y in range(ys[1]):
            for x in range(xs[1]):
                tap = (k * kernel[0] + ys[0] + y * step[0]) * kernel[1] + xs[0] + x * step[1]
                walk[place, 0] = 4 * TARGET.rows * tap
                walk[place, 1] = k * steps[0] + y * steps[1] + x * steps[2]
                place += 1
    return place


@compiled(
    f"void({_LINES}, f4[:,:,:,:,::1], f4[::1], {_LINES}, {_CODES}, "
    "UniTuple(i8, 2), UniTuple(i8, 2), UniTuple(i8, 2), b1)",
    parallel=True,
)
def forward(x, a, b, y, code, stride, padding, pool, fused):
    """y = conv2d(x, w, b), or its max pool after a ReLU with its code where `fused`. a: packed w; b may be empty."""
    (ci, kh, kw), (h, w_), co = a.shape[1:4], x.shape[1:3], y.shape[0]
    (sh, sw), (ph, pw), (qh, qw) = stride, padding, pool
    rows, columns, lanes = y.shape[1:]
    tiles = tiles_of(co, HEIGHTS)
    starts = np.zeros((co, LINE), np.float32)
    for channel in range(b.size):
        starts[channel] = b[channel]
    group = lines_at_a_time(ci * kh * w_, lanes)
    for index in prange(tile_count(lanes, group) * rows):
        task = np.int64(index)
        row, first_lane = task % rows, task // rows * group
        end = min(lanes, first_lane + group)
        before_pool = np.empty((TARGET.rows, qh, qw, group), np.float32)
        walk = np.empty((ci * kh * kw, 2), np.int32)
        known = (-1, -1, -1, -1)
        count = 0
        for tile in range(len(a)):
            first, channels = tile_range(tile, tiles, HEIGHTS, co)
            for column in range(columns):
                for place in range(qh * qw):
                    dy, dx = place // qw, place % qw
                    oy, ox = row * qh + dy, column * qw + dx
                    ky, kys = window_range(oy, h, kh, sh, ph)
                    kx, kxs = window_range(ox, w_, kw, sw, pw)
                    if known != (ky, kys, kx, kxs):
                        known = (ky, kys, kx, kxs)
                        count = fill_walk(walk, ci, (kh, kw), (ky, kys), (kx, kxs), (1, 1), x.strides)
                    if fused:
                        sums, step = address(before_pool, (0, dy, dx, 0)), before_pool.strides[0]
                    else:
                        sums, step = address(y, (first, oy, ox, first_lane)), y.strides[0]
                    window = address(x, (0, oy * sh + ky - ph, ox * sw + kx - pw, 0))
                    for lane in range(first_lane, end, _WIDTH):
                        lines = min(TARGET.lines, (end - lane) // LINE)
                        multiply(
                            sums + 4 * (lane - first_lane), step, LINE_BYTES, address(starts, (first,)), LINE_BYTES, 0,
                            address(a, (tile,)), 4, TARGET.rows, window + 4 * lane, LINE_BYTES,
                            address(walk, (0,)), count, channels, lines,
                        )  # fmt: skip
                if fused:
                    for channel in range(channels):
                        for lane in range(first_lane, end, LINE):
                            relu_maxpool(
                                address(before_pool, (channel, 0, 0, lane - first_lane)), before_pool.strides[1],
                                before_pool.strides[2], qh, qw,
                                address(y, (first + channel, row, column, lane)),
                                address(code, (first + channel, row, column, lane)),
                            )  # fmt: skip


@compiled(f"void({_LINES}, f4[:,:,:,:,::1], {_LINES}, UniTuple(i8, 2), UniTuple(i8, 2))", parallel=True)
def backward_input(gy, a, gx, stride, padding):
    """gx (ci, h, w, lanes) of gy (co, oh, ow, lanes); a: w packed with channels exchanged."""
    (co, kh, kw), (oh, ow), (ci, h, w_, lanes) = a.shape[1:4], gy.shape[1:3], gx.shape
    (sh, sw), (ph, pw) = stride, padding
    tiles = tiles_of(ci, HEIGHTS)
    nothing = np.zeros(LINE, np.float32)
    steps = (gy.strides[0], -gy.strides[1], -gy.strides[2])
    group = lines_at_a_time(co * kh * ow, lanes)
    for index in prange(tile_count(lanes, group) * h):
        task = np.int64(index)
        iy, first_lane = task % h, task // h * group
        end = min(lanes, first_lane + group)
        ky, oy, kys = outputs_range(iy, oh, kh, sh, ph)
        walk = np.empty((co * kh * kw, 2), np.int32)
        known = (-1, -1)
        count = 0
        for tile in range(len(a)):
            first, channels = tile_range(tile, tiles, HEIGHTS, ci)
            for phase in range(sw):  # inputs that are read by the same taps
                for ix in range(phase, w_, sw):
                    kx, ox, kxs = outputs_range(ix, ow, kw, sw, pw)
                    if known != (kx, kxs):
                        known = (kx, kxs)
                        count = fill_walk(walk, co, (kh, kw), (ky, kys), known, stride, steps)
                    for lane in range(first_lane, end, _WIDTH):
                        lines = min(TARGET.lines, (end - lane) // LINE)
                        multiply(
                            address(gx, (first, iy, ix, lane)), gx.strides[0], LINE_BYTES, address(nothing, (0,)), 0, 0,
                            address(a, (tile,)), 4, TARGET.rows, address(gy, (0, oy, ox, lane)), LINE_BYTES,
                            address(walk, (0,)), count, channels, lines,
                        )  # fmt: skip


def parts_of(w_shape: tuple, out: tuple) -> int:
    """How many parts of the rows of outputs are summed apart for the gradient of w: enough tasks, by shapes alone."""
    tiles = sum(tiles_of.py_func(w_shape[0], DOT_HEIGHTS)) * -(-w_shape[1] // TARGET.dot_columns)
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


@compiled(
    f"void({_LINES}, {_CODES}, {_LINES}, {_WEIGHTS}, f4[:,:,:,:,:,::1], f4[:,::1], "
    "UniTuple(i8, 2), UniTuple(i8, 2), UniTuple(i8, 2), b1)",
    parallel=True,
)
def backward_weight(gy, code, x, gw, sums, bias_sums, stride, padding, pool, fused):
    """gw (co, ci, kh, kw). sums (parts, co, ci, kh, kw, LANES), bias_sums (co, LANES): vectors, zeros at first.

    Each part sums over its own rows of outputs. A piece of gy meets all taps while it is in the fastest cache.
    """
    (parts, co, ci, kh, kw, _), (h, w_) = sums.shape, x.shape[1:3]
    (sh, sw), (ph, pw) = stride, padding
    oh, ow, lines = (h + 2 * ph - kh) // sh + 1, (w_ + 2 * pw - kw) // sw + 1, gy.shape[3] // LINE
    chunk = max(1, _LINES_IN_L1 // lines)
    co_tiles, ci_tiles = tiles_of(co, DOT_HEIGHTS), tile_count(ci, TARGET.dot_columns)
    tiles = (co_tiles[0] + co_tiles[1]) * ci_tiles
    gy_column = lines * LINE_BYTES
    walk = np.empty((chunk * lines, 2), np.int32)
    for i in range(chunk * lines):
        column, run = i // lines, i % lines * LINE_BYTES
        walk[i, 0], walk[i, 1] = column * gy_column + run, column * sw * x.strides[2] + run
    for index in prange(parts * tiles):
        part, tile = np.int64(index) // tiles, np.int64(index) % tiles
        o, rows = tile_range(tile // ci_tiles, co_tiles, DOT_HEIGHTS, co)
        i = tile % ci_tiles * TARGET.dot_columns
        piece = np.empty((TARGET.dot_rows, (chunk * lines | 1) * LINE), np.float32)  # odd: over all sets of the cache
        for oy in range(oh * part // parts, oh * (part + 1) // parts):
            ky, kys = window_range(oy, h, kh, sh, ph)
            for start in range(0, ow, chunk):
                take_piece(gy, code, o, rows, oy, start, min(chunk, ow - start), pool, fused, piece)
                for tap in range(ky * kw, (ky + kys) * kw):
                    ox, oxs = pixels_range(tap % kw, w_, ow, sw, pw)
                    first, end = max(ox, start), min(ox + oxs, start + chunk)
                    correlate(
                        address(sums, (part, o, i, tap // kw, tap % kw, 0)), sums.strides[1], sums.strides[2],
                        address(piece, (0,)) + (first - start) * gy_column, piece.strides[0],
                        address(x, (i, oy * sh + tap // kw - ph, first * sw + tap % kw - pw, 0)), x.strides[0],
                        address(walk, (0,)), max(0, end - first) * lines, rows, min(TARGET.dot_columns, ci - i),
                    )  # fmt: skip
    zero = splat(np.float32(0))
    for index in prange(co):
        o = np.int64(index)
        total = zero
        for pixel in range(gy.shape[1] * gy.shape[2]):
            at = pixel // gy.shape[2], pixel % gy.shape[2]
            for lane in range(0, gy.shape[3], LANES):
                value = load(address(gy, (o, at[0], at[1], lane)))
                if fused:
                    found = load_codes(address(code, (o, at[0], at[1], lane)))
                    value = where_equal(found, splat(np.float32(DEAD)), zero, value)
                total = total + value
        store(address(bias_sums, (o, 0)), total)
        for part in range(1, parts):
            sums[0, o] += sums[part, o]
        for i in range(ci):
            for ky in range(kh):
                for kx in range(kw):
                    gw[o, i, ky, kx] = sums[0, o, i, ky, kx].sum()


@compiled(f"void({_LINES}, {_CODES}, {_LINES}, UniTuple(i8, 2))", parallel=True)
def before_pool(gy, code, g, pool):
    """g (co, oh, ow, lanes): the gradient gy of a fused op's output, where it came from before pooling and ReLU."""
    (qh, qw), (rows, columns, lanes) = pool, gy.shape[1:]
    zero = splat(np.float32(0))
    for index in prange(gy.shape[0]):
        k = np.int64(index)
        if rows * qh < g.shape[1] or columns * qw < g.shape[2]:
            g[k] = 0
        for y in range(rows):
            for x in range(columns):
                for lane in range(0, lanes, LANES):
                    value = load(address(gy, (k, y, x, lane)))
                    place = load_codes(address(code, (k, y, x, lane)))
                    for q in range(qh * qw):
                        at = address(g, (k, y * qh + q // qw, x * qw + q % qw, lane))
                        store(at, where_equal(place, splat(np.float32(q)), value, zero))
