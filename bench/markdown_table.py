"""Tables in Markdown, as report.py writes them."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """The heads, a line, and the rows; an empty cell is ""."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heads, ["---"] * len(heads), *rows))
