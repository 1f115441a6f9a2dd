"""`gpucnn eval`: a trained model on the test images."""

import math
from pathlib import Path
from typing import Any

import click

from ..errors import DataError
from ..training import evaluate
from .inputs import on_test_images
from .options import data_options, device_options, json_option, threads_option
from .output import Output, short
from .run_folder import example_image


@click.command("eval", short_help="Measure a trained model on the test set.")
@click.argument("run", type=click.Path(path_type=Path))
@data_options
@device_options
@threads_option
@json_option
@click.pass_context
def eval_(context: click.Context, run: Path, as_json: bool, **flags: Any) -> None:
    """Measure the model in RUN (a run folder or a .safetensors file) on the test images of its data set."""
    output = Output(as_json)
    model, meta, data, batches, where = on_test_images(context, run)
    loss, accuracy = evaluate(model, batches)
    if not math.isfinite(loss):
        raise DataError(f"with the weights in {run} the loss is {loss}", "they are damaged: take another file")
    output.say(f"{meta['model']} after epoch {meta['epoch']} on {data.name}, {where}")
    output.say(f"test accuracy {accuracy:.2%}, loss {loss:.4f}, over {len(data.test_x):,} images")
    output.result({"test_accuracy": accuracy, "test_loss": loss, "images": len(data.test_x), "dataset": data.name})
    output.next("predict", short(run), short(example_image(run)))
