"""`--weights` and `--reset-head`: a model that begins where another has ended."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..checkpoint import OPTIMIZER, read_tensors
from ..errors import UsageError
from ..models import Model
from .run_folder import WEIGHTS


def start_from(model: Model, path: Path | None, reset_head: bool) -> None:
    """Give `model` the weights in `path`, a run folder or a state dict in safetensors with PyTorch's keys.

    With `reset_head` the layers that give the classes keep their own, whatever `path` has for them; all else must fit.
    """
    if path is None:
        if reset_head:
            raise UsageError("--reset-head without weights to begin with", "add --weights FILE")
        return
    tensors, _ = read_tensors(path / WEIGHTS if path.is_dir() else path)
    state = {name: array for name, array in tensors.items() if not name.startswith(OPTIMIZER)}
    own, heads = model.state_dict(), heads_of(model)
    if reset_head:
        state = {name: array for name, array in state.items() if not name.startswith(heads)}
        state |= {name: array for name, array in own.items() if name.startswith(heads)}
    try:
        model.load_state_dict(state)
    except ValueError as error:
        misfits = {name for name, _ in _shapes(own) ^ _shapes(state)}
        body_fits = all(name.startswith(heads) for name in misfits)
        hint = (
            "for other classes begin with a new head: --reset-head" if body_fits else "choose the --model they are of"
        )
        raise UsageError(f"--weights {path}: {error}", hint) from None


def _shapes(state: Mapping[str, np.ndarray]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, array.shape) for name, array in state.items()}


def heads_of(model: Model) -> tuple[str, ...]:
    """What the names of the parameters begin with that give the classes, e.g. ("classifier.4.",)."""
    layers = [f"{name}." for name, m in model.named_modules() if any(m.named_tensors()) and not any(m.children())]
    inside = ([name for name in layers if name.startswith(f"{head}.")] for head in model.heads)
    return tuple(names[-1] for names in inside if names)
