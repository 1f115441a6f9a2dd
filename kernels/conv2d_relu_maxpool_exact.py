"""Convolution, ReLU and max pooling on the CPU without Winograd: see conv2d_relu_maxpool_cpu.py."""

from .arrays import Array, Pair
from .cpu import convolution
from .cpu.layout import to_out

EXACT = True


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
    """y and code; NotImplementedError for windows of more than 255 places."""
    call = convolution.plan(x.shape, w.shape, stride, padding, pool, EXACT)
    return to_out(convolution.forward(call, x, w, b), out)


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
    call = convolution.plan(x.shape, w.shape, stride, padding, pool, EXACT)
    return to_out(convolution.backward(call, gy, code, x, w, *needs), out)
