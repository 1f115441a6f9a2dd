"""The twins of tensor core instructions and of asynchronous copies."""

import numpy as np
import pytest
from rounding import EDGES, to_bf16, to_tf32
from sim_kernels import drawn, each_order, fault_of, kernel, run

FRAGMENTS = """
extern "C" __global__ void tf32(const float* a, const float* b, const float* c, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned fa[4], fb[2];
    float fc[4], fd[4];
    for (int i = 0; i < 4; ++i) fa[i] = gpusim::cvt_rna_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; ++i) fb[i] = gpusim::cvt_rna_tf32(b[(t + i * 4) * 8 + g]);
    for (int i = 0; i < 4; ++i) fc[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    gpusim::mma_m16n8k8_tf32(fd, fa, fb, fc);
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}
extern "C" __global__ void bf16(const unsigned* a, const unsigned short* b, const float* c, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;  // a register of A is two neighbours of a row
    unsigned fa[4], fb[2];
    float fc[4], fd[4];
    for (int i = 0; i < 4; ++i) fa[i] = a[(g + i % 2 * 8) * 8 + t + i / 2 * 4];
    for (int i = 0; i < 2; ++i) fb[i] = b[(2 * t + i * 8) * 8 + g] | b[(2 * t + i * 8 + 1) * 8 + g] << 16;
    for (int i = 0; i < 4; ++i) fc[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    gpusim::mma_m16n8k16_bf16(fd, fa, fb, fc);
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}
"""


@each_order
def test_mma_tf32(order):
    a, b, c, d = drawn(16, 8), drawn(8, 8, seed=1), drawn(16, 8, seed=2), np.full((16, 8), np.nan, np.float32)
    run(FRAGMENTS, "tf32", (a, b, c, d), order=order)
    np.testing.assert_allclose(d, to_tf32(a) @ to_tf32(b) + c, rtol=1e-6, atol=1e-6)
    assert np.abs(d - (a @ b + c)).max() > 1e-5


