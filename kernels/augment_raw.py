"""Pictures into a batch in CUDA C: the launches of augment.cu. Shapes and draws as in augment_xp.py, uint8 to float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError
where int32 cannot count the elements, those of all pictures included.
"""

from typing import Any

from .arrays import Array, namespace
from .channelslast import padded
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result

kernels = CudaC("augment")

_BLOCK = 256  # threads; pictures with fewer pixels get as many warps as they fill


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
    y = result("out", mean, (n, c, h, w_), out)
    arguments = x, samples, words, mean, std, y, c, h, w_
    _launch("augment_forward", n * c, arguments, (crop, flip, cutout))
    return y


def innermost(
    x: Array, samples: Array, words: Any, mean: Array, std: Array, crop: bool, flip: bool, cutout: bool
) -> Array:
    """y (n, c, h, w) in the layout of channelslast.py."""
    (n,), (c, h, w_) = samples.shape, x.shape[1:]
    memory = namespace(mean).empty((n, h, w_, padded(c)), mean.dtype)
    arguments = x, samples, words, mean, std, memory, c, padded(c), h, w_
    _launch("augment_forward_innermost", n, arguments, (crop, flip, cutout))
    return memory[..., :c].transpose(0, 3, 1, 2)


def _launch(kernel: str, blocks: int, arguments: tuple, chosen: tuple[bool, bool, bool]) -> None:
    x, samples, words, mean, std, y = arguments[:6]
    countable(x.shape, y.shape)
    if any(chosen):
        expect("words", words, (len(samples), 4))
    expect("mean", mean, x.shape[1:2])
    expect("std", std, x.shape[1:2])
    block = min(_BLOCK, 32 * ceil_div(x.shape[2] * x.shape[3], 32))
    kernels.launch(kernel, (blocks,), (block,), (*arguments, *chosen))
