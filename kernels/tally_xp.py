"""What a batch adds to the sums of an epoch: the reference, on the array module of its arguments.

    sums (2,), loss (), logits (n, classes), target (n,) int32 -> sums + (n * loss, right answers)

loss is the mean of the batch. An answer is the class of the largest logit, the first one of those that are equal;
NaN is larger than every number.
"""

from .arrays import Array


def add(sums: Array, loss: Array, logits: Array, target: Array, out: Array | None = None, workspace=None) -> Array:
    """The new sums; `out` may be `sums`, to change them in place."""
    new = sums.copy() if out is None else out
    new[0] = sums[0] + len(logits) * loss
    new[1] = sums[1] + (logits.argmax(1) == target).sum()
    return new
