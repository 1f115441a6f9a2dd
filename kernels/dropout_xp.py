"""Dropout (Srivastava et al. 2014): the reference, on the array module of its arguments.

    x (n, ...) -> y (n, ...): an element is zeroed with probability p, the others are scaled by 1 / (1 - p)
    samples (n,) int32: the index of each example in its data set
    epoch: a number, or an array of one element, uint32, on x's device, read there when the kernel runs

With `channels`, the elements of a whole channel of x (n, c, ...) share one draw (Tompson et al. 2015,
arXiv:1411.4280). A draw is a function of its place alone (philox_xp.py), so backward draws again and no mask
is kept.
"""

from math import prod

from .arrays import Array
from .philox_xp import bits, keep


def forward(
    x: Array,
    p: float,
    seed: int,
    use: int,
    epoch: int | Array,
    samples: Array,
    channels: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """y, of x's shape."""
    drawn = x.shape[:2] if channels else x.shape
    kept = keep(bits(seed, use, epoch, samples, prod(drawn[1:])), p).reshape(drawn + (1,) * (x.ndim - len(drawn)))
    scale = kept.astype(x.dtype) * (1 / (1 - p) if p < 1 else 0)
    if out is None:
        return x * scale
    out[...] = x * scale
    return out


def backward(
    gy: Array,
    p: float,
    seed: int,
    use: int,
    epoch: int | Array,
    samples: Array,
    channels: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """gx: the same elements are zeroed, the others scaled alike."""
    return forward(gy, p, seed, use, epoch, samples, channels, out, workspace)
