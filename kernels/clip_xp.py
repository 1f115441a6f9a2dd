"""Gradients whose norm is limited: the reference, on the array module of its arguments.

g (n,), max_norm -> g * min(1, max_norm / (norm + 1e-6))        norm = sqrt(sum of g**2)

Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", arXiv:1211.5063.
"""

from .arrays import Array, namespace


def scale(g: Array, max_norm: float, out: Array | None = None, workspace=None) -> Array:
    """g, or as much of it as has the norm max_norm; `out` may be g, to change it in place."""
    xp = namespace(g)
    norm = xp.sqrt(xp.square(g).sum())
    return xp.multiply(g, xp.minimum(1, max_norm / (norm + 1e-6)), out=out)
