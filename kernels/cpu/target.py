"""What this CPU has: the width of its vectors, and how many of them fit a register tile.

A tile keeps its sums in registers. `multiply` (tiles.py) keeps rows x (lines * 16 / lanes) vectors of sums and needs
beside them one line and one broadcast; `correlate` keeps rows x columns of them beside one column of operands. So the
tiles below fill the register file: 16 registers of AVX2, 32 of AVX-512 and of NEON. Both units for fused multiply-adds
take about 4 cycles and start one a cycle each, which 8 sums keep busy.
"""

from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba


class Target(NamedTuple):
    name: str
    lanes: int  # float32 in a vector
    rows: int  # of the tile `multiply`: broadcast operands
    lines: int  # of the tile `multiply`: lines of 16 images
    dot_rows: int  # of the tile `correlate`
    dot_columns: int


TARGETS = (
    Target("avx512f", lanes=16, rows=12, lines=2, dot_rows=6, dot_columns=4),
    Target("avx2", lanes=8, rows=6, lines=1, dot_rows=4, dot_columns=3),
    Target("neon", lanes=4, rows=6, lines=1, dot_rows=6, dot_columns=4),
    Target("any", lanes=4, rows=2, lines=1, dot_rows=3, dot_columns=3),
)


def target_of(features: set[str]) -> Target:
    """The first of TARGETS whose name is a feature of the CPU; the last one needs none."""
    return next((target for target in TARGETS if target.name in features), TARGETS[-1])


def _features() -> set[str]:
    """The features that Numba compiles for: those of this CPU, unless NUMBA_CPU_FEATURES says otherwise."""
    config: Any = numba.config
    if config.CPU_FEATURES is not None:
        return {each[1:] for each in config.CPU_FEATURES.split(",") if each.startswith("+")}
    if config.CPU_NAME == "generic":
        return set()
    return {name for name, has in llvm.get_host_cpu_features().items() if has}


TARGET = target_of(_features())
