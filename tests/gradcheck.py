"""Gradients against float64 central differences along random directions.

For L(x) = sum(r * f(x)) with random weights r and a random direction v, |v| at most 1, the gradient g satisfies
sum(g * v) = (L(x + h v) - L(x - h v)) / 2h up to h**2 times a third derivative and rounding / h; h near the
cube root of eps balances the two. Inputs must be further than h from every kink: see `tie_free`.
"""

import numpy as np

from gpucnn import CPU, Tensor
from gpucnn.backend import to_host

EPS = np.finfo(np.float64).eps
STEP = EPS ** (1 / 3)
ROUNDING = 16  # ulps by which a value of f may be off, in units of the sum of |r * f|
CURVATURE = 1e-8  # relative; third derivatives here are below 1e3 times the first, and STEP**2 is 4e-11


def tie_free(rng, shape, dtype=np.float64):
    """Values of distinct size between 0.3 and 2 and random sign, evenly spaced: no two of them tie, none is near 0."""
    size = np.prod(shape, dtype=int)
    values = rng.permutation(np.linspace(0.3, 2, size)) * rng.choice([-1, 1], size)
    return values.reshape(shape).astype(dtype)


def gradients(f, arrays, weights, needed=None, device=CPU):
    """(f(*arrays), gradient of sum(weights * f) for each array, None where not `needed`), as NumPy arrays."""
    needed = [True] * len(arrays) if needed is None else needed
    tensors = [Tensor(x, needs, device) for x, needs in zip(arrays, needed, strict=True)]
    y = f(*tensors)
    y.backward(device.asarray(weights))
    return to_host(y.data), [None if x.grad is None else to_host(x.grad) for x in tensors]


def gradcheck(f, *arrays, device=CPU, directions=3, seed=0):
    """AssertionError where a gradient of f is not what differences say, or depends on which inputs need one."""
    rng = np.random.default_rng(seed)
    y = to_host(f(*(Tensor(x, device=device) for x in arrays)).data)
    weights = rng.normal(size=y.shape)
    _, found = gradients(f, arrays, weights, device=device)
    for i, (x, gx) in enumerate(zip(arrays, found, strict=True)):
        assert gx.shape == x.shape, f"gradient {i} has shape {gx.shape}, the input {x.shape}"
        needed = [i == j for j in range(len(arrays))]
        _, alone = gradients(f, arrays, weights, needed, device)
        np.testing.assert_array_equal(alone[i], gx, f"gradient {i} changes where no other is needed")
        assert [j for j, g in enumerate(alone) if g is not None] == [i]
        for _ in range(directions):
            v = rng.uniform(-1, 1, x.shape)

            def loss(step, i=i, x=x, v=v):
                moved = [*arrays[:i], x + step * v, *arrays[i + 1 :]]
                return (weights * to_host(f(*(Tensor(a, device=device) for a in moved)).data)).sum()

            numeric = (loss(STEP) - loss(-STEP)) / (2 * STEP)
            rounding = ROUNDING * EPS * np.abs(weights * y).sum() / STEP
            tolerance = rounding + CURVATURE * np.abs(gx * v).sum()
            error = abs(numeric - (gx * v).sum())
            assert error <= tolerance, f"gradient {i}: {(gx * v).sum()} along v, differences say {numeric}"
