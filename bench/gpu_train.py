"""Trains both networks on CIFAR-10 with each family of GPU kernels: accuracy and images a second.

python bench/gpu_train.py --data-path DIR    on a GPU; writes results/gpu-train.json
python bench/gpu_train.py --data-path DIR --device sim --epochs 2 --limit-batches 1 --output FILE    a rehearsal

Images a second are the median over the epochs after the first, which compiles; the clock of an epoch stops when
the GPU is done. A whole run must come within 2 points of the accuracy that the same recipe reached on the CPU.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from accuracy import CLAIMS, RESULTS, train
from machine import describe, describe_gpu

NETWORKS = ("lenet-cifar10", "alexnet-lite-cifar10")
FAMILIES = ("raw", "numba")
POINTS = 0.02


def measure(name: str, kernels: str, changes: list[str]) -> dict[str, Any]:
    """One run: the claim `name` of accuracy.py with other flags."""
    result, epochs = train([*CLAIMS[name].flags.split(), "--kernels", kernels, *changes])
    speeds = [epoch["images_per_second"] for epoch in epochs]
    result["images_per_second"] = statistics.median(speeds[1:] or speeds)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-path", help="where CIFAR-10 lies")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--limit-batches", type=int, help="at most so many batches an epoch")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--kernels", nargs="+", default=FAMILIES)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu-train.json")
    options = vars(parser.parse_args())
    networks, families, output = (options.pop(name) for name in ("networks", "kernels", "output"))
    changes = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    whole = options["epochs"] is None and options["limit_batches"] is None
    machine = describe() | (describe_gpu() if options["device"].startswith("cuda") else {})
    runs, close = [], True
    for name in networks:
        on_cpu = json.loads((RESULTS / f"accuracy-{name}.json").read_text())["mean"]
        for kernels in families:
            run = measure(name, kernels, changes) | {"claim": name, "family": kernels, "accuracy_on_cpu": on_cpu}
            close &= not whole or abs(run["test_accuracy"] - on_cpu) <= POINTS
            print(
                f"{name} {kernels}: {run['test_accuracy']:.2%} ({on_cpu:.2%} on the CPU), "
                f"{run['images_per_second']:,.0f} images/s",
                flush=True,
            )
            runs.append(run)  # written one by one: what is measured survives a run that fails
            record = {"flags": changes, "whole": whole, "close": close, "machine": machine, "runs": runs}
            output.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(not close)


if __name__ == "__main__":
    main()
