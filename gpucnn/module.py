"""Module and Parameter: how state is found, named, moved, saved and loaded."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .backend import Device, to_host
from .initializers import draws
from .profiling import in_layer
from .tensor import Tensor


class Parameter(Tensor):
    """A tensor that training changes. into: where its gradient is to be written, if somebody wants it there."""

    __slots__ = ("into",)

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        if draws():  # else zeros that nobody has touched, which take no memory yet
            self.data = self.data.copy()  # training changes it in place, and `data` is the caller's
        self.into: Any = None


class Module:
    """State and a `forward`. Parameters, buffers (plain Tensors) and Modules are found among the attributes."""

    training = True

    def __call__(self, *inputs: Any) -> Any:
        with in_layer(self):
            return self.forward(*inputs)

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Draw this layer's own parameters anew; layers without any do nothing."""

    def initialize(self, seed: int) -> "Module":
        """Draw every parameter of the model anew, in order, from one generator seeded with `seed`."""
        rng = np.random.default_rng(seed)
        for module in self.modules():
            module.reset_parameters(rng)
        return self

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) for each module directly below."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple | dict):
                inside = value.values() if isinstance(value, dict) else value
                if any(isinstance(each, Module | Parameter) for each in inside):
                    raise TypeError(f"{type(self).__name__}.{name} hides modules in a container: use Sequential")

    def named_modules(self, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) for this module (its name is empty) and all below, in order, each one once."""
        seen = set() if seen is None else seen
        if id(self) not in seen:
            seen.add(id(self))
            yield prefix, self
            for name, child in self.children():
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator["Module"]:
        """This module and all below, in order."""
        return (module for _, module in self.named_modules())

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) for every parameter and buffer, in order."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}.{name}" if prefix else name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), in order; one that several modules share once, under its first name."""
        seen = set()
        for name, value in self.named_tensors():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter, in order."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Dotted name -> a host copy of each parameter and buffer; PyTorch's keys and layouts."""
        return {name: np.array(to_host(tensor.data)) for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the values of `state`; ValueError names what is missing, unknown or of another shape."""
        own = dict(self.named_tensors())
        faults = [f"missing {name}" for name in own if name not in state]
        faults += [f"unknown {name}" for name in state if name not in own]
        faults += [
            f"{name} is {tuple(state[name].shape)}, expected {tensor.shape}"
            for name, tensor in own.items()
            if name in state and tuple(state[name].shape) != tensor.shape
        ]
        if faults:
            more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise ValueError("weights do not fit the model: " + "; ".join(faults[:3]) + more)
        for name, tensor in own.items():
            tensor.data = tensor.device.asarray(np.asarray(state[name]).copy(), tensor.dtype)

    def to(self, device: Device, dtype: Any = None) -> "Module":
        """Move every parameter and buffer to `device`, floating-point ones as `dtype`; gradients are dropped."""
        for _, tensor in self.named_tensors():
            tensor.data = device.asarray(tensor.data, dtype if tensor.dtype.kind == "f" else None)
            tensor.device, tensor.grad = device, None
            if isinstance(tensor, Parameter):
                tensor.into = None
        return self

    def train(self, mode: bool = True) -> "Module":
        """Switch dropout and batch normalisation to training, or to evaluation."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """`train(False)`"""
        return self.train(False)

    def extra_repr(self) -> str:
        """The arguments shown in `repr`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.children()]
        inside = "\n" + "\n".join(lines) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({inside})"
