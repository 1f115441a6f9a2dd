"""Global average pooling: the reference, on the array module of its arguments.

    x (n, c, h, w) -> y (n, c, 1, 1), the mean of each channel

It stands in for the fully connected head of a network (Lin, Chen and Yan 2013, arXiv:1312.4400).
"""

from .arrays import Array, namespace


def forward(x: Array, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, 1, 1)"""
    y = x.mean((2, 3), keepdims=True)
    if out is None:
        return y
    out[...] = y
    return out


def backward(gy: Array, x_shape: tuple, out: Array | None = None, workspace=None) -> Array:
    """gx (n, c, h, w): every input of a channel gets the same share."""
    xp = namespace(gy)
    gx = xp.empty(x_shape, gy.dtype) if out is None else out
    gx[...] = gy / (x_shape[2] * x_shape[3])
    return gx
