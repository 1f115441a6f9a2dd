"""The fully connected layer on the CPU: three products of one register tile. Shapes and formula as in linear_xp.py.

Images lie innermost (cpu/layout.py): x is a matrix (ci, lanes), and so is y.

    forward           y[o]  = b[o] + sum over i of w[o, i] * x[i]      a row is an output, its lines are its images
    backward_input    gx[i] = sum over o of w[o, i] * gy[o]            the same with w read along its columns
    backward_weight   gw[o] = sum over lanes of gy[o, lane] * x[lane]  the lines are features: x is transposed for it

Each result is one sum in one order, whatever the number of threads. ValueError where shapes do not go together.
"""

import numba
import numpy as np
from numba import prange

from .arrays import Array
from .cpu import layout
from .cpu.bits import transpose
from .cpu.compiled import compiled, inlined
from .cpu.layout import LINE, LINE_BYTES
from .cpu.simd import LANES, address, load, splat, store
from .cpu.target import TARGET
from .cpu.tiles import HEIGHTS, lines_of_bias, multiply, tile_count, tile_range, tiles_of
from .shapes import expect

ROWS, LINES = TARGET.rows, TARGET.lines
REACH = -(-ROWS // LANES) * LANES  # rows that the vectors of a tile's rows reach
DEPTH = 128  # steps of a sum, before the next tile's turn: its numbers stay in the fastest cache
BLOCK = 8  # lines: of so many steps they stay in the second cache
GROUP = 8  # row tiles, packed together
PARTS = 8  # of a product, at least, for threads to take
_NO_BIAS = np.empty(0, np.float32)


def forward(x: Array, w: Array, b: Array | None, out: Array | None = None, workspace=None) -> Array:
    """y (n, co); b may be None."""
    (n, ci), co = x.shape, len(w)
    expect("w", w, (co, ci))
    if b is not None:
        expect("b", b, (co,))
    y, y_lines = layout.empty((n, co))
    _product(_in_lines(y_lines), _NO_BIAS if b is None else b, w, _in_lines(layout.lines(x)))
    return layout.to_out(y, out)


def backward_input(gy: Array, w: Array, out: Array | None = None, workspace=None) -> Array:
    """gx (n, ci)"""
    n, (co, ci) = len(gy), w.shape
    expect("gy", gy, (n, co))
    gx, gx_lines = layout.empty((n, ci))
    _product(_in_lines(gx_lines), _NO_BIAS, w.T, _in_lines(layout.lines(gy)))
    return layout.to_out(gx, out)


def backward_weight(gy: Array, x: Array, out: tuple | None = None, workspace=None) -> tuple[Array, Array]:
    """gw (co, ci) and gb (co,)"""
    (n, co), ci = gy.shape, x.shape[1]
    expect("x", x, (n, ci))
    gy, x = layout.lines(gy), layout.lines(x)
    count = layout.line_count(ci)
    panels = layout.plain((count, x.shape[1], LINE))  # x transposed: [line of features][lane][feature]
    gw, gb = layout.plain((co, ci)), layout.plain((co,))
    _turn(x, panels, gy, gb)
    whole = gw if ci % LINE == 0 else layout.plain((co, count * LINE))
    _product(_in_lines(whole), _NO_BIAS, gy, panels.transpose(1, 0, 2))
    if whole is not gw:
        _cut(whole, gw)
    return layout.to_out((gw, gb), out)


def _in_lines(x: np.ndarray) -> np.ndarray:
    """(rows, lanes) -> (rows, lines, 16)"""
    return x.reshape(len(x), -1, LINE)


def _product(c: np.ndarray, bias: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """c[row, line] = bias[row] + sum over k of a[row, k] * b[k, line]; no bias where it is empty."""
    packed = layout.plain((numba.get_num_threads(), GROUP * ROWS * DEPTH + LANES))
    _product_on_threads(c, bias, a, b, packed)


@inlined
def _pack(a, row, rows, k, steps, out):
    """out[j * ROWS + i] = a[row + i, k + j]: what a tile needs at a step, side by side.

    Vectors reach beyond the rows of a step, into the place of the next one, which is written after it.
    """
    done, to = 0, address(out, (0,))
    if row + REACH <= a.shape[0]:
        if a.strides[0] == 4:  # it lies along its columns
            done = steps
            for j in range(done):
                for i in range(0, ROWS, LANES):
                    store(to + (j * ROWS + i) * 4, load(address(a, (row + i, k + j))))
        elif a.strides[1] == 4:
            done = steps // LANES * LANES
            for j in range(0, done, LANES):
                for i in range(0, ROWS, LANES):
                    transpose(to + (j * ROWS + i) * 4, ROWS * 4, address(a, (row + i, k + j)), a.strides[0])
    for j in range(done, steps):
        for i in range(rows):
            out[j * ROWS + i] = a[row + i, k + j]


@compiled("void(f4[:,:,:], f4[:], f4[:,:], f4[:,:,:], f4[:,::1])", level=1, parallel=True)
def _product_on_threads(c, bias, a, b, packed):
    """A thread takes a group of row tiles and a block of lines, and of them a part of the sum that its caches hold.

    That part of a is copied to `packed` first, which has a row for each thread: in a matrix of 2048 columns the numbers
    of one lie 8 KB apart, and caches hold few numbers with such distances.
    """
    rows, lines, depth = a.shape[0], b.shape[1], a.shape[1]
    tiles = tiles_of(rows, HEIGHTS)
    count, blocks = tiles[0] + tiles[1], tile_count(lines, BLOCK)
    groups = max(tile_count(count, GROUP), min(count, tile_count(PARTS, max(blocks, 1))))
    starts, bias_step = lines_of_bias(bias), LINE_BYTES if bias.size else 0
    for index in prange(groups * blocks):
        i = np.int64(index)
        group, line0 = i % groups, i // groups * BLOCK
        tile0, tile1 = group * count // groups, (group + 1) * count // groups
        own = address(packed, (numba.get_thread_id(),))
        walk = np.empty((DEPTH, 2), np.int32)
        for k in range(0, max(depth, 1), DEPTH):  # once where nothing is summed: zeros
            steps = min(DEPTH, depth - k)
            for step in range(steps):
                walk[step, 0], walk[step, 1] = step * ROWS * 4, step * b.strides[0]
            for tile in range(tile0, tile1):
                row, height = tile_range(tile, tiles, HEIGHTS, rows)
                _pack(a, row, height, k, steps, packed[numba.get_thread_id(), (tile - tile0) * DEPTH * ROWS :])
            for line in range(line0, min(line0 + BLOCK, lines), LINES):
                for tile in range(tile0, tile1):
                    row, height = tile_range(tile, tiles, HEIGHTS, rows)
                    sums = address(c, (row, line))
                    start, start_row, start_line = address(starts, (row,)) if bias.size else 0, bias_step, 0
                    if k > 0:
                        start, start_row, start_line = sums, c.strides[0], c.strides[1]
                    multiply(
                        sums, c.strides[0], c.strides[1], start, start_row, start_line,
                        own + (tile - tile0) * DEPTH * ROWS * 4, 4, ROWS, address(b, (k, line)), b.strides[1],
                        address(walk, (0,)), steps, height, min(LINES, lines - line),
                    )  # fmt: skip


@compiled("void(f4[:,::1], f4[:,::1])")
def _cut(whole, gw):
    for o in range(gw.shape[0]):
        for i in range(gw.shape[1]):
            gw[o, i] = whole[o, i]


@compiled("void(f4[:,:], f4[:,:,:], f4[:,:], f4[:])")
def _turn(x, panels, gy, gb):
    """x (ci, lanes) -> panels (lines, lanes, 16), zeros behind the last feature; gb = the sum of gy's lanes."""
    ci, lanes = x.shape
    for i in range(panels.shape[0]):
        features = min(LINE, ci - i * LINE)
        whole = features // LANES * LANES
        for feature in range(0, whole, LANES):
            for lane in range(0, lanes, LANES):
                transpose(
                    panels.ctypes.data + ((i * lanes + lane) * LINE + feature) * 4,
                    LINE * 4,
                    x.ctypes.data + (i * LINE + feature) * x.strides[0] + lane * 4,
                    x.strides[0],
                )
        for lane in range(lanes if whole < LINE else 0):
            for feature in range(whole, features):
                panels[i, lane, feature] = x[i * LINE + feature, lane]
            for feature in range(features, LINE):
                panels[i, lane, feature] = 0
    parts = np.empty(LANES, np.float32)
    for o in range(gy.shape[0]):
        total = splat(np.float32(0))
        for lane in range(0, lanes, LANES):
            total = total + load(gy.ctypes.data + o * gy.strides[0] + lane * 4)
        store(parts.ctypes.data, total)
        gb[o] = parts.sum()
