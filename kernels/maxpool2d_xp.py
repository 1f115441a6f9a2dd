"""2-D max pooling: the reference, on the array module of its arguments.

    x (n, c, h, w) -> y (n, c, oh, ow), code (n, c, oh, ow) uint8
    y[oy, ox] = max over (ky, kx) in the window of x[oy*sh + ky - ph, ox*sw + kx - pw]

`code` is the place of the maximum in its window, ky*kw + kx; the first one wins a tie, also between NaNs,
which win over every number, and padding is minus infinity. One byte an output is all that backward needs.
"""

from .arrays import Array, Pair, namespace, out_size, taps

DEAD = 255  # reserved: a fused ReLU killed this output, no gradient passes


def forward(
    x: Array, size: Pair, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and code; NotImplementedError for windows of more than 255 places (the code is one byte)."""
    if size[0] * size[1] > DEAD:
        raise NotImplementedError(f"max pooling over {size[0]}x{size[1]} places: a window has at most {DEAD}")
    xp = namespace(x)
    n, c, h, w = x.shape
    ph, pw = padding
    oh, ow = out_size((h, w), size, stride, padding)
    y, code = out or (xp.empty((n, c, oh, ow), x.dtype), xp.empty((n, c, oh, ow), xp.uint8))
    if padding == (0, 0):
        code[...] = 0
    else:
        padded = xp.full((n, c, h + 2 * ph, w + 2 * pw), -xp.inf, x.dtype)
        padded[:, :, ph : ph + h, pw : pw + w] = x
        x = padded
        first_ky = xp.maximum(ph - stride[0] * xp.arange(oh), 0)  # minus infinity may be the maximum, and then
        first_kx = xp.maximum(pw - stride[1] * xp.arange(ow), 0)  # the place is the first one that is no padding
        code[...] = first_ky[:, None] * size[1] + first_kx
    for place, tap in enumerate(taps(x, size, stride, (oh, ow))):
        if place == 0:
            y[...] = tap
            continue
        larger = xp.maximum(y, tap)
        better = (larger != y) & (y == y)  # a NaN differs from itself: only the first one is better
        xp.maximum(code, better * xp.uint8(place), out=code)  # places rise, so the last better one stays
        y[...] = larger
    return y, code


def backward(
    gy: Array,
    code: Array,
    x_shape: tuple,
    size: Pair,
    stride: Pair,
    padding: Pair,
    out: Array | None = None,
    workspace=None,
) -> Array:
    """gx (n, c, h, w): each output's gradient goes to the one input that was its maximum."""
    xp = namespace(gy)
    n, c, h, w = x_shape
    ph, pw = padding
    padded = xp.zeros((n, c, h + 2 * ph, w + 2 * pw), gy.dtype)
    for place, tap in enumerate(taps(padded, size, stride, gy.shape[2:])):
        tap += gy * (code == place)
    gx = padded[:, :, ph : ph + h, pw : pw + w]
    if out is None:
        return xp.ascontiguousarray(gx)
    out[...] = gx
    return out
