"""SGD on the CPU: one run through memory, on threads where the vectors are long; see sgd_xp.py."""

from numba import prange

from .arrays import Array, number
from .cpu.compiled import compiled, inlined

BLOCK = 1 << 14  # elements that a thread takes at once
LONG = 100_000  # elements from which on threads are worth their start


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
    p, v = in_place((p, v), out)
    _step(p, g, v, number(lr), momentum, weight_decay, nesterov)
    return p, v


def in_place(vectors: tuple, out: tuple | None) -> tuple:
    """`out`, or new vectors, with the values of `vectors`: what a kernel then changes."""
    if out is None:
        return tuple(vector.copy() for vector in vectors)
    for vector, place in zip(vectors, out, strict=True):
        if place is not vector:
            place[...] = vector
    return out


@inlined
def _part(p, g, v, lr, momentum, weight_decay, nesterov):
    for i in range(p.size):
        d = g[i] + weight_decay * p[i]
        v[i] = momentum * v[i] + d
        p[i] -= lr * (d + momentum * v[i] if nesterov else v[i])


@compiled("void(f4[::1], f4[::1], f4[::1], f4, f4, f4, b1)", parallel=True)
def _step(p, g, v, lr, momentum, weight_decay, nesterov):
    if p.size <= LONG:
        _part(p, g, v, lr, momentum, weight_decay, nesterov)
    else:
        for block in prange(-(-p.size // BLOCK)):
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            _part(p[part], g[part], v[part], lr, momentum, weight_decay, nesterov)
