"""When the state of a run is written, and what happens when that fails."""

import time
from collections.abc import Callable

import numpy as np

from ..checkpoint import State
from ..errors import GpucnnError
from ..training import Epoch, Position, Step
from .notes import note
from .output import program, short
from .run_folder import RunFolder


class Saver:
    """Writes metrics and checkpoints after each epoch, and checkpoints after so many steps or minutes.

    A write that fails is told once and tried again the next time; until then the files are as they were. Numbers that
    are not finite are not written: the run is about to end, and the last good checkpoint is worth more.

    done: the epochs so far. saved: the position of the last checkpoint, if there is one.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: Callable[[Position], State],
        done: list[Epoch],
        saved: Position | None,
        every_steps: int | None,
        every_minutes: float,
    ) -> None:
        self.folder, self.done, self.saved = folder, done, saved
        self._state, self._every_steps, self._seconds = state, every_steps, 60 * every_minutes
        self._time = time.monotonic()  # of the last checkpoint
        self._now: Step | None = None
        self._step: int | None = None  # its number in the run
        self._fault = ""

    def begin(self, position: Position) -> None:
        """Write the first checkpoint of a new run; GpucnnError where that fails. A note where there is hardly room."""
        self.save(position)
        self.require_saved()
        free, size = self.folder.room()
        if free < 3 * size:  # the last, the one before, and the next
            note(f"{free / 1e6:.1f} MB are free where checkpoints of {size / 1e6:.1f} MB are written")

    def step(self, now: Step) -> None:
        """To be called after each step, or some of them."""
        step = (now.epoch - 1) * now.steps + now.step
        before = step - 1 if self._step is None else self._step
        self._now, self._step = now, step
        due = self._every_steps and step // self._every_steps > before // self._every_steps
        if due or time.monotonic() - self._time >= self._seconds:
            self.save(now.position())

    def epoch(self, epoch: Epoch) -> None:
        """To be called after each epoch."""
        self.done.append(epoch)
        self.save(Position(epoch.epoch))

    def stop(self) -> None:
        """To be called where training was stopped after a step."""
        assert self._now
        self.save(self._now.position())
        self.require_saved()

    def save(self, position: Position) -> None:
        """Write a checkpoint, if all numbers in it are finite and there is room for it."""
        state = self._state(position)
        if not all(np.isfinite(array).all() for array in (*state.weights.values(), *state.optimizer.values())):
            return
        self._time = time.monotonic()
        try:
            if position.step == 0 or self._fault:
                self.folder.write_metrics(self.done)  # before the checkpoint: to resume cuts what is too much
            self.folder.save(state)
            self.keep_best(position)
        except OSError as error:
            if not self._fault and self.saved:
                note(f"no checkpoint could be written ({error.strerror}): training goes on, and tries again")
            self._fault = error.strerror or str(error)
        else:
            self._fault, self.saved = "", position

    def keep_best(self, position: Position) -> None:
        """Let the last checkpoint, at `position`, be the best one, too, if it is that of the best epoch."""
        if position.step == 0 and self.done and self.done[-1] is max(self.done, key=lambda epoch: epoch.test_accuracy):
            self.folder.keep_best()

    def require_saved(self) -> None:
        """GpucnnError where the last checkpoint could not be written."""
        if self._fault:
            again = f"go on from the checkpoint before: {program()} train --resume {short(self.folder.path)}"
            raise GpucnnError(
                f"the state of the run could not be written to {short(self.folder.path)}: {self._fault}",
                f"make room, then {again if self.saved else 'begin again'}",
            )
