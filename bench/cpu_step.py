"""How long a training step and an eval step take on the CPU, in gpucnn, PyTorch and NumPy.

python bench/cpu_step.py             LeNet and AlexNet-lite, batch 128, 1 and 2 threads; writes results/cpu-step-*.json
python bench/cpu_step.py --shapes    every op of the networks alone, gpucnn and PyTorch; writes results/cpu-shapes.json
python bench/cpu_step.py --batches 32 512    more batches; those that the same code was measured with stay
python bench/cpu_step.py --networks lenet --threads 1 --subjects gpucnn torch --output FOLDER

Every measurement is a process of its own, on one thread pinned to one core, and the subjects take turns, round by
round: what disturbs the machine for a while then disturbs them all. A figure is the median over the rounds of each
round's median step; least and most of the rounds stand beside it. Gradients are compared with float64 first.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cpu_subjects import SUBJECTS, Subject
from gpucnn_kernels import launchcost
from gpucnn_kernels.clock import Cpu
from machine import describe

from gpucnn.backend import Device
from gpucnn.cpu import set_threads

HERE = Path(__file__).parent
WRONG = 1e-3  # |error| / |value|
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
# glibc then neither maps a large array anew nor gives memory back, so that no step meets fresh pages
MALLOC = {"MALLOC_MMAP_THRESHOLD_": 1 << 40, "MALLOC_TRIM_THRESHOLD_": 1 << 40, "MALLOC_TOP_PAD_": 1 << 28}


def environment(subject: Subject, threads: int) -> dict[str, str]:
    """The variables of a measurement's process."""
    ours = ("MALLOC_", "GOMP_")  # set below; by gpucnn, here for `start_us` as in its own processes
    found = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    found |= dict.fromkeys(THREADS, str(threads))
    if subject.family == "gpucnn":
        found["OPENBLAS_NUM_THREADS"] = "1"  # its waiting threads spin, and take the core from the kernels' threads
    if subject.tuned:
        found |= {name: str(value) for name, value in MALLOC.items()}
    return found


def patiently(job: dict[str, Any], options: Any) -> dict[str, Any]:
    """What the process of `job` found, again while others kept the machine busy: the least disturbed of the tries."""
    tries: list[dict[str, Any]] = []
    while len(tries) < options.tries:
        found = measure(job, options.timeout)
        if "skipped" in found:
            return found
        tries.append(found)
        if found["others"] <= options.quiet:
            break
    return min(tries, key=lambda found: found["others"])


def busy() -> float:
    """Seconds that all cores together have worked for anybody, or were taken away by a hypervisor."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def measure(job: dict[str, Any], timeout: float) -> dict[str, Any]:
    """What the process of `job` found; {"skipped": reason} where it found nothing.

    `others`: how many cores the rest of the machine used meanwhile. Threads that wait for one another by spinning
    then take 10 times as long, and not all subjects suffer alike. `start_us`: see there, before and after.
    """
    cores = sorted(os.sched_getaffinity(0))
    pinned = cores[-1:] if job["threads"] == 1 else cores
    before = start_us(job["threads"])
    started, used, worked = time.perf_counter(), used_by_children(), busy()
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "cpu_measure.py"), json.dumps(job)],
            env=environment(SUBJECTS[job.get("subject", "gpucnn")], job["threads"]),
            preexec_fn=lambda: os.sched_setaffinity(0, pinned),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"no result in {timeout:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"skipped": lines[-1]}
    worked, used, seconds = busy() - worked, used_by_children() - used, time.perf_counter() - started
    found = json.loads(done.stdout.splitlines()[-1]) | {"others": round(max(0.0, worked - used) / seconds, 3)}
    return found | {"start_us": [before, start_us(job["threads"])]}


def start_us(threads: int) -> float:
    """Microseconds of an empty kernel on `threads` threads: about twice as many while data take long between cores.

    In a virtual machine that changes within seconds, as if its host moved the cores to two last-level caches.
    """
    set_threads(threads, Device("cpu"))
    return round(launchcost.cost("threads", np, Cpu(), calls=100, rounds=30)["us_min"], 2)


def used_by_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def gather(rounds: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """One subject's rounds as one record: medians, least and most over the rounds."""
    found: dict[str, Any] = {}
    for part in ("step", "eval"):
        each = [one[part]["ms"] for one in rounds]
        found[part] = spread("ms", each) | {
            "ms_fastest": min(one[part]["ms_min"] for one in rounds),
            "images_per_second": round(1e3 * batch / statistics.median(each), 1),
            "page_faults": statistics.median(one[part]["page_faults"] for one in rounds),
            "calls": sum(one[part]["calls"] for one in rounds),
        }
    found["step"]["ms_first"] = rounds[0]["step"]["ms_first"]  # with whatever had to be compiled
    if "epoch" in rounds[0]:
        found["epoch"] = spread("images_per_second", [one["epoch"]["images_per_second"] for one in rounds])
        found["epoch"]["augment"] = rounds[0]["epoch"]["augment"]
    last = rounds[-1]
    return (
        found
        | {key: [one[key] for one in rounds] for key in ("others", "start_us")}
        | {key: last[key] for key in ("details", "environment")}
    )


