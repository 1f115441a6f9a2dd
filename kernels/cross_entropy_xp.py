"""Softmax cross entropy with label smoothing: the reference, on the array module of its arguments.

    logits (n, classes), target (n,) int32 in 0 .. classes-1 -> loss (), log_p (n, classes)
    log_p = logits - log(sum(exp(logits)))        of each row
    loss  = -mean over the rows of sum over the classes of q * log_p

The wanted distribution q is label_smoothing / classes everywhere and 1 - label_smoothing more at the target
(Szegedy et al. 2015, arXiv:1512.00567). log_p is all that backward needs.
"""

from .arrays import Array, namespace


def forward(
    logits: Array, target: Array, label_smoothing: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """loss () and log_p (n, classes); safe for any finite logits, because the largest of a row is taken off first."""
    xp = namespace(logits)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(1, keepdims=True))
    loss = -log_p[xp.arange(len(log_p)), target].mean()
    if label_smoothing:  # a class of probability 0 makes the loss infinite only where smoothing wants it
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    if out is None:
        return xp.asarray(loss), log_p
    out[0][...], out[1][...] = loss, log_p
    return out


def backward(
    gy: Array, log_p: Array, target: Array, label_smoothing: float, out: Array | None = None, workspace=None
) -> Array:
    """The gradient of the logits, (softmax - q) * gy / n, for gy (), the gradient of the loss."""
    xp = namespace(log_p)
    n, classes = log_p.shape
    g = xp.exp(log_p, out=out)
    g -= label_smoothing / classes
    g[xp.arange(n), target] -= 1 - label_smoothing
    g *= gy / n
    return g
