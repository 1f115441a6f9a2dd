"""Global average pooling in CUDA C: the launches of globalavgpool2d.cu. Shapes as in globalavgpool2d_xp.py.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .pooling import BLOCK, WARPS, blocks
from .shapes import countable, expect, result

kernels = CudaC("globalavgpool2d")


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, 1, 1)."""
    countable(x.shape)
    n, c = x.shape[:2]
    y = result("out", x, (n, c, 1, 1), out)
    kernels.launch("globalavgpool2d_forward", (ceil_div(y.size, WARPS),), (BLOCK,), (x, y, *x.shape))
    return y


def backward(gy: Array, x_shape: tuple, out: Array | None = None, workspace=None) -> Array:
    """gx (n, c, h, w)."""
    countable(x_shape)
    expect("gy", gy, (*x_shape[:2], 1, 1))
    gx = result("out", gy, tuple(x_shape), out)
    kernels.launch("globalavgpool2d_backward", blocks(gx), (BLOCK,), (gy, gx, *x_shape))
    return gx
