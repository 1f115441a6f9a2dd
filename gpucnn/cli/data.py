"""`gpucnn data`: fetch a data set, or check what is on disk."""

import hashlib
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import data as data_sets
from .options import json_option
from .output import Output


@click.group(short_help="Fetch or verify a data set.")
def data() -> None:
    """Fetch a data set, or verify what is on disk."""


@data.command()
@click.argument("name")
@json_option
def fetch(name: str, as_json: bool) -> None:
    """Download the data set NAME into the cache folder, unless it is there already."""
    output = Output(as_json)
    for file in data_sets.fetch(name):
        output.say(f"{file}: here, with the official checksum")
    _report(name, None, output)


@data.command()
@click.argument("name")
@click.option("--data-path", type=click.Path(path_type=Path), help="Folder or archive of the data.")
@json_option
def verify(name: str, data_path: Path | None, as_json: bool) -> None:
    """Read the whole data set NAME, check it, and print its counts and checksums; downloads nothing."""
    output = Output(as_json)
    for file, official in data_sets.verify(name, data_path):
        output.say(f"{file}: {'' if official else 'not '}the official file")
    _report(name, data_path, output)


def _report(name: str, path: Path | None, output: Output) -> None:
    """Counts and checksums of the decoded data."""
    found = data_sets.load(name, path, download=False)
    output.say(f"{found.name}: {'x'.join(map(str, found.image_shape))}, {len(found.classes)} classes")
    result: dict[str, Any] = {"dataset": found.name, "classes": found.classes, "image_shape": found.image_shape}
    for split, x, y in (("train", found.train_x, found.train_y), ("test", found.test_x, found.test_y)):
        digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
        counts = np.bincount(y, minlength=len(found.classes))
        output.say(f"{split:5}  {len(x):,} images, {counts.min():,} to {counts.max():,} a class, sha256 {digest[:16]}")
        result[split] = {"images": len(x), "per_class": counts.tolist(), "sha256": digest}
    output.result(result)
    output.next("train", "--dataset", name, *(["--data-path", path] if path else []))
