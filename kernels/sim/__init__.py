"""Kernels for a GPU, run on a CPU: the same text, thread by thread, under a checker of every access."""

from .compiler import CompileError, NoCompiler
from .fault import KernelFault
from .mode import Mode, current_mode, mode
from .numba_module import NumbaModule
from .ptx import PtxError, PtxModule
from .raw_module import RawModule
from .report import AccessReport

__all__ = [
    "AccessReport",
    "CompileError",
    "KernelFault",
    "Mode",
    "NoCompiler",
    "NumbaModule",
    "PtxError",
    "PtxModule",
    "RawModule",
    "current_mode",
    "mode",
]
