"""The cross entropy; the arithmetic is in the kernels of the op cross_entropy."""

from typing import Any

from ..autograd import Function
from ..backend import Array, on_host
from ..tensor import Tensor


class CrossEntropy(Function):
    """The gradient is computed with the loss, for one of 1, and scaled where another one comes."""

    repeatable = from_one = True

    def __init__(self, target: Array, label_smoothing: float, sums: Array | None) -> None:
        self.target, self.label_smoothing, self.sums = target, label_smoothing, sums

    def forward(self, logits: Array) -> Array:
        logits = self.device.contiguous(logits)
        kernel = self.device.kernel("cross_entropy", logits.dtype)
        in_place = None if self.sums is None else (None, self.sums, None)
        loss, _, self.gx = kernel.forward(logits, self.target, self.label_smoothing, self.sums, in_place)
        return loss

    def backward(self, gy: Array | None) -> Array:
        return self.gx if gy is None else self.gx * gy


_AUXILIARY = 0.3  # what the loss of an auxiliary classifier counts: Szegedy et al. 2014, arXiv:1409.4842


def cross_entropy(
    logits: Tensor | tuple[Tensor, ...], target: Any, *, label_smoothing: float = 0.0, sums: Array | None = None
) -> Tensor:
    """logits (n, classes), target (n,) integers -> the mean of -log softmax(logits)[target], a scalar.

    Of a tuple of logits, all but the first are those of auxiliary classifiers, whose losses count 0.3 each.

    The softmax is inside: give it logits. With label_smoothing s, the target is 1 - s at the label plus
    s / classes everywhere (Szegedy et al. 2015, arXiv:1512.00567). ValueError for labels that are not
    integers in 0 .. classes-1, as far as they are on the host; those on a GPU were checked when loaded.

    sums: an array (2,) beside the logits, of their dtype, to which n times the loss and the number of right answers
    are added; those of auxiliary classifiers do not count.
    """
    if isinstance(logits, tuple):
        own = cross_entropy(logits[0], target, label_smoothing=label_smoothing, sums=sums)
        return own + _AUXILIARY * sum(cross_entropy(x, target, label_smoothing=label_smoothing) for x in logits[1:])
    labels = target.data if isinstance(target, Tensor) else target
    labels = labels if hasattr(labels, "dtype") else logits.device.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"cross_entropy takes (n, classes) and (n,), got {logits.shape} and {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if on_host(labels) and labels.size and (labels.min() < 0 or labels.max() >= logits.shape[1]):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, but there are {logits.shape[1]} classes")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    target = logits.device.asarray(labels, "int32")
    return CrossEntropy.apply(logits, target=target, label_smoothing=label_smoothing, sums=sums)
