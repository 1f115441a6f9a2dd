"""`gpucnn train`: from flags to a trained model in a run folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..backend import parse_device
from ..cpu import prepare, set_threads, unfavourable
from ..data import Batches, load
from ..errors import DeviceError, DivergedError
from ..models import model_class
from ..training import Epoch, fit, rehearse
from .config import RECIPES, read_config, read_recipe
from .notes import note
from .options import Finite, data_options, device_options, json_option, threads_option
from .output import Output, short
from .plot import with_matplotlib
from .progress import Progress
from .recipe import make_optimizer, make_schedule, with_recipe
from .run_folder import WEIGHTS, RunFolder, example_image
from .stop import StopBetweenSteps, Stopped

NOT_OF_A_RUN = ("output_dir", "overwrite", "dry_run")  # where a run goes is no part of what it is


@click.command(short_help="Train a model.")
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=read_config,
              help="A TOML file with any of these flags.")  # fmt: skip
@click.option("--recipe", type=click.Choice(list(RECIPES)), is_eager=True, expose_value=False, callback=read_recipe,
              help="Flags that go together: fast is alexnet-lite on cifar10, in batches for a GPU.")  # fmt: skip
@click.option("--model", default="lenet", show_default=True, help="The architecture: see gpucnn summary.")
@data_options
@device_options
@threads_option
@click.option("--graph/--no-graph", default=True,
              help="Record the kernels of a step and repeat them without Python.  [default: graph]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("-b", "--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw"]), default="sgd", show_default=True)
@click.option("--lr", type=Finite(0, min_open=True), default=0.05, show_default=True, help="Top learning rate.")
@click.option("--momentum", type=Finite(0, 1, max_open=True), default=0.9, show_default=True, help="Of SGD.")
@click.option("--nesterov/--no-nesterov", default=False, help="Nesterov's momentum in SGD.")
@click.option("--wd", "--weight-decay", "weight_decay", type=Finite(0), default=5e-4, show_default=True)
@click.option("--lr-scheduler", type=click.Choice(["one-cycle", "cosine", "step", "constant"]),
              default="one-cycle", show_default=True,
              help="one-cycle: in 20 % of the steps from lr/10 to lr, then down to lr/1000.")  # fmt: skip
@click.option("--lr-step-size", type=click.IntRange(1), default=30, show_default=True, help="Epochs a step, for step.")
@click.option("--lr-gamma", type=Finite(0), default=0.1, show_default=True, help="Factor a step, for step.")
@click.option(
    "--lr-warmup-epochs", type=click.IntRange(0), default=0, show_default=True, help="Linear, before the rest."
)
@click.option("--label-smoothing", type=Finite(0, 1), default=0.0, show_default=True)
@click.option("--augment", default=None, metavar="NAMES",
              help="Of crop,flip,cutout; or none.  [default: crop,flip on cifar10, crop on digits]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option("--output-dir", type=click.Path(path_type=Path), help="The run folder.  [default: runs/<time>-<model>]")
@click.option("--overwrite", is_flag=True, help="Write into an --output-dir that holds files already.")
@click.option("--limit-batches", type=click.IntRange(1), help="At most so many batches an epoch, to train and to test.")
@click.option("--dry-run", is_flag=True, help="One step and one test batch, nothing written.")
@json_option
@click.pass_context
def train(context: click.Context, **flags: Any) -> None:
    """Train a model; by default lenet on cifar10, on a GPU where there is one.

    Without the data and a network: gpucnn train --dataset digits
    """
    flags = with_recipe(context, flags)
    output = Output(flags.pop("as_json"))
    run = Run(flags, output)
    if flags["dry_run"]:
        run.dry()
        output.next(*[word for word in context.find_root().obj if word != "--dry-run"])
    else:
        run.train()


class Run:
    """Everything that the flags name, built and checked before anything is written."""

    def __init__(self, flags: dict[str, Any], output: Output) -> None:
        self.flags, self.output = flags, output
        make_model = model_class(flags["model"])
        how = (flags[name] for name in ("kernels", "fuse", "graph", "precision"))
        self.device, why = parse_device(flags["device"], *how)
        if flags["threads"] is not None:
            set_threads(flags["threads"], self.device)
        size = make_model.image_size or (32, 32)
        self.raw_data = load(flags["dataset"], flags["data_path"], flags["download"], size)
        self.data = self.raw_data.fit(make_model.image_size) if make_model.image_size else self.raw_data
        if flags["augment"] is None:
            flags["augment"] = ",".join(self.data.augment) or "none"
        self.model = make_model(self.data.image_shape, len(self.data.classes))
        self.model.initialize(flags["seed"]).to(self.device)
        self.parameters = sum(parameter.data.size for parameter in self.model.parameters())
        images: dict[str, Any] = {"device": self.device, "mean": self.data.mean, "std": self.data.std}
        drop_last = len(self.data.train_x) >= flags["batch_size"]
        self.train_batches = Batches(
            self.data.train_x,
            self.data.train_y,
            flags["batch_size"],
            seed=flags["seed"],
            shuffle=True,
            augment=tuple(name for name in flags["augment"].split(",") if name != "none"),
            drop_last=drop_last,
            **images,
        )
        self.test_batches = Batches(self.data.test_x, self.data.test_y, 500, **images)
        steps = min(len(self.train_batches), flags["limit_batches"] or len(self.train_batches))
        self.optimizer = make_optimizer(self.model, flags)
        self.schedule = make_schedule(flags, steps)
        self._introduce(why)
        prepare(self.device, lambda: rehearse(self.model, self.train_batches))

    def _introduce(self, why: str) -> None:
        data = self.data
        notes = "; ".join(data.notes)
        self.output.say(
            f"{self.flags['model']} ({self.parameters:,} parameters) on {data.name} "
            f"({len(data.train_x):,} + {len(data.test_x):,} images, {'x'.join(map(str, data.image_shape))}"
            f"{'; ' + notes if notes else ''}), {self.device} ({why}), kernels " + self.device.kernels_in_words()
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
            **callbacks,
        )

    def dry(self) -> None:
        """One step and one test batch."""
        (epoch,) = self.epochs(1, 1)
        self.output.say(f"dry run: one step gave a loss of {epoch.train_loss:.4f}; nothing was written")
        self.output.result(self._result(epoch, None))

    def train(self) -> None:
        """Train, save after every epoch, draw the curves, and say what came out."""
        folder = RunFolder.create(self.flags["output_dir"], self.flags["model"], self.flags["overwrite"])
        folder.describe({name: v for name, v in self.flags.items() if name not in NOT_OF_A_RUN}, self.device)
        folder.save(self.model, self._meta(0))
        folder.add_samples(self.raw_data)
        done: list[Epoch] = []
        try:
            with (
                StopBetweenSteps() as stop,
                Progress(self.flags["epochs"], self.flags["batch_size"], self.output.as_json) as progress,
            ):
                epochs, limit = self.flags["epochs"], self.flags["limit_batches"]
                for epoch in self.epochs(epochs, limit, after_step=progress.step, check=stop.check):
                    folder.add_metrics(epoch)
                    folder.save(self.model, self._meta(epoch.epoch))
                    done.append(epoch)
                    progress.epoch(epoch)
                    for fault in unfavourable(self.device) if epoch.epoch == 1 else ():
                        note(*fault)
        except Stopped as stopped:
            if all(np.isfinite(array).all() for array in self.model.state_dict().values()):
                folder.save(self.model, self._meta(len(done)))
            self.output.say(f"stopped in epoch {len(done) + 1}; the weights are in {short(folder.path / WEIGHTS)}")
            self.output.next("eval", short(folder.path))
            raise SystemExit(stopped.exit_code) from None
        except DivergedError as error:
            error.hint += f"; the last good weights, after epoch {len(done)}, are in {short(folder.path)}"
            raise
        curves = _draw_curves(folder.path, done)
        last = done[-1]
        self.output.say(f"test accuracy {last.test_accuracy:.2%} after epoch {last.epoch}, by the last weights")
        self.output.say(f"weights, metrics{' and curves.png' if curves else ''} are in {short(folder.path)}")
        if not curves:
            self.output.say("no curves.png without matplotlib: pip install 'gpucnn[plot]'")
        self.output.result(self._result(last, folder.path))
        self.output.next("predict", short(folder.path), short(example_image(folder.path)))

    def _meta(self, epoch: int) -> dict[str, Any]:
        """What `restore` and `predict` need beside the weights."""
        return {
            "model": self.flags["model"],
            "input_shape": self.data.image_shape,
            "image_size": self.raw_data.image_shape[1:],
            "white": self.data.white,
            "classes": self.data.classes,
            "mean": self.data.mean,
            "std": self.data.std,
            "dataset": self.data.name,
            "data_path": str(Path(self.flags["data_path"]).absolute()) if self.flags["data_path"] else None,
            "seed": self.flags["seed"],
            "epoch": epoch,
        }

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
            "seed": self.flags["seed"],
            "run_dir": str(run_dir) if run_dir else None,
        }


def _draw_curves(folder: Path, epochs: list[Epoch]) -> bool:
    """Write curves.png; False where matplotlib is not installed."""
    try:
        drawings = with_matplotlib()
    except DeviceError:
        return False
    drawings.write(drawings.curves(folder.name, epochs), folder / "curves.png")
    return True
