"""What a command says beside its own lines, on stderr: that kernels are compiled, and what would make them faster."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click


class _Listener(logging.Handler):
    """One line for the first of all the kernels that are compiled, and one for each warning."""

    told = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            note(record.getMessage())
        elif not self.told:
            self.told = True
            click.echo("compiling kernels for this CPU (once, about 20 s) ...", err=True)


@contextmanager
def heard_kernels() -> Iterator[None]:
    """Inside, the words of the kernels, and of lint.py, reach the user."""
    log, listener = logging.getLogger("gpucnn"), _Listener()
    before = log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(listener)
        log.setLevel(before)


def note(what: str, mend: str = "") -> None:
    """A line about what could be better, and how."""
    click.echo(f"note: {what}" + (f"; to mend it: {mend}" if mend else ""), err=True)
