"""A few mistakes in the kernels, of all kinds, which the checks must find. bench/mutations.py makes the others."""

import json
import sys
from pathlib import Path

import pytest
from gpucnn_kernels.sim.compiler import NoCompiler, find_compiler

pytest.importorskip("cuda.bindings", reason="no compilers for GPUs: make setup")

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
from mutants import RULES, Mutant, mutants  # noqa: E402
from mutations import KERNELS, files, run  # noqa: E402

pytestmark = pytest.mark.timeout(1200)  # the first test waits for all

# file, function, what stands there (the first from the function's name on), what is planted
PLANTS = [
    ("common.cuh", "block_sum", "__syncthreads();", ";"),
    ("common.cuh", "block_sums", "__syncthreads();", ";"),
    ("common.cuh", "philox", "round < 10", "round <= 10"),
    ("linear.cu", "multiply", "__syncthreads();  // the slice", "; // the slice"),
    ("linear.cu", "multiply", "__syncthreads();  // everybody", "; // everybody"),
    ("linear.cu", "linear_backward_bias", "__syncthreads();", ";"),
    ("linear.cu", "multiply", "bs[SLICE][TILE + 4]", "bs[SLICE - 1][TILE + 4]"),
    ("linear.cu", "multiply", "row < rows && ", ""),
    ("linear.cu", "linear_reduce", "i >= rows", "i > rows"),
    ("linear.cu", "stage", ": 0.0f", ": 0.0"),
    ("conv2d.cu", "conv2d_forward_naive", "iy >= h", "iy > h"),
    ("conv2d.cu", "conv2d_forward_naive", "kx - pw", "kx - ph"),
    ("conv2d.cu", "conv2d_backward_input_naive", "% sh != 0", "% sw != 0"),
    ("conv2d.cu", "conv2d_forward_tiled", "__syncthreads();  // the channel", "; // the channel"),
    ("conv2d.cu", "conv2d_forward_tiled", "__syncthreads();  // everybody", "; // everybody"),
    ("conv2d.cu", "forward_gemm", "__syncthreads();  // the slice", "; // the slice"),
    ("conv2d.cu", "forward_gemm", "__syncthreads();  // everybody", "; // everybody"),
    ("conv2d.cu", "backward_weight_gemm", "__syncthreads();  // the taps", "; // the taps"),
    ("conv2d.cu", "backward_input_gemm", "oh >> shift, columns", "oh, columns"),
    ("conv2d.cu", "conv2d_backward_weight_reduce", "__syncthreads();", ";"),
    ("conv2d_raw.py", "forward_tiled", "shared_mem=shared", "shared_mem=shared - 4"),
    ("convgemm.py", "conv2d_forward_gemm", "cuda.syncthreads()  # the slice", "pass  # the slice"),
    ("convgemm.py", "conv2d_backward_weight_reduce", "cuda.syncthreads()", "pass"),
    ("conv2d_numba.py", "conv2d_forward_naive", "float32(", "float("),
    ("maxpool2d.cu", "maxpool2d_forward", "value > best", "value >= best"),
    ("maxpool2d.cu", "maxpool2d_backward", "* kw + ix", "* kh + ix"),
    ("maxpool2d_numba.py", "maxpool2d_forward", "oy * sh", "oy * sw"),
    ("maxpool2d_numba.py", "maxpool2d_forward", " or (value != value and best == best)", ""),
    ("batch_norm.cu", "batch_norm_statistics", "- shift;", ";"),
    ("batch_norm.cu", "batch_norm_normalise", "+ away * away", "+ away"),
    ("batch_norm.cu", "batch_norm_backward_input", "min(first + chunk, total)", "first + chunk"),
    ("avgpool2d.cu", "avgpool2d_forward", "i >= n", "i > n"),
    ("cross_entropy.cu", "cross_entropy_forward", "if (q != 0.0f) ", ""),
    ("cross_entropy.cu", "cross_entropy_forward", "earlier && ", ""),
    ("cross_entropy.cu", "cross_entropy_forward", "place < n ? classes : 0", "classes"),
    ("cross_entropy.cu", "finish", "sums ? sums[1] : 0.0f", "0.0f"),
    ("mma.cu", "sum_slices", "STAGES - 2", "STAGES - 1"),
    ("mma.cu", "mma_backward_weight_reduce", "__syncthreads();", ";"),
    ("dropout.cu", "dropout_elements", ">= threshold", "> threshold"),
    ("globalavgpool2d.cu", "globalavgpool2d_forward", "i += 32", "i += 64"),
]


