"""CIFAR-10 from files written here in both official layouts, and what a bad one says."""

import gzip
import io
import os
import pickle
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from data_files import python2_batch

from gpucnn import data
from gpucnn.data import cifar10, files
from gpucnn.errors import DataError

BIN, PY = "cifar-10-batches-bin", "cifar-10-batches-py"
STEMS = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
N = 10_000


@pytest.fixture(scope="module")
def arrays():
    """(x uint8 (60000, 3072), y (60000,)): random pixels, other ones in every batch."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (N, 3072), np.uint8)
    return np.concatenate([x ^ np.uint8(i) for i in range(6)]), rng.integers(0, 10, 6 * N)


@pytest.fixture(scope="module")
def place(arrays):
    """A folder with both layouts, each of real size."""
    x, y = arrays
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / BIN).mkdir()
        (root / PY).mkdir()
        for i, stem in enumerate(STEMS):
            part = slice(i * N, (i + 1) * N)
            (root / BIN / f"{stem}.bin").write_bytes(records(x[part], y[part]))
            (root / PY / stem).write_bytes(python2_batch(x[part], y[part]))
        yield root


@pytest.fixture
def tmp_path():
    """Removed at once, unlike pytest's: the archives are large."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def small(tmp_path):
    """A folder with the right names, for faults that are noticed before the contents are."""
    (tmp_path / BIN).mkdir()
    rng = np.random.default_rng(4)
    for stem in STEMS:
        (tmp_path / BIN / f"{stem}.bin").write_bytes(rng.bytes(30_000))
    return tmp_path / BIN


@pytest.fixture
def copy(place, tmp_path):
    """The binary layout and the Python layout again: the files may be replaced, but not written to."""
    for layout in (BIN, PY):
        (tmp_path / layout).mkdir()
        for file in (place / layout).iterdir():
            (tmp_path / layout / file.name).symlink_to(file)
    return tmp_path


def records(x, y):
    return np.concatenate([y[:, None].astype(np.uint8), x], axis=1).tobytes()


def replace(file, content):
    file.unlink()
    file.write_bytes(content)


def archive(file, folder, extra=()):
    """A .tar.gz of `folder`, unpacked blocks inside so that it is written fast, with further (member, content)."""
    with tarfile.open(file, "w:gz", compresslevel=0) as tar:
        for name, content in extra:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            tar.addfile(member, None if content is None else io.BytesIO(content))
        for entry in sorted(folder.iterdir()):
            tar.add(entry.resolve(), f"{folder.name}/{entry.name}")
    return file


def check(d, arrays):
    x, y = arrays
    assert d.train_x.shape == (50_000, 3, 32, 32) and d.test_x.shape == (N, 3, 32, 32)
    np.testing.assert_array_equal(d.train_x.reshape(-1, 3072), x[:50_000])
    np.testing.assert_array_equal(d.test_x.reshape(-1, 3072), x[50_000:])
    np.testing.assert_array_equal(np.concatenate([d.train_y, d.test_y]), y)


@pytest.mark.parametrize("layout", [BIN, PY])
def test_folder(place, arrays, layout):
    d = data.load("cifar10", place / layout)
    check(d, arrays)
    assert (d.mean, d.std) == ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    assert d.augment == ("crop", "flip") and d.classes[3] == "cat" and len(d.classes) == 10


def test_renamed_folder(copy, arrays):
    check(data.load("cifar10", (copy / BIN).rename(copy / "mine")), arrays)


@pytest.mark.parametrize("layout", [BIN, PY])
def test_archive_of_any_name_with_odd_members(place, arrays, tmp_path, layout):
    odd = [("../../escaped", b"x"), ("/tmp/absolute", b"x"), (f"{layout}/readme.html", b"x"), (f"{layout}/link", None)]
    check(data.load("cifar10", archive(tmp_path / "any.tgz", place / layout, odd)), arrays)
    assert sorted(tmp_path.parent.rglob("escaped")) == [] and [f.name for f in tmp_path.iterdir()] == ["any.tgz"]


def test_pickle_of_python_3(copy, arrays):
    x, y = arrays
    batch = {"labels": y[:N].tolist(), "data": x[:N]}
    for protocol in (2, 4):
        replace(copy / PY / STEMS[0], pickle.dumps(batch, protocol))
        check(data.load("cifar10", copy / PY), arrays)


