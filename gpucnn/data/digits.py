"""The 8x8 handwritten digits inside the package: `digits`, and its small part `tinydigits`. Always there, offline.

1,797 images of 8x8 pixels 0..16, one channel; origin and licence are in digits.txt. The splits follow one
rule: the examples of a class are put in the order of `permutation(1797, seed=5)` (order.py), and

    digits       test = the first 36 of each class (360),  training = all others (1,437)
    tinydigits   test = the first 20 of each class (200),  training = those at places 36 .. 135 (1,000)

so that tinydigits trains on a part of digits' training set and is tested on a part of its test set.
"""

from pathlib import Path

import numpy as np

from .dataset import Array, Dataset
from .order import by_class

_SEED = 5  # of seeds 0 to 7 the split of middle difficulty: docs/decisions.md
_TEST = 36  # a class
_TINY_TRAIN, _TINY_TEST = 100, 20


def digits() -> Dataset:
    """1,437 training and 360 test images, normalised by the training set's own mean and deviation."""
    x, y = _read()
    groups = by_class(y, _SEED)
    train = np.sort(np.concatenate([group[_TEST:] for group in groups]))
    test = np.sort(np.concatenate([group[:_TEST] for group in groups]))
    return _dataset("digits", x, y, train, test, float(x[train].mean()), float(x[train].std()))


def tinydigits() -> Dataset:
    """1,000 training and 200 test images, the same number of each class; mean 0 and std 16: pixels / 16."""
    x, y = _read()
    groups = by_class(y, _SEED)
    train = np.sort(np.concatenate([group[_TEST : _TEST + _TINY_TRAIN] for group in groups]))
    test = np.sort(np.concatenate([group[:_TINY_TEST] for group in groups]))
    return _dataset("tinydigits", x, y, train, test, 0.0, 16.0)


def _dataset(name: str, x: Array, y: Array, train: Array, test: Array, mean: float, std: float) -> Dataset:
    classes = tuple("0123456789")
    return Dataset(name, x[train], y[train], x[test], y[test], classes, (mean,), (std,), white=16)


def _read() -> tuple[Array, Array]:
    """All examples in the order of the file: x uint8 (1797, 1, 8, 8), y int64 (1797,)."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        return file["images"][:, None], file["labels"].astype(np.int64)
