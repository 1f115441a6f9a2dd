"""Adam in CUDA C: the launch of adam.cu. Formula as in adam_xp.py, in float32.

ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError where int32 cannot count
the elements.
"""

import math

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, fours, in_memory, result

kernels = CudaC("adam")

_BLOCK = 256  # threads


def step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """The new p, m and v; t is 1 in the first step, and `out` may be (p, m, v), to change them in place."""
    countable(p.shape)
    for name, vector in (("g", g), ("m", m), ("v", v)):
        expect(name, vector, p.shape)
    places = zip((p, m, v), out or (None, None, None), strict=True)
    new = tuple(result(f"out[{i}]", old, p.shape, place) for i, (old, place) in enumerate(places))
    wide = fours(p, g, m, v, *new)
    moving = [number for beta in betas for number in (beta, 1 - beta, math.log(beta) if beta else -math.inf)]
    step_of = in_memory("t", t, p, "int32"), in_memory("lr", lr, p, "float32")
    arguments = p, g, m, v, *new, *step_of, p.size, wide, *moving, eps, weight_decay, decoupled
    kernels.launch("adam_step", (ceil_div(p.size - 3 * wide, _BLOCK),), (_BLOCK,), arguments)
    return new
