"""The two register tiles that matrix products and convolutions are made of.

Both keep a tile of sums in registers while they run through three nested loops, say over channels, rows and columns of
a convolution's window; a matrix product needs one of them. Address = base + 4 * (i0*step0 + i1*step1 + i2*step2).

outer    sum[row][image] += a[row] * b[image]        a: weights, broadcast;  b: lines of images
         rows x lines: each weight is used for all images of the lines, each line for all rows

dot      sum[row][column][lane] += a[row][image] * b[column][image]
         rows x columns: gradients of weights, which are sums over images

These are Python functions that write LLVM's instructions: the loops over rows and columns below run when a kernel is
compiled, and unroll the tile. The sums are variables in LLVM's sense (alloca), which it keeps in registers.
The idea and the names of the parts: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import inlined
from .simd import BYTES, FLOAT, PARTS, VECTOR, constant, fma, pointer, splat_value
from .target import TARGET

_INT, _INT32 = ir.IntType(64), ir.IntType(32)

NOTHING, BEFORE = 0, -1  # in place of the address of a bias

# The heights of tiles: any even number of rows from 4 on is a sum of sixes and fours, say, and no row is computed twice.
HEIGHTS = TARGET.rows, max(1, TARGET.rows * 2 // 3)
DOT_HEIGHTS = TARGET.dot_rows, TARGET.dot_rows - 1


@contextmanager
def _loops(builder, counts, *walks) -> Iterator[list]:
    """The body of three nested loops; yields the address of each walk (base, steps) there, in bytes."""
    with cgutils.for_range(builder, counts[0]) as i0, cgutils.for_range(builder, counts[1]) as i1:
        outer = [
            builder.add(base, builder.add(builder.mul(i0.index, steps[0]), builder.mul(i1.index, steps[1])))
            for base, steps in walks
        ]
        with cgutils.for_range(builder, counts[2]) as i2:
            yield [
                builder.add(at, builder.mul(i2.index, steps[2])) for at, (_, steps) in zip(outer, walks, strict=True)
            ]


def _unpack(builder, tuple_of_elements):
    """Steps in elements -> steps in bytes."""
    return [_bytes(builder, each) for each in cgutils.unpack_tuple(builder, tuple_of_elements, 3)]


def _bytes(builder, elements):
    return builder.shl(elements, ir.Constant(_INT, 2))


def _at(builder, address, step, count, offset=0):
    """address + count * step + offset"""
    return builder.add(address, builder.add(builder.mul(step, ir.Constant(_INT, count)), ir.Constant(_INT, offset)))


@contextmanager
def _cases(builder, value, count):
    """For each i in 1 .. count a block that runs where value == i: yields (i, block) pairs; all join afterwards."""
    end = builder.append_basic_block("end")
    switch = builder.switch(value, end)
    blocks = []
    for i in range(1, count + 1):
        block = builder.append_basic_block(f"case{i}")
        switch.add_case(ir.Constant(_INT, i), block)
        blocks.append((i, block))
    yield blocks, end
    builder.position_at_end(end)


def _outer_cases(builder, c, c_row, c_line, bias, b_line, case, body):
    """`outer` for each height and width of the tile; body(step) writes the loop around step(weights, images).

    weights: the address of the weight of each row, images: that of the first line.
    """
    with _cases(builder, case, TARGET.rows * TARGET.lines) as (blocks, end):
        for i, block in blocks:
            builder.position_at_end(block)
            lines, rows = divmod(i - 1, TARGET.rows)
            places = list(product(range(lines + 1), range(PARTS)))  # of the vectors in a row of the tile
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in places] for _ in range(rows + 1)]
            _start(builder, sums, places, c, c_row, c_line, bias)

            def step(weight_of, images_at, sums=sums, places=places):
                images = [
                    builder.load(pointer(builder, _at(builder, images_at, b_line, line, part * BYTES)), align=4)
                    for line, part in places
                ]
                for row, vectors in enumerate(sums):
                    weight = splat_value(builder, builder.load(pointer(builder, weight_of(row), FLOAT)))
                    for each, image in zip(vectors, images, strict=True):
                        builder.store(fma(builder, weight, image, builder.load(each)), each)

            body(step)
            for each, at, _ in _tile(builder, sums, places, c, c_row, c_line):
                builder.store(builder.load(each), at, align=4)
            builder.branch(end)


@intrinsic
def _outer(typing, c, c_row, c_line, bias, a, a_row, a_steps, b, b_line, b_steps, counts, case):
    i8, three = types.int64, types.UniTuple(types.int64, 3)

    def lower(context, builder, signature, args):
        c, c_row, c_line, bias, a, a_row, a_steps, b, b_line, b_steps, counts, case = args
        c_row, c_line, a_row, b_line = (_bytes(builder, step) for step in (c_row, c_line, a_row, b_line))
        a_steps, b_steps = _unpack(builder, a_steps), _unpack(builder, b_steps)
        counts = cgutils.unpack_tuple(builder, counts, 3)

        def body(step):
            with _loops(builder, counts, (a, a_steps), (b, b_steps)) as (a_at, b_at):
                step(lambda row: _at(builder, a_at, a_row, row), b_at)

        _outer_cases(builder, c, c_row, c_line, bias, b_line, case, body)
        return context.get_dummy_value()

    return types.void(i8, i8, i8, i8, i8, i8, three, i8, i8, three, three, i8), lower


def _tile(builder, sums, places, c, c_row, c_line):
    """(sum, its place in memory, its row) for each vector of a tile."""
    for row, vectors in enumerate(sums):
        for each, (line, part) in zip(vectors, places, strict=True):
            yield each, pointer(builder, _at(builder, _at(builder, c, c_row, row), c_line, line, part * BYTES)), row


def _start(builder, sums, places, c, c_row, c_line, bias):
    """What the sums begin with: the bias of their row, what is in memory, or zero."""
    zero = ir.Constant(_INT, NOTHING)
    with builder.if_else(builder.icmp_signed(">", bias, zero)) as (biased, other):
        with biased:
            for each, _, row in _tile(builder, sums, places, c, c_row, c_line):
                start = builder.load(pointer(builder, builder.add(bias, ir.Constant(_INT, 4 * row)), FLOAT))
                builder.store(splat_value(builder, start), each)
        with other, builder.if_else(builder.icmp_signed("==", bias, zero)) as (empty, before):
            with empty:
                for each, _, _ in _tile(builder, sums, places, c, c_row, c_line):
                    builder.store(constant(0.0), each)
            with before:
                for each, at, _ in _tile(builder, sums, places, c, c_row, c_line):
                    builder.store(builder.load(at, align=4), each)


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
def tile_start(tile, tiles, count):
    """Where a tile begins when `count` is divided evenly; the next one's start is its end."""
    return tile * count // tiles


