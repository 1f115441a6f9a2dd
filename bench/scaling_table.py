"""The table of docs/many-machines.md: what scaling.py measured, and what the formula makes of it."""

import json
import math
from pathlib import Path

from markdown_table import table

RANKS = (2, 4, 8, 16, 32)
NETWORK = 50e-6, 8e-9  # seconds a message, and a byte at 1 Gbit/s: what such networks are sold as


def scaling() -> str:
    """Two rows for each model: its steps here, and speed-ups by the formula, through memory and through a network."""
    record = json.loads((Path(__file__).parent / "results" / "scaling.json").read_text())
    alpha, beta = record["messages"]["alpha"], record["messages"]["beta"]
    heads = ["model", "gradients", "1 rank, images/s", "2 ranks, images/s", "speed-up"]
    heads += [f"formula: {p}" for p in RANKS] + ["shortest step"]
    rows = []
    for name, row in record["models"].items():
        one, two = (min(row["ms"][count]) / 1e3 for count in ("1", "2"))
        size, batch = row["bytes"], row["batch"]
        measured = [f"{size / 1e6:.2f} MB", *(f"{batch / t:,.0f}" for t in (one, two)), f"{one / two:.2f}x"]
        rows.append(_row([name, *measured], one, size, batch, alpha, beta))
        rows.append(_row([f"{name}, 1 Gbit/s", "", "", "", ""], one, size, batch, *NETWORK))
    rounds, machine = len(row["ms"]["1"]), record["machine"]
    how = (
        f"Batches of {batch}, one thread a rank; the fastest of {rounds} rounds in turns, each the median "
        f"of its steps, on a machine that others used, too. alpha = {alpha * 1e6:.1f} µs, beta = {beta * 1e9:.2f} ns "
        f"a byte; for the network, {NETWORK[0] * 1e6:.0f} µs and {NETWORK[1] * 1e9:.0f} ns, not measured. Measured by "
        f"`python bench/scaling.py` on {machine['cpu']}, commit {machine['commit']}."
    )
    return f"{table(heads, rows)}\n\n{how}"


def _row(cells: list[str], one: float, size: int, batch: int, alpha: float, beta: float) -> list[str]:
    """Speed-ups of a step that takes `one` second on one rank, and the number of ranks with the shortest one."""

    def step(p: int) -> float:
        return one / p + 2 * math.log2(p) * alpha + 2 * (p - 1) / p * size * beta

    best = min(range(1, 1 + batch), key=step)
    speeds = [f"{one / step(p):.2f}x" for p in RANKS]
    return [*cells, *speeds, f"{best} ranks, {one / step(best):.1f}x"]
