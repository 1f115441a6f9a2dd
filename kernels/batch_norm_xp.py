"""Batch normalisation: the reference, on the array module of its arguments.

    x (n, c, ...), weight, bias (c,) -> y of x's shape
    normal = (x - mean) * scale        of each channel, with scale = 1 / sqrt(var + eps)
    y = normal * weight + bias

In training, mean and var are the batch's own, over all dimensions but the second, var being biased. The running ones,
which take their place in evaluation, then move towards them by `momentum`, towards the unbiased variance, and the batch
is counted, in int64.

Ioffe and Szegedy 2015, arXiv:1502.03167.
"""

from .arrays import Array, namespace


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float,
    eps: float,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, ...]:
    """y, the batch's mean and scale (c,), and the new running_mean, running_var and number of batches ().

    `out` is a place for each, or None in place of it; those of the last three may be the arguments themselves.
    """
    others = _others(x)
    count = x.size // x.shape[1]
    mean, var = x.mean(others), x.var(others)
    scale = (var + eps) ** -0.5
    results = (
        (x - _beside(mean, x)) * _beside(scale * weight, x) + _beside(bias, x),
        mean,
        scale,
        running_mean + momentum * (mean - running_mean),
        running_var + momentum * (var * (count / (count - 1)) - running_var),
        batches + 1,
    )
    return tuple(_put(value, place) for value, place in zip(results, out or (None,) * 6, strict=True))


def evaluate(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and scale (c,) with the mean and variance that are given."""
    scale = (var + eps) ** -0.5
    y = (x - _beside(mean, x)) * _beside(scale * weight, x) + _beside(bias, x)
    return tuple(_put(value, place) for value, place in zip((y, scale), out or (None, None), strict=True))


def backward(
    gy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    scale: Array,
    training: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """gx of x's shape, gw and gb (c,). In training mean and scale depend on x, too."""
    others = _others(x)
    normal = (x - _beside(mean, x)) * _beside(scale, x)
    gw, gb = (gy * normal).sum(others), gy.sum(others)
    if training:
        count = x.size // x.shape[1]
        gx = (gy - _beside(gb / count, x) - normal * _beside(gw / count, x)) * _beside(weight * scale, x)
    else:
        gx = gy * _beside(weight * scale, x)
    return tuple(_put(value, place) for value, place in zip((gx, gw, gb), out or (None,) * 3, strict=True))


def _others(x: Array) -> tuple[int, ...]:
    """The dimensions of x but the second."""
    return (0, *range(2, x.ndim))


def _beside(values: Array, x: Array) -> Array:
    """(c,) as it goes with x (n, c, ...)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _put(value: Array, place: Array | None) -> Array:
    if place is None:
        return namespace(value).asarray(value, order="C")
    place[...] = value
    return place
