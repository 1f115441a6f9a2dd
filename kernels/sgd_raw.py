"""SGD in CUDA C: the launch of sgd.cu. Formula as in sgd_xp.py, in float32.

ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError where int32 cannot count
the elements.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, fours, in_memory, result

kernels = CudaC("sgd")

_BLOCK = 256  # threads


def step(
    p: Array,
    g: Array,
    v: Array,
    lr: float | Array,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array]:
    """The new p and v; `out` may be (p, v), to change them in place."""
    countable(p.shape)
    expect("g", g, p.shape)
    expect("v", v, p.shape)
    new_p, new_v = out or (None, None)
    new_p, new_v = result("out[0]", p, p.shape, new_p), result("out[1]", v, p.shape, new_v)
    wide = fours(p, g, v, new_p, new_v)
    sizes = p.size, wide, momentum, weight_decay, nesterov
    arguments = p, g, v, new_p, new_v, in_memory("lr", lr, p, "float32"), *sizes
    kernels.launch("sgd_step", (ceil_div(p.size - 3 * wide, _BLOCK),), (_BLOCK,), arguments)
    return new_p, new_v
