"""Adam on the CPU: one run through memory, on threads where the vectors are long; see adam_xp.py."""

import math

import numpy as np
from numba import prange

from .arrays import Array, number
from .cpu.compiled import compiled, inlined
from .sgd_cpu import BLOCK, LONG, in_place


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
    p, m, v = in_place((p, m, v), out)
    t, lr = number(t), number(lr)
    beta1, beta2 = betas
    keep, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, scale = lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    factors = beta1, 1 - beta1, beta2, 1 - beta2, keep, decay, rate, scale, eps
    _step(p, g, m, v, factors)
    return p, m, v


@inlined
def _part(p, g, m, v, factors):
    beta1, new1, beta2, new2, keep, decay, rate, scale, eps = factors
    for i in range(p.size):
        d = g[i] + decay * p[i]
        m[i] = beta1 * m[i] + new1 * d
        v[i] = beta2 * v[i] + new2 * d * d
        p[i] = keep * p[i] - rate * m[i] / (np.sqrt(v[i]) * scale + eps)


@compiled("void(f4[::1], f4[::1], f4[::1], f4[::1], UniTuple(f4, 9))", parallel=True)
def _step(p, g, m, v, factors):
    if p.size <= LONG:
        _part(p, g, m, v, factors)
    else:
        for block in prange(-(-p.size // BLOCK)):
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            _part(p[part], g[part], m[part], v[part], factors)
