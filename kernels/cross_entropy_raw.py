"""Softmax cross entropy in CUDA C: the launches of cross_entropy.cu. Shapes and formula as in cross_entropy_xp.py.

Arrays are C-contiguous float32, target int32. ValueError where shapes do not go together, TypeError for another
dtype, NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result, scratch

kernels = CudaC("cross_entropy")

_BLOCK = 256  # threads; the kernels count on it
_WARPS = _BLOCK // 32


def forward(
    logits: Array, target: Array, label_smoothing: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """loss () and log_p (n, classes). workspace: a float32 array of ceil(n / 8) or more elements."""
    n, classes = logits.shape
    countable(logits.shape)
    expect("target", target, (n,))
    loss, log_p = out or (None, None)
    loss, log_p = result("out[0]", logits, (), loss), result("out[1]", logits, logits.shape, log_p)
    blocks = ceil_div(n, _WARPS)
    partial = scratch("cross_entropy.forward", logits, blocks, workspace)
    arguments = logits, target, log_p, partial, n, classes, *_wanted(classes, label_smoothing)
    kernels.launch("cross_entropy_forward", (blocks,), (_BLOCK,), arguments)
    kernels.launch("cross_entropy_mean", (1,), (_BLOCK,), (partial, loss, blocks, n))
    return loss, log_p


def backward(
    gy: Array, log_p: Array, target: Array, label_smoothing: float, out: Array | None = None, workspace=None
) -> Array:
    """The gradient of the logits (n, classes)."""
    n, classes = log_p.shape
    countable(log_p.shape)
    expect("gy", gy, ())
    expect("target", target, (n,))
    gx = result("out", log_p, log_p.shape, out)
    arguments = gy, log_p, target, gx, n, classes, *_wanted(classes, label_smoothing)
    kernels.launch("cross_entropy_backward", (ceil_div(gx.size, _BLOCK),), (_BLOCK,), arguments)
    return gx


def _wanted(classes: int, label_smoothing: float) -> tuple[float, float]:
    """The wanted probability of the target and of every other class."""
    share = label_smoothing / classes
    return 1 - label_smoothing + share, share
