"""The arguments of layers: checked when they are made, and written short in their `repr`."""

from typing import Any


def positive(**sizes: int) -> None:
    """ValueError names the argument that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def short(value: Any) -> str:
    """(3, 3) -> "3", (3, 5) -> "(3, 5)", "same" -> "'same'"."""
    if isinstance(value, str):
        return repr(value)
    return str(value[0]) if value[0] == value[1] else str(tuple(value))
