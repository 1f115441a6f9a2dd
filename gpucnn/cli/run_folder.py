"""The folder of a run: written by `train`, read by `eval`, `predict` and `plot`."""

import csv
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Device
from ..checkpoint import load_weights, save_weights, write_atomic
from ..data import Dataset
from ..errors import DataError, UsageError
from ..models import Model, model_class
from ..training import Epoch
from .environment import environment

WEIGHTS = "last.safetensors"
METRICS = "metrics.jsonl"
PICTURES = ("curves", "filters", "features", "confusion", "roofline")  # of `gpucnn plot`
META = ("model", "input_shape", "image_size", "white", "classes", "mean", "std", "dataset", "data_path", "epoch")


class RunFolder:
    """config.toml (everything resolved), env.json, metrics.jsonl, metrics.csv, last.safetensors, samples/."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, output_dir: Path | None, model: str, overwrite: bool) -> "RunFolder":
        """A new folder: `output_dir`, or runs/<date-time>-<model>. UsageError where it holds files already."""
        if output_dir is None:
            path = base = Path("runs", f"{datetime.now():%Y%m%d-%H%M%S}-{model}")
            again = 1
            while path.exists():
                again += 1
                path = base.with_name(f"{base.name}-{again}")
        else:
            path = output_dir
            if path.is_file() or (path.is_dir() and any(path.iterdir()) and not overwrite):
                raise UsageError(f"--output-dir {path} exists already", "choose another, or replace it: --overwrite")
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, "metrics.csv"):
                write_atomic(path / name, b"")
        except OSError as error:
            raise UsageError(
                f"cannot write to {path}: {error.strerror}", "choose another folder: --output-dir DIR"
            ) from None
        for picture in PICTURES:
            (path / f"{picture}.png").unlink(missing_ok=True)
        shutil.rmtree(path / "samples", ignore_errors=True)
        return cls(path)

    def describe(self, config: Mapping[str, Any], device: Device) -> None:
        """Write config.toml and env.json."""
        given = {name: str(v) if isinstance(v, Path) else v for name, v in config.items() if v is not None}
        lines = [f"{name} = {json.dumps(v, ensure_ascii=False)}\n" for name, v in given.items()]
        text = "".join(lines).replace("\x7f", "\\u007f")  # else strings and numbers are the same in JSON and TOML
        write_atomic(self.path / "config.toml", text.encode())
        env = {"command": sys.argv} | environment(device)
        write_atomic(self.path / "env.json", json.dumps(env, indent=2).encode())

    def add_metrics(self, epoch: Epoch) -> None:
        """Append one epoch to metrics.jsonl and metrics.csv."""
        values = asdict(epoch)
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps(values) + "\n")
        with (self.path / "metrics.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, values)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(values)

    def save(self, model: Model, meta: Mapping[str, Any]) -> None:
        """Write the weights; `meta` says how to build the model again and feed it."""
        save_weights(self.path / WEIGHTS, model.state_dict(), meta)

    def add_samples(self, data: Dataset, count: int = 4) -> None:
        """Write the first test images as PNG files, to try `predict` with; none on a machine without Pillow."""
        try:
            from PIL import Image
        except ModuleNotFoundError:
            return
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        for i, (pixels, label) in enumerate(zip(data.test_x[:count], data.test_y, strict=False)):
            bright = (pixels.astype(np.uint16) * 255 // data.white).astype(np.uint8)
            picture = Image.fromarray(bright[0] if len(bright) == 1 else bright.transpose(1, 2, 0))
            picture.save(folder / f"{i}-{data.classes[label]}.png")


def restore(run: Path, device: Device) -> tuple[Model, dict[str, Any]]:
    """The trained model of a run folder or weights file, in evaluation mode, and its meta data."""
    path = run / WEIGHTS if run.is_dir() else run
    state, meta = load_weights(path)
    try:
        channels, height, width = meta["input_shape"]
        model = model_class(meta["model"])((channels, height, width), len(meta["classes"]))
        model.load_state_dict(state)
        if set(META) - set(meta) or {len(meta["mean"]), len(meta["std"])} != {channels} or not all(meta["std"]):
            raise ValueError("its description is not whole")
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} holds no model of this gpucnn ({error})", "train again, or take another file"
        ) from None
    return model.to(device).eval(), meta  # type: ignore[return-value]


def folder_of(run: Path) -> Path:
    """The folder of a run, which is named by itself or by the weights in it."""
    return run if run.is_dir() else run.parent


def read_metrics(run: Path) -> list[Epoch]:
    """What each epoch of a run gave; DataError where that cannot be read, or no epoch was finished."""
    path = folder_of(run) / METRICS
    try:
        epochs = [Epoch(**json.loads(line)) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise DataError(f"no metrics at {path}", "give the folder of a run") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} holds no metrics of a run ({error})", "train again, or take another run") from None
    if not epochs:
        raise DataError(f"{path}: no epoch was finished", "train for one epoch at least")
    return epochs


def example_image(run: Path) -> Path:
    """A picture beside the weights to try `predict` with, or a made-up name where there is none."""
    return next(iter(sorted(folder_of(run).glob("samples/*.png"))), Path("IMAGE.png"))
