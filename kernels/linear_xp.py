"""The fully connected layer: the reference, on the array module of its arguments.

x (n, ci), w (co, ci), b (co,) -> y (n, co) = x @ w.T + b
"""

from .arrays import Array


def forward(x: Array, w: Array, b: Array | None, out: Array | None = None, workspace=None) -> Array:
    """y (n, co); b may be None."""
    y = x @ w.T
    if b is not None:
        y += b
    if out is None:
        return y
    out[...] = y
    return out


def backward_input(gy: Array, w: Array, out: Array | None = None, workspace=None) -> Array:
    """gx (n, ci) = gy @ w"""
    gx = gy @ w
    if out is None:
        return gx
    out[...] = gx
    return out


def backward_weight(gy: Array, x: Array, out: tuple | None = None, workspace=None) -> tuple[Array, Array]:
    """gw (co, ci) = gy.T @ x and gb (co,), the sum of gy's rows."""
    gw, gb = gy.T @ x, gy.sum(0)
    if out is None:
        return gw, gb
    out[0][...], out[1][...] = gw, gb
    return out
