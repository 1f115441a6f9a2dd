"""2-D average pooling: the reference, on the array module of its arguments.

    x (n, c, h, w) -> y (n, c, oh, ow)
    y[oy, ox] = sum over (ky, kx) of x[oy*sh + ky - ph, ox*sw + kx - pw] / (kh*kw)

Padding is zero and counts in the divisor, as PyTorch's default does.
"""

from .arrays import Array, Pair, namespace, out_size, taps


def forward(x: Array, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None) -> Array:
    """y (n, c, oh, ow); ValueError where the window does not fit."""
    xp = namespace(x)
    n, c, h, w = x.shape
    ph, pw = padding
    oh, ow = out_size((h, w), size, stride, padding)
    if padding != (0, 0):
        x = xp.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    y = xp.zeros((n, c, oh, ow), x.dtype) if out is None else out
    y[...] = 0
    for tap in taps(x, size, stride, (oh, ow)):
        y += tap
    y /= size[0] * size[1]
    return y


def backward(
    gy: Array, x_shape: tuple, size: Pair, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, c, h, w): each input gets its share from every window that read it."""
    xp = namespace(gy)
    n, c, h, w = x_shape
    ph, pw = padding
    padded = xp.zeros((n, c, h + 2 * ph, w + 2 * pw), gy.dtype)
    share = gy / (size[0] * size[1])
    for tap in taps(padded, size, stride, gy.shape[2:]):
        tap += share
    gx = padded[:, :, ph : ph + h, pw : pw + w]
    if out is None:
        return xp.ascontiguousarray(gx)
    out[...] = gx
    return out
