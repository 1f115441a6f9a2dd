"""Which layers and kernels a training step's time goes to, by CUDA events; and what ncu says of a few kernels.

python bench/gpu_profile.py ROW runs the kernels of a row a few times, for ncu to look at one launch.
"""

import csv
import json
import shutil
import subprocess
import sys
from typing import Any

import gpu_ops
import gpucnn_kernels
from cpu_subjects import Skipped
from gpu_job import Job

BATCH = 512
ROWS = {
    "conv2d 256x8x8 -> 256, 3x3, padding 1x1: forward": "raw",
    "conv2d 256x8x8 -> 256, 3x3, padding 1x1: gw": "raw",
    "max_pool2d 64x32x32, 2x2: forward": "raw",
}
METRICS = (
    "Kernel Name",
    "gpu__time_duration.sum",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active",
    "launch__registers_per_thread",
    "l1tex__data_bank_conflicts_pipe_lsu.sum",
)


def profile(job: Job) -> None:
    """`gpucnn profile` of each network, and one launch of each of ROWS; the GPU's clocks are left as they are."""
    steps = {f"{network}, batch {BATCH}: a step": network for network in gpu_ops.NETWORKS}
    for name, seconds in job.todo([*steps, *ROWS]):
        if name in steps:
            job.measure(name, lambda network=steps[name], s=seconds: _step(job, network, s))  # type: ignore[misc]
        else:
            job.measure(name, lambda name=name, s=seconds: _metrics(job, name, s))  # type: ignore[misc]


def _step(job: Job, network: str, seconds: float) -> dict[str, Any]:
    """What `gpucnn profile --json` says: a row a layer, pass and kernel."""
    if job.device == "sim":
        raise Skipped("CUDA events are of a GPU")
    flags = ["--model", network, "--dataset", f"synthetic:{8 * BATCH}x3x32x32", "-b", str(BATCH), "--device", "cuda"]
    command = [sys.executable, "-m", "gpucnn", "profile", "--tool", "events", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(seconds, 60))
    if done.returncode:
        raise RuntimeError(f"gpucnn profile: {(done.stderr.strip().splitlines() or [''])[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def _metrics(job: Job, name: str, seconds: float) -> dict[str, Any]:
    if job.device == "sim":
        raise Skipped("ncu profiles a GPU")
    if not shutil.which("ncu"):
        raise Skipped("no ncu in the path")
    command = ["ncu", "--clock-control", "none", "--set", "full", "-c", "1", "--launch-skip", "2", "--csv",
               "--page", "raw", sys.executable, __file__, name]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(seconds, 60))
    found = read(done.stdout)
    if not found:
        raise Skipped(f"ncu found nothing: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return found


def read(text: str) -> dict[str, Any]:
    """METRICS with their units, from ncu's table of one launch: names, units, values."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    names, units, *values = csv.reader(lines) if len(lines) > 2 else ([], [])
    rows = zip(names, units, *values[:1], strict=True) if values else ()
    return {name: f"{value} {unit}".strip() for name, unit, value in rows if name in METRICS}


def main() -> None:
    import cupy

    name, _, part = sys.argv[1].rpartition(": ")
    op = next(op for op in gpu_ops.layers() if op.text() == name)
    module = gpucnn_kernels.load(gpu_ops.implemented_as(op), ROWS[sys.argv[1]])
    call = gpu_ops.ours(module, op, gpu_ops.draw(op, BATCH).map(cupy.asarray))[part]
    for _ in range(4):
        call()
    cupy.cuda.runtime.deviceSynchronize()


if __name__ == "__main__":
    main()
