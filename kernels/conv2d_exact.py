"""2-D cross-correlation on the CPU without Winograd: conv2d_cpu.py for those who want the last digits."""

from .arrays import Array, Pair
from .cpu import convolution
from .cpu.layout import to_out

EXACT = True


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow); ValueError where the window does not fit."""
    y, _ = convolution.forward(convolution.plan(x.shape, w.shape, stride, padding, None, EXACT), x, w, b)
    return to_out(y, out)


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w)"""
    call = convolution.plan(tuple(x_shape), w.shape, stride, padding, None, EXACT)
    gx, _, _ = convolution.backward(call, gy, None, None, w, True, False)
    return to_out(gx, out)


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,)"""
    call = convolution.plan(x.shape, tuple(w_shape), stride, padding, None, EXACT)
    _, gw, gb = convolution.backward(call, gy, None, x, None, False, True)
    return (gw, gb) if out is None else (to_out(gw, out[0]), to_out(gb, out[1]))
