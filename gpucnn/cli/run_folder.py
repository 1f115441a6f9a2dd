"""The folder of a run: written by `train`, read by `eval`, `predict` and `plot`."""

import csv
import fcntl
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Device
from ..checkpoint import PART, DamagedError, State, link_atomic, load_state, load_weights, save_state, write_atomic
from ..data import Dataset
from ..errors import DataError, GpucnnError, UsageError, shortened
from ..initializers import undrawn
from ..models import Model, model_class
from ..training import Epoch
from .description import check_description
from .environment import environment

WEIGHTS, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
METRICS = "metrics.jsonl"
PICTURES = ("curves", "filters", "features", "confusion", "roofline")  # of `gpucnn plot`
_REPLACED = (WEIGHTS, PREVIOUS, BEST, *(f"{picture}.png" for picture in PICTURES))  # by a run that begins anew
_OWN = (*_REPLACED, METRICS, "metrics.csv", "config.toml", "env.json")


def cannot_write(path: Path, error: OSError | None = None) -> UsageError:
    """To be raised where --output-dir, or the default of it, gave a place that takes no files."""
    why = f": {error.strerror}" if error else ""
    return UsageError(f"cannot write to {path}{why}", "choose another folder: --output-dir DIR")


def require_free(path: Path | None, overwrite: bool) -> None:
    """UsageError where --output-dir is a file, or holds files that are not to be replaced."""
    if path and (path.is_file() or (path.is_dir() and any(path.iterdir()) and not overwrite)):
        raise UsageError(f"--output-dir {path} exists already", "choose another, or replace it: --overwrite")


