"""The picture of a profile: what each range computes a second, under what the hardware allows."""

from collections.abc import Sequence
from pathlib import Path

from ..measure.slices import Row
from ..roofs import Roofs

_NAMED = 8  # ranges that are named: those that take longest


def draw_roofline(path: Path, rows: Sequence[Row], roofs: Roofs | None, title: str) -> None:
    """Write a PNG: GFLOP/s over FLOP/byte, a circle a range that multiplies, its area the time that it takes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = [(row, row.intensity, row.gflops) for row in rows if row.gflops and row.intensity]
    points.sort(key=lambda point: -point[0].us)
    spread = [intensity for _, intensity, _ in points] + ([roofs.ridge] if roofs else []) or [1.0]
    low, high = min(spread) / 3, max(spread) * 3
    if roofs:
        axes.plot(
            [low, roofs.ridge, high], [low * roofs.gbs, roofs.gflops, roofs.gflops], color="#444444", linewidth=1.5
        )
        for text, x, side in ((f"{roofs.gflops:,.3g} GFLOP/s", high, "right"), (f"{roofs.gbs:,.3g} GB/s", low, "left")):
            y, beside = min(roofs.gflops, x * roofs.gbs), (-4, 4) if side == "right" else (24, 8)
            axes.annotate(text, (x, y), beside, textcoords="offset points", ha=side, fontsize="small")
    most = max((row.us for row, _, _ in points), default=1.0)
    for i, (row, intensity, gflops) in enumerate(points):
        colour = f"C{i}" if i < _NAMED else "#bbbbbb"
        label = f"{row.name}, {row.us:,.0f} us" if i < _NAMED else None
        axes.scatter(intensity, gflops, s=20 + 400 * row.us / most, color=colour, alpha=0.7, label=label)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOP/byte", ylabel="GFLOP/s", title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    if points:
        legend = axes.legend(frameon=False, fontsize="small", loc="lower right", title="range, time of a step")
        for handle in legend.legend_handles:
            handle.set_sizes([40])  # type: ignore[union-attr]  # areas are for the picture
    figure.savefig(path, dpi=120)
