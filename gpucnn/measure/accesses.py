"""What the simulator counts in place of times: how each line of a kernel asks the memory, for each range of a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpucnn_kernels.sim import AccessReport, mode

from ..profiling import Listener, listening

_BETWEEN = "\t"


class Accesses(Listener):
    """Keeps the account of each range's kernels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.report = _Report(self)

    @property
    def range_name(self) -> str:
        return self._ranges[-1] if self._ranges else ""

    def rows(self) -> list[dict[str, Any]]:
        """name, kernel, line, space, kind, requests, sectors, conflict: a row a source line; see sim/report.py."""
        found = []
        for line in self.report.lines:
            name, _, kernel = line.kernel.partition(_BETWEEN)
            found.append({"name": name} | asdict(line) | {"kernel": kernel})
        return found


class _Report(AccessReport):
    def __init__(self, accesses: Accesses) -> None:
        super().__init__()
        self._accesses = accesses

    def add(self, kernel: str, module: Path, runtime: Any) -> None:
        super().add(f"{self._accesses.range_name}{_BETWEEN}{kernel}", module, runtime)


@contextmanager
def counted() -> Iterator[Accesses]:
    """Inside, the simulator counts every access."""
    accesses = Accesses()
    with listening(accesses), mode(report=accesses.report):
        yield accesses
