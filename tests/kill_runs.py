"""Kills training runs at random moments, lets them go on, and compares what they end with.

    python tests/kill_runs.py --kills 200 --seed 0

The processes that are killed are children of this one, which has imported everything, and so begin at once. Half of
them are ended from outside, after a random time; the others end themselves, by SIGKILL, too, at a random one of the
calls that write (write, fsync, replace, link, unlink): before it, after it, or in the middle of its bytes. After each
kill the newest checkpoint must be whole and no more than one interval behind the last step that was made; `train
--resume` goes on from it. At its end a run must have the checkpoints and metrics, to the bit, of one not killed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401 (in this process, so that no child has to)

from gpucnn.checkpoint import load_state
from gpucnn.cli import main, saving
from gpucnn.cli.run_folder import RunFolder
from gpucnn.errors import DataError

INTERVAL, STEPS, EPOCHS = 2, 6, 4  # a checkpoint every two steps, of six in an epoch
TRAIN = (
    f"train --dataset digits --model lenet --kernels xp -b 16 --epochs {EPOCHS} --limit-batches {STEPS} "
    f"--checkpoint-steps {INTERVAL} --augment crop,flip,cutout"
).split()


class Calls:
    """Counts the calls that write, and ends the process at number `last`."""

    def __init__(self, last=None, when="before"):
        self.made, self.last, self.when = 0, last, when

    def __enter__(self):
        for name in ("fsync", "replace", "link", "unlink"):
            setattr(os, name, self.counted(getattr(os, name)))
        open_file = os.fdopen
        os.fdopen = lambda *arguments, **more: File(open_file(*arguments, **more), self)
        return self

    def __exit__(self, *error):
        """The process ends."""

    def counted(self, call, half=lambda *_: None):
        def counting(*arguments, **more):
            self.made += 1
            if self.made == self.last:
                {"before": lambda *_: None, "in the middle": half, "after": call}[self.when](*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return counting


class File:
    """A file whose `write` is one of the calls."""

    def __init__(self, file, calls):
        self.file = file
        self.write = calls.counted(file.write, lambda content: file.raw.write(content[: len(content) // 2]))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


class Process:
    """A command in a process of its own, which tells of each step that it makes, and of its calls when it ends."""

    def __init__(self, words, calls):
        self._hear, say = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._be(words, calls, say)
            finally:
                os._exit(99)
        os.close(say)

    def _be(self, words, calls, say):
        step = saving.Saver.step

        def told(self, now):
            os.write(say, b"%d " % ((now.epoch - 1) * now.steps + now.step))
            step(self, now)

        saving.Saver.step = told
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        with calls:
            try:
                main(words)
            except SystemExit as end:
                os.write(say, b"%d" % calls.made)
                os._exit(end.code or 0)

    def wait(self):
        """(exit code, or minus the signal that ended it; what it told)"""
        _, status = os.waitpid(self.pid, 0)
        told = b""
        while piece := os.read(self._hear, 1 << 16):
            told += piece
        os.close(self._hear)
        return os.waitstatus_to_exitcode(status), [int(number) for number in told.split()]


def newest(folder):
    """How many steps the newest checkpoint has behind it; None where there is none yet."""
    if not folder.exists():
        return None
    run = RunFolder(folder)
    try:
        state, fault = run.newest()
    except DataError:
        return None
    finally:
        run.close()
    assert not fault, f"a kill damaged a checkpoint: {fault}"
    return state.meta["epoch"] * STEPS + state.meta["step"]


def outcome(folder):
    """Everything at the end of a run that no clock decides."""
    weights, optimizer, _ = load_state(folder / "previous.safetensors")  # its seconds are in the rest
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "last": (folder / "last.safetensors").read_bytes(),
        "best": (folder / "best.safetensors").read_bytes(),
        "previous": {name: array.tobytes() for name, array in (weights | optimizer).items()},
        "metrics": [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines],
        "lines of metrics.csv": len((folder / "metrics.csv").read_text().splitlines()),
        "left behind": [path.name for path in folder.iterdir() if path.name.startswith(".")],
    }


class Killer:
    def __init__(self, place, seed):
        self.folder, self.random, self.seen = place / "run", random.Random(seed), Counter()
        started = time.monotonic()
        code, told = Process([*TRAIN, "--output-dir", str(place / "straight")], Calls()).wait()
        assert code == 0 and told[:-1] == list(range(1, STEPS * EPOCHS + 1)), (code, told)
        self.seconds, self.calls = time.monotonic() - started, told[-1]
        self.straight = outcome(place / "straight")

    def run(self, kills):
        """A run that is killed so often, if it does not come to its end before; how often it was."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for done in range(kills + 1):
            begun = newest(self.folder)
            new = [*TRAIN, "--output-dir", str(self.folder), "--overwrite"]
            words = new if begun is None else ["train", "--resume", str(self.folder)]
            code, told = self._kill(words, begun or 0) if done < kills else Process(words, Calls()).wait()
            if code == 0:
                found = outcome(self.folder)
                assert found == self.straight, [name for name in found if found[name] != self.straight[name]]
                self.seen["runs whose files were compared"] += 1
                return done
            assert code == -signal.SIGKILL, f"a run ended with {code}"
            self._check(begun, told)
        raise AssertionError("the run that nobody killed did not come to its end")

    def _kill(self, words, begun):
        """What became of a process that was killed on its way through what is left of the run."""
        left = 1 - begun / (STEPS * EPOCHS)
        if self.random.random() < 0.5:
            when = self.random.choice(["before", "in the middle", "after"])
            last, how = self.random.randint(1, 8 + int(left * self.calls / 2)), f"at a call that writes, {when}"
            code, told = Process(words, Calls(last, when)).wait()
        else:
            process, how = Process(words, Calls()), "at any time"
            time.sleep(self.random.uniform(0, 0.1 + self.seconds * left / 2))
            os.kill(process.pid, signal.SIGKILL)
            code, told = process.wait()
        self.seen[how] += code != 0
        return code, told

    def _check(self, begun, told):
        """That no more is lost than the steps since the last checkpoint was due."""
        found = newest(self.folder)
        if found is None:
            assert begun is None and not told, f"no checkpoint after {told[-1:]} steps"
            self.seen["before the first checkpoint"] += 1
            return
        lost = (told[-1] if told else begun or 0) - found
        assert lost <= INTERVAL, f"{lost} steps are lost"
        self.seen["steps made again"] += max(lost, 0)


def kill_runs(kills, seed):
    """How the runs were killed, in numbers; AssertionError where one lost anything."""
    with tempfile.TemporaryDirectory() as place:
        killer, left = Killer(Path(place), seed), kills
        while left:
            left -= killer.run(min(left, 8))
        return killer.seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given, started = parser.parse_args(), time.monotonic()
    seen = kill_runs(given.kills, given.seed)
    words = "; ".join(f"{number} {what}" for what, number in sorted(seen.items()))
    print(f"{given.kills} kills in {time.monotonic() - started:.0f} s: {words}")
