"""What it costs to call a kernel, whatever it computes: with one array, with eight more, and with eight numbers more.

raw, numba   a launch of one thread, from Python until it returns: a GPU then works on by itself
cupy         the same kernel through CuPy's RawKernel, without the checks of launch.py
cpu          a call of compiled code
threads      and one that starts all threads
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from .arrays import Array
from .clock import Cpu, middle
from .launch import CudaC, Floats, Int, numba_kernel

MORE = 8  # arguments beside the first: 1 to 8, or arrays of one of them
_SUM = 36
KINDS = {"cpu": ("cpu", "threads"), "cuda": ("raw", "numba", "cupy"), "sim": ("raw", "numba")}  # of a device

kernels = CudaC("launchcost")


@numba_kernel
def launch_one(y: Floats):
    y[0] = 1


@numba_kernel
def launch_arrays(
    y: Floats, a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats, g: Floats, h: Floats
):  # fmt: skip
    y[0] = a[0] + b[0] + c[0] + d[0] + e[0] + f[0] + g[0] + h[0]


@numba_kernel
def launch_numbers(y: Floats, a: Int, b: Int, c: Int, d: Int, e: Int, f: Int, g: Int, h: Int):
    y[0] = a + b + c + d + e + f + g + h


def cost(kind: str, xp: ModuleType, clock: Cpu, calls: int = 1000, rounds: int = 7) -> dict[str, float]:
    """us, us_min, us_max: microseconds of a call with one array; us_array, us_number: of one argument more.

    Arrays are those of `xp`: NumPy's are the CPU's, or the simulator's. ArithmeticError where a call does nothing, or
    something else, before or after it was timed.
    """
    y, *arrays = (xp.full(1, i, "float32") for i in range(MORE + 1))
    given: dict[str, tuple] = {"one": (y,), "arrays": (y, *arrays), "numbers": (y, *range(1, MORE + 1))}
    found: dict[str, dict[str, float]] = {}
    for name, arguments in given.items():
        call, expected = partial(_call(kind, f"launch_{name}", xp), arguments), 1 if name == "one" else _SUM
        _check(call, y, expected)
        found[name] = middle([clock.issued(call, calls) for _ in range(rounds)], calls)
        _check(call, y, expected)
    each = {f"us_{name.removesuffix('s')}": found[name]["us"] - found["one"]["us"] for name in ("arrays", "numbers")}
    return found["one"] | {name: round(us / MORE, 4) for name, us in each.items()}


def _check(call: Callable[[], object], y: Array, expected: int) -> None:
    y[...] = 0
    call()
    if float(y[0]) != expected:
        raise ArithmeticError(f"an empty kernel wrote {float(y[0])} instead of {expected}")


def one(kind: str, xp: ModuleType) -> Callable[[], object]:
    """A call with one array."""
    return partial(_call(kind, "launch_one", xp), (xp.zeros(1, "float32"),))


def _call(kind: str, name: str, xp: ModuleType) -> Callable[[tuple], object]:
    if kind == "raw":
        return partial(kernels.launch, name, (1,), (1,))
    if kind == "numba":
        return partial(globals()[name].launch, (1,), (1,))
    if kind == "cupy":
        bare = xp.RawKernel(kernels.text, name)
        return lambda given: bare((1,), (1,), tuple(np.int32(a) if isinstance(a, int) else a for a in given))
    from .cpu import launchcost

    function = getattr(launchcost, name if kind == "cpu" else f"{name}_on_threads")
    return lambda given: function(*given)
