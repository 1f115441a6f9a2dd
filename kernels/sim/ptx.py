"""PtxModule: PTX that NVRTC or Numba really emitted, on the CPU, by the runtime and the checker of RawModule.

The text is translated to C++, one statement an instruction (ptx_parse.py, ptx_emit.py, ptx.h), and compiled like a
.cu file. This sees what the source cannot: the types that Numba infers, and the strings of inline assembly.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from . import ptx_effects  # noqa: F401  its operations join those of ptx_operations
from .build import HERE, load
from .fault import KernelFault
from .launch import Function
from .mode import Mode
from .ptx_emit import size_of, translate
from .ptx_parse import Module, PtxError, Variable, parse

__all__ = ["PtxError", "PtxModule"]

_parse = lru_cache(64)(parse)


class PtxModule:
    """The kernels of a PTX text: PtxModule(code=text).get_function(name)(grid, block, args, shared_mem=0).

    check, order, seed, report: as in RawModule. A 64-bit parameter is a pointer where an array or None is passed and
    a number where a NumPy scalar is; a 32-bit one takes numpy.int32 and numpy.uint32, since PTX keeps no sign.
    PtxError, a NotImplementedError, for an instruction that is not translated.
    """

    def __init__(self, code: str, check: bool = False, order: str = "forward", seed: int = 0, report: Any = None):
        self._module = _parse(code)
        self._mode = Mode(check, order, seed, "ptx", report)

    def get_function(self, name: str) -> "PtxFunction":
        """ValueError where the text has no such kernel."""
        entries = {f.name: f.parameters for f in self._module.functions if f.entry}
        if name not in entries:
            raise ValueError(f"there is no kernel {name!r}; there are {', '.join(entries) or 'none'}")
        return PtxFunction(self._module, name, entries[name], self._mode)


class PtxFunction:
    """One kernel, translated and compiled at its first launch, when it is known which parameters are pointers.

    `labels` are what a fault calls the parameters: their numbers, because PTX keeps no names.
    """

    def __init__(self, module: Module, name: str, parameters: list[Variable], mode: Mode):
        self._module, self._name, self._parameters, self._mode = module, name, parameters, mode
        self._built: dict[frozenset[int], tuple[Function, list[int]]] = {}
        self.labels = [str(i) for i in range(len(parameters))]
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0) -> None:
        if len(args) != len(self._parameters):
            raise KernelFault(
                "bad-argument", self._name, f"{len(args)} arguments for {len(self._parameters)} parameters"
            )
        values = [*(self._value(i, arg) for i, arg in enumerate(args)), np.uint32(shared_mem)]
        pointers = frozenset(i for i, value in enumerate(values) if value is None or isinstance(value, np.ndarray))
        if pointers not in self._built:
            self._built[pointers] = self._build(pointers)
        function, read = self._built[pointers]
        function.max_dynamic_shared_size_bytes = self.max_dynamic_shared_size_bytes
        function(grid, block, [values[i] for i in read], shared_mem=shared_mem)

    def _build(self, pointers: frozenset[int]) -> tuple[Function, list[int]]:
        mode = self._mode
        text, read = translate(self._module, self._name, pointers)
        checked = mode.check or mode.report is not None
        library = load(text, (f"-I{HERE}",), checked, "-O1")  # more takes long, and what made the PTX has done it
        labels = [*self.labels, "shared_mem"]
        kernel = replace(library.kernels[self._name], names=tuple(labels[i] for i in read))
        return Function(library, kernel, mode.order, mode.seed, mode.report), read

    def _value(self, i: int, arg: Any) -> Any:
        """The argument as the C++ of its parameter wants it."""
        kind = self._parameters[i].type
        if kind in ("u64", "b64", "s64") and (arg is None or isinstance(arg, np.ndarray)):
            return arg
        width = size_of(kind)
        if (
            not isinstance(arg, np.generic)
            or arg.dtype.itemsize != width
            or (arg.dtype.kind == "f") != (kind[0] == "f")
        ):
            given = (
                f"numpy.{arg.dtype.name}"
                if isinstance(arg, (np.generic, np.ndarray))
                else f"a Python {type(arg).__name__}"
            )
            raise KernelFault(
                "bad-argument", self._name, f"argument {i} (.{kind}): {given} is no number of {width} bytes"
            )
        return arg if kind[0] == "f" else np.frombuffer(arg.tobytes(), f"u{width}")[0]
