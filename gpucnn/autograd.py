"""Reverse-mode differentiation over a tape.

A `Function` computes one output from arrays and knows its gradient. Applying it to tensors that require a
gradient records it: the output remembers its Function, the Function its inputs and its number on the tape.
`backward` walks those numbers downwards from the output, so that every Function runs once, after all that
used its result.

    x, y are Tensors (tensor.py) outside a Function and raw arrays inside it; gradients are named gx, gy.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from .backend import Array, Device
from .profiling import in_pass

_tape_numbers = itertools.count()
_recording = [True]  # a one-element list: changing it in no_grad needs no `global`


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside: for evaluation and for updates of parameters."""
    before, _recording[0] = _recording[0], False
    try:
        yield
    finally:
        _recording[0] = before


class Function:
    """One differentiable operation; a new instance for each call.

    A subclass takes its parameters in `__init__`, computes `forward(*arrays) -> array`, keeps on itself what
    `backward(gy) -> one gradient per input` will need, and skips a gradient where `self.needs[i]` is False
    (None then stands in its place). There are no second derivatives.
    """

    repeatable = False  # whether it computes with kernels alone, from nothing but its arrays: see graph.py
    from_one = False  # whether `backward` takes None for a gradient of 1, which then nobody has to write
    needs: tuple[bool, ...] = ()
    gy: Array | None = None  # the gradient of the output, collected from all its users
    inputs: Any = ()  # the Tensors it was applied to; None once backward has run
    number = -1
    device: Device

    @classmethod
    def apply(cls, *inputs: Any, **parameters: Any) -> Any:
        """Run the Function on Tensors; recorded where one of them requires a gradient."""
        function = cls(**parameters)
        function.device = device = getattr(inputs[0], "device", None)  # type: ignore[assignment]
        needs = []
        for x in inputs:
            if not hasattr(x, "requires_grad"):
                raise TypeError(f"{cls.__name__} takes Tensors, got {type(x).__name__}: wrap it, Tensor(x)")
            if x.device is not device and x.device != device:
                raise ValueError(f"{cls.__name__}: one tensor is on {device!r}, another on {x.device!r}")
            needs.append(x.requires_grad)
        recorded = _recording[0] and True in needs
        if recorded:
            function.needs = tuple(needs)
        with in_pass(function, "forward", inputs):
            y = inputs[0].like(function.forward(*[x.data for x in inputs]))
        if recorded:
            function.inputs = inputs
            function.number = next(_tape_numbers)
            y.function, y.requires_grad = function, True
        return y

    def forward(self, *inputs: Array) -> Array:
        raise NotImplementedError

    def backward(self, gy: Array) -> Any:
        raise NotImplementedError

    def into(self, *which: int) -> tuple | None:
        """Where the gradients of these inputs are to be written, if they are parameters and somebody said so.

        None as soon as one of them has a gradient, to which the new one will be added.
        """
        if len(self.inputs) <= max(which):
            return None
        inputs = [self.inputs[i] for i in which]
        places = tuple(getattr(x, "into", None) for x in inputs)
        return None if any(p is None or x.grad is not None for p, x in zip(places, inputs, strict=True)) else places

    def run_backward(self) -> None:
        """Hand the gradients of the inputs on to whatever produced them, and let go of everything."""
        with in_pass(self, "backward"):
            gradients = self.backward(self.gy)
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        for x, needed, gx in zip(self.inputs, self.needs, gradients, strict=True):
            if needed:
                if gx is None or gx.shape != x.data.shape:
                    given = None if gx is None else gx.shape
                    raise RuntimeError(f"{type(self).__name__}.backward gave {given} for an input of {x.data.shape}")
                _accumulate(x.function or x, gx)
        self.__dict__ = {"inputs": None}


def backward(y: Any, gradient: Array | None) -> None:
    """Add d y / d leaf, weighted with `gradient` (of y's shape; None: 1), to the grad of every leaf behind y."""
    functions = tape(y)
    if gradient is None and not (functions and functions[0].from_one):
        gradient = y.device.xp.ones_like(y.data)
    if gradient is not None:
        _accumulate(y.function or y, gradient)
    for function in functions:
        function.run_backward()


def _accumulate(target: Any, gradient: Array) -> None:
    """Add to a Function's `gy` or to a leaf's `grad`; never in place, since gradients may share memory."""
    name = "gy" if isinstance(target, Function) else "grad"
    before = getattr(target, name)
    setattr(target, name, gradient if before is None else before + gradient)


def tape(y: Any) -> list[Function]:
    """Every Function that the Tensor y depends on, latest first. RuntimeError where one has run backward already."""
    waiting = [y.function] if y.function else []
    found = {id(function): function for function in waiting}
    while waiting:
        function = waiting.pop()
        if function.inputs is None:
            raise RuntimeError("backward() a second time over the same tape: its arrays are freed")
        for x in function.inputs:
            if x.function is not None and id(x.function) not in found:
                found[id(x.function)] = x.function
                waiting.append(x.function)
    return sorted(found.values(), key=attrgetter("number"), reverse=True)
