"""A Case: one call of one function of an op, and what it is made with."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import load


class Case(NamedTuple):
    """`getattr(module, function)(*arguments)`; the error of result i is at most `tolerances[i]`."""

    op: str
    function: str
    arguments: tuple
    tolerances: tuple[float, ...]
    shape: str  # what was drawn, for messages

    def single(self) -> list:
        """The arguments in float32."""
        floats = [isinstance(value, np.ndarray) and value.dtype == np.float64 for value in self.arguments]
        return [value.astype(np.float32) if f else value for f, value in zip(floats, self.arguments, strict=True)]

    def expected(self) -> tuple[np.ndarray | None, ...]:
        """The results of the reference in float64; None for one that the arguments do not ask for."""
        results = getattr(load(self.op, "xp"), self.function)(*self.arguments)
        return results if isinstance(results, tuple) else (results,)

    @property
    def long(self) -> bool:
        """Whether an array has more elements than 16 bits count."""
        return any(value.size > 1 << 16 for value in self.arguments if isinstance(value, np.ndarray))

    def __str__(self) -> str:
        return f"{self.op}.{self.function} {self.shape}"


def tolerance(terms: int, size: float, dtype: Any = np.float32) -> float:
    """How far a sum of `terms` numbers of at most `size`, in `dtype`, may lie from the exact one.

    It is off by at most eps * terms * (terms * size); errors of either sign cancel, which leaves one factor of
    terms. 8 more are for the few operations around the sum.
    """
    return 2 * float(np.finfo(dtype).eps) * (terms + 8) * size


def spread(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Different values in -1 .. 1, none of them 0, in random order: no maximum is a tie, float32 holds each exactly."""
    count = prod(shape)
    odd = rng.permutation(count) * 2 - count + 1 - count % 2
    return odd.reshape(shape).astype(np.float64) / 2 ** max(count, 2).bit_length()


def whole(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Whole numbers in -15 .. 15, none of them 0.

    Every precision of the tensor cores holds their four bits, and float32 every sum of 70,000 of their products, so
    that results are exact and ties are ties.
    """
    return (rng.integers(1, 16, shape) * rng.choice([-1, 1], shape)).astype(np.float64)
