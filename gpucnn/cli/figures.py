"""Figures of passes and kernels, read back from what `--json` has said of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..roofs import Roofs


def read_figures(file: Path, hint: str, **wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """The object in the last line of `file`; DataError with `hint` where what is in it is not what a program wrote.

    It has a model, a batch_size, a device and roofs, and of each name in `wanted` what that function finds right.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text().splitlines()[-1])
        json.dumps(found, allow_nan=False)  # it will be said again
        if all(right(found[name]) for name, right in (_ALWAYS | wanted).items()):
            return found
    except FileNotFoundError:
        raise DataError(f"{file} does not exist", hint) from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        pass
    raise DataError(f"{file} holds no figures of kernels", hint)


def are_rows(rows: Any) -> bool:
    """Whether these are rows of passes; of those that compute, with their times and rates."""
    return isinstance(rows, list) and all(_is_row(row) for row in rows)


def are_costs(costs: Any) -> bool:
    """Whether this is {range: {"flops": ..., "bytes": ...}}."""
    return all({*cost} == {"flops", "bytes"} and all(map(is_count, cost.values())) for cost in costs.values())


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def is_time(value: Any) -> bool:
    """Whether this is a time that was measured, or null."""
    return value is None or _is_positive(value)


def _is_row(row: Any) -> bool:
    names = isinstance(row["name"], str) and isinstance(row.get("kernels", ""), str)
    return names and (not row.get("gflops") or all(_is_positive(row[name]) for name in ("us", "gflops", "intensity")))


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 1e-18 < value < 1e18


def _are_roofs(roofs: Any) -> bool:
    return roofs is None or all(map(_is_positive, vars(Roofs(**roofs)).values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_ALWAYS: dict[str, Callable[[Any], bool]] = {
    "model": _is_text,
    "device": _is_text,
    "batch_size": is_count,
    "roofs": _are_roofs,
}
