"""How accurate the recipes of `gpucnn train` become on CIFAR-10, in gpucnn and in PyTorch, on one thread of the CPU.

python bench/accuracy_torch.py                 all networks, of which each writes results/beside-torch-NAME.json
python bench/accuracy_torch.py lenet resnet20  some of them

Both sides begin with the same weights and have the same batch size, optimizer, schedule and augmentation; what is drawn
at random in training differs. Seconds are the processor's, of training alone: others may use the machine meanwhile.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from cpu_subjects import need_torch
from cpu_tables import RESULTS
from machine import describe
from time_to_accuracy import Torch, flags_of

from gpucnn.cli.output import Output
from gpucnn.cli.run import Run

EPOCHS = {"lenet": 5, "simplecnn": 3, "tinytorch-cifar": 3, "resnet20": 2, "alexnet-lite": 2}
IMAGES = 50_000  # to train with
RECIPE = ("optimizer", "lr", "momentum", "weight_decay", "lr_scheduler", "batch_size", "augment", "label_smoothing")


def ours(flags: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """(seconds so far, test accuracy) after each epoch."""
    run = Run(dict(flags), Output(True))  # compiles, too
    seconds, begin, end = 0.0, time.process_time(), 0.0

    def after_step(_: Any) -> None:
        nonlocal end
        end = time.process_time()

    for epoch in run.epochs(flags["epochs"], None, after_step=after_step):
        seconds += end - begin
        yield seconds, epoch.test_accuracy
        begin = time.process_time()


def theirs(flags: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """The same recipe in PyTorch."""
    side, seconds = Torch(flags, "eager"), 0.0
    side.epoch(0, 4)  # PyTorch, too, is slower at first
    side.restart()
    for epoch in range(flags["epochs"]):
        begin = time.process_time()
        side.epoch(epoch, None)
        seconds += time.process_time() - begin
        yield seconds, side.accuracy()


@np.errstate(all="ignore")  # as for gpucnn's commands: a rehearsal computes with whatever lies in memory
def beside(words: list[str]) -> dict[str, Any]:
    """The recipe that `words` name, and of each side the seconds so far and the test accuracy after each epoch."""
    torch = need_torch()
    torch.set_num_threads(1)
    flags = flags_of([*words, "--device", "cpu", "--threads", "1"])
    found: dict[str, Any] = {"model": flags["model"], "recipe": {name: flags[name] for name in RECIPE}}
    for name, side in SIDES.items():
        found[name] = [{"seconds": round(s, 4), "test_accuracy": accuracy} for s, accuracy in side(flags)]
    return found | {"machine": describe() | {"torch": torch.__version__}}


SIDES = {"gpucnn": ours, "torch": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EPOCHS)}")
    names = parser.parse_args().names or list(EPOCHS)
    if unknown := {*names} - EPOCHS.keys():
        parser.error(f"no network {', '.join(unknown)} here; there are {', '.join(EPOCHS)}")
    for name in names:
        words = f"--model {name} --dataset cifar10 --no-download --augment crop,flip --epochs {EPOCHS[name]}"
        found = beside(words.split())
        found["images"] = IMAGES // found["recipe"]["batch_size"] * found["recipe"]["batch_size"]  # of whole batches
        (RESULTS / f"beside-torch-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        ends = (
            f"{side} {found[side][-1]['test_accuracy']:.2%} in {found[side][-1]['seconds']:.0f} s" for side in SIDES
        )
        print(f"{name}: {', '.join(ends)}", flush=True)


if __name__ == "__main__":
    main()
