"""RawModule: cupy.RawModule's call form over NumPy arrays, on the CPU."""

from collections.abc import Sequence
from typing import Any

from .build import load
from .launch import Function
from .mode import Mode


class RawModule:
    """The kernels of a .cu text: RawModule(code=text, options=("-DTILE=16",)).get_function(name)(grid, block, args).

    check: judge every access, and raise KernelFault for what is wrong; order: "forward", "reverse" or "random" (from
    `seed`), the schedule of threads and blocks; report: an AccessReport that is to count every access, which a
    checked run does on the way. Nothing is compiled before the first get_function. TypeError for options in one string.
    """

    def __init__(
        self,
        code: str,
        options: Sequence[str] = (),
        check: bool = False,
        order: str = "forward",
        seed: int = 0,
        report: Any = None,
    ):
        if isinstance(options, str):
            raise TypeError(f"options are a tuple of strings, got {options!r}")
        self._code, self._options = code, tuple(options)
        self._mode = Mode(check, order, seed, report=report)

    def get_function(self, name: str) -> Function:
        """ValueError where the text has no such kernel; NoCompiler, CompileError."""
        mode = self._mode
        library = load(self._code, self._options, mode.check or mode.report is not None)
        if name not in library.kernels:
            raise ValueError(f"there is no kernel {name!r}; there are {', '.join(library.kernels) or 'none'}")
        return Function(library, library.kernels[name], mode.order, mode.seed, mode.report)
