"""Kernels by way of their PTX: the same results as from their source, and what only PTX shows."""

import numpy as np
import pytest
from gpucnn_kernels import offline
from gpucnn_kernels.sim import KernelFault, PtxModule, RawModule

rng = np.random.default_rng(11)


def floats(*shape):
    return rng.standard_normal(shape, "f4")


def both_tiers(text, name, grid, block, args, out, shared_mem=0, exact=True, options=()):
    """The kernel's `out` (an index into args) from the source and from the PTX, which are to agree."""
    results = []
    for module in (RawModule(code=text, options=options), PtxModule(code=offline.cuda_c_to_ptx(text, options))):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        module.get_function(name)(grid, block, copies, shared_mem=shared_mem)
        results.append(copies[out])
    if exact:
        np.testing.assert_array_equal(*results)
    return results[1]


MATMUL = """
extern "C" __global__ void matmul(const float* a, const float* b, float* c, int n, int m, int k) {
    __shared__ float ta[TILE][TILE + 1], tb[TILE][TILE + 1];
    const int ty = threadIdx.y, tx = threadIdx.x, row = blockIdx.y * TILE + ty, col = blockIdx.x * TILE + tx;
    float sum = 0.0f;
    for (int k0 = 0; k0 < k; k0 += TILE) {
        ta[ty][tx] = row < n && k0 + tx < k ? a[row * k + k0 + tx] : 0.0f;
        tb[ty][tx] = k0 + ty < k && col < m ? b[(k0 + ty) * m + col] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += ta[ty][i] * tb[i][tx];
        __syncthreads();
    }
    if (row < n && col < m) c[row * m + col] = sum;
}
"""


