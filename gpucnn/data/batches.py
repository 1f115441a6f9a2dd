"""Batches on the device: shuffled, augmented and normalised, the same for a seed on every device.

Everything random is a Philox draw of (seed, use, epoch, index of the example in its data set), so a picture is
cropped the same way in whatever batch, order or device it turns up. With use SHUFFLE words 0 and 1 are the sort
key of `permutation`; with use AUGMENT the four words of element block 0 are, whether or not they are used,

    word 0   crop: rows, 0..8, by which the 32x32 window is moved down in the picture padded by 4 (below 9)
    word 1   crop: columns, likewise
    word 2   flip: left and right change places where the top bit is set
    word 3   cutout: centre = cy * w + cx of the square, anywhere in the picture (below h * w)

Crop, flip and cutout are applied in this order. The padding has the pixel value 0; then each channel becomes
(x - mean) / std, a subtraction and a division in the floating-point type; then rows cy-4 .. cy+3 and columns
cx-4 .. cx+3, as far as they lie in the picture, become 0 (the mean). All of it is the op `augment`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..backend import Array, Device, on_host
from ..errors import UsageError, nearest
from .order import permutation

AUGMENTATIONS = ("crop", "flip", "cutout")


class Batch(NamedTuple):
    """x float (n, c, h, w), in the layout of the device's kernels; labels y int32 (n,); samples int32 (n,), the
    indices in the data set. whole: the examples of the batch, of which these are the share of one rank, or all.
    """

    x: Array
    y: Array
    samples: Array
    whole: int


class Batches:
    """The batches of x uint8 (n, c, h, w) and integers y (n,), both moved to `device` once and whole.

    `mean` and `std`: one value a channel, in pixel units. `dtype` is that of the batches. Without `shuffle` the
    order is that of the data set; with `drop_last` a last, smaller batch is left out. `augment` holds names of
    AUGMENTATIONS. Number `rank` of `ranks` processes gets its share of each batch, in the order of the batch: all
    shares together are the batches of one process.

    UsageError for an unknown name, or a batch size that leaves no batch.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        batch_size: int,
        *,
        device: Device,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: Any = "float32",
        seed: int = 0,
        shuffle: bool = False,
        augment: Sequence[str] = (),
        drop_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}", "it must be at least 1")
        if drop_last and batch_size > len(x):
            raise UsageError(
                f"batch size {batch_size} with {len(x)} examples leaves no whole batch", f"use at most {len(x)}"
            )
        for name in augment:
            if name not in AUGMENTATIONS:
                raise nearest("augmentation", name, AUGMENTATIONS)
        self.device, self.batch_size, self.drop_last = device, batch_size, drop_last
        self.seed, self.shuffle, self.augment = seed, shuffle, tuple(augment)
        self.rank, self.ranks = rank, ranks
        self.x, self.y = device.xp.ascontiguousarray(device.asarray(x)), device.asarray(y, "int32")
        if on_host(self.x) and not self.x.flags.writeable:
            self.x = self.x.copy()  # compiled kernels take memory that they might write to, and no other
        self.mean, self.std = device.asarray(mean, dtype), device.asarray(std, dtype)

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def examples(self) -> int:
        """Examples in an epoch."""
        return min(len(self.x), len(self) * self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch 0, 1, ... from batch `first` on: each call with the same numbers gives the same ones."""
        samples, words, labels = self.draw(epoch)
        for start in range(first * self.batch_size, self.examples, self.batch_size):
            whole = min(self.batch_size, self.examples - start)
            share = self.share(whole)
            places = slice(start + share.start, start + share.stop)
            yield Batch(self.images(samples[places], words[places]), labels[places], samples[places], whole)

    def share(self, n: int) -> slice:
        """Which examples of a batch of n are this rank's: as many as the others', or one more."""
        return slice(n * self.rank // self.ranks, n * (self.rank + 1) // self.ranks)

    def draw(self, epoch: int) -> tuple[Array, Array, Array]:
        """All that is drawn or looked up for an epoch, at once: a batch then takes slices of it, and one kernel.

        The samples (n,) int32 in their order, words (n, 4) uint32 for each, or (n, 0) without augmentation, and the
        labels (n,) int32.
        """
        xp, philox = self.device.xp, self.device.kernel("philox")
        n = len(self.x)
        order = permutation(n, self.seed, epoch, self.device) if self.shuffle else xp.arange(n)
        words = xp.empty((n, 0), "uint32")
        if self.augment:
            words = philox.bits(self.seed, philox.AUGMENT, epoch, order, 4)
        return order.astype("int32"), words, self.y[order]

    def images(self, samples: Array, words: Array) -> Array:
        """The pictures `samples` (n,), augmented as `words` say and normalised: float (n, c, h, w)."""
        kernel = self.device.kernel("augment", self.mean.dtype)
        chosen = [name in self.augment for name in AUGMENTATIONS]
        return kernel.forward(self.x, samples, words if self.augment else None, self.mean, self.std, *chosen)
