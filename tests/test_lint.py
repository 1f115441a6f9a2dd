"""Mistakes that compute without complaint: said in words, once, and only where they are made."""

import logging
import math

import numpy as np
import pytest
from click.testing import CliRunner

import gpucnn as g
import gpucnn.functional as F
from gpucnn.cli import main
from gpucnn.data import Batches
from gpucnn.lint import at_chance
from gpucnn.optim import constant
from gpucnn.training import fit


class Ending(g.Module):
    """A linear model, and what comes behind it."""

    def __init__(self, end):
        self.linear, self.end = g.Linear(4, 3), end

    def forward(self, x):
        return self.end(self.linear(F.flatten(x, 1)))


def train(end, epochs=2):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 1, 2, 2)).astype(np.uint8), rng.integers(0, 3, 40)
    feed = Batches(x, y, 10, device=g.CPU, mean=(127.0,), std=(70.0,))
    model = Ending(end).initialize(0)
    return list(fit(model, g.optim.SGD(model.named_parameters(), 0.1), feed, feed, epochs=epochs, schedule=constant()))


@pytest.mark.parametrize(
    "end, warned",
    [
        (F.softmax, True),
        (lambda x: F.softmax(x.reshape(-1, 3, 1), 1).reshape(-1, 3), True),
        (lambda x: x, False),
        (lambda x: F.softmax(x) * 5, False),
        (F.log_softmax, False),  # the same loss
    ],
    ids=["softmax", "reshaped", "logits", "scaled", "log_softmax"],
)
def test_a_softmax_in_front_of_the_loss_is_warned_of_once(end, warned, caplog):
    with caplog.at_level(logging.WARNING, "gpucnn"):
        assert len(train(end)) == 2
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the model ends in a softmax, and cross_entropy has one inside: let it give logits"] * warned


@pytest.mark.parametrize("end", [lambda x: x.detach(), lambda x: g.Tensor(x.numpy())], ids=["detach", "numpy"])
def test_logits_that_left_the_tape_are_an_error(end):
    with pytest.raises(g.GpucnnError, match="the loss does not depend on any parameter") as error:
        train(end)
    assert "detach()" in error.value.hint


def test_chance():
    guessing = math.log(10)
    assert at_chance(0.98 * guessing, 0.1, 10, 1000) == []
    assert at_chance(guessing, 0.3, 10, 1000) == []
    assert at_chance(guessing, 0.1, 10, 20) == []  # too early to say
    ((what, mend),) = at_chance(guessing, 0.1, 10, 1000)
    assert what == "after an epoch the loss is 2.303, and guessing among 10 classes gives 2.303"
    assert "--lr" in mend


@pytest.mark.parametrize("data, at_chance", [("synthetic:1700x1x8x8", True), ("tinydigits", False)])
def test_a_loss_at_chance_is_noted_after_the_first_epoch(data, at_chance, tmp_path):
    line = f"train --dataset {data} --model tinydigits-cnn --device cpu --epochs 2 -b 8 --output-dir {tmp_path / 'run'}"
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 0, result.output
    assert result.stderr.count("guessing among 10 classes") == at_chance


def test_a_warning_reaches_the_user_as_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gpucnn.models.tinydigits.TinyDigitsMLP.forward", lambda self, x: F.softmax(self.classifier(F.flatten(x, 1)))
    )
    line = f"train --model tinydigits-mlp --device cpu --epochs 1 --output-dir {tmp_path / 'run'}"
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 0, result.output
    assert result.stderr.count("note: the model ends in a softmax") == 1
