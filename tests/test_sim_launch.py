"""A launch on the simulator: what CUDA's words compute, what a launch may ask for, and what stays after a fault."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from gpucnn_kernels.sim import CompileError, KernelFault, RawModule
from sim_kernels import drawn, each_check, each_order, fault_of, kernel, run

TRANSPOSE = """
extern "C" __global__ void __launch_bounds__(256)
transpose(const float* __restrict__ x, float* y, int rows, int columns) {
    __shared__ float tile[SIDE][SIDE + 1];
    const int x0 = blockIdx.x * SIDE, y0 = blockIdx.y * SIDE, tx = threadIdx.x, ty = threadIdx.y;
    if (x0 + tx < columns && y0 + ty < rows) tile[ty][tx] = x[(y0 + ty) * columns + x0 + tx];
    __syncthreads();
    if (x0 + ty < columns && y0 + tx < rows) y[(x0 + ty) * rows + y0 + tx] = tile[tx][ty];
}
"""


@each_order
@each_check
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 31), (5, 70)])
def test_tiles_of_odd_shapes(shape, check, order):
    x, y = drawn(*shape), np.full(shape[::-1], np.nan, np.float32)
    grid = (-(-shape[1] // 16), -(-shape[0] // 16))
    args = (x, y, np.int32(shape[0]), np.int32(shape[1]))
    run(TRANSPOSE, "transpose", args, (16, 16), grid, check, order, 1, ("-DSIDE=16",))
    np.testing.assert_array_equal(y, x.T)


@each_check
def test_indices_in_three_dimensions(check):
    text = kernel(
        "int b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;"
        "int i = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;"
        "y[b * blockDim.x * blockDim.y * blockDim.z + i] = b * 100 + i;"
    )
    y = np.full((24, 30), np.nan, np.float32)
    run(text, "k", (y,), (2, 3, 5), (4, 3, 2), check)
    np.testing.assert_array_equal(y, np.arange(24)[:, None] * 100 + np.arange(30))


def test_options_lines_and_templates():
    text = '#line 70 "mine.cu"\ntemplate <int N> __device__ float times(float x) { return N * x; }\n' + kernel(
        "y[t] = times<K>(1.0f);"
    )
    y = np.zeros(4, np.float32)
    run(text, "k", (y,), 4, options=("-DK=3", "--std=c++17", "-lineinfo"))
    assert (y == 3).all()
    assert fault_of(text, "k", (y,), 5, options=("-DK=3",)).lines == ("mine.cu:71",)
    with pytest.raises(ValueError, match="-maxrregcount=8"):
        RawModule(code=text, options=("-maxrregcount=8",)).get_function("k")
    with pytest.raises(TypeError, match="tuple of strings, got '-DK=3'"):
        RawModule(code=text, options="-DK=3")
    with pytest.raises(ValueError, match="no kernel 'other'; there are k"):
        RawModule(code=text, options=("-DK=3",)).get_function("other")


def test_a_text_that_does_not_compile_names_its_line():
    with pytest.raises(CompileError, match=r"kernel\.cu:2:.*nonsense"):
        RawModule(code="\n" + kernel("y[t] = nonsense;")).get_function("k")
    with pytest.raises(CompileError, match="__activemask"):
        RawModule(code=kernel("y[t] = __activemask();")).get_function("k")
    with pytest.raises(CompileError, match="frame size of 400000"):
        RawModule(code=kernel("float a[100000]; for (int i = 0; i < t; ++i) a[i] = t; y[t] = a[t / 2];")).get_function(
            "k"
        )


@each_check
def test_memory_of_a_block_holds_nans_at_first(check):
    """Unchecked, a kernel that forgot to write there computes NaN."""
    text = kernel(
        "extern __shared__ float s[]; __shared__ float a[2]; if (!bug) s[t] = a[t] = 1; y[t] = s[t] + a[t];",
        "float* y, int bug",
    )
    y = np.zeros(2, np.float32)
    run(text, "k", (y, np.int32(0)), 2, check=check, shared_mem=8)
    assert (y == 2).all()
    if not check:
        run(text, "k", (y, np.int32(1)), 2, check=check, shared_mem=8)
        assert np.isnan(y).all()


def test_a_fault_leaves_arrays_as_they_were_and_the_module_usable():
    text = kernel("y[t] = t; if (bug) __syncthreads(); if (bug && t == 40) y[1000] = 0;", "float* y, int bug")
    y = np.zeros(64, np.float32)
    function = RawModule(code=text, check=True).get_function("k")
    for _ in range(3):
        with pytest.raises(KernelFault, match="out-of-bounds"):
            function((1,), (64,), (y, np.int32(1)))
        assert (y == 0).all()
    function((1,), (64,), (y, np.int32(0)))
    np.testing.assert_array_equal(y, np.arange(64))


def test_deadlock_is_found_without_check():
    text = kernel("if (t < 16) __syncthreads(); else y[t] = __shfl_sync(0xFFFFFFFFu, 1.0f, 0);")
    fault = fault_of(text, "k", (np.zeros(32, np.float32),), check=False)
    assert (fault.kind, fault.thread, fault.lines[0]) == ("deadlock", (16, 0, 0), "kernel.cu:1")


def test_arrays_that_overlap_still_do_in_check_mode():
    text = kernel("y[t] = x[t] + 1.0f;", "const float* x, float* y")
    base = np.zeros(40, np.float32)
    run(text, "k", (base, base), 40)
    assert (base == 1).all()
    run(text, "k", (base[:20], base[20:]), 20)
    np.testing.assert_array_equal(base, np.repeat(np.float32([1, 2]), 20))
    fault = fault_of(text, "k", (base[:32], base[8:]), 32)  # thread 8 reads what thread 0 has written
    assert (fault.kind, fault.thread) == ("race", (8, 0, 0))


def test_a_view_ends_where_it_ends():
    text = kernel("y[t] = 1;")
    base = np.zeros((4, 8), np.float32)
    assert fault_of(text, "k", (base[1],), 9).kind == "out-of-bounds"
    run(text, "k", (base[1],), 8)
    np.testing.assert_array_equal(base.sum(1), [0, 8, 0, 0])
    assert fault_of(text, "k", (np.zeros(0, np.float32),), 1).kind == "out-of-bounds"


def test_constants_without_values_are_zero():
    text = "__constant__ float c[3];\n__constant__ int two[2] = {1, 2};\n" + kernel("y[t] = c[t] + two[t % 2];")
    y = np.ones(3, np.float32)
    run(text, "k", (y,), 3)
    np.testing.assert_array_equal(y, [1, 2, 1])


def test_launch_bounds_are_a_limit_too():
    args = (None, None, np.int32(0), np.int32(0))
    run(TRANSPOSE, "transpose", args, (16, 16), options=("-DSIDE=16",))
    fault = fault_of(TRANSPOSE, "transpose", args, (16, 17), options=("-DSIDE=16",))
    assert fault.kind == "bad-argument"
    assert "__launch_bounds__(256)" in str(fault)


def test_more_shared_memory_must_be_asked_for():
    text = kernel("extern __shared__ float s[]; s[last] = 1; y[t] = s[last];", "float* y, int last")
    function = RawModule(code=text, check=True).get_function("k")
    y = np.zeros(1, np.float32)
    args = (y, np.int32(100 * 256 - 1))
    with pytest.raises(KernelFault, match="102400 bytes of shared memory, of at most 49152"):
        function((1,), (1,), args, shared_mem=100 * 1024)
    function.max_dynamic_shared_size_bytes = 100 * 1024
    function((1,), (1,), args, shared_mem=100 * 1024)
    assert y == 1
    function.max_dynamic_shared_size_bytes = 10**6
    with pytest.raises(KernelFault, match="of at most 232448"):  # what the largest GPU has
        function((1,), (1,), args, shared_mem=10**6)
    run(kernel("y[t] = 2;"), "k", (y,), 1, shared_mem=48 * 1024)  # asked for, but not used
    assert y == 2


def test_two_modules_at_once_and_two_threads():
    """Both modules call the same runtime; a launch waits until the one of the other thread is over."""
    one, two = kernel("y[t] = 1; __syncthreads(); y[t] += 1;"), kernel("y[t] = 5; __syncthreads(); y[t] *= 2;")
    functions = [RawModule(code=text, check=check).get_function("k") for text in (one, two) for check in (False, True)]
    arrays = [np.zeros(1024, np.float32) for _ in functions]

    def work(function, y):
        for _ in range(20):
            function((8,), (128,), (y,))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(functions, arrays, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(y.tolist()) for y in arrays] == [{2.0}, {2.0}, {10.0}, {10.0}]


def test_random_order_is_that_of_its_seed():
    text = kernel("y[atomicAdd(next, 1)] = t; __syncthreads(); if (t < 0) y[0] = 0;", "int* y, int* next")

    def order(seed):
        y = np.zeros(96, np.int32)
        run(text, "k", (y, np.zeros(1, np.int32)), 32, 3, False, "random", seed)
        return y.tolist()

    assert sorted(order(1)) == list(range(96))
    assert order(1) == order(1) != order(2)
    with pytest.raises(ValueError, match="backward"):
        RawModule(code=text, order="backward")


TWICE = f"""
import numpy, gpucnn_kernels.sim as sim
y = numpy.zeros(1, numpy.float32)
try:
    for value in (1, 2):
        for text in ({kernel("y[t] = V;")!r}, {kernel("y[t] = V + 10;")!r}):
            sim.RawModule(code=text, options=(f"-DV={{value}}",)).get_function("k")((1,), (1,), (y,))
            print(int(y[0]), end=" ")
except sim.NoCompiler as fault:
    print(fault, fault.__notes__[0], sep="; ")
"""


def in_another_process(script, **environment):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout


def test_a_module_is_built_once_and_from_its_own_text(tmp_path):
    folder = tmp_path / "gpucnn" / "kernels"
    built = []
    for _ in range(2):
        assert in_another_process(TWICE, XDG_CACHE_HOME=str(tmp_path)) == "1 11 2 12 "
        built.append({file: file.stat().st_mtime_ns for file in folder.iterdir()})
    assert built[0] == built[1]
    assert len(built[0]) == 5  # the runtime and four modules


def test_without_a_compiler(tmp_path):
    said = in_another_process(TWICE, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path))
    assert said == (
        "simulating a kernel needs a C++ compiler, and there is neither g++ nor clang++; "
        "apt install g++, or pip install ziglang\n"
    )