def plant(file, function, before, after):
    text = (KERNELS / file).read_text()
    start = text.index(before, text.index(f"{function}("))
    kind = "double" if before.startswith(("float32(", ": 0.0f")) else "planted"
    return Mutant(file, function, kind, text.count("\n", 0, start) + 1, start, start + len(before), after)


@pytest.fixture(scope="module")
def verdicts():
    try:
        find_compiler()
    except NoCompiler as error:
        pytest.skip(str(error))
    return {mutant: verdict for mutant, verdict, _ in run([plant(*each) for each in PLANTS], 2, 60)}


@pytest.mark.parametrize("each", PLANTS, ids=lambda each: f"{each[1]}: {each[3] or each[2]}")
def test_a_mistake_is_found(each, verdicts):
    assert verdicts[plant(*each)] == "killed"


def test_a_kernel_without_a_mistake_is_not():
    """Nothing replaced by nothing: right, and the same machine code."""
    for file, function in (
        ("maxpool2d.cu", "maxpool2d_forward"),
        ("globalavgpool2d_numba.py", "globalavgpool2d_forward"),
    ):
        ((_, verdict, _),) = run([plant(file, function, "", "")], 1)
        assert verdict == "equivalent"


def test_what_was_recorded():
    """No removed barrier, and no shortened shared memory that changes the code, was missed."""
    files = json.loads((BENCH / "results" / "mutations.json").read_text())["files"]
    kinds = [
        (kind, counts)
        for functions in files.values()
        for f in functions.values()
        for kind, counts in f["kinds"].items()
    ]
    barriers = [counts for kind, counts in kinds if kind == "barrier"]
    assert barriers and all(counts["survived"] == counts["equivalent"] == 0 for counts in barriers)
    assert sum(counts["killed"] for _, counts in kinds) > 20 * sum(counts["survived"] for _, counts in kinds)


# the mutants themselves


def test_every_kind_of_mistake_is_planted_somewhere():
    """A rule that no kernel matches any more would never be missed."""
    planted = {mutant.kind for file in files() for mutant in mutants(file)}
    assert planted == {kind for rules in RULES.values() for kind, *_ in rules} | {"condition dropped"}


CODE = """
// oy < ox
__device__ inline float stage(int oy, int ox) { return oy + 1 < ox && ox >= 0 ? 0.5f : 1.0f; }
extern "C" __global__ void __launch_bounds__(32) kernel(float* x, int n) {
    __shared__ float s[4][33];
    for (int oy = 0; oy < n; ++oy) s[oy][threadIdx.x] = x[oy];
    __syncthreads();  // why
    if (threadIdx.x >= n) return;
    x[0] = s[0][1];
}
"""


def test_mutants_of_a_text(tmp_path):
    file = tmp_path / "toy.cu"
    file.write_text(CODE)
    found = [(m.function, m.kind, m.line, m.apply(CODE)) for m in mutants(file)]

    def after(kind, line):
        return sorted(
            text.splitlines()[number - 1].strip() for _, k, number, text in found if (k, number) == (kind, line)
        )

    assert not [line for _, _, line, _ in found if line == 2]
    assert after("barrier", 7) == [";  // why"]
    assert after("shared size", 5) == ["__shared__ float s[4 - 1][33];", "__shared__ float s[4][33 - 1];"]
    assert after("bound", 8) == ["if (threadIdx.x > n) return;"]
    assert after("condition dropped", 8) == ["if (false) return;"]
    assert after("condition dropped", 6) == []
    body = CODE.splitlines()[2]
    assert after("condition dropped", 3) == sorted(body.replace(c, "true") for c in ("oy + 1 < ox", "ox >= 0"))
    assert after("double", 3) == sorted([body.replace("0.5f", "0.5"), body.replace("1.0f", "1.0")])
    assert after("off by one", 3) == [body.replace("oy + 1", "oy")]
    assert {function for function, *_ in found} == {"stage", "kernel"}
