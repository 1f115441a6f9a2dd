"""What CUDA's words compute on the simulator: shuffles, votes, atomics, the arithmetic of bits."""

import numpy as np
import pytest
from sim_kernels import drawn, each_check, each_order, kernel, run


@each_order
@pytest.mark.parametrize("width", [32, 16, 4])
@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("__shfl_sync(m, x[t], 3, W)", lambda lane, w: lane // w * w + 3),
        ("__shfl_up_sync(m, x[t], 2, W)", lambda lane, w: np.where(lane % w < 2, lane, lane - 2)),
        ("__shfl_down_sync(m, x[t], 3, W)", lambda lane, w: np.where(lane % w + 3 >= w, lane, lane + 3)),
        ("__shfl_xor_sync(m, x[t], 2, W)", lambda lane, w: lane ^ 2),
    ],
)
def test_shuffles(call, source, width, order):
    x, y = drawn(64), np.empty(64, np.float32)
    text = kernel(f"const unsigned m = 0xFFFFFFFFu; y[t] = {call};", "const float* x, float* y")
    run(text, "k", (x, y), 64, order=order, options=(f"-DW={width}",))
    np.testing.assert_array_equal(y.reshape(2, 32), x.reshape(2, 32)[:, source(np.arange(32), width)])


def test_a_shuffle_from_a_lane_that_takes_no_part_is_not_a_number():
    y = np.zeros(32, np.float32)
    run(kernel("if (t < 8) y[t] = __shfl_down_sync(0xFFu, 1.0f, 4);"), "k", (y,))
    assert (y[:4] == 1).all()
    assert np.isnan(y[4:8]).all()


@each_order
def test_votes_and_counting_barriers(order):
    text = kernel(
        """
        int p = x[t] > 0;
        y[t] = __ballot_sync(0xFFFFFFFFu, p);
        y[96 + t] = __any_sync(0xFFFFFFFFu, p) | __all_sync(0xFFFFFFFFu, p) << 1;
        y[192 + t] = __syncthreads_count(p);
        y[288 + t] = __syncthreads_and(p) | __syncthreads_or(p) << 1;
        """,
        "const float* x, unsigned* y",
    )
    x, y = drawn(96), np.empty((4, 96), np.uint32)
    x[:32], x[32:64] = np.abs(x[:32]), -np.abs(x[32:64])
    run(text, "k", (x, y), 96, order=order)
    warps = (x > 0).reshape(3, 32)
    ballots = (warps * 2.0 ** np.arange(32)).sum(1).astype(np.uint32)
    np.testing.assert_array_equal(y[0].reshape(3, 32), np.repeat(ballots[:, None], 32, 1))
    np.testing.assert_array_equal(y[1], np.repeat([3, 0, 1], 32))
    assert (y[2] == (x > 0).sum()).all()
    assert (y[3] == 2).all()


@each_check
def test_the_lanes_of_a_warp_that_is_not_full_and_lanes_that_have_left(check):
    text = kernel(
        "if (t % 32 >= 20) return; float sum = 1.0f;"
        "for (int d = 16; d; d /= 2) { float other = __shfl_down_sync(0xFFFFFFFFu, sum, d);"
        "if (t % 32 + d < min(20, 40 - t / 32 * 32)) sum += other; } y[t] = sum;"
    )
    y = np.zeros(40, np.float32)
    run(text, "k", (y,), 40, check=check)
    assert (y[0], y[32]) == (20, 8)


