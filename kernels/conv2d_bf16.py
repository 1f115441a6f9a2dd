"""2-D cross-correlation on tensor cores in bfloat16: see tensorcores.py."""

from . import tensorcores
from .arrays import Array, Pair

PRECISION = "BF16"
weights = tensorcores.weights


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow); ValueError where the window does not fit."""
    return tensorcores.forward(PRECISION, x, w, b, stride, padding, out)


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w)"""
    return tensorcores.backward_input(PRECISION, gy, w, x_shape, stride, padding, out)


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,)"""
    return tensorcores.backward_weight(PRECISION, gy, x, w_shape, stride, padding, out)
