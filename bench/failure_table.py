"""The table of docs/failures.md, from what the tests saw: tests/failures.py."""

import json
from itertools import groupby
from pathlib import Path

from markdown_table import table

RECORD = Path(__file__).parent / "results" / "failures.json"
CODES = {
    0: "0: the command goes on",
    1: "1: something failed",
    2: "2: the request cannot be met",
    3: "3: the machine lacks what was asked for",
    4: "4: data are missing or damaged",
    5: "5: training left the finite numbers",
    130: "130: interrupted (Ctrl-C)",
    143: "143: terminated (SIGTERM)",
}


def failures() -> str:
    """A table for each exit code: the case, and the lines that the user sees."""
    cases = sorted(json.loads(RECORD.read_text()).items(), key=lambda item: (item[1]["exit"], item[0]))
    parts = []
    for code, rows in groupby(cases, key=lambda item: item[1]["exit"]):
        seen = [(case, "<br>".join(map(_cell, found["says"]))) for case, found in rows]
        parts += [f"### {CODES[code]}", table(("case", "what the user sees"), seen)]
    return "\n\n".join(parts)


def _cell(line: str) -> str:
    return f"`{line.replace('|', chr(92) + '|').replace('`', chr(39))}`"
