"""The accuracies that the project claims, each from `gpucnn train` itself: writes results/accuracy-NAME.json.

python bench/accuracy.py               every claim whose data are found
python bench/accuracy.py lenet-cifar10 one of them
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Claim:
    """`flags` of gpucnn train; the mean over the seeds must lie in `low` .. `high`."""

    flags: str
    seeds: int
    low: float
    high: float = 1.0


CLAIMS = {
    "digits": Claim("--dataset digits", 3, 0.97),
    "tinydigits-cnn": Claim("--dataset tinydigits --model tinydigits-cnn", 8, 0.879, 0.909),
    "tinydigits-mlp": Claim("--dataset tinydigits --model tinydigits-mlp", 8, 0.861, 0.887),
    "lenet-mnist": Claim("--dataset mnist --model lenet --epochs 5", 1, 0.989),
    "lenet-cifar10": Claim("--dataset cifar10 --model lenet --lr 0.05 --epochs 10", 3, 0.640),
    "alexnet-lite-cifar10": Claim("--dataset cifar10 --model alexnet-lite --lr 0.02 --epochs 6", 1, 0.679),
}


def train(flags: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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


def measure(name: str, claim: Claim) -> bool:
    """Run a claim with each of its seeds and write what came out; True where it holds."""
    runs = [train([*claim.flags.split(), "--seed", str(seed)])[0] for seed in range(claim.seeds)]
    mean = statistics.mean(run["test_accuracy"] for run in runs)
    holds = claim.low <= mean <= claim.high
    record = {"flags": claim.flags, "mean": mean, "low": claim.low, "high": claim.high, "holds": holds}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record | {"machine": describe(), "runs": runs}, indent=1)
    (RESULTS / f"accuracy-{name}.json").write_text(text + "\n")
    print(f"{name}: {mean:.2%} over {claim.seeds} seed(s), claimed {claim.low:.1%} to {claim.high:.1%}, holds: {holds}")
    return holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CLAIMS)}")
    names = parser.parse_args().names or list(CLAIMS)
    unknown = [name for name in names if name not in CLAIMS]
    if unknown:
        parser.error(f"no claim named {', '.join(unknown)}; there are {', '.join(CLAIMS)}")
    held = [measure(name, CLAIMS[name]) for name in names]  # every one, also after a failure
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