@inlined
def outer(c, c_row, c_line, bias, a, a_row, a_steps, b, b_line, b_steps, counts, rows, lines):
    """c[row, line] = bias[row] + sum over the loops of a[row] * b[line].

    bias: an address, or NOTHING, or BEFORE: the sums are added to what c holds.
    Addresses in bytes, steps in elements; rows in 1 .. TARGET.rows, lines in 1 .. TARGET.lines.
    """
    _outer(c, c_row, c_line, bias, a, a_row, a_steps, b, b_line, b_steps, counts, rows + (lines - 1) * TARGET.rows)


@intrinsic
def _product(typing, c, c_row, c_line, start, start_row, start_line, a, a_row, b, b_line, walk, count, rows, case):
    i8 = types.int64

    def lower(context, builder, signature, args):
        c, c_row, c_line, start, start_row, start_line, a, a_row, b, b_line, walk, count, rows, case = args
        with _cases(builder, case, len(HEIGHTS) * TARGET.lines) as (blocks, end):
            for i, block in blocks:
                builder.position_at_end(block)
                height, lines = HEIGHTS[(i - 1) % len(HEIGHTS)], (i - 1) // len(HEIGHTS) + 1
                tile = list(product(range(height), range(lines), range(PARTS)))
                sums = {place: cgutils.alloca_once(builder, VECTOR) for place in tile}
                for row, line, part in tile:
                    at = _place(builder, start, (start_row, row), (start_line, line), part * BYTES)
                    builder.store(builder.load(pointer(builder, at), align=4), sums[row, line, part])
                with _walking(builder, walk, count, a, b) as (weights, images):
                    right = {
                        (line, part): builder.load(
                            pointer(builder, _place(builder, images, (b_line, line), offset=part * BYTES)), align=4
                        )
                        for line, part in product(range(lines), range(PARTS))
                    }
                    for row in range(height):
                        left = builder.load(pointer(builder, _place(builder, weights, (a_row, row)), FLOAT))
                        left = splat_value(builder, left)
                        for (line, part), value in right.items():
                            each = sums[row, line, part]
                            builder.store(fma(builder, left, value, builder.load(each)), each)
                for row in range(height):
                    with builder.if_then(builder.icmp_signed(">", rows, ir.Constant(_INT, row)), likely=True):
                        for line, part in product(range(lines), range(PARTS)):
                            at = _place(builder, c, (c_row, row), (c_line, line), part * BYTES)
                            builder.store(builder.load(sums[row, line, part]), pointer(builder, at), align=4)
                builder.branch(end)
        return context.get_dummy_value()

    return types.void(*[i8] * 14), lower


