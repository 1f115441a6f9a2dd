"""Global average pooling in Numba: globalavgpool2d.cu line by line, with the reasons there.

Arrays are C-contiguous float32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from numba import cuda, float32

from .arrays import Array
from .launch import Floats, Int, ceil_div, numba_kernel
from .pooling import BLOCK, WARPS, blocks
from .shapes import countable, expect, result


@numba_kernel
def globalavgpool2d_forward(x: Floats, y: Floats, n: Int, c: Int, h: Int, w_: Int):
    """A warp computes the mean of one plane: its lanes sum every 32nd number, and shuffles add their sums."""
    plane, lane = cuda.blockIdx.x * (cuda.blockDim.x // 32) + cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
    if plane >= n * c:
        return
    sum = float32(0)
    for i in range(lane, h * w_, 32):
        sum += x[plane * h * w_ + i]
    for distance in (16, 8, 4, 2, 1):
        sum += cuda.shfl_xor_sync(0xFFFFFFFF, sum, distance)
    if lane == 0:
        y[plane] = sum / float32(h * w_)


@numba_kernel
def globalavgpool2d_backward(gy: Floats, gx: Floats, n: Int, c: Int, h: Int, w_: Int):
    """Thread i computes gx[i], its share of the gradient of its plane's mean."""
    i = cuda.grid(1)
    if i >= n * c * h * w_:
        return
    gx[i] = gy[i // (h * w_)] / float32(h * w_)


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, 1, 1)."""
    countable(x.shape)
    n, c = x.shape[:2]
    y = result("out", x, (n, c, 1, 1), out)
    globalavgpool2d_forward.launch((ceil_div(y.size, WARPS),), (BLOCK,), (x, y, *x.shape))
    return y


def backward(gy: Array, x_shape: tuple, out: Array | None = None, workspace=None) -> Array:
    """gx (n, c, h, w)."""
    countable(x_shape)
    expect("gy", gy, (*x_shape[:2], 1, 1))
    gx = result("out", gy, tuple(x_shape), out)
    globalavgpool2d_backward.launch(blocks(gx), (BLOCK,), (gy, gx, *x_shape))
    return gx
