"""What a run that left the finite numbers says: where that began, found by repeating its last steps."""

from collections.abc import Callable, Iterable

from ..errors import DivergedError
from ..training import Position
from .notes import note


def explained(error: DivergedError, repeat: Callable[[], Iterable], start: Position, folder: str) -> DivergedError:
    """`error` with the op whose result was the first that was not finite.

    repeat: goes on from the last checkpoint, which is at `start`, with a look at every number.
    """
    note(f"repeating the steps after {start}, to find the op whose result is the first that is not finite")
    try:
        next(iter(repeat()), None)  # it is in the next epoch, or not at all
        where = "when the steps were repeated, all numbers were finite: look for a fault of the machine"
    except DivergedError as found:
        where = f"first, {found}"
    hint = f"{error.hint}; the last good weights, after {start}, are in {folder}"
    return DivergedError(f"{error}; {where}", hint)
