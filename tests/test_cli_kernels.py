"""`gpucnn kernels` and `--device sim` as a user meets them."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import gpucnn_kernels
import pytest
from command import gpucnn
from gpucnn_kernels import cases

from gpucnn import DeviceError

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_conv.cu"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mine(old="", new=""):
    """A copy of the example with one thing changed."""
    text = EXAMPLE.read_text()
    assert old in text
    Path("mine.cu").write_text(text.replace(old, new, 1))


def test_list_is_the_matrix_of_ops_and_implementations():
    code, out, _ = gpucnn("kernels list")
    assert code == 0
    rows = {words[0]: words.count("yes") for words in map(str.split, out.splitlines())}
    assert {op: rows[op] for op in gpucnn_kernels.ops()} == {op: len(i) for op, i in gpucnn_kernels.ops().items()}
    code, out, err = gpucnn("kernels list --json")
    assert json.loads(out) == {op: list(impls) for op, impls in gpucnn_kernels.ops().items()}
    assert "conv2d" in err


def test_check_of_one_op():
    code, out, err = gpucnn("kernels check maxpool2d --impl raw --draws 2")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["maxpool2d.forward", "raw"],
        ["maxpool2d.backward", "raw"],
    ]
    counts = Counter(case.function for case in [*cases.table("maxpool2d"), *cases.draws("maxpool2d", 2)])
    assert all(f"{count} right" in line for line, count in zip(out.splitlines(), counts.values(), strict=True))


@pytest.mark.parametrize("flags", ["", "--ptx", "--sanitize"])
def test_check_of_a_file_that_is_right(flags):
    mine()
    code, out, err = gpucnn(f"kernels check mine.cu --op conv2d.forward --json {flags}")
    assert code == 0, err
    result = json.loads(out)
    assert result["wrong"] == 0
    [row] = result["checked"]
    assert (row["op"], row["function"], row["impl"], row["wrong"]) == ("conv2d", "forward", "mine.cu", 0)
    assert "mine.cu" in err


def test_check_of_a_file_that_is_wrong_names_a_shape_and_a_place():
    mine("iy * w_" if "iy * w_" in EXAMPLE.read_text() else "oy * sh", "oy * sw")
    code, out, err = gpucnn("kernels check mine.cu --op conv2d")
    assert code == 1
    assert "conv2d.forward" in out and " wrong " in out
    assert "stride (2, 1)" in out and "instead of" in out
    assert err.startswith("error: ") and "\nhint: " in err


def test_sanitize_names_the_line_of_a_read_beside_an_array():
    mine("ix < w_", "ix <= w_")
    line = next(i for i, text in enumerate(Path("mine.cu").read_text().splitlines(), 1) if "sum += x[" in text)
    code, out, _ = gpucnn("kernels check mine.cu --op conv2d --sanitize")
    assert code == 1
    assert " wrong " in out
    mine("sum += x[", "sum += 0.0f * x[-1] + x[")
    code, out, _ = gpucnn("kernels check mine.cu --op conv2d --sanitize")
    assert code == 1
    assert "instead of" in out or f"mine.cu:{line}" in out


def test_check_of_a_rung_of_the_ladder():
    code, out, err = gpucnn("kernels check conv2d.forward_naive --impl raw --json")
    assert code == 0, err
    [row] = json.loads(out)["checked"]
    assert (row["function"], row["cases"]) == ("forward_naive", len(cases.table("conv2d")) // 3)


def test_report_names_the_lines_of_the_source():
    mine()
    code, out, err = gpucnn("kernels report mine.cu --op conv2d --json")
    assert code == 0, err
    [found] = json.loads(out)["reports"]
    text = Path("mine.cu").read_text().splitlines()
    lines = {
        (line["kind"], text[int(line["line"].rpartition(":")[2]) - 1].strip().split()[0]) for line in found["lines"]
    }
    assert {("load", "sum"), ("store", "y[((image")} <= lines
    code, out, _ = gpucnn("kernels report conv2d.forward_tiled")
    assert code == 0
    assert "conv2d.cu:" in out and "shared load" in out


@pytest.mark.parametrize(
    "line, code, text",
    [
        ("kernels check conv3d", 2, "no op 'conv3d' to check"),
        ("kernels check mine.cu", 2, "which op are these kernels of?"),
        ("kernels check --op conv2d", 2, "--op goes with a FILE.cu"),
        ("kernels check conv2d --op conv2d", 2, "--op goes with a FILE.cu"),
        ("kernels check nowhere.cu --op conv2d", 2, "nowhere.cu: No such file"),
        ("kernels check mine.cu --op conv2d.backward_input", 2, "mine.cu has no kernel conv2d_backward_input"),
        ("kernels check mine.cu --op conv3d", 2, "no op 'conv3d' to check"),
        ("kernels check mine.cu --op dropout", 2, "dropout takes no kernels of your own"),
        ("kernels check mine.cu --op conv2d --device cpu", 2, "mine.cu is CUDA C"),
        ("kernels check mine.cu --op conv2d --impl xp", 2, "mine.cu is CUDA C"),
        ("train --dataset tinydigits --device sim --kernels mine.cu", 2, "which op are these kernels of?"),
        ("kernels check conv2d.sideways", 2, "has no function 'sideways'"),
        ("kernels report dropout --impl numba", 2, "dropout has no kernels numba for sim"),
        ("kernels check linear --impl numba", 2, "linear has no kernels numba for sim"),
        ("kernels check conv2d --device cpu --sanitize", 2, "--sanitize works on --device sim"),
        ("kernels check conv2d --device cpu --ptx", 2, "--ptx works on --device sim"),
        ("train --dataset tinydigits --device sim --kernels conv2d=nowhere.cu", 2, "nowhere.cu: No such file"),
        ("train --dataset tinydigits --device cpu --kernels conv2d=mine.cu", 2, "cpu has no kernels 'mine.cu'"),
        ("train --dataset tinydigits --device sim --kernels linear=numba", 2, "linear has no kernels 'numba'"),
    ],
)
def test_what_cannot_be_done(line, code, text):
    mine()
    found, _, err = gpucnn(line)
    assert found == code, err
    assert err.startswith("error: ") and "\nhint: " in err and len(err.splitlines()) == 2, err
    assert text in err


def test_a_kind_that_does_not_run_is_left_out_unless_it_is_asked_for(monkeypatch):
    missing = DeviceError("numba-cuda is not installed", "pip install it")
    module = import_module("gpucnn.cli.kernels")  # `gpucnn.cli.kernels` is the command
    monkeypatch.setattr(module, "probe_kernels", lambda where, kind: missing if kind == "numba" else None)
    code, out, _ = gpucnn("kernels check globalavgpool2d")
    assert code == 0 and "numba kernels are left out" in out and "globalavgpool2d.forward      raw" in out
    code, _, err = gpucnn("kernels check globalavgpool2d --impl numba")
    assert code == 3 and err.startswith("error: numba kernels do not run on sim: numba-cuda is not installed")


@pytest.mark.parametrize("command", ["kernels check mine.cu --op conv2d", "train --dataset tinydigits --epochs 1 "
                                     "--model tinydigits-cnn --device sim --kernels conv2d=mine.cu"])  # fmt: skip
def test_a_file_that_does_not_compile_is_named_with_its_line(command):
    mine("int oy = pixel / ow;", "int oy = pixels / ow;")
    line = next(i for i, text in enumerate(Path("mine.cu").read_text().splitlines(), 1) if "pixels / ow" in text)
    code, _, err = gpucnn(command)
    assert code == 1
    assert err.startswith("error: ") and len(err.splitlines()) == 2, err
    assert f"mine.cu:{line}" in err and "pixels" in err


def test_a_kernel_that_never_ends_can_be_interrupted():
    mine("if (pixel >= oh * ow) return;", "while (pixel >= 0) {}")
    command = [sys.executable, "-m", "gpucnn", "kernels", "check", "mine.cu", "--op", "conv2d"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # who runs tests in the background ignores it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)  # noqa: PLW1509
    for _ in range(5):  # on a busy machine it is not yet in the loop, and Python may lose a signal while it imports
        time.sleep(5)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


def test_a_kernel_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr("gpucnn.cli.isolated.PATIENCE", 3)
    mine("if (pixel >= oh * ow) return;", "while (pixel >= 0) {}")
    code, out, err = gpucnn("kernels check mine.cu --op conv2d")
    assert code == 1 and "the kernel did not end in 3 s" in out
    code, _, err = gpucnn("kernels report mine.cu --op conv2d")
    assert code == 1 and "the kernel did not end in 3 s" in err


def test_a_recursion_without_end_does_not_end_python():
    mine("// launch", "__device__ int deeper(int n) {\n  return n + deeper(n + 1) % 7;\n}\n// launch")
    mine_text = Path("mine.cu").read_text()
    Path("mine.cu").write_text(mine_text.replace("int oy = pixel / ow;", "int oy = pixel / ow + deeper(pixel);"))
    code, out, _ = gpucnn("kernels check mine.cu --op conv2d")
    assert code == 1 and "the kernel crashed" in out


@pytest.mark.parametrize("kernels", ["raw", "numba", f"raw,conv2d={EXAMPLE}"])
def test_train_on_the_simulator(kernels):
    flags = "--dataset tinydigits --model tinydigits-cnn --device sim --epochs 1 --limit-batches 2 --json"
    code, out, err = gpucnn(f"train {flags} --kernels {kernels}")
    assert code == 0, err
    assert "sim (as asked)" in err
    result = json.loads(out)
    assert result["kernels"]["conv2d"] == kernels.removeprefix("raw,conv2d=")
    assert 0 < result["test_accuracy"] < 1
