"""Where compiled kernels are kept: beside the data sets, in the user's cache folder."""

import logging
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger("gpucnn.kernels")


def cache_folder() -> Path:
    """`~/.cache/gpucnn/kernels`, or where the system keeps caches; it need not exist."""
    usual = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "gpucnn" / "kernels"


def writable(folder: Path) -> Path:
    """`folder`, made if need be; where nothing can be written to it, its like below a temporary one, with a warning."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))  # a full disk still makes files
        return folder
    except OSError as fault:
        if not _temporary.cache_info().currsize:
            log.warning(
                "nothing can be kept in %s (%s), so kernels and data are made or fetched again by every run; "
                "to mend it: set XDG_CACHE_HOME to a folder that can be written to",
                folder,
                fault.strerror,
            )
        like = Path(_temporary().name, *folder.absolute().parts[1:])
        like.mkdir(parents=True, exist_ok=True)
        return like


@cache
def _temporary() -> tempfile.TemporaryDirectory:
    """It goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="gpucnn-")
