"""Orders that a seed decides: the shuffle of an epoch, and the split of data that come without one."""

from ..backend import CPU, Device
from ..backend import Array as DeviceArray
from .dataset import Array


def permutation(n: int, seed: int, epoch: int = 0, device: Device = CPU) -> DeviceArray:
    """int64 (n,): the examples 0 .. n-1 in the order that (seed, epoch) gives them, the same on every device.

    Example i gets the 64-bit key (word 0 << 32 | word 1) of its Philox draws with use SHUFFLE; a stable sort
    by that key is the order, so equal keys keep the order of the examples.
    """
    philox, xp = device.kernel("philox"), device.xp
    words = philox.bits(seed, philox.SHUFFLE, epoch, xp.arange(n), 2).astype(xp.uint64)
    return xp.argsort(words[:, 0] << 32 | words[:, 1], kind="stable")


def by_class(y: Array, seed: int) -> list[Array]:
    """For each label 0, 1, ... of y (n,): the indices of its examples, in the order `permutation` gives them."""
    order = permutation(len(y), seed)
    return [order[y[order] == label] for label in range(int(y.max()) + 1)]
