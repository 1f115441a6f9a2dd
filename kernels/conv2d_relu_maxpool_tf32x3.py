"""Convolution, ReLU and max pooling on tensor cores in tf32, three products for each (3xTF32): see tensorcores.py."""

from . import tensorcores
from .arrays import Array, Pair

PRECISION = "TF32X3"
weights = tensorcores.weights
POOLS = set(tensorcores.POOLS)


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array]:
    """y and code; NotImplementedError for a pool that is not in POOLS."""
    return tensorcores.forward_relu_maxpool(PRECISION, x, w, b, stride, padding, pool, out)


def backward(
    gy: Array,
    code: Array,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    needs: tuple[bool, bool] = (True, True),
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array | None, Array | None, Array | None]:
    """gx, gw and gb; gx is None without needs[0], gw and gb without needs[1]."""
    return tensorcores.backward_relu_maxpool(PRECISION, gy, code, x, w, stride, padding, pool, needs, out)
