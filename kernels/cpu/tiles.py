"""The two register tiles that matrix products and convolutions are made of.

Both keep a tile of sums in registers while they walk through memory: a table of places says where the operands of each
step lie, so that the steps of a product, the window of a convolution and its shorter windows at the border are all the
same to a tile.

multiply    sum[row][image] += a[row] * b[image]        a: weights, broadcast;  b: lines of images
            rows x lines: each weight is used for all images of the lines, each line for all rows

correlate   sum[row][column][lane] += a[row][image] * b[column][image]
            rows x columns: gradients of weights, which are sums over images

These are Python functions that write LLVM's instructions: the loops over rows and columns below run when a kernel is
compiled, and unroll the tile. The sums are variables in LLVM's sense (alloca), which it keeps in registers. Addresses
and steps are in bytes. The idea of a register tile: Goto and van de Geijn 2008, "Anatomy of high-performance matrix
multiplication"; that of a table: Dukhan 2019, "The indirect convolution algorithm", arXiv:1907.02129.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import inlined
from .layout import LINE
from .simd import BYTES, FLOAT, PARTS, constant, fma, pointer, splat_value
from .target import TARGET

_INT, _INT32 = ir.IntType(64), ir.IntType(32)

# The heights of tiles. Of 6 and 4, say, any even number of rows from 4 on is a sum: no row is computed twice.
HEIGHTS = TARGET.rows, max(1, TARGET.rows * 2 // 3)
DOT_HEIGHTS = TARGET.dot_rows, TARGET.dot_rows - 1


@inlined
def tiles_of(count, heights):
    """(high, low): how many tiles of each of two heights cover `count` with the fewest rows to spare."""
    most, least = heights
    best, spare = (0, 0), count + most
    for low in range(most):
        high = max(0, (count - low * least + most - 1) // most)
        rows = high * most + low * least
        if rows >= count and rows - count < spare:
            best, spare = (high, low), rows - count
    return best


@lru_cache(maxsize=256)
def tiles_in_all(count: int, heights: tuple[int, int]) -> int:
    """The sum of `tiles_of`, where Python asks."""
    return sum(tiles_of.py_func(count, heights))


@inlined
def tile_range(tile, tiles, heights, count):
    """(first, rows) of a tile, the high ones first; the last one may have fewer rows than its height."""
    most, least = heights
    high = tiles[0]
    first = min(tile, high) * most + max(0, tile - high) * least
    return first, min(most if tile < high else least, count - first)


@inlined
def tile_count(count, most):
    """How many tiles of at most `most` cover `count`."""
    return (count + most - 1) // most


@inlined
def lines_of_bias(bias):
    """(rows, LINE): for `multiply` to start with, each bias in a line of its own."""
    starts = np.empty((bias.size, LINE), np.float32)
    for row in range(bias.size):
        starts[row] = bias[row]
    return starts


@intrinsic
def multiply(
    typing, c, c_row, c_line, start, start_row, start_line, a, a_row, a_rows, b, b_line, walk, count, rows, lines
):
    """c[row, line] = start[row, line] + sum over walk[count] of a[row] * b[line].

    start may be 0, with steps of 0: then sums start at 0. It may be c: a long sum in parts, each added up apart, has
    smaller rounding errors. rows: at most TARGET.rows; lines: at most TARGET.lines. a_rows: how many rows of a may be
    read, at least `rows`; where that is TARGET.rows, known when compiled, no register is spent on the places of rows.
    """
    i8 = types.int64

    def lower(context, builder, signature, args):
        c, c_row, c_line, start, start_row, start_line, a, a_row, a_rows, b, b_line, walk, count, rows, lines = args
        for height, width in _tile_sizes(builder, rows, HEIGHTS, lines, TARGET.lines):
            row_steps = _steps(builder, a_row, a_rows, height)
            tile = list(product(range(height), range(width), range(PARTS)))
            sums = {place: cgutils.alloca_once_value(builder, constant(0.0)) for place in tile}
            with _walking(builder, walk, count, a, b) as (weights, images):
                right = {}
                for line, part in product(range(width), range(PARTS)):
                    at = _place(builder, images, part * BYTES, (b_line, line))
                    right[line, part] = builder.load(pointer(builder, at), align=4)
                for row in range(height):
                    weight = builder.load(pointer(builder, builder.add(weights, row_steps[row]), FLOAT))
                    weight = splat_value(builder, weight)
                    for (line, part), value in right.items():
                        each = sums[row, line, part]
                        builder.store(fma(builder, weight, value, builder.load(each)), each)
            starts_anew = builder.icmp_signed("==", start, ir.Constant(_INT, 0))
            whole = builder.and_(starts_anew, builder.icmp_signed("==", rows, ir.Constant(_INT, height)))
            with builder.if_else(whole, likely=True) as (then, otherwise):
                with then:
                    for (row, line, part), total in sums.items():
                        at = _place(builder, c, part * BYTES, (c_row, row), (c_line, line))
                        builder.store(builder.load(total), pointer(builder, at), align=4)
                with otherwise:
                    zeros = cgutils.alloca_once_value(builder, constant(0.0, ir.VectorType(FLOAT, LINE)))
                    begin = builder.select(starts_anew, builder.ptrtoint(zeros, _INT), start)
                    for (row, line, part), total in sums.items():
                        with builder.if_then(builder.icmp_signed(">", rows, ir.Constant(_INT, row))):
                            before = _place(builder, begin, part * BYTES, (start_row, row), (start_line, line))
                            before = builder.load(pointer(builder, before), align=4)
                            at = _place(builder, c, part * BYTES, (c_row, row), (c_line, line))
                            builder.store(builder.fadd(before, builder.load(total)), pointer(builder, at), align=4)
        return context.get_dummy_value()

    return types.void(*[i8] * 15), lower


@intrinsic
def correlate(typing, c, c_row, c_column, a, a_row, b, b_column, walk, count, rows, columns):
    """c[row, column] += sum over the lines of walk[count] of a[row] * b[column].

    c holds vectors, whose lanes are still to be added up. rows: at most DOT_HEIGHTS[0]; columns: TARGET.dot_columns.
    """
    i8 = types.int64

    def lower(context, builder, signature, args):
        c, c_row, c_column, a, a_row, b, b_column, walk, count, rows, columns = args
        for height, _ in _tile_sizes(builder, rows, DOT_HEIGHTS, ir.Constant(_INT, 1), 1):
            tile = list(product(range(height), range(TARGET.dot_columns)))
            row_steps = _steps(builder, a_row, rows, height)
            column_steps = _steps(builder, b_column, columns, TARGET.dot_columns)
            sums = {place: cgutils.alloca_once_value(builder, constant(0.0)) for place in tile}
            with _walking(builder, walk, count, a, b) as walked:
                for part in range(PARTS):
                    left, right = (
                        [
                            builder.load(pointer(builder, _place(builder, base, part * BYTES, (step, 1))), align=4)
                            for step in steps
                        ]
                        for base, steps in zip(walked, (row_steps, column_steps), strict=True)
                    )
                    for row, column in tile:
                        each = sums[row, column]
                        builder.store(fma(builder, left[row], right[column], builder.load(each)), each)
            whole = _inside(builder, rows, height - 1, columns, TARGET.dot_columns - 1)
            with builder.if_else(whole, likely=True) as (then, otherwise):
                with then:
                    for place, total in sums.items():
                        _add_to(builder, _place(builder, c, 0, (c_row, place[0]), (c_column, place[1])), total)
                with otherwise:
                    for (row, column), total in sums.items():
                        with builder.if_then(_inside(builder, rows, row, columns, column)):
                            _add_to(builder, _place(builder, c, 0, (c_row, row), (c_column, column)), total)
        return context.get_dummy_value()

    return types.void(*[i8] * 11), lower


def _inside(builder, rows, row, columns, column):
    """Whether row < rows and column < columns."""
    return builder.and_(
        builder.icmp_signed(">", rows, ir.Constant(_INT, row)),
        builder.icmp_signed(">", columns, ir.Constant(_INT, column)),
    )


def _add_to(builder, address, total):
    """Add a variable to the vector at an address."""
    at = pointer(builder, address)
    builder.store(builder.fadd(builder.load(at, align=4), builder.load(total)), at, align=4)


def _tile_sizes(builder, rows, heights, lines, most_lines) -> Iterator[tuple[int, int]]:
    """Every size (height, lines) of a tile; what is written before the next one runs for tiles of that size only."""
    end = builder.append_basic_block("end")
    for height, width in product(heights, range(1, most_lines + 1)):
        low = 0 if height == min(heights) else min(heights)
        of_size = builder.and_(
            builder.and_(
                builder.icmp_signed(">", rows, ir.Constant(_INT, low)),
                builder.icmp_signed("<=", rows, ir.Constant(_INT, height)),
            ),
            builder.icmp_signed("==", lines, ir.Constant(_INT, width)),
        )
        here, following = builder.append_basic_block("tile"), builder.append_basic_block("following")
        builder.cbranch(of_size, here, following)
        builder.position_at_end(here)
        yield height, width
        builder.branch(end)
        builder.position_at_end(following)
    builder.branch(end)
    builder.position_at_end(end)


def _steps(builder, step, count, most):
    """i * step for i below `most`; from `count` on that of the last again, for what lies outside may not be read."""
    last = builder.sub(count, ir.Constant(_INT, 1))
    steps = []
    for i in range(most):
        number = ir.Constant(_INT, i)
        number = builder.select(builder.icmp_signed("<", number, last), number, last)
        steps.append(builder.mul(step, number))
    return steps


@contextmanager
def _walking(builder, walk, count, a, b) -> Iterator[list]:
    """The body of a loop over a table walk[count] of two int32: yields a + walk[i, 0] and b + walk[i, 1]."""
    with cgutils.for_range(builder, count) as loop:
        entry = builder.add(walk, builder.shl(loop.index, ir.Constant(_INT, 3)))
        yield [
            builder.add(base, builder.sext(builder.load(pointer(builder, at, _INT32)), _INT))
            for base, at in ((a, entry), (b, builder.add(entry, ir.Constant(_INT, 4))))
        ]


def _place(builder, base, offset, *steps):
    """base + offset + step * count for each of `steps`"""
    for step, count in steps:
        base = builder.add(base, builder.mul(step, ir.Constant(_INT, count)))
    return builder.add(base, ir.Constant(_INT, offset))
