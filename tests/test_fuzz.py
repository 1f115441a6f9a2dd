"""No file, however broken, costs more than one line and a hint; `make test-fuzz` tries forty times as many."""

import time

import pytest

fuzz_readers = pytest.importorskip("fuzz_readers", reason="no hypothesis or no Pillow: make setup")
from fuzz_readers import READERS, Reader, at_most, fuzz, judge  # noqa: E402

from gpucnn.errors import DataError  # noqa: E402


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_damaged_part_by_part(name, tmp_path):
    outcomes = fuzz(READERS[name], tmp_path, seed=0, count=500)
    assert outcomes.total() >= 500
    assert outcomes["read"] >= 25, outcomes  # else the changes are so coarse that little of a reader is seen
    assert outcomes.total() - outcomes["read"] >= 25, outcomes


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, reader in READERS.items() for what in reader.found])
def test_what_was_found(name, what, tmp_path):
    with at_most(1 << 30):
        assert judge(READERS[name], READERS[name].found[what], tmp_path) != "read"


def raising(error):
    def read(given, place):
        raise error

    return Reader(read, None, {})


def test_what_a_reader_may_not_do(tmp_path):
    assert judge(raising(DataError("bad", "mend it")), None, tmp_path) == "DataError"
    with pytest.raises(KeyError):
        judge(raising(KeyError("x")), None, tmp_path)
    with pytest.raises(AssertionError, match="a hint"):
        judge(raising(DataError("bad")), None, tmp_path)

    def slow(given, place):
        while time.thread_time() < begin + 1.1:
            pass

    begin = time.thread_time()

    with pytest.raises(AssertionError, match="it took"):
        judge(Reader(slow, None, {}), None, tmp_path)

    def large(given, place):
        try:
            bytearray(1 << 31)
        except MemoryError as error:
            raise DataError("bad", "mend it") from error

    with at_most(1 << 30), pytest.raises(AssertionError, match="out of memory"):
        judge(Reader(large, None, {}), None, tmp_path)
