"""Pictures into a batch for tensor cores, the channels innermost as their convolutions read it: see augment_raw.py."""

from typing import Any

from . import augment_raw
from .arrays import Array
from .shapes import expect


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
    """y (n, c, h, w), in the layout of channelslast.py; to `out` it is copied, however that lies."""
    y = augment_raw.innermost(x, samples, words, mean, std, crop, flip, cutout)
    if out is None:
        return y
    expect("out", out, y.shape)
    out[...] = y
    return out
