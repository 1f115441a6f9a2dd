"""What goes wrong under a running training, and what it leaves: full disks, no memory, numbers that overflow."""

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import fail, gpucnn, succeed
from failures import saw
from test_cli_resume import BEST, LAST, PREVIOUS, TINY, Power, metrics

from gpucnn import checkpoint, memory
from gpucnn.checkpoint import load_state
from gpucnn.cli import saving
from gpucnn.cli.run_folder import RunFolder
from gpucnn.steps import HostSteps

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def disk(monkeypatch):
    """`disk(after, until)`: it is full from step `after` of a run to step `until`, and not before a step."""
    step = saving.Saver.step
    full = []

    def flush(descriptor):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def between(after, until):
        def watched(self, now):
            number = (now.epoch - 1) * now.steps + now.step
            full[:] = [True] if after <= number < until else []
            step(self, now)

        full.clear()
        monkeypatch.setattr(saving.Saver, "step", watched)

    monkeypatch.setattr(checkpoint.os, "fsync", flush)
    return between


@pytest.mark.failure("the disk is full when a checkpoint is due, and later it is not")
def test_a_full_disk_costs_a_checkpoint_and_not_the_run(disk):
    """The metrics of the epoch that ended meanwhile are there in the end, too."""
    succeed(f"{TINY} --output-dir straight --checkpoint-steps 4")
    disk(7, 26)
    code, _, err = gpucnn(f"{TINY} --output-dir run --checkpoint-steps 4")
    assert code == 0, err
    assert err.count("note: ") == 1
    assert LAST.read_bytes() == Path("straight/last.safetensors").read_bytes()
    assert metrics("run") == metrics("straight")
    assert [path.name for path in Path("run").iterdir() if path.name.startswith(".")] == []
    saw(code, err)


def test_a_kill_after_the_disk_was_full_leaves_no_hole(disk, monkeypatch):
    """The first checkpoint that succeeds brings the metrics of the epochs along that ended before."""
    succeed(f"{TINY} --output-dir straight --checkpoint-steps 4")
    disk(7, 26)
    step = saving.Saver.step

    def step_and_die(self, now):
        step(self, now)
        if (now.epoch, now.step) == (3, 9):
            raise Power

    monkeypatch.setattr(saving.Saver, "step", step_and_die)
    assert gpucnn(f"{TINY} --output-dir run --checkpoint-steps 4")[0] == 1
    disk(0, 0)
    succeed("train --resume run")
    assert metrics("run") == metrics("straight")


@pytest.mark.failure("the disk is full when training ends")
def test_a_disk_that_stays_full(disk):
    succeed(f"{TINY} --output-dir straight --checkpoint-steps 4")
    disk(7, 1 << 20)
    code, _, err = gpucnn(f"{TINY} --output-dir run --checkpoint-steps 4")
    assert code == 1
    assert load_state(LAST).meta["step"] == 4
    assert load_state(PREVIOUS).meta["step"] == 0
    saw(code, err)
    disk(0, 0)
    assert gpucnn(re.search(r"train --resume \S+", err)[0])[0] == 0
    assert LAST.read_bytes() == Path("straight/last.safetensors").read_bytes()


@pytest.mark.failure("the disk is full when training begins")
def test_no_room_for_the_first_checkpoint(monkeypatch):
    original = checkpoint.save

    def no_room(*arguments):
        monkeypatch.setattr(checkpoint.os, "fsync", full)
        return original(*arguments)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", no_room)
    code, _, err = gpucnn(f"{TINY} --output-dir run")
    assert code == 1 and "make room" in err
    saw(code, err)


@pytest.mark.parametrize("files", range(7))
def test_a_disk_that_is_full_after_so_many_files(files, monkeypatch):
    """Metrics, settings, and the first checkpoint: whichever is the first without room, one line says so."""
    left = [files]

    def flush(descriptor):
        left[0] -= stat.S_ISREG(os.fstat(descriptor).st_mode)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", flush)
    code, _, err = gpucnn(f"{TINY} --output-dir run")
    assert code in (1, 2) and err.startswith("error: ") and len(err.splitlines()) == 2, err
    assert " to run: No space left on device" in err
    assert not any(path.name.startswith(".") for path in Path("run").iterdir())


def test_no_room_for_pictures_to_try(monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image.Image, "save", full)
    assert "predict run IMAGE.png" in succeed(f"{TINY} --output-dir run")


