"""The fully connected layer on tensor cores in tf32: see tensorcores.py."""

from . import tensorcores
from .arrays import Array

PRECISION = "TF32"
weights = tensorcores.weights


def forward(x: Array, w: Array, b: Array | None, out: Array | None = None, workspace=None) -> Array:
    """y (n, co); b may be None."""
    return tensorcores.linear_forward(PRECISION, x, w, b, out)


def backward_input(gy: Array, w: Array, out: Array | None = None, workspace=None) -> Array:
    """gx (n, ci)"""
    return tensorcores.linear_backward_input(PRECISION, gy, w, out)


def backward_weight(gy: Array, x: Array, out: tuple | None = None, workspace=None) -> tuple[Array, Array]:
    """gw (co, ci) and gb (co,), the sum of gy's rows."""
    return tensorcores.linear_backward_weight(PRECISION, gy, x, out)
