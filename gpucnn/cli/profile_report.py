"""What `gpucnn profile` shows and writes: the table, its CSV, the trace and the picture."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..costs import Cost
from ..measure.slices import Profile, Row, rows
from ..measure.trace import trace
from ..roofs import Roofs
from .output import Output, short
from .plot import check_suffix, require_folder, with_matplotlib


class Report:
    """Shows a profile on the terminal, and writes it to the files that are named."""

    def __init__(self, output: Output, csv: Path | None, trace: Path | None, png: Path | None) -> None:
        self.output, self.csv, self.trace, self.png = output, csv, trace, png
        for option, file in (("--csv", csv), ("--trace", trace), ("--png", png)):
            if file:
                require_folder(option, file)
        if png:
            check_suffix("--png", png)
            with_matplotlib()

    def show(self, tool: str, profile: Profile, facts: dict[str, Any]) -> None:
        """facts: of Session.facts; without any, there are times alone."""
        roofs = Roofs(**facts["roofs"]) if facts.get("roofs") else None
        found = rows(profile, {name: Cost(**cost) for name, cost in facts.get("costs", {}).items()}, roofs)
        title = f"{facts['model']}, batch {facts['batch_size']}, {facts['device']}" if facts else "a recorded report"
        self._table(found)
        for line in _in_words(tool, profile, facts, roofs):
            self.output.say(line)
        if any((row.roof or 0.0) > 1 for row in found):
            self.output.say("above 100 % of the roof: the bytes lay in a cache, or tensor cores or Winograd computed")
        self._write_csv([asdict(row) for row in found])
        if self.trace:
            self.trace.write_text(json.dumps(trace(profile, title)))
        if self.png:
            drawings = with_matplotlib()
            computing = (row for row in found if row.gflops and row.intensity)
            points = [drawings.Point(row.name, row.us, row.gflops, row.intensity) for row in computing]
            drawings.write(drawings.roofline(title, points, roofs), self.png)
        self.output.result(
            {"tool": tool, **facts, "steps": profile.steps, "step_us": profile.step_us}
            | {"attributed_us": profile.attributed_us, "rows": [asdict(row) for row in found]}
        )
        written = [short(file) for file in (self.csv, self.trace, self.png) if file]
        if written:
            self.output.say(f"written: {', '.join(written)}")

    def show_accesses(self, found: Sequence[dict[str, Any]], facts: dict[str, Any]) -> None:
        """Of the simulator: a row a source line, for each range; there is no time there to trace or to draw."""
        heads = ("range", "kernel", "line", "access", "requests", "sectors", "conflict")
        cells = [
            (row["name"], row["kernel"], row["line"], f"{row['space']} {row['kind']}", f"{row['requests']:,}")
            + ((f"{row['sectors']:.1f}", "") if row["space"] == "global" else ("", f"{row['conflict']:.1f}"))
            for row in found
        ]
        self.output.table(heads, cells, 4)
        self.output.say(
            "sectors: of 32 bytes that a warp's request moves, 4 at best for 32 floats; conflict: rounds of"
        )
        self.output.say("shared memory that it takes, 1 at best. The simulator has no times: --device cuda has.")
        self._write_csv(found)
        self.output.result({"tool": "simulator", **facts, "accesses": list(found)})

    def _write_csv(self, found: Sequence[dict[str, Any]]) -> None:
        if self.csv and found:
            with self.csv.open("w", newline="") as file:
                table = csv.DictWriter(file, found[0])
                table.writeheader()
                table.writerows(found)

    def _table(self, found: Sequence[Row]) -> None:
        heads = ("range", "kernel", "calls", "us", "share", "gap us", "GFLOP/s", "GB/s", "FLOP/byte", "of roof")
        cells, before = [], ""
        for row in found:
            numbers = [f"{row.calls:g}", f"{row.us:,.1f}", f"{row.share:.1%}", f"{row.gap_us:,.1f}"]
            numbers += [_three_digits(rate) for rate in (row.gflops, row.gbs, row.intensity)]
            numbers.append("" if row.roof is None else f"{row.roof:.0%}")
            cells.append((row.name if row.name != before else "", row.kernel, *numbers))
            before = row.name
        self.output.table(heads, cells, 2)


def _three_digits(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _in_words(tool: str, profile: Profile, facts: dict[str, Any], roofs: Roofs | None) -> list[str]:
    attributed, step = profile.attributed_us, profile.step_us
    lines = [
        f"a step of {profile.steps}, by {tool}: {step:,.1f} us, of which kernels {attributed:,.1f} us "
        f"({attributed / step if step else 0:.1%})"
    ]
    if facts.get("plain_step_us"):
        lines.append(f"without profiling, and repeated where it was recorded: {facts['plain_step_us']:,.1f} us")
    if roofs:
        lines.append(
            f"roofs: {roofs.gflops:,.4g} GFLOP/s of float32 by multiply-adds, {roofs.gbs:,.4g} GB/s by copying; they "
            f"meet at {roofs.ridge:.1f} FLOP/byte"
        )
    if not facts:
        lines.append(
            "no GFLOP/s and no roofs: the file that gpucnn profile --report keeps beside a report is not there"
        )
    return lines
