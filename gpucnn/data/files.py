"""Finding the files of a data set, fetching them, and reading them without trusting them.

A data set is looked for in the folder or archive that the user named; without one in $GPUCNN_DATA_DIR, then
in the cache folder, and then it is downloaded into the cache folder. What is downloaded must have the official
hash; what the user brings is checked by its readers for layout, sizes and labels. Archives are never unpacked.
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..backend import writable
from ..errors import DataError

DAMAGED = "the file is damaged: delete it and fetch it again"

_MOST_UNPACKED = 1 << 28  # bytes in an archive: CIFAR-10 has 186 MB


@dataclass(frozen=True)
class Download:
    """One official file: its name, its hash (sha256, or "md5:...") and the folders on the web that have it."""

    file: str
    hash: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where a data set's files come from: what to look for in a folder, best first, and what to download."""

    name: str
    wanted: tuple[str, ...]
    downloads: tuple[Download, ...]


def cache_folder() -> Path:
    """Where downloads are kept."""
    import pooch  # here and below, so that a machine without it trains on data that are there

    return Path(pooch.os_cache("gpucnn"))


def locate(origin: Origin, path: str | Path | None, download: bool) -> Path:
    """The folder or archive to read the data set from, downloaded where need be.

    With `path` that and nothing else: an archive as it is; in a folder what `origin` wants, there or in its
    subfolder `origin.name`; otherwise the folder itself, for the reader to judge. DataError where there is nothing.
    """
    if path is not None:
        place = Path(path).expanduser()
        if not place.exists():
            raise DataError(f"{place} does not exist", f"check the path, or leave it out to look for {origin.name}")
        return place if place.is_file() or place.name in origin.wanted else _find(place, origin) or place
    places = [Path(os.environ["GPUCNN_DATA_DIR"])] if os.environ.get("GPUCNN_DATA_DIR") else []
    for place in places:
        if found := _find(place, origin):
            return found
    cache = cache_folder()
    found = _find(cache, origin)
    if found and (found != cache / origin.name or all(present(found, d.file) for d in origin.downloads)):
        return found
    if not download:
        searched = ", ".join(str(place) for place in (*places, cache))
        raise DataError(f"no {origin.name} in {searched}, and downloading is off", _by_hand(origin))
    fetched = fetch(origin)[0].parent
    return _find(fetched.parent, origin) or fetched


def fetch(origin: Origin) -> list[Path]:
    """The official files in the cache folder, each one downloaded unless it is there with the official hash.

    A download has another name until it is whole and its hash is right. DataError where no mirror delivers. Where the
    cache folder cannot be written to, they are in a temporary one until the process ends.
    """
    folder = writable(cache_folder() / origin.name)
    return [_fetch(origin, wanted, folder) for wanted in origin.downloads]


def verify(origin: Origin, place: Path) -> Iterator[tuple[Path, bool]]:
    """Each official file that lies at `place` (the file itself, or its folder), and whether its hash is right."""
    for wanted in origin.downloads:
        file = place if place.is_file() else place / wanted.file
        if file.name == wanted.file and file.is_file():
            algorithm, _, digest = wanted.hash.rpartition(":")
            with file.open("rb") as stream:
                yield file, hashlib.file_digest(stream, algorithm or "sha256").hexdigest() == digest


def present(folder: Path, file: str) -> Path | None:
    """`folder/file`, or the same without its .gz, whichever is there."""
    candidates = (folder / file, folder / file.removesuffix(".gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_members(place: Path, limits: dict[str, int]) -> dict[str, bytes]:
    """The contents of those files "folder/name" of `limits` that `place` has: a .tar.gz, or that folder itself.

    `limits` gives the most bytes a file may have: DataError, before reading it, for a longer one. Whatever
    else an archive holds (other names, links, devices) is passed over. DataError for a damaged archive.
    """
    if place.is_dir():
        files = {name: place / PurePosixPath(name).name for name in limits}
        return {name: _read_file(file, limits[name]) for name, file in files.items() if file.is_file()}
    contents: dict[str, bytes] = {}
    try:
        with gzip.open(place) as packed:
            stream: Any = _Bounded(packed, f"{place} unpacks to more than {_MOST_UNPACKED:,} bytes")
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as archive:  # read once, from front to back
                for member in archive:
                    if (
                        archive.offset > _MOST_UNPACKED
                    ):  # where the next one begins; it would be walked to, step by step
                        raise DataError(stream.message, DAMAGED)
                    name = str(PurePosixPath(member.name))
                    if name in limits and member.isfile():
                        _check_size(f"{name} in {place}", member.size, limits[name])
                        contents[name] = archive.extractfile(member).read()  # type: ignore[union-attr]  # it is a file
            while stream.read(1 << 20):  # the checksum stands at the very end
                pass
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{place} is no whole .tar.gz archive: {error}", DAMAGED) from error
    return contents


class _Bounded:
    """A stream of at most _MOST_UNPACKED bytes: a bomb is a DataError with this message before it fills the memory."""

    def __init__(self, stream: gzip.GzipFile, message: str) -> None:
        self.stream, self.message, self.left = stream, message, _MOST_UNPACKED

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise DataError(self.message, DAMAGED)
        return content


def _read_file(file: Path, limit: int) -> bytes:
    try:
        _check_size(str(file), file.stat().st_size, limit)
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check its permissions") from error


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise DataError(f"{what} has {size:,} bytes, expected at most {limit:,}", DAMAGED)


def _find(folder: Path, origin: Origin) -> Path | None:
    """The first thing wanted that is in `folder`, or one level down in the folder named after the data set."""
    places = (folder / sub / wanted for sub in ("", origin.name) for wanted in origin.wanted)
    return next((place for place in places if place.exists()), None)


def _fetch(origin: Origin, wanted: Download, folder: Path) -> Path:
    import pooch
    import requests

    reason = ""
    for mirror in wanted.mirrors:
        try:
            file = pooch.retrieve(
                mirror + wanted.file,
                known_hash=wanted.hash,
                fname=wanted.file,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=30),
            )
            return Path(file)
        except (requests.ConnectionError, requests.Timeout):
            reason = f"cannot reach {urlsplit(mirror).hostname}"
        except (OSError, ValueError) as error:  # no such page, no space; the wrong hash
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise DataError(f"cannot download {wanted.file} of {origin.name}: {reason}", _by_hand(origin))


def _by_hand(origin: Origin) -> str:
    files = ", ".join(wanted.file for wanted in origin.downloads)
    return f"put {files} into {cache_folder() / origin.name} by hand, or use --dataset digits, which needs no download"
