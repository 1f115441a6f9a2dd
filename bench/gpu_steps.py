"""How fast is a whole training step: forward, loss, backward and SGD, with another batch on the GPU at each step?

The subjects of a network, a batch size and a precision take turns, round by round: what disturbs the GPU for a while
then disturbs them all. A figure is the median of the rounds by the wall's clock, from the first launch until the GPU
has finished the last one; `gpu_us` is what lies between two events.
"""

import time
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from cpu_subjects import Skipped
from gpu_job import Job, short
from gpu_subjects import GATES, Ours, Torch, kinds, mode_of, pictures
from gpucnn_kernels.clock import middle

NETWORKS = ("lenet", "alexnet-lite")
WARM_UP, ROUNDS, SECONDS, PICTURES = 30, 5, 0.3, 50_000
MANY = 10  # steps in one graph


def steps(job: Job) -> None:
    """Batch 512, against all of PyTorch that need not be compiled for minutes; then whole epochs of gpucnn alone."""
    _groups(job, (512,), ("eager", "graph", "reduce-overhead"))
    _epochs(job, 2 if job.tiny else 512)


def batches(job: Job) -> None:
    """Smaller and larger batches."""
    _groups(job, (128, 2048), ("eager", "graph"))


def compiled(job: Job) -> None:
    """torch.compile as it is by default."""
    _groups(job, (512,), ("graph", "default"))


def autotuned(job: Job) -> None:
    """torch.compile with all that it can try; minutes for each network and precision."""
    _groups(job, (512,), ("graph", "max-autotune"))


def _groups(job: Job, sizes: tuple[int, ...], hows: tuple[str, ...]) -> None:
    networks, sizes = (("tinydigits-cnn",), (2,)) if job.tiny else (NETWORKS, sizes)
    rows = {f"{n}, batch {b}, {m}": (n, b, m) for b, m, n in product(sizes, GATES, networks)}
    for name, seconds in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name], s=seconds: _group(job, *row, hows, s))  # type: ignore[misc]


def _epochs(job: Job, batch: int) -> None:
    """Milliseconds of an epoch of 50,000 pictures, shuffled, cropped and flipped, with all that is drawn for it."""
    networks, kind_of = ("tinydigits-cnn",) if job.tiny else NETWORKS, kinds(job.device)
    rows = {f"{n}, batch {batch}, {kind}: epoch": (n, kind) for n in networks for kind in kind_of if kind != "numba"}
    for name, _ in job.todo(list(rows)):
        job.measure(name, lambda row=rows[name]: _epoch(job, *row, batch))  # type: ignore[misc]


def _epoch(job: Job, network: str, kind: str, batch: int) -> dict[str, Any]:
    subject, count = Ours(network, job.device, kind), 4 * batch if job.tiny else PICTURES
    subject.load(*pictures(network, count), batch, shuffle=True, augment=("crop", "flip"))
    subject.mode(True)

    def epoch() -> None:
        subject.begin()
        while subject.left:
            subject.step()

    job.clock.timed(epoch, 1)
    rounds = [job.clock.timed(epoch, 1)[0] for _ in range(2 if job.tiny else ROUNDS)]
    found: dict[str, Any] = {"network": network, "kind": kind, "batch": batch, "images": count}
    ms = {f"ms{name[2:]}": 1e-3 * value for name, value in middle(rounds).items()}
    return found | ms | {"loss": subject.loss(), "details": subject.details()}


def subjects(job: Job, network: str, mode: str, hows: tuple[str, ...]) -> dict[str, Any]:
    """Name -> function that makes it; what may be left out for lack of time comes last.

    Without Numba, whose launches take the CPU longer than most kernels take the GPU: layers has its kernels alone.
    """
    found: dict[str, Any] = {}
    for kind in (kind for kind in kinds(job.device) if kind != "numba" and mode_of(kind) == mode):
        many = partial(Ours, network, job.device, kind, at_once=2 if job.tiny else MANY)
        found[f"gpucnn {kind}, many steps a graph"] = many
        found[f"gpucnn {kind}"] = partial(Ours, network, job.device, kind, at_once=1)
        found[f"gpucnn {kind}, eager"] = partial(Ours, network, job.device, kind, graph=False)
    for how, channels_last in product(hows, (True, False)):
        name = f"torch {how}{', channels_last' * channels_last}"
        found[name] = partial(Torch, network, job.device, mode, how, channels_last)
        if how == "graph" and channels_last and mode == "bf16":
            found[f"{name}, pure"] = partial(Torch, network, job.device, mode, how, True, pure=True)
    return found


