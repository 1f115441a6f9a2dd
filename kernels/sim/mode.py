"""How kernels are to be simulated from here on: a context variable, read by whoever constructs a module.

with mode(check=True, order="random", seed=3):
    ...  # every launch on the simulator is checked
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from .report import AccessReport

ORDERS = ("forward", "reverse", "random")
TIERS = ("source", "ptx")


@dataclass(frozen=True)
class Mode:
    """check: judge every access; order, seed: the schedule of threads and blocks; tier: run the source text or the
    PTX that the GPU's compiler makes of it; report: an AccessReport that is to count every access, or None."""

    check: bool = False
    order: str = "forward"
    seed: int = 0
    tier: str = "source"
    report: AccessReport | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r} is none of {', '.join(ORDERS)}")
        if self.tier not in TIERS:
            raise ValueError(f"tier {self.tier!r} is none of {', '.join(TIERS)}")


_mode: ContextVar[Mode] = ContextVar("mode", default=Mode())  # noqa: B039, it is frozen


def current_mode() -> Mode:
    return _mode.get()


@contextmanager
def mode(**changes: Any) -> Iterator[Mode]:
    """Mode's fields by name; what is not named stays as it is. TypeError for another name, ValueError for a value."""
    token = _mode.set(replace(_mode.get(), **changes))
    try:
        yield _mode.get()
    finally:
        _mode.reset(token)
