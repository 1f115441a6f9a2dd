"""A kernel of a library, ready to be called: checks the launch as a GPU's driver does, runs it, raises what it did."""

import ctypes
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import pack
from .build import DYNAMIC_ROOM, Kernel, Library, runtime
from .fault import KernelFault, index
from .lines import HINT, find_tool, name_variables, source_lines
from .mode import ORDERS
from .report import AccessReport

_U3 = ctypes.c_uint * 3
_I3 = ctypes.c_int * 3


class _Array(ctypes.Structure):  # gpusim::Array
    _fields_ = (
        ("host", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("element", ctypes.c_int), ("argument", ctypes.c_int),
        ("writable", ctypes.c_int),
    )  # fmt: skip


class _Launch(ctypes.Structure):  # gpusim::Launch
    _fields_ = (
        ("kernel", ctypes.c_void_p), ("values", ctypes.c_void_p), ("value_count", ctypes.c_int),
        ("array_count", ctypes.c_int), ("arrays", ctypes.c_void_p), ("dynamic_shared", ctypes.c_void_p),
        ("dynamic_room", ctypes.c_ulong), ("dynamic_bytes", ctypes.c_ulong), ("grid", _U3), ("block", _U3),
        ("order", ctypes.c_int), ("checked", ctypes.c_int), ("reported", ctypes.c_int), ("seed", ctypes.c_ulonglong),
    )  # fmt: skip


class _Place(ctypes.Structure):  # gpusim::Place
    _fields_ = (
        ("file", ctypes.c_char_p), ("line", ctypes.c_int), ("instruction", ctypes.c_uint),
        ("thread", _I3), ("block", _I3),
    )  # fmt: skip


class _Fault(ctypes.Structure):  # gpusim::Fault
    _fields_ = (
        ("kind", ctypes.c_char * 32), ("text", ctypes.c_char * 480), ("places", ctypes.c_int), ("place", _Place * 2),
    )  # fmt: skip


_one_launch = threading.Lock()  # the runtime has one set of threads; ctypes lets go of Python's lock meanwhile
if hasattr(os, "register_at_fork"):  # a child would find it taken for good, and the threads as the launch left them
    os.register_at_fork(
        before=_one_launch.acquire, after_in_parent=_one_launch.release, after_in_child=_one_launch.release
    )

_GRID = (2**31 - 1, 65535, 65535)
_BLOCK = (1024, 1024, 64)
_THREADS = 1024
_SHUFFLED = 2**28  # blocks: a list of them has to be made


class Function:
    """One kernel, called like CuPy's: function(grid, block, args, shared_mem=0).

    grid, block: up to three ints; args: C-contiguous NumPy arrays, None for a null pointer, NumPy scalars of the
    parameter's type. `max_dynamic_shared_size_bytes` raises the 48 KB that a block may ask for, as it does in CuPy.
    report counts the accesses of a checked library.
    """

    def __init__(self, library: Library, kernel: Kernel, order: str, seed: int, report: AccessReport | None = None):
        self._library, self._kernel, self._order, self._seed, self._report = library, kernel, order, seed, report
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0) -> None:
        kernel = self._kernel
        grid3, block3 = self._dimensions("grid", grid, _GRID), self._dimensions("block", block, _BLOCK)
        if self._order == "random" and grid3[0] * grid3[1] * grid3[2] > _SHUFFLED:
            raise KernelFault(
                "bad-argument", kernel.name, f"grid {tuple(grid)}: random order is of at most 2**28 blocks"
            )
        threads = block3[0] * block3[1] * block3[2]
        if threads > (kernel.most_threads or _THREADS):
            limit = f"__launch_bounds__({kernel.most_threads})" if kernel.most_threads else f"{_THREADS} threads"
            raise KernelFault("bad-argument", kernel.name, f"a block of {tuple(block)} is beyond {limit}")
        if not isinstance(shared_mem, (int, np.integer)):
            raise KernelFault("bad-argument", kernel.name, f"shared_mem {shared_mem!r} is no number of bytes")
        most = min(self.max_dynamic_shared_size_bytes, DYNAMIC_ROOM)
        if not 0 <= shared_mem <= most:
            text = f"{shared_mem} bytes of shared memory, of at most {most}: max_dynamic_shared_size_bytes raises it"
            raise KernelFault("bad-argument", kernel.name, text)
        values = pack(kernel, args)
        arrays = [
            _Array(arg.ctypes.data, arg.nbytes, arg.itemsize, i, arg.flags.writeable)
            for i, arg in enumerate(args)
            if isinstance(arg, np.ndarray)
        ]
        every = (_Array * len(arrays))(*arrays)
        request = _Launch(
            kernel.call, ctypes.addressof(values), len(values), len(arrays), ctypes.addressof(every),
            self._library.dynamic_shared, self._library.dynamic_room, min(shared_mem, self._library.dynamic_room),
            _U3(*grid3), _U3(*block3),
            ORDERS.index(self._order), self._library.checked, self._report is not None, self._seed,
        )  # fmt: skip
        fault = _Fault()
        with _one_launch:
            failed = runtime().gpusim_launch(ctypes.byref(request), ctypes.byref(fault))
            if self._report is not None and not failed:
                self._report.add(kernel.name, self._library.path, runtime())
        if failed:
            raise self._fault(fault)

    def _dimensions(self, what: str, given: Sequence[int], most: tuple[int, int, int]) -> tuple[int, ...]:
        if not isinstance(given, (tuple, list)) or not all(isinstance(size, (int, np.integer)) for size in given):
            raise KernelFault("bad-argument", self._kernel.name, f"{what} {given!r} is no tuple of 1 to 3 ints")
        padded = (*given, 1, 1, 1)[:3]
        if not 1 <= len(given) <= 3 or not all(1 <= size <= limit for size, limit in zip(padded, most, strict=True)):
            raise KernelFault("bad-argument", self._kernel.name, f"{what} {tuple(given)}, of 1 to {most}")
        return padded

    def _fault(self, fault: _Fault) -> KernelFault:
        places = fault.place[: fault.places]
        lines = tuple(self._line(place) for place in places)
        thread, block = (tuple(places[0].thread), tuple(places[0].block)) if places else (None, None)
        other = ""
        if len(places) == 2:
            other = f"; the other is thread {index(places[1].thread)} of block {index(places[1].block)} at {lines[1]}"
        if "?" in lines and not find_tool("addr2line"):
            other += f" ({HINT})"
        text = re.sub(r"\bargument (\d+)", self._named, fault.text.decode())
        text = name_variables(self._library.path, text)
        return KernelFault(fault.kind.decode(), self._kernel.name, text, lines, thread, block, other)

    def _named(self, argument: re.Match) -> str:
        return f"argument {self._kernel.names[int(argument[1])]}"

    def _line(self, place: _Place) -> str:
        if place.file:
            return f"{Path(place.file.decode()).name}:{place.line}"
        if not place.instruction:
            return "?"
        return source_lines(self._library.path, (place.instruction,))[place.instruction]