@each_order
def test_mma_bf16(order):
    bits = np.random.default_rng(0).integers(0x3E00, 0x4100, (2, 16, 16), dtype=np.uint16)
    a, b = bits[0], np.ascontiguousarray(bits[1][:, :8])
    b[::3] |= 0x8000  # negative
    c, d = drawn(16, 8), np.full((16, 8), np.nan, np.float32)
    run(FRAGMENTS, "bf16", (a.view(np.uint32), b, c, d), order=order)
    wide_a, wide_b = ((x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for x in (a, b))
    np.testing.assert_allclose(d, wide_a @ wide_b + c, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    "rounding, call",
    [
        (to_tf32, "cvt_rna_tf32(x[t])"),
        (to_bf16, "cvt_rn_bf16x2(x[t], 3.0f) & 0xFFFF0000u"),
        (to_bf16, "cvt_rn_bf16x2(3.0f, x[t]) << 16"),
    ],
)
def test_rounding_by_bits_is_rounding_by_arithmetic(rounding, call):
    y = np.zeros(len(EDGES), np.uint32)
    text = kernel(f"if (t < n) y[t] = gpusim::{call};", "const float* x, unsigned* y, int n")
    run(text, "k", (EDGES, y, np.int32(len(y))), 256, -(-len(y) // 256))
    np.testing.assert_array_equal(y.view(np.float32), rounding(EDGES))


def test_mma_needs_the_whole_warp():
    text = kernel("unsigned a[4] = {}, b[2] = {}; float c[4] = {}; gpusim::mma_m16n8k8_tf32(c, a, b, c); y[t] = c[0];")
    assert fault_of(text, "k", (np.zeros(20, np.float32),), 20).kind == "bad-mask"


LOADED = kernel(
    "__shared__ __align__(16) unsigned s[140]; for (int i = t; i < 140; i += 32) s[i] = i; __syncthreads();"
    "unsigned words[4]; gpusim::ldmatrix_x4(words, s + (31 - t) * 4 + off);"
    "for (int m = 0; m < 4; ++m) y[m * 32 + t] = words[m];",
    "unsigned* y, int off",
)


@each_order
def test_ldmatrix_hands_out_the_words_of_four_times_eight_rows(order):
    y = np.zeros((4, 8, 4), np.uint32)
    run(LOADED, "k", (y, np.int32(0)), order=order)
    rows = 31 - np.arange(32).reshape(4, 8, 1)  # lane 8m + r has the address of row r of matrix m
    assert np.array_equal(y, rows * 4 + np.arange(4))


def test_ldmatrix_needs_16_bytes_and_the_whole_warp():
    y = np.zeros(128, np.uint32)
    assert fault_of(LOADED, "k", (y, np.int32(1))).kind == "misaligned"
    assert fault_of(LOADED, "k", (y, np.int32(0)), 20).kind == "bad-mask"


PIPELINE = """#line 1 "pipeline.cu"
extern "C" __global__ void pipeline(const float* x, float* y, int slices) {  // slices of 4 * 32 floats
    __shared__ __align__(16) float s[2][128];
    const int t = threadIdx.x;
    gpusim::cp_async<16>(&s[0][4 * t], x + 4 * t);  // first
    gpusim::cp_async_commit_group();
    float sum = 0.0f;
    for (int i = 0; i < slices; ++i) {
        if (i + 1 < slices) gpusim::cp_async<16>(&s[(i + 1) % 2][4 * t], x + (i + 1) * 128 + 4 * t);  // next
        gpusim::cp_async_commit_group();
        WAIT;
        __syncthreads();
        for (int k = 0; k < 128; ++k) sum += s[i % 2][k];  // use
        LAST_BARRIER;
    }
    y[t] = sum;
}
"""
RIGHT = {"WAIT": "gpusim::cp_async_wait_group<1>()", "LAST_BARRIER": "__syncthreads()"}


def pipeline(check, order="forward", **changes):
    x, y = np.arange(512, dtype=np.float32), np.zeros(32, np.float32)
    options = [f"-D{name}={text}" for name, text in (RIGHT | changes).items()]
    run(PIPELINE, "pipeline", (x, y, np.int32(4)), check=check, order=order, options=options)
    return y / x.sum()


@each_order
def test_a_pipeline_of_copies(order):
    assert (pipeline(True, order) == 1).all()
    assert (pipeline(True, order, WAIT="gpusim::cp_async_wait_all()") == 1).all()


@each_order
@pytest.mark.parametrize("wait", ["", "gpusim::cp_async_wait_group<2>()"], ids=["missing", "weak"])
def test_a_wait_that_is_missing_or_weak(wait, order):
    assert np.isnan(pipeline(False, order, WAIT=wait)).all()
    args = (np.zeros(512, np.float32), np.zeros(32, np.float32), np.int32(4))
    options = [f"-DWAIT={wait}", "-DLAST_BARRIER=__syncthreads()"]
    fault = fault_of(PIPELINE, "pipeline", args, order=order, options=options)
    assert (fault.kind, fault.lines) == ("uninitialised", ("pipeline.cu:12",))


def test_a_copy_into_what_others_still_read():
    args = (np.zeros(512, np.float32), np.zeros(32, np.float32), np.int32(4))
    fault = fault_of(PIPELINE, "pipeline", args, options=[f"-DWAIT={RIGHT['WAIT']}", "-DLAST_BARRIER="])
    assert fault.kind == "race"
    assert set(fault.lines) == {"pipeline.cu:8", "pipeline.cu:12"}


def test_a_copy_that_is_short_is_filled_with_zeros_and_must_be_aligned():
    text = kernel(
        "__shared__ __align__(16) float s[8]; gpusim::cp_async<16>(s + to, x + from, used);"
        "gpusim::cp_async_wait_all(); for (int i = 0; i < 4; ++i) y[i] = s[to + i];",
        "const float* x, float* y, int to, int from, int used",
    )

    def copied(to, from_, used):
        base = np.zeros(16, np.float32)
        start = -base.ctypes.data % 16 // 4
        x, y = base[start : start + 8], np.full(4, np.nan, np.float32)
        x[:] = range(1, 9)
        run(text, "k", (x, y, np.int32(to), np.int32(from_), np.int32(used)), 1)
        return y.tolist()

    assert copied(0, 4, 16) == [5, 6, 7, 8]
    assert copied(4, 0, 4) == [1, 0, 0, 0]
    assert copied(0, 1000, 0) == [0, 0, 0, 0]
    with pytest.raises(Exception, match="misaligned"):
        copied(1, 0, 16)
    with pytest.raises(Exception, match="misaligned"):
        copied(0, 1, 16)
    with pytest.raises(Exception, match="out-of-bounds"):
        copied(0, 8, 16)
