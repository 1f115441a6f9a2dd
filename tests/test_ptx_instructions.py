"""Single instructions of PTX against NumPy and Python's integers, at the values where widths and signs show."""

import math

import numpy as np
import pytest
from gpucnn_kernels.sim import PtxError
from ptx_lines import TYPES, apply, apply_each
from rounding import EDGES, to_bf16, to_tf32

rng = np.random.default_rng(5)
INTEGERS = [np.dtype(d) for d in ("i2", "u2", "i4", "u4", "i8", "u8")]
ODD_FLOATS = [0.0, -0.0, 1.0, -1.5, 0.5, 2.5, 3.5, -2.5, 1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan, 1e9, -1e10]


def integers(dtype, count=3):
    """`count` arrays of every pair of the ends, small numbers and random ones."""
    info = np.iinfo(dtype)
    ends = [info.min, info.max, 0, 1, 2, 7, info.max // 2, info.min + 1, *([-1, -2, -7] if info.min else [])]
    first, second = np.meshgrid(np.array(ends, dtype), np.array(ends, dtype))
    more = rng.integers(info.min, info.max, (count, 60), dtype, endpoint=True)
    arrays = [first.ravel(), second.ravel(), rng.permutation(first.ravel())]
    return [np.concatenate([a, m]) for a, m in zip(arrays[:count], more, strict=True)]


def wrapped(values, dtype):
    """Python's integers, as the dtype holds them."""
    bits = 8 * np.dtype(dtype).itemsize
    return np.array([v & (1 << bits) - 1 for v in values], f"u{bits // 8}").view(dtype)


def floats(dtype="f4"):
    a, b = np.meshgrid(np.array(ODD_FLOATS, dtype), np.array(ODD_FLOATS, dtype))
    return a.ravel(), b.ravel()


def truncated_division(a, b):
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_arithmetic_wraps(dtype):
    a, b = integers(dtype, 2)
    functions = {"add": int.__add__, "sub": int.__sub__, "mul.lo": int.__mul__, "min": min, "max": max}
    results = apply_each([f"{name}.{TYPES[dtype]} %d, %a, %b;" for name in functions], dtype, a, b)
    for (name, function), actual in zip(functions.items(), results, strict=True):
        expected = wrapped([function(int(x), int(y)) for x, y in zip(a, b, strict=True)], dtype)
        np.testing.assert_array_equal(actual, expected, name)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_division_and_remainder_truncate(dtype):
    a, b = integers(dtype, 2)
    a, b = a[b != 0], b[b != 0]
    pairs = [(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    quotients = [truncated_division(x, y) for x, y in pairs]
    remainders = [x - y * q for (x, y), q in zip(pairs, quotients, strict=True)]
    t = TYPES[dtype]
    div, rem = apply_each([f"div.{t} %d, %a, %b;", f"rem.{t} %d, %a, %b;"], dtype, a, b)
    np.testing.assert_array_equal(div, wrapped(quotients, dtype))
    np.testing.assert_array_equal(rem, wrapped(remainders, dtype))


def test_division_by_zero_does_not_stop_the_process():
    a, zero = np.array([5, -5, 0], "i4"), np.zeros(3, "i4")
    np.testing.assert_array_equal(apply("div.s32 %d, %a, %b;", "i4", a, zero), [-1, -1, -1])


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_high_and_wide_products(dtype):
    a, b, c = integers(dtype)
    t, bits = TYPES[dtype], 8 * dtype.itemsize
    products = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    high, low = apply_each([f"mul.hi.{t} %d, %a, %b;", f"mad.lo.{t} %d, %a, %b, %c;"], dtype, a, b, c)
    np.testing.assert_array_equal(high, wrapped([p >> bits for p in products], dtype))
    np.testing.assert_array_equal(low, wrapped([p + int(z) for p, z in zip(products, c, strict=True)], dtype))
    if bits < 64:
        wide = np.dtype(f"{dtype.kind}{dtype.itemsize * 2}")
        np.testing.assert_array_equal(apply(f"mul.wide.{t} %d, %a, %b;", wide, a, b), wrapped(products, wide))
        w = c.astype(wide)
        sums = wrapped([p + int(z) for p, z in zip(products, w, strict=True)], wide)
        np.testing.assert_array_equal(apply(f"mad.wide.{t} %d, %a, %b, %c;", wide, a, b, w), sums)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_shifts_end_at_the_width(dtype):
    (a,), bits = integers(dtype, 1), 8 * dtype.itemsize
    n = np.resize(np.array([0, 1, 5, bits - 1, bits, bits + 1, 200, 2**32 - 1], "u4"), len(a))
    pairs = [(int(x), min(int(y), bits)) for x, y in zip(a, n, strict=True)]
    t = TYPES[dtype]
    right = wrapped([x >> y for x, y in pairs], dtype)
    left = wrapped([x << y for x, y in pairs], dtype)
    shr, shl = apply_each([f"shr.{t} %d, %a, %b;", f"shl.b{bits} %d, %a, %b;"], dtype, a, n)
    np.testing.assert_array_equal(shr, right)
    np.testing.assert_array_equal(shl, left)


@pytest.mark.parametrize("dtype", [np.dtype(d) for d in ("i4", "u4", "i8", "u8")], ids=str)
def test_bit_fields(dtype):
    (a, b), bits = integers(dtype, 2), 8 * dtype.itemsize
    fields = [(0, 8), (3, 5), (0, bits), (bits - 4, 8), (5, 0), (bits, 4)]
    extract = [f"bfe.{TYPES[dtype]} %d, %a, {start}, {length};" for start, length in fields]
    insert = [f"bfi.b{bits} %d, %a, %b, {start}, {length};" for start, length in fields]
    extracted, inserted = apply_each(extract, dtype, a), apply_each(insert, dtype, a, b)
    for i, (start, length) in enumerate(fields):
        expected = []
        for x in a:
            x = int(x) & (1 << bits) - 1
            field = x >> start & (1 << length) - 1
            top = x >> min(start + length - 1, bits - 1) & 1
            signed = dtype.kind == "i" and length and top
            expected.append(field | -1 << min(length, max(bits - start, 0)) if signed else field)
        np.testing.assert_array_equal(extracted[i], wrapped(expected, dtype), extract[i])
        mask = ((1 << length) - 1) << start & (1 << bits) - 1
        placed = [int(y) & ~mask | int(x) << start & mask for x, y in zip(a, b, strict=True)]
        np.testing.assert_array_equal(inserted[i], wrapped(placed, dtype), insert[i])


def test_bits():
    a, b, c = integers(np.dtype("u4"))
    cases = [
        ("popc.b32 %d, %a;", lambda x, y, z: x.bit_count()),
        ("clz.b32 %d, %a;", lambda x, y, z: 32 - x.bit_length()),
        ("bfind.u32 %d, %a;", lambda x, y, z: x.bit_length() - 1),
        ("bfind.shiftamt.u32 %d, %a;", lambda x, y, z: 32 - x.bit_length() if x else -1),
        ("brev.b32 %d, %a;", lambda x, y, z: int(f"{x:032b}"[::-1], 2)),
        ("not.b32 %d, %a;", lambda x, y, z: ~x),
        ("cnot.b32 %d, %a;", lambda x, y, z: x == 0),
        ("lop3.b32 %d, %a, %b, %c, 0x96;", lambda x, y, z: x ^ y ^ z),
        ("lop3.b32 %d, %a, %b, %c, 0xE8;", lambda x, y, z: x & y | x & z | y & z),
        ("lop3.b32 %d, %a, %b, %c, 0x20;", lambda x, y, z: x & ~y & z),
        ("prmt.b32 %d, %a, %b, 0x7610;", lambda x, y, z: x & 0xFFFF | y & 0xFFFF0000),
        ("prmt.b32 %d, %a, %b, 0x0145;", lambda x, y, z: y >> 8 & 255 | y % 256 << 8 | (x & 0xFF00) << 8 | x << 24),
        ("prmt.b32 %d, %a, %b, 0x8888;", lambda x, y, z: -(x >> 7 & 1)),
        ("shf.l.wrap.b32 %d, %a, %b, 37;", lambda x, y, z: (y << 32 | x) << 5 >> 32),
        ("shf.l.clamp.b32 %d, %a, %b, 37;", lambda x, y, z: x),
        ("shf.r.wrap.b32 %d, %a, %b, 9;", lambda x, y, z: (y << 32 | x) >> 9),
        ("mov.b32 {%h, %l}, %a; mov.b32 %d, {%l, %h};", lambda x, y, z: x << 16 | x >> 16),
        ("add.cc.u32 %d, %a, %b; addc.u32 %d, 0, 0;", lambda x, y, z: (x + y) >> 32),
        ("sub.cc.u32 %d, %a, %b; subc.u32 %d, %c, 0;", lambda x, y, z: z - (x < y)),
        ("mad.lo.cc.u32 %d, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;", lambda x, y, z: (x * y + z) >> 32),
    ]  # fmt: skip
    for (line, function), actual in zip(cases, apply_each([line for line, _ in cases], "u4", a, b, c), strict=True):
        expected = wrapped([function(int(x), int(y), int(z)) for x, y, z in zip(a, b, c, strict=True)], "u4")
        np.testing.assert_array_equal(actual, expected, line)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_comparisons_with_nan(dtype):
    a, b = floats(dtype)
    unordered = np.isnan(a) | np.isnan(b)
    plain = {"eq": a == b, "ne": (a != b) & ~unordered, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}
    t = TYPES[np.dtype(dtype)]
    truths = plain | {name + "u": truth | unordered for name, truth in plain.items()}
    truths |= {"num": ~unordered, "nan": unordered}
    lines = [f"setp.{name}.{t} %p|%q, %a, %b; selp.s32 %d, 2, 0, %p; @%q add.s32 %d, %d, 1;" for name in truths]
    zero = "0f" + "0" * 8 if dtype == "f4" else "0d" + "0" * 16
    lines += [f"setp.lt.{t} %p, %a, {zero}; setp.gt.or.{t} %p, %b, %a, !%p; selp.s32 %d, 2, 1, %p;"]
    expected = [*truths.values(), (b > a) | ~(a < 0)]
    for line, actual, truth in zip(lines, apply_each(lines, "i4", a, b), expected, strict=True):
        np.testing.assert_array_equal(actual, np.where(truth, 2, 1), line)


def test_unsigned_comparison_of_the_same_bits():
    a, b = integers(np.dtype("i4"), 2)
    for name, t, dtype in [("lt", "s32", "i4"), ("lt", "u32", "u4"), ("lo", "u32", "u4"), ("hs", "u32", "u4")]:
        u, v = a.view(dtype), b.view(dtype)
        expected = u >= v if name == "hs" else u < v
        line = f"setp.{name}.{t} %p, %a, %b; selp.s32 %d, 1, 0, %p;"
        np.testing.assert_array_equal(apply(line, "i4", a, b), expected, line)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_arithmetic(dtype):
    a, b = floats(dtype)
    t = TYPES[np.dtype(dtype)]
    with np.errstate(all="ignore"):
        cases = [
            (f"add.{t} %d, %a, %b;", a + b), (f"sub.rn.{t} %d, %a, %b;", a - b), (f"mul.{t} %d, %a, %b;", a * b),
            (f"div.rn.{t} %d, %a, %b;", a / b), (f"sqrt.rn.{t} %d, %a;", np.sqrt(a)), (f"rcp.rn.{t} %d, %a;", 1 / a),
            (f"abs.{t} %d, %a;", np.abs(a)), (f"neg.{t} %d, %a;", -a), (f"copysign.{t} %d, %a, %b;", np.copysign(b, a)),
            (f"min.{t} %d, %a, %b;", np.where((a == 0) & (b == 0), np.where(np.signbit(a), a, b), np.fmin(a, b))),
            (f"max.{t} %d, %a, %b;", np.where((a == 0) & (b == 0), np.where(np.signbit(a), b, a), np.fmax(a, b))),
        ]  # fmt: skip
        results = apply_each([line for line, _ in cases], dtype, a, b)
        for (line, expected), actual in zip(cases, results, strict=True):
            np.testing.assert_array_equal(actual, expected, line)
            number = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(actual)[number], np.signbit(expected)[number], line)
        np.testing.assert_array_equal(apply("min.NaN.f32 %d, %a, %b;", "f4", *floats()), np.minimum(*floats()))


def test_fused_multiply_add_rounds_once():
    a, b = (rng.standard_normal(500).astype("f4") for _ in range(2))
    c = -(a * b)
    exact = a.astype("f8") * b.astype("f8") + c.astype("f8")  # 48 bits of product and a near cancellation: exact
    assert np.any(exact != 0)
    np.testing.assert_array_equal(apply("fma.rn.f32 %d, %a, %b, %c;", "f4", a, b, c), exact.astype("f4"))


def test_rounding_modes():
    a, b = (rng.standard_normal(500).astype("f4") for _ in range(2))
    for name, exact in [("add", a.astype("f8") + b.astype("f8")), ("mul", a.astype("f8") * b.astype("f8"))]:
        down = exact.astype("f4")
        down = np.where(down.astype("f8") > exact, np.nextafter(down, np.float32(-np.inf)), down)
        up = np.where(down.astype("f8") < exact, np.nextafter(down, np.float32(np.inf)), down)
        expected = [down, up, np.where(exact > 0, down, up)]
        actual = apply_each([f"{name}.{mode}.f32 %d, %a, %b;" for mode in ("rm", "rp", "rz")], "f4", a, b)
        np.testing.assert_array_equal(actual, expected)
        assert np.any(down != up)


def test_flush_to_zero_and_saturation():
    tiny = np.array([1e-40, -1e-40, 1.5e-38, 0.75, -3, 7, np.nan], "f4")
    np.testing.assert_array_equal(
        apply("add.ftz.f32 %d, %a, 0f00000000;", "f4", tiny).view("u4"),
        np.array([0.0, 0.0, 1.5e-38, 0.75, -3, 7, np.nan], "f4").view("u4"),
    )
    np.testing.assert_array_equal(
        apply("mul.sat.f32 %d, %a, 0f3F800000;", "f4", tiny), np.array([1e-40, 0, 1.5e-38, 0.75, 0, 1, 0], "f4")
    )


def test_approximations():
    functions = {"ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "sqrt": np.sqrt}
    functions |= {"rsqrt": lambda x: 1 / np.sqrt(x), "rcp": lambda x: 1 / x}
    a = np.linspace(0.01, 20, 200, dtype="f4")
    results = apply_each([f"{name}.approx.f32 %d, %a;" for name in functions], "f4", a)
    for (name, function), actual in zip(functions.items(), results, strict=True):
        np.testing.assert_allclose(actual, function(a.astype("f8")), rtol=3e-7, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("source", ["f4", "f8"])
def test_float_to_integer_rounds_and_saturates(source):
    a = np.array([*ODD_FLOATS, 2147483520.0, 4294967040.0, -0.75, 300, -129, 1e19, -1e19, 70000.4], source)
    modes = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
    for target in [np.dtype(d) for d in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]:
        info = np.iinfo(target)
        lines = [f"cvt.{mode}.{TYPES[target]}.{TYPES[np.dtype(source)]} %d, %a;" for mode in modes]
        results = apply_each(lines, target, a)
        for line, function, actual in zip(lines, modes.values(), results, strict=True):
            expected = []
            for x in function(a):
                if math.isnan(x):
                    expected.append(0)
                elif math.isinf(x):
                    expected.append(info.max if x > 0 else info.min)
                else:
                    expected.append(min(max(int(x), info.min), info.max))
            np.testing.assert_array_equal(actual, np.array(expected, target), line)


def test_integer_conversions_cut_extend_and_clamp():
    for target in [np.dtype("i1"), np.dtype("u1"), *INTEGERS]:
        info = np.iinfo(target)
        for source in INTEGERS:
            (a,) = integers(source, 1)
            line = f"cvt.{TYPES[target]}.{TYPES[source]} %d, %a;"
            cut, clamped = apply_each([line, line.replace("cvt.", "cvt.sat.")], target, a)
            np.testing.assert_array_equal(cut, wrapped([int(x) for x in a], target), line)
            expected = [min(max(int(x), info.min), info.max) for x in a]
            np.testing.assert_array_equal(clamped, np.array(expected, target), line)


def test_integers_to_floats():
    for source in INTEGERS:
        (a,) = integers(source, 1)
        for target in ("f4", "f8"):
            line = f"cvt.rn.{TYPES[np.dtype(target)]}.{TYPES[source]} %d, %a;"
            np.testing.assert_array_equal(apply(line, target, a), a.astype(target), line)


def test_float_conversions():
    a = np.array([*ODD_FLOATS, 1 + 2**-24, 1 + 2**-30, 1e300], "f8")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(apply("cvt.rn.f32.f64 %d, %a;", "f4", a), a.astype("f4"))
    up = apply("cvt.rp.f32.f64 %d, %a;", "f4", np.array([1 + 2**-30, -1 - 2**-30]))
    np.testing.assert_array_equal(up, np.array([1 + 2**-23, -1], "f4"))
    f = np.array(ODD_FLOATS, "f4")
    np.testing.assert_array_equal(apply("cvt.f64.f32 %d, %a;", "f8", f), f.astype("f8"))
    np.testing.assert_array_equal(apply("cvt.rmi.f32.f32 %d, %a;", "f4", f), np.floor(f))
    np.testing.assert_array_equal(apply("cvt.rni.f32.f32 %d, %a;", "f4", f), np.rint(f))


def test_tf32_and_bf16():
    tf32 = apply("cvt.rna.tf32.f32 %d, %a;", "u4", EDGES)
    np.testing.assert_array_equal(tf32.view("f4"), to_tf32(EDGES))
    both = apply("cvt.rn.bf16x2.f32 %d, %a, 0f40490FDB;", "u4", EDGES)
    assert np.all(both & 0xFFFF == 0x4049)
    np.testing.assert_array_equal((both & 0xFFFF0000).view("f4"), to_bf16(EDGES))


def test_reads_of_narrow_memory_extend_by_sign():
    a = np.array([-3, 5, -128, 127], "i1")
    np.testing.assert_array_equal(apply("cvt.s32.s8 %d, %a;", "i4", a), a)
    b = a.view("u1")
    np.testing.assert_array_equal(apply("cvt.u32.u8 %d, %a;", "u4", b), b)


@pytest.mark.parametrize("line", [
    "dp4a.s32.s32 %d, %a, %a, %a;", "tex.1d.v4.f32.s32 {%d, %d, %d, %d}, [%a, {%a}];", "add.sat.s32 %d, %a, %a;",
    "bar.sync 1;", "bar.sync 0, 64;", "cvt.rn.f16.f32 %d, %a;", "mul.s32 %d, %a, %a;", "add.f16 %d, %a, %a;",
    "wgmma.fence.sync.aligned;", "ld.global.bogus.s32 %d, [%pa];", "mov.u32 %d, %clock;", "bra nowhere;",
    "add.s32 %d, %a, %undeclared;", "cvt.s32.f32 %d, %a;", "setp.almost.s32 %p, %a, %a;",
])  # fmt: skip
def test_what_is_not_translated_is_refused_with_its_line(line):
    with pytest.raises(PtxError, match=r"^PTX line 10: ") as error:
        apply(line, "i4", np.zeros(3, "i4"))
    assert line.rstrip(";") in str(error.value)
    assert isinstance(error.value, NotImplementedError)
