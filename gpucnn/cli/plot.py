"""`gpucnn plot`: pictures of a run."""

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from ..autograd import no_grad
from ..backend import parse_device, to_host
from ..cpu import prepare
from ..errors import DataError, DeviceError, UsageError, nearest
from ..layers import Conv2d, Linear
from ..roofs import Roofs
from ..summary import layer_outputs
from ..tensor import Tensor
from ..training import Epoch, rehearse
from .figures import are_rows, read_figures
from .inputs import REFERENCE, on_test_images, picture_files, probabilities_of
from .options import data_options, device_options, json_option, threads_option
from .output import Output, short
from .run_folder import PICTURES, example_image, folder_of, read_metrics, restore

SUFFIXES = (".png", ".svg", ".pdf")


@click.group(short_help="Draw a run: curves, filters, features, confusion, roofline.")
def plot() -> None:
    """Pictures of a run, as PNG, SVG or PDF. RUN is a run folder, or a .safetensors file in one."""


class Picture(NamedTuple):
    """A figure, what there is to say of it in one line, and in --json."""

    figure: Any
    line: str
    facts: dict[str, Any]


def picture(draw: Callable[..., Picture]) -> click.Command:
    """The command `gpucnn plot <name of draw>`: what `draw(drawings, run, ...)` draws, written to a file."""
    name = draw.__name__

    @plot.command(name)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option(
        "-o", "--output", "file", type=click.Path(path_type=Path), help=f"The picture.  [default: RUN/{name}.png]"
    )
    @json_option
    @wraps(draw)
    def command(run: Path, file: Path | None, as_json: bool, **flags: Any) -> None:
        output, path = Output(as_json), file or folder_of(run) / f"{name}.png"
        check_suffix("--output", path)
        if file:
            require_folder("--output", file)
        drawings = with_matplotlib()
        drawn = draw(drawings, run, **flags)
        drawings.write(drawn.figure, path)
        output.say(f"{drawn.line}; {short(path)}")
        output.result({"picture": str(path)} | drawn.facts)
        output.next("plot", (*PICTURES, *PICTURES)[PICTURES.index(name) + 1], short(run))

    return command


