"""Initial values, drawn on the host from a seeded generator, so that every device starts from the same bits."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

_drawing = [True]  # a one-element list: changing it in undrawn needs no `global`


@contextmanager
def undrawn() -> Iterator[None]:
    """Layers that are made inside start from zeros: for models that are only counted, or loaded or initialized next."""
    before, _drawing[0] = _drawing[0], False
    try:
        yield
    finally:
        _drawing[0] = before


def draws() -> bool:
    """Whether a new layer draws its parameters."""
    return _drawing[0]


def uniform_fan_in(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> np.ndarray:
    """float32 of `shape`, uniform in +-1/sqrt(fan_in): PyTorch's default for the weights and biases of
    convolutions and linear layers (Kaiming uniform with a = sqrt(5); He et al. 2015, arXiv:1502.01852)."""
    bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def uniform_xavier(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape` (out, in), uniform in +-sqrt(6 / (in + out)) (Glorot and Bengio 2010): PyTorch's default
    for the first linear map of attention."""
    bound = math.sqrt(6 / sum(shape))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def normal(rng: np.random.Generator, shape: Sequence[int], std: float) -> np.ndarray:
    """float32 of `shape`, normal with mean 0."""
    return (std * rng.standard_normal(shape)).astype(np.float32)
