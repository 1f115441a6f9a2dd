"""Is an implementation right? Every case against the reference in float64, between poisoned memory.

Each array lies between two guards. Those of an argument, and the results themselves, are filled with 0xFF: NaN as a
float32, and no place of a pooling window as a byte. So a value that was never written, or read from beside an array,
shows in the result. A guard or an argument that changed is a write to where nothing should be written; the guards of
results hold other bytes, so that a NaN read beside an argument and written beside a result is a change.
"""

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .arrays import Array
from .cases import Case
from .sim import KernelFault, mode

SCHEDULES = ("forward", "reverse", "random")

_GUARD = 1 << 16  # bytes, a multiple of every alignment; a wild write should still meet a guard


class Verdict(NamedTuple):
    """What came of a case: the largest error as a share of what is allowed, and what is wrong, if anything."""

    case: Case
    error: float
    fault: str = ""


def check(module: Any, cases: Iterable[Case], xp: ModuleType = np, sanitize: bool = False) -> Iterator[Verdict]:
    """The verdict on each case for an implementation's `module`, or the one function of it that all `cases` are of.

    xp: the array module to run on; NumPy means the simulator.

    sanitize: each case first once a schedule, every access checked for races, bounds and initialisation. Long cases are
    left out: that would take minutes for their millions of threads, which make the same accesses as in smaller ones;
    they are there for the width of indices, which a wrong result shows.
    """
    for case in cases:
        for order in SCHEDULES if sanitize and not case.long else ():
            with mode(check=True, order=order, seed=1):
                verdict = _compare(module, case, xp)
            if verdict.fault:
                break
        else:
            verdict = _compare(module, case, xp)
        yield verdict


@np.errstate(invalid="ignore")  # an infinity is dropped, or meets another one
def _compare(module: Any, case: Case, xp: ModuleType) -> Verdict:
    expected, single = case.expected(), case.single()
    arguments = [_Guarded(xp, value) if isinstance(value, np.ndarray) else value for value in single]
    results = [None if e is None else _poisoned(xp, e) for e in expected]
    out = tuple(result and result.array for result in results)
    try:
        plain = [value.array if isinstance(value, _Guarded) else value for value in arguments]
        function = module if callable(module) else getattr(module, case.function)
        function(*plain, out=out if len(out) > 1 else out[0])
    except KernelFault as fault:
        return Verdict(case, np.inf, str(fault))
    error = 0.0
    for number, (result, exact, allowed) in enumerate(zip(results, expected, case.tolerances, strict=True)):
        if result is None or exact is None:
            continue
        which = f"result {number}" if len(out) > 1 else "the result"
        if not result.guards_hold():
            return Verdict(case, np.inf, f"memory beside {which} was written")
        off = _error(result.host(), exact)
        if not off <= allowed:
            return Verdict(case, np.inf, _worst(which, result.host(), exact, off, allowed))
        error = max(error, off / allowed if allowed else 0.0)
    for value, given in zip(arguments, single, strict=True):
        if isinstance(value, _Guarded) and not (value.guards_hold() and np.array_equal(value.host(), given, True)):
            return Verdict(case, np.inf, "an argument, or memory beside it, was written")
    return Verdict(case, error)


class _Guarded:
    """An array of `values` between two guards; poisoned itself where `fill` is False."""

    def __init__(self, xp: ModuleType, values: np.ndarray, fill: bool = True) -> None:
        self.guard = 0xFF if fill else 0xA5
        self.buffer = xp.full(values.nbytes + 2 * _GUARD, self.guard, xp.uint8)
        inside = self.buffer[_GUARD : _GUARD + values.nbytes]
        inside[...] = 0xFF
        self.array: Array = inside.view(values.dtype).reshape(values.shape)
        if fill:
            self.array[...] = xp.asarray(values)

    def host(self) -> np.ndarray:
        return self.array if isinstance(self.array, np.ndarray) else self.array.get()

    def guards_hold(self) -> bool:
        return bool((self.buffer[:_GUARD] == self.guard).all()) and bool((self.buffer[-_GUARD:] == self.guard).all())


def _poisoned(xp: ModuleType, like: np.ndarray) -> _Guarded:
    """Room for a result, of single precision where `like` is of double."""
    return _Guarded(xp, np.empty(like.shape, np.float32 if like.dtype == np.float64 else like.dtype), fill=False)


def _error(actual: np.ndarray, exact: np.ndarray) -> float:
    """The largest difference; infinite where only one of the two is NaN, or infinite."""
    finite = np.isfinite(exact)
    if not np.array_equal(actual[~finite], exact[~finite], equal_nan=True):
        return np.inf
    differences = np.abs(actual[finite].astype(np.float64) - exact[finite])
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0))


def _worst(which: str, actual: np.ndarray, exact: np.ndarray, off: float, allowed: float) -> str:
    differences = np.nan_to_num(np.abs(actual.astype(np.float64) - exact), nan=np.inf)
    same = (actual == exact) | (np.isnan(actual) & np.isnan(exact))
    place = np.unravel_index(np.where(same, -1, differences).argmax(), exact.shape)
    where = f"[{', '.join(map(str, place))}]" if exact.shape else ""
    count = int((~(differences <= allowed) & ~same).sum())
    return (
        f"{which} is wrong in {count} of {exact.size} places, most at {where}: {actual[place]:.9g} instead of "
        f"{exact[place]:.9g} ({allowed:.2g} of difference is allowed)"
    )
