"""What one rank of tests/test_parallel.py does, or one process alone that it is compared with.

mpirun -n 2 python -m mpi4py tests/parallel_run.py FILE         rank 0 writes what it found to FILE, as JSON
"""

import json
import runpy
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

import gpucnn as g
from gpucnn import Device, training
from gpucnn.data import Batches, load
from gpucnn.optim import one_cycle
from gpucnn.parallel import connect
from gpucnn.training import fit

TWO_GPUS = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "two_gpu_alexnet.py"))


class Enough(Exception):
    pass


class Network(g.Module):
    """A convolution, dropout with its draws, and, if wanted, batch normalisation."""

    def __init__(self, norm=False):
        self.features = g.Sequential(g.Conv2d(1, 4, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Dropout(0.2))
        self.norm = g.BatchNorm1d(36) if norm else g.ReLU()
        self.classifier = g.Linear(36, 10)

    def forward(self, x):
        return self.classifier(self.norm(self.features(x)))


SGD = lambda parameters: g.optim.SGD(parameters, 0.05, 0.9, weight_decay=1e-3)  # noqa: E731
# name: device, dtype, optimizer, steps; batches that no number of ranks divides, and a last one of 12
CASES = {
    "float64": (Device("cpu", kernels="xp"), "float64", SGD, 50),
    "float32": (Device("cpu"), "float32", lambda parameters: g.optim.Adam(parameters, 0.01), 10),
    "sim": (Device("sim", kernels="raw"), "float32", SGD, 4),
}


def run(case, ranks, norm=False):
    """The sum of losses in each step, what epochs gave, and digests of what each rank has after each step and epoch."""
    device, dtype, make_optimizer, steps = CASES[case]
    data = load("tinydigits")
    feed = {"device": device, "dtype": dtype, "mean": data.mean, "std": data.std}
    feed |= {"rank": ranks.rank, "ranks": ranks.size}
    train = Batches(
        data.train_x[:312], data.train_y[:312], 50, seed=7, shuffle=True, augment=("crop", "cutout"), **feed
    )
    test = Batches(data.test_x[:101], data.test_y[:101], 50, **feed)  # a last batch with shares of none
    model = Network(norm).initialize(ranks.rank).to(device, dtype)  # the weights of rank 0 count
    optimizer = make_optimizer(model.named_parameters())
    optimizer.max_norm = 1.0
    totals, losses, weights, states, epochs = [0.0], [], [], [], []
    training._SECONDS_BETWEEN_READINGS = 0  # so that each step is told the mean so far

    def after_step(now):
        totals.append(now.loss * min(50 * now.step, 312))
        losses.append(totals[-1] - (totals[-2] if now.step > 1 else 0.0))
        weights.append(digest(model.parameters()))
        if len(losses) == steps:
            raise Enough

    how = {"epochs": 99, "schedule": one_cycle(steps), "seed": 7, "ranks": ranks, "after_step": after_step}
    try:
        for epoch in fit(model, optimizer, train, test, **how):
            epochs.append([epoch.train_loss, epoch.train_accuracy, epoch.test_loss, epoch.test_accuracy])
            states.append(digest(tensor for _, tensor in model.named_tensors()))
    except Enough:
        pass
    return {"losses": losses, "epochs": epochs, "weights": ranks.gather(weights), "states": ranks.gather(states)}


def digest(tensors):
    return sha256(b"".join(tensor.data.tobytes() for tensor in tensors)).hexdigest()


def two_gpus(ranks):
    """The losses of the example in float64."""
    return TWO_GPUS["train"](ranks, Device("cpu", kernels="xp"), 5, width=8, dtype="float64")


def arrays(ranks):
    """Sums of several arrays at once, of two dtypes, one with a single number."""
    mine = [np.full((2, 3), ranks.rank + 1.5, np.float32), np.array(ranks.rank, np.float64), np.arange(4.0)]
    ranks.all_reduce(mine)
    copied = [np.array([ranks.rank + 3])]
    ranks.copy_first(copied)
    return {"sums": [array.tolist() for array in mine], "copied": [int(a[0]) for a in ranks.gather(copied[0])]}


def main():
    ranks = connect()
    found = {"cases": {case: run(case, ranks) for case in CASES}, "arrays": arrays(ranks)}
    found["norm"] = run("float64", ranks, norm=True)
    if ranks.size == 2:
        found["two_gpus"] = two_gpus(ranks)
    if ranks.rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
