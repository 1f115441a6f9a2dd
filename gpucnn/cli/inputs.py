"""A trained model with what it is fed: the test images of a data set, or single pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from .. import functional as F
from ..backend import Array, Device, parse_device
from ..cpu import set_threads
from ..data import Batches, Dataset, fit_images, load, read_image
from ..errors import DataError, UsageError
from ..models import Model
from ..tensor import Tensor
from .run_folder import restore

REFERENCE = Device("cpu", kernels="xp")  # enough for one picture, and nothing has to be compiled


class Trained(NamedTuple):
    """The model of a run, and the test images; `where` says on which device, and why there."""

    model: Model
    meta: dict[str, Any]
    data: Dataset
    batches: Batches
    where: str


def on_test_images(context: click.Context, run: Path) -> Trained:
    """The model of `run` on the test images of its data set, or of the one that the flags name.

    The command has data_options, device_options and threads_option. UsageError where channels or classes of the data
    set are not those of the model.
    """
    flags = context.params
    device, why = parse_device(flags["device"], flags["kernels"], flags["fuse"], precision=flags["precision"])
    if flags["threads"] is not None:
        set_threads(flags["threads"], device)
    model, meta = restore(run, device)
    dataset, path = flags["dataset"], flags["data_path"]
    if context.get_parameter_source("dataset") is click.core.ParameterSource.DEFAULT:
        dataset, path = meta["dataset"], path or meta["data_path"]
    size = tuple(meta["input_shape"][1:])
    data = load(dataset, path, flags["download"], size).fit(size)
    for what, known, given in (
        ("channels", meta["input_shape"][0], data.image_shape[0]),
        ("classes", len(meta["classes"]), len(data.classes)),
    ):
        if known != given:
            message = f"{meta['model']} in {run} was trained for {known} {what}, {data.name} has {given}"
            other = data.name != meta["dataset"]
            hint = f"evaluate it on {meta['dataset']}" if other else "bring the data back that it was trained on"
            raise UsageError(message, hint)
    batches = Batches(data.test_x, data.test_y, 500, device=device, mean=meta["mean"], std=meta["std"])
    return Trained(model, meta, data, batches, f"{device} ({why})")


def picture_files(paths: Sequence[Path], meta: dict[str, Any], device: Device) -> tuple[Array, Array]:
    """Pictures as the model takes them: normalised x (n, c, h, w) on `device`, and their pixels, uint8, on the host."""
    channels, size = meta["input_shape"][0], tuple(meta["image_size"])
    return fitted(np.stack([read_image(path, channels, size, meta["white"]) for path in paths]), meta, device)


def fitted(pixels: Array, meta: dict[str, Any], device: Device) -> tuple[Array, Array]:
    """The same of pictures, uint8 (n, c, h, w), that have the size of those in the data set."""
    pixels, _ = fit_images(pixels, tuple(meta["input_shape"][1:]), meta["dataset"])
    no_labels = np.zeros(len(pixels), np.int64)
    (batch,) = Batches(pixels, no_labels, len(pixels), device=device, mean=meta["mean"], std=meta["std"]).epoch(0)
    return batch.x, pixels


def probabilities_of(logits: Tensor, run: Path) -> np.ndarray:
    """Of the classes, (n, classes) on the host. DataError where, with the weights in `run`, they are not finite."""
    probabilities = F.softmax(logits).numpy()
    if not np.isfinite(probabilities).all():
        raise DataError(f"with the weights in {run} the logits are not finite", "they are damaged: take another file")
    return probabilities
