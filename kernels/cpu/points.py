"""The linear maps of Winograd's F(4x4, 3x3), on vectors: see winograd.py for where they come from.

With s = 1/sqrt 2 and t = sqrt 2, products that occur twice are computed once:

          1    .    -5/2   .    1   .             1     .      .
          .   -t    -2     s    1   .           -2/3  -2s/3  -1/3           1   1   1   1   1   .
    B^T = .    t    -2    -s    1   .       G = -2/3   2s/3  -1/3     A^T = .   s  -s   t  -t   .
          .   -s    -1/2   t    1   .            1/6   t/6    1/3           .  1/2 1/2  2   2   .
          .    s    -1/2  -t    1   .            1/6  -t/6    1/3           .  s/2 -s/2 2t -2t  1
          .    1     .   -5/2   .   1             .     .      1
"""

import numpy as np

from .compiled import inlined
from .simd import load, splat, store

_S, _T = np.float32(0.5**0.5), np.float32(2**0.5)


@inlined
def inputs_to_points(d0, d1, d2, d3, d4, d5):
    """B^T d"""
    even1, odd1 = d4 - splat(np.float32(2)) * d2, splat(_S) * d3 - splat(_T) * d1
    even2, odd2 = d4 - splat(np.float32(0.5)) * d2, splat(_T) * d3 - splat(_S) * d1
    first, last = d0 - splat(np.float32(2.5)) * d2 + d4, d1 - splat(np.float32(2.5)) * d3 + d5
    return first, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, last


@inlined
def points_to_inputs(v0, v1, v2, v3, v4, v5):
    """B v"""
    sum1, difference1, sum2, difference2 = v1 + v2, v1 - v2, v3 + v4, v3 - v4
    return (
        v0,
        v5 - splat(_T) * difference1 - splat(_S) * difference2,
        splat(np.float32(-2.5)) * v0 - splat(np.float32(2)) * sum1 - splat(np.float32(0.5)) * sum2,
        splat(_S) * difference1 + splat(_T) * difference2 - splat(np.float32(2.5)) * v5,
        v0 + sum1 + sum2,
        v5,
    )


@inlined
def points_to_outputs(m0, m1, m2, m3, m4, m5):
    """A^T m"""
    sum1, difference1, sum2, difference2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return (
        m0 + sum1 + sum2,
        splat(_S) * difference1 + splat(_T) * difference2,
        splat(np.float32(0.5)) * sum1 + splat(np.float32(2)) * sum2,
        splat(_S / np.float32(2)) * difference1 + splat(_T * np.float32(2)) * difference2 + m5,
    )


@inlined
def outputs_to_points(g0, g1, g2, g3):
    """A g"""
    even1, odd1 = g0 + splat(np.float32(0.5)) * g2, splat(_S) * g1 + splat(_S / np.float32(2)) * g3
    even2, odd2 = g0 + splat(np.float32(2)) * g2, splat(_T) * g1 + splat(_T * np.float32(2)) * g3
    return g0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, g3


@inlined
def weights_to_points(g0, g1, g2):
    """G g"""
    even1, odd1 = splat(np.float32(-2 / 3)) * g0 - splat(np.float32(1 / 3)) * g2, splat(_S * np.float32(2 / 3)) * g1
    even2, odd2 = splat(np.float32(1 / 6)) * g0 + splat(np.float32(1 / 3)) * g2, splat(_T / np.float32(6)) * g1
    return g0, even1 - odd1, even1 + odd1, even2 + odd2, even2 - odd2, g2


@inlined
def points_to_weights(u0, u1, u2, u3, u4, u5):
    """G^T u"""
    sum1, difference1, sum2, difference2 = u1 + u2, u1 - u2, u3 + u4, u3 - u4
    return (
        u0 - splat(np.float32(2 / 3)) * sum1 + splat(np.float32(1 / 6)) * sum2,
        splat(_T / np.float32(6)) * difference2 - splat(_S * np.float32(2 / 3)) * difference1,
        u5 - splat(np.float32(1 / 3)) * sum1 + splat(np.float32(1 / 3)) * sum2,
    )


@inlined
def load6(at, step):
    return load(at), load(at + step), load(at + 2 * step), load(at + 3 * step), load(at + 4 * step), load(at + 5 * step)


@inlined
def load4(at, step):
    return load(at), load(at + step), load(at + 2 * step), load(at + 3 * step)


@inlined
def store4(at, step, values):
    store(at, values[0])
    store(at + step, values[1])
    store(at + 2 * step, values[2])
    store(at + 3 * step, values[3])


@inlined
def store6(at, step, values):
    store(at, values[0])
    store(at + step, values[1])
    store(at + 2 * step, values[2])
    store(at + 3 * step, values[3])
    store(at + 4 * step, values[4])
    store(at + 5 * step, values[5])
