"""What can be said of every kernel without a GPU: it compiles, for each architecture, into code that is not slow."""

import json
import re
import shutil
import site
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import gpucnn_kernels as kernels
import pytest
from gpucnn_kernels import offline
from gpucnn_kernels.launch import CudaC, Floats, Int, NumbaKernel
from gpucnn_kernels.resources import ARCHITECTURES, Source, Usage, compilers, doubles, machine_code, sources, usage

cuda = pytest.importorskip("numba.cuda", reason="no compilers for GPUs: make setup EXTRAS=sim")
pytest.importorskip("cuda.core", reason="no compilers for GPUs: make setup EXTRAS=sim")

SOURCES = list(sources())
ptx_of = cache(Source.ptx)
each_source = pytest.mark.parametrize("source", SOURCES, ids=str)
each_architecture = pytest.mark.parametrize("arch", ARCHITECTURES)

# Every source on its architectures, but Numba's kernels and mma.cu, which take seconds, on the two that matter most.
COMPILED = [
    pytest.param(source, arch, id=f"{source}-{arch}")
    for source in SOURCES
    for arch in source.architectures
    if arch in ("sm_80", "sm_90") or (isinstance(source.kernels, CudaC) and source.op != "mma")
]


# the gates


def test_every_implementation_has_sources():
    found = {(source.op, type(source.kernels)) for source in SOURCES}
    assert {("mma", CudaC), ("channelslast", CudaC)} < found
    for op, implementations in kernels.ops().items():
        text = {"conv2d_relu_maxpool": "conv2d"}.get(op, op)  # where the kernels of the op are
        assert ((text, CudaC) in found) == ("raw" in implementations)
        assert ((op, NumbaKernel) in found) == ("numba" in implementations)


@pytest.mark.parametrize("source, arch", COMPILED)
def test_no_kernel_spills_its_registers(source, arch):
    for kernel, used in usage(ptx_of(source, arch), arch).items():
        assert used.spills == used.stack == 0, f"{kernel} keeps registers or arrays in local memory: {used}"
        assert used.shared <= 48 * 1024, f"{kernel} does not start"
        assert recorded(source, kernel, arch) in (None, used), "the table is stale: python bench/resources.py"


def test_no_kernel_of_the_table_spills_its_registers():
    """Nor on the architectures that are left out above: a figure of any other that changes makes the table stale."""
    for source in SOURCES:
        for kernel, figures in table()["kernels"][str(source)].items():
            assert figures.keys() == set(source.architectures), (source, kernel)
            for arch, used in figures.items():
                assert used["spills"] == used["stack"] == 0, (source, kernel, arch)


@each_source
def test_no_kernel_computes_in_double(source):
    assert doubles(ptx_of(source, "sm_80")) == []


@each_source
def test_no_kernel_adds_floats_in_the_order_of_arrival(source):
    assert float_atomics(ptx_of(source, "sm_80")) == []


@each_source
def test_wide_loads_are_what_they_claim(source):
    claimed = {kernel: wide_loads(source, kernel) for kernel in bodies(ptx_of(source, "sm_80"))}
    calls = isinstance(source.kernels, CudaC) and "load4(" in source.kernels.text.partition(f'"{source.op}.cu"')[2]
    assert calls == any(claimed.values()), "what a kernel claims stands in wide_loads()"
    for kernel, body in bodies(ptx_of(source, "sm_80")).items():
        assert len(re.findall(r"\bld\.(?:shared|global)\.v4\.f32", body)) == claimed[kernel], kernel


@each_architecture
@pytest.mark.parametrize("source", [s for s in SOURCES if s.op in ("sgd", "adam", "relu")], ids=str)
def test_vectors_are_read_and_written_sixteen_bytes_at_a_time(source, arch):
    codes = disassembled(ptx_of(source, arch), arch)
    for kernel in VECTORS.keys() & codes.keys():
        assert len(re.findall(r"\bLDG\.E\.128\b", codes[kernel])) == VECTORS[kernel], kernel
        assert len(re.findall(r"\bSTG\.E\.128\b", codes[kernel])) == max(VECTORS[kernel] - 1, 1), kernel


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("source", [s for s in SOURCES if s.op == "mma"], ids=str)
def test_products_are_on_tensor_cores_and_copies_asynchronous(source, arch):
    product = "HMMA.16816.F32.BF16" if "-DPRECISION=BF16" in source.defines else "HMMA.1688.F32.TF32"
    for kernel, code in disassembled(ptx_of(source, arch), arch).items():
        if kernel.startswith("mma_") and not kernel.endswith("_reduce"):
            products = set(re.findall(r"\bHMMA[\w.]*", code))
            assert products == {product}, kernel
            assert re.search(r"\bLDGSTS\.E\.BYPASS(\.\w+)*\.128\b", code), kernel
            assert len(re.findall(r"\bLDSM\.16\.M88\.4\b", code)) == (
                0 if "weight" in kernel else LDSM[source.defines[1]]
            )


LDSM = {f"-DTILE_N={tile}": 2 * (m + n) for tile, m, n in ((8, 4, 1), (16, 4, 2), (64, 8, 4), (128, 8, 4))}


