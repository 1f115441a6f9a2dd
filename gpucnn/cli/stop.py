"""Ctrl-C and SIGTERM, taken between two steps, so that the weights that are saved are whole."""

import signal
from types import FrameType
from typing import Any

import click

from ..parallel import ALONE, Ranks


class Stopped(Exception):
    """Ctrl-C or SIGTERM came, and the step that was running is done."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class StopBetweenSteps:
    """While it is entered, the first SIGINT or SIGTERM only sets a mark; a second one ends the process.

    One rank that got a signal stops all of them, after the same step.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks

    def __enter__(self) -> "StopBetweenSteps":
        self.signum = 0
        self.before = {s: signal.signal(s, self._mark) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)

    def _mark(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        click.echo("stopping after this step; once more to stop at once", err=True)
        for each, handler in self.before.items():
            signal.signal(each, handler)

    def check(self) -> None:
        """Collective: Stopped, where a signal came to any rank."""
        if signum := max(self.ranks.gather(self.signum)):
            raise Stopped(signum)
