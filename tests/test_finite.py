"""The first op whose result is not finite is named, and looking at the numbers changes none of them."""

import numpy as np
import pytest
from test_resume import DEVICES, EPOCHS, STEPS, Run, same

import gpucnn as g
import gpucnn.functional as F
from gpucnn.data import Batches, load
from gpucnn.optim import constant, one_cycle
from gpucnn.training import fit

DATA = load("tinydigits")


@pytest.mark.parametrize("where", ["reference", "cpu", "sim", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_steps_that_are_looked_at_give_the_same_bits(where):
    looked_at, plain = Run(DEVICES[where]), Run(DEVICES[where])
    plain.go()
    how = {"epochs": EPOCHS, "schedule": one_cycle(EPOCHS * STEPS), "seed": 7, "label_smoothing": 0.1}
    list(fit(looked_at.model, looked_at.optimizer, looked_at.train, looked_at.test, checked=True, **how))
    assert same(looked_at.everything(), plain.everything())


class Breaks(g.Function):
    """x itself, until a number is made to overflow in one of its passes."""

    calls = 0

    def __init__(self, forward_at, backward_at):
        self.at = forward_at, backward_at

    def forward(self, x):
        type(self).calls += 1
        return x * np.float32(np.inf if type(self).calls == self.at[0] else 1)

    def backward(self, gy):
        return gy * np.float32(np.nan if type(self).calls == self.at[1] else 1)


class Network(g.Module):
    def __init__(self, forward_at=None, backward_at=None):
        self.first, self.second = g.Linear(64, 12), g.Linear(12, 10)
        self.at = {"forward_at": forward_at, "backward_at": backward_at}

    def forward(self, x):
        return self.second(Breaks.apply(self.first(F.flatten(x, 1)), **self.at))


def found(model, lr=0.01, schedule=None):
    """The first error of steps that are looked at, four in an epoch."""
    Breaks.calls = 0
    model.initialize(0)
    train = Batches(DATA.train_x[:256], DATA.train_y[:256], 64, device=g.CPU, mean=DATA.mean, std=DATA.std)
    optimizer = g.optim.SGD(model.named_parameters(), lr)
    with pytest.raises(g.DivergedError) as error, np.errstate(all="ignore"):
        list(fit(model, optimizer, train, train, epochs=3, schedule=schedule or constant(), checked=True))
    return str(error.value)


def test_in_a_forward_pass():
    expected = "in step 3 of epoch 1, in the forward pass of Breaks, 768 of 768 numbers are not finite"
    assert found(Network(forward_at=3)) == expected


def test_in_a_backward_pass():
    assert found(Network(backward_at=2)).startswith("in step 2 of epoch 1, in the backward pass of Breaks, 768 of 768")


def test_in_a_layer_which_is_named_by_its_parameters():
    """Weights of 1e30 in both layers: the product of the second overflows."""
    said = found(Network(), schedule=lambda step: 1e32 if step == 1 else 1)
    assert said.startswith("in step 3 of epoch 1, in the forward pass of Linear (second.weight, second.bias)"), said


def test_in_a_step_of_the_optimizer():
    said = found(Network(), lr=1.0, schedule=lambda step: 1e300 if step == 5 else 1e-3)
    assert said.startswith("in step 2 of epoch 2, in first.weight after the step of SGD"), said
