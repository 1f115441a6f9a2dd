"""bench/gpu_all.py walks every section on the simulator, resumes, keeps to its budget and names what it skips."""

import json
import subprocess
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpucnn_kernels.clock import middle, sets

from gpucnn.cli import main

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
import gpu_all  # noqa: E402
import gpu_ops  # noqa: E402
import gpu_profile  # noqa: E402
import gpu_section  # noqa: E402
import gpu_subjects  # noqa: E402
import gpu_tables  # noqa: E402
from cpu_subjects import Skipped  # noqa: E402
from gpu_clock import Cpu, Gpu  # noqa: E402
from gpu_job import Job  # noqa: E402

WHO = {"code": "c", "gpu": "", "device": "sim", "tiny": True}


@pytest.fixture
def job(tmp_path):
    def make(seconds=60.0, who=WHO, **options):
        return Job("header", tmp_path / "gpu-header.json", who, seconds, **options)

    return make


def walk(job, names=("a", "b", "c"), row=None):
    """Measure `names` that are missing; those that were asked for."""
    asked = []
    for name, _ in job.todo(names):
        asked.append(name)
        job.measure(name, lambda: dict(row or {}))
    job.end()
    return asked


def test_rows_are_resumed_one_by_one(job):
    first = job()
    first.measure("b", lambda: {"us": 1.5})
    assert json.loads(first.file.read_text())["complete"] is False
    again = job()
    assert walk(again) == ["a", "c"]
    assert (again.record["complete"], again.rows["b"]["us"]) == (True, 1.5)
    assert walk(job()) == []
    assert walk(job(again=True)) == ["a", "b", "c"]


def test_rows_of_other_code_do_not_count(job):
    walk(job())
    assert walk(job(who=WHO | {"code": "d"})) == ["a", "b", "c"]


def test_the_end_of_the_budget_is_named_and_later_made_good(job):
    late = job(seconds=-1.0)
    assert walk(late) == []
    assert late.record["skipped"] == dict.fromkeys("abc", "no time left")
    assert late.record["complete"] is False
    assert walk(job()) == ["a", "b", "c"]


def test_a_row_that_was_not_whole_comes_again_last(job):
    first = job()
    first.measure("a", lambda: {"late": ["torch"]})
    first.end()
    assert first.record["complete"] is False
    assert walk(job()) == ["b", "c", "a"]


