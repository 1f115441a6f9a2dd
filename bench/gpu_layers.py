"""How fast is every pass of every layer alone, in gpucnn and in PyTorch, both in one CUDA graph of many calls?

The calls take turns with sets of arrays that together are twice as large as the L2 cache, so that each reads and
writes memory, as it does in a step of a large network. Bytes are those of every operand once, 4 for a number.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import gpu_ops
import gpucnn_kernels
import numpy as np
from cpu_shapes import Op
from cpu_subjects import need_torch
from gpu_clock import middle, sets
from gpu_job import Job, short
from gpu_subjects import GATES, kinds, mode_of, set_precision, torch_device

BATCH, CALLS, REPLAYS = 512, 20, 12


def layers(job: Job) -> None:
    """A row for each pass of each layer; those with most to multiply come first."""
    batch = 2 if job.tiny else BATCH
    rows = {}
    for op in gpu_ops.layers():
        passes = ["forward", *["gx"] * op.needs_gx, *["gw"] * bool(op.w)]
        for part in passes:
            if not job.tiny or op.text() in ("linear 84 -> 10", "max_pool2d 16x10x10, 2x2"):
                rows[f"{op.text()}, batch {batch}: {part}"] = op, part
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name]: _pass(job, *row, batch))  # type: ignore[misc]


def _pass(job: Job, op: Op, part: str, batch: int) -> dict[str, Any]:
    """Both sides' times; ratio: of the mode's fastest PyTorch to each kind of kernels."""
    flops, size = 2 * gpu_ops.multiplications(op, batch), moved(op, part, batch)
    found: dict[str, Any] = {"networks": op.networks, "flops": flops, "bytes": size, "ours": {}, "torch": {}}
    for kind in kinds(job.device, gpu_ops.MODULES[op.kind]):
        found["ours"][kind] = _timed(job, found, partial(_ours, job, op, part, batch, kind))
    modes = GATES if op.w else ("fp32-ieee",)  # pooling rounds nothing
    for mode in modes:
        for channels_last in (False, True) if op.kind != "linear" else (False,):
            which = f"{mode}, channels_last" if channels_last else mode
            make = partial(_theirs, job, op, part, batch, mode, channels_last)
            found["torch"][which] = _timed(job, found, make)
    found["passes"] = all("us" in our or "NotImplemented" in our["skipped"] for our in found["ours"].values())
    found["ratio"] = {}
    for kind, our in found["ours"].items():
        mode = mode_of(kind)
        times = [one["us"] for which, one in found["torch"].items() if which.startswith(mode) and "us" in one]
        if times and "us" in our:
            found["ratio"][kind] = round(min(times) / our["us"], 3)
    return found


def moved(op: Op, part: str, n: int) -> int:
    """Bytes of a pass's operands and results; a code of max pooling has one byte, whatever PyTorch's has."""
    x, y, w = (prod(shape) for shape in ((n, *op.x), gpu_ops.y_shape(op, n), op.w or (0,)))
    if not op.w:
        return 4 * (x + y) + y
    return 4 * (x + y + w + (op.w[0] if part != "gx" else 0))


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
    module = gpucnn_kernels.load(gpu_ops.MODULES[op.kind], kind)
    drawn = gpu_ops.draw(op, batch).map(xp.asarray)
    calls = [
        gpu_ops.ours(module, op, drawn.map(lambda array: array.copy()))[part]
        for _ in range(sets(job.clock, moved(op, part, batch)))
    ]
    return job.clock.ours(_again(calls, job))


def _theirs(job: Job, op: Op, part: str, batch: int, mode: str, channels_last: bool) -> Any:
    torch = need_torch()
    set_precision(torch, mode)
    dtype = torch.bfloat16 if mode == "bf16" else torch.float32

    def arranged(array: Any) -> Any:
        last = channels_last and array.ndim == 4
        form = torch.channels_last if last else torch.contiguous_format
        return torch.from_numpy(array).to(torch_device(job.device), dtype).contiguous(memory_format=form)

    drawn = gpu_ops.draw(op, batch).map(arranged)
    calls = [
        gpu_ops.theirs(torch, op, drawn.map(lambda array: array.clone()))[part]
        for _ in range(sets(job.clock, moved(op, part, batch)))
    ]
    return job.clock.theirs(_again(calls, job))


def _again(calls: list[Any], job: Job) -> list[Any]:
    """At least CALLS of them, each set of arrays as often as any other."""
    return calls * -(-(2 if job.tiny else CALLS) // len(calls))
