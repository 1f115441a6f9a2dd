"""Softmax cross entropy with label smoothing, its gradient and the right answers: the reference, on the array module
of its arguments.

    logits (n, classes), target (n,) int32 in 0 .. classes-1 -> loss (), totals (2,), gx (n, classes)
    log_p  = logits - log(sum(exp(logits)))        of each row
    loss   = -mean over the rows of sum over the classes of q * log_p
    gx     = (exp(log_p) - q) / n                  the gradient of the loss
    totals = sums + (n * loss, right answers)      sums (2,), zeros where None is given

The wanted distribution q is label_smoothing / classes everywhere and 1 - label_smoothing more at the target
(Szegedy et al. 2015, arXiv:1512.00567). An answer is the class of the largest logit, the first one of those that are
equal; NaN is larger than every number.
"""

from .arrays import Array, namespace


def forward(
    logits: Array,
    target: Array,
    label_smoothing: float,
    sums: Array | None = None,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """loss, totals and gx; safe for any finite logits, because the largest of a row is taken off first.

    `out` is a place for each, or None in place of it; that of totals may be `sums`, to change them in place.
    """
    xp = namespace(logits)
    loss_out, totals, gx = out or (None,) * 3
    n, classes = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(1, keepdims=True))
    at_target = xp.arange(n), target
    loss = -log_p[at_target].mean()
    if label_smoothing:  # a class of probability 0 makes the loss infinite only where smoothing wants it
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    right = (logits.argmax(1) == target).sum()
    totals = xp.add(xp.stack([n * loss, right.astype(loss.dtype)]), 0 if sums is None else sums, out=totals)
    gx = xp.exp(log_p, out=gx)
    gx -= label_smoothing / classes
    gx[at_target] -= 1 - label_smoothing
    gx /= n
    if loss_out is None:
        return xp.asarray(loss), totals, gx
    loss_out[...] = loss
    return loss_out, totals, gx
