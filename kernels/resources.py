"""What the compilers make of each kernel, on a machine without a GPU: registers, spills, shared memory, doubles.

ptxas, which turns PTX into machine code, works without a driver and says what a kernel will occupy. Registers and
shared memory decide how many blocks run side by side on a multiprocessor; a spill is a register kept in memory.
Meaning of the figures: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#multiprocessor-level
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from types import ModuleType
from typing import Any
from unittest.mock import patch

from . import load, offline, ops
from .cases import table
from .launch import CudaC, NumbaKernel

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")  # Turing, Ampere, Hopper, Blackwell

_KERNEL = re.compile(r"Compiling entry function '(\w+)'.*?(?=Compiling entry function|\Z)", re.DOTALL)
_SHARED = re.compile(r"^(?:\.visible )?\.shared .*?\.b8 \w+\[(\d+)\];", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """What is compiled at once: a CUDA C file with one set of defines, or one Numba kernel."""

    op: str
    kernels: CudaC | NumbaKernel
    defines: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = f"{self.op}.cu" if isinstance(self.kernels, CudaC) else f"{self.op}_numba.{self.kernels.name}"
        return " ".join((name, *self.defines))

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those that have the instructions: Turing's tensor cores multiply neither tf32 nor bfloat16."""
        return ARCHITECTURES[1:] if self.op == "mma" else ARCHITECTURES

    def ptx(self, arch: str) -> str:
        """Compiled as at a launch on a GPU of `arch`: CuPy flushes denormals to zero."""
        if isinstance(self.kernels, CudaC):
            virtual = arch.replace("sm", "compute")  # PTX alone: no machine code beside it
            return offline.cuda_c_to_ptx(self.kernels.text, (*self.defines, "-ftz=true"), virtual, f"{self.op}.cu")
        return offline.numba_to_ptx(self.kernels.function, self.kernels.signature, arch)


def sources() -> Iterator[Source]:
    """Every source of the shipped kernels: what the functions of an op launch over its shape table, and the rest."""
    known: set[Source] = set()  # several ops launch the kernels of mma.cu
    for op, implementations in ops().items():
        for impl in implementations:
            if impl not in ("xp", "cpu", "exact"):
                module = load(op, impl)
                found = _launched(op, impl, module)
                seen = {source.kernels for source in found}
                others = [k for k in vars(module).values() if isinstance(k, (CudaC, NumbaKernel)) and k not in seen]
                found |= {_source(op, kernels) for kernels in others}
                yield from sorted(found - known, key=str)
                known |= found


def _source(op: str, kernels: CudaC | NumbaKernel, defines: tuple[str, ...] = ()) -> Source:
    return Source(kernels.op if isinstance(kernels, CudaC) else op, kernels, defines)


def _launched(op: str, impl: str, module: ModuleType) -> set[Source]:
    found = set()

    def note(kernels: CudaC | NumbaKernel, *_: Any, defines: tuple[str, ...] = (), **__: Any) -> None:
        if isinstance(kernels, NumbaKernel):  # made by a function of its constants
            constants = inspect.getclosurevars(kernels.function).nonlocals
            defines = tuple(f"{name}={constants[name]}" for name in sorted(constants) if name.startswith("TILE_"))
        found.add(_source(op, kernels, defines))

    with patch.object(CudaC, "launch", note), patch.object(NumbaKernel, "launch", note):
        for case in table(op, impl):
            single = [a.astype("f4") if getattr(a, "dtype", None) == "f8" else a for a in case.arguments]
            getattr(module, case.function)(*single)
    return found


@dataclass(frozen=True)
class Usage:
    """Of a thread: registers, and bytes of slow local memory. Of a block: bytes of shared memory of a fixed size."""

    registers: int
    spills: int  # stores and loads of registers that there was no room for
    stack: int  # spilled registers, and arrays that are indexed by a variable
    shared: int


@lru_cache(512)
def machine_code(ptx: str, arch: str) -> tuple[bytes, str]:
    """A PTX text as a cubin for a GPU of `arch`, like "sm_90", and what ptxas says of it. Kept for the process."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=arch, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    return bytes(linker.link("cubin").code), linker.get_info_log()


def usage(ptx: str, arch: str) -> dict[str, Usage]:
    """What each kernel of a PTX text occupies on a GPU of `arch`."""
    _, log = machine_code(ptx, arch)
    module_wide = sum(map(int, _SHARED.findall(ptx)))  # how Numba declares it, and ptxas does not count it
    found = {}
    for match in _KERNEL.finditer(log):
        registers, spills, stack, shared = (
            sum(map(int, re.findall(what, match[0])))
            for what in (r"Used (\d+) registers", r"(\d+) bytes spill", r"(\d+) bytes stack frame", r"(\d+) bytes smem")
        )
        found[match[1]] = Usage(registers, spills, stack, shared + module_wide)
    return found


def compilers() -> dict[str, str]:
    """The versions that figures depend on."""
    from cuda.bindings import nvrtc

    _, major, minor = nvrtc.nvrtcVersion()
    return {"NVRTC": f"{major}.{minor}", **{name: version(name) for name in ("numba", "numba-cuda")}}


def doubles(ptx: str) -> list[str]:
    """The instructions of a PTX text that compute in double precision: one literal 0.0 makes a float kernel slow."""
    return [line.strip() for line in ptx.splitlines() if ".f64" in line]
