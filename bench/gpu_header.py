"""What the GPU can do at best: the ceilings under which everything else is read."""

from typing import Any

import numpy as np
from cpu_subjects import Skipped, need_torch
from gpu_job import Job
from gpu_subjects import MODES, set_precision, torch_device
from gpucnn_kernels import launchcost
from gpucnn_kernels.clock import Replay, middle

LANES = {"80": 64}  # float32 multiply-adds an SM and clock; 128 on the other GPUs from sm_86 on


def header(job: Job) -> None:
    """Copying, launching, and one large matrix product in each precision."""
    rows = {"versions": versions, "copy": copy, "launch": launch, "graph of 1": graph, "graph of 100": graph}
    rows |= {f"gemm {mode}": gemm for mode in MODES} | {"probe": probe}
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda name=name: rows[name](job, name))  # type: ignore[misc]


def versions(job: Job, name: str) -> dict[str, Any]:
    """Of PyTorch's libraries; and what the GPU's clock and cores make of float32 multiply-adds."""
    found: dict[str, Any] = {}
    try:
        torch = need_torch()
        found |= {"torch": torch.__version__, "cuda_of_torch": torch.version.cuda}
        found["cudnn"] = torch.backends.cudnn.version()
    except Skipped as reason:
        found["torch"] = str(reason)
    if job.device == "cuda":
        gpu = job.clock.cupy.cuda.Device()
        sms, khz = gpu.attributes["MultiProcessorCount"], gpu.attributes["ClockRate"]
        found |= {"compute_capability": gpu.compute_capability, "sms": sms, "mhz": khz / 1e3, "l2": job.clock.l2}
        found["tflops_ffma"] = round(2e-9 * LANES.get(gpu.compute_capability, 128) * sms * khz, 1)
    return found


def copy(job: Job, name: str) -> dict[str, Any]:
    """Bytes read and written a second where the GPU copies 4 GiB in its memory."""
    size = 1 << 20 if job.tiny else 1 << 32
    if job.device == "cuda":
        x, y = (job.clock.cupy.zeros(size, "uint8") for _ in range(2))

        def run() -> None:
            y.data.copy_from_device_async(x.data, size)
    else:
        x, y = np.zeros((2, size), np.uint8)

        def run() -> None:
            np.copyto(y, x)

    found = middle(job.clock.times(Replay(run, 1), 2 if job.tiny else 10))
    return found | {"bytes": 2 * size, "gbs": round(2e-3 * size / found["us"], 1)}


def launch(job: Job, name: str) -> dict[str, Any]:
    """Microseconds of the CPU for a launch of an empty kernel, and for each argument: see launchcost.py."""
    xp = job.clock.cupy if job.device == "cuda" else np
    calls, rounds = (20, 2) if job.tiny else (1000, 7)
    return {kind: launchcost.cost(kind, xp, job.clock, calls, rounds) for kind in launchcost.KINDS[job.device]}


def graph(job: Job, name: str) -> dict[str, Any]:
    """Microseconds of a graph of so many empty kernels, for the GPU and for the CPU that starts it."""
    if job.device != "cuda":
        raise Skipped("no CUDA graph on sim")
    replay = job.clock.ours([launchcost.one("raw", job.clock.cupy)] * int(name.split()[-1]))
    job.clock.times(replay, 10)
    found = middle(job.clock.times(replay, 50))
    return found | {"us_to_start": round(1e4 * job.clock.issued(replay.run, 100), 3)}


def gemm(job: Job, name: str) -> dict[str, Any]:
    """PyTorch's product of two large matrices."""
    torch, mode = need_torch(), name.split()[-1]
    set_precision(torch, mode)
    size = 64 if job.tiny else 4096
    dtype = torch.bfloat16 if mode == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=torch_device(job.device), dtype=dtype) for _ in range(2))
    replay = job.clock.theirs([lambda: a @ b])
    job.clock.times(replay, 3)
    found = middle(job.clock.times(replay, 5 if job.tiny else 20))
    return found | {"tflops": float(f"{2e-6 * size**3 / found['us']:.4g}")}


def probe(job: Job, name: str) -> dict[str, Any]:
    """|error| / |value| of PyTorch's products and convolutions in each mode: that it computes as it was told to."""
    torch = need_torch()
    where, found = torch_device(job.device), {}
    x, w = torch.randn(32, 32, 16, 16, device=where), torch.randn(64, 32, 3, 3, device=where)
    a, b = x.reshape(-1, 256), torch.randn(256, 256, device=where)
    for mode, (least, most) in MODES.items():
        set_precision(torch, mode)
        cast = (lambda t: t.bfloat16()) if mode == "bf16" else (lambda t: t)
        pairs = {
            "matmul": (cast(a) @ cast(b), a.double() @ b.double()),
            "conv": (
                torch.nn.functional.conv2d(cast(x), cast(w)),
                torch.nn.functional.conv2d(x.double(), w.double()),
            ),
        }
        errors = {part: float((y - exact).norm() / exact.norm()) for part, (y, exact) in pairs.items()}
        # cuDNN may choose an algorithm that is more exact than it was allowed to be
        found[mode] = errors | {"as_told": least < errors["matmul"] < most and errors["conv"] < most}
    return found | {"passes": job.device != "cuda" or all(each["as_told"] for each in found.values())}
