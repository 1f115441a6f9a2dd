"""A launch's arguments against the kernel's parameters: what a GPU's driver would take without a word and misread.

CuPy hands a Python float over as 8 bytes to a `float` and an int as 8 bytes to an `int`, and a transposed array as
the memory that it was cut from. Here each of them is a KernelFault of kind bad-argument.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .build import Kernel
from .fault import KernelFault

_DTYPES = {
    "bool": np.bool_, "float": np.float32, "double": np.float64, "int": np.int32, "unsigned": np.uint32,
    "char": np.int8, "signed char": np.int8, "unsigned char": np.uint8, "short": np.int16,
    "unsigned short": np.uint16, "long": np.int64, "unsigned long": np.uint64, "long long": np.int64,
    "unsigned long long": np.uint64,
}  # fmt: skip
_VECTORS = {"float2": 2, "float4": 4, "int2": 2, "int4": 4, "uint2": 2, "uint4": 4}
_PYTHON = {np.bool_: bool, np.float64: float, np.int64: int}  # as wide in CuPy's hands as the parameter


def pack(kernel: Kernel, args: Sequence[Any]) -> ctypes.Array:
    """The arguments, 8 bytes each. KernelFault where an argument is not what the parameter says."""
    if not isinstance(args, (tuple, list)):
        raise KernelFault("bad-argument", kernel.name, f"the arguments are a tuple, got {_name(args)}")
    if len(args) != len(kernel.parameters):
        raise KernelFault(
            "bad-argument", kernel.name, f"{len(args)} arguments for the {len(kernel.parameters)} parameters ("
            f"{', '.join(kernel.parameters)})"
        )  # fmt: skip
    values = (ctypes.c_uint64 * len(args))()
    for i, parameter in enumerate(kernel.parameters):
        value = _value(kernel, i, parameter, args[i])
        ctypes.memmove(ctypes.byref(values, 8 * i), ctypes.byref(value), ctypes.sizeof(value))
    return values


def _value(kernel: Kernel, i: int, parameter: str, arg: Any) -> Any:
    def refuse(text: str) -> KernelFault:
        return KernelFault("bad-argument", kernel.name, f"argument {kernel.names[i]} ({parameter}): {text}")

    if parameter.endswith("*"):
        return _pointer(parameter[:-1], arg, refuse)
    if parameter not in _DTYPES:
        raise refuse("a vector is not passed by value here; pass its numbers one by one, or a pointer to it")
    dtype = np.dtype(_DTYPES[parameter])
    if type(arg) is _PYTHON.get(dtype.type):
        arg = np.asarray(arg, dtype)[()]
    if not isinstance(arg, np.generic):
        raise refuse(f"{_name(arg)} has no C type; pass numpy.{dtype.name}(...)")
    if arg.dtype != dtype:
        raise refuse(f"numpy.{arg.dtype.name} is not numpy.{dtype.name}")
    return np.ctypeslib.as_ctypes_type(dtype)(arg.item())


def _pointer(target: str, arg: Any, refuse: Any) -> ctypes.c_void_p:
    if arg is None:
        return ctypes.c_void_p()
    base = target.removeprefix("const ")
    element = base.rstrip("234") if base in _VECTORS else base
    if not isinstance(arg, np.ndarray):
        raise refuse(f"{_name(arg)} is neither a NumPy array nor None")
    if "*" in base:
        raise refuse("a pointer to pointers takes None alone: no array holds addresses that a kernel may follow")
    if base != "void":
        dtype = np.dtype(_DTYPES["unsigned" if element == "uint" else element])
        if arg.dtype != dtype:
            raise refuse(f"an array of {arg.dtype.name}, not of {dtype.name}{_order(arg, dtype)}")
    if not arg.flags.c_contiguous:
        raise refuse(f"an array of shape {arg.shape} that is not C-contiguous; pass a copy")
    if not (arg.flags.writeable or target.startswith("const ")):
        raise refuse("a read-only array for a pointer that is not const")
    width = arg.itemsize * _VECTORS.get(base, 1)
    if arg.ctypes.data % width:
        raise refuse(f"an array at an address that is not a multiple of {width}")
    return ctypes.c_void_p(arg.ctypes.data)


def _order(array: np.ndarray, dtype: np.dtype) -> str:
    same = array.dtype == dtype.newbyteorder()
    return f": its bytes are in the other order; pass array.astype(numpy.{dtype.name})" if same else ""


def _name(arg: Any) -> str:
    return f"a Python {type(arg).__name__}" if isinstance(arg, (bool, int, float)) else f"a {type(arg).__name__}"
