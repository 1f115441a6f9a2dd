"""Convolution, ReLU and max pooling in CUDA C: the launches of conv2d.cu; see conv2d_relu_maxpool_xp.py.

What lies between is never written, forward or backward. Results are C-contiguous; arguments may lie anyhow. ValueError
where shapes do not go together, TypeError for another dtype, NotImplementedError where int32 cannot count the elements.
"""

from math import prod

from .arrays import Array, Pair
from .channelslast import contiguous
from .conv2d_raw import gradient_of_input, gradient_of_weights, kernels
from .convolution import THREADS, TILES, channel_tile, geometry
from .launch import ceil_div
from .shapes import expect, result

POOLS = {(1, 1): "conv2d_forward_relu", (2, 2): "conv2d_forward_relu_pool"}


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array]:
    """y and code; NotImplementedError for a pool that is not in POOLS."""
    _expect_known(pool)
    g = geometry(x.shape, w.shape, stride, padding)
    if b is not None:
        expect("b", b, (g.co,))
    shape = g.n, g.co, g.oh // pool[0], g.ow // pool[1]
    y, code = out or (None, None)
    y, code = result("out[0]", x, shape, y), result("out[1]", x, shape, code, "uint8")
    tile = channel_tile(g.co)
    grid = ceil_div(g.n * prod(shape[2:]) * prod(pool), TILES[tile].pixels), ceil_div(g.co, tile)
    arguments = contiguous(x), contiguous(w), b, y, code, *g
    kernels.launch(POOLS[pool], grid, (THREADS,), arguments, defines=(f"-DTILE_C={tile}",))
    return y, code


def backward(
    gy: Array,
    code: Array,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    needs: tuple[bool, bool] = (True, True),
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array | None, Array | None, Array | None]:
    """gx, gw and gb; gx is None without needs[0], gw and gb without needs[1]. workspace: as for conv2d."""
    _expect_known(pool)
    g = geometry(x.shape, w.shape, stride, padding)
    for name, array in (("gy", gy), ("code", code)):
        expect(name, array, (g.n, g.co, g.oh // pool[0], g.ow // pool[1]))
    gradient = contiguous(gy), contiguous(code), pool[0] - 1
    gx, gw, gb = out or (None, None, None)
    if needs[0]:
        gx = result("out[0]", gy, x.shape, gx)
        gradient_of_input("conv2d_backward_input_pooled", gradient, contiguous(w), gx, g)
    if needs[1]:
        gw, gb = result("out[1]", gy, w.shape, gw), result("out[2]", gy, (g.co,), gb)
        gradient_of_weights("conv2d_backward_weight_pooled", gradient, contiguous(x), gw, gb, g, workspace)
    return gx, gw, gb


def _expect_known(pool: Pair) -> None:
    if pool not in POOLS:
        raise NotImplementedError(f"max pooling over {pool[0]}x{pool[1]} places: fused with a convolution 2x2, or none")
