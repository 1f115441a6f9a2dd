"""What a fault says, that it can be handed from process to process, and that a lack of memory is one."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from gpucnn_kernels.sim import AccessReport, RawModule
from sim_kernels import each_order, fault_of, kernel, run

STARVED = f"""
import resource, numpy, gpucnn_kernels.sim as sim
text, y = {kernel("y[t] = t;")!r}, numpy.zeros(64, numpy.float32)
def launch(check, n):
    function = sim.RawModule(code=text, check=check).get_function("k")
    try:
        function((1,), (n,), (y,))
    except sim.KernelFault as fault:
        print(fault.kind, end=" ")
    print(int(y.sum()), end=" ")
launch(False, 8)
resource.setrlimit(resource.RLIMIT_AS, (4 * 10**9, -1))
launch(True, 32), launch(False, 32)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
launch(True, 64)
"""


def test_a_check_without_memory_is_a_fault():
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, check=False)
    assert done.stdout == "28 out-of-memory 28 496 2016 ", done.stderr


@pytest.mark.parametrize("bug", ["y[64] = t;", "y[0] = t;", "", "assert(t < 3);"])
def test_a_fault_survives_pickle(bug):
    fault = fault_of(kernel(bug), "k", (np.zeros(64, np.float32),) if bug else (), 65)
    fault.add_note("a note")
    again = pickle.loads(pickle.dumps(fault))
    assert (str(again), again.__notes__) == (str(fault), ["a note"])
    fields = ("kind", "kernel", "lines", "thread", "block")
    assert [getattr(again, field) for field in fields] == [getattr(fault, field) for field in fields]


FORKED = f"""
import os, threading, time, numpy, gpucnn_kernels.sim as sim
y = numpy.zeros(1, numpy.float32)
function = sim.RawModule(code={kernel("y[0] += 1;")!r}).get_function("k")
long = threading.Thread(target=function, args=((3000000,), (1,), (y,)))
function((1,), (1,), (y,))
long.start()
while y[0] < 100:
    time.sleep(0.001)
child = os.fork()
function((1,), (1,), (y,))
if not child:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_that_is_forked_during_a_launch():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "7\n", done.stderr


def test_a_fault_names_the_parameter():
    text = "template <class T> struct Two { T x; };\n" + kernel(
        "rows[t] = x[n];", "const float* __restrict__ x, int n, int, float rows[]"
    )
    x, rows = np.zeros(3, np.float32), np.zeros(4, np.float32)
    assert "of argument x, which" in str(fault_of(text, "k", (x, np.int32(3), np.int32(0), rows)))
    assert "of argument rows, which" in str(fault_of(text, "k", (x, np.int32(2), np.int32(0), rows)))
    assert "argument 2 (int)" in str(fault_of(text, "k", (x, np.int32(2), None, rows)))
    assert "argument n (int)" in str(fault_of(text, "k", (x, None, None, rows)))


TALLY = """
__device__ int tally[4];
__device__ const float table[2] = {1, 2};
extern "C" __global__ void plain(float* y) { if (threadIdx.x == 0) tally[2] += 1; }
extern "C" __global__ void atomic(float* y) { if (threadIdx.x == 0) atomicAdd(&tally[2], 1); }
extern "C" __global__ void apart(float* y) {
    if (threadIdx.x == 0) tally[blockIdx.x] = 4;
    __syncthreads();
    if (threadIdx.x < 4) y[blockIdx.x * 4 + threadIdx.x] = tally[blockIdx.x] + table[1];
}
extern "C" __global__ void bytes(float* y) { reinterpret_cast<char*>(tally)[threadIdx.x] = 1; }
"""


@each_order
def test_variables_of_the_module_are_shared_by_all_blocks(order):
    y = np.zeros(16, np.float32)
    fault = fault_of(TALLY, "plain", (y,), 8, 3, order=order)
    assert (fault.kind, fault.lines) == ("race", ("kernel.cu:4",) * 2)
    assert "4 bytes at byte 8 of __device__ tally" in str(fault)
    for name in ("atomic", "apart", "bytes"):
        run(TALLY, name, (y,), 8, 4 if name != "bytes" else 1, order=order)
    np.testing.assert_array_equal(y, 6)
    report = AccessReport()
    RawModule(code=TALLY, report=report).get_function("apart")((4,), (8,), (y,))
    assert [line.space for line in report.lines if line.line == "kernel.cu:7"] == ["global"]


def test_lines_without_binutils(tmp_path, monkeypatch):
    (tmp_path / "g++").symlink_to(shutil.which("g++"))
    args = (np.zeros(3, np.float32),)
    assert "binutils" not in str(fault_of(kernel("y[t] = t;"), "k", args))
    monkeypatch.setenv("PATH", str(tmp_path))
    fault = fault_of(kernel("y[t] = t;"), "k", args)
    assert fault.lines == ("?",)
    assert str(fault).endswith("(install binutils to have lines named)")


def test_grids_that_cannot_be_listed():
    args = (np.zeros(1, np.float32),)
    fault = fault_of(kernel(""), "k", args, 1, (2**28 + 1,), False, "random")
    assert (fault.kind, "random order" in str(fault)) == ("bad-argument", True)
    assert fault_of(kernel(""), "k", args, 1, (2**31 - 1, 65535), True).kind == "out-of-memory"
