"""What kernels that are compiled for the CPU need: to be compiled, and threads that do not fight."""

from collections.abc import Callable

from .backend import Device, compiles_for_cpu
from .errors import UsageError


def set_threads(count: int, device: Device) -> None:
    """Compute on `count` threads on the CPU, in this thread's kernels; UsageError where it has not as many cores."""
    import numba
    from gpucnn_kernels.cpu.compiled import start_threads
    from threadpoolctl import ThreadpoolController

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= count <= most:
        raise UsageError(
            f"--threads {count}: there are {most} cores here", f"give 1 to {most}" if most > 1 else "give 1"
        )
    start_threads()  # they must be chosen before they are counted
    numba.set_num_threads(count)
    if not compiles_for_cpu(device):  # beside compiled kernels, BLAS keeps to one
        ThreadpoolController().limit(limits=count, user_api="blas")


def prepare(device: Device, run: Callable[[], object]) -> None:
    """Compile ahead what `run` will need on this device; its results mean nothing, and its effects should be none."""
    if compiles_for_cpu(device):
        from gpucnn_kernels.cpu.prepare import prepare as compile_ahead

        compile_ahead(run)


def unfavourable(device: Device) -> list[tuple[str, str]]:
    """(what slows the kernels down, what to do) for each such thing on this machine; known after a first step."""
    if not compiles_for_cpu(device):
        return []
    from gpucnn_kernels.cpu import compiled

    return compiled.unfavourable()
