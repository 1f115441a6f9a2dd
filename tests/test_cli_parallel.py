"""The command line on several processes: they start, stop and fail together, and one of them speaks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import gpucnn, succeed
from failures import saw
from ranks import MPIRUN, ONE_THREAD, Share, install_mpi, needs_mpi

from gpucnn import DataError, UsageError
from gpucnn.checkpoint import load_state
from gpucnn.cli.ranks import end, require_same
from gpucnn.data import load

DATA = load("tinydigits")
TRAIN = "train --dataset digits --model lenet --kernels xp -b 16 --limit-batches 6 --lr-scheduler constant"


class Run:
    """`gpucnn` on several ranks, each with its own line."""

    def __init__(self, *lines):
        words = [["-n", "1", sys.executable, "-m", "mpi4py", "-m", "gpucnn", *line.split()] for line in lines]
        joined = [word for part in words for word in (*part, ":")][:-1]
        self.mark = f"of-test={time.monotonic_ns()}"
        environment = os.environ | ONE_THREAD | {"GPUCNN_MARK": self.mark, "PYTHONPATH": os.pathsep.join(sys.path)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([MPIRUN, *joined], stdout=pipe, stderr=pipe, text=True, env=environment)

    def ranks(self):
        """The process of each, by a mark in their environment."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            rank = [word.removeprefix("PMI_RANK=") for word in words if word.startswith("PMI_RANK=")]
            if f"GPUCNN_MARK={self.mark}" in words and rank:
                found[int(rank[0])] = int(folder.name)
        return found

    def wait(self):
        """(exit code, stdout, stderr)"""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def interrupted(empty_folder):
    """A run of two ranks in the folder `run`, in its second epoch."""

    def start():
        run = Run(*[f"{TRAIN} --epochs 500 --checkpoint-steps 2 --output-dir run"] * 2)
        metrics, began = Path("run/metrics.jsonl"), time.monotonic()
        while not (metrics.exists() and metrics.read_text()):
            assert time.monotonic() - began < 60 and run.process.poll() is None, run.wait()
            time.sleep(0.05)
        return run

    return start


@needs_mpi
def test_a_rank_that_is_killed_ends_all_and_the_run_goes_on(interrupted):
    run = interrupted()
    os.kill(run.ranks()[1], signal.SIGKILL)
    killed = time.monotonic()
    code, out, _ = run.wait()
    assert time.monotonic() - killed < 10
    assert code != 0 and not run.ranks()
    assert "(signal 9)" in out  # the words of mpirun
    epochs = load_state(Path("run/last.safetensors")).meta["epoch"] + 2
    assert "going on after epoch " in succeed(f"train --resume run --epochs {epochs}")
    succeed(f"{TRAIN} --epochs {epochs} --output-dir alone")
    again, alone = (load_state(Path(folder, "last.safetensors")).weights for folder in ("run", "alone"))
    for name, weights in alone.items():
        assert np.linalg.norm(again[name] - weights) <= 1e-3 * np.linalg.norm(weights), name


@needs_mpi
def test_a_rank_that_is_asked_to_stop_stops_all_and_the_run_goes_on_to_the_same_bits(interrupted):
    run = interrupted()
    os.kill(run.ranks()[1], signal.SIGTERM)
    code, out, err = run.wait()
    assert code == 143, err
    assert "stopped in epoch" in out and out.count("next: ") == 1
    epochs = load_state(Path("run/last.safetensors")).meta["epoch"] + 2
    runs = [f"train --resume run --epochs {epochs}", f"{TRAIN} --epochs {epochs} --output-dir straight"]
    for line in runs:
        code, _, err = Run(line, line).wait()
        assert code == 0, err
    again, straight = (load_state(Path(folder, "last.safetensors")) for folder in ("run", "straight"))
    for name, array in (straight.weights | straight.optimizer).items():
        np.testing.assert_array_equal((again.weights | again.optimizer)[name], array)
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))


@needs_mpi
@pytest.mark.failure("ranks were started with other settings")
def test_ranks_with_other_settings_are_found_at_the_start(empty_folder):
    code, _, err = Run(f"{TRAIN} --output-dir run", f"{TRAIN} --output-dir run --lr 0.1").wait()
    assert code == 2
    assert err.count("error: ") == 1
    assert "error: rank 1 has --lr 0.1, rank 0 has 0.05\nhint: start all ranks with the same" in err
    saw(code, err)
    assert not Path("run").exists()


@needs_mpi
@pytest.mark.failure("one of several ranks cannot go on")
def test_an_error_on_one_rank_ends_all(empty_folder):
    code, _, err = Run(f"{TRAIN} --output-dir run", f"{TRAIN} --dataset mnist --data-path nowhere").wait()
    assert code == 4
    assert err.count("error: ") == 1 and "error: on rank 1 of 2: " in err
    saw(code, err)
    assert not Path("run").exists()


def test_an_error_is_told_some_time_before_all_end(monkeypatch):
    """mpirun passes on what ranks say, but not what it has yet to read when one of them ends all."""
    events = []

    class Others(Share):
        def abort(self, code):
            events.append(("abort", code))

    monkeypatch.setattr("gpucnn.cli.ranks.connect", lambda: Others(1, 2))
    monkeypatch.setattr("click.echo", lambda text, err: events.append(("told", text)))
    monkeypatch.setattr("time.sleep", lambda seconds: events.append(("slept", seconds)))
    end(4, "no such file")
    (_, turn), (_, text), (_, seconds), last = events
    assert text == "error: on rank 1 of 2: no such file"
    assert turn > 0 and seconds > 0.1
    assert last == ("abort", 4)


@pytest.mark.parametrize(
    "part, theirs, error, words",
    [
        (0, {"model": "lenet", "seed": 4}, UsageError, "rank 1 has --seed 4, rank 0 has 3"),
        (0, {"model": "lenet"}, UsageError, "rank 1 has --seed none, rank 0 has 3"),
        (1, "other", UsageError, "the code of gpucnn on rank 1"),
        (2, "other", DataError, "the pictures or labels of tinydigits on rank 1"),
    ],
)
def test_ranks_that_are_not_the_same(part, theirs, error, words):
    flags = {"model": "lenet", "seed": 3, "threads": 2, "output_dir": Path("run")}

    class Others(Share):
        def gather(self, value):
            assert value[0] == {"model": "lenet", "seed": 3}
            return [value, (*value[:part], theirs, *value[part + 1 :])]

    require_same(Share(0, 1), flags, DATA)
    with pytest.raises(error, match=words):
        require_same(Others(0, 2), flags, DATA)


def test_some_ranks_that_go_on_and_some_that_begin(monkeypatch, empty_folder):
    world = install_mpi(monkeypatch, 2, lambda value: None)
    monkeypatch.setenv("PMI_SIZE", "2")
    code, _, err = gpucnn("train --resume run")
    assert code == world.aborted == 2
    assert err.startswith("error: some ranks have --resume, and some have not\nhint: ")


@pytest.mark.failure("several processes, and no mpi4py")
@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_without_mpi4py_are_told(monkeypatch, name, empty_folder):
    monkeypatch.setenv(name, "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    code, _, err = gpucnn("train --dataset tinydigits")
    assert code == 3
    assert err.startswith("error: 2 processes were started together, and mpi4py is not installed\nhint: pip install")
    saw(code, err)
    assert not Path("runs").exists()
