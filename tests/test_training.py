"""fit and evaluate, against the loop that they stand for."""

import math

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn.data import Batches, load
from gpucnn.models import MODELS
from gpucnn.optim import constant, cosine
from gpucnn.training import evaluate, fit


@pytest.fixture
def digits():
    return load("tinydigits")


def batches(data, batch_size, **options):
    return Batches(data.train_x, data.train_y, batch_size, device=g.CPU, mean=data.mean, std=data.std, **options)


def test_fit_is_the_plain_loop(digits):
    """Two epochs, written out by hand, give the same bits, losses and learning rates."""
    options = {"seed": 5, "shuffle": True, "drop_last": True}
    schedule = cosine(20)
    fitted, plain = (MODELS["tinydigits-cnn"]((1, 8, 8), 10).initialize(2) for _ in range(2))
    records = list(
        fit(
            fitted,
            g.optim.SGD(fitted.named_parameters(), 0.1, 0.9),
            batches(digits, 96, **options),
            batches(digits, 300),
            epochs=2,
            schedule=schedule,
            label_smoothing=0.1,
        )
    )
    optimizer = g.optim.SGD(plain.named_parameters(), 0.1, 0.9)
    feed = batches(digits, 96, **options)
    step = 0
    for epoch in range(2):
        total = correct = 0
        for batch in feed.epoch(epoch):
            optimizer.lr = 0.1 * schedule(step)
            logits = plain(g.Tensor(batch.x))
            loss = F.cross_entropy(logits, batch.y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * 96
            correct += (logits.numpy().argmax(1) == batch.y).sum()
            step += 1
        assert records[epoch].train_loss == pytest.approx(total / 960, rel=1e-6)
        assert records[epoch].train_accuracy == correct / 960
        assert records[epoch].lr == optimizer.lr
    for key, value in plain.state_dict().items():
        np.testing.assert_array_equal(fitted.state_dict()[key], value)
    assert [record.epoch for record in records] == [1, 2]


def test_evaluate_counts_every_image_once_in_evaluation_mode(digits):
    model = g.Sequential(g.Flatten(), g.Dropout(0.9), g.Linear(64, 10)).initialize(0)
    loss, accuracy = evaluate(model, batches(digits, 300))  # 1,000 images: a last batch of 100
    x = (digits.train_x.reshape(-1, 64) / 16).astype(np.float64)
    layer = getattr(model, "2")
    logits = x @ layer.weight.numpy().T.astype(np.float64) + layer.bias.numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert loss == pytest.approx(-log_p[np.arange(1000), digits.train_y].mean(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == digits.train_y).mean()


def test_a_step_that_diverges_stops_the_run(digits):
    model = MODELS["tinydigits-mlp"]((1, 8, 8), 10).initialize(0)
    optimizer = g.optim.SGD(model.named_parameters(), 1e30)
    feed = batches(digits, 100)
    with np.errstate(all="ignore"), pytest.raises(g.DivergedError, match=r"the loss is (nan|inf) in epoch 1") as error:
        list(fit(model, optimizer, feed, feed, epochs=3, schedule=constant()))
    assert error.value.exit_code == 5
    assert "--lr 1e+29" in error.value.hint


def test_dropout_draws_depend_on_the_place_in_the_run_only(digits):
    """The same run twice gives the same bits; another seed gives others."""

    def weights(seed):
        model = g.Sequential(g.Flatten(), g.Dropout(0.5), g.Linear(64, 32), g.Dropout(0.5), g.Linear(32, 10))
        model.initialize(0)
        optimizer = g.optim.SGD(model.named_parameters(), 0.1)
        feed = batches(digits, 100)
        list(fit(model, optimizer, feed, feed, epochs=1, schedule=constant(), seed=seed))
        return model.state_dict()["2.weight"]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.abs(weights(1) - weights(2)).max() > 1e-4


def test_limit_batches_and_after_step(digits):
    model = MODELS["linear"]((1, 8, 8), 10).initialize(0)
    optimizer = g.optim.SGD(model.named_parameters(), 0.1)
    feed, seen = batches(digits, 100), []
    (record,) = fit(
        model, optimizer, feed, feed, epochs=1, schedule=constant(), limit_batches=3, after_step=seen.append
    )
    assert [(step.epoch, step.step, step.steps) for step in seen] == [(1, 1, 3), (1, 2, 3), (1, 3, 3)]
    assert math.isfinite(record.train_loss)
    assert record.images_per_second > 0


def test_a_parameter_that_the_loss_does_not_see_is_named(digits):
    class Forgetful(g.Module):
        def __init__(self):
            self.used, self.forgotten = g.Linear(64, 10), g.Linear(64, 10)

        def forward(self, x):
            return self.used(F.flatten(x, 1))

    model = Forgetful()
    feed = batches(digits, 100)
    optimizer = g.optim.SGD(model.named_parameters(), 0.1)
    with pytest.raises(g.GpucnnError, match=r"no gradient reached forgotten\.weight, forgotten\.bias"):
        list(fit(model, optimizer, feed, feed, epochs=1, schedule=constant()))