@inlined
def multiply(c, c_row, c_line, start, start_row, start_line, a, a_row, b, b_line, walk, count, rows, lines):
    """c[row, line] = start[row, line] + sum over the walk of a[row] * b[line].

    Reads a[row] of a whole tile (`height_of`), whatever lies behind `rows`. Addresses and steps in bytes.
    """
    case = (0 if rows > HEIGHTS[1] else 1) + (lines - 1) * 2 + 1
    _product(c, c_row, c_line, start, start_row, start_line, a, a_row, b, b_line, walk, count, rows, case)


@intrinsic
def _correlation(typing, c, c_row, c_column, a, a_row, b, b_column, walk, count, lines, rows, columns, case):
    i8 = types.int64

    def lower(context, builder, signature, args):
        c, c_row, c_column, a, a_row, b, b_column, walk, count, lines, rows, columns, case = args
        with _cases(builder, case, len(DOT_HEIGHTS)) as (blocks, end):
            for i, block in blocks:
                builder.position_at_end(block)
                tile = list(product(range(DOT_HEIGHTS[i - 1]), range(TARGET.dot_columns)))
                left_steps = _within(builder, a_row, rows, DOT_HEIGHTS[i - 1])
                right_steps = _within(builder, b_column, columns, TARGET.dot_columns)
                sums = {place: cgutils.alloca_once_value(builder, constant(0.0)) for place in tile}
                with _walking(builder, walk, count, a, b) as (left_at, right_at):
                    with cgutils.for_range(builder, lines) as line:
                        run = builder.shl(line.index, ir.Constant(_INT, 6))
                        for part in range(PARTS):
                            offset = builder.add(run, ir.Constant(_INT, part * BYTES))
                            right = [
                                builder.load(
                                    pointer(builder, builder.add(builder.add(right_at, offset), step)), align=4
                                )
                                for step in right_steps
                            ]
                            for row, step in enumerate(left_steps):
                                at = builder.add(builder.add(left_at, offset), step)
                                left = builder.load(pointer(builder, at), align=4)
                                for column, value in enumerate(right):
                                    each = sums[row, column]
                                    builder.store(fma(builder, left, value, builder.load(each)), each)
                for row, column in tile:
                    inside = builder.and_(
                        builder.icmp_signed(">", rows, ir.Constant(_INT, row)),
                        builder.icmp_signed(">", columns, ir.Constant(_INT, column)),
                    )
                    with builder.if_then(inside, likely=True):
                        at = pointer(builder, _place(builder, c, (c_row, row), (c_column, column)))
                        before = builder.load(at, align=4)
                        builder.store(builder.fadd(before, builder.load(sums[row, column])), at, align=4)
                builder.branch(end)
        return context.get_dummy_value()

    return types.void(*[i8] * 13), lower


def _within(builder, step, count, most):
    """count steps, and the last of them again up to `most`: what would lie outside is not read."""
    last = builder.sub(count, ir.Constant(_INT, 1))
    steps = []
    for i in range(most):
        number = ir.Constant(_INT, i)
        number = builder.select(builder.icmp_signed("<", number, last), number, last)
        steps.append(builder.mul(step, number))
    return steps


