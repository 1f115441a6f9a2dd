"""The embedded digits against scikit-learn's, and the rule of their splits against a plain reading of it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from data_files import shuffled

from gpucnn import data
from gpucnn.data import digits

# of sklearn.datasets.load_digits(): images and target as uint8, one after the other
SCIKIT_LEARN = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
FILE = Path(digits.__file__).with_name("digits.npz")


@pytest.fixture(scope="module")
def original():
    """(images (1797, 8, 8), labels) as scikit-learn has them."""
    file = np.load(FILE)
    images, labels = file["images"], file["labels"]
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == SCIKIT_LEARN
    return images, labels


def rule(labels, first, last):
    """The places first .. last-1 of each class in the shuffled order, in the order of the file."""
    order = shuffled(len(labels), 5)
    return sorted(i for c in range(10) for i in [i for i in order if labels[i] == c][first:last])


def test_file_is_small_and_attributed():
    assert FILE.stat().st_size <= 60_000
    text = FILE.with_suffix(".txt").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "Kaynak" in text


def test_digits_split(original):
    images, labels = original
    d = data.load("digits")
    assert (len(d.train_x), len(d.test_x)) == (1437, 360)
    assert np.bincount(d.test_y).tolist() == [36] * 10
    test, train = rule(labels, 0, 36), rule(labels, 36, None)
    np.testing.assert_array_equal(d.test_x[:, 0], images[test])
    np.testing.assert_array_equal(d.train_x[:, 0], images[train])
    np.testing.assert_array_equal(d.train_y, labels[train])
    np.testing.assert_array_equal(d.test_y, labels[test])
    assert sorted(test + train) == list(range(1797))
    assert d.mean[0] == pytest.approx(images[train].mean()) and d.std[0] == pytest.approx(images[train].std())


def test_tinydigits_split(original):
    images, labels = original
    d = data.load("tinydigits")
    assert np.bincount(d.train_y).tolist() == [100] * 10 and np.bincount(d.test_y).tolist() == [20] * 10
    np.testing.assert_array_equal(d.train_x[:, 0], images[rule(labels, 36, 136)])
    np.testing.assert_array_equal(d.test_x[:, 0], images[rule(labels, 0, 20)])
    assert (d.mean, d.std, d.augment) == ((0.0,), (16.0,), ())


def test_no_digit_of_tinydigits_is_on_the_other_side_of_digits():
    large, small = data.load("digits"), data.load("tinydigits")

    def pictures(x):
        return {picture.tobytes() for picture in x}

    assert pictures(small.train_x) <= pictures(large.train_x) and pictures(small.test_x) <= pictures(large.test_x)
    assert not pictures(large.train_x) & pictures(large.test_x)
    assert large.image_shape == (1, 8, 8) and large.white == 16 and large.train_x.max() == 16
