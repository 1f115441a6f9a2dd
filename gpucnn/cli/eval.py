"""`gpucnn eval`: a trained model on the test images."""

from pathlib import Path

import click

from ..backend import parse_device
from ..cpu import set_threads
from ..data import Batches, load
from ..errors import UsageError
from ..training import evaluate
from .options import data_options, device_options, json_option, threads_option
from .output import Output, short
from .run_folder import example_image, restore


@click.command("eval", short_help="Measure a trained model on the test set.")
@click.argument("run", type=click.Path(path_type=Path))
@data_options
@device_options
@threads_option
@json_option
@click.pass_context
def eval_(
    context: click.Context,
    run: Path,
    dataset: str,
    data_path: Path | None,
    download: bool,
    device: str,
    kernels: str | None,
    precision: str | None,
    fuse: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure the model in RUN (a run folder or a .safetensors file) on the test images of its data set."""
    output = Output(as_json)
    where, why = parse_device(device, kernels, fuse, precision=precision)
    if threads is not None:
        set_threads(threads, where)
    model, meta = restore(run, where)
    if context.get_parameter_source("dataset") is click.core.ParameterSource.DEFAULT:
        dataset, data_path = meta["dataset"], data_path or meta["data_path"]
    size = tuple(meta["input_shape"][1:])
    data = load(dataset, data_path, download, size).fit(size)
    for what, known, given in (
        ("channels", meta["input_shape"][0], data.image_shape[0]),
        ("classes", len(meta["classes"]), len(data.classes)),
    ):
        if known != given:
            message = f"{meta['model']} in {run} was trained for {known} {what}, {data.name} has {given}"
            raise UsageError(message, f"evaluate it on {meta['dataset']}")
    batches = Batches(data.test_x, data.test_y, 500, device=where, mean=meta["mean"], std=meta["std"])
    loss, accuracy = evaluate(model, batches)
    output.say(f"{meta['model']} after epoch {meta['epoch']} on {data.name}, {where} ({why})")
    output.say(f"test accuracy {accuracy:.2%}, loss {loss:.4f}, over {len(data.test_x):,} images")
    output.result({"test_accuracy": accuracy, "test_loss": loss, "images": len(data.test_x), "dataset": data.name})
    output.next("predict", short(run), short(example_image(run)))
