"""NumbaModule: a Numba CUDA kernel on the CPU, by way of the PTX that Numba makes of it.

So it runs with the types that Numba infers (a float64 that slipped in is there, too), and a fault names the line of
the Python source.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import offline
from .fault import KernelFault
from .ptx import PtxModule


class NumbaModule:
    """A kernel of one signature: NumbaModule(function, "void(float32[::1], int32)")(grid, block, args, shared_mem=0).

    function: a plain Python function, as cuda.jit would get it. args: 1-D C-contiguous arrays and NumPy scalars of
    the signature's types. check, order, seed, report: as in PtxModule. Compiled once, here; numba-cuda is imported
    only now. offline.MissingPackage, offline.CompileError, PtxError.
    """

    def __init__(
        self,
        function: Callable,
        signature: str,
        check: bool = False,
        order: str = "forward",
        seed: int = 0,
        report: Any = None,
    ):
        self._name = function.__name__
        self._types = [kind.strip() for kind in signature.partition("(")[2].rstrip(") ").split(",")]
        module = PtxModule(offline.numba_to_ptx(function, signature), check, order, seed, report)
        self._function = module.get_function(self._name)
        names = zip(inspect.signature(function).parameters, self._types, strict=True)
        self._function.labels = [name for name, kind in names for _ in range(7 if kind.endswith("[::1]") else 1)]

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0) -> None:
        """KernelFault; of kind bad-argument for an argument that is not of its type."""
        if len(args) != len(self._types):
            raise KernelFault(
                "bad-argument", self._name, f"{len(args)} arguments for the {len(self._types)} parameters"
            )
        values = [value for i, arg in enumerate(args) for value in self._values(i, arg)]
        self._function(grid, block, values, shared_mem=shared_mem)

    def _values(self, i: int, arg: Any) -> list[Any]:
        """The parameters that hold one argument: of an array meminfo, parent, count, item size, data, shape, stride."""
        kind = self._types[i]
        scalar = kind.removesuffix("[::1]")
        fits = isinstance(arg, np.generic) if scalar == kind else isinstance(arg, np.ndarray) and arg.ndim == 1
        if not fits or arg.dtype != np.dtype(scalar):
            given = f"{type(arg).__name__}{f' of {arg.dtype}, shape {arg.shape}' if hasattr(arg, 'dtype') else ''}"
            raise KernelFault("bad-argument", self._name, f"argument {i} is {kind}, got {given}")
        if scalar == kind:
            return [arg]
        return [
            np.uint64(0),
            np.uint64(0),
            np.uint64(arg.size),
            np.uint64(arg.itemsize),
            arg,
            np.uint64(arg.size),
            np.uint64(arg.itemsize),
        ]
