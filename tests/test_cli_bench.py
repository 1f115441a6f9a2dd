"""`gpucnn bench`: what it times, that it checks first and again afterwards, and that the simulator is a rehearsal."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import gpucnn_kernels
import numpy as np
import pytest
from command import fail, gpucnn, succeed
from gpucnn_kernels import clock, launchcost
from gpucnn_kernels.channelslast import channels_last, copied

from gpucnn import Device, memory
from gpucnn.cli import bench_kernels, bench_step
from gpucnn.costs import Cost
from gpucnn.roofs import Roofs

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_conv.cu"
ROOFS = {"cpu": Roofs(100.0, 10.0)}
SMALL = "--model tinydigits-cnn --batch-size 3 --repeats 2 --json"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Where roofs are not measured, either: beside other tests they would be wrong, and kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module("gpucnn.cli.bench"), "roofs", lambda device: ROOFS.get(device.type))


def bench(line):
    code, out, err = gpucnn(f"bench {line}")
    return code, json.loads(out.splitlines()[-1]), err


class Stopwatch(clock.Cpu):
    """A clock that writes down what is done between its readings."""

    def __init__(self):
        self.said = []

    def times(self, replay, repeats):
        self.said.append("timed")
        return super().times(replay, repeats)


def a_call(kernel, kind="raw", x=None):
    """Average pooling over 2x2 of 1x1x4x4, as a step would call it."""
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) if x is None else x
    return bench_kernels.Call("pool.forward", "avgpool2d", kind, kernel, (x, (2, 2), (2, 2), (0, 0)), Cost(0, 80))


def right(x, *window):
    return gpucnn_kernels.load("avgpool2d", "xp").forward(x, *window)


def test_a_kernel_is_compared_before_it_is_timed_and_again_afterwards():
    watch = Stopwatch()
    row = bench_kernels.measured(a_call(lambda *a: watch.said.append("called") or right(*a)), watch, 3)
    assert watch.said[0] == "called" and watch.said[-1] == "called" and watch.said.count("timed") == 2
    assert row["error"] == 0 and "fault" not in row and 0 < row["us_min"] <= row["us"] <= row["us_max"]
    assert row["gbs"] == pytest.approx(1e-3 * 80 / row["us"]) and row["gflops"] == 0


def test_a_wrong_kernel_is_not_timed():
    watch = Stopwatch()
    row = bench_kernels.measured(a_call(lambda *a: right(*a) * np.float32(1.001)), watch, 3)
    assert "us" not in row and watch.said == []
    assert row["fault"].startswith("results are off by 1.0e-03")
    assert "fault" not in bench_kernels.measured(a_call(lambda *a: right(*a) * np.float32(1.001), "bf16"), watch, 1)


def test_a_kernel_that_gives_other_bits_later_does_not_count():
    calls = iter(range(100))
    row = bench_kernels.measured(a_call(lambda *a: right(*a) + np.float32(1e-6 * (next(calls) > 2))), Stopwatch(), 1)
    assert row["fault"] == "results have other bits after it was timed"


def test_not_a_number_is_wrong():
    row = bench_kernels.measured(a_call(lambda *a: right(*a) * np.float32("nan")), Stopwatch(), 1)
    assert "us" not in row


def test_on_a_gpu_the_calls_take_turns_with_copies_that_do_not_fit_its_cache():
    watch = Stopwatch()
    watch.l2 = 100  # bytes; the arrays have 80
    seen = []
    bench_kernels.measured(a_call(lambda x, *a: seen.append(x) or right(x, *a)), watch, 1)
    places = [x.ctypes.data for x in seen[1:-1]]
    assert len(places) == 21 * 3 and len(set(places)) == 3  # two runs to warm up, one that counts
    assert places[:6] == 2 * places[:3]


def test_a_copy_lies_as_the_array_does():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    for array in (x, channels_last(x)):
        other = copied(array)
        assert other.strides == array.strides and not np.shares_memory(other, array)
        np.testing.assert_array_equal(other, array)


def test_the_caches_of_a_cpu_are_filled_with_something_else(tmp_path, monkeypatch):
    (tmp_path / "index0").mkdir()
    (tmp_path / "index1").mkdir()
    (tmp_path / "index0/size").write_text("32K\n")
    (tmp_path / "index1/size").write_text("2048K\n")
    monkeypatch.setattr(clock, "_CACHES", tmp_path)
    assert clock.last_level_cache() == 2 << 20
    host = clock.Host()
    before = [part.copy() for part in host._parts]
    assert sum(part.nbytes for part in before) == 4 << 20
    log = []
    host.times(clock.Replay(lambda: log.append(host._parts[0][0]), 1), 2)
    assert log == [1, 2]
    assert all((new == old + 2).all() for new, old in zip(host._parts, before, strict=True))
    (tmp_path / "index1/size").write_text("huge\n")
    assert clock.last_level_cache() == 64 << 20


def test_every_pass_of_a_step_is_timed_with_each_kind_of_kernels():
    code, found, _ = bench(f"kernels --device cpu {SMALL}")
    assert code == 0 and not found["rehearsal"] and found["device"] == "cpu"
    rows = {(row["name"], row["kernels"]): row for row in found["rows"]}
    conv = rows["features.0.forward", "xp"]
    assert conv["flops"] == 2 * 3 * 8 * 6 * 6 * 9
    assert conv["bytes"] == 4 * (3 * 64 + 72 + 8 + 3 * 8 * 36)
    fused = rows["features.0.forward", "cpu"]
    assert (fused["op"], fused["flops"]) == ("conv2d_relu_maxpool", conv["flops"])
    linear = rows["classifier.0.backward_weight", "cpu"]
    assert linear["flops"] == 2 * 3 * 72 * 10
    assert {"classifier.0.forward", "classifier.0.backward_input"} <= {name for name, _ in rows}
    for row in rows.values():
        assert row["us_min"] <= row["us"] <= row["us_max"] and row["error"] < 1e-5
        best = max(1e-5 * row["flops"], 1e-4 * row["bytes"])  # us
        assert row["of_roof"] == pytest.approx(best / row["us"])


def test_an_op_alone_is_not_fused():
    _, found, _ = bench(f"kernels conv2d --device cpu --impl cpu {SMALL}")
    assert [row["name"] for row in found["rows"]] == ["features.0.forward", "features.0.backward_weight"]


def test_rungs_and_files_on_the_simulator_as_a_rehearsal():
    code, found, err = bench(f"kernels conv2d.forward_tiled --device sim --impl raw {SMALL}")
    assert code == 0 and found["rehearsal"]
    assert "say nothing about a GPU" in err
    assert [(row["name"], row["kernels"]) for row in found["rows"]] == [("features.0.forward", "raw tiled")]
    assert "of_roof" not in found["rows"][0]
    _, found, _ = bench(f"kernels {EXAMPLE} --op conv2d --device sim {SMALL}")
    assert [row["kernels"] for row in found["rows"]] == [str(EXAMPLE)]


def test_a_wrong_file_ends_with_an_error():
    Path("wrong.cu").write_text(EXAMPLE.read_text().replace("sum += ", "sum -= "))
    code, found, err = bench(f"kernels wrong.cu --op conv2d --device sim {SMALL}")
    assert code == 1 and "us" not in found["rows"][0]
    assert "features.0.forward, wrong.cu: results are off by" in err


def test_what_a_step_does_not_call_is_an_error():
    fail(
        "bench kernels avgpool2d --device cpu --model tinydigits-cnn -b 2", 1, "calls none of these kernels", "--model"
    )
    fail("bench kernels conv3d --device cpu", 2, "no op 'conv3d'")
    fail(f"bench kernels {EXAMPLE} --op conv2d --device cpu", 2, "runs on sim and cuda", "add --device sim")
    fail(f"bench kernels {EXAMPLE} --op conv2d --device sim --impl numba", 2, "leave out --impl")


@pytest.mark.parametrize("device", ["cpu", "sim"])
def test_steps_are_timed_as_fit_makes_them(device):
    code, found, _ = bench(f"step --device {device} --model tinydigits-cnn --batch-size 4 --seconds 0.05 --json")
    (row,) = found["rows"]
    assert code == 0 and found["rehearsal"] == (device == "sim")
    assert row["us_min"] <= row["us"] <= row["us_max"]
    assert row["images_per_second"] == pytest.approx(4e6 / row["us"])
    assert row["error"] < 1e-3 and np.isfinite(row["loss"])


def test_a_step_with_a_wrong_kernel_is_not_timed():
    Path("wrong.cu").write_text(EXAMPLE.read_text().replace("sum += ", "sum -= "))
    line = "step --device sim --model tinydigits-cnn --batch-size 4 --kernels raw,conv2d=wrong.cu --json"
    code, found, err = bench(line)
    assert code == 1 and "us" not in found["rows"][0] and "gradients are off by" in err


def test_a_step_that_changes_nothing_is_found(monkeypatch):
    monkeypatch.setattr(bench_step, "SGD", lambda parameters, **how: SimpleNamespace(lr=0, step=lambda: None))
    device = Device("cpu", kernels="xp")
    model = bench_kernels.new_model("tinydigits-cnn", device)
    row = bench_step.step(model, bench_kernels.pictures(model, 4, device, 2), 0.0, 1)
    assert row["fault"].startswith("it does not train")


@pytest.mark.parametrize("device", ["cpu", "sim"])
def test_launches_are_timed_with_one_argument_and_with_more(device):
    code, found, _ = bench(f"launch --device {device} --calls 20 --json")
    assert code == 0
    assert [row["kind"] for row in found["rows"]] == list(launchcost.KINDS[device])
    for row in found["rows"]:
        assert row["us_min"] <= row["us"] <= row["us_max"]
        assert np.isfinite([row["us_array"], row["us_number"]]).all() and row["us_repeated"] > 0
    assert succeed(f"bench launch --device {device} --calls 2").count("\n") >= 4


def test_a_launch_that_does_nothing_is_found(monkeypatch):
    monkeypatch.setattr(launchcost, "_call", lambda *_: lambda given: None)
    with pytest.raises(ArithmeticError, match=r"wrote 0\.0 instead of 1"):
        launchcost.cost("raw", np, clock.Cpu(), 1, 1)


@pytest.mark.parametrize("what", ["step", "kernels conv2d"])
def test_a_step_that_does_not_fit_into_memory(what, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 1 << 16)
    line = f"bench {what} --device cpu --model tinydigits-cnn --batch-size 500"
    fail(line, 3, "a step with batches of 500 does not fit into memory", "--batch-size")
