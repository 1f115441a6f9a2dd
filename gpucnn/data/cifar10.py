"""CIFAR-10: 60,000 photographs of 32x32 pixels in ten classes (https://www.cs.toronto.edu/~kriz/cifar.html).

Read from either official layout, as a folder or as its .tar.gz: five training batches and one test batch of
10,000 examples. In the binary layout an example is its label (1 byte) and its red, green and blue plane (3 x 1024
bytes); in the Python layout a batch is a pickled dict with `labels` and `data`. A pickle is a program: of its
instructions only those run that a batch needs, and they build nothing but strings, numbers, lists and arrays of bytes.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .dataset import Array, Dataset
from .files import DAMAGED, Download, Origin, locate, read_members

ORIGIN = Origin(
    "cifar10",
    ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    (
        Download(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ("https://www.cs.toronto.edu/~kriz/",),
        ),
    ),
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_EXAMPLES, _PIXELS = 10_000, 3 * 32 * 32  # of a batch, of an example
_BATCH_BYTES = _EXAMPLES * (1 + _PIXELS)
_STEMS = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_BINARY = [f"cifar-10-batches-bin/{stem}.bin" for stem in _STEMS]
_PYTHON = [f"cifar-10-batches-py/{stem}" for stem in _STEMS]


def load(path: str | Path | None = None, download: bool = True) -> Dataset:
    """50,000 training and 10,000 test images, 3x32x32. DataError for a missing or damaged file."""
    place = locate(ORIGIN, path, download)
    *train, test = _batches(place)
    train_x, train_y = (np.concatenate(parts) for parts in zip(*train, strict=True))
    mean, std = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    return Dataset("cifar10", train_x, train_y, *test, CLASSES, mean, std, augment=("crop", "flip"))


def _batches(place: Path) -> list[tuple[Array, Array]]:
    """(x uint8 (10000, 3, 32, 32), y int64 (10000,)) of the five training batches and of the test batch."""
    # An official pickle has 31.0 MB: pixels, labels and file names. Python 3 writes pixels as text, of 46 MB.
    limits = dict.fromkeys(_BINARY, _BATCH_BYTES) | dict.fromkeys(_PYTHON, 2 * _BATCH_BYTES)
    contents = read_members(place, limits)
    for names, parse in ((_BINARY, _parse_binary), (_PYTHON, _parse_python)):
        missing = [name for name in names if name not in contents]
        if not missing:
            return [parse(contents.pop(name), f"{Path(name).name} in {place}") for name in names]
        if len(missing) < len(names):
            raise DataError(f"{Path(missing[0]).name} is missing in {place}", "fetch the data set again")
    raise DataError(f"no CIFAR-10 in {place}", f"expected {', '.join(ORIGIN.wanted)} there, or the path of one of them")


def _parse_binary(content: bytes, what: str) -> tuple[Array, Array]:
    if len(content) != _BATCH_BYTES:
        raise DataError(f"{what} has {len(content):,} bytes, expected {_BATCH_BYTES:,}", DAMAGED)
    records = np.frombuffer(content, np.uint8).reshape(_EXAMPLES, 1 + _PIXELS)
    return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _parse_python(content: bytes, what: str) -> tuple[Array, Array]:
    try:
        _check_instructions(content)
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()  # Python 2 wrote bytes as str
        x, labels = batch["data"], batch["labels"]
        if not isinstance(x, np.ndarray) or type(labels) is not list or {*map(type, labels)} != {int}:
            raise TypeError("data are to be an array, labels a list of integers")
        y = np.array(labels, np.int64)
    except DataError as error:
        raise DataError(f"{what}: {error}", error.hint) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{what} is no CIFAR-10 batch: {type(error).__name__}: {error}", DAMAGED) from error
    for part, array, shape in (("data", x, (_EXAMPLES, _PIXELS)), ("labels", y, (_EXAMPLES,))):
        if array.shape != shape:
            raise DataError(f"{what}: {part} are {array.dtype} {array.shape}, expected integers {shape}", DAMAGED)
    return np.ascontiguousarray(x).reshape(-1, 3, 32, 32), y


# What a batch is made of; left out are classes, sets, references to elsewhere, buffers, copies of the stack.
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
_MOST_TUPLES, _MOST_NOTED = 100, 100_000  # deep tuples overflow the stack, high numbers in the memo fill the memory


def _check_instructions(content: bytes) -> None:
    """DataError where a pickle holds what no batch needs; nothing of it has run then."""
    tuples = 0
    for instruction, argument, _ in pickletools.genops(content):
        name = instruction.name
        tuples += "TUPLE" in name
        noted = int(argument or 0) if name in ("PUT", "BINPUT", "LONG_BINPUT") else 0
        if name not in _INSTRUCTIONS or tuples > _MOST_TUPLES or noted > _MOST_NOTED:
            raise DataError(
                f"refusing {name}, or so much of it, which a pickle of images has no need of", "get the file anew"
            )


class _Unpickler(pickle.Unpickler):
    """A pickle names the functions to call; here the four that an array of bytes needs get a harmless stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "numpy.core.multiarray._reconstruct": _empty_array,
            "numpy._core.multiarray._reconstruct": _empty_array,
            "numpy.ndarray": None,  # only ever an argument of _reconstruct
            "numpy.dtype": _byte_dtype,
            "_codecs.encode": lambda text, encoding: text.encode("latin1"),  # how Python 3 writes bytes in protocol 2
        }
        if (full_name := f"{module}.{name}") not in allowed:
            raise DataError(
                f"refusing to run {full_name}, which a pickle of images has no need of", "get the file anew"
            )
        return allowed[full_name]


def _empty_array(*_: Any) -> Array:
    """An array whose shape and content the pickle sets next; NumPy then compares them with each other."""
    return np.empty(0, np.uint8)


def _byte_dtype(code: str, *_: Any) -> np.dtype[Any]:
    if code not in ("u1", "|u1"):
        raise DataError(f"refusing an array of {code!r}", "images are arrays of bytes (u1)")
    return np.dtype(np.uint8)
