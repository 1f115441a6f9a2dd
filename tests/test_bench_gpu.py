"""bench/gpu_all.py walks every section on the simulator, resumes, keeps to its budget and names what it skips."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
from cpu_subjects import Skipped  # noqa: E402
from gpu_clock import Cpu, middle, sets  # noqa: E402
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
    assert record["rows"]["launch"]["us"] > 0
    assert plan(*flags).stdout == "header: measured before\n"
    assert plan(*flags, "--again", "--budget", 0).stdout == "header: skipped: no time left\n"


def test_the_simulator_never_writes_among_the_results():
    done = plan("--device", "sim", "--tiny")
    assert done.returncode == 2
    assert "give it an --output" in done.stderr