def test_a_row_that_does_not_exist_here_and_one_that_fails(job):
    def nothing():
        raise Skipped("no torch")

    found = job()
    found.measure("a", nothing)
    found.end()
    assert (found.record["complete"], found.record["skipped"]) == (True, {"a": "no torch"})
    found = job()
    found.measure("a", lambda: 1 // 0)
    found.end()
    assert (found.record["complete"], found.record["failed"]) == (False, "1 rows failed")
    assert found.record["skipped"]["a"].startswith("ZeroDivisionError")
    found = job()
    found.measure("b", lambda: {"passes": False})
    found.end()
    assert (found.record["complete"], found.record["failed"]) == (True, "1 rows failed")


def test_times():
    assert middle([3e-6, 1e-6, 8e-6], calls=2) == {"us": 1.5, "us_min": 0.5, "us_max": 4.0}
    clock = Cpu()
    assert sets(clock, 1000) == 1
    clock.l2 = 1500
    assert (sets(clock, 1000), sets(clock, 1), sets(clock, 10**9)) == (3, 256, 1)


@pytest.mark.parametrize("mode", gpu_subjects.MODES)
def test_all_that_pytorch_says_of_its_precision_agrees(mode):
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    gpu_subjects.set_precision(torch, mode)
    value = "tf32" if mode == "tf32" else "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == value
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (mode == "tf32")
    assert torch.get_float32_matmul_precision() == ("high" if mode == "tf32" else "highest")
    gpu_subjects.set_precision(torch, "fp32-ieee")


class FakeCupy(SimpleNamespace):
    """A GPU whose clock goes on by 2 ms a launch; `said`: what it was asked for, in order."""

    def __init__(self, fault=None):
        self.said, self.now, self.kept = [], 0.0, None

        class Stream:
            null = "the default stream"

            def __init__(self, non_blocking):
                assert non_blocking

            def __enter__(self):
                pass

            def __exit__(self, *error):
                pass

            def synchronize(self):
                pass

            def begin_capture(stream):
                self.kept = []

            def end_capture(stream):
                work, self.kept = self.kept, None
                if fault:
                    raise RuntimeError(fault)
                return SimpleNamespace(upload=lambda stream: None, launch=lambda: [do() for do in work])

        class Event:
            def record(event, stream):
                assert stream == "the default stream"
                event.at = self.now

        self.cuda = SimpleNamespace(
            Stream=Stream,
            Event=Event,
            MemoryPool=lambda: SimpleNamespace(malloc=None),
            using_allocator=lambda malloc: nullcontext(),
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
            get_elapsed_time=lambda first, last: 1e3 * (last.at - first.at),
            Device=lambda: SimpleNamespace(attributes={"L2CacheSize": 1000}),
            runtime=SimpleNamespace(deviceSynchronize=lambda: self.said.append("wait")),
        )

    def kernel(self):
        def work():
            self.now += 0.002
            self.said.append("kernel")

        work() if self.kept is None else self.kept.append(work)


def test_a_gpu_is_timed_by_its_events_around_a_graph(monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    clock = Gpu()
    assert clock.l2 == 1000
    replay = clock.ours([fake.kernel] * 3)
    assert (replay.calls, replay.captured) == (3, True)
    fake.said.clear()
    assert middle(clock.times(replay, 2), replay.calls)["us"] == pytest.approx(2000)
    assert fake.said == ["wait", *["kernel"] * 3, "wait"] * 2  # nothing but the graph lies between the events
    wall, gpu = clock.timed(fake.kernel, 5)
    assert gpu == pytest.approx(0.010) and 0 < wall < 1


def test_a_capture_that_is_refused_says_why(monkeypatch):
    fake = FakeCupy(fault="no such thing in a capture")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    with pytest.raises(RuntimeError, match="no graph: no such thing"):
        Gpu().ours([fake.kernel])


def plan(*flags):
    command = [sys.executable, BENCH / "gpu_all.py", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_a_plan_in_processes_of_their_own(tmp_path):
    flags = "--device", "sim", "--tiny", "--output", tmp_path, "--section", "header"
    done = plan(*flags)
    assert done.returncode == 0, done.stderr
    assert "header: graph of 100: skipped: no CUDA graph on sim" in done.stdout
    record = json.loads((tmp_path / "gpu-header.json").read_text())
    assert (record["device"], record["machine"]["gpu"], record["complete"]) == ("sim", "none: sim", True)
    assert record["rows"]["launch"]["raw"]["us"] > 0
    assert plan(*flags).stdout == "header: measured before\n"
    assert plan(*flags, "--again", "--budget", 0).stdout == "header: skipped: no time left\n"


def test_a_section_that_hangs_is_stopped_and_keeps_its_rows(job, monkeypatch, tmp_path):
    first = job()

    def stuck(command, **how):
        given = json.loads(command[-1])
        assert (given["section"], given["seconds"], how["timeout"]) == ("header", 5.0, 5.0 + gpu_all.GRACE)
        first.measure("a", lambda: {"us": 1.0})
        raise subprocess.TimeoutExpired(command, how["timeout"])

    options = SimpleNamespace(output=tmp_path, again=False, device="sim", tiny=True, data_path=None)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", stuck)
        record = gpu_all.run("header", 5.0, options, WHO)
    assert (record["complete"], record["fault"]) == (False, "stopped after 25 s")
    assert json.loads((tmp_path / "gpu-header.json").read_text()) == record
    assert walk(job()) == ["b", "c"]


def test_the_simulator_never_writes_among_the_results():
    done = plan("--device", "sim", "--tiny")
    assert done.returncode == 2
    assert "give it an --output" in done.stderr


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Every section, as gpu_section.py runs it, on the simulator."""
    folder = tmp_path_factory.mktemp("walked")
    for section in gpu_all.SHARES:
        file = folder / f"gpu-{section}.json"
        job = {"section": section, "seconds": 100.0, "file": str(file), "identity": WHO, "data_path": None}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["gpu_section.py", json.dumps(job)])
            gpu_section.main()
    return folder


@pytest.fixture
def record(walked):
    return lambda section: json.loads((walked / f"gpu-{section}.json").read_text())


@pytest.mark.parametrize("section", gpu_all.SHARES)
def test_every_section_is_walked(record, section):
    assert gpu_section.SECTIONS.keys() == gpu_all.SHARES.keys()
    found = record(section)
    assert (found["complete"], found["failed"], found["device"]) == (True, "", "sim"), found["skipped"]
    assert found["rows"] or section == "profile"


def test_gates_compare_with_float64(record):
    rows = record("gates")["rows"]
    conv = rows["conv2d 5x6x9 -> 17, 2x3, stride 2x1, padding 1x0, batch 3"]["kinds"]
    assert "raw" in conv
    for kind in conv.values():
        assert kind["errors"].keys() == {"y", "gx", "gw", "gb"}
        assert kind["same_bits"] and kind["passes"]
    assert {"raw", "numba"} <= rows["max_pool2d 16x10x10, 2x2, batch 2"]["kinds"].keys()
    fused = rows["conv2d+relu+maxpool 6x14x14 -> 16, 5x5, batch 2"]["kinds"]
    assert all(kind["errors"].keys() == {"y", "gx", "gw", "gb", "code"} for kind in fused.values())
    assert rows["tinydigits-cnn, raw"]["same_bits"]


def test_layers_and_steps_have_times_of_both_sides(record):
    for row in record("layers")["rows"].values():
        assert all(each["us"] > 0 and not each["captured"] for each in row["ours"].values())
    steps = record("steps")["rows"]["tinydigits-cnn, batch 2, fp32-ieee"]
    for name in ("gpucnn raw, many steps a graph", "gpucnn raw", "gpucnn raw, eager"):
        ours = steps["subjects"][name]
        assert ours["us"] > 0 and ours["trained"] and len(ours["losses"]) == 2
        assert ours["details"]["graph"] == (not name.endswith("eager"))
    assert record("steps")["rows"]["tinydigits-cnn, batch 2, raw: epoch"]["ms"] > 0
    if record("header")["machine"]["torch"]:
        assert steps["ratio"] > 0
        assert steps["skipped"]["torch graph"] == "PyTorch's graph is about a GPU"
    else:
        assert "no torch" in steps["skipped"]["torch eager"]


def test_layers_are_those_of_both_networks():
    found = {op.text(): op for op in gpu_ops.layers()}
    assert next(text for text in found if "pool2d" not in text) == "conv2d+relu 256x8x8 -> 256, 3x3, padding 1x1"
    conv = found["conv2d 256x8x8 -> 256, 3x3, padding 1x1"]
    assert gpu_ops.cost(conv, "gx", 512).flops == 2 * 512 * 256 * 64 * 256 * 9
    first = found["conv2d+relu+maxpool 3x32x32 -> 64, 3x3, padding 1x1, no gx"]
    assert gpu_ops.y_shape(first, 2) == (2, 64, 16, 16)
    assert gpu_ops.cost(first, "forward", 2).flops == 2 * 2 * 64 * 32 * 32 * 27
    assert sum(text.startswith("conv2d+relu") for text in found) == 7
    assert gpu_ops.y_shape(found["max_pool2d 64x32x32, 2x2"], 3) == (3, 64, 16, 16)
    assert gpu_profile.ROWS.keys() <= {f"{text}: {part}" for text in found for part in gpu_ops.RESULTS}
    assert len(gpu_ops.odd()) > 20


def test_what_the_profiler_says():
    text = (
        '==PROF== Disconnected\n"ID","Kernel Name","gpu__time_duration.sum","other"\n"","","us",""\n"0","k","5.1","1"\n'
    )
    assert gpu_profile.read(text) == {"Kernel Name": "k", "gpu__time_duration.sum": "5.1 us"}
    assert gpu_profile.read("==ERROR== no permission\n") == {}


def test_a_step_under_the_events_of_a_gpu(monkeypatch):
    """What would run there is a command that `gpucnn profile` takes."""
    asked = []
    done = SimpleNamespace(returncode=0, stdout='lenet\n{"rows": []}\n', stderr="error: no GPU\nhint: none\n")
    monkeypatch.setattr(gpu_profile.subprocess, "run", lambda command, **_: asked.append(command) or done)
    assert gpu_profile._step(SimpleNamespace(device="cuda"), "lenet", 60) == {"rows": []}
    flags = main.commands["profile"].make_context("profile", asked[0][4:]).params
    assert (flags["model"], flags["device"], flags["batch_size"], flags["tool"]) == ("lenet", "cuda", 512, "events")
    done.returncode = 3
    with pytest.raises(RuntimeError, match="gpucnn profile: error: no GPU"):
        gpu_profile._step(SimpleNamespace(device="cuda"), "lenet", 60)
    with pytest.raises(Skipped, match="CUDA events are of a GPU"):
        gpu_profile._step(SimpleNamespace(device="sim"), "lenet", 60)


def test_the_simulator_makes_no_table(walked, tmp_path):
    for section in ("steps", "layers", "gates", "header"):
        with pytest.raises(SystemExit, match="sim, which is no GPU"):
            gpu_tables.found(section, walked)
    assert gpu_tables.found("steps", tmp_path) is None


def test_tables_of_a_gpu(record, tmp_path):
    """Of what was walked, as if a GPU had been: that there is a row for each measurement."""
    header, layers, steps, gates = (record(section) for section in ("header", "layers", "steps", "gates"))
    text = gpu_tables.step_table(steps)
    has_torch = steps["machine"]["torch"] is not None
    assert text.count("| tinydigits-cnn | 2 | fp32 |") == has_torch
    assert "Left out" not in text
    assert gpu_tables.gate_table(gates).count("| raw | 6 |") == 1
    text = gpu_tables.layer_table(layers, header)
    assert text.count("| raw |") == sum("raw" in row["ours"] for row in layers["rows"].values()) == 7
    assert text.count("| numba |") == 2
    rows = {"gemm tf32": {"tflops": 300.0}, "copy": {"gbs": 4000.0}, "versions": {"tflops_ffma": 60.0}}
    tops = gpu_tables.ceilings({"rows": rows})
    assert tops == {"tf32": 300.0, "fp32-ieee": 60.0, "copy": 4000.0}
    row = {"bytes": 8_000_000, "flops": 600_000_000}
    assert [gpu_tables.roofline(row, kind, tops) for kind in ("raw", "tf32x3", "tf32", "bf16")] == [
        10.0,
        6.0,
        2.0,
        None,
    ]
    drawings = import_module("gpucnn.cli.drawings")
    assert len(drawings.encoded(gpu_tables.picture(layers, tops), "png")) > 10_000


def test_steps_that_were_late_or_tied_say_so():
    def row(**more):
        times = {
            "us": 100.0,
            "us_min": 90.0,
            "us_max": 120.0,
            "images_per_second": 5_120_000,
            "details": {"graph": False},
        }
        subjects = {"gpucnn raw": times, "torch graph": times | {"us": 110.0}, "torch eager": times | {"us": 800.0}}
        found = {"network": "lenet", "batch": 512, "mode": "tf32", "subjects": subjects, "best": "gpucnn raw"}
        return (
            found
            | {"best_torch": "torch graph", "ratio": 1.1, "ratio_low": 0.75, "ratio_high": 1.33, "tie": True}
            | more
        )

    record = {"rows": {"a": row(), "b": row(late=["torch default"])}, "skipped": {"c": "no time left"}}
    record["machine"] = {"gpu": "G", "driver": "D", "torch": "2.13", "commit": "abc"}
    lines = gpu_tables.step_table(record).splitlines()
    assert lines[2] == (
        "| lenet | 512 | tf32 | raw, no graph | 100 | 5,120,000 | graph | 110 | 5,120,000 "
        "| 1.10x (0.75 to 1.33, a tie) | 8.00x |"
    )
    assert "Left out: c (no time left); b: torch default (no time left)." in lines[-1]
    assert lines[-1].endswith("Measured with `make bench-gpu` on G: driver D, PyTorch 2.13, commit abc.")


def test_a_race_on_the_simulator(tmp_path):
    file = tmp_path / "race.json"
    flags = "--target 0.05 --seeds 1 --recipe none --device sim --dataset tinydigits --epochs 2 --limit-batches 2"
    command = [sys.executable, BENCH / "time_to_accuracy.py", *flags.split(), "--augment", "crop,flip"]
    done = subprocess.run([*command, "--output", file], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    runs = {run["subject"]: run for run in found["runs"]}
    assert runs["gpucnn"]["seconds"] == runs["gpucnn"]["epochs"][-1]["seconds"] > 0
    assert runs.keys() | found["skipped"].keys() == {"gpucnn", "torch eager", "torch reduce-overhead"}
    assert found["skipped"]["torch reduce-overhead"]
    with pytest.raises(SystemExit, match="sim, which is no GPU"):
        gpu_tables.race_table(found)


def test_table_of_a_race():
    def run(subject, seconds, seed):
        return {"subject": subject, "seconds": seconds, "seed": seed, "epochs": [{"test_accuracy": 0.81}] * (4 + seed)}

    runs = [run("gpucnn", 3.0, 0), run("gpucnn", 4.0, 1), run("torch eager", None, 0), run("torch eager", 9.0, 1)]
    record = {"device": "cuda", "target": 0.8, "recipe": "fast", "runs": runs, "skipped": {}}
    record["machine"] = {"gpu": "G", "commit": "abc"}
    lines = gpu_tables.race_table(record).splitlines()
    assert lines[2] == "| gpucnn | 3.50 | 3.00 | 4.00 | 4 to 5 | 2 of 2 |"
    assert lines[3] == "| torch eager | 9.00 | 9.00 | 9.00 | 5 | 1 of 2 |"
    assert "80.0%" in lines[-1]
