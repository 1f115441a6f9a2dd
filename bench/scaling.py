"""What a second rank brings here, and what the all-reduce costs: throughput of one and two ranks with a thread each.

python bench/scaling.py       writes results/scaling.json
mpirun -n 2 -hosts one,two python -m mpi4py bench/scaling.py --rank messages      alpha and beta between two machines

An all-reduce of n bytes over p ranks takes about 2 log2(p) alpha + 2 (p - 1) / p n beta: Thakur, Rabenseifner and Gropp
2005, "Optimization of collective communication operations in MPICH", for long messages. alpha is what a message costs
however short it is, beta what each byte costs, here with the addition, and with the copies into the bucket and back.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from gpucnn.backend import CPU
from gpucnn.cpu import set_threads
from gpucnn.data import Batches
from gpucnn.models import model_class
from gpucnn.optim import SGD, constant
from gpucnn.parallel import Ranks, connect
from gpucnn.training import fit

MODELS = {"lenet": 60, "alexnet-lite": 12}  # steps that are measured
BATCH, WARM, ROUNDS = 128, 4, 5
BYTES = [4 << k for k in range(0, 23, 2)]  # 4 B to 16 MB


def train(name: str, ranks: Ranks) -> dict[str, Any]:
    """Milliseconds of a step, and how many bytes of gradients there are."""
    set_threads(1, CPU)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (512, 3, 32, 32), np.uint8), rng.integers(0, 10, 512)
    share: dict[str, Any] = {"device": CPU, "mean": (128.0,) * 3, "std": (64.0,) * 3}
    share |= {"rank": ranks.rank, "ranks": ranks.size}
    model = model_class(name)((3, 32, 32), 10).initialize(0)
    optimizer = SGD(model.named_parameters(), 0.01, 0.9)
    times: list[float] = []
    batches, test = Batches(x, y, BATCH, **share), Batches(x[:BATCH], y[:BATCH], BATCH, **share)
    epochs = -(-(WARM + MODELS[name]) // len(batches))
    for _ in fit(
        model, optimizer, batches, test, epochs=epochs, schedule=constant(), ranks=ranks,
        after_step=lambda step: times.append(time.perf_counter()),
    ):  # fmt: skip
        times.append(float("nan"))  # the test between two epochs is none of the steps
    steps = np.diff(times)[WARM:]
    return {
        "ms": 1e3 * statistics.median(steps[np.isfinite(steps)]),
        "bytes": sum(p.data.nbytes for p in model.parameters()),
    }


def messages(ranks: Ranks) -> dict[str, Any]:
    """Seconds of an all-reduce by its bytes, and alpha and beta in seconds, fitted to them."""
    seconds = []
    for size in BYTES:
        array, times = np.ones(size // 4, np.float32), []
        for _ in range(30):
            ranks.barrier()
            started = time.perf_counter()
            ranks.all_reduce([array])
            times.append(time.perf_counter() - started)
        seconds.append(statistics.median(times))
    n, t, p = np.array(BYTES), np.array(seconds), ranks.size
    terms = np.stack([np.full(len(n), 2 * np.log2(p)), 2 * (p - 1) / p * n], 1)
    alpha, beta = np.linalg.lstsq(terms / t[:, None], np.ones(len(n)))[0]  # relative errors count
    return {"seconds": dict(zip(BYTES, seconds, strict=True)), "alpha": alpha, "beta": beta}


def measure(what: str) -> None:
    """On each rank; the first prints what it found."""
    ranks = connect()
    found = messages(ranks) if what == "messages" else train(what, ranks)
    if ranks.rank == 0:
        print(json.dumps(found))


def started(count: int, what: str) -> Any:
    """`measure` on so many ranks."""
    command = [sys.executable, "-m", "mpi4py", __file__, "--rank", what]
    mpirun = [str(Path(sys.executable).with_name("mpirun")), "-n", str(count)]
    done = subprocess.run([*mpirun, *command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", choices=["messages", *MODELS], help="be one of the ranks, and measure this")
    if what := parser.parse_args().rank:
        measure(what)
        return
    rows = {}
    for name in MODELS:
        rounds = [{count: started(count, name) for count in (1, 2)} for _ in range(ROUNDS)]
        times = {count: [each[count]["ms"] for each in rounds] for count in (1, 2)}
        rows[name] = {"batch": BATCH, "bytes": rounds[0][1]["bytes"], "ms": times}
        print(name, times)
    found = min((started(2, "messages") for _ in range(ROUNDS)), key=lambda each: each["beta"])
    print(f"alpha {found['alpha'] * 1e6:.1f} us, beta {found['beta'] * 1e9:.2f} ns a byte")
    path = Path(__file__).parent / "results" / "scaling.json"
    path.write_text(json.dumps({"models": rows, "messages": found, "machine": describe()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
