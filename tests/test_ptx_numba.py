"""Numba CUDA kernels by way of the PTX that Numba makes of them."""

import inspect
import math

import numpy as np
import pytest
from gpucnn_kernels import offline
from gpucnn_kernels.sim import KernelFault, NumbaModule
from numba import cuda, float32, float64, int32

rng = np.random.default_rng(17)
TILE, PADDED = 8, 9


def floats(*shape):
    return rng.standard_normal(shape, "f4")


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"test_ptx_numba.py:{first + next(i for i, line in enumerate(lines) if text in line)}"


def matmul(a, b, c, n, m, k):
    ta = cuda.shared.array((TILE, PADDED), float32)
    tb = cuda.shared.array((TILE, PADDED), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    row, col = cuda.blockIdx.y * TILE + ty, cuda.blockIdx.x * TILE + tx
    sum = float32(0)
    for k0 in range(0, k, TILE):
        ta[ty, tx] = a[row * k + k0 + tx] if row < n and k0 + tx < k else float32(0)
        tb[ty, tx] = b[(k0 + ty) * m + col] if k0 + ty < k and col < m else float32(0)
        cuda.syncthreads()
        for i in range(TILE):
            sum += ta[ty, i] * tb[i, tx]
        cuda.syncthreads()
    if row < n and col < m:
        c[row * m + col] = sum


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("check", [False, True])
def test_tiled_matrix_product(check, order):
    n, m, k = 13, 19, 21
    a, b, c = floats(n, k), floats(k, m), np.full(n * m, np.nan, "f4")
    signature = "void(float32[::1], float32[::1], float32[::1], int32, int32, int32)"
    kernel = NumbaModule(matmul, signature, check=check, order=order, seed=2)
    kernel((3, 2), (TILE, TILE), (a.ravel(), b.ravel(), c, np.int32(n), np.int32(m), np.int32(k)))
    np.testing.assert_allclose(c.reshape(n, m), a.astype("f8") @ b.astype("f8"), atol=1e-5)


@cuda.jit(device=True)
def warp_sum(value):
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(0xFFFFFFFF, value, distance)
    return value


def softmax(x, y, n):
    shared = cuda.shared.array(0, float32)
    row, t = cuda.blockIdx.x, cuda.threadIdx.x
    shared[t] = float32(-1e38)
    for i in range(t, n, 32):
        shared[t] = max(shared[t], x[row * n + i])
    cuda.syncwarp()
    most = shared[0]
    for i in range(1, 32):
        most = max(most, shared[i])
    sum = float32(0)
    for i in range(t, n, 32):
        sum += math.exp(x[row * n + i] - most)
    sum = warp_sum(sum)
    for i in range(t, n, 32):
        y[row * n + i] = math.exp(x[row * n + i] - most) / sum


def test_softmax_with_shuffles_libdevice_and_dynamic_shared_memory():
    x = floats(4, 77)
    y = np.full(x.size, np.nan, "f4")
    kernel = NumbaModule(softmax, "void(float32[::1], float32[::1], int32)", check=True)
    kernel((4,), (32,), (x.ravel(), y, np.int32(77)), shared_mem=128)
    e = np.exp(x.astype("f8") - x.max(1, keepdims=True))
    np.testing.assert_allclose(y.reshape(x.shape), e / e.sum(1, keepdims=True), rtol=3e-6)


def everything(a, b, y, histogram):
    i = cuda.grid(1)
    local = cuda.local.array(5, int32)
    for k in range(5):
        local[k] = k * k
    if i < a.size:
        quotient = a[i] // b[i] if b[i] != 0 else 0
        rest = a[i] % b[i] if b[i] != 0 else 0
        y[i] = float64(quotient) + float64(rest) / 1024 + local[abs(rest) % 5] + (1 if a[i] < b[i] else 2)
        cuda.atomic.add(histogram, a[i] & 7, 1)


def test_integers_division_local_arrays_doubles_and_atomics():
    a, b = rng.integers(-1000, 1000, 150, "i4"), rng.integers(-9, 9, 150, "i4")
    y, histogram = np.zeros(150), np.zeros(8, "i4")
    kernel = NumbaModule(everything, "void(int32[::1], int32[::1], float64[::1], int32[::1])")
    kernel((5,), (32,), (a, b, y, histogram))
    expected = []
    for p, q in zip(a.tolist(), b.tolist(), strict=True):
        rest = p % q if q else 0
        expected.append((p // q if q else 0) + rest / 1024 + (abs(rest) % 5) ** 2 + (1 if p < q else 2))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(histogram, np.bincount(a & 7, minlength=8))


def math_functions(x, y):
    i = cuda.grid(1)
    if i < x.size:
        y[i] = math.sin(x[i]) + math.log(abs(x[i])) + math.sqrt(abs(x[i])) + math.tanh(x[i]) + math.pow(abs(x[i]), x[i])
        y[i] += math.floor(x[i]) + math.fmod(x[i], float32(0.7)) + math.erf(x[i])


def test_libdevice():
    x = np.concatenate([3 * floats(90), np.array([1, -4, 1e-3], "f4")])
    y = np.zeros(x.size, "f4")
    NumbaModule(math_functions, "void(float32[::1], float32[::1])")((3,), (32,), (x, y))
    d = x.astype("f8")
    parts = [
        np.sin(d),
        np.log(abs(d)),
        np.sqrt(abs(d)),
        np.tanh(d),
        abs(d) ** d,
        np.floor(d),
        np.fmod(d, np.float32(0.7)),
    ]
    expected = sum(parts) + np.array([math.erf(v) for v in d])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


def sines(x, y):
    y[cuda.threadIdx.x] = math.sin(x[cuda.threadIdx.x])


def test_sines_of_large_arguments_go_through_tables_and_local_memory():
    x = np.array([1e5, 2.5e7, -3e12, 1e30], "f4")
    y = np.zeros(4, "f4")
    NumbaModule(sines, "void(float32[::1], float32[::1])")((1,), (4,), (x, y))
    np.testing.assert_allclose(y, np.sin(x.astype("f8")), atol=2e-7)


def no_barrier(x, y):
    s = cuda.shared.array(64, float32)
    t = cuda.threadIdx.x
    s[t] = x[t]
    y[t] = s[63 - t]


def beyond(x, y):
    t = cuda.threadIdx.x
    y[t] = x[t + 1]


def never_written(x, y):
    s = cuda.shared.array(64, float32)
    t = cuda.threadIdx.x
    if t < 32:
        s[t] = x[t]
    cuda.syncthreads()
    y[t] = s[t]


def some_wait(x, y):
    t = cuda.threadIdx.x
    if t < 32:
        cuda.syncthreads()
    y[t] = x[t]


@pytest.mark.parametrize("function, kind, lines", [
    (no_barrier, "race", {"s[t] = x[t]", "y[t] = s[63 - t]"}), (beyond, "out-of-bounds", {"y[t] = x[t + 1]"}),
    (never_written, "uninitialised", {"y[t] = s[t]"}), (some_wait, "divergent-barrier", None),
])  # fmt: skip
def test_planted_faults_are_reported_at_their_python_lines(function, kind, lines):
    kernel = NumbaModule(function, "void(float32[::1], float32[::1])", check=True)
    with pytest.raises(KernelFault) as fault:
        kernel((1,), (64,), (floats(64), np.zeros(64, "f4")))
    assert fault.value.kind == kind and fault.value.kernel == function.__name__
    if lines:
        assert set(fault.value.lines) == {line_of(function, text) for text in lines}


def scaled(x, y, factor):
    y[cuda.threadIdx.x] = x[cuda.threadIdx.x] * factor


def test_the_types_are_those_that_numba_infers():
    ptx = offline.numba_to_ptx(scaled, "void(float32[::1], float32[::1], float64)")
    assert ".entry scaled(" in ptx and "mul.f64" in ptx
    x, y = floats(32), np.zeros(32, "f4")
    NumbaModule(scaled, "void(float32[::1], float32[::1], float64)")((1,), (32,), (x, y, np.float64(1 / 3)))
    np.testing.assert_array_equal(y, (x.astype("f8") / 3).astype("f4"))


def test_arguments_are_checked():
    kernel = NumbaModule(scaled, "void(float32[::1], float32[::1], float32)")
    x, y = floats(32), np.zeros(32, "f4")
    one = np.float32(1)
    for args, message in [
        ((x, y), "2 arguments"), ((x, y, 2.0), "argument 2 is float32, got float"),
        ((x, y.astype("f8"), one), "float64"), ((x.reshape(8, 4), y, one), r"shape \(8, 4\)"),
        ((x, y, np.float64(1)), "got float64"),
    ]:  # fmt: skip
        with pytest.raises(KernelFault, match=message) as fault:
            kernel((1,), (32,), args)
        assert fault.value.kind == "bad-argument"


def empty_is_no_address(x, b, y):
    t = cuda.threadIdx.x
    y[t] = x[t] + (b[t] if b.size else float32(1))


def test_an_empty_array_has_no_elements():
    x, y = floats(32), np.zeros(32, "f4")
    kernel = NumbaModule(empty_is_no_address, "void(float32[::1], float32[::1], float32[::1])", check=True)
    kernel((1,), (32,), (x, np.empty(0, "f4"), y))
    np.testing.assert_array_equal(y, x + np.float32(1))
