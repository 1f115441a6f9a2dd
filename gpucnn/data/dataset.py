"""What every data set becomes: pictures and labels on the host, and what is needed to feed them to a model."""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from ..errors import DataError, UsageError

Array = np.ndarray[Any, Any]

_MOST_PADDING = 4  # pixels a side: more would be mostly frame


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures x uint8 (n, c, h, w) with labels y int64 (n,), for training and for the test.

    `mean` and `std` are per channel and in pixel units (0..255), as `Batches` wants them; `white` is the
    pixel value of full brightness (16 in digits), which a picture from elsewhere has to be scaled to.
    `augment` names the augmentations the data set is usually trained with; `notes` are lines for the user.
    DataError where arrays and labels do not fit together.
    """

    name: str
    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    white: int = 255

    def __post_init__(self) -> None:
        for part, x, y in (("training", self.train_x, self.train_y), ("test", self.test_x, self.test_y)):
            _check(f"{self.name}, {part} set", x, y, len(self.classes))
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_x.shape[1:]}, test images {self.test_x.shape[1:]}",
                "both need the same channels, height and width",
            )
        channels = self.image_shape[0]
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise DataError(
                f"{self.name}: mean {self.mean} and std {self.std} do not fit {channels} channels",
                "give one mean and one positive std a channel",
            )

    @cached_property
    def sha256(self) -> str:
        """Of all pictures and labels."""
        parts = (self.train_x, self.train_y, self.test_x, self.test_y)
        return sha256(b"".join(sha256(part.tobytes()).digest() for part in parts)).hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture."""
        c, h, w = self.train_x.shape[1:]
        return c, h, w

    def first(self, train: int, test: int) -> "Dataset":
        """The same data with so many pictures at most, the first ones; mean and std remain those of all."""
        x, y, test_x, test_y = self.train_x[:train], self.train_y[:train], self.test_x[:test], self.test_y[:test]
        return replace(self, train_x=x, train_y=y, test_x=test_x, test_y=test_y)

    def fit(self, size: tuple[int, int]) -> "Dataset":
        """The same data with pictures of `size` (h, w), and a note of what was done: see `fit_images`."""
        if self.image_shape[1:] == size:
            return self
        train_x, how = fit_images(self.train_x, size, self.name)
        test_x, _ = fit_images(self.test_x, size, self.name)
        note = f"{self.name}: {_by(self.image_shape[1:])} images {how} to {_by(size)}"
        return replace(self, train_x=train_x, test_x=test_x, notes=(*self.notes, note))


def fit_images(x: Array, size: tuple[int, int], name: str) -> tuple[Array, str]:
    """x (n, c, h, w) -> ((n, c, *size), how): unchanged, "enlarged 4x" or "zero-padded".

    Enlarges (each pixel becomes a square) where one whole factor fits both sides; otherwise pads with zeros
    where at most 4 pixels a side are missing. UsageError, naming `name`, where neither will do.
    """
    h, w = x.shape[2:]
    if (h, w) == size:
        return x, "unchanged"
    factor = size[0] // h
    if factor > 1 and (h * factor, w * factor) == size:
        return x.repeat(factor, axis=2).repeat(factor, axis=3), f"enlarged {factor}x"
    missing = size[0] - h, size[1] - w
    if min(missing) >= 0 and max(missing) <= 2 * _MOST_PADDING:
        sides = [(m // 2, m - m // 2) for m in missing]
        return np.pad(x, [(0, 0), (0, 0), *sides]), "zero-padded"
    raise UsageError(
        f"{name} has {_by((h, w))} images, and {_by(size)} are wanted",
        f"choose a model for {_by((h, w))} images, or other data",
    )


def _check(what: str, x: Array, y: Array, classes: int) -> None:
    if x.dtype != np.uint8 or x.ndim != 4 or not x.flags.c_contiguous or y.dtype != np.int64 or y.ndim != 1:
        raise DataError(
            f"{what}: images are {x.dtype} {x.shape}, labels {y.dtype} {y.shape}",
            "images must be C-contiguous uint8 (n, c, h, w), labels int64 (n,)",
        )
    if len(x) != len(y):
        raise DataError(f"{what}: {len(x)} images, but {len(y)} labels", "every image needs one label")
    if not x.size:
        raise DataError(f"{what} is empty", "at least one example is needed")
    bad = np.flatnonzero((y < 0) | (y >= classes))
    if len(bad):
        raise DataError(
            f"{what}: example {bad[0]} has the label {y[bad[0]]}, and labels are 0..{classes - 1}",
            "the labels are damaged, or belong to other data",
        )


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
