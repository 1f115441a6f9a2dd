"""What a batch adds to the sums of an epoch in CUDA C: the launch of tally.cu. Shapes and rules as in tally_xp.py.

Arrays are C-contiguous float32, target int32. ValueError where shapes do not go together, TypeError for another
dtype, NotImplementedError where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC
from .shapes import countable, expect, result

kernels = CudaC("tally")

_BLOCK = 1024  # threads; the kernel counts on it


def add(sums: Array, loss: Array, logits: Array, target: Array, out: Array | None = None, workspace=None) -> Array:
    """The new sums; `out` may be `sums`, to change them in place."""
    n, classes = logits.shape
    countable(logits.shape)
    expect("sums", sums, (2,))
    expect("loss", loss, ())
    expect("target", target, (n,))
    new = result("out", sums, (2,), out)
    kernels.launch("tally_add", (1,), (_BLOCK,), (sums, loss, logits, target, new, n, classes))
    return new
