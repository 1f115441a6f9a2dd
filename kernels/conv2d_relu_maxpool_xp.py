"""Convolution, ReLU and max pooling as one op: the reference, made of those of the parts.

    x (n, ci, h, w), w (co, ci, kh, kw), b (co,) -> y, code (n, co, oh // pool[0], ow // pool[1])
    y = max pool of max(conv2d(x, w, b), 0); windows of `pool` lie side by side, rows and columns left over are dropped

A pool of (1, 1) is none. `code` is the place of the maximum in its window, in row-major order, or DEAD where y is 0
because of the ReLU: one byte an output is all that backward needs, and a kernel never writes what lies between.
NaN passes: it is a maximum, and not dead.
"""

from . import conv2d_xp, maxpool2d_xp
from .arrays import Array, Pair, namespace, out_size
from .maxpool2d_xp import DEAD


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
    y, code = maxpool2d_xp.forward(conv2d_xp.forward(x, w, b, stride, padding), pool, pool, (0, 0), out)
    dead = y <= 0
    namespace(x).copyto(y, 0, where=dead)
    namespace(x).copyto(code, DEAD, where=dead)
    return y, code


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
    oh, ow = out_size(x.shape[2:], w.shape[2:], stride, padding)
    gz = maxpool2d_xp.backward(gy, code, (*gy.shape[:2], oh, ow), pool, pool, (0, 0))
    gx, gw, gb = out or (None, None, None)
    if needs[0]:
        gx = conv2d_xp.backward_input(gz, w, x.shape, stride, padding, gx)
    if needs[1]:
        gw, gb = conv2d_xp.backward_weight(gz, x, w.shape, stride, padding, out and (gw, gb))
    return gx, gw, gb
