"""The rectified linear unit: the reference, on the array module of its arguments.

x (n, ...) -> y (n, ...) = max(x, 0)          Glorot, Bordes and Bengio 2011
"""

from .arrays import Array, namespace


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y, of x's shape; NaN stays NaN."""
    return namespace(x).maximum(x, 0, out=out)


def backward(gy: Array, y: Array, out: Array | None = None, workspace=None) -> Array:
    """gx: gy where y is positive, else 0."""
    gx = namespace(gy).where(y > 0, gy, gy.dtype.type(0))
    if out is None:
        return gx
    out[...] = gx
    return out
