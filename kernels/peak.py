"""How fast a GPU multiplies and copies, at best: the roofs under which its kernels are read."""

from collections.abc import Callable
from typing import Any

from .arrays import Array
from .launch import CudaC, ceil_div

kernels = CudaC("peak")

CHAINS, _BLOCK = 8, 256  # those of peak.cu
FACTOR, TERM = 0.999, 0.001  # sums go to 1, and stay normal numbers


def multiply_adds(out: Array, rounds: int) -> int:
    """Let a thread for each element of out (a multiple of 256) compute; the floating-point operations of all."""
    kernels.launch("peak_multiply_adds", (ceil_div(out.size, _BLOCK),), (_BLOCK,), (out, FACTOR, TERM, rounds))
    return 2 * CHAINS * rounds * out.size


def roofs(repeats: int = 10) -> tuple[float, float]:
    """(GFLOP/s of float32 multiplications and additions, GB/s read and written in a copy) of CuPy's current GPU.

    The fastest of `repeats`: whatever else happens there only makes it slower. Takes about a second.
    """
    import cupy

    device = cupy.cuda.Device()
    out = cupy.empty(16 * _BLOCK * device.attributes["MultiProcessorCount"], "float32")
    size = min(1 << 30, device.mem_info[0] // 4) // 256 * 256
    x, y = (cupy.empty(size, "uint8") for _ in range(2))
    operations = multiply_adds(out, 1 << 14)
    flops = operations / min(_seconds(cupy, lambda: multiply_adds(out, 1 << 14)) for _ in range(repeats))
    copied = 2 * size / min(_seconds(cupy, lambda: y.data.copy_from_device_async(x.data, size)) for _ in range(repeats))
    return 1e-9 * flops, 1e-9 * copied


def _seconds(cupy: Any, run: Callable[[], object]) -> float:
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    run()
    last.record()
    last.synchronize()
    return 1e-3 * cupy.cuda.get_elapsed_time(first, last)
