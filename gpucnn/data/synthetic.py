"""Random pictures of any size, for measuring speed: there is nothing in them to learn."""

import math

import numpy as np

from ..backend import CPU
from ..errors import UsageError
from .dataset import Array, Dataset

_CLASSES = 10
_AT_ONCE = 1 << 20  # draws
_MOST_BYTES = 1 << 36


def load(shape: str = "") -> Dataset:
    """`shape` "NxCxHxW", by default 2048x3x32x32: N training images and a quarter as many for the test.

    Example i is Philox's draws for sample i with seed 0: word 0 gives the label, the bytes of the others the pixels.
    """
    shape = shape or "2048x3x32x32"
    sizes = [int(part) for part in shape.split("x") if part.isascii() and part.isdecimal()]
    if len(sizes) != 4 or shape.count("x") != 3 or min(sizes) < 1:
        raise UsageError(f"synthetic:{shape} is not a size", "write it as synthetic:2048x3x32x32 (images, c, h, w)")
    if math.prod(sizes) > _MOST_BYTES:
        raise UsageError(f"synthetic:{shape} has more than {_MOST_BYTES:,} bytes", "take fewer images, or smaller ones")
    n, c, h, w = sizes
    x, y = _draw(n + max(1, n // 4), (c, h, w))
    classes = tuple(f"class {i}" for i in range(_CLASSES))
    mean, std = (127.5,) * c, (73.9,) * c
    return Dataset(f"synthetic:{shape}", x[:n], y[:n], x[n:], y[n:], classes, mean, std)


def _draw(n: int, item: tuple[int, int, int]) -> tuple[Array, Array]:
    """x uint8 (n, *item), y int64 (n,)."""
    philox = CPU.kernel("philox")
    pixels = int(np.prod(item))
    elements = 1 + -(-pixels // 4)
    x, y = np.empty((n, pixels), np.uint8), np.empty(n, np.int64)
    step = max(1, _AT_ONCE // elements)
    for start in range(0, n, step):
        places = slice(start, min(start + step, n))
        words = philox.bits(0, philox.SYNTHETIC, 0, np.arange(places.start, places.stop), elements)
        y[places] = philox.below(words[:, 0], _CLASSES)
        x[places] = np.ascontiguousarray(words[:, 1:], "<u4").view(np.uint8)[:, :pixels]
    return x.reshape(n, *item), y
