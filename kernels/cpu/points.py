"""The linear maps of Winograd's F(4, 3) and F(4, 5), on vectors: see winograd.py for where they come from.

F(4, 3), in two dimensions for 3x3 windows, has the points 0, s, -s, t, -t and infinity with s = 1/sqrt 2, t = sqrt 2:

          1    .    -5/2   .    1   .             1     .      .
          .   -t    -2     s    1   .           -2/3  -2s/3  -1/3           1   1   1   1   1   .
    B^T = .    t    -2    -s    1   .       G = -2/3   2s/3  -1/3     A^T = .   s  -s   t  -t   .
          .   -s    -1/2   t    1   .            1/6   t/6    1/3           .  1/2 1/2  2   2   .
          .    s    -1/2  -t    1   .            1/6  -t/6    1/3           .  s/2 -s/2 2t -2t  1
          .    1     .   -5/2   .   1             .     .      1

F(4, 5), along rows for windows 5 wide, has 0, 1/2, -1/2, 1, -1, 2, -2 and infinity, whose functions end in 5:

           1    .  -21/4   .   21/4    .   -1   .            1     .     .     .     .
           .    2    4   -5/2   -5    1/2   1   .          32/45 16/45  8/45  4/45  2/45
           .   -2    4    5/2   -5   -1/2   1   .          32/45 -16/45 8/45 -4/45  2/45
    B^T =  .    1    1  -17/4 -17/4    1    1   .      G = -2/9  -2/9  -2/9  -2/9  -2/9
           .   -1    1   17/4 -17/4   -1    1   .          -2/9   2/9  -2/9   2/9  -2/9
           .   1/2  1/4  -5/2  -5/4    2    1   .          1/90  1/45  2/45  4/45  8/45
           .  -1/2  1/4   5/2  -5/4   -2    1   .          1/90 -1/45  2/45 -4/45  8/45
           .   -1    .   21/4   .   -21/4   .   1            .     .     .     .     1

           1    1    1    1    1    1    1    .
    A^T =  .   1/2 -1/2   1   -1    2   -2    .
           .   1/4  1/4   1    1    4    4    .
           .   1/8 -1/8   1   -1    8   -8    1

Points come in pairs of opposite signs, so what is even and what is odd in them is computed once for both.
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
def inputs_to_points5(d):
    """B^T d"""
    f = np.float32
    d0, d1, d2, d3, d4, d5, d6, d7 = d
    even, odd = d2 + d6 - splat(f(4.25)) * d4, d1 + d5 - splat(f(4.25)) * d3
    v3, v4 = even + odd, even - odd
    even = d6 - splat(f(5)) * d4 + splat(f(4)) * d2
    odd = splat(f(0.5)) * d5 - splat(f(2.5)) * d3 + splat(f(2)) * d1
    v1, v2 = even + odd, even - odd
    even = d6 - splat(f(1.25)) * d4 + splat(f(0.25)) * d2
    odd = splat(f(2)) * d5 - splat(f(2.5)) * d3 + splat(f(0.5)) * d1
    first, last = d0 - d6 + splat(f(5.25)) * (d4 - d2), d7 - d1 + splat(f(5.25)) * (d3 - d5)
    return first, v1, v2, v3, v4, even + odd, even - odd, last


@inlined
def points5_to_inputs(v):
    """B v"""
    f = np.float32
    v0, v1, v2, v3, v4, v5, v6, v7 = v
    s1, d1, s2, d2, s3, d3 = v1 + v2, v1 - v2, v3 + v4, v3 - v4, v5 + v6, v5 - v6
    return (
        v0,
        d2 - v7 + splat(f(2)) * d1 + splat(f(0.5)) * d3,
        s2 - splat(f(5.25)) * v0 + splat(f(4)) * s1 + splat(f(0.25)) * s3,
        splat(f(5.25)) * v7 - splat(f(4.25)) * d2 - splat(f(2.5)) * (d1 + d3),
        splat(f(5.25)) * v0 - splat(f(4.25)) * s2 - splat(f(5)) * s1 - splat(f(1.25)) * s3,
        d2 - splat(f(5.25)) * v7 + splat(f(0.5)) * d1 + splat(f(2)) * d3,
        s1 + s2 + s3 - v0,
        v7,
    )


@inlined
def points5_to_outputs(m):
    """A^T m"""
    f = np.float32
    m0, m1, m2, m3, m4, m5, m6, m7 = m
    s1, d1, s2, d2, s3, d3 = m1 + m2, m1 - m2, m3 + m4, m3 - m4, m5 + m6, m5 - m6
    return (
        m0 + s1 + s2 + s3,
        d2 + splat(f(0.5)) * d1 + splat(f(2)) * d3,
        s2 + splat(f(0.25)) * s1 + splat(f(4)) * s3,
        m7 + d2 + splat(f(0.125)) * d1 + splat(f(8)) * d3,
    )


@inlined
def gradients_to_points5(g0, g1, g2, g3):
    """A g"""
    f = np.float32
    even, odd = g0 + g2, g1 + g3
    v3, v4 = even + odd, even - odd
    even, odd = g0 + splat(f(0.25)) * g2, splat(f(0.5)) * g1 + splat(f(0.125)) * g3
    v1, v2 = even + odd, even - odd
    even, odd = g0 + splat(f(4)) * g2, splat(f(2)) * g1 + splat(f(8)) * g3
    return g0, v1, v2, v3, v4, even + odd, even - odd, g3


@inlined
def weights_to_points5(g0, g1, g2, g3, g4):
    """G g, of numbers"""
    f = np.float32
    even1, odd1 = f(32 / 45) * g0 + f(8 / 45) * g2 + f(2 / 45) * g4, f(16 / 45) * g1 + f(4 / 45) * g3
    even2, odd2 = f(-2 / 9) * (g0 + g2 + g4), f(-2 / 9) * (g1 + g3)
    even3, odd3 = f(1 / 90) * g0 + f(2 / 45) * g2 + f(8 / 45) * g4, f(1 / 45) * g1 + f(4 / 45) * g3
    return g0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, even3 + odd3, even3 - odd3, g4


@inlined
def points5_to_weights(u):
    """G^T u, of numbers"""
    f = np.float32
    s1, d1, s2, d2, s3, d3 = u[1] + u[2], u[1] - u[2], u[3] + u[4], u[3] - u[4], u[5] + u[6], u[5] - u[6]
    return (
        u[0] + f(32 / 45) * s1 - f(2 / 9) * s2 + f(1 / 90) * s3,
        f(16 / 45) * d1 - f(2 / 9) * d2 + f(1 / 45) * d3,
        f(8 / 45) * s1 - f(2 / 9) * s2 + f(2 / 45) * s3,
        f(4 / 45) * d1 - f(2 / 9) * d2 + f(4 / 45) * d3,
        f(2 / 45) * s1 - f(2 / 9) * s2 + f(8 / 45) * s3 + u[7],
    )


@inlined
def load4(at, step):
    return load(at), load(at + step), load(at + 2 * step), load(at + 3 * step)


@inlined
def load6(at, step):
    return (*load4(at, step), load(at + 4 * step), load(at + 5 * step))


@inlined
def load8(at, step):
    return (*load4(at, step), *load4(at + 4 * step, step))


@inlined
def store4(at, step, values):
    store(at, values[0])
    store(at + step, values[1])
    store(at + 2 * step, values[2])
    store(at + 3 * step, values[3])


@inlined
def store6(at, step, values):
    store4(at, step, values[:4])
    store(at + 4 * step, values[4])
    store(at + 5 * step, values[5])


@inlined
def store8(at, step, values):
    store4(at, step, values[:4])
    store4(at + 4 * step, step, values[4:])


@inlined
def plus4(v, term):
    return v[0] + term, v[1] + term, v[2] + term, v[3] + term


@inlined
def add8(at, step, values):
    """Add vectors to those in memory."""
    v = load8(at, step)
    sums = (
        v[0] + values[0], v[1] + values[1], v[2] + values[2], v[3] + values[3],
        v[4] + values[4], v[5] + values[5], v[6] + values[6], v[7] + values[7],
    )  # fmt: skip
    store8(at, step, sums)
