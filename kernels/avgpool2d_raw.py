"""2-D average pooling in CUDA C: the launches of avgpool2d.cu. Shapes and formula as in avgpool2d_xp.py.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array, Pair
from .launch import CudaC
from .pooling import BLOCK, average_result, backward_result, blocks

kernels = CudaC("avgpool2d")


def forward(x: Array, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, oh, ow)."""
    g, y = average_result(x, size, stride, padding, out)
    kernels.launch("avgpool2d_forward", blocks(y), (BLOCK,), (x, y, *g))
    return y


def backward(
    gy: Array, x_shape: tuple, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, c, h, w)."""
    g, gx = backward_result(gy, x_shape, size, stride, padding, out)
    kernels.launch("avgpool2d_backward", blocks(gx), (BLOCK,), (gy, gx, *g))
    return gx
