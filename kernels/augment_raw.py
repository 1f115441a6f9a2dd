"""Pictures into a batch in CUDA C: the launch of augment.cu. Shapes and draws as in augment_xp.py, uint8 to float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError
where int32 cannot count the elements, those of all pictures included.
"""

from typing import Any

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result

kernels = CudaC("augment")

_BLOCK = 256  # threads; a plane with fewer pixels gets as many warps as they fill


def forward(
    x: Array,
    samples: Array,
    words: Any,
    mean: Array,
    std: Array,
    crop: bool,
    flip: bool,
    cutout: bool,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """y (n, c, h, w)"""
    (n,), (c, h, w_) = samples.shape, x.shape[1:]
    countable(x.shape, (n, c, h, w_))
    if crop or flip or cutout:
        expect("words", words, (n, 4))
    expect("mean", mean, (c,))
    expect("std", std, (c,))
    y = result("out", mean, (n, c, h, w_), out)
    block = min(_BLOCK, 32 * ceil_div(h * w_, 32))
    arguments = x, samples, words, mean, std, y, c, h, w_, crop, flip, cutout
    kernels.launch("augment_forward", (n * c,), (block,), arguments)
    return y
