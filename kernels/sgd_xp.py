"""A step of stochastic gradient descent on flat vectors: the reference, on the array module of its arguments.

p, g, v (n,) -> p, v        parameters, their gradient, their velocity

d = g + weight_decay * p
v = momentum * v + d
p = p - lr * (d + momentum * v if nesterov else v)

lr is a number, or an array of one element, float32, on the device of the vectors: nothing of it passes through the
host then, so that a step can be recorded and repeated while lr changes.
"""

from .arrays import Array


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
    new_p, new_v = out or (p.copy(), v.copy())
    d = g + weight_decay * p if weight_decay else g
    new_v[...] = momentum * v + d
    new_p[...] = p - lr * (d + momentum * new_v if nesterov else new_v)
    return new_p, new_v
