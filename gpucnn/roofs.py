"""The roofs of a device: what it computes and moves at best, measured once on it and kept in the cache folder.

A pass cannot take less than the longer of two times: that of its operations at the first roof, and that of its bytes
at the second (see costs.py). Float32 multiplications and additions make the first one, on a GPU by FFMA; tensor cores
may pierce it.
"""

import json
import logging
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from gpucnn_kernels.cachefolder import cache_folder

from .backend import Device
from .costs import Cost

log = logging.getLogger("gpucnn.kernels")


@dataclass(frozen=True)
class Roofs:
    """GFLOP/s of float32 multiplications and additions, and GB/s read and written in a copy."""

    gflops: float
    gbs: float

    def __post_init__(self) -> None:
        if not all(0 < roof < math.inf for roof in (self.gflops, self.gbs)):
            raise ValueError(f"roofs are positive, got {self}")

    def seconds(self, cost: Cost) -> float:
        """The least that `cost` takes."""
        return 1e-9 * max(cost.flops / self.gflops, cost.bytes / self.gbs)

    @property
    def ridge(self) -> float:
        """Operations a byte from which on computing takes longer than moving."""
        return self.gflops / self.gbs


def roofs(device: Device, again: bool = False) -> Roofs | None:
    """Those of `device` with the threads that it has: from the cache, unless there are none or `again`; None on sim."""
    if device.type == "sim":
        return None
    file, name = cache_folder() / "roofs.json", _name(device)
    kept: dict[str, dict[str, float]] = {}
    with suppress(OSError, ValueError, TypeError, RecursionError):  # none, or damaged
        kept = dict(json.loads(file.read_text()))
    if not again:
        with suppress(KeyError, TypeError, ValueError):
            return Roofs(**kept[name])
    gflops, gbs, alone = _measured(device)
    found = Roofs(float(f"{gflops:.4g}"), float(f"{gbs:.4g}"))
    if not alone:
        log.warning("others use this CPU: its roofs may be higher than measured, and will be measured anew")
        return found
    with suppress(OSError):  # a cache that cannot be written costs a second each time
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(kept | {name: asdict(found)}, indent=1))
        new.replace(file)
    return found


def _name(device: Device) -> str:
    """What the roofs depend on."""
    if device.type == "cuda":
        return device.xp.cuda.runtime.getDeviceProperties(device.index)["name"].decode()
    import llvmlite.binding as llvm
    import numba

    return f"{llvm.get_host_cpu_name()}, {numba.get_num_threads()} threads"


def _measured(device: Device) -> tuple[float, float, bool]:
    """GFLOP/s, GB/s, and whether nobody else took much of the CPU meanwhile."""
    if device.type == "cuda":
        from gpucnn_kernels import peak

        with device.xp.cuda.Device(device.index):
            return *peak.roofs(), True
    import numba
    from gpucnn_kernels.cpu import peak as peak_of_cpu

    started, used = time.perf_counter(), time.process_time()
    found = peak_of_cpu.roofs()
    wanted = numba.get_num_threads() * (time.perf_counter() - started)
    return *found, time.process_time() - used > 0.8 * wanted
