"""Both networks trained on CIFAR-10 with each kind of GPU kernels: accuracy, and images a second.

Images a second are the median over the epochs after the first, which compiles; the clock of an epoch stops when the
GPU is done. A run must come within 2 points of the accuracy that the same recipe reached on the CPU.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from claims_table import RESULTS
from cpu_subjects import Skipped
from gpu_job import Job
from gpu_subjects import kinds

from gpucnn.claims import CLAIMS, values
from gpucnn.data import load
from gpucnn.errors import GpucnnError

NETWORKS = ("lenet-cifar10", "alexnet-lite-cifar10")
POINTS = 0.02


def train(job: Job) -> None:
    """A row for each network and kind; only a few steps of a small one where the section is tiny."""
    rows = {f"{name}, {kind}": (name, kind) for name in NETWORKS for kind in kinds(job.device)}
    if job.tiny:
        rows = {"tinydigits-cnn, raw": ("cnn-vs-mlp-digits", "raw")}
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name]: _run(job, *row))  # type: ignore[misc]


def _run(job: Job, name: str, kind: str) -> dict[str, Any]:
    """The first network of the claim `name`, with other flags."""
    variant, how = next(iter(CLAIMS[name].variants.items()))
    flags = [*CLAIMS[name].flags.split(), *str(how).split(), "--device", job.device, "--kernels", kind]
    flags += ["--data-path", job.options["data_path"]] if job.options.get("data_path") else []
    flags += ["--epochs", "1", "--limit-batches", "2"] if job.tiny else []
    try:
        load(flags[1], job.options.get("data_path"), download=False)
    except GpucnnError as error:
        raise Skipped(str(error)) from None
    result, epochs = _train(flags)
    on_cpu = statistics.mean(
        values(json.loads((RESULTS / f"{name}.json").read_text())["runs"], variant, "test_accuracy")
    )
    speeds = [epoch["images_per_second"] for epoch in epochs]
    return result | {
        "claim": name,
        "kind": kind,
        "accuracy_on_cpu": on_cpu,
        "images_per_second": statistics.median(speeds[1:] or speeds),
        "passes": job.tiny or abs(result["test_accuracy"] - on_cpu) <= POINTS,
    }


def _train(flags: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `gpucnn train` says at the end of a run with `flags`, and its records of the epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gpucnn", "train", *flags, "--output-dir", folder, "--json", "--no-download"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        epochs = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    result["test_accuracy_per_epoch"] = [epoch["test_accuracy"] for epoch in epochs]
    result["seconds"] = sum(epoch["seconds"] for epoch in epochs)
    del result["run_dir"]
    return result, epochs
