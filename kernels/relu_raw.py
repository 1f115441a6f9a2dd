"""The rectified linear unit in CUDA C: the launches of relu.cu. Formula as in relu_xp.py, in float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError
where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, fours, result

kernels = CudaC("relu")

_BLOCK = 256  # threads


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y, of x's shape; NaN stays NaN."""
    y = result("out", x, x.shape, out)
    _launch("relu_forward", x, y)
    return y


def backward(gy: Array, y: Array, out: Array | None = None, workspace=None) -> Array:
    """gx: gy where y is positive, else 0."""
    expect("gy", gy, y.shape)
    gx = result("out", gy, gy.shape, out)
    _launch("relu_backward", gy, y, gx)
    return gx


def _launch(kernel: str, *arrays: Array) -> None:
    size = arrays[0].size
    countable(arrays[0].shape)
    wide = fours(*arrays)
    kernels.launch(kernel, (ceil_div(size - 3 * wide, _BLOCK),), (_BLOCK,), (*arrays, size, wide))
