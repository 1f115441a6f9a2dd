"""`--weights` and `--reset-head`: a model that begins where another has ended."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..checkpoint import OPTIMIZER, read_tensors
from ..errors import UsageError
from ..module import Module
from .run_folder import WEIGHTS


def start_from(model: Module, path: Path | None, reset_head: bool) -> None:
    """Give `model` the weights in `path`, a run folder or a state dict in safetensors with PyTorch's keys.

    With `reset_head` the last layer that has any keeps its own, whatever `path` has for it; all else must fit.
    """
    if path is None:
        if reset_head:
            raise UsageError("--reset-head without weights to begin with", "add --weights FILE")
        return
    tensors, _ = read_tensors(path / WEIGHTS if path.is_dir() else path)
    state = {name: array for name, array in tensors.items() if not name.startswith(OPTIMIZER)}
    own, head = model.state_dict(), head_of(model)
    if reset_head:
        state = {name: array for name, array in state.items() if not name.startswith(head)}
        state |= {name: array for name, array in own.items() if name.startswith(head)}
    try:
        model.load_state_dict(state)
    except ValueError as error:
        misfits = {name for name, _ in _shapes(own) ^ _shapes(state)}
        body_fits = all(name.startswith(head) for name in misfits)
        hint = (
            "for other classes begin with a new head: --reset-head" if body_fits else "choose the --model they are of"
        )
        raise UsageError(f"--weights {path}: {error}", hint) from None


def _shapes(state: Mapping[str, np.ndarray]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, array.shape) for name, array in state.items()}


def head_of(model: Module) -> str:
    """What the names of the last layer's parameters begin with: "classifier.4." """
    *_, last = (
        name for name, module in model.named_modules() if any(module.named_tensors()) and not any(module.children())
    )
    return f"{last}."
