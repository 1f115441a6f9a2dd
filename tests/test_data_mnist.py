"""MNIST and Fashion-MNIST from IDX files written here, and what a bad file says."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from data_files import write_idx, write_mnist

from gpucnn import data
from gpucnn.data.mnist import read_idx
from gpucnn.errors import DataError


@pytest.fixture
def folder(tmp_path):
    write_mnist(tmp_path / "mnist")
    return tmp_path / "mnist"


@pytest.mark.parametrize("end", [".gz", ""])
def test_reads_what_was_written(tmp_path, end):
    train_x, train_y, test_x, test_y = write_mnist(tmp_path, end=end)
    d = data.load("mnist", tmp_path)
    np.testing.assert_array_equal(d.train_x, train_x[:, None])
    np.testing.assert_array_equal(d.test_x, test_x[:, None])
    assert d.train_y.tolist() == train_y.tolist() and d.test_y.tolist() == test_y.tolist()
    assert (d.name, d.image_shape, d.augment) == ("mnist", (1, 28, 28), ())
    assert (d.mean, d.std) == ((33.3184,), (78.5675,))


def test_in_a_shared_folder_each_is_in_its_own(tmp_path):
    digits = write_mnist(tmp_path / "mnist", seed=1)[0]
    garments = write_mnist(tmp_path / "fashion-mnist", seed=2)[0]
    assert data.load("mnist", tmp_path).train_x.tobytes() == digits.tobytes()
    fashion = data.load("fashion-mnist", tmp_path)
    assert fashion.train_x.tobytes() == garments.tobytes()
    assert "sneaker" in fashion.classes and (fashion.mean, fashion.std) == ((72.9404,), (90.0212,))
    with pytest.raises(DataError, match="not a folder of mnist"):
        data.load("mnist", tmp_path / "fashion-mnist")


def test_torchvision_folders(tmp_path):
    digits = write_mnist(tmp_path / "MNIST" / "raw", end="")[0]
    assert data.load("mnist", tmp_path).train_x.tobytes() == digits.tobytes()


@pytest.mark.parametrize("missing", ["train-images-idx3", "t10k-labels-idx1"])
def test_missing_file(folder, missing):
    (folder / f"{missing}-ubyte.gz").unlink()
    with pytest.raises(DataError, match=f"{missing}-ubyte.gz is missing in"):
        data.load("mnist", folder.parent)


def test_images_and_labels_of_different_number(folder):
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(29, np.uint8))
    with pytest.raises(DataError, match="training set: 30 images, but 29 labels"):
        data.load("mnist", folder)


def test_label_out_of_range(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([0, 1, 2, 10, 4, 5, 6, 7, 8, 99], np.uint8))
    with pytest.raises(DataError, match=r"mnist, test set: example 3 has the label 10, and labels are 0\.\.9"):
        data.load("mnist", folder)


def test_an_archive_is_no_folder(folder):
    with pytest.raises(DataError, match="not a folder of mnist"):
        data.load("mnist", folder / "train-images-idx3-ubyte.gz")


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.parametrize("place", [1, 200, -6])  # the header, the packed data, the checksum
def test_a_flipped_byte_in_a_gz_is_noticed(folder, place):
    file = folder / "train-images-idx3-ubyte.gz"
    content = file.read_bytes()
    file.write_bytes(flip(content, place % len(content)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz") as caught:
        data.load("mnist", folder)
    assert "damaged" in caught.value.hint


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_noticed(folder, length):
    for file in (folder / "train-images-idx3-ubyte.gz", write_idx(folder / "x", np.ones((9, 28, 28), np.uint8))):
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(DataError, match=str(file)):
            read_idx(file, (28, 28))


@pytest.mark.parametrize("name", ["x", "x.gz"])
@pytest.mark.parametrize(
    ("header", "extra", "message"),
    [
        ((0x801, 2, 28, 28), 0, "magic 0x801"),
        ((0x803, 2, 28, 27), 0, r"items of \(28, 27\)"),
        ((0x803, 2, 28, 28), 1, "has more bytes after its header, expected 1,568"),
        ((0x803, 2**32 - 1, 28, 28), 0, "more than it can hold"),
        ((0x803, 3, 28, 28), 0, "more than it can hold|1,568 bytes after its header, expected 2,352"),
    ],
)
def test_headers_that_lie(tmp_path, name, header, extra, message):
    content = struct.pack(">4I", *header) + bytes(2 * 784 + extra)
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match=message):
        read_idx(file, (28, 28))


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "x.gz", "wb", 1) as file:
        file.write(struct.pack(">4I", 0x803, 400_000, 28, 28))
        for _ in range(400):
            file.write(bytes(784_000))
    monkeypatch.setattr(np, "frombuffer", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(DataError, match="promises 313,600,000 bytes, more than it can hold"):
        read_idx(tmp_path / "x.gz", (28, 28))


def test_an_unreadable_file(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gzip, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*train-images.*Permission denied"):
        data.load("mnist", folder)


def test_the_real_one():
    place = os.environ.get("GPUCNN_DATA_DIR")
    if not place or not (Path(place) / "mnist").is_dir():
        pytest.skip("no data: set GPUCNN_DATA_DIR")
    d = data.load("mnist", place)

    def idx(array):
        return hashlib.md5(
            struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
        ).hexdigest()

    assert [
        idx(a) for a in (d.train_x[:, 0], d.train_y.astype(np.uint8), d.test_x[:, 0], d.test_y.astype(np.uint8))
    ] == [
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ]
    assert abs(d.train_x.mean() - d.mean[0]) < 1e-3 and abs(d.train_x.std() - d.std[0]) < 1e-3
