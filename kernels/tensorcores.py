"""Convolution and the linear layer on tensor cores: the launches of mma.cu. Shapes and formulas as in conv2d_xp.py.

`precision` is TF32, TF32X3 or BF16, how the tensor cores multiply; everything in memory is float32. Images have the
channels innermost (channelslast.py) where these functions make them; arguments may lie anyhow. ValueError where shapes
do not go together, TypeError for another dtype, NotImplementedError where int32 cannot count the elements.
"""

from math import prod

from .arrays import Array, Pair, namespace
from .channelslast import channels_last, memory, output, padded, read_weights, strides, unpool, whole
from .channelslast import weights as both_ways
from .convolution import Geometry, geometry
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result

kernels = CudaC("mma")

POOLS = {(1, 1): "mma_forward_relu", (2, 2): "mma_forward_relu_pool"}  # the pools that forward_relu_maxpool knows

_TILE_M, _SLICE, _BLOCK = 128, 32, 256  # the first two are those of mma.cu
_BLOCKS = 264  # two for each multiprocessor of a large GPU


def weights(w: Array) -> Array:
    """w (co, ci, kh, kw) or (co, ci) as forward and backward read it: handed to both, it is converted once."""
    return both_ways(w) if w.ndim == 4 else both_ways(w[..., None, None])[..., 0, 0]


# Convolution.


def forward(
    precision: str, x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None
) -> Array:
    """y (n, co, oh, ow)."""
    g = geometry(x.shape, w.shape, stride, padding)
    y = output(x, (g.n, g.co, g.oh, g.ow), out)
    _convolve("mma_forward", precision, x, read_weights(w), _bias(b, g), (y,), g)
    return y


def forward_relu_maxpool(
    precision: str, x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, pool: Pair, out: tuple | None
) -> tuple[Array, Array]:
    """y and code (n, co, oh // pool[0], ow // pool[1]). NotImplementedError for other windows than 2x2 and none."""
    _expect_known(pool)
    g = geometry(x.shape, w.shape, stride, padding)
    shape = g.n, g.co, g.oh // pool[0], g.ow // pool[1]
    y, code = out or (None, None)
    y, code = output(x, shape, y), output(x, shape, code, "uint8")
    if strides(y) != strides(code):
        raise ValueError("out: y and code lie in different layouts")
    _convolve(POOLS[pool], precision, x, read_weights(w), _bias(b, g), (y, code), g)
    return y, code


def backward_input(
    precision: str, gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None
) -> Array:
    """gx (n, ci, h, w): a convolution of gy, spread by the strides, with the window turned around."""
    g = geometry(x_shape, w.shape, stride, padding)
    expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    gx = output(gy, tuple(x_shape), out)
    turned = Geometry(g.n, g.co, g.oh, g.ow, g.ci, g.kh, g.kw, g.sh, g.sw, g.kh - 1 - g.ph, g.kw - 1 - g.pw, g.h, g.w_)
    kernel = "mma_forward" if stride == (1, 1) else "mma_forward_dilated"
    _convolve(kernel, precision, gy, read_weights(w, back=True), None, (gx,), turned)
    return gx


