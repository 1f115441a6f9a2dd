"""How the shapes of the ops around a network become calls: the steps of the optimizers, the pictures of a batch."""

from typing import Any

import numpy as np

from .case import Case, spread, tolerance


def augment(
    rng: Any, m: int, n: int, c: int, h: int, w: int, crop: bool = False, flip: bool = False, cutout: bool = False
) -> list[Case]:
    x = rng.integers(0, 256, (m, c, h, w), np.uint8)
    samples, words = rng.integers(0, m, n, np.int32), rng.integers(0, 2**32, (n, 4), np.uint32)
    mean, std = (128 + 100 * spread(rng, (c,))), (64 + 50 * spread(rng, (c,)))
    mean, std = (values.astype(np.float32).astype(np.float64) for values in (mean, std))
    how = {"crop": crop, "flip": flip, "cutout": cutout}
    names = " ".join(name for name, chosen in how.items() if chosen)
    arguments = x, samples, words if names else None, mean, std, *how.values()
    return [
        Case("augment", "forward", arguments, (tolerance(1, 255 / 14),), f"{n} of {m} pictures {x.shape[1:]} {names}")
    ]


def draw_augment(rng: Any) -> tuple:
    return *(int(rng.integers(1, most)) for most in (9, 40, 4, 14, 14)), *(bool(b) for b in rng.integers(0, 2, 3))


def deal(rng: Any, m: int, n: int, k: int, position: int) -> list[Case]:
    samples, y = (rng.integers(0, 2**31, m, np.int32) for _ in range(2))
    words = rng.integers(0, 2**32, (m, k), np.uint32)
    first = int(rng.integers(0, 2**20))
    counts = (np.array(count, np.int32) for count in (first + position, first))
    arguments = samples, words, y, spread(rng, (position + 2,)), *counts, n
    return [Case("deal", "forward", arguments, (0, 0, 0, 0, 0), f"batch {position} of {n} in {m}, {k} words")]


def draw_deal(rng: Any) -> tuple:
    n, position = int(rng.integers(1, rng.choice([20, 700]))), int(rng.integers(0, 5))
    return (position + 1) * n + int(rng.integers(0, n)), n, int(rng.choice([0, 4])), position


def sgd(rng: Any, n: int, momentum: float, weight_decay: float, nesterov: bool) -> list[Case]:
    p, g, v = (spread(rng, (n,)) for _ in range(3))
    how = momentum, weight_decay, nesterov
    shape = f"n {n} momentum {momentum} weight_decay {weight_decay}{' nesterov' if nesterov else ''}"
    return [
        Case("sgd", "step", (p, g, v, lr, *how), (tolerance(2, 4),) * 2, f"{shape} lr {where}")
        for where, lr in (("a number", 0.25), ("in memory", np.array(0.25)))
    ]


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
    how = betas, 0.125, weight_decay, decoupled
    shape = f"n {n} step {t} betas {betas} weight_decay {weight_decay}{' decoupled' if decoupled else ''}"
    largest = 1 + 2 / (1 - betas[0] ** t)
    tolerances = tolerance(2, largest), tolerance(2, 2), tolerance(2, 2)
    return [
        Case("adam", "step", (p, g, m, v, *moving, *how), tolerances, f"{shape}, {where}")
        for where, moving in (("numbers", (t, 0.25)), ("in memory", (np.array([t], np.int32), np.array([0.25]))))
    ]


def clip(rng: Any, n: int, max_norm: float, size: float = 1.0) -> list[Case]:
    """A number is off by what its square root and a division round, and by half of what the sum of squares does.

    size: of the numbers at most; a power of two.
    """
    shape = f"n {n} of {size:g} max_norm {max_norm}"
    return [Case("clip", "scale", (size * spread(rng, (n,)), max_norm), (tolerance(16, size),), shape)]


def draw_clip(rng: Any) -> tuple:
    return int(rng.integers(1, rng.choice([10, 3000]))), float(rng.choice([1e-3, 1, 100]))


def draw_adam(rng: Any) -> tuple:
    betas = float(rng.choice([0, 0.9])), float(rng.choice([0.5, 0.999]))
    return (
        int(rng.integers(1, 500)),
        int(rng.integers(1, 50)),
        betas,
        float(rng.choice([0, 0.1])),
        bool(rng.integers(2)),
    )
