"""`gpucnn summary`: the layers of a model with their shapes, parameters and arithmetic."""

import re
from dataclasses import asdict

import click

from ..backend import Device
from ..errors import UsageError
from ..initializers import undrawn
from ..models import MODELS, model_class
from ..summary import summarize
from .options import json_option
from .output import Output


@click.command(short_help="Show the layers, shapes, parameters and FLOPs of a model.")
@click.argument("model", required=False)
@click.option("--input-shape", metavar="CxHxW", help="[default: what the model takes, else 3x32x32]")
@click.option("--num-classes", type=click.IntRange(2), help="[default: 1000 for models of ImageNet, else 10]")
@json_option
def summary(model: str | None, input_shape: str | None, num_classes: int | None, as_json: bool) -> None:
    """Show the layers of MODEL with output shapes, parameters and arithmetic; without MODEL, list the models.

    MFLOP are millions of floating-point operations of the forward pass of one image.
    """
    from rich.console import Console
    from rich.table import Table

    output = Output(as_json)
    console = Console(stderr=as_json, highlight=False)
    if model is None:
        table = Table("model", "what it is", box=None)
        for name, each in MODELS.items():
            table.add_row(name, " ".join((each.__doc__ or "").split()))
        console.print(table)
        output.result({"models": list(MODELS)})
        output.next("summary", "lenet")
        return
    kind = model_class(model)
    shape = _parse_shape(input_shape) if input_shape else kind.default_shape()
    with undrawn():  # the numbers of vgg19 alone would take seconds
        made = kind(shape, num_classes).to(Device(kernels="xp"))  # nor is anything compiled
    rows = summarize(made, shape)
    total = {name: sum(getattr(row, name) for row in rows) for name in ("parameters", "flops", "training_flops")}
    table = Table("name", "layer", "output shape", box=None, caption_justify="left")
    for head in ("parameters", "MFLOP"):
        table.add_column(head, justify="right")
    table.add_row("", "input", _text(shape))
    for row in rows:
        table.add_row(
            row.name,
            row.layer,
            _text(row.output_shape),
            _some(f"{row.parameters:,}"),
            _some(f"{1e-6 * row.flops:,.3f}"),
        )
    table.add_row("", "total", "", f"{total['parameters']:,}", f"{1e-6 * total['flops']:,.3f}")
    console.print(table)
    output.say(f"a training step makes {1e-6 * total['training_flops']:,.3f} MFLOP of each image")
    output.result({"model": model, "input_shape": shape, **total, "layers": [asdict(row) for row in rows]})
    if kind.for_imagenet:
        output.next("train", "--model", model, "--dataset", f"synthetic:4x{_text(shape)}", "--dry-run")
    else:
        data = "tinydigits" if kind.image_size == (8, 8) else "mnist" if kind.channels == 1 else "cifar10"
        output.next("train", "--model", model, "--dataset", data)


def _parse_shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not match or 0 in map(int, match.groups()):
        raise UsageError(f"--input-shape {text!r} is no shape", "channels x height x width, e.g. --input-shape 3x32x32")
    channels, height, width = map(int, match.groups())
    return channels, height, width


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _some(number: str) -> str:
    """Nothing for a zero."""
    return number if number.strip("0.") else ""
