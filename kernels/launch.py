"""Typed launches: all that stands between an op and its kernels.

    kernels = CudaC("maxpool2d")                     the kernels of maxpool2d.cu, compiled at their first launch
    kernels.launch("maxpool2d_forward", grid, block, (x, y, code, planes, ...))

    @numba_kernel                                    the same in Numba, typed by its annotations
    def maxpool2d_forward(x: Floats, y: Floats, code: Bytes, planes: Int, ...): ...
    maxpool2d_forward.launch(grid, block, (x, y, code, planes, ...))

CuPy and Numba look at little of what they hand to a kernel: CuPy passes a Python float as a double and a Python
int as an int64, both ignore strides. So every argument is checked here and cast to the type that the kernel
declares, on metadata alone, without waiting for a device.

The arrays decide where a kernel runs: CuPy's on the current stream of their GPU, NumPy's on the simulator.
"""

import inspect
import operator
import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache, partial
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import recording
from .arrays import Array, namespace

Grid = tuple[int, ...]

# The types of a Numba kernel's parameters; arrays arrive flat.
Floats, Ints, Bytes = "float32[::1]", "int32[::1]", "uint8[::1]"
Float, Int, Unsigned = "float32", "int32", "uint32"

_C_TYPES = {
    "float": "f4",
    "double": "f8",
    "int": "i4",
    "unsigned": "u4",
    "unsigned int": "u4",
    "signed char": "i1",
    "unsigned char": "u1",
    "unsigned short": "u2",
    "long long": "i8",
    "unsigned long long": "u8",
}
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\s*\(([^)]*)\)'
)
_PARAMETER = re.compile(
    r"(const\s+)?([\w ]+?)(\d?)(\s+const)?\s*(\*?)\s*(?:(?:__restrict__|const)\b\s*)*(\w+)\s*(\[\s*\])?"
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def ceil_div(a: int, b: int) -> int:
    """The number of blocks of `b` that cover `a`."""
    return -(-a // b)


class Parameter(NamedTuple):
    """One parameter of a kernel; `align` is what its pointer must be a multiple of, in bytes."""

    name: str
    dtype: np.dtype
    pointer: bool = False
    const: bool = False
    align: int = 0


def signatures(text: str) -> dict[str, tuple[Parameter, ...]]:
    """The kernels of a CUDA C text with their parameters. ValueError names a type that no array has."""
    return {
        name: tuple(_c_parameter(name, part) for part in map(str.strip, parameters.split(",")) if part)
        for name, parameters in _KERNEL.findall(COMMENT.sub(" ", text))
    }


def _c_parameter(kernel: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text) if len(text) < 200 else None  # it takes the square of the length
    if match is None or match[2].strip() not in _C_TYPES:
        raise ValueError(
            f"{kernel}: the parameter {text[:60]!r} has none of the types {', '.join(_C_TYPES)} and pointers"
        )
    const, c_type, vector, const_too, star, name, array = match.groups()
    dtype = np.dtype(_C_TYPES[c_type.strip()])
    return Parameter(name, dtype, bool(star or array), bool(const or const_too), dtype.itemsize * int(vector or 1))


def typed(kernel: str, parameters: Sequence[Parameter], arguments: Sequence[Any]) -> tuple[list, Array]:
    """`arguments` as `parameters` want them, and one of the arrays: they all live where it lives.

    TypeError for a wrong count, kind or dtype; ValueError for an array that is not C-contiguous, not aligned,
    read-only or on another device than the one before it, and for an integer that does not fit.
    """
    if len(arguments) != len(parameters):
        raise TypeError(f"{kernel} takes {len(parameters)} arguments, got {len(arguments)}")
    if not any(parameter.pointer and value is not None for parameter, value in zip(parameters, arguments, strict=True)):
        raise TypeError(f"{kernel} got no array, so nothing says on which device to run")
    places: dict[Any, str] = {}
    cast = []
    for parameter, value in zip(parameters, arguments, strict=True):
        what = f"{kernel}: {parameter.name}"
        if not parameter.pointer:
            cast.append(_scalar(what, parameter.dtype, value))
            continue
        if value is not None:
            array = value
            places.setdefault(_check_array(what, parameter, value), parameter.name)
            if len(places) > 1:
                raise ValueError(f"{kernel}: {' and '.join(places.values())} are on different devices")
        cast.append(value)
    return cast, array


def _scalar(what: str, dtype: np.dtype, value: Any) -> Any:
    if dtype.kind == "f":
        if not isinstance(value, (int, float, np.number)):
            raise TypeError(f"{what} is a {dtype} number, got {type(value).__name__}")
        return dtype.type(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is an {dtype} number, got {type(value).__name__}") from None
    if not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise ValueError(f"{what} = {number} does not fit {dtype}")
    return dtype.type(number)


def _check_array(what: str, parameter: Parameter, array: Array) -> Any:
    """Where `array` lives: None on the host, the number of its GPU otherwise."""
    if not hasattr(array, "flags") or isinstance(array, np.generic):
        raise TypeError(f"{what} is an array of {parameter.dtype}, got {type(array).__name__}")
    if array.dtype != parameter.dtype:
        raise TypeError(f"{what} is an array of {parameter.dtype}, got {array.dtype}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{what} is not C-contiguous (shape {array.shape}, strides {array.strides})")
    on_gpu = hasattr(array, "get")
    if not (parameter.const or on_gpu or array.flags.writeable):
        raise ValueError(f"{what} is read-only")
    address = array.data.ptr if on_gpu else array.ctypes.data
    if address % max(parameter.align, 1):
        raise ValueError(f"{what} is not aligned to {parameter.align} bytes")
    return array.device.id if on_gpu else None


class CudaC:
    """The kernels of one CUDA C file: those of an op, or any file given by its path."""

    def __init__(self, op: str, path: Path | None = None) -> None:
        self.op, self.path = op, path

    @cached_property
    def text(self) -> str:
        from . import source

        return source(self.op, self.path)

    @cached_property
    def signatures(self) -> dict[str, tuple[Parameter, ...]]:
        return signatures(self.text)

    def launch(
        self, name: str, grid: Grid, block: Grid, arguments: Sequence, shared_mem: int = 0, defines: tuple = ()
    ) -> None:
        """Run the kernel `name` on `grid` blocks of `block` threads; an empty grid has nothing to do.

        arguments: arrays, numbers, and None for a null pointer. shared_mem: bytes of dynamic shared memory.
        defines: options like "-DTILE=16"; each set of them is compiled once.
        """
        arguments, array = typed(name, self.signatures[name], arguments)
        xp = namespace(array)
        if 0 in grid:
            return
        if xp is np:
            function = _granted(_simulated(self.text, defines, name, _mode()), shared_mem)
            _start(name, partial(function, grid, block, shared_mem=shared_mem), arguments)
            return
        with array.device:
            function = _granted(_compiled(self.text, defines, name, xp), shared_mem)
            _start(name, partial(function, grid, block, shared_mem=shared_mem), arguments)


class NumbaKernel:
    """A kernel in Numba CUDA; its annotations (Floats, Int, ...) are its signature."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.name = function.__name__
        types = inspect.get_annotations(function)
        self.parameters = tuple(_numba_parameter(name, kind) for name, kind in types.items())
        self.signature = f"void({', '.join(types.values())})"

    def launch(self, grid: Grid, block: Grid, arguments: Sequence, shared_mem: int = 0) -> None:
        """As CudaC.launch; None stands for an empty array, so that a kernel asks for the length."""
        arguments, array = typed(self.name, self.parameters, arguments)
        xp = namespace(array)
        if 0 in grid:
            return
        flat = [
            (xp.empty(0, p.dtype) if value is None else value.reshape(-1)) if p.pointer else value
            for p, value in zip(self.parameters, arguments, strict=True)
        ]
        if xp is np:
            function = _simulated_numba(self.function, self.signature, _mode())
            _start(self.name, partial(function, grid, block, shared_mem=shared_mem), flat)
            return
        from .offline import numba_cuda

        cuda = numba_cuda()
        with array.device, cuda.gpus[array.device.id]:
            stream = cuda.external_stream(xp.cuda.get_current_stream().ptr)
            views = [
                cuda.as_cuda_array(value, sync=False) if p.pointer else value  # sync=True would wait for the stream
                for p, value in zip(self.parameters, flat, strict=True)
            ]
            launcher = self._jitted[grid, block, stream, shared_mem]
            _start(self.name, lambda views: launcher(*views), views)

    @cached_property
    def _jitted(self) -> Any:
        from .offline import numba_cuda

        return numba_cuda().jit(self.signature)(self.function)


def _numba_parameter(name: str, kind: str) -> Parameter:
    dtype = np.dtype(kind.removesuffix("[::1]"))
    return Parameter(name, dtype, kind.endswith("[::1]"), align=dtype.itemsize)


def numba_kernel(function: Callable) -> NumbaKernel:
    """Decorator: a Numba CUDA kernel, compiled at its first launch."""
    return NumbaKernel(function)


def total(shape: tuple, limit: int = 2**31 - 1) -> int:
    """The number of elements of `shape`. NotImplementedError where int32 cannot count them."""
    count = prod(shape)
    if count > limit:
        raise NotImplementedError(f"an array of shape {shape}: the kernels count in int32, at most {limit} elements")
    return count


def _mode() -> Any:
    from .sim import current_mode

    return current_mode()


def _granted(function: Any, shared_mem: int) -> Any:
    """`function`, which may have more dynamic shared memory than any GPU grants without being asked."""
    if shared_mem > 48 * 1024:
        function.max_dynamic_shared_size_bytes = shared_mem
    return function


def _start(name: str, run: Callable[[tuple], object], arguments: list) -> None:
    """Make a launch, unless somebody watches and takes it over: see recording.py."""

    def call(*arguments: Any) -> None:
        run(arguments)

    call.__name__ = name
    if not recording.taken(call, arguments):
        call(*arguments)


@cache
def _compiled(text: str, options: tuple, name: str, xp: ModuleType) -> Any:
    return xp.RawModule(code=text, options=options).get_function(name)


@lru_cache(256)
def _simulated(text: str, options: tuple, name: str, mode: Any) -> Any:
    from . import offline, sim

    how = {"check": mode.check, "order": mode.order, "seed": mode.seed, "report": mode.report}
    if mode.tier == "ptx":
        ptx = offline.cuda_c_to_ptx(text, (*options, "-ftz=true"))  # as CuPy compiles: denormals are zero
        return sim.PtxModule(code=ptx, **how).get_function(name)
    return sim.RawModule(code=text, options=options, **how).get_function(name)


@lru_cache(256)
def _simulated_numba(function: Callable, signature: str, mode: Any) -> Any:
    from . import sim

    return sim.NumbaModule(function, signature, check=mode.check, order=mode.order, seed=mode.seed, report=mode.report)
