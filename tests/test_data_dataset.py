"""The common shape of data sets: what is checked, how pictures are fitted, and names that do not exist."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from data_files import philox_words

from gpucnn import data
from gpucnn.data import Dataset, fit_images
from gpucnn.errors import DataError, UsageError


def make(n=4, shape=(1, 8, 8), **changes):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (n, *shape), np.uint8)
    y = np.arange(n) % 3
    c = shape[0]
    fields = {"train_x": x, "train_y": y, "test_x": x[:2], "test_y": y[:2], "mean": (0.0,) * c, "std": (1.0,) * c}
    return Dataset("toy", classes=("a", "b", "c"), **(fields | changes))


def test_is_frozen_and_knows_its_shape():
    toy = make(shape=(3, 5, 7))
    assert toy.image_shape == (3, 5, 7) and toy.augment == () and toy.notes == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy.name = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_y": np.array([0, 1, 3, -1])}, r"toy, training set: example 2 has the label 3, and labels are 0\.\.2"),
        ({"test_y": np.array([0, -1])}, r"toy, test set: example 1 has the label -1"),
        ({"train_y": np.array([0, 1])}, "4 images, but 2 labels"),
        ({"train_y": np.array([0, 1, 2, 0], np.int32)}, "labels int32"),
        ({"train_x": np.zeros((4, 1, 8, 8), np.float32)}, "images are float32"),
        ({"train_x": np.zeros((4, 8, 8, 1), np.uint8).transpose(0, 3, 1, 2)[:, :, ::-1]}, "images are uint8"),
        ({"train_x": np.zeros((4, 8, 8), np.uint8)}, r"\(4, 8, 8\)"),
        ({"test_x": np.zeros((0, 1, 8, 8), np.uint8), "test_y": np.zeros(0, np.int64)}, "test set is empty"),
        ({"test_x": np.zeros((2, 1, 9, 8), np.uint8)}, r"test images \(1, 9, 8\)"),
        ({"std": (1.0, 2.0)}, "do not fit 1 channels"),
        ({"std": (0.0,)}, "do not fit 1 channels"),
    ],
)
def test_what_does_not_fit_together_is_an_error(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        make(**changes)
    assert caught.value.hint and caught.value.exit_code == 4


def test_first_takes_pictures_with_their_labels():
    toy = make(n=6)
    few = toy.first(4, 1)
    assert np.array_equal(few.train_x, toy.train_x[:4]) and few.train_y.tolist() == [0, 1, 2, 0]
    assert np.array_equal(few.test_x, toy.test_x[:1]) and few.test_y.tolist() == [0]
    assert (few.mean, few.std, few.classes) == (toy.mean, toy.std, toy.classes)
    assert len(toy.first(100, 100).train_x) == 6


def test_fit_returns_itself_where_the_size_is_right():
    toy = make()
    assert toy.fit((8, 8)) is toy


def test_fit_pads_with_zeros_all_around():
    toy = make(shape=(1, 28, 28))
    fitted = toy.fit((32, 32))
    assert fitted.train_x.shape == (4, 1, 32, 32) and fitted.train_x.flags.c_contiguous
    np.testing.assert_array_equal(fitted.train_x[:, :, 2:30, 2:30], toy.train_x)
    assert fitted.train_x.sum(dtype=int) == toy.train_x.sum(dtype=int)
    assert fitted.notes == ("toy: 28x28 images zero-padded to 32x32",)
    assert fitted.mean == toy.mean and fitted.test_x.shape == (2, 1, 32, 32)


def test_fit_enlarges_pixels_to_squares():
    digits = data.load("digits").fit((32, 32))
    small = data.load("digits").train_x
    for y in range(32):
        for x in range(32):
            assert (digits.train_x[:, 0, y, x] == small[:, 0, y // 4, x // 4]).all()
    assert digits.notes == ("digits: 8x8 images enlarged 4x to 32x32",)


@pytest.mark.parametrize(
    ("have", "want", "how"),
    [
        ((8, 8), (8, 8), "unchanged"),
        ((8, 8), (16, 16), "enlarged 2x"),
        ((4, 6), (12, 18), "enlarged 3x"),
        ((27, 30), (32, 32), "zero-padded"),
        ((24, 32), (32, 32), "zero-padded"),
        ((5, 5), (6, 13), "zero-padded"),
    ],
)
def test_ways_to_fit(have, want, how):
    x = np.ones((1, 2, *have), np.uint8)
    fitted, said = fit_images(x, want, "toy")
    assert (fitted.shape, said) == ((1, 2, *want), how)


@pytest.mark.parametrize(
    ("have", "want"), [((32, 32), (28, 28)), ((23, 32), (32, 32)), ((8, 8), (28, 28)), ((8, 16), (32, 32))]
)
def test_sizes_that_cannot_be_fitted(have, want):
    with pytest.raises(UsageError, match=f"toy has {have[0]}x{have[1]} images, and {want[0]}x{want[1]} are wanted"):
        fit_images(np.ones((1, 1, *have), np.uint8), want, "toy")


@pytest.mark.parametrize(
    ("name", "guess"), [("cifar-10", "cifar10"), ("mnits", "mnist"), ("fashionmnist", "fashion-mnist")]
)
def test_unknown_name_gives_the_nearest(name, guess):
    with pytest.raises(UsageError, match=f"unknown data set '{name}'") as caught:
        data.load(name)
    assert f"did you mean {guess}?" in caught.value.hint and caught.value.exit_code == 2


def test_a_name_like_nothing_lists_them_all():
    with pytest.raises(UsageError) as caught:
        data.load("qqqq")
    assert all(name in caught.value.hint for name in data.DATASETS)


@pytest.mark.parametrize("name", ["digits:3", "cifar10:", "folder", "folder:"])
def test_arguments_where_none_belong_or_one_is_missing(name):
    with pytest.raises(UsageError):
        data.load(name)


def test_synthetic_is_the_philox_stream():
    made = data.load("synthetic:9x2x3x5")
    assert made.train_x.shape == (9, 2, 3, 5) and made.test_x.shape == (2, 2, 3, 5)
    labels = [*made.train_y, *made.test_y]
    for i, (x, y) in enumerate(zip([*made.train_x, *made.test_x], labels, strict=True)):
        words = [word for block in range(3) for word in philox_words(0, 2, 0, i, block)]
        assert y == words[0] * 10 >> 32
        assert x.tobytes() == b"".join(word.to_bytes(4, "little") for word in words[1:9])[:30]


def test_synthetic_default_and_its_start_do_not_depend_on_the_number():
    made = data.load("synthetic")
    assert made.train_x.shape == (2048, 3, 32, 32) and len(made.classes) == 10
    np.testing.assert_array_equal(data.load("synthetic:700x3x32x32").train_x, made.train_x[:700])
    assert set(made.train_y.tolist()) == set(range(10))


@pytest.mark.parametrize("shape", ["3", "8x3x32", "0x3x32x32", "8x3x32x32x1", "8x3x-2x32", "axbxcxd", "8x3xx32"])
def test_synthetic_sizes_that_are_none(shape):
    with pytest.raises(UsageError, match="is not a size"):
        data.load(f"synthetic:{shape}")


def test_importing_the_package_imports_neither_cupy_nor_numba():
    code = "import sys, gpucnn.data; print([m for m in ('cupy', 'numba', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
