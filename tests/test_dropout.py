"""Dropout: how often, how much, and that a mask is a function of its place alone."""

import math

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Tensor


def place(samples, seed=3, use=16, epoch=0):
    return F.Place(seed, use, epoch, np.array(samples))


def test_dropout_rate_and_scale():
    x, p = Tensor(np.full((100, 1000), 2.0, np.float32)), 0.3
    y = F.dropout(x, p, place=place(range(100))).data
    kept = y != 0
    assert set(np.unique(y)) == {0, np.float32(2) * np.float32(1 / 0.7)}
    deviation = math.sqrt(p * (1 - p))
    assert abs(kept.mean() - 0.7) < 5 * deviation / math.sqrt(kept.size)
    assert abs(kept.mean(0) - 0.7).max() < 6 * deviation / math.sqrt(100)  # of 1,000 columns
    assert abs(kept.mean(1) - 0.7).max() < 5 * deviation / math.sqrt(1000)  # of 100 rows
    neighbours = np.corrcoef(kept[:, :-1].ravel(), kept[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(kept.size)


@pytest.mark.parametrize("dropout, shape", [(F.dropout, (4, 50)), (F.dropout2d, (4, 50, 2, 3))])
def test_a_mask_depends_on_its_place_alone(dropout, shape):
    def mask(samples, **where):
        x = Tensor(np.ones((len(samples), *shape[1:]), np.float32))
        return dropout(x, 0.5, place=place(samples, **where)).data

    base = mask([5, 9, 2, 7])
    assert np.array_equal(base, mask([5, 9, 2, 7]))
    assert np.array_equal(base[[2, 0]], mask([2, 5])), "the mask of a sample changed with its batch"
    assert not any(np.array_equal(base[0], row) for row in base[1:])
    for change in ({"seed": 4}, {"seed": 3 + 2**32}, {"use": 17}, {"epoch": 1}):
        other = mask([5, 9, 2, 7], **change)
        assert not any(np.array_equal(a, b) for a, b in zip(base, other, strict=True)), change


def test_dropout2d_drops_whole_channels():
    y = F.dropout2d(Tensor(np.ones((50, 40, 3, 2), np.float32)), 0.4, place=place(range(50))).data.reshape(50, 40, 6)
    assert (y == y[:, :, :1]).all()
    assert abs((y[:, :, 0] != 0).mean() - 0.6) < 5 * math.sqrt(0.24 / 2000)


@pytest.mark.parametrize("kind", [g.Dropout, g.Dropout2d])
def test_dropout_layers(kind):
    x = Tensor(np.ones((3, 20, 2, 2), np.float32), requires_grad=True)
    layer = kind(0.5)
    assert not np.array_equal(layer(x).data, layer(x).data), "without a place, each call draws anew"
    layer.place = place([1, 2, 3])
    y = layer(x)
    layer.place = place([1, 2, 3])
    assert np.array_equal(y.data, layer(x).data)
    y.sum().backward()
    assert np.array_equal(x.grad, y.data), "the gradient takes the same mask and scale"
    assert layer.eval()(x) is x
    assert kind(0)(x) is x
    assert not kind(1)(x).data.any()
