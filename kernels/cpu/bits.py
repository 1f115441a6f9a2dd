"""What looks at the bits of numbers: exp, Philox, and a square of numbers turned over."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import inlined
from .simd import BYTES, LANES, VECTOR, constant, pointer, splat, splat_value, vector, where_greater

_INT = ir.IntType(64)
_WORDS, _WIDE = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(_INT, LANES)


@intrinsic
def floor(typing, value):
    """The largest whole number that is not above."""

    def lower(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR]), f"llvm.floor.v{LANES}f32"
        )
        return builder.call(function, args)

    return vector(vector), lower


@intrinsic
def two_to(typing, value):
    """2**value for whole numbers from -127, which gives 0, to 127."""

    def lower(context, builder, signature, args):
        exponent = builder.add(builder.fptosi(args[0], _WORDS), ir.Constant(_WORDS, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_WORDS, [23] * LANES)), VECTOR)

    return vector(vector), lower


@inlined
def exp(x):
    """exp(x) for x <= 0: 2**k times a polynomial in the rest (Cephes' expf). 0 below -87.3; NaN stays NaN."""
    f = np.float32
    k = floor(x * splat(f(1.44269504)) + splat(f(0.5)))
    k = where_greater(k, splat(f(-127)), k, splat(f(-127)))  # where it is NaN, too
    r = x - k * splat(f(0.693359375)) - k * splat(f(-2.12194440e-4))
    p = splat(f(1.9875691500e-4)) * r + splat(f(1.3981999507e-3))
    p = p * r + splat(f(8.3334519073e-3))
    p = p * r + splat(f(4.1665795894e-2))
    p = p * r + splat(f(1.6666665459e-1))
    p = p * r + splat(f(5.0000001201e-1))
    return where_greater(splat(f(-87.3)), x, splat(f(0)), (p * r * r + r + splat(f(1))) * two_to(k))


@intrinsic
def draw_scales(typing, y, samples, four, epoch, use, key0, key1, threshold, scale):
    """Four vectors at y: for the draws 4*four .. 4*four + 3 of each of `samples`, `scale` where they are at least
    `threshold`, else 0. Addresses; samples are uint32. The draws are Philox4x32-10: see philox_xp.py.
    """
    i8 = types.int64

    def lower(context, builder, signature, args):
        y, samples, *integers, threshold, scale = args
        mask = ir.Constant(_WIDE, [0xFFFFFFFF] * LANES)
        half = ir.Constant(_WIDE, [32] * LANES)
        c0, c2, c3, key0, key1 = (builder.and_(splat_value(builder, each, _WIDE), mask) for each in integers)
        c1 = builder.zext(builder.load(pointer(builder, samples, _WORDS), align=4), _WIDE)
        for _ in range(10):
            p0 = builder.mul(c0, ir.Constant(_WIDE, [0xD2511F53] * LANES))
            p1 = builder.mul(c2, ir.Constant(_WIDE, [0xCD9E8D57] * LANES))
            c0 = builder.xor(builder.xor(builder.lshr(p1, half), c1), key0)
            c2 = builder.xor(builder.xor(builder.lshr(p0, half), c3), key1)
            c1, c3 = builder.and_(p1, mask), builder.and_(p0, mask)
            key0, key1 = (
                builder.and_(builder.add(key, ir.Constant(_WIDE, [weyl] * LANES)), mask)
                for key, weyl in ((key0, 0x9E3779B9), (key1, 0xBB67AE85))
            )
        least = splat_value(builder, threshold, _WIDE)
        for i, word in enumerate((c0, c1, c2, c3)):
            kept = builder.icmp_unsigned(">=", word, least)
            value = builder.select(kept, splat_value(builder, scale), constant(0.0))
            builder.store(value, pointer(builder, _step(builder, y, i * BYTES)), align=4)
        return context.get_dummy_value()

    return types.void(i8, i8, i8, i8, i8, i8, i8, i8, types.float32), lower


@intrinsic
def transpose(typing, y, y_row, x, x_row):
    """y[i, j] = x[j, i] for i, j < LANES. Addresses, and the steps from row to row in bytes.

    Each round zips every row of the upper half with its like in the lower half. After as many rounds as a place in a
    row has bits, row i holds column i.
    """
    i8 = types.int64

    def lower(context, builder, signature, args):
        y, y_row, x, x_row = args
        teeth = [
            ir.Constant(_WORDS, [j // 2 + j % 2 * LANES + start for j in range(LANES)]) for start in (0, LANES // 2)
        ]
        rows = []
        for i in range(LANES):
            at = builder.add(x, builder.mul(x_row, ir.Constant(_INT, i)))
            rows.append(builder.load(pointer(builder, at), align=4))
        for _ in range(LANES.bit_length() - 1):
            pairs = zip(rows[: LANES // 2], rows[LANES // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, each) for a, b in pairs for each in teeth]
        for i, row in enumerate(rows):
            at = builder.add(y, builder.mul(y_row, ir.Constant(_INT, i)))
            builder.store(row, pointer(builder, at), align=4)
        return context.get_dummy_value()

    return types.void(i8, i8, i8, i8), lower


def _step(builder, address, offset):
    return builder.add(address, ir.Constant(_INT, offset))