@pytest.mark.failure("the disk has hardly room for the checkpoints")
def test_hardly_any_room(monkeypatch):
    usage = SimpleNamespace(free=2_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    code, _, err = gpucnn(f"{TINY} --output-dir run")
    assert code == 0 and "note" not in err
    usage.free = 20_000
    code, _, err = gpucnn(f"{TINY} --output-dir again")
    assert code == 0
    assert "note: 0.0 MB are free where checkpoints of 0.0 MB are written" in err
    monkeypatch.setattr(RunFolder, "room", lambda folder: (50_000_000, 18_481_000))
    code, _, err = gpucnn(f"{TINY} --output-dir large")
    saw(code, err)


@pytest.mark.failure("the run folder holds files already")
def test_a_folder_with_files_in_it():
    Path("run").mkdir()
    Path("run/note").touch()
    fail(f"{TINY} --output-dir run", 2, "--output-dir run exists already", "--overwrite")


@pytest.mark.failure("the run folder cannot be written to")
def test_a_folder_that_cannot_be_written_to():
    fail(f"{TINY} --output-dir /proc/run", 2, "cannot write to /proc/run")


def test_no_pictures_of_curves_are_no_reason_to_fail(monkeypatch):
    """All that counts is on disk by then."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    code, out, err = gpucnn(f"{TINY} --output-dir run")
    assert code == 0, err
    assert "no curves.png" in out


@pytest.mark.failure("numbers overflow in training")
def test_the_first_op_that_is_not_finite_is_named():
    """The learning rate explodes with the second epoch, whose first step then makes weights of 1e28."""
    code, _, err = gpucnn(f"{TINY} --lr-scheduler step --lr-step-size 1 --lr-gamma 1e30 --output-dir run")
    assert code == 5
    assert "first, in step 2 of epoch 2, in the forward pass of Linear (classifier.0.weight, classifier.0.bias)" in err
    assert "the last good weights, after epoch 1, are in run" in err
    assert load_state(LAST).meta["epoch"] == 1
    assert len(metrics("run")) == 1
    saw(code, err, (r"the loss is \w+ in epoch 2, at step \d+", "the loss is nan in epoch 2, at step N"))


def test_the_steps_are_repeated_from_a_checkpoint_within_the_epoch():
    line = f"{TINY} --epochs 1 --lr-scheduler one-cycle --lr 1e25 --checkpoint-steps 1 --output-dir run"
    code, _, err = gpucnn(line)
    assert code == 5
    step = int(re.search(r"first, in step (\d+) of epoch 1", err)[1])
    position = load_state(LAST).meta
    assert 0 < position["step"] <= step
    assert f"the last good weights, after epoch 0 and {position['step']} steps" in err


def test_limited_gradients_keep_the_numbers_finite():
    assert gpucnn(f"{TINY} --lr 1e25 --momentum 0.9 --output-dir a")[0] == 5
    succeed(f"{TINY} --lr 1e25 --momentum 0.9 --clip-grad-norm 1e-25 --output-dir b")


@pytest.mark.failure("a fault of the machine: numbers that were not finite are, when the steps are repeated")
def test_numbers_that_were_not_finite_only_once(monkeypatch):
    """Something broke a weight that no op breaks."""
    step = HostSteps.__call__
    calls = []

    def broken(self):
        calls.append(1)
        if len(calls) == 15:
            next(iter(self.optimizer.parameters.values())).data[...] = float("nan")
        return step(self)

    monkeypatch.setattr(HostSteps, "__call__", broken)
    code, _, err = gpucnn(f"{TINY} --output-dir run")
    assert code == 5
    assert "look for a fault of the machine" in err
    saw(code, err, (r"at step \d+", "at step N"))


@pytest.mark.failure("a batch does not fit into memory")
def test_a_batch_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 3_000_000)
    line = "train --dataset digits --kernels xp --epochs 1 --limit-batches 1 --output-dir run"
    code, _, err = gpucnn(f"{line} -b 1000")
    assert code == 3
    assert not Path("run").exists()
    saw(code, err, (r"[\d.]+ GB", "N GB"), (r"--batch-size \d+", "--batch-size N"))
    succeed(f"{line} {re.search(r'--batch-size [0-9]+', err)[0]}")


@pytest.mark.failure("memory runs out during training")
def test_memory_that_runs_out_in_a_step(monkeypatch):
    step = HostSteps.__call__

    def no_memory(self):
        if self.optimizer.steps == 14:
            raise MemoryError
        return step(self)

    monkeypatch.setattr(HostSteps, "__call__", no_memory)
    code, _, err = gpucnn(f"{TINY} --output-dir run")
    assert code == 3
    assert "--batch-size" in err
    assert load_state(LAST).meta["epoch"] == 1
    assert BEST.exists()
    saw(code, err, (r"[\d.]+ GB", "N GB"), (r"--batch-size \d+", "--batch-size N"))


CACHE = "import sys; from gpucnn.cli import main; main(sys.argv[1:])"


@pytest.mark.failure("the cache folder cannot be written to")
def test_a_cache_that_cannot_be_written_to():
    Path("file").touch()
    line = "train --dataset tinydigits --kernels sgd=cpu --limit-batches 2 --epochs 1"
    environment = os.environ | {"XDG_CACHE_HOME": "file"}
    done = subprocess.run(
        [sys.executable, "-c", CACHE, *line.split()], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: ") == 1
    saw(done.returncode, done.stderr, (r"file/gpucnn/kernels/cpu-\w+", "CACHE/gpucnn/kernels"))
