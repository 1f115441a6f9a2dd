"""A training run: everything that the flags of `gpucnn train` name, and what is done with it."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..backend import parse_device
from ..checkpoint import State
from ..cpu import prepare, set_threads, unfavourable
from ..data import Batches, Dataset, load
from ..errors import DivergedError
from ..lint import at_chance
from ..memory import enough_memory, require_memory
from ..models import Model, model_class
from ..parallel import ALONE, Ranks, own_device, with_nccl
from ..training import BEGINNING, Epoch, Position, Step, fit, rehearse
from .diverged import explained
from .notes import note
from .output import Output, short
from .plot import draw_curves
from .progress import Progress
from .ranks import require_same
from .recipe import make_optimizer, make_schedule
from .resume import Resumed, position_of, settings
from .run_folder import WEIGHTS, RunFolder, example_image
from .saving import Saver
from .stop import StopBetweenSteps, Stopped
from .weights import start_from


class Run:
    """Everything that the flags name, built and checked before anything is written.

    data, make_model: what trains instead of what --dataset and --model name.
    """

    def __init__(
        self,
        flags: dict[str, Any],
        output: Output,
        resumed: Resumed | None = None,
        ranks: Ranks = ALONE,
        data: Dataset | None = None,
        make_model: type[Model] | None = None,
    ) -> None:
        self.flags, self.output, self.resumed = flags, output, resumed
        self.start = resumed.position if resumed else BEGINNING
        make_model = make_model or model_class(flags["model"])
        how = (flags[name] for name in ("kernels", "fuse", "graph", "precision"))
        self.device, why = parse_device(own_device(ranks, flags["device"]), *how)
        self.ranks = with_nccl(ranks, self.device, flags["distributed"])
        threads = ranks.threads() if flags["threads"] is None else flags["threads"]
        if threads is not None:
            set_threads(threads, self.device)
        size = make_model.image_size or (32, 32)
        with ranks.one_first():
            self.raw_data = data or load(flags["dataset"], flags["data_path"], flags["download"], size)
        self.data = self.raw_data.fit(make_model.image_size) if make_model.image_size else self.raw_data
        if flags["augment"] is None:
            flags["augment"] = ",".join(self.data.augment) or "none"
        self.model = make_model(self.data.image_shape, len(self.data.classes))
        self.model.initialize(flags["seed"])
        if not resumed:  # whose checkpoint has come further; the file may be gone
            start_from(self.model, flags["weights"], flags["reset_head"])
        self.model.to(self.device)
        self.parameters = sum(parameter.data.size for parameter in self.model.parameters())
        require_same(ranks, flags, self.raw_data)
        images: dict[str, Any] = {"device": self.device, "mean": self.data.mean, "std": self.data.std}
        images |= {"rank": ranks.rank, "ranks": ranks.size}
        augment = tuple(name for name in flags["augment"].split(",") if name != "none")
        drop_last = len(self.data.train_x) >= flags["batch_size"]
        shuffled: dict[str, Any] = {"seed": flags["seed"], "shuffle": True, "augment": augment, "drop_last": drop_last}
        self.train_batches = Batches(self.data.train_x, self.data.train_y, flags["batch_size"], **shuffled, **images)
        self.test_batches = Batches(self.data.test_x, self.data.test_y, 500, **images)
        self.steps = min(len(self.train_batches), flags["limit_batches"] or len(self.train_batches))
        self.optimizer = make_optimizer(self.model, flags)
        self.schedule = make_schedule(flags, self.steps)
        if resumed:
            resumed.load_into(self.model, self.optimizer, self.raw_data)
        self._introduce(why)
        with enough_memory(self.model, self.train_batches), ranks.one_first():
            prepare(self.device, lambda: rehearse(self.model, self.train_batches))
            require_memory(self.model, self.train_batches)

    def _introduce(self, why: str) -> None:
        data = self.data
        notes = "; ".join(data.notes)
        together = f"{self.ranks}, " if self.ranks.size > 1 else ""
        self.output.say(
            f"{self.flags['model']} ({self.parameters:,} parameters) on {data.name} "
            f"({len(data.train_x):,} + {len(data.test_x):,} images, {'x'.join(map(str, data.image_shape))}"
            f"{'; ' + notes if notes else ''}), {self.device} ({why}), "
            f"{together}kernels {self.device.kernels_in_words()}"
        )

    def epochs(self, epochs: int, limit_batches: int | None, **callbacks: Any) -> Iterator[Epoch]:
        """Train, with the flags' settings."""
        return fit(
            self.model,
            self.optimizer,
            self.train_batches,
            self.test_batches,
            epochs=epochs,
            schedule=self.schedule,
            seed=self.flags["seed"],
            label_smoothing=self.flags["label_smoothing"],
            limit_batches=limit_batches,
            start=self.start,
            ranks=self.ranks,
            **callbacks,
        )

    def dry(self) -> None:
        """One step and one test batch."""
        (epoch,) = self.epochs(1, 1)
        self.output.say(f"dry run: one step gave a loss of {epoch.train_loss:.4f}; nothing was written")
        self.output.result(self._result(epoch, None))

    def train(self, folder: RunFolder) -> None:
        """Train, save after every epoch, draw the curves, and say what came out."""
        folder.describe(settings(self.flags), self.device)
        done = folder.metrics_until(self.start.epoch)
        steps, minutes = self.flags["checkpoint_steps"], self.flags["checkpoint_minutes"]
        saver = Saver(folder, self.state, done, self.start if self.resumed else None, steps, minutes)
        if self.resumed:
            saver.keep_best(self.start)  # a kill may have come before
            self.output.say(f"going on after {self.start}")
        else:
            saver.begin(self.start)
            folder.add_samples(self.raw_data)
        try:
            with (
                enough_memory(self.model, self.train_batches),
                StopBetweenSteps(self.ranks) as stop,
                Progress(self.flags["epochs"], self.flags["batch_size"], self.output.as_json) as progress,
            ):

                def after_step(step: Step) -> None:
                    progress.step(step)
                    saver.step(step)

                epochs, limit = self.flags["epochs"], self.flags["limit_batches"]
                for epoch in self.epochs(epochs, limit, after_step=after_step, check=stop.check):
                    saver.epoch(epoch)
                    progress.epoch(epoch)
                    for fault in self._faults(epoch) if epoch.epoch == self.start.epoch + 1 else ():
                        note(*fault)
        except Stopped as stopped:
            saver.stop()
            self.output.say(f"stopped in epoch {len(done) + 1}; the weights are in {short(folder.path / WEIGHTS)}")
            self.output.next("train", "--resume", short(folder.path))
            self.ranks.barrier()  # who ends before the others ends them, too
            raise SystemExit(stopped.exit_code) from None
        except DivergedError as error:
            if self.ranks.size > 1:
                error.hint += f"; {short(folder.path)} has {saver.saved}, and --resume with one process names the op"
                raise
            self._load(folder)
            repeat = partial(self.epochs, self.flags["epochs"], self.flags["limit_batches"], checked=True)
            raise explained(error, repeat, self.start, short(folder.path)) from None
        saver.require_saved()
        no_curves = draw_curves(folder.path, done)
        last = done[-1]
        self.output.say(f"test accuracy {last.test_accuracy:.2%} after epoch {last.epoch}, by the last weights")
        self.output.say(f"weights, metrics{'' if no_curves else ' and curves.png'} are in {short(folder.path)}")
        if no_curves:
            self.output.say(f"no curves.png {no_curves}")
        self.output.result(self._result(last, folder.path))
        self.output.next("predict", short(folder.path), short(example_image(folder.path)))

    def _faults(self, epoch: Epoch) -> list[tuple[str, str]]:
        """What an epoch has shown that could be better, each with what to do."""
        guessed = at_chance(epoch.test_loss, epoch.test_accuracy, len(self.data.classes), self.steps)
        return unfavourable(self.device) + guessed

    def _load(self, folder: RunFolder) -> None:
        """Go back to the last checkpoint."""
        state, _ = folder.newest()
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.start = position_of(state)

    def state(self, position: Position) -> State:
        """All that `train --resume`, `eval` and `predict` need."""
        meta = {
            "model": self.flags["model"],
            "input_shape": self.data.image_shape,
            "image_size": self.raw_data.image_shape[1:],
            "white": self.data.white,
            "classes": self.data.classes,
            "mean": self.data.mean,
            "std": self.data.std,
            "dataset": self.data.name,
            "data_path": str(Path(self.flags["data_path"]).absolute()) if self.flags["data_path"] else None,
            "data_sha256": self.raw_data.sha256,
            "seed": self.flags["seed"],
            "config": settings(self.flags),
            **asdict(position),
        }
        return State(self.model.state_dict(), self.optimizer.state_dict(), meta)

    def _result(self, last: Epoch, run_dir: Path | None) -> dict[str, Any]:
        return {
            "test_accuracy": last.test_accuracy,
            "test_loss": last.test_loss,
            "train_loss": last.train_loss,
            "train_accuracy": last.train_accuracy,
            "epochs": last.epoch,
            "images_per_second": last.images_per_second,
            "parameters": self.parameters,
            "model": self.flags["model"],
            "dataset": self.flags["dataset"],
            "device": str(self.device),
            "kernels": self.device.implementation,
            "ranks": self.ranks.size,
            "seed": self.flags["seed"],
            "run_dir": str(run_dir) if run_dir else None,
        }
