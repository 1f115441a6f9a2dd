"""A run of kernels, written down to be repeated without the Python that chose and prepared them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

Watcher = Callable[[Any, tuple], object]

_watcher: Watcher | None = None


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Inside, `watcher(kernel, arguments)` sees every call first; where it says True, the kernel does nothing."""
    global _watcher  # noqa: PLW0603
    _watcher = watcher
    try:
        yield
    finally:
        _watcher = None


def taken(kernel: Callable, arguments: Any) -> bool:
    """For whoever is about to call `kernel`: shows the call to the watcher, and says whether it has taken it over."""
    return _watcher is not None and bool(_watcher(kernel, arguments))


class _Place(NamedTuple):
    """An argument that lies in an input: number `at` of `arguments`, `offset` bytes behind where `input` begins."""

    arguments: list
    at: int
    input: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]


class Recording:
    """The kernels that `run(*inputs)` calls on the CPU, with their arguments; `result` is what it returned.

    Called with other inputs, it repeats the calls with those in the place of the first ones; what `result` is made of
    then holds the new numbers. That is what `run` would return if it only calls kernels, chosen by shapes alone.
    """

    fault = None  # every run can be recorded; see Capture

    def __init__(self, run: Callable[..., Any], *inputs: np.ndarray) -> None:
        calls: list[tuple[Any, list]] = []
        with watched(lambda kernel, arguments: calls.append((kernel, list(arguments)))):
            self.result = run(*inputs)
        self._calls = [(getattr(kernel, "call", kernel), arguments) for kernel, arguments in calls]
        self._form = _form(inputs)
        self._places = [
            _Place(arguments, i, k, _start(argument) - _start(x), argument.shape, argument.dtype, argument.strides)
            for _, arguments in self._calls
            for i, argument in enumerate(arguments)
            for k, x in enumerate(inputs)
            if isinstance(argument, np.ndarray) and np.may_share_memory(argument, x)
        ]
        self._let_go()

    def takes(self, *inputs: np.ndarray) -> bool:
        """Whether they lie in memory as the first ones did, and as many threads compute: some memory is for each."""
        return _form(inputs) == self._form

    def __call__(self, *inputs: np.ndarray) -> Any:
        """`result`, computed from `inputs`, which it must take."""
        for place in self._places:
            x = inputs[place.input]
            memory = _memory(x)
            offset = _start(x) - _start(memory) + place.offset
            place.arguments[place.at] = np.ndarray(place.shape, place.dtype, memory, offset, place.strides)
        for call, arguments in self._calls:
            call(*arguments)
        self._let_go()
        return self.result

    def _let_go(self) -> None:
        """Of the inputs: their memory is not ours."""
        for place in self._places:
            place.arguments[place.at] = None


def _form(inputs: tuple[np.ndarray, ...]) -> tuple:
    numba: Any = sys.modules.get("numba")  # not loaded: no kernel runs on its threads
    threads = numba.get_num_threads() if numba else 0
    return threads, *((x.shape, x.strides, x.dtype, x.flags.writeable) for x in inputs)


def _start(x: np.ndarray) -> int:
    return x.__array_interface__["data"][0]


def _memory(x: np.ndarray) -> np.ndarray:
    """The array of which x, a view of a view, is a part."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x
