"""2-D max pooling in CUDA C: the launches of maxpool2d.cu. Shapes and formula as in maxpool2d_xp.py.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements or a byte the places in a window.
"""

from .arrays import Array, Pair
from .launch import CudaC
from .pooling import BLOCK, backward_result, blocks, maximum_result
from .shapes import expect

kernels = CudaC("maxpool2d")


def forward(
    x: Array, size: Pair, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and code (n, c, oh, ow)."""
    g, y, code = maximum_result(x, size, stride, padding, out)
    kernels.launch("maxpool2d_forward", blocks(y), (BLOCK,), (x, y, code, *g))
    return y, code


def backward(
    gy: Array,
    code: Array,
    x_shape: tuple,
    size: Pair,
    stride: Pair,
    padding: Pair,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """gx (n, c, h, w)."""
    expect("code", code, gy.shape)
    g, gx = backward_result(gy, x_shape, size, stride, padding, out)
    kernels.launch("maxpool2d_backward", blocks(gx), (BLOCK,), (gy, code, gx, *g))
    return gx
