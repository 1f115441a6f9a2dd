"""A model and the state of its training on disk: safetensors with a JSON description, replaced atomically.

The tensors are the weights by their names in the model, and what the optimizer keeps by "optimizer/<name>". The
description, JSON under the key "gpucnn", has a version, a checksum of everything else, and what the caller adds.
Version 1 had weights alone and no checksum; it is still read.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .errors import DataError, shortened

VERSION = 2
OPTIMIZER = "optimizer/"  # no name in a model has a slash

Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    """What a checkpoint holds; `optimizer` is empty where it is of weights alone."""

    weights: Arrays
    optimizer: Arrays
    meta: dict[str, Any]


class DamagedError(DataError):
    """A checkpoint is there and cannot be read, or is not what was written."""


def save_state(path: Path, state: State, keep: Path | None = None) -> None:
    """Write `state`, whose `meta` is anything JSON, to `path`; a kill at any moment leaves the old file or the new.

    keep: another name, in the same folder, under which the old file stays.
    """
    optimizer = {OPTIMIZER + name: array for name, array in state.optimizer.items()}
    # save() ignores strides
    tensors = {name: np.asarray(array, order="C") for name, array in (state.weights | optimizer).items()}
    meta = json.loads(json.dumps(state.meta))  # as it will be read: tuples are lists
    described = {"version": VERSION, "checksum": _checksum(tensors, meta), **meta}
    write_atomic(path, save(tensors, {"gpucnn": json.dumps(described)}), keep)


def load_state(path: Path) -> State:
    """What `save_state` wrote. DamagedError where it is not whole; DataError where it is missing, strange or newer."""
    tensors, metadata = read_tensors(path)
    if "gpucnn" not in metadata:
        raise DataError(
            f"{path} holds weights alone, not the model that they are of", f"gpucnn train --model NAME --weights {path}"
        )
    try:
        meta = json.loads(metadata["gpucnn"])
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    version = meta.pop("version", None) if isinstance(meta, dict) else None
    if type(version) is int and version > VERSION:
        raise DataError(
            f"{path} was written by a newer gpucnn (format {version}, this one reads up to {VERSION})",
            "pip install --upgrade gpucnn",
        )
    if version not in (1, VERSION):
        raise DataError(f"{path} was not written by gpucnn (version {shortened(version)})", "take another file")
    if version == VERSION and meta.pop("checksum", None) != _checksum(tensors, meta):
        raise DamagedError(f"{path} is damaged: its checksum is not that of its content", "take another file")
    names = {name: name.removeprefix(OPTIMIZER) for name in tensors}
    return State(
        {name: tensors[name] for name, short in names.items() if name == short},
        {short: tensors[name] for name, short in names.items() if name != short},
        meta,
    )


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """(name -> array, metadata) of any safetensors file; DataError where it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no dict)
    except FileNotFoundError:
        raise DataError(f"no weights at {path}", "give the folder of a run, or a .safetensors file in one") from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DamagedError:
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npy", ".npz"):
        return DamagedError(
            f"{path} may be a pickle, which is a program: only safetensors are read",
            "where you trust it: safetensors.torch.save_file(torch.load(FILE), 'weights.safetensors')",
        )
    return DamagedError(f"{path} is not a readable weights file ({error})", "train again, or take another file")


def save_weights(path: Path, weights: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """`save_state` of weights alone."""
    save_state(path, State(dict(weights), {}, dict(meta)))


def load_weights(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """(weights, meta) of any file that gpucnn wrote; errors as in `load_state`."""
    state = load_state(path)
    return state.weights, state.meta


def _checksum(tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> str:
    digest = sha256(json.dumps(meta, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


PART = ".part"  # what a killed process leaves behind ends so


def write_atomic(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Put `content` at `path` through a temporary file beside it, flushed to disk before the name changes.

    keep: see `save_state`.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            if keep is not None:
                link_atomic(path, keep)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    except OSError as error:
        error.filename = str(path)  # and not the temporary one
        raise


def link_atomic(path: Path, name: Path) -> None:
    """Give the content of `path` the second name `name`, in the same folder; it stays when `path` is replaced."""
    temporary = path.with_name(f".{name.name}.{os.getpid()}{PART}")
    try:
        temporary.hardlink_to(path)
    except OSError:
        write_atomic(name, path.read_bytes())  # a file system without links
        return
    try:
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)  # it stays where both names are of one file already
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the names in it are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
