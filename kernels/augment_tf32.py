"""Pictures into a batch for tensor cores, the channels innermost as their convolutions read it: see augment_raw.py."""

from typing import Any

from . import augment_raw
from .arrays import Array


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
    """y (n, c, h, w), in the layout of channelslast.py; `out` is C-contiguous."""
    arguments = x, samples, words, mean, std, crop, flip, cutout
    return augment_raw.innermost(*arguments) if out is None else augment_raw.forward(*arguments, out)
