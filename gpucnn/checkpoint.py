"""Weights on disk: safetensors with a JSON description, replaced atomically."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .errors import DataError

VERSION = 1


def save_weights(path: Path, state: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write `state` and `meta` (anything JSON) to `path`; a kill at any moment leaves the old file or the new."""
    tensors = {name: np.ascontiguousarray(array) for name, array in state.items()}  # save() ignores strides
    write_atomic(path, save(tensors, {"gpucnn": json.dumps({"version": VERSION, **meta})}))


def load_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(state, meta) of a file that `save_weights` wrote; DataError where it is missing, damaged or not ours."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {}).get("gpucnn", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except FileNotFoundError:
        raise DataError(f"no weights at {path}", "give the folder of a run, or a .safetensors file in one") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not a readable weights file ({error})", "train again, or take another file"
        ) from None
    version = meta.get("version") if isinstance(meta, dict) else None
    if version != VERSION:
        raise DataError(f"{path} was not written by this gpucnn (version {version})", "train again")
    return state, meta


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path` through a temporary file beside it, flushed to disk before the name changes."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
