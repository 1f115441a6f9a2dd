"""One measurement in a process of its own, which cpu_step.py starts: python bench/cpu_measure.py JOB, JSON in and out.

{"kind": "step", "subject", "network", "batch", "threads", "seconds", "most"}    training step, eval step, epoch
{"kind": "shapes", "subject", "batch", "threads", "seconds", "most"}             every op of cpu_shapes.py
{"kind": "check", "subjects", "network"}                                       how far gradients lie from float64
"""

import ctypes
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import cpu_shapes
import cpu_subjects
import numpy as np
from cpu_subjects import CLASSES, IMAGE, SUBJECTS, Skipped, make

from gpucnn.data import synthetic
from gpucnn.data.batches import Batches

CHECKED_IMAGES = 24  # no multiple of 16, which kernels may take at once
AUGMENT = ("crop", "flip")


def pictures(batch: int) -> tuple[Any, Any]:
    """The fixed batch: normalised noise and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, *IMAGE), dtype=np.float32), rng.integers(0, CLASSES, batch)


def timed(run: Callable[[], Any], seconds: float, most: float, least: int = 5) -> dict[str, Any]:
    """ms a call: median, least and most of at least `least` calls and `seconds`, but of no more than `most` seconds.

    The first call, which may compile, and the calls of a quarter of `seconds` after it are not counted.
    """
    clock = time.perf_counter
    started = clock()
    run()
    first = clock() - started
    while (spent := clock() - started - first) < seconds / 4 and spent + first < most:
        run()
    times: list[float] = []
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    while sum(times) < most and (len(times) < least or sum(times) < seconds):
        before = clock()
        run()
        times.append(clock() - before)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    ms = {"ms": statistics.median(times), "ms_min": min(times), "ms_max": max(times), "ms_first": first}
    ms = {name: round(1e3 * value, 5) for name, value in ms.items()}
    return ms | {"calls": len(times), "page_faults": round(faults / len(times), 1)}


def step(job: dict[str, Any]) -> dict[str, Any]:
    """A subject's training step and eval step on a fixed batch; gpucnn's also on augmented batches of an epoch."""
    subject, budget = make(job["subject"], job["network"]), (job["seconds"], job["most"])
    x, y = subject.batch(*pictures(job["batch"]))
    subject.mode(True)
    losses: list[float] = []
    found: dict[str, Any] = {"step": timed(lambda: losses.append(subject.step(x, y)), *budget)}
    if job["subject"] == "gpucnn":
        found["epoch"] = epochs(subject, job)
    subject.mode(False)
    found["eval"] = timed(lambda: subject.evaluate(x), *budget)
    if not np.isfinite(losses[-1]):
        raise ArithmeticError(f"the loss became {losses[-1]}")
    return found | {"losses": [losses[0], losses[-1]], "details": subject.details()}


def epochs(subject: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Images a second over whole epochs with shuffled, augmented batches; what is drawn for an epoch counts."""
    data = synthetic.load(f"{max(1024, 2 * job['batch'])}x{'x'.join(map(str, IMAGE))}")
    batches = Batches(
        data.train_x, data.train_y, job["batch"], device=subject.device, mean=data.mean, std=data.std,
        shuffle=True, augment=AUGMENT, drop_last=True,
    )  # fmt: skip
    for batch in islice(batches.epoch(0), 2):
        subject.step(batch.x, batch.y)
    started, images = time.perf_counter(), 0
    for epoch in count():
        for batch in batches.epoch(epoch):
            subject.step(batch.x, batch.y)
            images += len(batch.y)
        spent = time.perf_counter() - started
        if spent >= job["seconds"]:
            return {"images_per_second": round(images / spent, 2), "images": images, "augment": AUGMENT}
    raise AssertionError


def check(job: dict[str, Any]) -> dict[str, Any]:
    """|error| / |value| of the loss and of the worst parameter's gradient (2-norms: near a tie of ReLU or pooling two
    roundings may take two ways), against float64 in PyTorch, or in the tape where there is no PyTorch.
    """
    x, y = pictures(CHECKED_IMAGES)
    try:
        exact = cpu_subjects.Torch(job["network"], dtype="float64")
        reference = "torch, float64"
    except Skipped:
        exact = cpu_subjects.Ours(job["network"], kernels="xp")
        exact.model.to(exact.device, np.float64)
        x, reference = x.astype(np.float64), "gpucnn, reference kernels, float64"
    loss, gradients = exact.gradients(*exact.batch(x, y))
    errors: dict[str, Any] = {}
    for name in job["subjects"]:
        with suppress(Skipped):
            subject = make(name, job["network"])
            found, ours = subject.gradients(*subject.batch(x.astype(np.float32), y))
            worst = max(np.linalg.norm(ours[p] - gp) / np.linalg.norm(gp) for p, gp in gradients.items())
            errors[name] = {"loss": float(abs(found - loss) / abs(loss)), "gradients": float(worst)}
    return {"reference": reference, "images": CHECKED_IMAGES, "errors": errors}


def shapes(job: dict[str, Any]) -> dict[str, Any]:
    """{op as text: times} of every op alone, forward and backward."""
    if job["subject"] == "torch":
        cpu_subjects.need_torch()
    call = {"gpucnn": cpu_shapes.ours, "torch": cpu_shapes.theirs}[job["subject"]]
    found = {}
    for op in cpu_shapes.ops():
        forward, both = call(op, job["batch"])
        budget = (job["seconds"], job["most"])
        found[op.text()] = {"forward": timed(forward, *budget), "both": timed(both, *budget)}
    return {"shapes": found}


def environment() -> dict[str, Any]:
    """What this process runs with, as it is after the measurement."""
    found: dict[str, Any] = {"openblas_core": openblas_core(), "cores": sorted(os.sched_getaffinity(0))}
    if "torch" in sys.modules:
        found["torch_threads"] = sys.modules["torch"].get_num_threads()
    if "numba" in sys.modules:
        with suppress(ValueError):  # no parallel kernel ran
            found["numba_layer"] = sys.modules["numba"].threading_layer()
    return found


def openblas_core() -> str:
    """The kernels that NumPy's OpenBLAS chose, by the name of a processor; empty where it says nothing."""
    for file in _openblas():
        library = ctypes.CDLL(str(file))
        for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
            if hasattr(library, name):
                function = getattr(library, name)
                function.restype = ctypes.c_char_p
                return function().decode()
    return ""


def _openblas() -> Iterator[Path]:
    yield from (Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*")


def main() -> None:
    job = json.loads(sys.argv[1])
    if SUBJECTS[job.get("subject", "gpucnn")].family == "torch":
        with suppress(ModuleNotFoundError):
            import torch

            torch.set_num_threads(job["threads"])
    try:
        found = {"step": step, "shapes": shapes, "check": check}[job["kind"]](job) | {"environment": environment()}
    except Skipped as reason:
        found = {"skipped": str(reason)}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
