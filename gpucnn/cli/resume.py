"""`--resume RUN`: the run's own flags, and the state that it goes on from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..checkpoint import State
from ..data import Dataset
from ..errors import DataError, UsageError
from ..module import Module
from ..optim import Optimizer
from ..parallel import Ranks, connect
from ..training import Position
from .config import flag_values
from .notes import note
from .run_folder import RunFolder

_OF_THE_CALL = ("output_dir", "overwrite", "dry_run")  # where a run goes is no part of what it is
# They do not decide what the run computes, but for rounding.
MAY_CHANGE = {
    "device", "precision", "kernels", "fuse", "graph", "threads", "data_path", "download", "as_json",
    "checkpoint_steps", "checkpoint_minutes", "distributed",
}  # fmt: skip
_ENDLESS = ("step", "constant")  # schedules that do not depend on the number of epochs


@dataclass(frozen=True)
class Resumed:
    """The folder of a run, locked by rank 0, its newest good checkpoint, and where in the run that is."""

    folder: RunFolder | None
    path: Path
    state: State
    position: Position

    def refuse_others(self, context: click.Context, flags: dict[str, Any]) -> None:
        """UsageError for a flag of the command line that would make another run of it."""
        config = self.state.meta["config"]
        for name in ("config", "recipe", *flags):
            if name in MAY_CHANGE or context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
                continue
            flag, hint = "--" + name.replace("_", "-"), "leave it out: a run that goes on keeps its settings"
            if name in _OF_THE_CALL or name not in flags:
                raise UsageError(f"{flag} does not go with --resume", hint)
            value, before = flags[name], config.get(name, "none")
            if name == "epochs" and config["lr_scheduler"] in _ENDLESS and value > self.position.epoch:
                continue
            if value != before:
                raise UsageError(f"{flag} {value}: the run in {self.path} has {before}", hint)

    def load_into(self, model: Module, optimizer: Optimizer, data: Dataset) -> None:
        """Put the state into its places; DataError where the data are not those that the run began with."""
        meta, path = self.state.meta, self.path
        if len(meta["classes"]) != len(data.classes):
            raise DataError(
                f"{meta['model']} in {path} was trained for {len(meta['classes'])} classes, "
                f"{data.name} has {len(data.classes)}",
                "bring the data back that the run began with, or train anew",
            )
        if meta["data_sha256"] != data.sha256:
            raise DataError(
                f"the pictures or labels of {data.name} changed since the run in {path} began",
                "bring them back, or train anew: results of two data sets in one run mean nothing",
            )
        try:
            model.load_state_dict(self.state.weights)
            optimizer.load_state_dict(self.state.optimizer)
        except ValueError as error:
            raise DataError(f"the checkpoint in {path} does not fit: {error}", "train anew") from None


def settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that make a run what it is, as JSON and TOML can hold them, in an order that depends on no one."""
    given = {name: v for name, v in sorted(flags.items()) if name not in _OF_THE_CALL and v is not None}
    return {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}


def read_run(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Callback of the eager option --resume: the run's settings become the defaults of the other flags. Collective."""
    ranks = connect()
    _require_all_or_none(ranks, path)
    if path is None:
        return
    # the folder is rank 0's own, and may be on its machine alone
    folder, state = _newest(context, path) if ranks.rank == 0 else (None, None)
    state = ranks.broadcast(state)
    position, config = _training(path, state)
    context.default_map = {**(context.default_map or {}), **flag_values(context, config, path)}
    context.meta[RESUMED] = Resumed(folder, path, state, position)


def _require_all_or_none(ranks: Ranks, path: Path | None) -> None:
    """Collective: UsageError where --resume was given to some ranks alone."""
    if len({given is None for given in ranks.gather(path)}) > 1:
        raise UsageError("some ranks have --resume, and some have not", "start all ranks with the same command")


def _newest(context: click.Context, path: Path) -> tuple[RunFolder, State]:
    """The folder, locked until the command ends, and its newest good checkpoint; a note where that is not the last."""
    folder = RunFolder.open(path)
    context.call_on_close(folder.close)
    state, fault = folder.newest()
    if fault:
        note(f"{fault}; going on from the checkpoint before it")
    return folder, state


def _training(path: Path, state: State) -> tuple[Position, dict[str, Any]]:
    """Where in its run a checkpoint is, and the flags of the run; DataError where it has no state of training."""
    try:
        position, config = position_of(state), dict(state.meta["config"])
        whole = isinstance(state.meta["classes"], list) and {"epochs", "lr_scheduler"} <= set(config)
        if not (state.optimizer and whole and state.meta["model"] == config["model"] and "data_sha256" in state.meta):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(
            f"{path} holds the weights of a model, and not the state of its training",
            "it can be evaluated (gpucnn eval), not resumed: train anew",
        ) from None
    return position, config


RESUMED = "gpucnn.resumed"


def position_of(state: State) -> Position:
    """Where in its run a checkpoint is; KeyError, TypeError, ValueError or OverflowError where it does not say so."""
    epoch, step, (loss, correct), seconds = (state.meta[key] for key in ("epoch", "step", "sums", "seconds"))
    if not all(type(number) is int and 0 <= number < 1 << 32 for number in (epoch, step)):
        raise ValueError
    return Position(int(epoch), int(step), (float(loss), float(correct)), float(seconds))
