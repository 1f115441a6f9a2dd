"""Vectors as values in Numba's Python: `store(y, load(x) * splat(0.5) + load(z))`.

A Vector is LLVM's <lanes x float>. Addresses are integers in bytes, as `address` gives them; a line is 16
float32, or 16 bytes of codes. Numba vectorises loops, too, where it can prove that arrays do not overlap and that the
order of sums does not matter; here it need not prove anything.

There is no vector of integers: codes of pooling are computed as floats, exactly, and stored as bytes.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model
from numba.np.arrayobj import make_array

from ..maxpool2d_xp import DEAD
from .compiled import inlined
from .layout import LINE
from .target import TARGET

LANES = TARGET.lanes
BYTES = 4 * LANES
PARTS = LINE // LANES  # vectors in a line

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)


class Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


vector = Vector()


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, VECTOR)


def constant(value, kind=VECTOR):
    """The vector of `value` in every lane, known when compiled."""
    return ir.Constant(kind, [value] * kind.count)


def splat_value(builder, value, kind=VECTOR):
    """The vector of `value` in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None))


def pointer(builder, address, kind=VECTOR):
    return builder.inttoptr(address, kind.as_pointer())


def fma(builder, a, b, c):
    """a * b + c, in one instruction where the CPU has it."""
    name = f"llvm.fmuladd.v{a.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


def _operator(symbol, build):
    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            if args == (vector, vector):
                return signature(vector, vector, vector)
            return None

    @lower_builtin(symbol, vector, vector)
    def lower(context, builder, signature, args):
        return build(builder)(*args, flags=("contract", "nsz"))


_operator(operator.add, lambda builder: builder.fadd)
_operator(operator.sub, lambda builder: builder.fsub)
_operator(operator.mul, lambda builder: builder.fmul)


@intrinsic
def load(typing, address):
    """The vector at an address."""

    def lower(context, builder, signature, args):
        return builder.load(pointer(builder, args[0]), align=4)

    return vector(types.int64), lower


@intrinsic
def store(typing, address, value):
    def lower(context, builder, signature, args):
        builder.store(args[1], pointer(builder, args[0]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vector), lower


def _ask_for_line(write):
    """An intrinsic that asks for the cache line at an address; what lies outside of everything is not fetched."""

    @intrinsic
    def ask(typing, address):
        def lower(context, builder, signature, args):
            place, number = pointer(builder, args[0], ir.IntType(8)), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
            builder.call(function, [place, *(ir.Constant(number, each) for each in (write, 3, 1))])
            return context.get_dummy_value()

        return types.void(types.int64), lower

    return ask


_line_to_read, _line_to_write = _ask_for_line(0), _ask_for_line(1)


@inlined
def prefetch(at, rows, row_step, columns, step):
    """Ask for the cache lines of a rectangle, to be read soon. Vectors far apart are more than a CPU foresees."""
    for i in range(rows):
        for j in range(columns):
            _line_to_read(at + i * row_step + j * step)


@inlined
def prefetch_to_write(at, rows, row_step, columns, step):
    """Ask for the cache lines of a rectangle, to be written soon."""
    for i in range(rows):
        for j in range(columns):
            _line_to_write(at + i * row_step + j * step)


_CODES = ir.VectorType(ir.IntType(8), LANES)


@intrinsic
def load_codes(typing, address):
    """The bytes at an address, as floats."""

    def lower(context, builder, signature, args):
        codes = builder.load(pointer(builder, args[0], _CODES), align=1)
        return builder.uitofp(codes, VECTOR)

    return vector(types.int64), lower


@intrinsic
def store_codes(typing, address, value):
    """Store floats between 0 and 255 as bytes."""

    def lower(context, builder, signature, args):
        words = builder.fptosi(args[1], ir.VectorType(ir.IntType(32), LANES))
        builder.store(builder.trunc(words, _CODES), pointer(builder, args[0], _CODES), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, vector), lower


@intrinsic
def splat(typing, value):
    """A number in every lane."""

    def lower(context, builder, signature, args):
        return splat_value(builder, args[0])

    return vector(types.float32), lower


@intrinsic
def lane_sum(typing, value):
    """The sum of all lanes, halves first."""

    def lower(context, builder, signature, args):
        (total,), count = args, LANES
        while count > 1:
            count //= 2
            other = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [i % count + count for i in range(LANES)])
            total = builder.fadd(total, builder.shuffle_vector(total, total, other))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), lower


