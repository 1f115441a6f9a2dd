"""`gpucnn predict`: labels for image files."""

from pathlib import Path

import click
import numpy as np

from ..autograd import no_grad
from ..backend import parse_device
from ..tensor import Tensor
from .inputs import picture_files, probabilities_of
from .options import device_options, json_option
from .output import Output, short
from .run_folder import restore


@click.command(short_help="Label image files.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="So many labels an image.")
@device_options
@json_option
def predict(
    run: Path,
    images: tuple[Path, ...],
    top: int,
    device: str,
    kernels: str | None,
    precision: str | None,
    fuse: bool,
    as_json: bool,
) -> None:
    """Label IMAGES with the model in RUN (a run folder or a .safetensors file).

    An image is brought to the size and number of channels of the pictures that the model was trained on.
    """
    output = Output(as_json)
    where, _ = parse_device(device, kernels, fuse, precision=precision)
    model, meta = restore(run, where)
    x, _ = picture_files(images, meta, where)
    with no_grad():
        probabilities = probabilities_of(model(Tensor(x, device=where)), run)
    results = []
    for path, p in zip(images, probabilities, strict=True):
        best = np.argsort(-p)[:top]
        labels = [{"label": meta["classes"][i], "probability": float(p[i])} for i in best]
        results.append({"image": str(path), "labels": labels})
        output.say(f"{path}  " + "  ".join(f"{each['label']} {each['probability']:.1%}" for each in labels))
    output.result({"predictions": results, "model": meta["model"]})
    output.next("eval", short(run))
