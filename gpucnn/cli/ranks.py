"""Several processes on the command line: one of them speaks, all are the same, and they end together."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ..data import Dataset
from ..errors import DataError, DeviceError, UsageError
from ..parallel import ALONE, Ranks, connect
from ..training import Epoch
from .resume import MAY_CHANGE, settings
from .stop import StopBetweenSteps, Stopped

_SECONDS_TO_SPEAK = 0.6  # longer than ranks need, one after another, to find out that all of them fail
_SECONDS_TO_BE_HEARD = 0.2  # mpirun ends all at once, and what it has not read by then is lost
_SAME = "start all ranks with the same command, the same code and the same data"


distributed_option = click.option(
    "--distributed", type=click.Choice(["auto", "mpi", "nccl"]), default="auto", show_default=True,
    help="How processes that mpirun started add up gradients; nccl needs a GPU for each.",
)  # fmt: skip


@contextmanager
def first_speaks(ranks: Ranks) -> Iterator[None]:
    """Inside, the other ranks are silent; an error leaves the block, and is told by whoever has it."""
    if ranks.rank == 0:
        yield
    else:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield


def follow(ranks: Ranks, epochs: Callable[..., Iterable[Epoch]]) -> None:
    """Train, with the `epochs` of a run, as one of the other ranks: the first saves and tells."""
    try:
        with StopBetweenSteps(ranks) as stop:
            for _ in epochs(check=stop.check):
                pass
    except Stopped as stopped:
        ranks.barrier()
        raise SystemExit(stopped.exit_code) from None


def require_same(ranks: Ranks, flags: dict[str, Any], data: Dataset) -> None:
    """Collective: UsageError or DataError where a rank has other flags, code or data than rank 0."""
    if ranks.size == 1:
        return
    own = {name: value for name, value in settings(flags).items() if name not in MAY_CHANGE}
    first, *others = ranks.gather((own, _code_sha256(), data.sha256))
    for rank, (theirs, code, pictures) in enumerate(others, 1):
        for name in sorted({*first[0], *theirs}):
            mine, given = (values.get(name, "none") for values in (first[0], theirs))
            if mine != given:
                raise UsageError(f"rank {rank} has --{name.replace('_', '-')} {given}, rank 0 has {mine}", _SAME)
        if code != first[1]:
            raise UsageError(f"the code of gpucnn on rank {rank} is not that on rank 0", _SAME)
        if pictures != first[2]:
            raise DataError(f"the pictures or labels of {data.name} on rank {rank} are not those on rank 0", _SAME)


def _code_sha256() -> str:
    digest = sha256()
    for package in ("gpucnn", "gpucnn_kernels"):
        spec = find_spec(package)
        assert spec and spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0])
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".cu", ".cuh", ".h", ".cpp"):
                digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def end(code: int, *lines: str) -> None:
    """Print an error and end all ranks. Where all have the same one, the first ends the others before they print it."""
    try:
        ranks = connect()
    except DeviceError:  # which may be the error to print
        ranks = ALONE
    time.sleep(min(_SECONDS_TO_SPEAK * ranks.rank, 3))
    where = f"on rank {ranks.rank} of {ranks.size}: " if ranks.rank else ""
    click.echo("\n".join(["error: " + where + lines[0], *lines[1:]]), err=True)
    if ranks.size > 1:
        time.sleep(_SECONDS_TO_BE_HEARD)
        ranks.abort(code)
