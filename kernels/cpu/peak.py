"""How fast this CPU multiplies and copies, at best: the roofs under which its kernels are read."""

import time
from collections.abc import Callable

import numba
import numpy as np
from numba import prange

from .compiled import compiled, inlined
from .simd import LANES, lane_sum, splat

CHAINS = 8  # sums that do not wait for each other: two units that take 4 cycles each
FACTOR, TERM = 0.999, 0.001  # sums go to 1, and stay normal numbers
_ROUNDS = 1 << 20  # a millisecond or two, and few for a copy: one of many comes between two interruptions
_COPIED = 1 << 24  # float32: twice 64 MiB, more than the cache of a core holds
_PARTS = 32


def multiply_adds(out: np.ndarray, rounds: int) -> int:
    """Compute `rounds` times in each of the CHAINS vectors of each element of out; the operations of all."""
    _multiply_adds(out, rounds)
    return 2 * CHAINS * LANES * rounds * out.size


def copy(x: np.ndarray, y: np.ndarray) -> int:
    """y = x, float32 (n,), on all threads; the bytes read and written."""
    _copy(x, y)
    return x.nbytes + y.nbytes


def roofs(seconds: float = 0.5) -> tuple[float, float]:
    """(GFLOP/s of float32 multiplications and additions, GB/s read and written in a copy), of all threads in use.

    The fastest of as many as fit into `seconds`, for each: whatever else happens here only makes it slower.
    """
    out = np.empty(numba.get_num_threads(), np.float32)
    x, y = np.zeros((2, _COPIED), np.float32)
    return 1e-9 * _best(lambda: multiply_adds(out, _ROUNDS), seconds), 1e-9 * _best(lambda: copy(x, y), seconds)


def _best(run: Callable[[], int], seconds: float) -> float:
    """The most that `run` gets done in a second; its first call may compile."""
    run()
    most, stop = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        started = time.perf_counter()
        most = max(most, run() / (time.perf_counter() - started))
    return most


@compiled("void(f4[::1], i8)", parallel=True)
def _multiply_adds(out, rounds):
    for part in prange(out.size):
        out[part] = _chains(rounds)


@inlined
def _chains(rounds):
    """The sum of all lanes of all chains."""
    factor, term = splat(np.float32(FACTOR)), splat(np.float32(TERM))
    a, b, c, d = splat(np.float32(0)), splat(np.float32(1)), splat(np.float32(2)), splat(np.float32(3))
    e, f, g, h = splat(np.float32(4)), splat(np.float32(5)), splat(np.float32(6)), splat(np.float32(7))
    for _ in range(rounds):
        a, b, c, d = a * factor + term, b * factor + term, c * factor + term, d * factor + term
        e, f, g, h = e * factor + term, f * factor + term, g * factor + term, h * factor + term
    return lane_sum((a + b) + (c + d) + ((e + f) + (g + h)))


@compiled("void(f4[::1], f4[::1])", parallel=True)
def _copy(x, y):
    for part in prange(_PARTS):
        for i in range(part * x.size // _PARTS, (part + 1) * x.size // _PARTS):
            y[i] = x[i]
