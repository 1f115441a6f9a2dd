"""Dropout in CUDA C: the launches of dropout.cu. Shapes and draws as in dropout_xp.py, in float32.

Arrays are C-contiguous, samples int32. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.
"""

from math import prod

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, in_memory, result

kernels = CudaC("dropout")

_BLOCK = 256  # threads
_WORD = 2**32


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
    countable(x.shape)
    expect("samples", samples, x.shape[:1])
    y = result("out", x, x.shape, out)
    threshold = round(p * _WORD)
    scale = 1 / (1 - p) if threshold < _WORD else 0  # no draw reaches 2**32, which does not fit a word either
    draws = seed % _WORD, seed // _WORD % _WORD, use, min(threshold, _WORD - 1), scale
    arrays = x, samples, in_memory("epoch", epoch, x, "uint32"), y
    n, drawn = len(x), x.shape[1] if channels else prod(x.shape[1:])
    fours = n * ceil_div(drawn, 4)
    if channels:
        grid, arguments = ceil_div(fours, _BLOCK // 32), (*arrays, n, drawn, prod(x.shape[2:]), *draws)
        kernels.launch("dropout_channels", (grid,), (_BLOCK,), arguments)
    else:
        kernels.launch("dropout_elements", (ceil_div(fours, _BLOCK),), (_BLOCK,), (*arrays, n, drawn, *draws))
    return y


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
    """gx, of gy's shape."""
    return forward(gy, p, seed, use, epoch, samples, channels, out, workspace)
