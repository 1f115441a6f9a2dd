"""Kernels of one's own: bound by name, launched as their comment says, refused in words where they cannot run."""

import inspect
from pathlib import Path

import gpucnn_kernels
import numpy as np
import pytest
from gpucnn_kernels import cases, check
from gpucnn_kernels.own import RESULTS, OwnKernels, evaluate, sizes
from gpucnn_kernels.sim import KernelFault

from gpucnn import Device
from gpucnn.errors import UsageError

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_conv.cu"

# Every function of every op, with the sizes in an order of its own.
POOL = """
// launch: grid=(n * c * oh, ceil_div(ow, 8)) block=(8)
extern "C" __global__ void avgpool2d_forward(int h, int w_, int ow, int oh, const float* x, float* y, int kh, int kw,
                                             int sh, int sw, int ph, int pw) {
  int ox = blockIdx.y * 8 + threadIdx.x, oy = blockIdx.x % oh, plane = blockIdx.x / oh;
  if (ox >= ow) return;
  float sum = 0.0f;
  for (int ky = 0; ky < kh; ky++)
    for (int kx = 0; kx < kw; kx++) {
      int iy = oy * sh + ky - ph, ix = ox * sw + kx - pw;
      if (iy >= 0 && iy < h && ix >= 0 && ix < w_) sum += x[(plane * h + iy) * w_ + ix];
    }
  y[(plane * oh + oy) * ow + ox] = sum / (kh * kw);
}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "mine.cu"
        file.write_text(text, encoding="utf-8", newline="")
        return file

    return write


def test_results_cover_the_functions_of_their_ops():
    for op, functions in RESULTS.items():
        for case in cases.table(op)[:4]:
            shapes = functions[case.function]
            names = sizes(dict(zip(_parameters(op, case.function), case.arguments, strict=False)))
            expected = [e.shape for e in case.expected()]
            assert [tuple(names[size] for size in shape) for shape in shapes.values()] == expected


def _parameters(op, function):
    return inspect.signature(getattr(gpucnn_kernels.load(op, "xp"), function)).parameters


@pytest.mark.parametrize(
    "text, values",
    [
        ("7", (7,)),
        ("(ceil_div(oh * ow, 64), co, n)", (2, 5, 3)),
        (" min(n, 2) + max(co, 9) * 2 - 1 ", (19,)),
        ("(oh / 4, oh // 4)", (2, 2)),
    ],
)
def test_evaluate(text, values):
    assert evaluate(text, {"n": 3, "co": 5, "oh": 9, "ow": 11}) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "n.real",
        "n ** 9",
        "__import__('os')",
        "n if n else 1",
        "1.5",
        "True",
        "[n]",
        "n / 0",
        "min(n, key=n)",
        "(n",
    ],
)
def test_evaluate_refuses_all_but_arithmetic(text):
    with pytest.raises(ValueError, match="launch: "):
        evaluate(text, {"n": 3})


def test_the_example_is_right_and_leaves_the_gradients_to_raw():
    module = OwnKernels("conv2d", EXAMPLE)
    assert module.functions == ("forward",)
    table = [case for case in cases.table("conv2d") if case.function == "forward"]
    assert [verdict.fault for verdict in check.check(module, table, sanitize=True)] == [""] * len(table)
    raw = gpucnn_kernels.load("conv2d", "raw")
    assert module.backward_input is raw.backward_input


def test_a_kernel_is_bound_by_the_names_of_its_parameters(written):
    module = OwnKernels("avgpool2d", written(POOL))
    table = [case for case in cases.table("avgpool2d") if case.function == "forward"]
    assert [verdict.fault for verdict in check.check(module, table)] == [""] * len(table)
    x = np.arange(48, dtype=np.float32).reshape(1, 1, 6, 8)
    y = module.forward(x, (2, 2), (2, 2), (0, 0))
    assert y.shape == (1, 1, 3, 4) and y[0, 0, 0, 0] == 4.5


def test_without_a_comment_there_is_a_thread_for_each_result(written):
    file = written(
        'extern "C" __global__ void maxpool2d_backward(float* gx, int n, int c, int h, int w_) {\n'
        "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  if (i < n * c * h * w_) gx[i] = i;\n}\n"
    )
    gy, code = np.zeros((2, 3, 5, 7), np.float32), np.zeros((2, 3, 5, 7), np.uint8)
    gx = OwnKernels("maxpool2d", file).backward(gy, code, (2, 3, 10, 14), (2, 2), (2, 2), (0, 0))
    assert np.array_equal(gx.ravel(), np.arange(840))


@pytest.mark.parametrize(
    "old, new, text",
    [
        (
            "avgpool2d_forward",
            "my_pool",
            'no kernel `extern "C" __global__ void` avgpool2d_forward or avgpool2d_backward',
        ),
        ("int kh", "int batch", "avgpool2d_forward takes batch, but what there is are x, y, n,"),
        ("const float* x", "half* x", "avgpool2d_forward: the parameter 'half\\* x' has none of the types"),
        ("n * c *", "n * gpus *", "launch: 'gpus' is none of integers, n, ci"),
        ("grid=", "blocks=", "has other fields than grid, block, shared"),
        ("block=(8)", "block=(8", "launch: "),
        ("block=(8)", "block=(ceil_div(8))", "launch: "),
        ("launch:", "launch", "is not `// launch: grid="),
        ("// launch: grid", "// Launch: grid", "is not `// launch: grid="),
        ("int kh", "float kh", "avgpool2d_forward: kh is of type int"),
        ("const float* x", "const double* x", r"avgpool2d_forward: x is of type float\\*"),
        ("float* y", "float y", r"avgpool2d_forward: y is of type float\\*"),
    ],
)
def test_a_file_that_cannot_run_is_refused_before_it_does(written, old, new, text):
    assert old in POOL
    with pytest.raises(ValueError, match=text):
        OwnKernels("avgpool2d", written(POOL.replace(old, new)))


@pytest.mark.parametrize(
    "before",
    [
        "\ufeff",
        "// avgpool2d_forward(x, y): my first kernel\n",
        "/* an older one\n// launch: grid=(1) block=(1)\n__global__ void avgpool2d_forward(float* x) {\n}\n*/",
        "__device__ float half_of(float x) {\n  return x / 2;\n}\n",
    ],
)
def test_the_launch_comment_is_that_of_the_kernel(before, written):
    module = OwnKernels("avgpool2d", written(before + POOL.replace("\n", "\r\n")))
    assert module.forward(np.ones((1, 1, 2, 18), np.float32), (2, 2), (2, 2), (0, 0)).tolist() == [[[[1.0] * 9]]]


def test_a_wild_write_is_a_fault_and_not_the_end_of_python(written):
    module = OwnKernels("avgpool2d", written(POOL.replace("y[(plane", "y[100000000 + (plane")))
    for _ in range(2):
        with pytest.raises(KernelFault) as fault:
            module.forward(np.ones((1, 1, 4, 4), np.float32), (2, 2), (2, 2), (0, 0))
    assert fault.value.kind == "out-of-bounds" and fault.value.lines[0].startswith("mine.cu:")


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.cu: No such file"):
        OwnKernels("conv2d", tmp_path / "nowhere.cu")
    (tmp_path / "bytes.cu").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bytes.cu: not a text in UTF-8"):
        OwnKernels("conv2d", tmp_path / "bytes.cu")
    with pytest.raises(ValueError, match="philox takes no kernels of your own; conv2d, maxpool2d, avgpool2d do"):
        OwnKernels("philox", EXAMPLE)


def test_a_device_takes_a_file_for_an_op():
    device = Device("sim", kernels=f"raw,conv2d={EXAMPLE}")
    assert device.implementation["conv2d"] == str(EXAMPLE)
    assert device.kernel("conv2d").functions == ("forward",)
    with pytest.raises(UsageError, match=r"conv2d: nowhere.cu: No such file"):
        Device("sim", kernels="conv2d=nowhere.cu")
    with pytest.raises(UsageError, match="cpu has no kernels"):
        Device("cpu", kernels=f"conv2d={EXAMPLE}")
