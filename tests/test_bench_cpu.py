"""What bench/cpu_step.py compares with computes the same, and its tables say what was measured."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
import cpu_peers  # noqa: E402
import cpu_shapes  # noqa: E402
import cpu_step  # noqa: E402
import cpu_subjects  # noqa: E402
import machine  # noqa: E402
from cpu_step import MALLOC, SUBJECTS, environment, gather, patiently, ratio  # noqa: E402
from cpu_tables import shape_table, step_tables  # noqa: E402

rng = np.random.default_rng(0)
NETWORKS = ("lenet", "alexnet-lite")


def need_torch():
    pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle").set_num_threads(1)


def far(found, expected):
    """|error| / |value| in the 2-norm, the worst of all."""
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module", params=NETWORKS)
def exact(request):
    """A network, two pictures with labels, and the loss and the gradients in float64 by the reference kernels."""
    x, y = rng.standard_normal((2, *cpu_subjects.IMAGE), dtype=np.float32), np.array([3, 7])
    subject = cpu_subjects.Ours(request.param, kernels="xp")
    subject.model.to(subject.device, np.float64)
    return request.param, x, y, *subject.gradients(x.astype(np.float64), y)


@pytest.mark.parametrize("name", ["numpy-im2col", "numpy-nhwc", "torch", "torch-channels-last", "gpucnn"])
def test_gradients_of_a_subject(exact, name):
    if name.startswith("torch"):
        need_torch()
    network, x, y, loss, gradients = exact
    subject = cpu_subjects.make(name, network)
    found, ours = subject.gradients(*subject.batch(x, y))
    assert abs(found - loss) < 1e-5 * loss
    assert list(ours) == list(gradients)
    assert all(ours[p].shape == gradients[p].shape for p in gradients)
    assert far(ours.values(), gradients.values()) < 1e-3


@pytest.mark.parametrize("name", ["numpy-im2col", "numpy-nhwc", "torch-channels-last"])
def test_three_steps_of_a_subject_are_ours(name):
    if name.startswith("torch"):
        need_torch()
    x, y = rng.standard_normal((4, *cpu_subjects.IMAGE), dtype=np.float32), np.arange(4)
    losses = []
    for subject in (cpu_subjects.make("gpucnn", "lenet"), cpu_subjects.make(name, "lenet")):
        subject.mode(True)
        batch = subject.batch(x, y)
        losses.append([subject.step(*batch) for _ in range(3)])
        subject.mode(False)
        assert subject.evaluate(batch[0]).shape == (4, 10)
    assert losses[0][0] > losses[0][2]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize(("size", "stride", "padding"), [((3, 2), (2, 1), (1, 0)), ((2, 2), (2, 2), (0, 0))])
def test_im2col_with_strides_and_ties(size, stride, padding):
    x, w = rng.integers(-2, 3, (2, 3, 7, 6)).astype(np.float64), rng.standard_normal((4, 3, *size))
    conv, pool = g.Conv2d(3, 4, size, stride, padding), g.MaxPool2d(size, stride, padding)
    conv.weight.data, conv.bias.data = w, rng.standard_normal(4)
    for layer, peer in ((conv, cpu_peers.Im2colConv(conv)), (pool, cpu_peers.Im2colMaxPool(pool))):
        leaf = g.Tensor(x, requires_grad=True)
        y = layer(leaf)
        gy = rng.standard_normal(y.shape)
        y.backward(gy)
        np.testing.assert_allclose(peer.forward(x, True), y.data, atol=1e-12)
        np.testing.assert_allclose(peer.backward(gy), leaf.grad, atol=1e-12)


def test_channels_last_pooling_with_ties():
    x = rng.integers(-1, 2, (2, 3, 6, 8)).astype(np.float64)
    leaf = g.Tensor(x, requires_grad=True)
    y = F.max_pool2d(leaf, 2)
    gy = rng.standard_normal(y.shape)
    y.backward(gy)
    peer = cpu_peers.ChannelsLastMaxPool(g.MaxPool2d(2))
    np.testing.assert_array_equal(peer.forward(x.transpose(0, 2, 3, 1), True).transpose(0, 3, 1, 2), y.data)
    np.testing.assert_array_equal(peer.backward(gy.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), leaf.grad)


def test_what_the_peers_cannot_do_they_refuse():
    with pytest.raises(NotImplementedError, match="stride"):
        cpu_peers.ChannelsLastConv(g.Conv2d(1, 1, 3, 2))
    with pytest.raises(NotImplementedError, match="only 2x2"):
        cpu_peers.ChannelsLastMaxPool(g.MaxPool2d(3))
    with pytest.raises(NotImplementedError, match="Tanh"):
        cpu_peers.Im2col(cpu_subjects.model_class("lenet-1998")((1, 32, 32), 10))


def test_an_option_that_device_lacks_skips_its_subject():
    with pytest.raises(cpu_subjects.Skipped, match="no such_option"):
        cpu_subjects.Ours("lenet", such_option=False)
    with pytest.raises(cpu_subjects.Skipped, match="'raw'"):
        cpu_subjects.Ours("lenet", kernels="raw")


def test_ops_are_those_of_the_networks():
    ops = {op.text(): op.networks for op in cpu_shapes.ops()}
    assert ops["conv2d 3x32x32 -> 6, 5x5, no gx"] == ("lenet",)
    assert ops["conv2d 64x16x16 -> 128, 3x3, padding 1x1"] == ("alexnet-lite",)
    assert ops["linear 400 -> 120"] == ("lenet", "lenet-1998")
    assert ops["avg_pool2d 6x28x28, 2x2"] == ("lenet-1998",)
    assert len(ops) == len(cpu_shapes.ops()) == 23


def test_an_op_has_the_same_gradients_on_both_sides(monkeypatch):
    need_torch()
    inputs = []
    calls = cpu_shapes._calls
    monkeypatch.setattr(
        cpu_shapes, "_calls", lambda call, each, ones: (inputs.append(each), calls(call, each, ones))[1]
    )
    op = next(op for op in cpu_shapes.ops() if op.kind == "conv2d" and op.needs_gx)
    for make in (cpu_shapes.ours, cpu_shapes.theirs):
        make(op, 2)[1]()
    assert far([np.asarray(each.grad) for each in inputs[0]], [each.grad.numpy() for each in inputs[1]]) < 1e-5


def test_environment_of_a_measurement(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "3000")
    ours, tuned = (environment(SUBJECTS[name], 2) for name in ("gpucnn", "torch-tuned"))
    assert (ours["NUMBA_NUM_THREADS"], ours["OPENBLAS_NUM_THREADS"]) == ("2", "1")
    assert (tuned["OMP_NUM_THREADS"], tuned["OPENBLAS_NUM_THREADS"]) == ("2", "2")
    assert not [name for name in ours | tuned if name.startswith("GOMP_")]
    assert not [name for name in ours if name.startswith("MALLOC_")]
    assert {name for name in tuned if name.startswith("MALLOC_")} == set(MALLOC)


def one_round(step, evaluation, **more):
    part = {"page_faults": 0.0, "calls": 5, "ms_first": 90.0}
    found = {"step": part | {"ms": step, "ms_min": step / 2}, "eval": part | {"ms": evaluation, "ms_min": 0.5}}
    return found | {"others": 0.25, "start_us": [1.5, 2.0], "details": {"kernels": "cpu"}, "environment": {}} | more


@pytest.fixture
def subjects():
    epoch = {"epoch": {"images_per_second": 12345.6, "augment": ["crop", "flip"]}}
    rounds = {
        "gpucnn": [one_round(ms, 1.0, **epoch) for ms in (2.0, 2.5, 4.0)],
        "torch": [one_round(ms, 4.0) for ms in (11.0, 10.0, 12.0)],
        "torch-tuned": [one_round(ms, 5.0) for ms in (9.0, 10.0, 10.5)],
        "torch-compile": [one_round(1.0, 1.0)],
    }
    return {name: gather(each, 128) for name, each in rounds.items()}


def test_an_empty_kernel_takes_microseconds():
    assert 0 < cpu_step.start_us(1) < 1e4


def test_medians_and_ratios(subjects):
    step = subjects["gpucnn"]["step"]
    assert (step["ms"], step["ms_min"], step["ms_max"], step["images_per_second"]) == (2.5, 2.0, 4.0, 51200.0)
    assert ratio(subjects, "step") == {
        "best": "torch-tuned", "ratio": 4.0, "low": 2.25, "high": 5.25, "of_fastest": 4.5
    }  # fmt: skip
    evaluation = ratio(subjects, "eval")
    assert (evaluation["best"], evaluation["ratio"], evaluation["of_fastest"]) == ("torch", 4.0, 1.0)
    assert ratio({"torch": subjects["torch"]}, "step") is None


def test_from_measurement_to_table(tmp_path):
    flags = "--networks lenet --subjects gpucnn numpy-nhwc gpucnn-exact --batches 3 --threads 1 --rounds 1"
    command = [
        sys.executable,
        BENCH / "cpu_step.py",
        *flags.split(),
        "--seconds",
        "0.001",
        "--tries",
        "1",
        "--output",
        tmp_path,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=250)
    record = json.loads((tmp_path / "cpu-step-lenet.json").read_text())
    assert max(record["check"]["errors"]["numpy-nhwc"].values()) < 1e-3
    (run,) = record["runs"]
    assert {"gpucnn", "numpy-nhwc"} <= set(run["subjects"])
    assert run["subjects"].keys() | run["skipped"].keys() == {"gpucnn", "numpy-nhwc", "gpucnn-exact"}
    ours = run["subjects"]["gpucnn"]
    assert ours["step"]["calls"] >= 5
    assert ours["epoch"]["images_per_second"] > 0
    assert len(ours["environment"]["cores"]) == 1
    assert step_tables(record).count("| lenet | 3 | 1 | ") == 2


def test_other_batches_of_the_same_code_and_machine_stay(tmp_path):
    file = tmp_path / "cpu-step-lenet.json"
    runs = [{"batch": batch, "threads": threads} for batch in (32, 128) for threads in (1, 2)]
    options = argparse.Namespace(batches=[128], threads=[2])
    assert cpu_step.measured_before(file, MACHINE, options) == []
    file.write_text(json.dumps({"machine": MACHINE, "runs": runs}))
    assert cpu_step.measured_before(file, MACHINE, options) == runs[:3]
    assert cpu_step.measured_before(file, MACHINE | {"commit": "d"}, options) == []


STARTS = [[1.4, 1.6], [1.5, 2.0], [3.1, 1.5]]  # before and after each measurement
MACHINE = {
    "cpu": "A CPU, 2 cores",
    "isa": ["avx2"],
    "torch": "2",
    "numpy": "3",
    "numba": None,
    "blas": "b",
    "commit": "c",
}


def test_a_disturbed_measurement_is_repeated(monkeypatch):
    def found(*others, tries=3):
        each = iter(others)
        monkeypatch.setattr(cpu_step, "measure", lambda job, timeout: {"others": next(each)})
        return patiently({}, argparse.Namespace(tries=tries, quiet=0.1, timeout=1.0))["others"]

    assert found(0.05, 0.0) == 0.05
    assert found(0.5, 0.08, 0.0) == 0.08
    assert found(0.5, 0.2, 0.3, 0.0) == 0.2
    monkeypatch.setattr(cpu_step, "measure", lambda job, timeout: {"skipped": "no"})
    assert patiently({}, argparse.Namespace(tries=3, quiet=0.1, timeout=1.0)) == {"skipped": "no"}


def test_table_of_steps(subjects):
    ratios = {part: ratio(subjects, part) for part in ("step", "eval")}
    run = {"network": "lenet", "batch": 128, "threads": 1, "subjects": subjects, "ratio": ratios}
    alone = {"torch": subjects["torch"]}
    other = {"network": "lenet", "batch": 128, "threads": 2, "subjects": alone, "ratio": dict.fromkeys(ratios)}
    text = step_tables({"machine": MACHINE, "rounds": 3, "runs": [run, other]})
    lines = text.splitlines()
    assert lines[0] == (
        "| training step | batch | threads | gpucnn | PyTorch | PyTorch, malloc tuned | torch.compile "
        "| gpucnn is faster | images/s |"
    )
    assert lines[2] == "| lenet | 128 | 1 | 2.50 | 11.0 | 10.0 | 1.00 | 4.00x (2.25 to 5.25) | 12,346 |"
    assert lines[3] == "| lenet | 128 | 2 |  | 11.0 |  |  |  |  |"
    assert "| lenet | 128 | 1 | 1.00 | 4.00 | 5.00 | 1.00 | 4.00x (4.00 to 4.00) |" in lines
    assert "Others used at most 0.25 cores" in lines[-1]
    assert "empty kernel" not in lines[-1]
    two = run | {"threads": 2, "subjects": subjects | {"gpucnn": subjects["gpucnn"] | {"start_us": STARTS}}}
    text = step_tables({"machine": MACHINE, "rounds": 3, "runs": [run, two]})
    assert "an empty kernel took 1.6 to 3.1 µs, and in 1 of 3 measurements" in text
    assert "A CPU, 2 cores (AVX2): PyTorch 2, NumPy 3, b, commit c." in lines[-1]


def test_table_of_shapes():
    runs = [
        {"op": op, "networks": ["lenet"], "batch": 128, "threads": threads, "ratio": 3.0}
        | {name: {"both": {"ms": ms}} for name, ms in (("gpucnn", 0.05), ("torch", 0.15))}
        for op, threads in (("linear 2 -> 3", 1), ("linear 2 -> 3", 2), ("linear 3 -> 4", 1))
    ]
    lines = shape_table({"machine": MACHINE, "rounds": 3, "runs": runs}).splitlines()
    assert lines[2] == "| linear 2 -> 3 | lenet | 0.0500 | 0.150 | 3.00x | 0.0500 | 0.150 | 3.00x |"
    assert lines[3] == "| linear 3 -> 4 | lenet | 0.0500 | 0.150 | 3.00x |  |  |  |"


def test_a_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    code, result = tmp_path / "code.py", tmp_path / "bench" / "results" / "a.json"
    result.parent.mkdir(parents=True)
    code.write_text("1")
    result.write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "1"]):
        subprocess.run([*git, *words], check=True)
    clean = machine.commit()
    assert clean
    result.write_text("2")  # what one benchmark writes while the next one waits
    assert machine.commit() == clean
    code.write_text("2")
    assert machine.commit() == f"{clean}-dirty"
