"""Pictures into a batch, augmented and normalised: the reference, on the array module of its arguments.

    x (m, c, h, w) uint8, samples (n,) int32, words (n, 4) uint32 -> y (n, c, h, w) of the dtype of mean and std (c,)

`samples` are the pictures' places in x, `words` their random bits: see gpucnn/data/batches.py for what they mean.
In this order: `crop` moves the window over the picture padded with PAD zeros, `flip` exchanges left and right, then
y = (pixel - mean) / std, and `cutout` makes a square of SQUARE pixels 0. Without any of them words may be None.
"""

from typing import Any

from .arrays import Array, namespace
from .philox_xp import below, keep

PAD = 4  # pixels around the picture for the crop
SQUARE = 8  # side of the cutout


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
    xp, (h, w) = namespace(x), x.shape[2:]
    pixels = x[samples]
    if crop:
        pixels = _crop(pixels, below(words[:, 0], 2 * PAD + 1), below(words[:, 1], 2 * PAD + 1))
    if flip:
        pixels = xp.where(keep(words[:, 2], 0.5)[:, None, None, None], pixels[..., ::-1], pixels)
    y = pixels.astype(mean.dtype)
    y -= mean[:, None, None]
    y /= std[:, None, None]
    if cutout:
        centre = below(words[:, 3], h * w)
        xp.copyto(y, 0, where=_square(centre // w, centre % w, h, w))
    if out is None:
        return y
    out[...] = y
    return out


def _crop(pixels: Array, down: Array, right: Array) -> Array:
    """The window of the pictures' own size at row `down` and column `right` (n,) of the padded pictures."""
    xp, (n, c, h, w) = namespace(pixels), pixels.shape
    padded = xp.zeros((n, c, h + 2 * PAD, w + 2 * PAD), pixels.dtype)
    padded[:, :, PAD : PAD + h, PAD : PAD + w] = pixels
    windows = xp.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    return windows[xp.arange(n), :, down, right]


def _square(cy: Array, cx: Array, h: int, w: int) -> Array:
    """bool (n, 1, h, w): the square around each centre."""
    xp = namespace(cy)
    rows = xp.arange(h) - cy[:, None] + SQUARE // 2
    columns = xp.arange(w) - cx[:, None] + SQUARE // 2
    rows, columns = (rows >= 0) & (rows < SQUARE), (columns >= 0) & (columns < SQUARE)
    return rows[:, None, :, None] & columns[:, None, None, :]
