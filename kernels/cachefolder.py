"""Where compiled kernels are kept: beside the data sets, in the user's cache folder."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`~/.cache/gpucnn/kernels`, or where the system keeps caches; it need not exist."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gpucnn" / "kernels"
