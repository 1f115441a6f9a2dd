"""Errors that a user can mend: one line saying what is wrong, one saying what to do, and an exit code."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class GpucnnError(Exception):
    """`str(error)` says what is wrong, `hint` what to do; the command line exits with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)


class UsageError(GpucnnError):
    """The request itself cannot be met: an unknown name, arguments that do not go together."""

    exit_code = 2


class DeviceError(GpucnnError):
    """The machine lacks what was asked for: no GPU, no CuPy, no driver."""

    exit_code = 3


class DataError(GpucnnError):
    """Data are missing, damaged or not what they claim to be."""

    exit_code = 4


class DivergedError(GpucnnError):
    """Training left the finite numbers."""

    exit_code = 5


def printable(text: str) -> str:
    """`text` in one line, with escapes for what a terminal would obey or could not write: names come from files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(value: Any) -> str:
    """`value`, which comes from a file, in a few characters, however large it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes out no whole number of more than 4300 digits
        return "a number of thousands of digits"


def nearest(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: it offers the nearest known one, or lists them all."""
    known = list(known)
    close = [k for k in known if name and k.startswith(name)] or get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return UsageError(f"unknown {kind} {name!r}", hint)