@pytest.mark.parametrize("tile", [4, 8])
def test_tiled_matrix_product_with_barriers(tile):
    n, m, k = 19, 13, 21
    a, b = floats(n, k), floats(k, m)
    args = (a, b, np.full((n, m), np.nan, "f4"), np.int32(n), np.int32(m), np.int32(k))
    grid = (-(-m // tile), -(-n // tile))
    c = both_tiers(MATMUL, "matmul", grid, (tile, tile), args, 2, exact=False, options=(f"-DTILE={tile}",))
    np.testing.assert_allclose(c, a.astype("f8") @ b.astype("f8"), atol=1e-5)


SOFTMAX = """
extern "C" __global__ void softmax(const float* x, float* y, int n) {
    extern __shared__ float s[];
    const int t = threadIdx.x, row = blockIdx.x;
    float most = -1e38f;
    for (int i = t; i < n; i += blockDim.x) most = fmaxf(most, x[row * n + i]);
    for (int o = 16; o; o >>= 1) most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, o));
    float sum = 0.0f;
    for (int i = t; i < n; i += blockDim.x) sum += expf(x[row * n + i] - most);
    for (int o = 16; o; o >>= 1) sum += __shfl_down_sync(0xFFFFFFFFu, sum, o);
    if (t == 0) s[0] = sum;
    __syncthreads();
    for (int i = t; i < n; i += blockDim.x) y[row * n + i] = expf(x[row * n + i] - most) / s[0];
}
"""


def test_softmax_with_shuffles_and_dynamic_shared_memory():
    x = 30 * floats(5, 77)
    y = both_tiers(SOFTMAX, "softmax", (5,), (32,), (x, np.empty_like(x), np.int32(77)), 1, shared_mem=4, exact=False)
    e = np.exp(x.astype("f8") - x.max(1, keepdims=True))
    rounding = np.finfo("f4").eps * (np.ptp(x, 1).max() + 8)  # of x - most, which exp makes a relative error
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=rounding, atol=1e-38)


MIXED = """
__device__ __noinline__ long long mixed(long long a, int b) { return a * b + (a >> 3); }
__device__ __noinline__ void swap(double* p, double* q) { const double r = *p; *p = *q; *q = r; }
__constant__ short table[5] = {3, -4, 5, -6, 7};
extern "C" __global__ void integers(const int* a, const unsigned* b, long long* y, int n) {
    int counts[8];
    for (int i = 0; i < 8; i++) counts[i] = i - 3;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        counts[(a[i] ^ b[i]) & 7] += a[i] % 13;
        long long r = 0;
        switch (b[i] % 6u) {
            case 0: r = a[i] / 7; break;
            case 1: r = -a[i]; break;
            case 2: r = (long long)a[i] * a[i]; break;
            case 3: r = b[i] >> 5; break;
            case 4: r = mixed(a[i], table[b[i] % 5]); break;
            default: r = (signed char)a[i] + (unsigned short)a[i];
        }
        y[i] = r % 1000003 + counts[b[i] & 7] + __popc(b[i]) + __clz(a[i]) + (a[i] < 0 ? -1 : __ffs(a[i]));
    }
}
extern "C" __global__ void doubles(const double* x, double* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double a = x[i], b = sqrt(fabs(x[i])) / 3.0;
    if (i % 3) swap(&a, &b);
    y[i] = a - floor(b) + (float)a * (int)b;
}
extern "C" __global__ void counting(const int* x, int* bins, unsigned* best, float* sum, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        atomicAdd(&bins[x[i] & 15], 1);
        atomicMax(best, (unsigned)x[i]);
        atomicAdd(sum, 0.25f);
        atomicCAS(&bins[16], 0, i + 1);
    }
}
extern "C" __global__ void vectors(const float4* x, float4* y, float2* z) {
    const float4 v = x[threadIdx.x];
    y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
    z[threadIdx.x] = make_float2(v.x + v.y, v.z);
}
"""


def test_integers_of_all_widths_switch_local_arrays_and_calls():
    a = rng.integers(-(2**31), 2**31, 300, "i4")
    b = rng.integers(0, 2**32, 300, "u4")
    y = both_tiers(MIXED, "integers", (1,), (32,), (a, b, np.zeros(300, "i8"), np.int32(300)), 2)
    assert np.unique(y).size > 250


def test_doubles_and_pointers_to_local_variables():
    x = 100 * rng.standard_normal(70)
    y = both_tiers(MIXED, "doubles", (3,), (32,), (x, np.zeros(70), np.int32(70)), 1)
    a, b = x, np.sqrt(np.abs(x)) / 3
    a, b = np.where(np.arange(70) % 3, b, a), np.where(np.arange(70) % 3, a, b)
    np.testing.assert_allclose(y, a - np.floor(b) + a.astype("f4") * b.astype("i4").astype("f4"), rtol=1e-6)


def test_atomics():
    x = rng.integers(0, 2**31, 200, "i4")
    bins, best, total = np.zeros(17, "i4"), np.zeros(1, "u4"), np.zeros(1, "f4")
    module = PtxModule(code=offline.cuda_c_to_ptx(MIXED), order="random", seed=4)
    module.get_function("counting")((7,), (32,), (x, bins, best, total, np.int32(200)))
    np.testing.assert_array_equal(bins[:16], np.bincount(x & 15, minlength=16))
    assert best == x.max() and total == 50 and 1 <= bins[16] <= 200


def test_vectors_and_their_alignment():
    x = floats(33, 4)
    args = (x, np.zeros_like(x), np.zeros((33, 2), "f4"))
    module = PtxModule(code=offline.cuda_c_to_ptx(MIXED))
    module.get_function("vectors")((1,), (33,), args)
    np.testing.assert_array_equal(args[1], x[:, ::-1])
    np.testing.assert_array_equal(args[2], np.stack([x[:, 0] + x[:, 1], x[:, 2]], 1))
    with pytest.raises(KernelFault) as fault:
        module.get_function("vectors")((1,), (32,), (x.ravel()[1:], *args[1:]))
    assert fault.value.kind == "misaligned"
    line = next(i for i, text in enumerate(MIXED.splitlines(), 1) if "x[threadIdx.x];" in text)
    assert fault.value.lines == (f"kernel.cu:{line}",)


WARP = """
extern "C" __global__ void warp(const int* x, int* y, int width) {
    const int t = threadIdx.x;
    y[t] = __shfl_sync(0xFFFFFFFFu, x[t], 5, 8) + 10 * __shfl_up_sync(0xFFFFFFFFu, x[t], 3, 16)
         + 100 * __shfl_down_sync(0xFFFFFFFFu, x[t], 2, 8) + 1000 * __shfl_xor_sync(0xFFFFFFFFu, x[t], 12, 8)
         + 10000 * __popc(__ballot_sync(0xFFFFFFFFu, x[t] > 4)) + 1000000 * __any_sync(0xFFFFFFFFu, x[t] == 9)
         + 2000000 * __all_sync(0xFFFFFFFFu, x[t] < 9) + 10000000 * __syncthreads_count(x[t] == 3);
    __syncwarp();
}
"""


def test_shuffles_and_votes():
    x = rng.integers(0, 10, 64, "i4")
    y = both_tiers(WARP, "warp", (1,), (64,), (x, np.zeros(64, "i4"), np.int32(32)), 1)
    t = np.arange(64)
    down, xor = t + 2, t ^ 12  # a lane whose source lies behind its eight lanes reads itself
    last = t // 8 * 8 + 7
    expected = x[t // 8 * 8 + 5] + 10 * x[np.where(t % 16 < 3, t, t - 3)]
    expected += 100 * x[np.where(down > last, t, down)] + 1000 * x[np.where(xor > last, t, xor)]
    rows = x.reshape(2, 32)
    expected += 10000 * np.repeat((rows > 4).sum(1), 32) + 10000000 * (x == 3).sum()
    expected += 1000000 * np.repeat((rows == 9).any(1), 32) + 2000000 * np.repeat((rows < 9).all(1), 32)
    np.testing.assert_array_equal(y, expected)


def mma_kernel(order="0, 1, 2, 3"):
    """c (16, 8) = a (16, 8) b (8, 8) by one tensor core instruction; `order` is that of the registers of a."""
    return """
__device__ void mma(float* d, const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
extern "C" __global__ void product(const float* a, const float* b, float* c) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const float all[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
    const int order[4] = {ORDER};
    unsigned fa[4], fb[2];
    for (int i = 0; i < 4; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fa[i]) : "f"(all[order[i]]));
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fb[0]) : "f"(b[t * 8 + g]));
    asm("{ .reg .b32 half; cvt.rna.tf32.f32 half, %1; mov.b32 %0, half; }" : "=r"(fb[1]) : "f"(b[(t + 4) * 8 + g]));
    float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    mma(d, fa, fb);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}
""".replace("ORDER", order)


def test_tensor_core_product_and_its_swapped_registers():
    a, b, c = floats(16, 8), floats(8, 8), np.zeros((16, 8), "f4")
    PtxModule(code=offline.cuda_c_to_ptx(mma_kernel())).get_function("product")((1,), (32,), (a, b, c))
    expected = a.astype("f8") @ b.astype("f8")
    assert 1e-6 < np.abs(c - expected).max() < 1e-2  # the products are of tf32
    PtxModule(code=offline.cuda_c_to_ptx(mma_kernel("1, 0, 2, 3"))).get_function("product")((1,), (32,), (a, b, c))
    assert np.abs(c - expected).max() > 0.5


BF16 = """
extern "C" __global__ void product(const float* a, const float* b, float* c) {
    __shared__ __align__(16) unsigned short sa[16 * 16], sb[16 * 8];
    for (int i = threadIdx.x; i < 256; i += 32) asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(sa[i]) : "f"(a[i]));
    for (int i = threadIdx.x; i < 128; i += 32) asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(sb[i]) : "f"(b[i]));
    __syncwarp();
    const int lane = threadIdx.x;
    unsigned fa[4], fb[2];
    float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const unsigned rows = (unsigned)__cvta_generic_to_shared(&sa[(lane % 16) * 16 + lane / 16 * 8]);
    const unsigned columns = (unsigned)__cvta_generic_to_shared(&sb[(lane % 16) * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(rows));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
        : "=r"(fb[0]), "=r"(fb[1]) : "r"(columns));
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}
"""


@pytest.mark.parametrize("check", [False, True])
def test_bf16_product_from_ldmatrix(check):
    a, b, c = (rng.integers(-8, 9, shape).astype("f4") for shape in [(16, 16), (16, 8), (16, 8)])  # exact in bf16
    PtxModule(code=offline.cuda_c_to_ptx(BF16), check=check).get_function("product")((1,), (32,), (a, b, c))
    np.testing.assert_array_equal(c, a @ b)


def async_copy(size="valid", wait=1):
    """y[i] = x[i] through shared memory, in two stages of cp.async; what lies behind n is to be zero."""
    return """
__device__ void copy(float* to, const float* from, int valid) {
    const unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(address), "l"(from), "r"(SIZE));
}
extern "C" __global__ void through(const float* x, float* y, int n) {
    __shared__ float s[2][32];
    const int t = threadIdx.x;
    copy(&s[0][t], x + t, t < n ? 4 : 0);
    asm volatile("cp.async.commit_group;");
    for (int i = 0; i < 4; i++) {
        if (i < 3) copy(&s[(i + 1) % 2][t], x + (i + 1) * 32 + t, (i + 1) * 32 + t < n ? 4 : 0);
        asm volatile("cp.async.commit_group;");
        asm volatile("cp.async.wait_group WAIT;");
        __syncthreads();
        y[i * 32 + t] = s[i % 2][31 - t];
        __syncthreads();
    }
}
""".replace("SIZE", size).replace("WAIT", str(wait))


def copied(text, check=False):
    x, y = floats(128), np.zeros(128, "f4")
    PtxModule(code=offline.cuda_c_to_ptx(text), check=check).get_function("through")((1,), (32,), (x, y, np.int32(120)))
    return np.array_equal(y.reshape(4, 32)[:, ::-1], np.where(np.arange(128) < 120, x, 0).reshape(4, 32)), y


@pytest.mark.parametrize("check", [False, True])
def test_asynchronous_copies(check):
    assert copied(async_copy(), check)[0]


def test_a_weak_wait_leaves_nan():
    right, y = copied(async_copy(wait=2))
    assert not right and np.isnan(y).any()


def test_a_forgotten_size_copies_what_should_be_zero():
    right, y = copied(async_copy(size="4"))
    assert not right and not np.isnan(y).any()


BROKEN = """
extern "C" __global__ void reversed(const float* x, float* y, int n) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    BARRIER
    y[threadIdx.x + SHIFT] = s[63 - threadIdx.x] + n;
}
"""


@pytest.mark.parametrize("barrier, shift, kind, lines", [
    ("__syncthreads();", 0, None, None),
    ("", 0, "race", {"kernel.cu:4", "kernel.cu:6"}),
    ("__syncthreads();", 1, "out-of-bounds", {"kernel.cu:6"}),
    ("__syncthreads();", -1, "out-of-bounds", {"kernel.cu:6"}),
    ("__syncthreads(); if (threadIdx.x < 32) __syncthreads();", 0, "divergent-barrier", None),
])  # fmt: skip
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_planted_faults_are_reported_at_their_lines(order, barrier, shift, kind, lines):
    text = BROKEN.replace("BARRIER", barrier).replace("SHIFT", str(shift))
    function = PtxModule(code=offline.cuda_c_to_ptx(text), check=True, order=order).get_function("reversed")
    x, y = floats(64), np.zeros(64, "f4")
    if kind is None:
        function((1,), (64,), (x, y, np.int32(2)))
        np.testing.assert_array_equal(y, x[::-1] + 2)
        return
    with pytest.raises(KernelFault) as fault:
        function((1,), (64,), (x, y, np.int32(2)))
    assert fault.value.kind == kind and fault.value.kernel == "reversed"
    assert lines is None or set(fault.value.lines) == lines


def test_arguments_are_checked():
    function = PtxModule(code=offline.cuda_c_to_ptx(BROKEN.replace("BARRIER", "").replace("SHIFT", "0"))).get_function(
        "reversed"
    )
    x, y = floats(64), np.zeros(64, "f4")
    for args, message in [
        ((x, y), "2 arguments"), ((x, y, 2), "Python int"), ((x, y, np.float32(2)), "float32"),
        ((x, y, np.int64(2)), "int64"), ((x, y, x), "float32"), ((x, 2.0, np.int32(1)), "Python float"),
        ((x, y[::2], np.int32(1)), "contiguous"),
    ]:  # fmt: skip
        with pytest.raises(KernelFault, match=message) as fault:
            function((1,), (64,), args)
        assert fault.value.kind == "bad-argument"
    with pytest.raises(ValueError, match="no kernel 'other'"):
        PtxModule(code=offline.cuda_c_to_ptx(BROKEN.replace("BARRIER", "").replace("SHIFT", "0"))).get_function("other")


def test_printf_and_assert(capfd):
    text = """
#include <assert.h>
extern "C" __global__ void speak(const float* x, int n) {
    printf("%d of %s: %5.2f %lld %%%c\\n", n, "PTX", x[threadIdx.x], 1ll << 40, 'c');
    assert(x[threadIdx.x] > 0.0f);
}
"""
    text = text.replace("#include <assert.h>\n", "")
    function = PtxModule(code=offline.cuda_c_to_ptx(text)).get_function("speak")
    with pytest.raises(KernelFault, match=r"x\[threadIdx\.x\] > 0") as fault:
        function((1,), (2,), (np.array([1.25, -2], "f4"), np.int32(7)))
    assert fault.value.kind == "assertion"
