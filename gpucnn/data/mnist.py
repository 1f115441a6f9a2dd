"""MNIST (LeCun et al., http://yann.lecun.com/exdb/mnist) and Fashion-MNIST (Xiao et al., arXiv:1708.07747).

Each is four IDX files, plain or .gz: a big-endian header (magic 0x803 and n, h, w for images; 0x801 and n for
labels), then one byte a pixel or label. The files of both data sets have the same names, so in a shared folder
each lies in its own: mnist/ and fashion-mnist/ (or MNIST/raw/ and FashionMNIST/raw/, as torchvision has them).
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError
from .dataset import Array, Dataset
from .files import DAMAGED, Download, Origin, locate, present

_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_MOST = 1 << 28  # bytes in a file: MNIST has 47 MB
_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_HASHES = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
_FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
_FASHION_HASHES = (
    "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "md5:25c81989df183df01b3e8a0aad5dffbe",
    "md5:bef4ecab320f06d8554ea6380940ec79",
    "md5:bb300cfdad3c16e7a12a480ee83cd310",
)
MNIST = Origin(
    "mnist",
    ("mnist", "MNIST/raw"),
    tuple(Download(file, hash, _MIRRORS) for file, hash in zip(_FILES, _HASHES, strict=True)),
)
FASHION = Origin(
    "fashion-mnist",
    ("fashion-mnist", "FashionMNIST/raw"),
    tuple(Download(file, hash, _FASHION_MIRRORS) for file, hash in zip(_FILES, _FASHION_HASHES, strict=True)),
)
_GARMENTS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def mnist(path: str | Path | None = None, download: bool = True) -> Dataset:
    """60,000 training and 10,000 test images of handwritten digits, 1x28x28. DataError for bad files."""
    return Dataset("mnist", *_read(MNIST, path, download), tuple("0123456789"), (33.3184,), (78.5675,))


def fashion_mnist(path: str | Path | None = None, download: bool = True) -> Dataset:
    """60,000 training and 10,000 test images of garments, 1x28x28. DataError for bad files."""
    return Dataset("fashion-mnist", *_read(FASHION, path, download), _GARMENTS, (72.9404,), (90.0212,))


def _read(origin: Origin, path: str | Path | None, download: bool) -> tuple[Array, Array, Array, Array]:
    """train_x uint8 (n, 1, 28, 28), train_y int64 (n,), test_x, test_y."""
    place = locate(origin, path, download)
    other = FASHION if origin is MNIST else MNIST
    if place.is_file() or place.name == other.name:
        raise DataError(f"{place} is not a folder of {origin.name}", "name the folder that holds its four files")
    arrays = []
    for file in _FILES:
        found = present(place, file)
        if found is None:
            raise DataError(f"{file} is missing in {place}", f"a folder of {origin.name} holds {', '.join(_FILES)}")
        arrays.append(read_idx(found, (28, 28) if "images" in file else ()))
    train_x, train_y, test_x, test_y = arrays
    return train_x[:, None], train_y.astype(np.int64), test_x[:, None], test_y.astype(np.int64)


def read_idx(file: Path, item: tuple[int, ...]) -> Array:
    """The IDX file of n items of shape `item`: uint8 (n, *item). DataError where header or length are otherwise."""
    header = struct.Struct(f">{2 + len(item)}I")
    magic = 0x801 + len(item)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            start = stream.read(header.size)
            if len(start) < header.size:
                raise DataError(f"{file} ends within its header", DAMAGED)
            found, count, *shape = header.unpack(start)
            if found != magic or tuple(shape) != item:
                raise DataError(
                    f"{file} starts with magic {found:#x} and items of {tuple(shape)}, expected {magic:#x} and {item}",
                    "it is damaged, or another kind of file",
                )
            size = count * int(np.prod(item))
            # Deflate packs at most 1032 to 1; asking first keeps a damaged header from claiming gigabytes.
            if size > min(file.stat().st_size * (1032 if file.suffix == ".gz" else 1), _MOST):
                raise DataError(f"{file} promises {size:,} bytes, more than it can hold", DAMAGED)
            content = stream.read(size + 1)  # one more: reading to the end checks the checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {file}: {error}", DAMAGED) from error
    if len(content) != size:
        got = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{file} has {got} bytes after its header, expected {size:,}", DAMAGED)
    return np.frombuffer(content, np.uint8).reshape(count, *item)
