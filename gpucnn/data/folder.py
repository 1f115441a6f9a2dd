"""The user's own pictures: one subfolder a class, any sizes and formats that Pillow reads.

PATH/train/<class>/* and PATH/test/<class>/* where both are there. Otherwise PATH/<class>/*, of which a fifth of
each class (rounded, at least one) is the test set: the first of the class in the order of `permutation` with seed
0 over all images, sorted by class and name.
"""

import io
import warnings
from pathlib import Path

import numpy as np

from ..errors import DataError
from .dataset import Array, Dataset
from .order import by_class

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's names; for others it calls programs
_MOST_PIXELS = 1 << 25  # 8192x4096; Pillow takes 4 bytes for each, a few times over
_MOST_BYTES = 4 * _MOST_PIXELS
_MOST_SCANS = 100  # of a progressive JPEG, which needs 10; each is as much work as a whole picture
_SEED = 0


def load(path: str | Path, size: tuple[int, int] = (32, 32)) -> Dataset:
    """The pictures under `path`, resized to `size` (h, w), 3 channels; mean and std are the training set's own.

    DataError for fewer than two classes, a class without images, an image that cannot be read.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", "name a folder with one subfolder of images a class")
    if (root / "train").is_dir() and (root / "test").is_dir():
        classes, train_x, train_y = _read(root / "train", size)
        test_classes, test_x, test_y = _read(root / "test", size)
        if test_classes != classes:
            odd = sorted({*classes} ^ {*test_classes})[0]
            raise DataError(f"{root}: train and test do not both have the class {odd!r}", "give them the same classes")
        how = "from train/ and test/"
    else:
        classes, x, y = _read(root, size)
        groups = by_class(y, _SEED)
        for label, group in zip(classes, groups, strict=True):
            if len(group) < 2:
                raise DataError(f"{root / label} has one image, and 2 are needed to split off a test set", "add images")
        test = np.sort(np.concatenate([group[: _share(group)] for group in groups]))
        train = np.sort(np.concatenate([group[_share(group) :] for group in groups]))
        train_x, train_y, test_x, test_y = x[train], y[train], x[test], y[test]
        how = "a fifth of each class, chosen by a fixed seed, is the test set"
    mean = tuple(float(channel) for channel in train_x.mean((0, 2, 3)))
    std = tuple(max(1.0, float(channel)) for channel in train_x.std((0, 2, 3)))  # pictures of one colour
    notes = (
        f"{root.name}: {len(train_x)} training and {len(test_x)} test images in {len(classes)} classes, {how}",
        f"{root.name}: images resized to {size[0]}x{size[1]}",
    )
    return Dataset(f"folder:{path}", train_x, train_y, test_x, test_y, classes, mean, std, notes=notes)


def read_image(path: str | Path, channels: int, size: tuple[int, int], white: int = 255) -> Array:
    """The picture in `path` as uint8 (channels, h, w), upright, resized to `size` (h, w), pixels 0..`white`.

    `channels` is 3 (RGB) or 1 (grey). DataError where the file is no picture, or one too large to be meant; that is
    known from its first bytes, before any pixel is unpacked.
    """
    from PIL import (
        Image,
        ImageOps,
        UnidentifiedImageError,
    )  # here, so that a machine without it trains on data that are arrays

    content = _read_file(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels, and at most {_MOST_PIXELS:,} are read")
                if image.format == "JPEG" and content.count(b"\xff\xda") > _MOST_SCANS:
                    raise ValueError(f"more than {_MOST_SCANS} scans")
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
                upright = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
                pixels = np.asarray(upright.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    except Exception as error:  # a damaged picture can raise anything
        reason = f"it is none of {', '.join(_FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path} is not a picture that can be read: {reason}", "save it anew as PNG or JPEG") from error
    if white != 255:
        pixels = ((pixels.astype(np.uint16) * white + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(*size, channels).transpose(2, 0, 1))


def _read_file(path: Path) -> bytes:
    """The bytes of what may be a picture; a pipe or a device, which may never end, is not opened."""
    try:
        if not path.exists():
            raise DataError(f"{path} does not exist", "check the path")
        if not path.is_file():
            raise DataError(f"{path} is not a picture but something else than a file", "name a PNG or JPEG file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the path") from error
    if len(content) > _MOST_BYTES:
        raise DataError(f"{path} is not a picture of at most {_MOST_BYTES:,} bytes", "save a smaller one")
    return content


def _read(root: Path, size: tuple[int, int]) -> tuple[tuple[str, ...], Array, Array]:
    """classes, x uint8 (n, 3, *size), y int64 (n,): all pictures, sorted by class and name."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(folders) < 2:
        raise DataError(f"{root} has {len(folders)} subfolders, and at least two classes are needed", "one a class")
    images, labels = [], []
    for label, folder in enumerate(folders):
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        if not files:
            raise DataError(f"{folder} has no images", f"put {', '.join(SUFFIXES)} files into it, or remove it")
        images += [read_image(file, 3, size) for file in files]
        labels += [label] * len(files)
    return tuple(folder.name for folder in folders), np.stack(images), np.array(labels, np.int64)


def _share(group: Array) -> int:
    """How many of a class's examples are for the test."""
    return max(1, round(len(group) / 5))
