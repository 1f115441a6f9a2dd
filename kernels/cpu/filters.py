"""Weights on their way to Winograd's points, and their gradients on the way back: see winograd.py."""

import numpy as np
from numba import prange

from .compiled import compiled, inlined
from .points import load6, points_to_weights, store6, weights_to_points
from .simd import BYTES, LANES, address, load, store
from .target import TARGET
from .tiles import HEIGHTS, tile_range, tiles_of
from .winograd_maps import POINTS

_ROWS = -(-TARGET.rows // LANES) * LANES  # of a tile, in whole vectors
_WEIGHTS = "f4[:,:,:,::1]"


@compiled(f"void({_WEIGHTS}, {_WEIGHTS}, b1)", level=1, parallel=True)
def transform_weights(w, u, exchanged):
    """u (36, tiles, depth, TARGET.rows) = G w G^T. Rows are output channels, or inputs where `exchanged`."""
    count, depth = (w.shape[1], w.shape[0]) if exchanged else (w.shape[0], w.shape[1])
    tiles = tiles_of(count, HEIGHTS)
    for index in prange(u.shape[1]):
        tile = np.int64(index)
        first, rows = tile_range(tile, tiles, HEIGHTS, count)
        weights = np.zeros((3, 3, _ROWS), np.float32)
        half = np.empty((6, 3, LANES), np.float32)
        points = np.empty((POINTS, _ROWS), np.float32)
        for k in range(depth):
            for row in range(rows):
                o, i = (k, first + row) if exchanged else (first + row, k)
                for ky in range(3):
                    for kx in range(3):
                        weights[ky, kx, row] = w[o, i, ky, kx]
            for row in range(0, _ROWS, LANES):
                for kx in range(3):
                    at = address(weights, (0, kx, row))
                    d = weights_to_points(load(at), load(at + 12 * _ROWS), load(at + 24 * _ROWS))
                    store6(address(half, (0, kx)), 3 * BYTES, d)
                for y in range(6):
                    at = address(half, (y,))
                    d = weights_to_points(load(at), load(at + BYTES), load(at + 2 * BYTES))
                    store6(address(points, (6 * y, row)), 4 * _ROWS, d)
            for point in range(POINTS):
                for row in range(TARGET.rows):
                    u[point, tile, k, row] = points[point, row]


@inlined
def weights_gradient(gu, o, gw):
    """gw[o] = G^T gu G"""
    ci = gw.shape[1]
    half = np.empty((3, 6, LANES), np.float32)
    weights = np.empty((3, 3, LANES), np.float32)
    for start in range(0, ci, LANES):
        at = address(gu, (0, o, start, 0))
        for i in range(6):
            d = load6(at + i * gu.strides[0], 6 * gu.strides[0])
            g = points_to_weights(d[0], d[1], d[2], d[3], d[4], d[5])
            for k in range(3):
                store(address(half, (k, i)), g[k])
        for i in range(3):
            d = load6(address(half, (i,)), BYTES)
            g = points_to_weights(d[0], d[1], d[2], d[3], d[4], d[5])
            for k in range(3):
                store(address(weights, (i, k)), g[k])
        for i in range(min(LANES, ci - start)):
            for k in range(9):
                gw[o, start + i, k // 3, k % 3] = weights[k // 3, k % 3, i]