def backward_weight(
    precision: str, gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,), C-contiguous."""
    g = geometry(x.shape, w_shape, stride, padding)
    expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    return _gradient_of_weights("mma_backward_weight", precision, (memory(channels_last(gy)),), x, g, out)


def _gradient_of_weights(
    kernel: str, precision: str, gradient: tuple, x: Array, g: Geometry, out: tuple | None
) -> tuple[Array, Array]:
    """gw and gb. gradient: what the kernel takes of it."""
    gw, gb = out or (None, None)
    gw, gb = result("out[0]", x, (g.co, g.ci, g.kh, g.kw), gw), result("out[1]", x, (g.co,), gb)
    x, tile, places = channels_last(x), _tile(g.co), g.kh * g.kw * padded(g.ci)
    tiles = ceil_div(places, _TILE_M), ceil_div(g.co, tile)
    splits, chunk = _parts(ceil_div(g.pixels, _SLICE), tiles[0] * tiles[1])
    countable((splits, places + 1, padded(g.co)))
    partial = namespace(x).empty((splits, places + 1, padded(g.co)), x.dtype)
    _launch(kernel, precision, tile, (splits, *tiles), (*gradient, memory(x), partial, chunk * _SLICE, *g))
    sizes = splits, g.co, g.ci, g.kh * g.kw
    grid = (ceil_div(partial[0].size, 32),)
    kernels.launch(
        "mma_backward_weight_reduce", grid, (_BLOCK,), (partial, gw, gb, *sizes), defines=_defines(precision, tile)
    )
    return gw, gb


def backward_relu_maxpool(
    precision: str,
    gy: Array,
    code: Array,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    needs: tuple[bool, bool],
    out: tuple | None,
) -> tuple[Array | None, Array | None, Array | None]:
    """gx, gw and gb; gx is None without needs[0], gw and gb without needs[1].

    The gradient before ReLU and pooling is written where both are needed: then it is read many times, and each time
    gy and code would take longer. A first layer, the largest, reads it once.
    """
    _expect_known(pool)
    g = geometry(x.shape, w.shape, stride, padding)
    for name, array in (("gy", gy), ("code", code)):
        expect(name, array, (g.n, g.co, g.oh // pool[0], g.ow // pool[1]))
    gx, gw, gb = out or (None, None, None)
    if needs == (False, True):
        gradient = whole(gy), whole(code).view("uint32"), pool[0] - 1
        kernel = "mma_backward_weight_pooled"
        return None, *_gradient_of_weights(kernel, precision, gradient, x, g, out and (gw, gb))
    gz = unpool(gy, code, (g.n, g.co, g.oh, g.ow), pool)
    if needs[0]:
        gx = backward_input(precision, gz, w, x.shape, stride, padding, gx)
    if needs[1]:
        gw, gb = backward_weight(precision, gz, x, w.shape, stride, padding, out and (gw, gb))
    return gx, gw, gb


# The linear layer: a convolution of images of one pixel.


def linear_forward(precision: str, x: Array, w: Array, b: Array | None, out: Array | None) -> Array:
    """y (n, co), C-contiguous."""
    (n, ci), co = x.shape, len(w)
    expect("w", w, (co, ci))
    y = result("out", x, (n, co), out)
    _multiply(precision, x, read_weights(w[:, :, None, None]), b, y)
    return y


def linear_backward_input(precision: str, gy: Array, w: Array, out: Array | None) -> Array:
    """gx (n, ci), C-contiguous."""
    n, (co, ci) = len(gy), w.shape
    expect("gy", gy, (n, co))
    gx = result("out", gy, (n, ci), out)
    _multiply(precision, gy, read_weights(w[:, :, None, None], back=True), None, gx)
    return gx


def linear_backward_weight(precision: str, gy: Array, x: Array, out: tuple | None) -> tuple[Array, Array]:
    """gw (co, ci) and gb (co,)."""
    (n, co), ci = gy.shape, x.shape[1]
    expect("x", x, (n, ci))
    gw, gb = out or (None, None)
    gw, gb = result("out[0]", gy, (co, ci), gw), result("out[1]", gy, (co,), gb)
    pixel = ..., None, None
    backward_weight(precision, gy[pixel], x[pixel], (co, ci, 1, 1), (1, 1), (0, 0), (gw[pixel], gb))
    return gw, gb


def _multiply(precision: str, x: Array, w: Array, b: Array | None, y: Array) -> None:
    """y (n, co) = x (n, ci) @ w.T + b; w as `read_weights` returns it. A long sum for few tiles is split."""
    (n, ci), co = x.shape, y.shape[1]
    g = geometry((n, ci, 1, 1), (co, ci, 1, 1), (1, 1), (0, 0))
    tiles = ceil_div(n, _TILE_M) * ceil_div(co, _tile(co))
    parts, chunk = _parts(ceil_div(ci, _SLICE), max(1, tiles))
    if parts == 1:
        _convolve("mma_forward", precision, x[..., None, None], w, _bias(b, g), (y[..., None, None],), g)
        return
    countable((parts, n, co))
    partial = namespace(y).empty((parts, n, co), y.dtype)
    _convolve("mma_forward", precision, x[..., None, None], w, None, (partial[..., None, None],), g, (parts, chunk))
    defines = _defines(precision, _tile(co))
    grid = (ceil_div(y.size, _BLOCK),)
    kernels.launch("mma_forward_reduce", grid, (_BLOCK,), (partial, _bias(b, g), y, parts, n, co), defines=defines)


def _expect_known(pool: Pair) -> None:
    if pool not in POOLS:
        raise NotImplementedError(f"max pooling over {pool[0]}x{pool[1]} places: on tensor cores 2x2, or none")


def _bias(b: Array | None, g: Geometry) -> Array | None:
    if b is not None:
        expect("b", b, (g.co,))
    return b


def _convolve(
    kernel: str,
    precision: str,
    x: Array,
    w: Array,
    b: Array | None,
    results: tuple,
    g: Geometry,
    split: tuple[int, int] | None = None,
) -> None:
    """Launch one of the kernels that go over all pixels; w as `read_weights` returns it, the results lie alike.

    split: (number of parts, slices in each) of the sums; the result then has a dimension of parts in front.
    """
    x, tile = channels_last(x), _tile(g.co)
    parts, chunk = split or (1, ceil_div(g.kh * g.kw * padded(g.ci), _SLICE))
    shape, steps = results[0].shape[-4:], strides(results[0][0] if split else results[0])
    grid = ceil_div(g.pixels, _TILE_M), ceil_div(g.co, tile), parts
    arguments = memory(x), w, b, *(memory(y) for y in results), *g, *steps, chunk, prod(shape)
    _launch(kernel, precision, tile, grid, arguments)


# How the work is divided: by the shapes alone, so that results are the same bits on every device.


def _tile(channels: int) -> int:
    """TILE_N: the narrowest tile that holds all channels, else the widest."""
    return next((tile for tile in (8, 16, 64) if channels <= tile), 128)


def _parts(slices: int, tiles: int) -> tuple[int, int]:
    """(number of parts, slices in each) of a sum: so many that there are about _BLOCKS blocks, and 4 slices in each."""
    chunk = max(4, ceil_div(slices, max(1, _BLOCKS // tiles)))
    return max(1, ceil_div(slices, chunk)), chunk


def _defines(precision: str, tile: int) -> tuple[str, ...]:
    return f"-DPRECISION={precision}", f"-DTILE_N={tile}"


def _launch(kernel: str, precision: str, tile: int, grid: tuple, arguments: tuple) -> None:
    """Launch a kernel of tiles, with the shared memory of all stages."""
    threads = 256 if tile == 128 else 128
    shared = (2 if tile < 64 else 3) * (_TILE_M + tile) * _SLICE * 4
    kernels.launch(kernel, grid, (threads,), arguments, shared, defines=_defines(precision, tile))