def spread(name: str, rounds: Iterable[float]) -> dict[str, Any]:
    rounds = list(rounds)
    return {name: statistics.median(rounds), f"{name}_min": min(rounds), f"{name}_max": max(rounds), "rounds": rounds}


def ratio(found: dict[str, Any], part: str) -> dict[str, Any] | None:
    """How many times as long as gpucnn the fastest eager PyTorch takes, and how far the rounds leave that open.

    `of_fastest` compares the single fastest steps instead, which others on the machine disturb least.
    """
    torch = {name: one[part] for name, one in found.items() if SUBJECTS[name].eager_torch}
    if "gpucnn" not in found or not torch:
        return None
    ours, best = found["gpucnn"][part], min(torch, key=lambda name: torch[name]["ms"])
    return {
        "best": best,
        "ratio": round(torch[best]["ms"] / ours["ms"], 3),
        "low": round(min(one["ms_min"] for one in torch.values()) / ours["ms_max"], 3),
        "high": round(torch[best]["ms_max"] / ours["ms_min"], 3),
        "of_fastest": round(min(one["ms_fastest"] for one in torch.values()) / ours["ms_fastest"], 3),
    }


def steps(options: Any, record: dict[str, Any], network: str) -> None:
    """Fill `record` with every combination, and write it after each: what is measured survives what fails."""
    checked = [name for name in options.subjects if SUBJECTS[name].rounds > 1]  # what may fail is not asked
    job = {"kind": "check", "network": network, "subjects": checked, "threads": 1}
    found = record["check"] = measure(job, options.timeout)
    if "skipped" in found:
        sys.exit(f"{network}: not checked: {found['skipped']}")
    errors = found["errors"]
    wrong = [name for name, error in errors.items() if not max(error.values()) < WRONG]
    for name, error in errors.items():
        print(f"{network}, {name}: gradients off by {error['gradients']:.1e}", flush=True)
    if wrong:
        sys.exit(f"{network}: {', '.join(wrong)} compute something else: {found}")
    file = options.output / f"cpu-step-{network}.json"
    record["runs"] = measured_before(file, record["machine"], options)
    for batch, threads in product(options.batches, options.threads):
        where = {"network": network, "batch": batch, "threads": threads}
        rounds: dict[str, list[Any]] = {name: [] for name in options.subjects}
        run: dict[str, Any] = where | {"subjects": {}, "skipped": {}}
        record["runs"].append(run)
        for turn, name in product(range(options.rounds), options.subjects):
            if name in run["skipped"] or turn >= SUBJECTS[name].rounds:
                continue
            found = patiently(where | {"kind": "step", "subject": name} | options.budget, options)
            if "skipped" in found:
                run["skipped"][name] = found["skipped"]
            else:
                rounds[name].append(found)
            what = found.get("skipped") or f"{found['step']['ms']:.2f} ms, others on {found['others']:.2f} cores"
            print(f"{network}, batch {batch}, {threads} thread(s), {name}: {what}", flush=True)
        run["subjects"] = {name: gather(each, batch) for name, each in rounds.items() if each}
        run["ratio"] = {part: ratio(run["subjects"], part) for part in ("step", "eval")}
        record["runs"].sort(key=lambda run: (run["batch"], run["threads"]))
        file.write_text(json.dumps(record, indent=1) + "\n")


