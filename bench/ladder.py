"""What each rung of the ladder of conv2d.cu asks of the memory, and of its twin in Numba: writes results/ladder.json.

python bench/ladder.py    needs no GPU: the accesses of the PTX are counted on the simulator
"""

import json
from pathlib import Path
from typing import Any

import gpucnn_kernels
import numpy as np
from gpucnn_kernels.resources import compilers
from gpucnn_kernels.sim import AccessReport, mode

RESULT = Path(__file__).parent / "results" / "ladder.json"
N, CI, SIDE, CO, KERNEL = 2, 16, 16, 32, 3
WINDOW = (1, 1), (1, 1)  # stride, padding
RUNGS = ("naive", "tiled", "gemm")


def rung(impl: str, name: str) -> dict[str, Any]:
    """Requests of warps, sectors of global memory and rounds of shared memory; and the error against float64."""
    rng = np.random.default_rng(0)
    shapes = (N, CI, SIDE, SIDE), (CO, CI, KERNEL, KERNEL), (CO,)
    x, w, b = (rng.standard_normal(shape, np.float32) for shape in shapes)
    function = getattr(gpucnn_kernels.load("conv2d", impl), f"forward_{name}")
    with mode(tier="ptx", report=(report := AccessReport())):
        y = function(x, w, b, *WINDOW)
    exact = gpucnn_kernels.load("conv2d", "xp").forward(*(a.astype(np.float64) for a in (x, w, b)), *WINDOW)
    found: dict[str, Any] = {"impl": impl, "rung": name, "kernel": report.lines[0].kernel}
    found["dynamic"] = 4 * ((15 + KERNEL) ** 2 + KERNEL**2) if name == "tiled" else 0  # bytes, as conv2d_raw.py asks
    found["error"] = float(np.linalg.norm(y - exact) / np.linalg.norm(exact))
    for space in ("global", "shared"):
        lines = [line for line in report.lines if line.space == space]
        found[space] = {
            "loads": sum(line.requests for line in lines if line.kind == "load"),
            "stores": sum(line.requests for line in lines if line.kind == "store"),
            "sectors": round(sum(line.requests * line.sectors for line in lines)),
            "rounds": round(sum(line.requests * line.conflict for line in lines)),
        }
    return found


def main() -> None:
    modules = {impl: gpucnn_kernels.load("conv2d", impl) for impl in ("raw", "numba")}
    rungs = [(impl, name) for name in RUNGS for impl in modules if hasattr(modules[impl], f"forward_{name}")]
    record = {
        "shape": f"{N}x{CI}x{SIDE}x{SIDE} to {CO} channels, {KERNEL}x{KERNEL}, padding 1",
        "multiply_adds": N * CO * SIDE * SIDE * CI * KERNEL**2,
        "compilers": compilers(),
        "rungs": [rung(*each) for each in rungs],
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{RESULT}: {len(rungs)} rungs")


if __name__ == "__main__":
    main()
