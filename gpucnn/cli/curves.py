"""The picture of a training run: loss and accuracy over the epochs."""

from collections.abc import Sequence
from pathlib import Path

from ..training import Epoch


def draw_curves(folder: Path, epochs: Sequence[Epoch]) -> Path | None:
    """Write curves.png into `folder`; None where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter
    except ImportError:
        return None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    x = [e.epoch for e in epochs]
    panels = (
        ("cross entropy", [e.train_loss for e in epochs], [e.test_loss for e in epochs]),
        ("accuracy", [e.train_accuracy for e in epochs], [e.test_accuracy for e in epochs]),
    )
    for axes, (title, train, test) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(x, train, ".-", color="#7f9fbf", label="training, mean over the epoch")
        axes.plot(x, test, ".-", color="#b03a2e", label="test, after the epoch")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle(f"{folder.name}: {epochs[-1].test_accuracy:.2%} on the test set", fontsize="medium")
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    return path
