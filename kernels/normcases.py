"""How the shapes of normalisation become calls."""

from math import prod
from typing import Any

import numpy as np

from . import load
from .case import Case, spread, tolerance


def batch_norm(rng: Any, x_shape: tuple, momentum: float = 0.1, eps: float = 1e-5) -> list[Case]:
    """No eps here lets a channel's scale grow beyond 10: it enlarges the rounding of a mean."""
    c, count = x_shape[1], prod(x_shape) // x_shape[1]
    x, gy = spread(rng, x_shape) + 0.5, spread(rng, x_shape)
    weight, bias, mean = (spread(rng, (c,)) for _ in range(3))
    var = np.abs(spread(rng, (c,))) + 0.5
    running = mean, var, np.array(2**32 + 7)
    _, of_batch, scale, *_ = load("batch_norm", "xp").forward(x, weight, bias, *running, momentum, eps)
    of_batch, scale = (values.astype(np.float32).astype(np.float64) for values in (of_batch, scale))
    away = float(np.abs(x - of_batch.reshape(-1, *[1] * (x.ndim - 2))).max())
    largest, normal = float(scale.max()), float(scale.max()) * away
    of_mean, of_var = tolerance(8, 1.5), tolerance(8, away**2)  # of means: what a sum is off, divided by the count
    of_scale = largest**3 * of_var + tolerance(1, largest)
    of_y = largest * of_mean + away * of_scale + tolerance(2, normal + 1)
    of_gx = tolerance(8, largest * (2 + normal**2)), tolerance(count, normal), tolerance(count, 1)
    shape = f"x {x_shape} momentum {momentum} eps {eps}"
    arguments = x, weight, bias, *running, momentum, eps
    return [
        Case("batch_norm", "forward", arguments, (of_y, of_mean, of_scale, of_mean, of_var, 0), shape),
        Case("batch_norm", "evaluate", (x, weight, bias, mean, var, eps), (tolerance(4, 4), tolerance(4, 2)), shape),
        *(
            Case("batch_norm", "backward", (gy, x, weight, of_batch, scale, training), of_gx, f"{shape}{mark}")
            for training, mark in ((True, " in training"), (False, ""))
        ),
    ]


def draw_batch_norm(rng: Any) -> tuple:
    image = tuple(int(v) for v in rng.integers(1, 9, rng.choice([0, 1, 2])))
    n = int(rng.integers(4, 40))
    return (n, int(rng.integers(1, 9)), *image), float(rng.choice([0.1, 1.0])), float(rng.choice([1e-2, 0.1]))
