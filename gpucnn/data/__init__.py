"""The data sets: `load(name)` finds, checks and returns one; `Batches` feeds it to a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, nearest
from . import cifar10, digits, files, folder, mnist, synthetic
from .batches import AUGMENTATIONS, Batch, Batches
from .dataset import Dataset, fit_images
from .folder import read_image

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Batch",
    "Batches",
    "Dataset",
    "fetch",
    "fit_images",
    "load",
    "read_image",
    "verify",
]


@dataclass(frozen=True)
class Request:
    """What was asked for beside the name: `argument` is what follows its colon."""

    argument: str
    path: str | Path | None
    download: bool
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One line about a data set, how to load it, and where its files come from, if it has any."""

    summary: str
    load: Callable[[Request], Dataset]
    origin: files.Origin | None = None


def _load_folder(request: Request) -> Dataset:
    path = request.argument or request.path
    if not path:
        raise UsageError("folder needs a path", "use --dataset folder:PATH, one subfolder of images a class")
    return folder.load(path, request.image_size)


DATASETS = {
    "cifar10": Entry(
        "60,000 photographs in 10 classes, 3x32x32", lambda r: cifar10.load(r.path, r.download), cifar10.ORIGIN
    ),
    "mnist": Entry("70,000 handwritten digits, 1x28x28", lambda r: mnist.mnist(r.path, r.download), mnist.MNIST),
    "fashion-mnist": Entry(
        "70,000 garments in 10 classes, 1x28x28", lambda r: mnist.fashion_mnist(r.path, r.download), mnist.FASHION
    ),
    "digits": Entry("1,797 handwritten digits, 1x8x8; part of the package", lambda r: digits.digits()),
    "tinydigits": Entry("1,200 of digits, as many of each class; part of the package", lambda r: digits.tinydigits()),
    "folder": Entry("your own pictures: folder:PATH, one subfolder a class", _load_folder),
    "synthetic": Entry("random pictures, for measuring speed: synthetic:NxCxHxW", lambda r: synthetic.load(r.argument)),
}


def load(
    name: str, path: str | Path | None = None, download: bool = True, image_size: tuple[int, int] = (32, 32)
) -> Dataset:
    """The data set `name` of DATASETS, for two of them with an argument: `folder:PATH`, `synthetic:NxCxHxW`.

    `path` is the folder or archive to read instead of looking for one, `image_size` (h, w) what pictures of a
    folder are resized to. UsageError for an unknown name; DataError where the data are missing or damaged.
    """
    kind, colon, argument = name.partition(":")
    if colon and kind not in ("folder", "synthetic"):
        raise UsageError(f"{kind} takes no argument, got {name!r}", f"use --dataset {kind}")
    return entry(kind).load(Request(argument, path, download, image_size))


def entry(name: str) -> Entry:
    """DATASETS[name]; UsageError with the nearest name where there is none."""
    if name not in DATASETS:
        raise nearest("data set", name, DATASETS)
    return DATASETS[name]


def fetch(name: str) -> list[Path]:
    """The official files of `name` in the cache folder, downloaded where they are not there; [] if it has none."""
    origin = entry(name.partition(":")[0]).origin
    return files.fetch(origin) if origin else []


def verify(name: str, path: str | Path | None = None) -> Iterator[tuple[Path, bool]]:
    """The official files of `name`, found as `load` finds them, and whether each has the official hash."""
    origin = entry(name.partition(":")[0]).origin
    if origin:
        yield from files.verify(origin, files.locate(origin, path, download=False))
