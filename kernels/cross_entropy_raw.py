"""Softmax cross entropy in CUDA C: the launches of cross_entropy.cu. Shapes and formulas as in cross_entropy_xp.py.

Arrays are C-contiguous float32, target int32. ValueError where shapes do not go together, TypeError for another
dtype, NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result, scratch

kernels = CudaC("cross_entropy")

_BLOCK, _ROWS = 1024, 128  # threads, and the rows that they compute at a time; the kernels count on both
_ALONE = 32 * _BLOCK  # logits: with more of them, one block would take longer than a second launch


def forward(
    logits: Array,
    target: Array,
    label_smoothing: float,
    sums: Array | None = None,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """loss (), totals (2,) and gx (n, classes). workspace: a float32 array of workspace_size(n, classes) elements."""
    n, classes = logits.shape
    countable(logits.shape)
    expect("target", target, (n,))
    if sums is not None:
        expect("sums", sums, (2,))
    loss, totals, gx = out or (None,) * 3
    loss, totals = result("out[0]", logits, (), loss), result("out[1]", logits, (2,), totals)
    gx = result("out[2]", logits, logits.shape, gx)
    blocks = _blocks(n, classes)
    size = workspace_size(n, classes)
    partial = scratch("cross_entropy.forward", logits, size, workspace) if size else None
    share = label_smoothing / classes
    wanted = 1 - label_smoothing + share, share  # of the target, and of every other class
    arguments = logits, target, sums, loss, totals, gx, partial, n, classes, ceil_div(n, _ROWS * blocks), *wanted
    kernels.launch("cross_entropy_forward", (blocks,), (_BLOCK,), arguments)
    if blocks > 1:
        kernels.launch("cross_entropy_total", (1,), (_BLOCK,), (partial, sums, loss, totals, blocks, n))
    return loss, totals, gx


def workspace_size(n: int, classes: int) -> int:
    """The float32 elements that `forward` needs beside its results."""
    blocks = _blocks(n, classes)
    return 2 * blocks if blocks > 1 else 0


def _blocks(n: int, classes: int) -> int:
    return 1 if n * classes <= _ALONE else ceil_div(n, _ROWS)