def _group(job: Job, network: str, batch: int, mode: str, hows: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """The subjects' times. late: those for which there was no time; skipped: those that do not exist here, and why."""
    count = 4 * batch if job.tiny else PICTURES // batch * batch
    started, data = time.monotonic(), (*pictures(network, count), batch)
    runs: dict[str, _Run] = {}
    failed = False
    found: dict[str, Any] = {"network": network, "batch": batch, "mode": mode, "skipped": {}, "late": []}
    rounds, length = (2, 0.0) if job.tiny else (ROUNDS, SECONDS)
    for name, make in subjects(job, network, mode, hows).items():
        if time.monotonic() - started + rounds * length * (len(runs) + 1) > seconds:
            found["late"].append(name)
            continue
        try:
            runs[name] = _Run(job, make(), data, length)
        except Exception as reason:  # PyTorch may fail to compile in as many ways as it has parts
            found["skipped"][name] = short(reason)
            failed |= name.startswith("gpucnn") and not isinstance(reason, Skipped)
    for _ in range(rounds):
        for run in runs.values():
            run.round()
    found["subjects"] = {name: run.found(batch) for name, run in runs.items()}
    times = {name: one["us"] for name, one in found["subjects"].items()}
    torch = min((name for name in times if name.startswith("torch")), key=lambda name: times[name], default=None)
    ours = min((name for name in times if name.startswith("gpucnn")), key=lambda name: times[name], default=None)
    found |= {"best_torch": torch, "best": ours}
    found["passes"] = not failed and all(one["trained"] for one in found["subjects"].values())
    if torch and ours:
        found["ratio"] = round(times[torch] / times[ours], 3)
        low, high = (found["subjects"][a][x] / found["subjects"][b][y] for a, x, b, y in
                     ((torch, "us_min", ours, "us_max"), (torch, "us_max", ours, "us_min")))  # fmt: skip
        found |= {"ratio_low": round(low, 3), "ratio_high": round(high, 3), "tie": low <= 1 <= high}
    return found


class _Run:
    """A subject that is warm, and its rounds of about `length` seconds."""

    def __init__(self, job: Job, subject: Any, data: tuple, length: float) -> None:
        self.job, self.subject = job, subject
        subject.load(*data)
        subject.mode(True)
        before = subject.weights()
        subject.step()
        self.first = subject.loss()
        self.changed = not np.array_equal(subject.weights(), before)
        self._timed(4 if job.tiny else WARM_UP)
        wall, _ = self._timed(1 if job.tiny else WARM_UP)
        self.calls = max(1, round(length / wall))
        self.rounds: list[tuple[float, float | None]] = []

    def round(self) -> None:
        self.rounds.append(self._timed(self.calls))

    def _timed(self, count: int) -> tuple[float, float | None]:
        """Seconds a step over `count` steps, or a few more."""
        made = 0

        def run() -> None:
            nonlocal made
            while made < count:
                made += self.subject.step()

        wall, gpu = self.job.clock.timed(run, 1)
        return wall / made, None if gpu is None else gpu / made

    def found(self, batch: int) -> dict[str, Any]:
        """us a step, images a second; whether it trained: the loss is finite and the first step changed weights."""
        walls = [wall for wall, _ in self.rounds]
        found: dict[str, Any] = middle(walls)
        found["gpu_us"] = middle([gpu for _, gpu in self.rounds])["us"] if self.rounds[0][1] else None
        losses = [self.first, self.subject.loss()]
        return found | {
            "images_per_second": round(1e6 * batch / found["us"]), "calls": self.calls, "losses": losses,
            "trained": bool(np.isfinite(losses).all()) and self.changed, "details": self.subject.details(),
        }  # fmt: skip
