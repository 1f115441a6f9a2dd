"""What the launches of conv2d in CUDA C and in Numba share: checked shapes, and how the work is divided.

It is divided by the shapes alone, so that results are the same bits on every device. The tiles are those of conv2d.cu
and conv2d_numba.py: a block of THREADS threads computes TILES[tile].pixels pixels of `tile` channels, or TAPS taps of
`tile` channels of the weights.
"""

from math import prod
from typing import NamedTuple

from .arrays import Array, Pair, out_size
from .launch import ceil_div
from .shapes import countable, expect, result, scratch

THREADS = 128
TAPS = 128  # TILE_T of the kernels
_SLICE = 32  # TILE_S: a split is a whole number of slices of pixels
_BLOCKS = 512  # what a large GPU runs at a time, about


class Tile(NamedTuple):
    """What a thread and a block compute; the kernels' REG_C and TILE_P."""

    channels: int
    pixels: int


TILES = {8: Tile(8, 512), 16: Tile(8, 256), 32: Tile(16, 256), 64: Tile(16, 128)}


class Geometry(NamedTuple):
    """The sizes of a convolution, in the order in which every kernel takes them."""

    n: int
    ci: int
    h: int
    w_: int
    co: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    oh: int
    ow: int

    @property
    def pixels(self) -> int:
        return self.n * self.oh * self.ow

    @property
    def taps(self) -> int:
        """The places in a window."""
        return self.ci * self.kh * self.kw


def geometry(x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair) -> Geometry:
    """ValueError where channels differ or the window does not fit, NotImplementedError beyond int32."""
    (n, ci, h, w_), (co, w_ci, kh, kw) = x_shape, w_shape
    if ci != w_ci:
        raise ValueError(f"x has {ci} channels (shape {x_shape}), w is for {w_ci} (shape {w_shape})")
    g = Geometry(n, ci, h, w_, co, kh, kw, *stride, *padding, *out_size((h, w_), (kh, kw), stride, padding))
    countable(x_shape, w_shape, (n, co, g.oh, g.ow))
    return g


def forward_result(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None
) -> tuple[Geometry, Array]:
    """The geometry of a forward pass, and y: `out`, or a new array beside x."""
    g = geometry(x.shape, w.shape, stride, padding)
    if b is not None:
        expect("b", b, (g.co,))
    return g, result("out", x, (g.n, g.co, g.oh, g.ow), out)


def backward_input_result(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None
) -> tuple[Geometry, Array]:
    """The geometry of the pass, and gx."""
    g = geometry(x_shape, w.shape, stride, padding)
    expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    return g, result("out", gy, tuple(x_shape), out)


def backward_weight_result(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None
) -> tuple[Geometry, Array, Array]:
    """The geometry of the pass, gw and gb."""
    g = geometry(x.shape, w_shape, stride, padding)
    expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    gw, gb = out or (None, None)
    return g, result("out[0]", gy, tuple(w_shape), gw), result("out[1]", gy, (g.co,), gb)


def channel_tile(channels: int) -> int:
    """The narrowest tile that holds all channels, else the widest."""
    return next((tile for tile in TILES if channels <= tile), max(TILES))


def splits(g: Geometry) -> tuple[int, int]:
    """(number of splits, pixels in each) of the sum over all pixels that the weights' gradient is.

    So many that there are about _BLOCKS blocks, as long as each has 4 slices to sum.
    """
    wanted = max(1, _BLOCKS // (ceil_div(g.co, channel_tile(g.co)) * ceil_div(g.taps + 1, TAPS)))
    chunk = max(4 * _SLICE, ceil_div(ceil_div(g.pixels, wanted), _SLICE) * _SLICE)
    return max(1, ceil_div(g.pixels, chunk)), chunk


def partial_shape(g: Geometry) -> tuple[int, int, int]:
    """What backward_weight keeps between its two kernels: for each split gw and, as one more tap, gb."""
    return splits(g)[0], g.co, g.taps + 1


def partial_sums(like: Array, g: Geometry, workspace: Array | None) -> Array:
    """Room for them: `workspace`, or a new array beside `like`. ValueError where it is too small."""
    countable(partial_shape(g))
    return scratch("conv2d.backward_weight", like, prod(partial_shape(g)), workspace)


def workspace_size(x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair) -> int:
    """The number of elements that backward_weight needs in its workspace."""
    return prod(partial_shape(geometry(x_shape, w_shape, stride, padding)))
