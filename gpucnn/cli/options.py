"""Options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..backend import PRECISIONS

Decorator = Callable[[Any], Any]


class Finite(click.FloatRange):
    """A range of numbers without nan, which no comparison excludes, and without inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object as the last line of stdout; other lines go to stderr."
)


def data_options(command: Any) -> Any:
    """--dataset, --data-path, --download/--no-download"""
    command = click.option("--download/--no-download", default=True, help="Fetch missing data.  [default: download]")(
        command
    )
    command = click.option(
        "--data-path",
        type=click.Path(path_type=Path),
        help="Folder or archive of the data.  [default: $GPUCNN_DATA_DIR, then the cache folder]",
    )(command)
    return click.option(
        "--dataset",
        default="cifar10",
        show_default=True,
        help="cifar10, mnist, fashion-mnist, digits, tinydigits, folder:PATH, synthetic[:NxCxHxW].",
    )(command)


threads_option: Decorator = click.option(
    "--threads", type=int, metavar="N", help="Threads on the CPU.  [default: one for each core]"
)


def device_options(command: Any) -> Any:
    """--device, --precision, --kernels, --fuse/--no-fuse"""
    command = click.option(
        "--fuse/--no-fuse", default=True, help="Run layers as one kernel where there is one.  [default: fuse]"
    )(command)
    command = click.option(
        "--kernels",
        metavar="KIND",
        help="Which kernels run: xp, cpu, exact, numba, raw, tf32, tf32x3 or bf16, or single ops "
        "(maxpool2d=numba,conv2d=my_conv.cu).",
    )(command)
    command = click.option(
        "--precision", type=click.Choice([*PRECISIONS]), help="Of products on a GPU; sums are fp32.  [default: fp32]"
    )(command)
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, or sim (CUDA kernels on the CPU)."
    )(command)
