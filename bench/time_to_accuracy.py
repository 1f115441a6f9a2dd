"""A race: how many seconds does one recipe train until the test pictures are recognised well enough?

python bench/time_to_accuracy.py --target 0.8 --data-path DIR    on a GPU; writes results/gpu-race.json
python bench/time_to_accuracy.py --target 0.1 --device sim --recipe none --dataset tinydigits --output FILE

Flags that are not its own go to gpucnn train. Both sides have the data on the device, the same first weights, schedule,
augmentation, label smoothing and optimizer. Seconds are those of training alone, up to the first epoch whose test
accuracy reaches the target: without compiling (a few steps before, thrown away), loading and the tests themselves.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gpu_subjects
from cpu_subjects import Skipped, need_torch
from gpu_subjects import mode_of
from machine import describe, describe_gpu

from gpucnn.backend import to_host
from gpucnn.cli.output import Output
from gpucnn.cli.recipe import make_schedule, with_recipe
from gpucnn.cli.run import Run
from gpucnn.cli.train import train

RESULT = Path(__file__).parent / "results" / "gpu-race.json"
SUBJECTS = ("gpucnn", "torch eager", "torch reduce-overhead")
PADDING, TEST = 4, 500
Array = Any


def flags_of(words: list[str]) -> dict[str, Any]:
    """What `gpucnn train` makes of these words, with recipes and defaults."""
    context = train.make_context("train", list(words))
    flags = with_recipe(context, dict(context.params))
    del flags["as_json"]
    return flags


def ours(flags: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """(seconds so far, test accuracy) after each epoch."""
    for _ in Run(dict(flags), Output(True)).epochs(1, 4):  # compiles
        pass
    seconds = 0.0
    for epoch in Run(dict(flags), Output(True)).epochs(flags["epochs"], flags["limit_batches"]):
        seconds += epoch.seconds
        yield seconds, epoch.test_accuracy


def theirs(flags: dict[str, Any], how: str) -> Iterator[tuple[float, float]]:
    """The same recipe in PyTorch."""
    need_torch()
    race = Torch(flags, how)
    race.epoch(0, 4)
    race.restart()
    seconds = 0.0
    for epoch in range(flags["epochs"]):
        seconds += race.epoch(epoch, flags["limit_batches"])
        yield seconds, race.accuracy()


class Torch:
    """gpu_subjects.Torch with the recipe of `flags`, channels last; its data are uint8 on the device, padded once."""

    def __init__(self, flags: dict[str, Any], how: str) -> None:
        unknown = {*(flags["augment"] or "crop,flip").split(",")} - {"crop", "flip", "none"}
        if unknown:
            raise Skipped(f"no {', '.join(unknown)} here")
        import torch

        self.torch, self.flags, run = torch, flags, Run(dict(flags), Output(True))
        mode = mode_of(flags["kernels"] or "raw")
        self.net = gpu_subjects.Torch(flags["model"], run.device.type, mode, how, channels_last=True)
        self.net.label_smoothing, self.augment = flags["label_smoothing"], run.train_batches.augment
        self.first = [torch.from_numpy(to_host(p.data).copy()) for p in run.model.parameters()]
        data, where = run.data, self.net.where
        self.train_x, self.test_x = (torch.from_numpy(x).to(where) for x in (data.train_x, data.test_x))
        self.train_y, self.test_y = (torch.from_numpy(y).to(where).long() for y in (data.train_y, data.test_y))
        self.train_x = torch.nn.functional.pad(self.train_x, (PADDING,) * 4)
        self.mean, self.std = (torch.tensor(each, device=where, dtype=torch.float32) for each in (data.mean, data.std))
        self.size, self.where = data.train_x.shape[2:], where
        self.steps = len(run.train_batches)
        self.restart()

    def restart(self) -> None:
        """The first weights, and nothing left of any step."""
        torch, flags, net = self.torch, self.flags, self.net.net
        torch.manual_seed(flags["seed"])
        with torch.no_grad():
            for p, first in zip(net.parameters(), self.first, strict=True):
                p.copy_(first)
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_running_stats()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[flags["optimizer"]]
        settings = ("lr", "weight_decay", *(("momentum", "nesterov") if flags["optimizer"] == "sgd" else ()))
        self.net.optimizer = kind(net.parameters(), fused=True, **{name: flags[name] for name in settings})
        self.schedule = make_schedule(flags, min(self.steps, flags["limit_batches"] or self.steps))

    def epoch(self, number: int, limit: int | None) -> float:
        """Train; the seconds until the device is done."""
        self.net.mode(True)
        steps, n = min(self.steps, limit or self.steps), self.flags["batch_size"]
        self._wait()
        started = time.perf_counter()
        order = self.torch.randperm(len(self.train_x), device=self.where)
        for step in range(steps):
            self.net.rate(self.flags["lr"] * self.schedule(number * steps + step))
            samples = order[step * n : (step + 1) * n]
            self.net.eager(self._images(samples), self.train_y[samples])
        self._wait()
        return time.perf_counter() - started

    def _images(self, samples: Any) -> Any:
        """Cropped, flipped and normalised, channels last: one gather for the whole batch."""
        torch, (h, w), n = self.torch, self.size, len(samples)
        y, x = (
            torch.randint(0, 2 * PADDING + 1, (n, 1), device=self.where)
            if "crop" in self.augment
            else torch.full((n, 1), PADDING, device=self.where)
            for _ in range(2)
        )
        rows, columns = y + torch.arange(h, device=self.where), x + torch.arange(w, device=self.where)
        if "flip" in self.augment:
            flip = torch.rand(n, 1, device=self.where) < 0.5
            columns = torch.where(flip, columns.flip(1), columns)
        images = self.train_x[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (n, h, w, c)
        return ((images - self.mean) / self.std).permute(0, 3, 1, 2)

    def accuracy(self) -> float:
        """Of all test pictures, or of as many as gpucnn takes."""
        self.net.mode(False)
        count = min(len(self.test_x), TEST * (self.flags["limit_batches"] or len(self.test_x)))
        right = 0
        with self.torch.inference_mode(), self.net.precision():
            for start in range(0, count, TEST):
                x = self.test_x[start : start + TEST].permute(0, 2, 3, 1)
                logits = self.net.net(((x - self.mean) / self.std).permute(0, 3, 1, 2))
                right += int((logits.argmax(1) == self.test_y[start : start + TEST]).sum())
        return right / count

    def _wait(self) -> None:
        if self.where == "cuda":
            self.torch.cuda.synchronize()


def race(subject: str, flags: dict[str, Any], target: float) -> dict[str, Any]:
    """One run; `seconds` is null where the target was not reached."""
    epochs = ours(flags) if subject == "gpucnn" else theirs(flags, subject.removeprefix("torch "))
    found: dict[str, Any] = {"subject": subject, "seed": flags["seed"], "seconds": None, "epochs": []}
    for seconds, accuracy in epochs:
        found["epochs"].append({"seconds": round(seconds, 4), "test_accuracy": accuracy})
        if accuracy >= target:
            return found | {"seconds": round(seconds, 4)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=float, required=True, help="the test accuracy to reach, 0 to 1")
    parser.add_argument("--recipe", default="fast", help="of gpucnn train, or none")
    parser.add_argument("--device", choices=("cuda", "sim"), default="cuda")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file, other than in results")
    options, words = parser.parse_known_args()
    if options.device == "sim" and options.output is None:
        parser.error("--device sim measures no GPU: give it an --output of its own")
    words += ["--device", options.device, *(["--recipe", options.recipe] if options.recipe != "none" else [])]
    machine = describe() | (describe_gpu() if options.device == "cuda" else {"gpu": "none: sim"})
    record: dict[str, Any] = {"device": options.device, "machine": machine, "target": options.target, "runs": []}
    record |= {"recipe": options.recipe, "flags": words, "skipped": {}}
    for seed, subject in product(range(options.seeds), options.subjects):
        try:
            run = race(subject, flags_of([*words, "--seed", str(seed)]), options.target)
        except Skipped as reason:
            record["skipped"][subject] = str(reason)
            print(f"{subject}: skipped: {reason}", flush=True)
        else:
            record["runs"].append(run)
            best = max(epoch["test_accuracy"] for epoch in run["epochs"])
            reached = "not reached" if run["seconds"] is None else f"{run['seconds']} s"
            print(f"{subject}, seed {seed}: {reached}, {len(run['epochs'])} epochs, at most {best:.2%}", flush=True)
        (options.output or RESULT).write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(not any(run["seconds"] is not None for run in record["runs"]))


if __name__ == "__main__":
    main()
