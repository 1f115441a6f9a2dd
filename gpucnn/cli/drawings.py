"""The pictures of a run, each a Figure of matplotlib, which is imported with this file."""

import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..checkpoint import write_atomic
from ..roofs import Roofs
from ..training import Epoch

Array = np.ndarray[Any, Any]

TRAINING, TEST = "#7f9fbf", "#b03a2e"
NAMED = 10  # passes that a roofline names: those that take longest
LABEL = 2  # columns of a label
MOST = 16  # channels that are drawn, of as many as there are
NO_DATES: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write(figure: Figure, path: Path) -> None:
    """Replace `path` by the picture, in the format of its suffix."""
    write_atomic(path, encoded(figure, path.suffix.removeprefix(".")))


def encoded(figure: Figure, kind: str) -> bytes:
    """The picture as a png, svg or pdf: the same bytes for the same figure and version of matplotlib."""
    content = BytesIO()
    with rc_context({"svg.hashsalt": "gpucnn"}):
        figure.savefig(content, format=kind, dpi=120, metadata=NO_DATES[kind])
    return content.getvalue()


def curves(name: str, epochs: Sequence[Epoch]) -> Figure:
    """Loss and accuracy over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    x = [e.epoch for e in epochs]
    panels = (
        ("loss: cross entropy, nats an image", [e.train_loss for e in epochs], [e.test_loss for e in epochs]),
        ("accuracy, % of the images", [e.train_accuracy for e in epochs], [e.test_accuracy for e in epochs]),
    )
    for axes, (title, train, test) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(x, train, ".-", color=TRAINING, label="training, mean over the epoch")
        axes.plot(x, test, ".-", color=TEST, label="test, after the epoch")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle(f"{_plain(name)}: {epochs[-1].test_accuracy:.2%} on the test set", fontsize="medium")
    return figure


def filters(title: str, w: Array, names: Sequence[str] = ()) -> Figure:
    """Weights w (co, ci, kh, kw) on one scale, symmetrical about 0; `names` of the co outputs.

    Three input channels are shown as the colours that they weigh, one as a row of tiles, more as a matrix of tiles:
    a row an output channel, a column an input channel.
    """
    co, ci = w.shape[:2]
    largest = float(np.abs(w).max()) or 1.0
    shown = w[:MOST] if ci == 3 else w[:MOST, :MOST]
    single = ci in (1, 3)
    columns = min(len(shown), 8) if single else shown.shape[1]
    tiles = list(shown / (2 * largest) + 0.5 if ci == 3 else shown.reshape(-1, 1, *w.shape[2:]))
    rows = math.ceil(len(tiles) / columns)
    width, height = (1.1, 1.4) if single else (0.55, 0.55)
    size = max(columns * width + 1.4, 5), rows * height + 1
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, tile, name in zip(grid.flat, tiles, names or map(str, range(len(tiles))), strict=False):
        drawn = axes.imshow(_pixels(tile), "RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
        axes.set_title(_plain(name) if single else "", fontsize="small")
    if ci == 3:
        how = f"the weights of red, green and blue as a colour: grey is 0, full colour ±{largest:.2g}"
    else:
        figure.colorbar(drawn, ax=grid, label="weight", aspect=30, shrink=0.6)
        how = "" if single else "a row is an output channel, a column an input channel"
    figure.suptitle("\n".join(filter(None, (_plain(title) + _of(co, ci), how))), fontsize="medium")
    return figure


def _of(co: int, ci: int) -> str:
    """Which of the channels are shown, where it is not all."""
    parts = [f"first {MOST} of {count} {what}" for count, what in ((co, "outputs"), (ci, "inputs")) if count > MOST]
    return f" ({', '.join(parts)})" if parts else ""


def matrix(title: str, w: Array) -> Figure:
    """Weights w (co, ci) of a linear layer."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    largest = float(np.abs(w).max()) or 1.0
    drawn = axes.imshow(w, "RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
    axes.set(title=_plain(title), xlabel="input", ylabel="output")
    figure.colorbar(drawn, label="weight")
    return figure


def features(
    title: str, picture: Array, layers: Sequence[tuple[str, Array]], chances: Sequence[tuple[str, float]]
) -> Figure:
    """`picture` (c, h, w), 0..1; of each layer its label and its output (c, h, w) or (features,); at the foot the
    classes with their probabilities.
    """
    maps = [(label, y) for label, y in layers if y.ndim == 3]
    vectors = [(label, y) for label, y in layers if y.ndim == 1]
    columns = min(max([y.shape[0] for _, y in maps], default=8), 10)
    heights = [1.6, *[0.75] * len(maps), *[0.35] * len(vectors), 0.2 * len(chances) + 0.5]
    figure = Figure(figsize=(0.75 * (columns + LABEL) + 0.4, sum(heights) + 0.6), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns + LABEL, height_ratios=heights)
    axes = figure.add_subplot(grid[0, LABEL:])
    axes.imshow(_pixels(picture), "gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], anchor="W")
    _label(figure, grid[0, :LABEL], f"input\n{_by(picture.shape)}")
    for row, (label, y) in enumerate(maps, 1):
        _label(figure, grid[row, :LABEL], f"{label}\n{_by(y.shape)}" + f", first {columns}" * (len(y) > columns))
        for column, each in enumerate(y[:columns]):
            axes = figure.add_subplot(grid[row, LABEL + column])
            axes.imshow(each, "gray", vmin=y.min(), vmax=y.max(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    for row, (label, y) in enumerate(vectors, 1 + len(maps)):
        _label(figure, grid[row, :LABEL], f"{label}, {len(y)}")
        axes = figure.add_subplot(grid[row, LABEL:])
        axes.imshow(y[None], "gray", aspect="auto", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    _label(figure, grid[-1, :LABEL], "probability")
    axes = figure.add_subplot(grid[-1, LABEL:])
    names, values = zip(*chances, strict=True)
    axes.barh(range(len(names)), values, color=TEST, tick_label=[*map(_plain, names)])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle(
        f"{_plain(title)}\neach layer from its least value, black, to its largest, white", fontsize="medium"
    )
    return figure


class Point(NamedTuple):
    """A pass under the roofs: its time, what it computes a second, and its operations a byte."""

    name: str
    us: float
    gflops: float
    intensity: float


def roofline(title: str, points: Iterable[Point], roofs: Roofs | None) -> Figure:
    """GFLOP/s over FLOP/byte under what the hardware allows, a circle a pass, its area the time that it takes.

    Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model".
    """
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    known = sorted(points, key=lambda p: -p.us)
    spread = [p.intensity for p in known] + ([roofs.ridge] if roofs else []) or [1.0]
    low, high = min(spread) / 3, max(spread) * 3
    if roofs:
        axes.plot([low, roofs.ridge, high], [low * roofs.gbs, roofs.gflops, roofs.gflops], color="#444444")
        axes.axvline(roofs.ridge, color="#bbbbbb", linewidth=0.8, linestyle=":")
        above: dict[str, Any] = {"textcoords": "offset points", "fontsize": "small"}
        axes.annotate(f"{roofs.gflops:,.0f} GFLOP/s", (high, roofs.gflops), (-4, 4), ha="right", **above)
        axes.annotate(f"{roofs.gbs:,.0f} GB/s", (low, low * roofs.gbs), (30, -2), **above)
    most = max((p.us for p in known), default=1.0)
    for i, p in enumerate(known):
        named = i < NAMED
        label = f"{_plain(p.name)}, {p.us:,.0f} µs" + (f", {_of_roof(p, roofs):.0%}" if roofs else "")
        axes.scatter(p.intensity, p.gflops, s=20 + 400 * p.us / most, alpha=0.7, color=f"C{i}" if named else "#bbbbbb",
                     label=label if named else None)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, high), title=_plain(title))
    axes.set(xlabel="arithmetic intensity, FLOP/byte", ylabel="GFLOP/s")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    if known:
        head = "pass, time" + ", share of the roof" * bool(roofs)
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        legend: Any = axes.legend(frameon=False, fontsize="small", title=head, **place)
        for handle in legend.legend_handles:
            handle.set_sizes([40])  # the areas are for the picture
    return figure


def _of_roof(point: Point, roofs: Roofs) -> float:
    return point.gflops / min(roofs.gflops, roofs.gbs * point.intensity)


def _label(figure: Figure, place: Any, text: str) -> None:
    axes = figure.add_subplot(place)
    axes.axis("off")
    axes.text(1, 0.5, text, ha="right", va="center", fontsize="small", transform=axes.transAxes)


def confusion(title: str, counts: Array, classes: Sequence[str]) -> Figure:
    """counts (true class, predicted class), coloured by their share of the true class."""
    size = len(classes)
    side = min(max(0.45 * size + 2.5, 5), 14)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axes.imshow(share, "Blues", vmin=0, vmax=1)
    if size <= 30:
        for (true, predicted), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[true, predicted] > 0.5 else "black"
                axes.text(predicted, true, str(count), ha="center", va="center", fontsize="x-small", color=colour)
        names = [*map(_plain, classes)]
        axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), names)
    axes.set(title=_plain(title), xlabel="predicted class", ylabel="true class")
    figure.colorbar(drawn, label="share of the true class", format=PercentFormatter(1, decimals=0), shrink=0.8)
    return figure


def _pixels(picture: Array) -> Array:
    """(1, h, w) or (3, h, w) as matplotlib takes it."""
    return picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)


def _plain(text: str) -> str:
    """`text`, which may come from a file, as it is: between two dollars matplotlib would read mathematics."""
    return text.replace("$", r"\$")


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
