"""What the launches of the pooling kernels in CUDA C and in Numba share: checked shapes, and results of them."""

from typing import NamedTuple

from .arrays import Array, Pair, namespace, out_size
from .launch import ceil_div
from .maxpool2d_xp import DEAD
from .shapes import countable, expect, result

BLOCK = 256  # threads
WARPS = BLOCK // 32


class Geometry(NamedTuple):
    """The sizes of a pooling, in the order in which every kernel takes them."""

    n: int
    c: int
    h: int
    w_: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    oh: int
    ow: int


def blocks(array: Array) -> tuple[int]:
    """The grid with a thread for each element of `array`."""
    return (ceil_div(array.size, BLOCK),)


def geometry(x_shape: tuple, size: Pair, stride: Pair, padding: Pair) -> Geometry:
    """ValueError where the window does not fit, NotImplementedError beyond int32."""
    n, c, h, w_ = x_shape
    oh, ow = out_size((h, w_), size, stride, padding)
    countable(x_shape, (n, c, oh, ow))
    return Geometry(n, c, h, w_, *size, *stride, *padding, oh, ow)


def average_result(x: Array, size: Pair, stride: Pair, padding: Pair, out: Array | None) -> tuple[Geometry, Array]:
    """The geometry of a forward pass, and y: `out`, or a new array beside x."""
    g = geometry(x.shape, size, stride, padding)
    return g, result("out", x, (g.n, g.c, g.oh, g.ow), out)


def maximum_result(
    x: Array, size: Pair, stride: Pair, padding: Pair, out: tuple | None
) -> tuple[Geometry, Array, Array]:
    """The geometry of a forward pass, y and code. NotImplementedError for windows that a byte has no codes for."""
    if size[0] * size[1] > DEAD:
        raise NotImplementedError(f"max pooling over {size[0]}x{size[1]} places: a window has at most {DEAD}")
    g = geometry(x.shape, size, stride, padding)
    y, code = out or (None, None)
    shape = g.n, g.c, g.oh, g.ow
    return g, result("out[0]", x, shape, y), result("out[1]", x, shape, code, namespace(x).uint8)


def backward_result(
    gy: Array, x_shape: tuple, size: Pair, stride: Pair, padding: Pair, out: Array | None
) -> tuple[Geometry, Array]:
    """The geometry of a backward pass, and gx."""
    g = geometry(x_shape, size, stride, padding)
    expect("gy", gy, (g.n, g.c, g.oh, g.ow))
    return g, result("out", gy, tuple(x_shape), out)