@each_order
def test_atomics(order):
    text = kernel(
        """
        int v = x[t];
        atomicAdd(&y[0], v); atomicSub(&y[1], v); atomicMin(&y[2], v); atomicMax(&y[3], v);
        atomicOr(&y[4], 1 << t % 31); atomicAnd(&y[5], ~(1 << t % 7)); atomicXor(&y[6], v);
        if (t == 5) y[7] = atomicExch(&y[8], 42);
        if (t == 6) y[9] = atomicCAS(&y[10], 0, 7) + 10 * atomicCAS(&y[10], 0, 8);
        atomicInc(&u[0], 4u); atomicDec(&u[1], 4u); atomicAdd(f, 0.5f);
        """,
        "const int* x, int* y, unsigned* u, float* f",
    )
    x = np.random.default_rng(0).integers(-99, 99, 64, dtype=np.int32)
    y, u, f = np.zeros(11, np.int32), np.zeros(2, np.uint32), np.zeros(1, np.float32)
    y[5] = -1
    run(text, "k", (x, y, u, f), 32, 2, order=order)
    expected = [x.sum(), -x.sum(), x.min(), x.max(), 2**31 - 1, ~127, np.bitwise_xor.reduce(x), 0, 42, 70, 7]
    np.testing.assert_array_equal(y, np.array(expected, np.int64).astype(np.int32))
    assert (u[0], u[1], f[0]) == (64 % 5, 1, 32)


def test_words_of_arithmetic():
    text = kernel(
        """
        unsigned a = u[0], b = u[1];
        y[0] = __popc(a); y[1] = __clz(int(a)); y[2] = __ffs(int(a)); y[3] = __brev(a); y[4] = __umulhi(a, b);
        y[5] = __byte_perm(a, b, 0x7410u); y[6] = __funnelshift_l(a, b, 8); y[7] = __funnelshift_r(a, b, 8);
        y[8] = __float_as_uint(-1.5f); y[9] = __float2int_rn(2.5f); y[10] = min(a, b); y[11] = max(-3, 2);
        y[12] = __float_as_uint(__uint_as_float(a)); y[13] = __clz(0); y[14] = __ldg(u);
        y[15] = __float2int_rn(__saturatef(3.0f) + rsqrtf(0.25f) + fmaf(2.0f, 3.0f, 4.0f) + __expf(0.0f));
        """,
        "const unsigned* u, unsigned* y",
    )
    a, b = 0x12345678, 0x9ABCDEF0
    y = np.zeros(16, np.uint32)
    run(text, "k", (np.array([a, b], np.uint32), y), 1)
    reverse = int(f"{a:032b}"[::-1], 2)
    wide = b << 32 | a
    assert y.tolist() == [
        13, 3, 4, reverse, a * b >> 32, 0x9AF05678, (wide << 8 >> 32) & 0xFFFFFFFF, wide >> 8 & 0xFFFFFFFF,
        0xBFC00000, 2, min(a, b), 2, a, 32, a, 14,
    ]  # fmt: skip


def test_functions_of_floats():
    functions = {
        "expf(x)": np.exp, "exp(x)": np.exp, "__expf(x)": np.exp, "logf(x)": np.log, "__logf(x)": np.log,
        "sqrtf(x)": np.sqrt, "rsqrtf(x)": lambda x: 1 / np.sqrt(x), "tanhf(x)": np.tanh, "fabsf(-x)": np.abs,
        "powf(x, 1.5f)": lambda x: x**1.5, "fmaxf(x, 1.0f)": lambda x: np.maximum(x, 1), "exp10f(x)": lambda x: 10**x,
        "min(x, 0.5f)": lambda x: np.minimum(x, 0.5), "fmaxf(nanf, x)": lambda x: x, "log1pf(x)": np.log1p,
        "floorf(x)": np.floor, "__fdividef(1.0f, x)": lambda x: 1 / x, "fmaf(x, x, 1.0f)": lambda x: x * x + 1,
    }  # fmt: skip
    statements = "".join(f"y[{i} * 32 + t] = {function};" for i, function in enumerate(functions))
    text = kernel(f"float x = in[t], nanf = __int_as_float(0x7FC00000); {statements}", "const float* in, float* y")
    x, y = np.abs(drawn(32)) + np.float32(0.1), np.full((len(functions), 32), np.nan, np.float32)
    run(text, "k", (x, y))
    for (name, function), row in zip(functions.items(), y, strict=True):
        np.testing.assert_allclose(row, function(x.astype(np.float64)), rtol=1e-6, err_msg=name)