def measured_before(file: Path, machine: dict[str, Any], options: Any) -> list[dict[str, Any]]:
    """The runs in `file` that are not to be measured again; none where another code, machine or day measured them."""
    record = json.loads(file.read_text()) if file.exists() else {}
    if record.get("machine") != machine:
        return []
    again = set(product(options.batches, options.threads))
    return [run for run in record["runs"] if (run["batch"], run["threads"]) not in again]


def shapes(options: Any, record: dict[str, Any]) -> None:
    """As `steps`, for every op alone."""
    from cpu_shapes import ops

    for batch, threads in product(options.batches, options.threads):
        rounds: dict[str, list[Any]] = {"gpucnn": [], "torch": []}
        for turn, name in product(range(options.rounds), rounds):
            job = {"kind": "shapes", "subject": name, "batch": batch, "threads": threads} | options.budget
            found = patiently(job, options)
            if "skipped" in found:
                sys.exit(f"{name}: {found['skipped']}")
            rounds[name].append(found)
            others = f"others on {found['others']:.2f} cores"
            print(f"batch {batch}, {threads} thread(s), round {turn + 1}, {name}: {others}", flush=True)
        for op in ops():
            text = op.text()
            row: dict[str, Any] = {"op": text, "networks": op.networks, "batch": batch, "threads": threads}
            for name, each in rounds.items():
                times = [one["shapes"][text] for one in each]
                row[name] = {part: spread("ms", [one[part]["ms"] for one in times]) for part in ("forward", "both")}
                row[name] |= {key: [one[key] for one in each] for key in ("others", "start_us")}
            row["ratio"] = round(row["torch"]["both"]["ms"] / row["gpucnn"]["both"]["ms"], 3)
            record["runs"].append(row)
        (options.output / "cpu-shapes.json").write_text(json.dumps(record, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """machine.describe(), with what else decides a figure on the CPU."""
    found = describe() | {"torch": None, "numba": None, "malloc": MALLOC}
    for name in ("torch", "numba"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    vector = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve")
    found["isa"] = sorted(flag for flag in flags if flag.startswith(vector))
    found["blas_core_asked_for"] = os.environ.get("OPENBLAS_CORETYPE", "")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", action="store_true", help="every op alone, instead of whole steps")
    parser.add_argument("--networks", nargs="+", choices=("lenet", "alexnet-lite"), default=["lenet", "alexnet-lite"])
    parser.add_argument("--batches", nargs="+", type=int, default=[128])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="NAME",
                        help=f"of {', '.join(SUBJECTS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="of steps a measurement, and at least five: 2; 0.15 of --shapes")
    parser.add_argument("--most", type=float, default=15.0, help="seconds of steps, even where that is less than five")
    parser.add_argument(
        "--quiet", type=float, default=0.15, help="measure again where others used more cores than this"
    )
    parser.add_argument("--tries", type=int, default=4, help="at most so many times, and keep the least disturbed")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which a process is given up")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a folder, other than results")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if max(options.threads) > cores:
        parser.error(f"{max(options.threads)} threads, and there are {cores} cores")
    if os.environ.get("OPENBLAS_CORETYPE"):
        print(f"OPENBLAS_CORETYPE={os.environ['OPENBLAS_CORETYPE']}: NumPy may be faster without it", file=sys.stderr)
    options.seconds = options.seconds or (0.15 if options.shapes else 2.0)
    options.budget = {"seconds": options.seconds, "most": options.most}
    head: dict[str, Any] = {"machine": machine(), "rounds": options.rounds} | options.budget
    if options.shapes:
        shapes(options, head | {"runs": []})
    else:
        for network in options.networks:
            steps(options, head | {"check": {}, "runs": []}, network)


if __name__ == "__main__":
    main()
