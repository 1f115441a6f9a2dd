"""Every op once more, as naive float64 loops written from the definitions, forward and backward.

These are the oracles of test_loops.py. They share no code with the package: scalars and Python's `math` only,
nested loops over indices, and the backward of a window op adds one product per term of its forward sum.
"""

import math
from itertools import product

import numpy as np


def zeros(*shape):
    return np.zeros(shape, np.float64)


def windows(h, w, size, stride, padding):
    """For each output (oy, ox): the places (ky, kx, iy, ix) of its window that lie in the input."""
    (kh, kw), (sh, sw), (ph, pw) = size, stride, padding
    found = {}
    for oy, ox in product(range((h + 2 * ph - kh) // sh + 1), range((w + 2 * pw - kw) // sw + 1)):
        inside = found[oy, ox] = []
        for ky, kx in product(range(kh), range(kw)):
            iy, ix = oy * sh + ky - ph, ox * sw + kx - pw
            if 0 <= iy < h and 0 <= ix < w:
                inside.append((ky, kx, iy, ix))
    return found


def _out(found):
    return max(oy for oy, _ in found) + 1, max(ox for _, ox in found) + 1


def conv2d_terms(x, w, stride, padding, groups):
    """Every product of the convolution, as (index in y, index in x, index in w), and the shape of y."""
    (n, c, h, w_), (co, ci, kh, kw) = x.shape, w.shape
    assert c == ci * groups
    found = windows(h, w_, (kh, kw), stride, padding)
    terms = [
        ((i, o, oy, ox), (i, o // (co // groups) * ci + c, iy, ix), (o, c, ky, kx))
        for i, o, c in product(range(n), range(co), range(ci))
        for (oy, ox), inside in found.items()
        for ky, kx, iy, ix in inside
    ]
    return terms, (n, co, *_out(found))


def conv2d(x, w, b, stride=(1, 1), padding=(0, 0), groups=1):
    terms, shape = conv2d_terms(x, w, stride, padding, groups)
    y = zeros(*shape)
    for at_y, at_x, at_w in terms:
        y[at_y] += x[at_x] * w[at_w]
    for i, o, oy, ox in np.ndindex(*shape):
        y[i, o, oy, ox] += b[o]
    return y


def conv2d_backward(gy, x, w, b, stride=(1, 1), padding=(0, 0), groups=1):
    gx, gw, gb = zeros(*x.shape), zeros(*w.shape), zeros(*b.shape)
    for at_y, at_x, at_w in conv2d_terms(x, w, stride, padding, groups)[0]:
        gx[at_x] += gy[at_y] * w[at_w]
        gw[at_w] += gy[at_y] * x[at_x]
    for i, o, oy, ox in np.ndindex(*gy.shape):
        gb[o] += gy[i, o, oy, ox]
    return gx, gw, gb


def same(x, kernel):
    """x with the zeros that give a stride-1 window of `kernel` an output of x's size, the odd one behind."""
    (n, c, h, w), (kh, kw) = x.shape, kernel
    padded = zeros(n, c, h + kh - 1, w + kw - 1)
    for i, j, y, x_ in np.ndindex(*x.shape):
        padded[i, j, y + (kh - 1) // 2, x_ + (kw - 1) // 2] = x[i, j, y, x_]
    return padded


def max_pool2d(x, size, stride, padding):
    """y, and for each output the (iy, ix) of its maximum: the first one, a NaN above every number."""
    n, c, h, w = x.shape
    found = windows(h, w, size, stride, padding)
    y, places = zeros(n, c, *_out(found)), {}
    for i, j in product(range(n), range(c)):
        for (oy, ox), inside in found.items():
            best = inside[0][2:]
            for _, _, iy, ix in inside[1:]:
                value, largest = x[i, j, iy, ix], x[i, j, *best]
                if value > largest or (math.isnan(value) and not math.isnan(largest)):
                    best = iy, ix
            y[i, j, oy, ox] = x[i, j, *best]
            places[i, j, oy, ox] = i, j, *best
    return y, places


def max_pool2d_backward(gy, x, size, stride, padding):
    gx = zeros(*x.shape)
    for at_y, at_x in max_pool2d(x, size, stride, padding)[1].items():
        gx[at_x] += gy[at_y]
    return gx


def avg_pool2d(x, size, stride, padding):
    n, c, h, w = x.shape
    found = windows(h, w, size, stride, padding)
    y = zeros(n, c, *_out(found))
    for i, j in product(range(n), range(c)):
        for (oy, ox), inside in found.items():
            y[i, j, oy, ox] = math.fsum(x[i, j, iy, ix] for _, _, iy, ix in inside) / (size[0] * size[1])
    return y


def avg_pool2d_backward(gy, x, size, stride, padding):
    n, c, h, w = x.shape
    gx = zeros(*x.shape)
    for i, j in product(range(n), range(c)):
        for (oy, ox), inside in windows(h, w, size, stride, padding).items():
            for _, _, iy, ix in inside:
                gx[i, j, iy, ix] += gy[i, j, oy, ox] / (size[0] * size[1])
    return gx


def linear(x, w, b):
    y = zeros(len(x), len(w))
    for i, o in np.ndindex(*y.shape):
        y[i, o] = math.fsum([b[o], *(x[i, k] * w[o, k] for k in range(x.shape[1]))])
    return y


def linear_backward(gy, x, w, b):
    gx, gw, gb = zeros(*x.shape), zeros(*w.shape), zeros(*b.shape)
    for i, o in np.ndindex(*gy.shape):
        gb[o] += gy[i, o]
        for k in range(x.shape[1]):
            gx[i, k] += gy[i, o] * w[o, k]
            gw[o, k] += gy[i, o] * x[i, k]
    return gx, gw, gb


def softmax(x):
    """x (n, classes)"""
    y = zeros(*x.shape)
    for i, row in enumerate(x):
        top = max(row)
        total = math.fsum(math.exp(v - top) for v in row)
        y[i] = [math.exp(v - top) / total for v in row]
    return y


def softmax_backward(gy, x):
    """By the whole Jacobian: d y_j / d x_k = y_j * ((j == k) - y_k)."""
    y, gx = softmax(x), zeros(*x.shape)
    for i, j, k in np.ndindex(*x.shape, x.shape[1]):
        gx[i, k] += gy[i, j] * y[i, j] * ((j == k) - y[i, k])
    return gx


def log_softmax(x):
    """x (n, classes)"""
    y = zeros(*x.shape)
    for i, row in enumerate(x):
        top = max(row)
        log_total = math.log(math.fsum(math.exp(v - top) for v in row))
        y[i] = [v - top - log_total for v in row]
    return y


def log_softmax_backward(gy, x):
    """d y_j / d x_k = (j == k) - softmax_k"""
    p, gx = softmax(x), zeros(*x.shape)
    for i, j, k in np.ndindex(*x.shape, x.shape[1]):
        gx[i, k] += gy[i, j] * ((j == k) - p[i, k])
    return gx


def cross_entropy(x, labels, smoothing=0.0):
    log_p, (n, classes) = log_softmax(x), x.shape
    target = [[smoothing / classes + (1 - smoothing) * (j == label) for j in range(classes)] for label in labels]
    return -math.fsum(target[i][j] * log_p[i, j] for i, j in np.ndindex(n, classes) if target[i][j]) / n


def cross_entropy_backward(gy, x, labels, smoothing=0.0):
    p, (n, classes), gx = softmax(x), x.shape, zeros(*x.shape)
    for i, j in np.ndindex(n, classes):
        gx[i, j] = gy * (p[i, j] - smoothing / classes - (1 - smoothing) * (j == labels[i])) / n
    return gx


def moments(x):
    """x (n, c, h, w) -> mean and biased variance, one value a channel, and how many values each is of."""
    channels = [x[:, j].ravel().tolist() for j in range(x.shape[1])]
    means = [math.fsum(values) / len(values) for values in channels]
    variances = [math.fsum((v - m) ** 2 for v in vs) / len(vs) for vs, m in zip(channels, means, strict=True)]
    return means, variances, len(channels[0])


def batch_norm(x, mean, var, weight, bias, eps=1e-5):
    """x (n, c, h, w), normalised by the given statistics."""
    y = zeros(*x.shape)
    for i, j, iy, ix in np.ndindex(*x.shape):
        y[i, j, iy, ix] = (x[i, j, iy, ix] - mean[j]) / math.sqrt(var[j] + eps) * weight[j] + bias[j]
    return y


def batch_norm_backward(gy, x, mean, var, weight, bias, of_batch, eps=1e-5):
    """By the whole Jacobian: d normal_a / d x_b = ((a == b) - (1 + normal_a normal_b) / m) / std for a batch's own."""
    gx, gw, gb = zeros(*x.shape), zeros(*weight.shape), zeros(*bias.shape)
    for j in range(x.shape[1]):
        std = math.sqrt(var[j] + eps)
        at = [(i, j, iy, ix) for i, iy, ix in np.ndindex(x.shape[0], *x.shape[2:])]
        normal = {a: (x[a] - mean[j]) / std for a in at}
        gw[j] = math.fsum(gy[a] * normal[a] for a in at)
        gb[j] = math.fsum(gy[a] for a in at)
        for a, b in product(at, at):
            shared = (1 + normal[a] * normal[b]) / len(at) if of_batch else 0
            gx[b] += gy[a] * weight[j] * ((a == b) - shared) / std
    return gx, gw, gb


def elementwise(f, x):
    """The float64 function f of every element."""
    return np.array([f(v) for v in np.asarray(x, np.float64).ravel()]).reshape(x.shape)


def normal_cdf(v):
    return 0.5 * math.erfc(-v / math.sqrt(2))


def normal_pdf(v):
    return math.exp(-v * v / 2) / math.sqrt(2 * math.pi)


def sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


ACTIVATIONS = {  # name: (function, derivative)
    "relu": (lambda v: max(v, 0.0), lambda v: float(v > 0)),
    "sigmoid": (sigmoid, lambda v: sigmoid(v) * sigmoid(-v)),
    "tanh": (math.tanh, lambda v: 4 * sigmoid(2 * v) * sigmoid(-2 * v)),
    "gelu": (lambda v: v * normal_cdf(v), lambda v: normal_cdf(v) + v * normal_pdf(v)),
}
