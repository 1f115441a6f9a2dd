"""What the launches of conv2d in CUDA C and in Numba share: checked shapes, and how the work is divided.

It is divided by the shapes alone, so that results are the same bits on every device. The tiles are those of conv2d.cu
and conv2d_numba.py: a block of THREADS threads computes TILES[tile].pixels pixels of `tile` channels, or TAPS taps of
`tile` channels of the weights.
"""

from typing import NamedTuple

from .arrays import Array, Pair, namespace, out_size
from .launch import ceil_div, total

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
    for shape in (x_shape, w_shape, (n, co, g.oh, g.ow)):
        total(shape, 2**31 - 1024)  # the threads of the last block count on behind the end
    return g


def forward_result(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None
) -> tuple[Geometry, Array]:
    """The geometry of a forward pass, and y: `out`, or a new array beside x."""
    g = geometry(x.shape, w.shape, stride, padding)
    if b is not None:
        _expect("b", b, (g.co,))
    return g, _result("out", x, (g.n, g.co, g.oh, g.ow), out)


def backward_input_result(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None
) -> tuple[Geometry, Array]:
    """The geometry of the pass, and gx."""
    g = geometry(x_shape, w.shape, stride, padding)
    _expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    return g, _result("out", gy, tuple(x_shape), out)


def backward_weight_result(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None
) -> tuple[Geometry, Array, Array]:
    """The geometry of the pass, gw and gb."""
    g = geometry(x.shape, w_shape, stride, padding)
    _expect("gy", gy, (g.n, g.co, g.oh, g.ow))
    gw, gb = out or (None, None)
    return g, _result("out[0]", gy, tuple(w_shape), gw), _result("out[1]", gy, (g.co,), gb)


def _expect(name: str, array: Array, shape: tuple) -> None:
    if array.shape != shape:  # a kernel would read or write beside it
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


def _result(name: str, like: Array, shape: tuple, out: Array | None) -> Array:
    if out is None:
        return namespace(like).empty(shape, like.dtype)
    _expect(name, out, shape)
    return out


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


def workspace_size(x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair) -> int:
    """The float32 numbers that backward_weight keeps between its two kernels: (splits, co, taps + 1) partial sums."""
    g = geometry(x_shape, w_shape, stride, padding)
    return splits(g)[0] * g.co * (g.taps + 1)


def partial_sums(like: Array, g: Geometry, workspace: Array | None) -> Array:
    """`workspace`, or a new array beside `like`. ValueError where it is too small."""
    size = splits(g)[0] * g.co * (g.taps + 1)
    if workspace is None:
        return namespace(like).empty(size, like.dtype)
    if workspace.size < size:
        raise ValueError(f"workspace has {workspace.size} elements, conv2d.backward_weight needs {size} here")
    return workspace
