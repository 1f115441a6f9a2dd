"""A step of Adam on flat vectors: the reference, on the array module of its arguments.

    p, g, m, v (n,) -> p, m, v      parameters, their gradient, the moving means of it and of its square

    d = g + weight_decay * p        where `decoupled` is False;  else p = (1 - lr * weight_decay) * p before all
    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d**2
    p = p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)

t and lr are numbers, or arrays of one element, int32 and float32, on the device of the vectors: see sgd_xp.py.

Kingma and Ba 2014, arXiv:1412.6980; decoupled decay: Loshchilov and Hutter 2017, arXiv:1711.05101.
"""

from .arrays import Array, namespace


def step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """The new p, m and v; t is 1 in the first step, and `out` may be (p, m, v), to change them in place."""
    new_p, new_m, new_v = out or (p.copy(), m.copy(), v.copy())
    if decoupled:
        p = p * (1 - lr * weight_decay)
    elif weight_decay:
        g = g + weight_decay * p
    beta1, beta2 = betas
    new_m[...] = beta1 * m + (1 - beta1) * g
    new_v[...] = beta2 * v + (1 - beta2) * g * g
    root = namespace(p).sqrt(new_v) / (1 - beta2**t) ** 0.5 + eps
    new_p[...] = p - lr / (1 - beta1**t) * new_m / root
    return new_p, new_m, new_v
