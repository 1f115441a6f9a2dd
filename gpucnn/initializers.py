"""Initial values, drawn on the host from a seeded generator, so that every device starts from the same bits."""

import math
from collections.abc import Sequence

import numpy as np


def uniform_fan_in(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> np.ndarray:
    """float32 of `shape`, uniform in +-1/sqrt(fan_in): PyTorch's default for the weights and biases of
    convolutions and linear layers (Kaiming uniform with a = sqrt(5); He et al. 2015, arXiv:1502.01852)."""
    bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)
