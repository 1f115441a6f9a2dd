"""What can be said of every kernel without a GPU: it compiles, for each architecture, into code that is not slow."""

import json
import re
from functools import cache
from pathlib import Path

import gpucnn_kernels as kernels
import pytest
from gpucnn_kernels import offline
from gpucnn_kernels.launch import CudaC, Floats, Int, NumbaKernel
from gpucnn_kernels.resources import ARCHITECTURES, Source, Usage, compilers, doubles, sources, usage

cuda = pytest.importorskip("numba.cuda", reason="no compilers for GPUs: make setup EXTRAS=sim")
pytest.importorskip("cuda.core", reason="no compilers for GPUs: make setup EXTRAS=sim")

SOURCES = list(sources())
ptx_of = cache(Source.ptx)
each_source = pytest.mark.parametrize("source", SOURCES, ids=str)
each_architecture = pytest.mark.parametrize("arch", ARCHITECTURES)


# the gates


def test_every_implementation_has_sources():
    found = {(source.op, type(source.kernels)) for source in SOURCES}
    for op, implementations in kernels.ops().items():
        assert ((op, CudaC) in found) == ("raw" in implementations)
        assert ((op, NumbaKernel) in found) == ("numba" in implementations)


@each_architecture
@each_source
def test_no_kernel_spills_its_registers(source, arch):
    for kernel, used in usage(ptx_of(source, arch), arch).items():
        assert used.spills == used.stack == 0, f"{kernel} keeps registers or arrays in local memory: {used}"
        assert used.shared <= 48 * 1024, f"{kernel} does not start"
        assert recorded(source, kernel, arch) in (None, used), "the table is stale: python bench/resources.py"


@each_source
def test_no_kernel_computes_in_double(source):
    assert doubles(ptx_of(source, "sm_80")) == []


@pytest.mark.parametrize("source", [s for s in SOURCES if isinstance(s.kernels, CudaC)], ids=str)
def test_wide_loads_and_stores_are_what_they_claim(source):
    code = source.kernels.text.partition(f'"{source.op}.cu"')[2]
    ptx = ptx_of(source, "sm_80")
    for helper, instruction in (("load4", r"\bld\.\S*v4\.\w32"), ("store4", r"\bst\.\S*v4\.\w32")):
        assert len(re.findall(instruction, ptx)) >= len(re.findall(rf"\b{helper}\(", code))


def recorded(source, kernel, arch):
    """The figures of the table in kernels/README.md; None where other compilers measured them."""
    file = Path(__file__).parents[1] / "bench" / "results" / "resources.json"
    results = json.loads(file.read_text())
    assert kernel in results["kernels"][str(source)], "the table is stale: python bench/resources.py"
    return Usage(**results["kernels"][str(source)][kernel][arch]) if results["compilers"] == compilers() else None


# the gates' own test: kernels that must not pass


def cuda_c(text):
    source = CudaC("toy")
    source.__dict__["text"] = text
    return Source("toy", source)


def in_double(x: Floats, n: Int):
    i = cuda.grid(1)
    if i < n:
        x[i] = x[i] / 3.3


def in_float(x: Floats, n: Int):
    s = cuda.shared.array(64, "float32")
    i = cuda.threadIdx.x
    s[i] = x[i]
    cuda.syncthreads()
    if i < n:
        x[i] = s[63 - i]


TOO_MUCH = """
extern "C" __global__ void __launch_bounds__(1024) too_much(float* x, int n) {
    float r[200];
    for (int k = 0; k < 200; ++k) r[k] = x[threadIdx.x * 200 + k];
    for (int j = 0; j < n; ++j)
        for (int k = 0; k < 200; ++k) r[k] = r[k] * r[(k + 7) % 200] + 1.0f;
    for (int k = 0; k < 200; ++k) x[threadIdx.x * 200 + k] = r[k];
}
extern "C" __global__ void indexed(float* x, int n) {
    float r[64];
    for (int k = 0; k < n; ++k) r[k % 64] = x[k];
    for (int k = 0; k < n; ++k) x[k] = r[k * k % 64];
}
extern "C" __global__ void fine(float* x, int n) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x] / 3.3f;
    __syncthreads();
    x[threadIdx.x] = s[31 - threadIdx.x];
}
"""


@each_architecture
def test_a_spill_is_found(arch):
    found = usage(cuda_c(TOO_MUCH).ptx(arch), arch)
    assert found["too_much"].registers == 64 and found["too_much"].spills > 0 and found["too_much"].stack > 0
    assert found["indexed"].spills == 0 and found["indexed"].stack == 256
    assert found["fine"].spills == found["fine"].stack == 0 and found["fine"].shared == 128


def test_a_double_is_found():
    assert doubles(cuda_c(TOO_MUCH).ptx("sm_80")) == []
    assert doubles(cuda_c(TOO_MUCH.replace("3.3f", "3.3")).ptx("sm_80")) != []
    assert any("div.rn.f64" in line for line in doubles(Source("toy", NumbaKernel(in_double)).ptx("sm_80")))


def test_shared_memory_of_numba_is_counted():
    ptx = Source("toy", NumbaKernel(in_float)).ptx("sm_90")
    assert doubles(ptx) == []
    assert usage(ptx, "sm_90")["in_float"].shared == 256


def test_a_kernel_that_does_not_compile():
    with pytest.raises(offline.CompileError, match=r"toy\.cu"):
        cuda_c(TOO_MUCH.replace("int n)", "int m)")).ptx("sm_90")
