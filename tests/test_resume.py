"""A run that is stopped anywhere and goes on from a file gives the bits of the run that was not."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

import gpucnn as g
from gpucnn import Device
from gpucnn.backend import probe_cuda
from gpucnn.checkpoint import State, load_state, save_state
from gpucnn.data import Batches, load
from gpucnn.optim import one_cycle
from gpucnn.training import BEGINNING, Position, fit

DATA = load("tinydigits")
EPOCHS, STEPS = 3, 5  # of 64 images, and a last one of 44
OPTIMIZERS = {
    "sgd": lambda parameters: g.optim.SGD(parameters, 0.05, 0.9, weight_decay=1e-3),
    "adam": lambda parameters: g.optim.Adam(parameters, 0.01),
    "adamw": lambda parameters: g.optim.AdamW(parameters, 0.01, weight_decay=0.1),
}
DEVICES = {
    "cpu": Device("cpu"),
    "reference": Device("cpu", kernels="xp"),
    "sim": Device("sim", kernels="raw"),
    "sim, one by one": Device("sim", kernels="raw", graph=False),
    "cuda": Device("cuda", kernels="raw"),
}


class Stop(Exception):
    pass


class Network(g.Module):
    """All that has a state: convolution, batch normalisation with its buffers, dropout with its draws."""

    def __init__(self, norm):
        self.features = g.Sequential(g.Conv2d(1, 4, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten())
        self.norm = g.BatchNorm1d(36) if norm else g.ReLU()
        self.classifier = g.Sequential(g.Linear(36, 16), g.ReLU(), g.Dropout(0.5), g.Linear(16, 10))

    def forward(self, x):
        return self.classifier(self.norm(self.features(x)))


class Run:
    """Three epochs of a small network, shuffled and augmented; `go` trains from a position and may be stopped."""

    def __init__(self, device, optimizer="sgd", norm=False, seed=1):
        if device.type == "cuda" and (fault := probe_cuda()):
            pytest.skip(f"no GPU: {fault}")
        self.model = Network(norm).initialize(seed).to(device)
        self.optimizer = OPTIMIZERS[optimizer](self.model.named_parameters())
        images = {"device": device, "mean": DATA.mean, "std": DATA.std}
        shuffled = {"seed": 7, "shuffle": True, "augment": ("crop", "cutout")}
        self.train = Batches(DATA.train_x[:300], DATA.train_y[:300], 64, **images, **shuffled)
        self.test = Batches(DATA.test_x, DATA.test_y, 100, **images)
        self.epochs = []

    def go(self, start=BEGINNING, stop=None):
        """Train from `start`; with `stop` only so many steps, and then the position is returned."""
        steps = itertools.count(1)

        def after_step(step):
            self.now = step
            if stop is not None and next(steps) >= stop:
                raise Stop

        how = {"epochs": EPOCHS, "schedule": one_cycle(EPOCHS * STEPS), "seed": 7, "label_smoothing": 0.1}
        try:
            for epoch in fit(
                self.model, self.optimizer, self.train, self.test, start=start, after_step=after_step, **how
            ):
                self.epochs.append(replace(epoch, seconds=0.0, images_per_second=0.0))
        except Stop:
            return self.now.position()
        return None

    def save(self, path, position):
        meta = {"epoch": position.epoch, "step": position.step, "sums": position.sums}
        save_state(path, State(self.model.state_dict(), self.optimizer.state_dict(), meta))

    def load(self, path):
        state = load_state(path)
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        return Position(state.meta["epoch"], state.meta["step"], tuple(state.meta["sums"]))

    def everything(self):
        return self.model.state_dict() | self.optimizer.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_is_not_the_one_of_another_seed():
    """What the comparison of the other tests is worth."""
    one, other = Run(DEVICES["reference"]), Run(DEVICES["reference"], seed=2)
    for run in (one, other):
        run.go(stop=2)
    assert not same(one.everything(), other.everything())


@pytest.mark.parametrize("optimizer, norm", [("sgd", False), ("adam", True), ("adamw", False)])
@pytest.mark.parametrize(
    "where", [key if key != "cuda" else pytest.param(key, marks=pytest.mark.gpu) for key in DEVICES]
)
def test_a_run_goes_on_from_a_file_to_the_same_bits(where, optimizer, norm, tmp_path):
    """Stopped in the first epoch, where a recording is just trusted, in the second, and before the smaller batch."""
    device = DEVICES[where]
    straight = Run(device, optimizer, norm)
    straight.go()
    stopped = Run(device, optimizer, norm)
    position = stopped.go(stop=3)
    for stop in (4, 2, None):
        stopped.save(tmp_path / "state", position)
        again = Run(device, optimizer, norm, seed=3)
        again.epochs = stopped.epochs
        position = again.go(again.load(tmp_path / "state"), stop)
        stopped = again
    assert same(straight.everything(), stopped.everything())
    assert straight.epochs == stopped.epochs
    assert [epoch.epoch for epoch in stopped.epochs] == [1, 2, 3]


@pytest.mark.parametrize("stop", range(1, EPOCHS * STEPS + 1))
def test_each_step_is_one_to_stop_after(stop, tmp_path):
    """The last one of an epoch, too, before its images of the test."""
    device = DEVICES["reference"]
    straight, first, second = (Run(device) for _ in range(3))
    straight.go()
    position = first.go(stop=stop)
    assert (position.epoch, position.step) == ((stop - 1) // STEPS, (stop - 1) % STEPS + 1)
    first.save(tmp_path / "state", position)
    second.epochs = first.epochs
    second.go(second.load(tmp_path / "state"))
    assert same(straight.everything(), second.everything())
    assert straight.epochs == second.epochs


def test_after_the_last_epoch_nothing_is_left_to_do():
    run = Run(DEVICES["reference"])
    run.go(Position(EPOCHS))
    assert run.epochs == []


@pytest.mark.parametrize("there", ["cpu", "sim", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("here", ["cpu", "reference"])
def test_on_another_device_the_losses_stay_near(here, there, tmp_path):
    """Sums of float32 in another order, for two epochs at the most."""
    straight, first, second = Run(DEVICES[here]), Run(DEVICES[here]), Run(DEVICES[there])
    straight.go()
    first.save(tmp_path / "state", first.go(stop=4))
    second.go(second.load(tmp_path / "state"))
    for one, other in zip(straight.epochs, second.epochs, strict=True):
        assert math.isclose(one.train_loss, other.train_loss, rel_tol=1e-3)
        assert math.isclose(one.test_loss, other.test_loss, rel_tol=1e-3)


def test_seconds_add_up():
    run = Run(DEVICES["reference"])
    assert run.go(Position(2, 3, (1.0, 2.0), seconds=100.0), stop=1).seconds > 100


def test_the_state_of_an_optimizer_is_named_as_in_pytorch():
    run = Run(DEVICES["reference"], "adam")
    run.go(stop=1)
    state = run.optimizer.state_dict()
    assert state["steps"] == 1
    assert state["exp_avg.classifier.0.weight"].shape == (16, 36)
    assert set(state) == {"steps"} | {
        f"{what}.{name}" for what in ("exp_avg", "exp_avg_sq") for name, _ in run.model.named_parameters()
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("steps"),
        lambda state: state.pop("momentum_buffer.classifier.0.bias"),
        lambda state: state.update({"exp_avg.classifier.0.bias": np.zeros(16, np.float32)}),
        lambda state: state.update({"momentum_buffer.classifier.0.bias": np.zeros(15, np.float32)}),
    ],
)
def test_a_state_of_another_optimizer(change):
    run = Run(DEVICES["reference"])
    state = run.optimizer.state_dict()
    change(state)
    with pytest.raises(ValueError, match="not one of SGD over these parameters"):
        run.optimizer.load_state_dict(state)
