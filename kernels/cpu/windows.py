"""Which places of a window lie on the input, along one side: tables for the loops of convolution and pooling."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..arrays import Pair


@lru_cache(maxsize=256)
def windows(size: int, out: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """(out, 3): for each output its first tap on an input, how many there are, and the first of those inputs."""
    o = np.arange(out)
    first = np.maximum(0, padding - o * stride)
    count = np.minimum(kernel, size + padding - o * stride) - first
    return np.stack([first, np.maximum(0, count), o * stride + first - padding], 1)


@lru_cache(maxsize=256)
def readers(size: int, out: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """(size, 3): for each input the first tap that reads it, how many do, and the output of the first.

    Each following tap is `stride` further, its output one earlier.
    """
    i = np.arange(size)
    o = np.minimum((i + padding) // stride, out - 1)
    first = i + padding - o * stride
    count = np.minimum(o + 1, (kernel - first + stride - 1) // stride)
    return np.stack([first, np.maximum(0, count), o], 1)


@lru_cache(maxsize=256)
def pixels(size: int, out: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """(kernel, 2): for each tap the first output whose tap lies on an input, and the end of those outputs."""
    k = np.arange(kernel)
    first = np.maximum(0, (padding - k + stride - 1) // stride)
    end = np.minimum(out, (size - 1 + padding - k) // stride + 1)
    return np.stack([first, np.maximum(first, end)], 1)


def along(table: Callable, size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair) -> tuple:
    """One of the tables above for the rows, and for the columns."""
    return tuple(table(*each) for each in zip(size, out, kernel, stride, padding, strict=True))
