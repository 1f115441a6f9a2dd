"""2-D cross-correlation: the reference, on the array module of its arguments (NumPy or CuPy).

    x (n, ci, h, w), w (co, ci, kh, kw), b (co,) -> y (n, co, oh, ow)
    y[n, co, oy, ox] = b[co] + sum over ci, ky, kx of x[n, ci, oy*sh + ky - ph, ox*sw + kx - pw] * w[co, ci, ky, kx]

Each pass is one or a few matrix products with the matrix of windows: a row is one output pixel, its columns
are the kh*kw*ci inputs under the window ("im2col", Chellapilla et al. 2006). Windows are cut channels last,
because then the kw*ci values of a window row lie side by side in memory and are copied in one run. On the
other side y, and gy for the weights, are matrices (co, n*oh*ow): their rows are NCHW's in runs of oh*ow pixels.
"""

from .arrays import Array, Pair, namespace, out_size


def _nhwc(x: Array, padding: Pair) -> Array:
    """(n, c, h, w) -> (n, h + 2*ph, w + 2*pw, c), contiguous, zeros around."""
    n, c, h, w = x.shape
    ph, pw = padding
    padded = namespace(x).zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
    padded[:, ph : ph + h, pw : pw + w] = x.transpose(0, 2, 3, 1)
    return padded


def _windows(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """(n, c, h, w) -> (n*oh*ow, kh*kw*c): the inputs under each output pixel, as one matrix."""
    windows = namespace(x).lib.stride_tricks.sliding_window_view(_nhwc(x, padding), kernel, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1]]  # (n, oh, ow, c, kh, kw)
    n, oh, ow, c, kh, kw = windows.shape
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * oh * ow, kh * kw * c)


def forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """y (n, co, oh, ow); ValueError where the window does not fit."""
    n, co, kernel = x.shape[0], w.shape[0], w.shape[2:]
    oh, ow = out_size(x.shape[2:], kernel, stride, padding)
    y = w.transpose(0, 2, 3, 1).reshape(co, -1) @ _windows(x, kernel, stride, padding).T
    if b is not None:
        y += b[:, None]
    y = y.reshape(co, n, oh, ow).transpose(1, 0, 2, 3)
    if out is None:
        return namespace(x).ascontiguousarray(y)
    out[...] = y
    return out


def backward_input(
    gy: Array, w: Array, x_shape: tuple, stride: Pair, padding: Pair, out: Array | None = None, workspace=None
) -> Array:
    """gx (n, ci, h, w): each window position (ky, kx) sends gy @ w[:, :, ky, kx] back to the inputs it read."""
    xp = namespace(gy)
    n, ci, h, w_ = x_shape
    co, _, kh, kw = w.shape
    _, _, oh, ow = gy.shape
    (sh, sw), (ph, pw) = stride, padding
    rows = _nhwc(gy, (0, 0)).reshape(-1, co)
    gx = xp.zeros((n, h + 2 * ph, w_ + 2 * pw, ci), gy.dtype)
    for ky in range(kh):
        for kx in range(kw):
            gx[:, ky : ky + sh * oh : sh, kx : kx + sw * ow : sw] += (rows @ w[:, :, ky, kx]).reshape(n, oh, ow, ci)
    gx = gx[:, ph : ph + h, pw : pw + w_].transpose(0, 3, 1, 2)
    if out is None:
        return xp.ascontiguousarray(gx)
    out[...] = gx
    return out


def backward_weight(
    gy: Array, x: Array, w_shape: tuple, stride: Pair, padding: Pair, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """gw (co, ci, kh, kw) and gb (co,): every output pixel's gradient times the inputs its window read."""
    xp = namespace(x)
    co, ci, kh, kw = w_shape
    gy = gy.transpose(1, 0, 2, 3).reshape(co, -1)
    gw = (gy @ _windows(x, (kh, kw), stride, padding)).reshape(co, kh, kw, ci).transpose(0, 3, 1, 2)
    gb = gy.sum(1)
    if out is None:
        return xp.ascontiguousarray(gw), gb
    out[0][...], out[1][...] = gw, gb
    return out
