"""Both networks trained on CIFAR-10 with each kind of GPU kernels: accuracy, and images a second.

Images a second are the median over the epochs after the first, which compiles; the clock of an epoch stops when the
GPU is done. A run must come within 2 points of the accuracy that the same recipe reached on the CPU.
"""

import json
import statistics
from typing import Any

from accuracy import CLAIMS, RESULTS
from accuracy import train as run
from cpu_subjects import Skipped
from gpu_job import Job
from gpu_subjects import kinds

from gpucnn.data import load
from gpucnn.errors import GpucnnError

NETWORKS = ("lenet-cifar10", "alexnet-lite-cifar10")
POINTS = 0.02


def train(job: Job) -> None:
    """A row for each network and kind; only a few steps of a small one where the section is tiny."""
    rows = {f"{name}, {kind}": (name, kind) for name in NETWORKS for kind in kinds(job.device)}
    if job.tiny:
        rows = {"tinydigits-cnn, raw": ("tinydigits-cnn", "raw")}
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name]: _run(job, *row))  # type: ignore[misc]


def _run(job: Job, name: str, kind: str) -> dict[str, Any]:
    """The claim `name` of accuracy.py with other flags."""
    flags = [*CLAIMS[name].flags.split(), "--device", job.device, "--kernels", kind]
    flags += ["--data-path", job.options["data_path"]] if job.options.get("data_path") else []
    flags += ["--epochs", "1", "--limit-batches", "2"] if job.tiny else []
    try:
        load(flags[1], job.options.get("data_path"), download=False)
    except GpucnnError as error:
        raise Skipped(str(error)) from None
    result, epochs = run(flags)
    on_cpu = json.loads((RESULTS / f"accuracy-{name}.json").read_text())["mean"]
    speeds = [epoch["images_per_second"] for epoch in epochs]
    return result | {
        "claim": name,
        "kind": kind,
        "accuracy_on_cpu": on_cpu,
        "images_per_second": statistics.median(speeds[1:] or speeds),
        "passes": job.tiny or abs(result["test_accuracy"] - on_cpu) <= POINTS,
    }
