"""2-D cross-correlation in CUDA C: the launches of conv2d.cu. Shapes and formula as in conv2d_xp.py, in float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array, Pair
from .convolution import (
    TAPS,
    THREADS,
    TILES,
    Geometry,
    backward_input_result,
    backward_weight_result,
    channel_tile,
    forward_result,
    partial_sums,
    splits,
)
from .launch import CudaC, ceil_div

kernels = CudaC("conv2d")

_BLOCK = 256  # threads of the naive kernels
_SIDE = 16


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow)."""
    g, y = forward_result(x, w, b, stride, padding, out)
    tile = channel_tile(g.co)
    grid = ceil_div(g.pixels, TILES[tile].pixels), ceil_div(g.co, tile)
    kernels.launch("conv2d_forward_gemm", grid, (THREADS,), (x, w, b, y, *g), defines=(f"-DTILE_C={tile}",))
    return y


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w)."""
    g, gx = backward_input_result(gy, w, x_shape, stride, padding, out)
    gradient_of_input("conv2d_backward_input_gemm", (gy,), w, gx, g)
    return gx


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,). workspace: a float32 array of `convolution.workspace_size` or more elements."""
    g, gw, gb = backward_weight_result(gy, x, w_shape, stride, padding, out)
    gradient_of_weights("conv2d_backward_weight_gemm", (gy,), x, gw, gb, g, workspace)
    return gw, gb


# What a gradient is made of: (gy,), or (gy, code, shift) where ReLU and pooling follow.


def gradient_of_input(kernel: str, gradient: tuple, w: Array, gx: Array, g: Geometry) -> None:
    """Launch a kernel that computes gx."""
    tile = channel_tile(g.ci)
    pixels = g.n * ceil_div(g.h, g.sh) * ceil_div(g.w_, g.sw)  # of each of the sh * sw classes
    grid = g.sh * g.sw * ceil_div(pixels, TILES[tile].pixels), ceil_div(g.ci, tile)
    kernels.launch(kernel, grid, (THREADS,), (*gradient, w, gx, *g), defines=(f"-DTILE_C={tile}",))


def gradient_of_weights(
    kernel: str, gradient: tuple, x: Array, gw: Array, gb: Array, g: Geometry, workspace: Array | None
) -> None:
    """Launch a kernel that computes gw and gb in parts, and the one that adds them."""
    tile, partial, (count, chunk) = channel_tile(g.co), partial_sums(x, g, workspace), splits(g)
    defines = (f"-DTILE_C={tile}",)
    grid: tuple = (count, ceil_div(g.taps + 1, TAPS), ceil_div(g.co, tile))
    kernels.launch(kernel, grid, (THREADS,), (*gradient, x, partial, chunk, *g), defines=defines)
    grid, arguments = (ceil_div(g.co * (g.taps + 1), 32),), (partial, gw, gb, count, g.co, g.taps)
    kernels.launch("conv2d_backward_weight_reduce", grid, (256,), arguments, defines=defines)


# The ladder of conv2d.cu: a function for each rung, the last ones being those above.


def forward_naive(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """One thread computes one output."""
    g, y = forward_result(x, w, b, stride, padding, out)
    kernels.launch("conv2d_forward_naive", (ceil_div(y.size, _BLOCK),), (_BLOCK,), (x, w, b, y, *g))
    return y


def forward_tiled(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """Tiles of inputs in shared memory; NotImplementedError where one takes more than every GPU has."""
    g, y = forward_result(x, w, b, stride, padding, out)
    shared = 4 * (((_SIDE - 1) * g.sh + g.kh) * ((_SIDE - 1) * g.sw + g.kw) + g.kh * g.kw)
    if shared > 48 * 1024:
        raise NotImplementedError(
            f"kernel {g.kh}x{g.kw}, stride {g.sh},{g.sw}: {shared} bytes of shared memory a block"
        )
    grid = (ceil_div(g.ow, _SIDE) * ceil_div(g.oh, _SIDE) * g.co * g.n,)
    kernels.launch("conv2d_forward_tiled", grid, (_SIDE * _SIDE,), (x, w, b, y, *g), shared_mem=shared)
    return y


def backward_input_naive(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """One thread computes one input's gradient."""
    g, gx = backward_input_result(gy, w, x_shape, stride, padding, out)
    kernels.launch("conv2d_backward_input_naive", (ceil_div(gx.size, _BLOCK),), (_BLOCK,), (gy, w, gx, *g))
    return gx


def backward_weight_naive(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """One thread computes one weight's gradient, or one bias's."""
    g, gw, gb = backward_weight_result(gy, x, w_shape, stride, padding, out)
    grid = (ceil_div(gw.size + gb.size, _BLOCK),)
    kernels.launch("conv2d_backward_weight_naive", grid, (_BLOCK,), (gy, x, gw, gb, *g))
    return gw, gb


forward_gemm, backward_input_gemm, backward_weight_gemm = forward, backward_input, backward_weight
