"""The runs of a claim, through `gpucnn train`'s own code, and the file in which each of them is kept."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..backend import Device
from ..checkpoint import write_atomic
from ..claims import Claim, Trained
from ..data import Dataset
from ..errors import UsageError
from ..memory import enough_memory
from .environment import environment
from .output import Output
from .progress import Progress
from .recipe import with_recipe
from .run import Run
from .run_folder import cannot_write
from .stop import StopBetweenSteps
from .train import train

QUICK = "none, for --quick decides nothing"
_OF_ALL = {"variant", "seed", "test_loss", "images", "test_images", "epochs", "curve"}  # runs do not differ by these


class Record:
    """NAME.json in `folder`; its name tells of devices other than the CPU, and of runs that are quick.

    runs: those that are done, of the same definition and by the same kinds of kernels; others are forgotten.
    """

    def __init__(self, claim: Claim, folder: Path, device: Device, quick: bool) -> None:
        self.claim, self.device, self.quick = claim, device, quick
        parts = [claim.name, *([device.type] if device.type != "cpu" else []), *(["quick"] if quick else [])]
        self.path = folder / f"{'-'.join(parts)}.json"
        self.runs: list[dict[str, Any]] = []
        self.environment = environment(device)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            kept = json.loads(self.path.read_text())
            same_kinds = {*kept["kernels"].values()} == {*self.device.implementation.values()}
            if same_kinds and kept["definition"] == self.claim.definition():
                self.runs, self.environment = kept["runs"], kept["environment"]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UsageError(f"{self.path} holds no result of a claim", "remove it, and begin anew") from None

    def complete(self, flags: dict[str, Any], load: Callable[[str], Dataset], output: Output) -> None:
        """Make the runs that are not there yet, and write each down as soon as it is done.

        flags: those of the command that are `gpucnn train`'s, too. Stopped where somebody pressed Ctrl-C.
        """
        done = {(run["variant"], run["seed"]) for run in self.runs}
        with StopBetweenSteps() as stop:
            for variant, seed in self.claim.runs():
                if (variant, seed) in done:
                    continue
                run = measured(self.claim, variant, seed, flags, load, stop.check, output.as_json)
                self.runs.append(run)
                self._write()
                output.say(
                    f"{variant}, seed {seed}: test accuracy {run['test_accuracy']:.2%}, "
                    f"train loss {run['train_loss']:.4f}, {run['seconds']:.1f} s"
                )
                stop.check()

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, (json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n").encode())
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def verdict(self) -> str | None:
        """None where runs are missing."""
        if len(self.runs) < self.claim.seeds * len(self.claim.variants):
            return None
        if self.quick:
            return QUICK
        holds = all(criterion.holds(self.runs) for criterion in self.claim.criteria)
        return "reproduced" if holds else "not reproduced at this budget"

    def as_json(self) -> dict[str, Any]:
        """Everything about the claim and its runs."""
        criteria = self.claim.criteria if self.verdict() else ()
        return {
            "claim": self.claim.name,
            "says": self.claim.says,
            "by": self.claim.by,
            "verdict": self.verdict(),
            "criteria": [{"criterion": str(each), "holds": each.holds(self.runs)} for each in criteria],
            "definition": self.claim.definition(),
            "device": str(self.device),
            "kernels": self.device.implementation,
            "environment": self.environment,
            "runs": self.runs,
        }


def quantities(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured and may differ between runs, accuracy first, what only this claim measures last."""
    return [what for what in runs[0] if what not in _OF_ALL]


def measured(
    claim: Claim,
    variant: str,
    seed: int,
    flags: dict[str, Any],
    load: Callable[[str], Dataset],
    check: Callable[[], None],
    to_stderr: bool,
) -> dict[str, Any]:
    """Train one variant with one seed, as `gpucnn train` does with the flags of both, and measure what came out."""
    how = claim.variants[variant]
    text = f"{claim.flags} {how if isinstance(how, str) else ''} --seed {seed}"
    context = train.make_context("train", shlex.split(text))
    settings = with_recipe(context, context.params) | flags
    data = load(settings["dataset"])
    data = data.first(*claim.images) if claim.images else data
    run = Run(settings, Silent(True), data=data, make_model=None if isinstance(how, str) else how)
    progress = Progress(settings["epochs"], settings["batch_size"], to_stderr)
    with enough_memory(run.model, run.train_batches), progress:
        epochs = list(run.epochs(settings["epochs"], None, after_step=progress.step, check=check))
        extra = claim.measure(Trained(run.model, run.test_batches, epochs))
    last = epochs[-1]
    return {
        "variant": variant,
        "seed": seed,
        "test_accuracy": last.test_accuracy,
        "train_accuracy": last.train_accuracy,
        "test_loss": last.test_loss,
        "train_loss": last.train_loss,
        "parameters": run.parameters,
        "images": len(run.data.train_x),
        "test_images": len(run.data.test_x),
        "epochs": last.epoch,
        "seconds": sum(epoch.seconds for epoch in epochs),
        "curve": [epoch.test_accuracy for epoch in epochs],
    } | extra


class Silent(Output):
    """Says nothing."""

    def say(self, line: str = "") -> None:
        pass
