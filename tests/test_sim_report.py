"""The access report against the textbook, which transposes a matrix.

Harris, "An efficient matrix transpose in CUDA C/C++", 2013.
"""

import numpy as np
import pytest
from gpucnn_kernels.sim import AccessReport, RawModule, mode
from sim_kernels import kernel

TRANSPOSE = """#line 1 "transpose.cu"
extern "C" __global__ void naive(const float* x, float* y, int n) {
    const int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
    const float value = x[row * n + column];
    y[column * n + row] = value;
}
extern "C" __global__ void tiled(const float* x, float* y, int n) {
    __shared__ float tile[32][32 + PAD];
    tile[threadIdx.y][threadIdx.x] = x[(blockIdx.y * 32 + threadIdx.y) * n + blockIdx.x * 32 + threadIdx.x];
    __syncthreads();
    y[(blockIdx.x * 32 + threadIdx.y) * n + blockIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}
"""


def report_of(text, name, args, block, grid=(1,), options=(), order="forward"):
    report = AccessReport()
    module = RawModule(code=text, options=options, order=order, report=report)
    module.get_function(name)(grid, block, args)
    return {(line.line.rpartition(":")[2], line.space, line.kind): line for line in report.lines}


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("pad", [0, 1])
def test_transpose(pad, order):
    x, y = np.random.default_rng(0).random((64, 64), np.float32), np.zeros((64, 64), np.float32)
    args = (x, y, np.int32(64))
    naive = report_of(TRANSPOSE, "naive", args, (32, 32), (2, 2), (f"-DPAD={pad}",), order)
    assert {key: line.sectors for key, line in naive.items()} == {
        ("3", "global", "load"): 4,
        ("4", "global", "store"): 32,
    }
    assert {line.requests for line in naive.values()} == {4 * 32}
    tiled = report_of(TRANSPOSE, "tiled", args, (32, 32), (2, 2), (f"-DPAD={pad}",), order)
    assert {key: line.sectors or line.conflict for key, line in tiled.items()} == {
        ("8", "global", "load"): 4,
        ("8", "shared", "store"): 1,
        ("10", "global", "store"): 4,
        ("10", "shared", "load"): 1 if pad else 32,
    }
    np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize(
    ("index", "sectors"),
    [("t", 4), ("2 * t", 8), ("8 * t", 32), ("0", 1), ("t + 1", 5), ("t / 2", 2), ("31 - t", 4), ("t * 37 % 64", 8)],
)
def test_sectors_of_a_load(index, sectors):
    x, y = np.zeros(512, np.float32), np.zeros(32, np.float32)
    lines = report_of(kernel(f"y[t] = x[{index}];", "const float* x, float* y"), "k", (x, y), (32,))
    assert lines["1", "global", "load"].sectors == sectors
    assert lines["1", "global", "store"].sectors == 4


@pytest.mark.parametrize(
    ("read", "conflict"),
    [
        ("s[t]", 1), ("s[0]", 1), ("s[2 * t]", 2), ("s[4 * t]", 4), ("s[32 * t % 1024]", 32), ("s[33 * t % 1024]", 1),
        ("s[t / 2]", 1), ("two(pair[t])", 1), ("four(quad[t])", 1),
        ("four(quad[2 * t])", 2),
    ],
)  # fmt: skip
def test_conflicts_of_a_load(read, conflict):
    """Wide loads are answered 128 bytes at a time, so that neighbours of 8 or 16 bytes do not disturb one another."""
    text = (
        "__device__ float two(float2 v) { return v.x + v.y; }\n"
        "__device__ float four(float4 v) { return v.x + v.w; }\n"
        "#define pair reinterpret_cast<const float2*>(s)\n"
        "#define quad reinterpret_cast<const float4*>(s)\n"
        + kernel(
            "__shared__ __align__(16) float s[1024]; for (int i = t; i < 1024; i += 32) s[i] = 0; __syncthreads();\n"
            f"y[t] = {read};"
        )
    )
    lines = report_of(text, "k", (np.zeros(32, np.float32),), (32,))
    assert lines["6", "shared", "load"].conflict == conflict


def test_a_report_sums_up_launches_and_prints_them():
    report, y = AccessReport(), np.zeros(64, np.float32)
    with mode(report=report) as now:
        for _ in range(3):
            RawModule(code=kernel("y[t] += 1;"), report=now.report).get_function("k")((1,), (64,), (y,))
    load, store = report.lines
    assert (load.kernel, load.line, load.kind, load.requests, load.sectors) == ("k", "kernel.cu:1", "load", 6, 4)
    assert (store.kind, store.requests, store.conflict) == ("store", 6, 0)
    assert str(report).splitlines()[1].split() == ["k", "kernel.cu:1", "global", "load", "6", "4.0"]
