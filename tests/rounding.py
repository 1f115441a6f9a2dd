"""How the kernels round the factors of tensor cores, by arithmetic; the simulators do it by bits.

Denormals are rounded as they are. Should a GPU flush them to zero first, that is less than 2**-126 of difference.
"""

import numpy as np

_WORDS = np.random.default_rng(0).integers(0, 2**32, 300, np.uint32)
_MIDDLES = np.concatenate([_WORDS[:100] & 0xFFFFE000 | 0x1000, _WORDS[:100] & 0xFFFF0000 | 0x8000])  # tf32, bfloat16
_ENDS = np.array([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000], np.uint32)
# Any bits, middles between two rounded numbers and their neighbours, zeros, denormals, the largest, infinities and NaN.
EDGES = np.concatenate([_WORDS, _MIDDLES, _MIDDLES - 1, _MIDDLES + 1, _ENDS, _ENDS | 1 << 31]).view(np.float32)


def to_tf32(x):
    """x in float32, then to 10 bits of mantissa, halves away from zero: float64."""
    return _rounded(x, 10, lambda steps: np.copysign(np.floor(np.abs(steps) + 0.5), steps))


def to_bf16(x):
    """x in float32, then to 7 bits of mantissa, halves to even: float64."""
    return _rounded(x, 7, np.rint)


def toward_zero(x):
    """What neither of them is: 10 bits of mantissa, the others cut off."""
    return _rounded(x, 10, np.trunc)


@np.errstate(invalid="ignore")  # a NaN that signals is cast
def _rounded(x, bits, to_whole):
    """Below 2**-126 numbers are as far apart as they are above it; from 2**128 on there are none but infinity."""
    x = np.asarray(x, np.float32).astype(np.float64)
    exponent = np.maximum(np.frexp(x)[1], -125) - 1 - bits  # of the step between neighbours
    y = np.ldexp(to_whole(np.ldexp(x, -exponent)), exponent)
    return np.where(np.abs(y) >= 2.0**128, np.copysign(np.inf, y), y)
