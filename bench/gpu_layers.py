"""How fast is every pass of every layer alone, in gpucnn and in PyTorch, both in one CUDA graph of many calls?

The calls take turns with sets of arrays that together are twice as large as the L2 cache, so that each reads and
writes memory, as it does in a step of a large network. Operations and bytes are those of gpucnn/costs.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import gpu_ops
import gpucnn_kernels
import numpy as np
from cpu_shapes import Op
from cpu_subjects import need_torch
from gpu_job import Job, short
from gpu_subjects import CHANNELS_LAST, GATES, kinds, mode_of, set_precision, torch_device
from gpucnn_kernels.channelslast import channels_last
from gpucnn_kernels.clock import middle, sets

BATCH, CALLS, REPLAYS = 512, 20, 12
TINY = {"linear 84 -> 10", "max_pool2d 16x10x10, 2x2", "conv2d+relu+maxpool 6x14x14 -> 16, 5x5"}


def layers(job: Job) -> None:
    """A row for each pass of each layer."""
    batch = 2 if job.tiny else BATCH
    rows = {}
    for op in gpu_ops.layers():
        passes = ["gx"] * op.needs_gx + ["gw"] * bool(op.w)
        for part in ("forward", *(["backward"] if isinstance(op, gpu_ops.Fused) else passes)):
            if not job.tiny or op.text() in TINY:
                rows[f"{op.text()}, batch {batch}: {part}"] = op, part
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name]: _pass(job, *row, batch))  # type: ignore[misc]


def _pass(job: Job, op: Op, part: str, batch: int) -> dict[str, Any]:
    """Both sides' times; ratio: of the mode's fastest PyTorch to each kind of kernels."""
    cost = gpu_ops.cost(op, part, batch)
    found: dict[str, Any] = {"networks": op.networks, "flops": cost.flops, "bytes": cost.bytes, "ours": {}, "torch": {}}
    for kind in kinds(job.device, gpu_ops.implemented_as(op), job.tiny):
        found["ours"][kind] = _timed(job, found, partial(_ours, job, op, part, batch, kind))
    modes = GATES if op.w else ("fp32-ieee",)  # pooling rounds nothing
    for mode in modes:
        for last in (False, True) if op.kind != "linear" else (False,):
            which = f"{mode}, channels_last" if last else mode
            make = partial(_theirs, job, op, part, batch, mode, last)
            found["torch"][which] = _timed(job, found, make)
    found["passes"] = all("us" in our or "NotImplemented" in our["skipped"] for our in found["ours"].values())
    found["ratio"] = {}
    for kind, our in found["ours"].items():
        mode = mode_of(kind)
        times = [one["us"] for which, one in found["torch"].items() if which.startswith(mode) and "us" in one]
        if times and "us" in our:
            found["ratio"][kind] = round(min(times) / our["us"], 3)
    return found


def _timed(job: Job, row: dict[str, Any], make: Callable[[], Any]) -> dict[str, Any]:
    """us a call, TFLOP/s and GB/s; or why there are none: one that fails leaves the others of the row."""
    try:
        replay = make()
        job.clock.times(replay, 1 if job.tiny else 2)
    except Exception as reason:
        return {"skipped": short(reason)}
    found: dict[str, Any] = middle(job.clock.times(replay, 2 if job.tiny else REPLAYS), replay.calls)
    found |= {"calls": replay.calls, "captured": replay.captured}
    return found | {"gbs": _rate(row["bytes"], found, 1e-3), "tflops": _rate(row["flops"], found, 1e-6)}


def _rate(amount: int, found: dict[str, Any], unit: float) -> float:
    return float(f"{unit * amount / found['us']:.4g}")


def _ours(job: Job, op: Op, part: str, batch: int, kind: str) -> Any:
    xp = job.clock.cupy if job.device == "cuda" else np
    module = gpucnn_kernels.load(gpu_ops.implemented_as(op), kind)
    drawn, calls = gpu_ops.draw(op, batch).map(xp.asarray), []
    for _ in range(sets(job.clock, gpu_ops.cost(op, part, batch).bytes)):
        copied = drawn.map(lambda array: array.copy())
        if kind in CHANNELS_LAST and op.kind != "linear":  # as these kernels hand them to each other
            copied.x, copied.gy = channels_last(copied.x), channels_last(copied.gy)
            copied.w = channels_last(copied.w) if op.w else None  # once a step, for both passes
        calls.append(gpu_ops.ours(module, op, copied)[part])
    return job.clock.ours(_again(calls, job))


def _theirs(job: Job, op: Op, part: str, batch: int, mode: str, last: bool) -> Any:
    torch = need_torch()
    set_precision(torch, mode)
    dtype = torch.bfloat16 if mode == "bf16" else torch.float32

    def arranged(array: Any) -> Any:
        form = torch.channels_last if last and array.ndim == 4 else torch.contiguous_format
        return torch.from_numpy(array).to(torch_device(job.device), dtype).contiguous(memory_format=form)

    drawn = gpu_ops.draw(op, batch).map(arranged)
    calls = [
        gpu_ops.theirs(torch, op, drawn.map(lambda array: array.clone()))[part]
        for _ in range(sets(job.clock, gpu_ops.cost(op, part, batch).bytes))
    ]
    return job.clock.theirs(_again(calls, job))


def _again(calls: list[Any], job: Job) -> list[Any]:
    """At least CALLS of them, each set of arrays as often as any other."""
    return calls * -(-(2 if job.tiny else CALLS) // len(calls))
