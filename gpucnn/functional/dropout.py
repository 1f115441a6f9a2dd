"""Dropout (Srivastava et al. 2014), with draws that are a function of their place and nothing else."""

import itertools
from dataclasses import dataclass

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


@dataclass(frozen=True)
class Place:
    """Where in a training run a batch is; the arguments of the kernels' draws (philox_xp.py).

    epoch: a number, or an array of one in the device's memory. samples: (n,) integer array, the index of each example
    in its data set.
    """

    seed: int
    use: int
    epoch: int | Array
    samples: Array


class Dropout(Function):
    def __init__(self, p: float, channels: bool, place: Place) -> None:
        self.p, self.channels, self.place = p, channels, place
        self.repeatable = not isinstance(place.epoch, int)  # else the draws are those of one epoch

    def forward(self, x: Array) -> Array:
        return self._masked("forward", x)

    def backward(self, gy: Array) -> Array:
        return self._masked("backward", gy)

    def _masked(self, direction: str, x: Array) -> Array:
        place, kernel = self.place, self.device.kernel("dropout", x.dtype)
        samples = self.device.asarray(place.samples, "int32")
        x = self.device.contiguous(x)
        return getattr(kernel, direction)(x, self.p, place.seed, place.use, place.epoch, samples, self.channels)


_unplaced_calls = itertools.count()


def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, place: Place | None = None) -> Tensor:
    """x (n, ...): zero each element with probability p and scale the others by 1 / (1 - p).

    `place` fixes the draws; without one, each call of the process draws anew.
    """
    return _dropout(x, p, training, place, channels=False)


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, *, place: Place | None = None) -> Tensor:
    """x (n, c, h, w): as dropout, for whole channels (Tompson et al. 2015, arXiv:1411.4280)."""
    if x.ndim != 4:
        raise ValueError(f"dropout2d takes (n, c, h, w), got {x.shape}")
    return _dropout(x, p, training, place, channels=True)


def _dropout(x: Tensor, p: float, training: bool, place: Place | None, channels: bool) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"the dropout probability must be between 0 and 1, got {p}")
    if not training or p == 0:
        return x
    if place is None:
        philox = x.device.kernel("philox")
        place = Place(0, philox.UNPLACED, next(_unplaced_calls), x.device.xp.arange(len(x)))
    if len(place.samples) != len(x):
        raise ValueError(f"the place names {len(place.samples)} samples, the batch has {len(x)}")
    return Dropout.apply(x, p=p, channels=channels, place=place)
