"""What the commands say: lines for people, JSON for programs, and the next command to type."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import printable

WIDTH = 140  # of a table where no terminal says how wide it is


class Output:
    """`say` prints a line for people: on stdout, or on stderr where stdout is for JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, line: str = "") -> None:
        click.echo("\n".join(map(printable, line.split("\n"))), err=self.as_json)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> None:
        """A table for people; its first `words` columns are words, the others numbers."""
        from rich.console import Console
        from rich.table import Table

        console = Console(stderr=self.as_json, highlight=False, markup=False)
        if not console.is_terminal:
            console.width = WIDTH
        table = Table(box=None)
        for i, head in enumerate(heads):
            table.add_column(head, justify="left" if i < words else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)

    def result(self, values: dict[str, Any]) -> None:
        """The one JSON object of --json; nothing without it."""
        if self.as_json:
            click.echo(json.dumps(values, allow_nan=False))

    def next(self, *words: Any) -> None:
        """The next command to type, ready to paste."""
        self.say(f"next: {program()} {shlex.join(map(str, words))}")


def program() -> str:
    """How to call this program again: `gpucnn` where the shell finds it, else the path it was called by."""
    called = Path(sys.argv[0])
    if called.name != "gpucnn":
        return f"{shlex.quote(short(Path(sys.executable)))} -m gpucnn"
    found = shutil.which("gpucnn")
    return (
        "gpucnn"
        if found and Path(found).samefile(called) and not _is_below_here(called)
        else shlex.quote(short(called))
    )


def short(path: Path) -> str:
    """`path` relative to the current folder where it lies below it."""
    return str(path.absolute().relative_to(Path.cwd())) if _is_below_here(path) else str(path)


def _is_below_here(path: Path) -> bool:
    return path.absolute().is_relative_to(Path.cwd())