@pytest.mark.parametrize(("layout", "name"), [(BIN, "data_batch_4.bin"), (PY, "test_batch")])
def test_missing_batch(copy, layout, name):
    (copy / layout / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing in .*{layout}"):
        data.load("cifar10", copy / layout)


def test_missing_batch_in_an_archive(small, tmp_path):
    (small / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin is missing in .*a\.tar\.gz"):
        data.load("cifar10", archive(tmp_path / "a.tar.gz", small))


def test_a_link_in_an_archive_is_not_followed(small, tmp_path):
    (small / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin is missing"):
        data.load("cifar10", archive(tmp_path / "a.tar.gz", small, [(f"{BIN}/test_batch.bin", None)]))


@pytest.mark.parametrize("change", [-1, -3073, 1])
def test_binary_batch_of_the_wrong_size(copy, change):
    file = copy / BIN / "data_batch_2.bin"
    content = file.read_bytes()
    replace(file, content[:change] if change < 0 else content + b"x")
    with pytest.raises(
        DataError, match=rf"data_batch_2\.bin.* has {30_730_000 + change:,} bytes, expected.* 30,730,000"
    ) as e:
        data.load("cifar10", copy / BIN)
    assert "fetch it again" in e.value.hint


def test_archive_member_that_is_too_long_is_not_read(small, tmp_path):
    found = archive(tmp_path / "a.tar.gz", small, [(f"{BIN}/test_batch.bin", bytes(30_730_001))])
    with pytest.raises(DataError, match=r"test_batch\.bin in .* has 30,730,001 bytes, expected at most 30,730,000"):
        data.load("cifar10", found)


@pytest.mark.parametrize("layout", [BIN, PY])
def test_label_out_of_range(copy, arrays, layout):
    x, y = arrays[0][:N], arrays[1][:N].copy()
    y[17] = 10
    files = {BIN: ("data_batch_1.bin", records), PY: ("data_batch_1", python2_batch)}
    name, write = files[layout]
    replace(copy / layout / name, write(x, y))
    with pytest.raises(DataError, match=r"training set: example 17 has the label 10, and labels are 0\.\.9"):
        data.load("cifar10", copy / layout)


@pytest.fixture
def packed(small, tmp_path):
    """The bytes of a .tar.gz."""
    return archive(tmp_path / "a.tar.gz", small).read_bytes()


@pytest.mark.parametrize("where", [0, 1000, 0.5, -6])
def test_a_flipped_byte_in_an_archive_is_noticed(packed, tmp_path, where):
    place = int(where * len(packed)) if isinstance(where, float) else where % len(packed)
    found = tmp_path / "a.tar.gz"
    found.write_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])
    with pytest.raises(DataError, match=r"a\.tar\.gz is no whole \.tar\.gz archive") as caught:
        data.load("cifar10", found)
    assert "damaged" in caught.value.hint


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_bomb_is_given_up(small, tmp_path, monkeypatch, kind):
    """An archive of 300 kB that unpacks to 300 MB, in a file that nobody wants, or in the name of one."""
    monkeypatch.setattr(files, "_MOST_UNPACKED", 20 << 20)
    member = tarfile.TarInfo("bomb")
    member.size, member.type = 300 << 20, kind
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as out:
        out.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            out.write(bytes(1 << 20))
    begin = time.process_time()
    with pytest.raises(DataError, match=r"a\.tar\.gz unpacks to more than 20,971,520 bytes"):
        data.load("cifar10", tmp_path / "a.tar.gz")
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("length", [0, 7, 100_000, -4])
def test_a_truncated_archive_is_noticed(packed, tmp_path, length):
    found = tmp_path / "a.tar.gz"
    found.write_bytes(packed[:length])
    with pytest.raises(DataError, match="is no whole"):
        data.load("cifar10", found)


@pytest.mark.parametrize("content", [b"not an archive", gzip.compress(b"x" * 5000, mtime=0)])
def test_other_files_are_no_archive(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match="is no whole"):
        data.load("cifar10", tmp_path / "a")


def test_a_folder_or_archive_of_something_else(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(b"x")
    for found in (tmp_path, archive(tmp_path / "a.tar.gz", tmp_path / "other")):
        with pytest.raises(DataError, match="no CIFAR-10 in") as caught:
            data.load("cifar10", found)
        assert BIN in caught.value.hint


class Evil:
    """Unpickles as the result of a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Evil(os.system, "touch marker"), "refusing to run posix.system"),
        (Evil(eval, "open('marker', 'w')"), r"refusing to run (__builtin__|builtins)\.eval"),
        (Evil(np.load, "marker"), r"refusing to run numpy\."),
        (np.array([Evil(os.mkdir, "marker")], object), "refusing"),
        (np.zeros(3), "refusing an array of 'f8'"),
        (Evil(np.ndarray, (10**12,)), "no CIFAR-10 batch"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_an_evil_pickle_is_refused(copy, monkeypatch, value, message, protocol):
    monkeypatch.chdir(copy)
    replace(copy / PY / "data_batch_3", pickle.dumps({"labels": [1], "data": value}, protocol))
    with pytest.raises(DataError, match=f"data_batch_3.*({message})"):
        data.load("cifar10", copy / PY)
    assert not (copy / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "refusing LONG_BINPUT"),  # a memo of 32 GB
        (b"\x80\x02})" + b"\x85" * 100_000 + b"K\x00s.", "refusing TUPLE1"),  # hashing it overflows the stack
        (b"\x80\x02cposix\nsystem\nU\x02ls\x85\x81.", "refusing NEWOBJ"),
        (b"\x80\x02(U\x02lsiposix\nsystem\n.", "refusing INST"),
    ],
)
def test_a_pickle_is_refused_before_any_of_it_has_run(content, message):
    with pytest.raises(DataError, match=message):
        cifar10._parse_python(content, "a batch")


def test_labels_are_integers_before_they_become_an_array():
    """10,000 texts as long as the longest: an array of 4 TB."""
    batch = {"labels": ["a" * 100_000_000, *("b" * 9999)], "data": np.zeros((N, 3072), np.uint8)}
    with pytest.raises(DataError, match="labels a list of integers"):
        cifar10._parse_python(pickle.dumps(batch, 2), "a batch")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        pickle.dumps([1]),
        pickle.dumps({"labels": [1]}),
        pickle.dumps({"labels": list(range(N)), "data": np.zeros((N, 3071), np.uint8)}, 2),
        pickle.dumps({"labels": list(range(9)), "data": np.zeros((N, 3072), np.uint8)}, 2),
        pickle.dumps({"labels": ["a"] * N, "data": np.zeros((N, 3072), np.uint8)}, 2),
        pickle.dumps({"labels": [2**70] * N, "data": np.zeros((N, 3072), np.uint8)}, 2),
    ],
    ids=["empty", "junk", "list", "no data", "pixels", "few labels", "text labels", "huge labels"],
)
def test_a_bad_pickle_is_named(copy, content):
    replace(copy / PY / "test_batch", content)
    with pytest.raises(DataError, match="test_batch in "):
        data.load("cifar10", copy / PY)


def test_a_truncated_pickle(copy):
    file = copy / PY / "test_batch"
    replace(file, file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"test_batch .*is no CIFAR-10 batch"):
        data.load("cifar10", copy / PY)


def test_the_real_one_is_the_same_in_every_layout():
    found = Path(os.environ.get("GPUCNN_DATA_DIR") or "")
    places = [found / p for p in (BIN, PY, "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz") if (found / p).exists()]
    if not os.environ.get("GPUCNN_DATA_DIR") or not places:
        pytest.skip("no data: set GPUCNN_DATA_DIR")
    first = data.load("cifar10")
    assert np.bincount(first.train_y).tolist() == [5000] * 10 and np.bincount(first.test_y).tolist() == [1000] * 10
    np.testing.assert_allclose(first.train_x.mean((0, 2, 3)), first.mean, atol=0.5)
    for place in places:
        d = data.load("cifar10", place)
        for a, b in (
            (d.train_x, first.train_x),
            (d.train_y, first.train_y),
            (d.test_x, first.test_x),
            (d.test_y, first.test_y),
        ):
            np.testing.assert_array_equal(a, b)
