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

The tiles of 4x4 outputs are taken in chunks of all images, so that v and m of a chunk stay in the cache. Going forward
they share their memory: m is TARGET.lines before v, and a product writes where it has just read. The maps to and from
the points are in winograd_maps.py, the products here.
"""

import numpy as np
from numba import prange

from .bits import transpose
from .compiled import compiled, inlined
from .filters import weights_gradient
from .layout import LINE, LINE_BYTES
from .simd import LANES, address, lane_sum, load, prefetch_to_write
from .target import TARGET
from .tiles import HEIGHTS, multiply, tile_count, tile_range, tiles_of
from .winograd_maps import POINTS, add_inputs, transform_gradients, transform_inputs, transform_outputs

_LINES, _WEIGHTS, _CODES = "f4[:,:,:,:]", "f4[:,:,:,::1]", "u1[:,:,:,:]"


def fits(w_shape: tuple, stride: tuple, padding: tuple, pool: tuple, out: tuple) -> bool:
    """Whether a convolution can be computed this way, and is large enough to gain by it."""
    co, ci, *kernel = w_shape
    small = tuple(kernel) == (3, 3) and tuple(stride) == (1, 1) and max(padding) <= 2
    return small and 4 % pool[0] == 0 and 4 % pool[1] == 0 and min(co, ci) >= 16 and min(out) >= 4


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
    """y, and code where `fused`; u from transform_weights; v and m: room for a chunk, the same for both.

    A channel of outputs makes room for that channel of the next inputs, which finds its place in the nearest cache. All
    threads get as many of either.
    """
    ci, co, lines = x.shape[0], y.shape[0], x.shape[3] // LINE
    columns = tile_count(y.shape[2] * pool[1], 4)
    tiles = tile_count(y.shape[1] * pool[0], 4) * columns
    chunk, groups, count = v.shape[1] // lines, min(ci, co), 0
    walk = _walk(ci)
    for first in range(0, tiles + chunk, chunk):
        done, count = count, min(chunk, tiles - first)
        for group in prange(groups):
            for k in range(np.int64(group), max(ci, co), groups):
                if k < co:
                    transform_outputs(m, k, b, y, code, first - chunk, done, columns, pool, fused)
                if k < ci:
                    transform_inputs(x, k, v, first, count, columns, padding)
        for point in prange(POINTS):
            _multiply(u, v, m, np.int64(point), count * lines, walk)


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
            transform_gradients(gy, code, np.int64(k), m, first, count, columns, pool, fused, bias_sums)
        if need_w:
            for c in prange(ci):
                transform_inputs(x, np.int64(c), v, first, count, columns, padding)
            for point in prange(POINTS):
                _multiply_weights(m, v, gu, np.int64(point), count * lines, first == 0)
        if need_x:
            for point in prange(POINTS):
                _multiply(u, m, v, np.int64(point), count * lines, walk)
            for c in prange(ci):
                if first == 0:
                    gx[c] = 0
                add_inputs(v, np.int64(c), gx, first, count, columns, padding)
    if need_w:
        for k in prange(co):
            weights_gradient(gu, np.int64(k), gw)
            gb[k] = lane_sum(load(address(bias_sums, (np.int64(k), 0))))
