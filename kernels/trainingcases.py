"""How the shapes of the ops around a network become calls: the steps of the optimizers."""

from typing import Any

import numpy as np

from .case import Case, spread, tolerance


def sgd(rng: Any, n: int, momentum: float, weight_decay: float, nesterov: bool) -> list[Case]:
    p, g, v = (spread(rng, (n,)) for _ in range(3))
    how = 0.25, momentum, weight_decay, nesterov
    shape = f"n {n} momentum {momentum} weight_decay {weight_decay}{' nesterov' if nesterov else ''}"
    return [Case("sgd", "step", (p, g, v, *how), (tolerance(2, 4),) * 2, shape)]


def draw_sgd(rng: Any) -> tuple:
    return (
        int(rng.integers(1, 500)),
        float(rng.choice([0, 0.5, 0.9])),
        float(rng.choice([0, 0.1])),
        bool(rng.integers(2)),
    )


def adam(rng: Any, n: int, t: int, betas: tuple[float, float], weight_decay: float, decoupled: bool) -> list[Case]:
    """No mean of squares is so near 0 that rounding in its root, a divisor, would count."""
    p, g, m, v = (spread(rng, (n,)) for _ in range(4))
    v = np.abs(v) / 2 + 0.5
    how = t, 0.25, betas, 1e-8, weight_decay, decoupled
    shape = f"n {n} step {t} betas {betas} weight_decay {weight_decay}{' decoupled' if decoupled else ''}"
    largest = 1 + 2 / (1 - betas[0] ** t)
    return [Case("adam", "step", (p, g, m, v, *how), (tolerance(2, largest), *(tolerance(2, 2),) * 2), shape)]


def draw_adam(rng: Any) -> tuple:
    betas = float(rng.choice([0, 0.9])), float(rng.choice([0.5, 0.999]))
    return (
        int(rng.integers(1, 500)),
        int(rng.integers(1, 50)),
        betas,
        float(rng.choice([0, 0.1])),
        bool(rng.integers(2)),
    )
