"""`gpucnn train --resume`: a run that was stopped goes on to the same files, or says why it cannot."""

import csv
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from command import fail, gpucnn, succeed
from failures import saw
from safetensors.numpy import save_file

from gpucnn.checkpoint import State, load_state, save_state
from gpucnn.cli import saving
from gpucnn.cli.config import flag_values
from gpucnn.cli.resume import _OF_THE_CALL, settings
from gpucnn.cli.run_folder import RunFolder
from gpucnn.cli.train import train
from gpucnn.training import Step

pytestmark = pytest.mark.usefixtures("own_folder")

TINY = "train --dataset tinydigits --kernels xp --epochs 3 -b 100 --seed 3"  # 3 epochs of 10 steps
LAST, PREVIOUS, BEST = (Path("run", f"{name}.safetensors") for name in ("last", "previous", "best"))


class Power(Exception):
    """It went."""


@pytest.fixture
def power(monkeypatch):
    """`power(step)`: from then on, the run ends in that step as if its process had been killed."""
    original = saving.Saver.step

    def go_out(at):
        def step(self, now: Step):
            original(self, now)
            if at is not None and (now.epoch - 1) * now.steps + now.step == at:
                raise Power

        monkeypatch.setattr(saving.Saver, "step", step)

    return go_out


def metrics(run):
    """The epochs in both files of a run, without what a clock said."""
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    with Path(run, "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == lines
    return [{name: v for name, v in line.items() if name not in ("seconds", "images_per_second")} for line in lines]


def stop_at(power, step, line):
    power(step)
    code, _, err = gpucnn(line)
    power(None)
    assert code == 1 and "Power" in err, err


RUNS = {
    "epochs": (TINY, 17),  # saved after each epoch, stopped within the second
    "steps": (f"{TINY} --checkpoint-steps 4", 17),  # saved after step 16
    "all but the test": (f"{TINY} --checkpoint-steps 5", 20),
    "compiled": (f"{TINY} --kernels cpu --checkpoint-steps 4 --optimizer adam --lr 0.001", 19),
    "simulated": (f"{TINY} --device sim --kernels raw --checkpoint-steps 4 --limit-batches 4", 7),
    "dropout": ("train --model alexnet-lite --dataset synthetic:8x3x32x32 --kernels xp -b 2 --epochs 2 "
                "--augment crop,flip,cutout --checkpoint-steps 3 --limit-batches 4", 7),
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_is_killed_ends_with_the_same_files(case, power):
    line, step = RUNS[case]
    succeed(f"{line} --output-dir straight")
    stop_at(power, step, f"{line} --output-dir run")
    assert "going on after epoch" in succeed("train --resume run")
    for name in ("last", "best"):
        assert Path("run", f"{name}.safetensors").read_bytes() == Path("straight", f"{name}.safetensors").read_bytes()
    weights, optimizer, _ = load_state(PREVIOUS)  # which has seconds, within an epoch
    for found, wanted in zip((weights, optimizer), load_state(Path("straight/previous.safetensors"))[:2], strict=True):
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert metrics("run") == metrics("straight")
    assert Path("run/config.toml").read_text() == Path("straight/config.toml").read_text()


def test_a_checkpoint_has_the_state_of_its_place():
    """Files of every step: the positions are those that were asked for, and the last three have their names."""
    succeed(f"{TINY} --output-dir run --checkpoint-steps 4")
    places = [load_state(path).meta for path in (LAST, PREVIOUS, BEST)]
    assert [(place["epoch"], place["step"]) for place in places][:2] == [(3, 0), (2, 8)]
    best = max(metrics("run"), key=lambda epoch: epoch["test_accuracy"])
    assert (places[2]["epoch"], places[2]["step"]) == (best["epoch"], 0)
    state = load_state(PREVIOUS)
    assert state.optimizer["steps"] == 28
    assert state.meta["sums"][0] > 0 and state.meta["config"]["checkpoint_steps"] == 4


def test_a_kill_between_the_last_checkpoint_and_its_second_name(monkeypatch):
    """The last one is the best one then, too, and has to be called so."""
    line = f"{TINY} --lr 0.1 --epochs 2 --output-dir"
    succeed(f"{line} straight")
    assert load_state(Path("straight/best.safetensors")).meta["epoch"] == 2
    keep_best = RunFolder.keep_best

    def killed(folder):
        if load_state(LAST).meta["epoch"] == 2:
            raise Power
        keep_best(folder)

    monkeypatch.setattr(RunFolder, "keep_best", killed)
    assert gpucnn(f"{line} run")[0] == 1
    assert load_state(BEST).meta["epoch"] == 1
    monkeypatch.setattr(RunFolder, "keep_best", keep_best)
    succeed("train --resume run")
    assert BEST.read_bytes() == Path("straight/best.safetensors").read_bytes()


def test_minutes_count_too(monkeypatch):
    """A step takes two minutes here, and a checkpoint is due after five."""
    clock = iter(range(0, 1 << 20, 120))
    saved = []
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    save = saving.Saver.save
    monkeypatch.setattr(saving.Saver, "save", lambda self, p: saved.append(p.step) or save(self, p))
    succeed(f"{TINY} --output-dir run --checkpoint-minutes 5")
    assert saved == [0, *[3, 6, 9, 0] * 3]


def test_a_finished_run_says_its_result_again():
    before = json.loads(succeed(f"{TINY} --output-dir run --json"))
    bits = LAST.read_bytes()
    after = json.loads(succeed("train --resume run --json"))
    assert before == after
    assert LAST.read_bytes() == bits
    assert len(metrics("run")) == 3


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_more_epochs_where_they_change_nothing_of_the_first_ones(schedule):
    succeed(f"{TINY} --lr-scheduler {schedule} --epochs 5 --output-dir straight")
    succeed(f"{TINY} --lr-scheduler {schedule} --output-dir run")
    succeed("train --resume run --epochs 5")
    assert metrics("run") == metrics("straight")
    assert LAST.read_bytes() == Path("straight/last.safetensors").read_bytes()
    assert tomllib.loads(Path("run/config.toml").read_text())["epochs"] == 5


def test_on_another_device_a_run_goes_on_with_nearly_the_same_losses(power):
    line = f"{TINY} --limit-batches 4 --checkpoint-steps 2"
    succeed(f"{line} --output-dir straight")
    stop_at(power, 7, f"{line} --output-dir run")
    assert "sim" in succeed("train --resume run --device sim --kernels raw")
    for one, other in zip(metrics("run"), metrics("straight"), strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert other["test_loss"] == pytest.approx(one["test_loss"], rel=1e-4)


@pytest.fixture
def run(power):
    """A run that ended in its second epoch, and what lies in its folder."""
    stop_at(power, 17, f"{TINY} --output-dir run --checkpoint-steps 4")


@pytest.mark.failure("`--resume`: the last checkpoint is damaged")
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(run):
    succeed(f"{TINY} --output-dir straight --checkpoint-steps 4")
    content = bytearray(LAST.read_bytes())
    content[-3] ^= 1
    LAST.write_bytes(content)
    code, out, err = gpucnn("train --resume run")
    assert code == 0, err
    assert "note: run/last.safetensors is damaged" in err
    assert "after epoch 1 and 2 steps" in out
    assert LAST.read_bytes() == Path("straight/last.safetensors").read_bytes()
    assert metrics("run") == metrics("straight")
    saw(code, err)


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one(run, power):
    LAST.write_bytes(b"damaged")
    good = PREVIOUS.read_bytes()
    stop_at(power, 16, "train --resume run")
    assert PREVIOUS.read_bytes() == good
    assert load_state(LAST).meta["step"] == 6


@pytest.mark.failure("`--resume`: the last checkpoint and the one before it are damaged")
def test_two_damaged_checkpoints(run):
    for path in (LAST, PREVIOUS):
        path.write_bytes(path.read_bytes()[:-1])
    fail("train --resume run", 4, "run/previous.safetensors is not a readable weights file", "run/last.safetensors")


@pytest.mark.failure("`--resume`: no such folder")
def test_a_path_that_does_not_exist():
    fail("train --resume runs/20260101-120000-lenet", 4, "--resume runs/20260101-120000-lenet: it does not exist")


@pytest.mark.failure("`--resume`: a file, not the folder of a run")
def test_a_file(run):
    fail("train --resume run/last.safetensors", 4, "is no folder")


@pytest.mark.failure("`--resume`: the run was ended before its first checkpoint, or the folder is none of a run")
def test_a_folder_without_a_checkpoint():
    Path("run").mkdir()
    fail("train --resume run", 4, "run holds no checkpoint", "begin the run anew")


@pytest.mark.failure("`--resume`: the checkpoint is of a newer gpucnn")
def test_a_newer_version_is_not_passed_over_for_the_one_before(run):
    save_file({"w": np.zeros(3, np.float32)}, LAST, {"gpucnn": json.dumps({"version": 3})})
    fail("train --resume run", 4, "written by a newer gpucnn", "upgrade")


@pytest.mark.failure("`--resume`: the file holds weights, and no state of training")
def test_weights_of_version_1_are_evaluated_and_not_resumed(run):
    weights, _, meta = load_state(LAST)
    save_file(weights, LAST, {"gpucnn": json.dumps({"version": 1, **meta})})
    assert "test accuracy" in succeed("eval run --kernels xp")
    fail("train --resume run", 4, "not the state of its training")


@pytest.mark.failure("`--resume` with another model")
def test_another_model(run):
    fail("train --resume run --model tinydigits-mlp", 2, "--model tinydigits-mlp: the run in run has tinydigits-cnn")


@pytest.mark.failure("`--resume` with a flag that would change the run")
def test_a_flag_that_contradicts(run):
    fail("train --resume run --lr 0.5", 2, "--lr 0.5: the run in run has 0.01")


@pytest.mark.parametrize(
    "flags, patterns",
    [
        ("--epochs 4", ["--epochs 4: the run in run has 3"]),  # of --lr-scheduler constant, but see below
        ("--limit-batches 4", ["--limit-batches 4: the run in run has none"]),
        ("--seed 4", ["--seed 4", "leave it out"]),
        ("--dataset digits", ["--dataset digits: the run in run has tinydigits"]),
        ("--output-dir other", ["--output-dir does not go with --resume"]),
        ("--overwrite", ["--overwrite does not go with --resume"]),
        ("--dry-run", ["--dry-run does not go with --resume"]),
        ("--recipe fast", ["--recipe does not go with --resume"]),
        ("--config run/config.toml", ["--config does not go with --resume"]),
    ],
)
def test_flags_beside_resume(run, power, flags, patterns):
    if flags.startswith("--epochs"):
        shutil.rmtree("run")
        stop_at(power, 17, f"{TINY} --lr-scheduler cosine --output-dir run")
    fail(f"train --resume run {flags}", 2, *patterns)


def test_flags_that_say_what_the_run_does_anyway(run):
    succeed("train --resume run --lr 0.01 --model tinydigits-cnn --seed 3")


def example(kind):
    """A word that a flag of this kind takes."""
    match kind:
        case click.Choice():
            return kind.choices[0]
        case click.types.IntParamType():
            return "2"
        case click.FloatRange():
            return "0.5"
    return "x"


def test_every_flag_of_a_run_is_read_back():
    flags = [flag for flag in train.params if flag.expose_value and flag.name not in ("as_json", *_OF_THE_CALL)]
    words = [
        word for flag in flags for word in (flag.opts[-1:] if flag.is_flag else (flag.opts[-1], example(flag.type)))
    ]
    context = train.make_context("train", words)
    kept = json.loads(json.dumps(settings({flag.name: context.params[flag.name] for flag in flags})))
    assert len(kept) == len(flags) > 25
    assert flag_values(context, kept, Path("run")) == kept


@pytest.mark.failure("`--resume`: the pictures or labels changed")
def test_other_data_under_the_same_name(power):
    pictures = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
    for name in ("a", "b"):
        Path("pictures", name).mkdir(parents=True)
        for i in range(4):
            pictures.new("RGB", (32, 32), (i, 0, 9)).save(f"pictures/{name}/{i}.png")
    line = "train --model linear --dataset folder:pictures --kernels xp -b 2 --epochs 2 --output-dir run"
    stop_at(power, 4, line)
    pictures.new("RGB", (32, 32), (200, 0, 0)).save("pictures/a/1.png")
    fail("train --resume run", 4, "the pictures or labels of folder:pictures changed since the run in run began")


@pytest.mark.failure("`--resume`: the data set has another number of classes")
def test_another_number_of_classes(power):
    pictures = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
    for name in ("a", "b", "c"):
        Path("pictures", name).mkdir(parents=True)
        for i in range(4):
            pictures.new("RGB", (32, 32), (i, 0, 9)).save(f"pictures/{name}/{i}.png")
    stop_at(power, 4, "train --model linear --dataset folder:pictures --kernels xp -b 2 --epochs 2 --output-dir run")
    shutil.rmtree("pictures/c")
    fail("train --resume run", 4, "linear in run was trained for 3 classes, folder:pictures has 2")


def test_a_state_that_does_not_fit_its_own_description(run):
    weights, optimizer, meta = load_state(LAST)
    optimizer.pop("steps")
    save_state(LAST, State(weights, optimizer, meta))
    fail("train --resume run", 4, "the checkpoint in run does not fit")


@pytest.mark.parametrize(
    "change", [{"sums": [1]}, {"epoch": "x"}, {"config": 3}, {"config": {"lr": "a"}}, {"step": None}]
)
def test_a_description_that_makes_no_sense(run, change):
    weights, optimizer, meta = load_state(LAST)
    save_state(LAST, State(weights, optimizer, meta | change))
    code, _, err = gpucnn("train --resume run")
    assert code in (2, 4) and "Traceback" not in err and "this is a bug" not in err


def test_metrics_that_are_gone(run):
    Path("run/metrics.jsonl").write_text("")
    fail("train --resume run", 4, "run/metrics.jsonl: no epoch was finished")
    Path("run/metrics.jsonl").unlink()
    fail("train --resume run", 4, "no metrics at run/metrics.jsonl")


@pytest.mark.failure("two runs in one folder")
def test_two_runs_in_one_folder(run):
    """The lock is of the kernel: whoever dies lets go of it, however."""
    other = RunFolder.open(Path("run"))
    for line in (f"{TINY} --output-dir run --overwrite", "train --resume run"):
        fail(line, 2, "another run is writing to run")
    other.close()
    succeed("train --resume run")


def test_what_a_killed_process_left_behind_goes(run):
    for name in (".last.safetensors.abc.part", ".metrics.csv.x_1.part", ".somebody's.part"):
        Path("run", name).touch()
    succeed("train --resume run")
    assert [path.name for path in Path("run").iterdir() if path.name.startswith(".")] == [".somebody's.part"]


LONG = [sys.executable, "-m", "gpucnn", *shlex.split("train --dataset tinydigits --kernels xp --epochs 60 -b 25")]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run of LONG that nobody stops."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    subprocess.run([*LONG, "--output-dir", folder], check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.parametrize(
    "signum",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.failure("Ctrl-C during training")),
        pytest.param(signal.SIGTERM, marks=pytest.mark.failure("SIGTERM during training")),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(signum, straight):
    """The command that it prints is run as it is, and ends with the bits of the run that nobody stopped."""
    process = subprocess.Popen(
        [*LONG, "--output-dir", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (LAST.exists() and Path("run/metrics.jsonl").read_text()):
        assert time.monotonic() < deadline, process.communicate(timeout=1)
        time.sleep(0.01)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    position = load_state(LAST).meta
    assert 0 < position["epoch"] < 60
    saw(process.returncode, err + out, (r"epoch \d+", "epoch N"))
    (resume,) = [line.removeprefix("next: ") for line in out.splitlines() if line.startswith("next: ")]
    subprocess.run(shlex.split(resume), check=True, capture_output=True, timeout=120)
    assert LAST.read_bytes() == (straight / "last.safetensors").read_bytes()
    assert metrics("run") == metrics(straight)