class RunFolder:
    """config.toml (everything resolved), env.json, metrics.jsonl, metrics.csv, samples/, and three checkpoints.

    last.safetensors; previous.safetensors, the one before it; best.safetensors, of the best epoch on the test images.
    The folder is locked: no other process gets it before this one closes it, or ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_is_whole = False
        self._lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"another run is writing to {path}", "wait for its end, or choose another folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        for name in _OWN:
            for part in path.glob(f".{name}.*{PART}"):  # of a process that was killed
                part.unlink()

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock)

    @classmethod
    def create(cls, output_dir: Path | None, model: str, overwrite: bool) -> "RunFolder":
        """A new folder: `output_dir`, or runs/<date-time>-<model>. UsageError where it holds files already."""
        path = output_dir or Path("runs", f"{datetime.now():%Y%m%d-%H%M%S}-{model}")
        require_free(output_dir, overwrite)
        try:
            if output_dir:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path = _make_new(path)
            folder = cls(path)
            folder.write_metrics([])
            for name in _REPLACED:
                (path / name).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from None
        shutil.rmtree(path / "samples", ignore_errors=True)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The folder of a run that is to go on."""
        if not path.is_dir():
            fault = "is no folder" if path.exists() else "does not exist"
            raise DataError(f"--resume {path}: it {fault}", "give the folder of a run: its name stands where it began")
        return cls(path)

    def describe(self, config: Mapping[str, Any], device: Device) -> None:
        """Write config.toml and env.json; GpucnnError where that fails."""
        lines = [f"{name} = {json.dumps(v, ensure_ascii=False)}\n" for name, v in config.items()]
        text = "".join(lines).replace("\x7f", "\\u007f")  # else strings and numbers are the same in JSON and TOML
        env = {"command": sys.argv} | environment(device)
        try:
            write_atomic(self.path / "config.toml", text.encode())
            write_atomic(self.path / "env.json", json.dumps(env, indent=2).encode())
        except OSError as error:
            raise GpucnnError(
                f"the settings of the run could not be written to {self.path}: {error.strerror}",
                "make room, or let it be written to, then type the same command",
            ) from None

    def write_metrics(self, epochs: Sequence[Epoch]) -> None:
        """Write metrics.jsonl and metrics.csv anew, so that a write that failed leaves no hole."""
        rows = [asdict(epoch) for epoch in epochs]
        table = io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(table, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        write_atomic(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())
        write_atomic(self.path / "metrics.csv", table.getvalue().encode())

    def metrics_until(self, epochs: int) -> list[Epoch]:
        """Of epochs 1 .. `epochs`; DataError where metrics.jsonl does not hold them all."""
        found = read_metrics(self.path)[:epochs] if epochs else []
        if len(found) != epochs or any(each.epoch != i for i, each in enumerate(found, 1)):
            path = self.path / METRICS
            raise DataError(f"{path} does not hold the {epochs} epochs that are done", "bring it back, or train anew")
        return found

    def save(self, state: State) -> None:
        """Write a checkpoint; the last one, if it is whole, becomes the previous one."""
        save_state(self.path / WEIGHTS, state, keep=self.path / PREVIOUS if self._last_is_whole else None)
        self._last_is_whole = True

    def keep_best(self) -> None:
        """Let the last checkpoint, if it is whole, be the best one, too."""
        if self._last_is_whole:
            link_atomic(self.path / WEIGHTS, self.path / BEST)

    def room(self) -> tuple[int, int]:
        """Bytes that are free where it lies, and that a checkpoint takes."""
        return shutil.disk_usage(self.path).free, (self.path / WEIGHTS).stat().st_size

    def newest(self) -> tuple[State, str]:
        """The last checkpoint; or the one before it, and what is wrong with the last. DataError without either."""
        last, previous = self.path / WEIGHTS, self.path / PREVIOUS
        if not last.exists() and not previous.exists():
            raise DataError(f"{self.path} holds no checkpoint", "begin the run anew, without --resume")
        try:
            state = load_state(last)
            self._last_is_whole = True
            return state, ""
        except DataError as error:
            if last.exists() and not isinstance(error, DamagedError):
                raise
            fault = str(error)
        try:
            return load_state(previous), fault
        except DataError as error:
            raise DataError(f"{fault}, and {error}", "begin the run anew, without --resume") from None

    def add_samples(self, data: Dataset, count: int = 4) -> None:
        """Write the first test images as PNG files, to try `predict` with; none without Pillow, or room for them."""
        try:
            from PIL import Image
        except ModuleNotFoundError:
            return
        folder = self.path / "samples"
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            for i, (pixels, label) in enumerate(zip(data.test_x[:count], data.test_y, strict=False)):
                bright = (pixels.astype(np.uint16) * 255 // data.white).astype(np.uint8)
                picture = Image.fromarray(bright[0] if len(bright) == 1 else bright.transpose(1, 2, 0))
                picture.save(folder / f"{i}-{data.classes[label]}.png")


def _make_new(path: Path) -> Path:
    """`path`, or `path`-2, ..., whichever no one has made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for again in count(1):
        with suppress(FileExistsError):
            new = path.with_name(f"{path.name}-{again}") if again > 1 else path
            new.mkdir()
            return new
    raise AssertionError("numbers do not end")


def restore(run: Path, device: Device) -> tuple[Model, dict[str, Any]]:
    """The trained model of a run folder or weights file, in evaluation mode, and its meta data."""
    path = run / WEIGHTS if run.is_dir() else run
    state, meta = load_weights(path)
    try:
        check_description(meta)
        with undrawn():  # so that nothing is paid for before its shapes are those of the file
            model = model_class(meta["model"])(tuple(meta["input_shape"]), len(meta["classes"]))
        model.load_state_dict(state)
    except (UsageError, ValueError, MemoryError) as error:
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
    if not run.exists():
        raise DataError(f"{run} does not exist", "give the folder of a run")
    try:
        epochs = [_epoch(json.loads(line)) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise DataError(f"no metrics at {path}", "give the folder of a run") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} holds no metrics of a run ({error})", "train again, or take another run") from None
    if not epochs:
        raise DataError(f"{path}: no epoch was finished", "train for one epoch at least")
    return epochs


def _epoch(row: Any) -> Epoch:
    """What a line of metrics.jsonl holds; ValueError or TypeError where it is no epoch."""
    epoch = Epoch(**row)
    for name, value in asdict(epoch).items():
        kinds = (int,) if name == "epoch" else (int, float)
        if type(value) not in kinds or (type(value) is int and value.bit_length() > 64):
            raise ValueError(f"its {name} is {shortened(value)}")
    return epoch


def example_image(run: Path) -> Path:
    """A picture beside the weights to try `predict` with, or a made-up name where there is none."""
    return next(iter(sorted(folder_of(run).glob("samples/*.png"))), Path("IMAGE.png"))
