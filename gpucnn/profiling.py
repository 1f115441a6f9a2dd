"""Named ranges over training, for whoever listens: what a kernel runs for.

    step  batch  features.0.forward  features.0.backward_weight  cross_entropy.forward  optimizer

Modules, Functions and the kernels of a Device name themselves here, and loops name what lies around them with
`annotate`. Nothing listens unless somebody says so (`listening`) or a tool does: NVIDIA's tools put a library into the
process, and then the ranges are NVTX's, in the domain `gpucnn`.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

NOTHING: AbstractContextManager = nullcontext()  # what everybody is handed while nobody listens


class _End:
    """A context that ends what has begun already: in a `with`, of a call that begins something."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._end()


class Listener:
    """Keeps the names; what happens at the ends of a range is a subclass's `push` and `pop`.

    repeats: whether recorded steps may be repeated meanwhile; nothing names what runs in them.
    """

    repeats = False

    def __init__(self) -> None:
        self._model: Any = None  # the module that ran as the outermost one
        self._names: dict[int, str] = {}  # of the modules in it
        self._layers: list[str] = []
        self._ranges: list[str] = []
        self._of_range, self._of_layer, self._of_pass = map(_End, (self._end_range, self._end_layer, self._end_pass))

    def push(self, name: str, kernel: str) -> None:
        """A range begins; kernel: the function that computes there, or empty."""

    def pop(self) -> None:
        """The range that began last ends."""

    def applied(self, function: Any, layer: str, inputs: tuple) -> None:
        """A Function of a layer is about to compute forward, from these Tensors."""

    def called(self, source: str, function: str, kernel: Callable[..., Any], arguments: tuple) -> None:
        """`kernel`, a function of the kernels `source`, is about to compute from these arguments."""

    def range(self, name: str, kernel: str = "") -> _End:
        self._ranges.append(name)
        self.push(name, kernel)
        return self._of_range

    def layer(self, module: Any) -> _End:
        if not self._layers and self._model is not module:
            self._model, self._names = module, {id(each): name for name, each in module.named_modules()}
        self._layers.append(self._names.get(id(module), type(module).__name__))
        return self._of_layer

    def run(self, function: Any, direction: str, inputs: tuple) -> _End:
        """A Function's forward or backward; in backward, it is of the layer in which it ran forward."""
        kind = type(function).__name__
        if direction == "forward":
            function.layer = layer = (self._layers and self._layers[-1]) or _lower(kind)
            self.applied(function, layer, inputs)
        else:
            layer = getattr(function, "layer", "") or _lower(kind)  # nobody may have listened to its forward pass
        self._layers.append(layer)
        self.range(f"{layer}.{direction}", kind)
        return self._of_pass

    def of_kernel(self, source: str, function: str) -> _End:
        """A function of the kernels `source`, of the layer that runs; else it is of the range around it."""
        if self._layers:
            return self.range(f"{self._layers[-1]}.{function}", f"{source}.{function}")
        return self.range(self._ranges[-1] if self._ranges else source, f"{source}.{function}")

    def _end_range(self) -> None:
        self.pop()
        self._ranges.pop()

    def _end_layer(self) -> None:
        self._layers.pop()

    def _end_pass(self) -> None:
        self._end_range()
        self._end_layer()


@cache
def _lower(kind: str) -> str:
    """CrossEntropy -> cross_entropy"""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", kind).lower()


class Nvtx(Listener):
    """Ranges of NVTX, nested as they are here. ImportError without the package nvtx."""

    repeats = True

    def __init__(self) -> None:
        import nvtx

        super().__init__()
        self._domain = nvtx.get_domain("gpucnn")
        self._attributes = cache(self._domain.get_event_attributes)  # making them takes longer than a range

    def push(self, name: str, kernel: str) -> None:
        self._domain.push_range(self._attributes(name))

    def pop(self) -> None:
        self._domain.pop_range()


_listeners: list[Listener] = []
if os.environ.get("NVTX_INJECTION64_PATH"):  # set by nsys and ncu
    with suppress(ImportError):
        _listeners.append(Nvtx())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Inside, it hears of every range, and nobody else does."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.pop()


def annotate(name: str) -> AbstractContextManager:
    """A range around what runs inside."""
    return _listeners[-1].range(name) if _listeners else NOTHING


def in_layer(module: Any) -> AbstractContextManager:
    """What runs inside belongs to `module`; its dotted name is that in the outermost module that runs."""
    return _listeners[-1].layer(module) if _listeners else NOTHING


def in_pass(function: Any, direction: str, inputs: tuple = ()) -> AbstractContextManager:
    """A range `<layer>.<direction>` around a Function's forward or backward."""
    return _listeners[-1].run(function, direction, inputs) if _listeners else NOTHING


def repeating() -> bool:
    """Whether recorded steps may be repeated."""
    return not _listeners or _listeners[-1].repeats


def named(kernels: Any, source: str) -> Any:
    """The module `kernels`; while somebody listens, with a range `<layer>.<function>` around each of its functions."""
    return _Named(kernels, source, _listeners[-1]) if _listeners else kernels


class _Named:
    def __init__(self, kernels: Any, source: str, listener: Listener) -> None:
        self._kernels, self._source, self._listener = kernels, source, listener

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._kernels, name)
        if not callable(value):
            return value

        def in_range(*arguments: Any, **more: Any) -> Any:
            self._listener.called(self._source, name, value, arguments)
            with self._listener.of_kernel(self._source, name):
                return value(*arguments, **more)

        return in_range
