"""Clipping of gradients in CUDA C: the launches of clip.cu. Formula as in clip_xp.py, in float32.

ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError where int32 cannot count
the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, result, scratch

kernels = CudaC("clip")

_BLOCK = 256  # threads, and at most so many blocks that sum; the kernels count on it


def scale(g: Array, max_norm: float, out: Array | None = None, workspace=None) -> Array:
    """g, or as much of it as has the norm max_norm; `out` may be g, to change it in place."""
    countable(g.shape)
    new = result("out", g, g.shape, out)
    blocks = ceil_div(g.size, _BLOCK)
    summing = min(blocks, _BLOCK)
    sums = scratch("clip", g, summing, workspace)
    kernels.launch("clip_squares", (summing,), (_BLOCK,), (g, sums, g.size))
    kernels.launch("clip_scale", (blocks,), (_BLOCK,), (g, sums, new, g.size, summing, max_norm))
    return new
