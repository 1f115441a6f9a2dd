"""Gradients against float64 central differences along random directions: is the backward pass of an op right?

For L(x) = sum(r * f(x)) with random weights r and a random direction v, |v| at most 1, the gradient g satisfies
sum(g * v) = (L(x + h v) - L(x - h v)) / 2h up to h**2 times a third derivative and rounding / h; h near the
cube root of eps balances the two. Inputs must be further than h from every kink: see `tie_free`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backend import CPU, Array, Device, to_host
from .tensor import Tensor

EPS = np.finfo(np.float64).eps
STEP = EPS ** (1 / 3)
ROUNDING = 16  # ulps by which a value of f may be off, in units of the sum of |r * f|
CURVATURE = 1e-8  # relative; third derivatives here are below 1e3 times the first, and STEP**2 is 4e-11


def tie_free(rng: np.random.Generator, shape: Sequence[int], dtype: Any = np.float64) -> np.ndarray:
    """Values of distinct size between 0.3 and 2 and random sign, evenly spaced: no two of them tie, none is near 0."""
    size = np.prod(shape, dtype=int)
    values = rng.permutation(np.linspace(0.3, 2, size)) * rng.choice([-1, 1], size)
    return values.reshape(shape).astype(dtype)


def gradients(
    f: Callable[..., Tensor],
    arrays: Sequence[Array],
    weights: Array,
    needed: Sequence[bool] | None = None,
    device: Device = CPU,
) -> tuple[np.ndarray, list[Any]]:
    """(f(*arrays), gradient of sum(weights * f) for each array, None where not `needed`), as NumPy arrays."""
    needed = [True] * len(arrays) if needed is None else needed
    tensors = [Tensor(x, needs, device) for x, needs in zip(arrays, needed, strict=True)]
    y = f(*tensors)
    y.backward(device.asarray(weights))
    return to_host(y.data), [None if x.grad is None else to_host(x.grad) for x in tensors]


def gradcheck(
    f: Callable[..., Tensor], *arrays: Array, device: Device = CPU, directions: int = 3, seed: int = 0
) -> None:
    """AssertionError where a gradient of f is not what differences say, or depends on which inputs need one.

    f takes Tensors and returns one; arrays: its inputs, in float64.
    """
    rng = np.random.default_rng(seed)
    y = to_host(f(*(Tensor(x, device=device) for x in arrays)).data)
    weights = rng.normal(size=y.shape)
    _, found = gradients(f, arrays, weights, device=device)
    for i, (x, gx) in enumerate(zip(arrays, found, strict=True)):
        _require(gx.shape == x.shape, f"gradient {i} has shape {gx.shape}, the input {x.shape}")
        needed = [i == j for j in range(len(arrays))]
        _, alone = gradients(f, arrays, weights, needed, device)
        np.testing.assert_array_equal(alone[i], gx, f"gradient {i} changes where no other is needed")
        _require([j for j, g in enumerate(alone) if g is not None] == [i], f"not gradient {i} alone came back")
        for _ in range(directions):
            v = rng.uniform(-1, 1, x.shape)

            def loss(step: float, i: int = i, x: Array = x, v: Array = v) -> float:
                moved = [*arrays[:i], x + step * v, *arrays[i + 1 :]]
                return float((weights * to_host(f(*(Tensor(a, device=device) for a in moved)).data)).sum())

            numeric = (loss(STEP) - loss(-STEP)) / (2 * STEP)
            rounding = ROUNDING * EPS * np.abs(weights * y).sum() / STEP
            tolerance = rounding + CURVATURE * np.abs(gx * v).sum()
            along = (gx * v).sum()
            _require(abs(numeric - along) <= tolerance, f"gradient {i}: {along} along v, differences say {numeric}")


def _require(holds: bool, otherwise: str) -> None:
    """An assertion that python -O keeps."""
    if not holds:
        raise AssertionError(otherwise)
