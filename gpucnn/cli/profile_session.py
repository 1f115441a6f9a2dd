"""The training steps that are profiled, and what is known of them beside their times."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..costs import Costs, update
from ..errors import DeviceError
from ..measure.slices import Profile
from ..measure.timers import timed
from ..profiling import Nvtx, listening
from ..roofs import Roofs, roofs
from ..steps import steps_on
from ..training import rehearse
from .output import Output
from .run import Run

# Flags of train that mean nothing to a few steps.
FIXED: dict[str, Any] = {"epochs": 1, "limit_batches": None, "dry_run": True, "output_dir": None, "overwrite": False}
FIXED |= {"lr_scheduler": "constant", "lr_warmup_epochs": 0, "checkpoint_steps": None, "checkpoint_minutes": None}
FIXED |= {"distributed": "auto"}
_CALLS_BEFORE = 4  # compile, record, compare, repeat: then steps are as fast as they become


class Session:
    """Steps of a run as gpucnn train makes them, again and again over the training images."""

    def __init__(self, flags: dict[str, Any], own: dict[str, Any], output: Output) -> None:
        self.flags, self.own = flags, own
        self.run = Run(flags, output)
        self.device = self.run.device
        self.costs: dict[str, Any] = {}
        self.plain_step_us: float | None = None
        self.steps = 0

    def profile(self, steps: int) -> Profile:
        """Of so many steps, with a clock around each range; before them, as many as they are without."""
        self._model_costs()
        with self._loop() as loop:
            self._warm_up(loop, steps)
            started = time.perf_counter()
            made = self._make(loop, steps)
            self.device.synchronize()
            self.plain_step_us = 1e6 * (time.perf_counter() - started) / made
            self._warm_up(loop, steps)
            with timed(self.device) as timers:
                self.steps = self._make(loop, steps)
            return timers.profile()

    def accesses(self) -> list[dict[str, Any]]:
        """Of one step on the simulator, line by line; see measure/accesses.py."""
        from ..measure.accesses import counted

        with self._loop() as loop:
            self._refill(loop, 1)
            with counted() as found:
                self.steps = self._make(loop, 1)
        return found.rows()

    def between_marks(self, steps: int, facts: Path | None) -> None:
        """So many steps with ranges of NVTX, between the marks that a tool may wait for: it begins there, and ends."""
        self._model_costs()
        try:
            nvtx = Nvtx()
        except ImportError:
            raise DeviceError("the package nvtx is not installed", "pip install nvtx") from None
        runtime = self.device.xp.cuda.runtime if self.device.type == "cuda" else None
        with self._loop() as loop:
            self._warm_up(loop, steps)
            with listening(nvtx):
                if runtime:
                    runtime.profilerStart()
                self.steps = self._make(loop, steps)
                self.device.synchronize()
                if runtime:
                    runtime.profilerStop()
        if facts:
            facts.write_text(json.dumps(self.facts()))

    def facts(self) -> dict[str, Any]:
        """What ran, what each range must compute and move, and the roofs; as JSON takes it."""
        ranges = {name: asdict(cost) for name, cost in self.costs.items()}
        return {
            "model": self.flags["model"],
            "dataset": self.flags["dataset"],
            "batch_size": self.flags["batch_size"],
            "device": str(self.device),
            "kernels": self.device.kernels_in_words(),
            "steps": self.steps,
            "plain_step_us": self.plain_step_us,
            "costs": ranges,
            "roofs": asdict(found) if (found := self._roofs()) else None,
        }

    def _roofs(self) -> Roofs | None:
        gflops, gbs = self.own["peak_gflops"], self.own["peak_gbs"]
        if gflops and gbs:
            return Roofs(gflops, gbs)
        measured = roofs(self.device, self.own["measure_roofs"])
        return measured and Roofs(gflops or measured.gflops, gbs or measured.gbs)

    def _model_costs(self) -> None:
        with listening(costs := Costs()):
            rehearse(self.run.model, self.run.train_batches)
        self.costs = {**costs.passes, "optimizer": update(self.run.parameters, len(self.run.optimizer.states))}

    def _loop(self) -> Any:
        run, kind = self.run, steps_on(self.device)
        self._left, self._epoch = 0, 0
        return kind(
            run.model.train(), run.optimizer, run.train_batches, self.flags["seed"], self.flags["label_smoothing"]
        )

    def _warm_up(self, loop: Any, steps: int) -> None:
        """Have `steps` to make, as far as an epoch has as many, without its first ones, which draw all of it."""
        self._refill(loop, steps + _CALLS_BEFORE)
        for _ in range(_CALLS_BEFORE):
            self._make(loop, 1)
        self.device.synchronize()

    def _refill(self, loop: Any, steps: int) -> None:
        if self._left < min(steps, len(self.run.train_batches)):
            self._left = len(self.run.train_batches)
            loop.begin(self._epoch, [self.flags["lr"]] * self._left)
            self._epoch += 1

    def _make(self, loop: Any, steps: int) -> int:
        """At least so many steps; the number made, which is a whole number of recordings."""
        made = 0
        while made < steps:
            self._refill(loop, 1)
            count = loop()
            made, self._left = made + count, self._left - count
        return made
