"""What the memory accesses of a kernel cost on a GPU, line by line, counted on a CPU.

with mode(report=(report := AccessReport())):
    ...  # launches
print(report)
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

from .lines import source_lines

KINDS = ("load", "store", "atomic")


@dataclass(frozen=True)
class Line:
    """The accesses of one kind that one source line makes.

    requests: how often a warp asks; sectors: of 32 bytes, that global memory moves for one request, 4 for 32
    neighbouring floats, 32 where every lane is alone in its sector; conflict: the rounds that shared memory takes for
    one request, 1 where no two lanes want different words of one bank. Both are means; 0 in the other space.
    """

    kernel: str
    line: str
    space: str
    kind: str
    requests: int
    sectors: float
    conflict: float


class Row(ctypes.Structure):  # gpusim::Row in report.cpp
    _fields_ = (
        ("instruction", ctypes.c_uint), ("kind", ctypes.c_int), ("in_shared", ctypes.c_int),
        ("requests", ctypes.c_ulonglong), ("sectors", ctypes.c_ulonglong), ("rounds", ctypes.c_ulonglong),
    )  # fmt: skip


class AccessReport:
    """Sums over every launch that it is handed to; `lines` is the account, the kernels in the order of their launch."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str, str], list[int]] = {}

    def add(self, kernel: str, module: Path, runtime: ctypes.CDLL) -> None:
        """What the runtime counted in its last launch, which was of `kernel` of `module`."""
        found = ctypes.POINTER(Row)()
        count = runtime.gpusim_report(ctypes.byref(found))
        lines = source_lines(module, [row.instruction for row in found[:count]])
        for row in found[:count]:
            space = "shared" if row.in_shared else "global"
            sums = self._sums.setdefault((kernel, lines[row.instruction], space, KINDS[row.kind]), [0, 0, 0])
            for i, value in enumerate((row.requests, row.sectors, row.rounds)):
                sums[i] += value

    @property
    def lines(self) -> list[Line]:
        kernels = list(dict.fromkeys(kernel for kernel, *_ in self._sums))
        lines = [Line(*key, n, sectors / n, rounds / n) for key, (n, sectors, rounds) in self._sums.items()]
        return sorted(lines, key=lambda line: (kernels.index(line.kernel), _place(line.line), line.space, line.kind))

    def __str__(self) -> str:
        head = f"{'kernel':32} {'line':28} {'access':14} {'requests':>9} {'sectors':>8} {'conflict':>9}"
        rows = (
            f"{line.kernel:32} {line.line:28} {f'{line.space} {line.kind}':14} {line.requests:9} "
            + (f"{line.sectors:8.1f} {'':9}" if line.space == "global" else f"{'':8} {line.conflict:9.1f}")
            for line in self.lines
        )
        return "\n".join((head, *(row.rstrip() for row in rows)))


def _place(line: str) -> tuple[str, int]:
    file, _, number = line.rpartition(":")
    return file, int(number) if number.isdigit() else 0