def check_suffix(option: str, path: Path) -> None:
    """UsageError where `path`, which `option` has named, is no name of a picture."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{option} {path}: no picture has the suffix {path.suffix!r}", f"use {', '.join(SUFFIXES)}")


def require_folder(option: str, path: Path) -> None:
    """UsageError where there is no folder for `path`, which `option` has named; before anything takes long."""
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}", f"mkdir -p {path.parent}")


def with_matplotlib() -> Any:
    """The module drawings; DeviceError where matplotlib is not installed."""
    try:
        from . import drawings
    except ModuleNotFoundError:
        raise DeviceError("pictures need matplotlib, which is not installed", "pip install 'gpucnn[plot]'") from None
    return drawings


def draw_curves(folder: Path, epochs: list[Epoch]) -> str:
    """Write curves.png; why that was not possible, or nothing."""
    try:
        drawings = with_matplotlib()
        drawings.write(drawings.curves(folder.name, epochs), folder / "curves.png")
    except DeviceError:
        return "without matplotlib: pip install 'gpucnn[plot]'"
    except OSError as error:
        return f"could be written: {error.strerror}"
    return ""


@picture
def curves(drawings: Any, run: Path) -> Picture:
    """Loss and accuracy of training and test over the epochs."""
    epochs = read_metrics(run)
    last = epochs[-1]
    line = f"test accuracy {last.test_accuracy:.2%} after epoch {last.epoch}"
    facts = {"epochs": len(epochs), "test_accuracy": last.test_accuracy, "test_loss": last.test_loss}
    return Picture(drawings.curves(folder_of(run).name, epochs), line, facts)


@picture
@click.option("--layer", metavar="NAME", help="Any layer with weights: see gpucnn summary.  [default: the first]")
def filters(drawings: Any, run: Path, layer: str | None) -> Picture:
    """The weights of a layer: those of the first one as what they are, small pictures."""
    model, meta = restore(run, REFERENCE)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Conv2d | Linear)}
    first, *_, last = (*layers, *layers)
    name = first if layer is None else layer
    if name not in layers:
        raise nearest("layer with weights", name, layers)
    w = to_host(layers[name].weight.data)
    what = f"{len(w)} outputs, each of {_by(w.shape[1:])} weights"
    title = f"{meta['model']} on {meta['dataset']}, after epoch {meta['epoch']}\n{name}: {what}"
    if w.ndim == 2 and name == first:  # it reads the picture itself
        w = w.reshape(-1, *meta["input_shape"])
    figure = (
        drawings.filters(title, w, meta["classes"] if name == last else ())
        if w.ndim == 4
        else drawings.matrix(title, w)
    )
    return Picture(figure, f"{name}: {what}", {"layer": name, "shape": layers[name].weight.shape})


@picture
@click.option("--image", type=click.Path(path_type=Path), help="A picture.  [default: the first of RUN/samples]")
def features(drawings: Any, run: Path, image: Path | None) -> Picture:
    """What each layer makes of one picture: its feature maps, down to the probabilities of the classes."""
    model, meta = restore(run, REFERENCE)
    path = image or example_image(run)
    if image is None and not path.exists():
        raise DataError(f"there is no picture in {folder_of(run) / 'samples'}", "name one: --image FILE")
    x, pixels = picture_files([path], meta, REFERENCE)
    outputs = layer_outputs(model, Tensor(x, device=REFERENCE))
    probabilities = probabilities_of(outputs[-1][2], run)[0]
    best = [(meta["classes"][i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:5]]
    layers = [(f"{name} {type(layer).__name__}", to_host(y.data)[0]) for name, layer, y in outputs]
    title = f"{meta['model']} on {path.name}: {best[0][0]}, {best[0][1]:.1%}"
    figure = drawings.features(title, pixels[0] / meta["white"], layers, best)
    facts = {
        "image": str(path),
        "layers": [{"name": name, "shape": y.shape[1:]} for name, _, y in outputs],
        "labels": [{"label": label, "probability": p} for label, p in best],
    }
    return Picture(figure, title, facts)


@picture
@data_options
@device_options
@threads_option
@click.pass_context
def confusion(context: click.Context, drawings: Any, run: Path, **flags: Any) -> Picture:
    """Which classes the model takes for which, over the test images."""
    model, meta, data, batches, _ = on_test_images(context, run)
    classes = meta["classes"]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    with no_grad():
        for batch in batches.epoch(0):
            logits = model(Tensor(batch.x, device=batches.device))
            np.add.at(counts, (to_host(batch.y), to_host(logits.data).argmax(1)), 1)
    accuracy = counts.trace() / counts.sum()
    title = f"{meta['model']} on the {counts.sum():,} test images of {data.name}: {accuracy:.2%} right"
    wrong = counts - np.diag(counts.diagonal())
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = f"{wrong.max()} of {counts[true].sum()} {classes[true]} were taken for {classes[predicted]}"
    line = f"test accuracy {accuracy:.2%}" + f", {worst}" * bool(wrong.any())
    facts = {"test_accuracy": float(accuracy), "classes": classes, "counts": counts.tolist()}
    return Picture(drawings.confusion(title, counts, classes), line, facts)


@picture
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("-b", "--batch-size", type=click.IntRange(1), default=128, show_default=True)
def roofline(drawings: Any, run: Path, device: str, batch_size: int) -> Picture:
    """How fast each pass of a training step is, and how fast this machine could be.

    Measured anew for the model of RUN. RUN may also be a file with what --json of `gpucnn bench kernels` or of
    `gpucnn profile` has said.
    """
    if run.suffix == ".json":
        found = read_figures(run, f"gpucnn bench kernels --json > {run}", rows=are_rows)
    else:
        found = _measured(run, device, batch_size)
    passes = points(drawings, found["rows"])
    if not passes or not found["roofs"]:
        raise DataError(f"{run}: nothing of it computes under a roof", "measure on a device that has one: cpu or cuda")
    title = f"{found['model']}, batch {found['batch_size']}, {found['device']}"
    figure = drawings.roofline(title, passes, Roofs(**found["roofs"]))
    return Picture(figure, f"{title}: {len(passes)} passes", found)


def points(drawings: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """The passes that compute; their names say with which kernels, where these differ."""
    kinds = {row.get("kernels") for row in rows}
    return [
        drawings.Point(
            row["name"] + f", {row.get('kernels')}" * (len(kinds) > 1), row["us"], row["gflops"], row["intensity"]
        )
        for row in rows
        if row.get("gflops")
    ]


def _measured(run: Path, device: str, batch_size: int) -> dict[str, Any]:
    from .bench import under_roofs
    from .bench_kernels import calls, pictures

    where, _ = parse_device(device)
    model, meta = restore(run, where)
    train = pictures(model, batch_size, where)
    prepare(where, partial(rehearse, model, train))
    found = under_roofs(where, calls(model, train), 10)
    return {"model": meta["model"], "batch_size": batch_size, "device": str(where)} | found


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
