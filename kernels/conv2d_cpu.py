"""2-D cross-correlation on the CPU, images innermost (cpu/layout.py): shapes and formula as in conv2d_xp.py.

3x3 kernels with stride 1 and enough channels go Winograd's way (cpu/winograd.py), those 5 wide do so along rows
(cpu/winograd_rows.py), all others the direct one (cpu/direct.py), which conv2d_exact.py takes always.
"""

from .arrays import Array, Pair
from .cpu import convolution
from .cpu.layout import to_out

EXACT = False


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow); ValueError where the window does not fit."""
    call = convolution.plan(x.shape, w.shape, stride, padding, None, EXACT)
    return to_out(convolution.forward(call, x, w, b)[0], out)


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w)"""
    call = convolution.plan(tuple(x_shape), w.shape, stride, padding, None, EXACT)
    return to_out(convolution.backward(call, gy, None, None, w, True, False)[0], out)


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,)"""
    call = convolution.plan(x.shape, tuple(w_shape), stride, padding, None, EXACT)
    return to_out(convolution.backward(call, gy, None, x, None, False, True)[1:], out)
