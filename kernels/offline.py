"""PTX without a GPU: CUDA C by NVRTC, Numba functions by NVVM. Both compilers come as wheels and ask for no driver.

    cuda_c_to_ptx(text, ("-DTILE=16",))                       CUDA C -> PTX
    numba_to_ptx(function, "void(float32[::1], int32)")       a Numba CUDA kernel -> PTX

The PTX carries the lines of its source, so that whoever reads it (kernels/sim/ptx.py) can name them.
Documentation: https://docs.nvidia.com/cuda/nvrtc and https://nvidia.github.io/numba-cuda.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

ARCH = "sm_80"  # the oldest with cp.async and with mma.sync of tf32 and bf16


class MissingPackage(ImportError):
    """A package of the extra `sim` is not installed; `hint` is the command that installs it."""

    hint = "pip install 'gpucnn[sim]'"
    exit_code = 3

    def __init__(self, what: str, cause: ImportError) -> None:
        super().__init__(f"{what} is not installed ({cause})")
        self.add_note(self.hint)


class CompileError(Exception):
    """A kernel's text is refused; the message is the compiler's first error, `log` all that it said."""

    hint = "mend the line it names"

    def __init__(self, log: str) -> None:
        lines = [line for line in log.splitlines() if line.strip()] or ["no reason given"]
        self.log = log
        super().__init__(next((line for line in lines if "error" in line.lower()), lines[0]))


def cuda_c_to_ptx(text: str, options: Sequence[str] = (), arch: str = ARCH, name: str = "kernel.cu") -> str:
    """Compile CUDA C to PTX.

    options: as for NVRTC, like "-DTILE=16"; C++17 and line information are set. name: the file of lines without #line.
    Raises CompileError with NVRTC's log, MissingPackage where its wheels are not installed. Kept for the process.
    """
    return _cuda_c_to_ptx(text, tuple(options), arch, name)


@lru_cache(64)
def _cuda_c_to_ptx(text: str, options: tuple[str, ...], arch: str, name: str) -> str:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise MissingPackage("cuda-bindings, which calls NVRTC", error) from None
    flags = [f"--gpu-architecture={arch}", "--std=c++17", "--generate-line-info", *options]
    try:
        _, program = nvrtc.nvrtcCreateProgram(text.encode(), name.encode(), 0, [], [])
    except RuntimeError as error:  # what cuda-bindings raises where it finds no libnvrtc
        raise MissingPackage("NVRTC", ImportError(str(error).strip().splitlines()[0])) from None
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
            raise CompileError(f"NVRTC refuses {name} for {arch}:\n{log.strip() or status.name}")
        return _read(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _read(size: Callable, get: Callable, program: Any) -> str:
    _, length = size(program)
    buffer = bytearray(length)
    get(program, buffer)
    return buffer.decode().rstrip("\0")


@lru_cache(256)
def numba_to_ptx(function: Callable, signature: str, arch: str = ARCH) -> str:
    """Compile a plain Python function as a Numba CUDA kernel to PTX, its entry named as the function is.

    signature: like "void(float32[::1], int32)". An array arrives as seven parameters: meminfo, parent, item
    count, item size, data, shape, stride (sim/numba_module.py fills them).
    Raises CompileError with Numba's message, MissingPackage where numba-cuda or NVVM is not installed. Kept for the
    process: what the function reads of its globals is what they were at first, as in Numba.
    """
    try:
        cuda = numba_cuda()
        from numba.core.errors import NumbaError
        from numba.cuda.errors import UnsupportedBytecodeError  # type: ignore[attr-defined]  # of numba-cuda
    except ImportError as error:
        raise MissingPackage("numba-cuda", error) from None
    if not hasattr(cuda, "compile"):
        raise MissingPackage("numba-cuda", ImportError("this numba.cuda has no compile()"))
    capability = _capability(arch)
    try:
        with _no_device_asked(capability):
            ptx, _ = cuda.compile(
                function, signature, cc=capability, device=False, abi="numba", output="ptx", lineinfo=True
            )
    except (NumbaError, UnsupportedBytecodeError) as error:
        reason = " ".join(str(error).splitlines()[:2])
        log = f"error in {function.__name__}{signature.removeprefix('void')}: {reason}\n\n{error}"
        raise CompileError(log) from error
    except ImportError as error:
        raise MissingPackage("NVVM, the compiler behind numba-cuda", error) from None
    match = re.search(r"\.visible\s+\.entry\s+([\w$]+)", ptx)
    assert match, "a kernel's PTX has an entry"
    return re.sub(rf"(?<![\w$]){re.escape(match[1])}", function.__name__, ptx)


@cache
def numba_cuda() -> Any:
    """The module numba.cuda, ready to compile.

    numba-cuda asks NumPy for row_stack, which NumPy 2.5 no longer has, and will not be changed
    (https://github.com/NVIDIA/numba-cuda/issues/907); so the name is there while it is imported.
    """
    from numba import cuda

    if not hasattr(cuda, "compile") or "row_stack" in vars(np):
        return cuda
    with patch.object(np, "row_stack", np.vstack, create=True):
        import_module("numba.cuda.cudaimpl")
    return cuda


def _capability(arch: str) -> tuple[int, int]:
    number = int(arch.removeprefix("sm_"))
    return number // 10, number % 10


@contextmanager
def _no_device_asked(capability: tuple[int, int]) -> Iterator[None]:
    """Device functions are compiled for the current GPU, and there may be none: let Numba find this one.

    Entered with Numba's compiler lock held, which every compilation takes.
    """
    from numba.cuda import dispatcher
    from numba.cuda.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        asked = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = asked