@inlined
def correlate(c, c_row, c_column, a, a_row, b, b_column, walk, count, lines, rows, columns):
    """c[row, column] += sum over the walk, and over `lines` lines at each of its places, of a[row] * b[column].

    c holds vectors, whose lanes are still to be added up. Addresses and steps in bytes.
    """
    case = 1 if rows > DOT_HEIGHTS[1] else 2
    _correlation(c, c_row, c_column, a, a_row, b, b_column, walk, count, lines, rows, columns, case)


@contextmanager
def _walking(builder, walk, count, a, b):
    """The body of a loop over a table walk[count] of two int32, in bytes: yields a + walk[i, 0] and b + walk[i, 1]."""
    with cgutils.for_range(builder, count) as loop:
        entry = builder.add(walk, builder.shl(loop.index, ir.Constant(_INT, 3)))
        yield [
            builder.add(base, builder.sext(builder.load(pointer(builder, at, _INT32)), _INT))
            for base, at in ((a, entry), (b, builder.add(entry, ir.Constant(_INT, 4))))
        ]


def _place(builder, base, *steps, offset=0):
    """base + step * count for each of `steps` + offset"""
    if steps and isinstance(steps[-1], int):
        *steps, offset = steps
    for step, count in steps:
        base = builder.add(base, builder.mul(step, ir.Constant(_INT, count)))
    return builder.add(base, ir.Constant(_INT, offset))


@intrinsic
def _dot(typing, c, c_row, c_column, a, a_row, a_steps, b, b_column, b_steps, counts, case):
    i8, three = types.int64, types.UniTuple(types.int64, 3)

    def lower(context, builder, signature, args):
        c, c_row, c_column, a, a_row, a_steps, b, b_column, b_steps, counts, case = args
        c_row, c_column, a_row, b_column = (_bytes(builder, step) for step in (c_row, c_column, a_row, b_column))
        a_steps, b_steps = _unpack(builder, a_steps), _unpack(builder, b_steps)
        counts = cgutils.unpack_tuple(builder, counts, 3)
        with _cases(builder, case, TARGET.dot_rows * TARGET.dot_columns) as (blocks, end):
            for i, block in blocks:
                builder.position_at_end(block)
                columns, rows = divmod(i - 1, TARGET.dot_rows)
                sums = [
                    [cgutils.alloca_once_value(builder, constant(0.0)) for _ in range(columns + 1)]
                    for _ in range(rows + 1)
                ]
                with _loops(builder, counts, (a, a_steps), (b, b_steps)) as (a_at, b_at):
                    for part in range(PARTS):
                        right = [
                            builder.load(pointer(builder, _at(builder, b_at, b_column, column, part * BYTES)), align=4)
                            for column in range(columns + 1)
                        ]
                        for row, vectors in enumerate(sums):
                            left = builder.load(pointer(builder, _at(builder, a_at, a_row, row, part * BYTES)), align=4)
                            for each, factor in zip(vectors, right, strict=True):
                                builder.store(fma(builder, left, factor, builder.load(each)), each)
                for row, vectors in enumerate(sums):
                    for column, each in enumerate(vectors):
                        at = pointer(builder, _at(builder, _at(builder, c, c_row, row), c_column, column))
                        before = builder.load(at, align=4)
                        builder.store(builder.fadd(before, builder.load(each)), at, align=4)
                builder.branch(end)
        return context.get_dummy_value()

    return types.void(i8, i8, i8, i8, i8, three, i8, i8, three, three, i8), lower


@inlined
def dot(c, c_row, c_column, a, a_row, a_steps, b, b_column, b_steps, counts, rows, columns):
    """c[row, column] += sum over the loops of a[row] * b[column]; c holds vectors, whose lanes are still to be added up.

    Addresses in bytes, steps in elements; rows in 1 .. TARGET.dot_rows, columns in 1 .. TARGET.dot_columns.
    """
    _dot(c, c_row, c_column, a, a_row, a_steps, b, b_column, b_steps, counts, rows + (columns - 1) * TARGET.dot_rows)