@each_architecture
@pytest.mark.parametrize(
    "source", [s for s in SOURCES if isinstance(s.kernels, CudaC) and s.op in ("conv2d", "linear")], ids=str
)
def test_wide_loads_are_one_instruction_of_the_machine(source, arch):
    for kernel, code in disassembled(ptx_of(source, arch), arch).items():
        found = len(re.findall(r"\bLDS\.(?:U\.)?128\b", code))
        assert (found >= wide_loads(source, kernel)) if wide_loads(source, kernel) else found == 0, (kernel, found)


def wide_loads(source, kernel):
    """The 16-byte loads in the unrolled loops of a kernel, or of the vectors that it runs through."""
    if kernel in VECTORS:
        return VECTORS[kernel]
    if kernel in ("linear_forward", "linear_backward_input", "linear_backward_weight"):
        return 2 * 16  # SLICE steps of a 4 x 4 block
    if kernel == "mma_backward_weight_pooled":  # what a thread copies of a slice, before the loop and in it
        return 2 * (2 if {"-DTILE_N=8", "-DTILE_N=16"} & set(source.defines) else 4)
    if isinstance(source.kernels, CudaC) and source.op == "conv2d" and kernel.endswith(GEMMS):
        narrow = {"-DTILE_C=8", "-DTILE_C=16"} & set(source.defines)
        return 4 * (2 if narrow else 4)  # 4 steps of REG_C channels, four at a time
    return 0


GEMMS = ("_gemm", "_relu", "_relu_pool", "_pooled")  # the kernels of conv2d.cu that multiply in registers
VECTORS = {"sgd_step": 3, "adam_step": 4, "relu_forward": 1, "relu_backward": 2}


def bodies(ptx):
    """The text of each kernel of a PTX text."""
    return dict(re.findall(r"\.entry (\w+)\s*\((.*?)^\}", ptx, re.DOTALL | re.MULTILINE))


@cache
def disassembled(ptx, arch):
    """The instructions of each kernel on a GPU of `arch`."""
    disassembler = shutil.which("nvdisasm") or next(
        (str(file) for folder in site.getsitepackages() for file in Path(folder).glob("nvidia/*/bin/nvdisasm")), None
    )
    if disassembler is None:
        pytest.skip("no disassembler: pip install nvidia-cuda-nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(machine_code(ptx, arch)[0])
        cubin.flush()
        text = subprocess.run([disassembler, "-c", cubin.name], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"\.section\s+\.text\.(\w+),(.*?)(?=\.section\s|\Z)", text, re.DOTALL))


def float_atomics(ptx):
    """Atomic operations on floats add in another order in every run."""
    return [line.strip() for line in ptx.splitlines() if re.match(r"\s*(@!?%p\d+ )?(atom|red)\..*\.(b?f|f\w*)\d", line)]


@cache
def table():
    """The figures of the table in kernels/README.md."""
    return json.loads((Path(__file__).parents[1] / "bench" / "results" / "resources.json").read_text())


def recorded(source, kernel, arch):
    """Those of one kernel; None where other compilers measured them."""
    assert kernel in table()["kernels"][str(source)], "the table is stale: python bench/resources.py"
    return Usage(**table()["kernels"][str(source)][kernel][arch]) if table()["compilers"] == compilers() else None


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


def atomic(x: Floats, n: Int):
    cuda.atomic.add(x, n, x[cuda.threadIdx.x])


def test_a_float_atomic_is_found():
    text = 'extern "C" __global__ void f(float* x, int* n) { atomicAdd(n, 1); }'
    assert float_atomics(cuda_c(text).ptx("sm_80")) == []
    assert float_atomics(cuda_c(text.replace("(n, 1)", "(x, 1.0f)")).ptx("sm_80")) != []
    assert float_atomics(cuda_c(text.replace("(n, 1)", "(x, 1.0f) + *x").replace("{", "{ *x = ")).ptx("sm_80")) != []
    assert float_atomics(Source("toy", NumbaKernel(atomic)).ptx("sm_80")) != []


WIDE = """
extern "C" __global__ void wide(const float* p, float* x) {
    __shared__ __align__(16) float s[128];
    s[threadIdx.x] = p[threadIdx.x];
    __syncthreads();
    const float4 four = *reinterpret_cast<const float4*>(s + 4 * (threadIdx.x & 31));
    x[threadIdx.x] = four.x + four.y * four.z + four.w;
}
extern "C" __global__ void narrow(const float* p, float* x) {
    __shared__ float s[129];
    s[threadIdx.x] = p[threadIdx.x];
    __syncthreads();
    const float* four = s + 4 * (threadIdx.x & 31) + 1;
    x[threadIdx.x] = four[0] + four[1] * four[2] + four[3];
}
"""


@each_architecture
def test_a_wide_load_is_told_from_four_narrow_ones(arch):
    ptx = cuda_c(WIDE).ptx(arch)
    assert {name: "ld.shared.v4.f32" in body for name, body in bodies(ptx).items()} == {"wide": True, "narrow": False}
    code = disassembled(ptx, arch)
    assert {name: bool(re.search(r"\bLDS\.(?:U\.)?128\b", code[name])) for name in code} == {
        "wide": True,
        "narrow": False,
    }


def test_shared_memory_of_numba_is_counted():
    ptx = Source("toy", NumbaKernel(in_float)).ptx("sm_90")
    assert doubles(ptx) == []
    assert usage(ptx, "sm_90")["in_float"].shared == 256


def test_a_kernel_that_does_not_compile():
    with pytest.raises(offline.CompileError, match=r"toy\.cu"):
        cuda_c(TOO_MUCH.replace("int n)", "int m)")).ptx("sm_90")
