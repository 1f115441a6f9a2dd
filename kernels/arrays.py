"""What every implementation shares: the array module of an array, and the size of an output."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

Array = Any  # numpy.ndarray here, cupy.ndarray there
Pair = tuple[int, int]


def namespace(x: Array) -> ModuleType:
    """NumPy for a NumPy array, CuPy for a CuPy array, without importing either."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def number(value: Any) -> Any:
    """The number itself, or that of an array of one element, for which a GPU is waited for."""
    return value.item() if hasattr(value, "item") else value


def out_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """(h, w) -> (oh, ow) of a window of `kernel` moved by `stride` over `padding` zeros on each side.

    ValueError where a stride is below 1, a padding below 0, or the window does not fit once.
    """
    if min(kernel) < 1:
        raise ValueError(f"kernel size must be at least 1, got {kernel}")
    if min(stride) < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if min(padding) < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    (h, w), (kh, kw), (ph, pw) = size, kernel, padding
    if kh > h + 2 * ph or kw > w + 2 * pw:
        raise ValueError(f"kernel {kh}x{kw} is larger than its input {h}x{w} with padding {ph},{pw}")
    return (h + 2 * ph - kh) // stride[0] + 1, (w + 2 * pw - kw) // stride[1] + 1


def taps(padded: Array, size: Pair, stride: Pair, out: Pair) -> Iterator[Array]:
    """For each place in a window, in row-major order, the view (n, c, oh, ow) of what lies under it."""
    for ky in range(size[0]):
        for kx in range(size[1]):
            yield padded[:, :, ky : ky + stride[0] * out[0] : stride[0], kx : kx + stride[1] * out[1] : stride[1]]
