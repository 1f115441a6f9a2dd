"""The rows of one section: which are missing, how long there is for them, and where they are written."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cpu_subjects import Skipped
from gpu_clock import Cpu, Gpu
from machine import describe, describe_gpu, smi

CLOCKS = ("clocks.sm", "clocks.max.sm", "clocks_event_reasons.active", "temperature.gpu", "power.draw")


class Job:
    """A section's rows by their names, written to `file` one by one; `device` is cuda or sim.

    skipped: row -> why it is not there. failed: how many rows ended in an error, or did not pass. A record is complete
    where nothing is left that a second call with more time could add.
    """

    def __init__(self, section: str, file: Path, who: dict[str, Any], seconds: float, **options: Any) -> None:
        self.file, self.deadline = file, time.monotonic() + seconds
        self.device, self.tiny, self.options = who["device"], who["tiny"], options
        self.clock: Any = Gpu() if self.device == "cuda" else Cpu()
        found = json.loads(file.read_text()) if file.exists() and not options.get("again") else {}
        rows = found.get("rows", {}) if found.get("identity") == who else {}
        self.record: dict[str, Any] = {"section": section, "device": self.device, "identity": who, "complete": False}
        self.record |= {"machine": describe() | (describe_gpu() if self.device == "cuda" else {"gpu": "none: sim"})}
        self.record["machine"] |= {"torch": installed("torch")}
        self.record |= {"clocks": {"before": smi(*CLOCKS)}, "skipped": {}, "failed": "", "rows": rows}
        self.rows: dict[str, Any] = rows
        self._late = self._failed = 0

    def left(self) -> float:
        """Seconds that this section still has."""
        return self.deadline - time.monotonic()

    def todo(self, names: Sequence[str]) -> Iterator[tuple[str, float]]:
        """The rows that are missing, or were not whole for lack of time, each with its share of the seconds left."""
        waiting = [name for name in names if name not in self.rows or self.rows[name].get("late")]
        waiting.sort(key=lambda name: name in self.rows)
        for i, name in enumerate(waiting):
            if self.left() > 0:
                yield name, self.left() / (len(waiting) - i)
            elif name not in self.rows:
                self._late += 1
                self.skip(name, "no time left")

    def measure(self, name: str, function: Callable[[], dict[str, Any]]) -> None:
        """Make and write a row; `passes: False` in it, or an error, is a failure of the section.

        An error stays with its row: what can be measured without it still is.
        """
        started = time.monotonic()
        try:
            row = function()
        except Exception as error:
            self.skip(name, short(error))
            self._failed += not isinstance(error, Skipped)
            return
        took = round(time.monotonic() - started, 2)
        self.rows[name] = row | {"took": took}
        self._late += bool(row.get("late"))
        print(f"{self.record['section']}: {name}: {took} s", flush=True)
        self.write()

    def skip(self, name: str, why: str) -> None:
        self.record["skipped"][name] = why
        self.write()

    def end(self) -> None:
        """Write what is there for good."""
        wrong = self._failed + sum(row.get("passes") is False for row in self.rows.values())
        self.record["failed"] = f"{wrong} rows failed" if wrong else ""
        self.record["complete"] = not self._late and not self._failed
        self.record["clocks"]["after"] = smi(*CLOCKS)
        self.write()

    def write(self) -> None:
        """All at once: a reader never finds half a file."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.record, indent=1) + "\n")
        new.replace(self.file)


def short(error: Exception) -> str:
    """Its first line, and its kind unless it says no more than why something does not exist here."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, Skipped) else f"{type(error).__name__}: {lines[0]}"


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
