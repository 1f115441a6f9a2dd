"""No file, however broken, costs more than one line and a hint; `make test-fuzz` tries forty times as many."""

import ast
import time
from pathlib import Path

import pytest

fuzz_readers = pytest.importorskip("fuzz_readers", reason="no hypothesis or no Pillow: make setup")
from fuzz_readers import READERS, TRUSTED, Reader, at_most, fuzz, judge  # noqa: E402

from gpucnn.errors import DataError  # noqa: E402

ROOT = Path(__file__).parents[1]


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


def functions(tree, names=()):
    """(dotted name, code) of each function in a file, without those inside of it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, (*names, node.name))
        elif isinstance(node, ast.FunctionDef):
            yield ".".join((*names, node.name)), node


READS = {"json.loads", "tomllib.loads", "csv.reader", "ast.parse", "pickle.Unpickler", "safe_open", "np.load"}
READS |= {"Image.open", "gzip.open", "tarfile.open"}


def reads(function):
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(
        ast.unparse(call).endswith((".read_text", ".read_bytes")) or ast.unparse(call) in READS for call in calls
    )


def test_whoever_reads_a_file_is_tried_or_trusted():
    known = {(file, name) for reader in READERS.values() for file, names in reader.functions.items() for name in names}
    trusted = {(file, name) for file, names in TRUSTED.items() for name in names}
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for folder in ("gpucnn", "kernels")
        for file in (ROOT / folder).rglob("*.py")
        for name, function in functions(ast.parse(file.read_text()))
        if reads(function)
    }
    assert found - known == trusted


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
        begin = time.thread_time()
        while time.thread_time() < begin + 1.1:
            pass

    with pytest.raises(AssertionError, match="it took"):
        judge(Reader(slow, None, {}), None, tmp_path)

    def large(given, place):
        try:
            bytearray(1 << 31)
        except MemoryError as error:
            raise DataError("bad", "mend it") from error

    with at_most(1 << 30), pytest.raises(AssertionError, match="out of memory"):
        judge(Reader(large, None, {}), None, tmp_path)