def _select(name, ordered, symbol, doc):
    """An intrinsic (a, b, x, y) -> x in the lanes where a `symbol` b, y elsewhere."""

    @intrinsic
    def select(typing, a, b, x, y):
        def lower(context, builder, signature, args):
            compare = builder.fcmp_ordered if ordered else builder.fcmp_unordered
            return builder.select(compare(symbol, args[0], args[1]), args[2], args[3])

        return vector(vector, vector, vector, vector), lower

    select.__name__, select.__doc__ = name, doc
    return select


where_equal = _select("where_equal", True, "==", "x where a == b, else y.")
where_greater = _select("where_greater", True, ">", "x where a > b, else y.")
where_not_less_or_equal = _select("where_not_less_or_equal", False, ">", "x where a > b or one is NaN, else y.")


@intrinsic
def address(typing, array, indices):
    """The address of array[indices]; missing indices are 0, and what lies outside has an address, too.

    It does not keep the array alive: Numba frees an array behind its last use. Take it where it is used.
    """
    if not isinstance(indices, types.BaseTuple):
        return None

    def lower(context, builder, signature, args):
        view = make_array(signature.args[0])(context, builder, args[0])
        at = builder.ptrtoint(view.data, ir.IntType(64))
        steps = cgutils.unpack_tuple(builder, view.strides)
        for index, step in zip(cgutils.unpack_tuple(builder, args[1]), steps, strict=False):
            at = builder.add(at, builder.mul(index, step))
        return at

    return types.int64(array, types.UniTuple(types.int64, len(indices))), lower


@inlined
def aligned(shape):
    """An array of undefined float32 whose memory starts a line."""
    size = 1
    for length in shape:
        size *= length
    memory = np.empty(size + LINE, np.float32)
    start = -address(memory, (0,)) % (4 * LINE) // 4
    return memory[start : start + size].reshape(shape)


@inlined
def where_larger(a, b, x, y):
    """x where a replaces b as the maximum, else y: a NaN replaces any number, and nothing replaces a NaN."""
    return where_equal(b, b, where_not_less_or_equal(a, b, x, y), y)


@inlined
def _wins(value, best, place, total, number):
    """(best, place, total) with one more value of a window: its ReLU, if it is larger, its number, and the sum."""
    value = where_greater(splat(np.float32(0)), value, splat(np.float32(0)), value)
    place = where_greater(value, best, splat(np.float32(number)), place)
    return where_greater(value, best, value, best), place, total + value


@inlined
def _store_maximum(best, place, total, y, code):
    """Numbers are at least 0 behind the ReLU, so their sum is NaN where one of them is, and nowhere else."""
    zero = splat(np.float32(0))
    best = where_equal(total, total, best, total)
    store(y, best)
    store_codes(code, where_equal(best, zero, splat(np.float32(DEAD)), place))


@inlined
def relu_maxpool4(v0, v1, v2, v3, y, code):
    """The maximum of a window of 2x2, or 0, and the code of its place: see conv2d_relu_maxpool_xp.py. Addresses."""
    zero = splat(np.float32(0))
    best, place, total = _wins(v0, zero, zero, zero, 0)
    best, place, total = _wins(v1, best, place, total, 1)
    best, place, total = _wins(v2, best, place, total, 2)
    best, place, total = _wins(v3, best, place, total, 3)
    _store_maximum(best, place, total, y, code)


@inlined
def relu_maxpool(window, row_step, column_step, rows, columns, y, code):
    """The same of a window of lines in memory, of any size."""
    zero = splat(np.float32(0))
    for part in range(PARTS):
        at = window + part * BYTES
        if rows == 2 and columns == 2:
            v0, v1, v2, v3 = load(at), load(at + column_step), load(at + row_step), load(at + row_step + column_step)
            relu_maxpool4(v0, v1, v2, v3, y, code)
        else:
            best, place, total = zero, zero, zero
            for i in range(rows):
                for j in range(columns):
                    value = load(at + i * row_step + j * column_step)
                    best, place, total = _wins(value, best, place, total, i * columns + j)
            _store_maximum(best, place, total, y, code)
        y, code = y + BYTES, code + LANES
