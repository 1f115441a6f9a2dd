"""What each layer of a model makes of an input, and the table of shapes and arithmetic that follows from it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backend import CPU
from .costs import Costs
from .errors import UsageError
from .module import Module, Parameter
from .profiling import listening
from .tensor import Tensor


@dataclass(frozen=True)
class Row:
    """One layer: dotted name, the layer as text, output shape without the batch, number of its own parameters.

    flops, training_flops: floating-point operations an image, of its forward pass and of all its passes: see costs.py.
    """

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int
    training_flops: int


def summarize(model: Module, input_shape: tuple[int, ...]) -> list[Row]:
    """Rows in the order in which the layers are done; UsageError names the layer that cannot take its input."""
    first = next(model.parameters(), None)
    device, dtype = (first.device, first.dtype) if first else (CPU, np.float32)
    zeros = Tensor(np.zeros((1, *input_shape), dtype), device=device)
    with listening(costs := Costs()):
        outputs = layer_outputs(model, zeros)
    calls = Counter(name for name, *_ in outputs)
    found = []
    for name, layer, y in outputs:
        passes = {
            run: cost.flops // calls[name] for run, cost in costs.passes.items() if run.rpartition(".")[0] == name
        }
        flops = passes.get(f"{name}.forward", 0), sum(passes.values())
        found.append(Row(name, _text(layer), y.shape[1:], sum(p.data.size for p in _own(layer)), *flops))
    return found


def layer_outputs(model: Module, x: Tensor) -> list[tuple[str, Module, Tensor]]:
    """(dotted name, layer, output) of each layer in the order in which they are done, in evaluation mode and unfused.

    A layer is a module without others below it, or with parameters beside theirs.
    UsageError names the layer that cannot take its input.
    """
    outputs: list[tuple[str, Module, Tensor]] = []
    layers = [(name, module) for name, module in model.named_modules() if _own(module) or not any(module.children())]
    modes = [(module, module.training) for module in model.modules()]
    try:
        for name, layer in layers:
            layer.forward = _recorder(name, layer, outputs)  # type: ignore[method-assign]
        model.eval()(x)
    finally:
        for _, layer in layers:
            vars(layer).pop("forward", None)
        for module, training in modes:
            module.training = training
    return outputs


def _own(module: Module) -> list[Parameter]:
    return [value for value in vars(module).values() if isinstance(value, Parameter)]


def _text(layer: Module) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"


def _recorder(name: str, layer: Module, outputs: list) -> Any:
    """layer.forward that also keeps its output."""
    forward = layer.forward

    def recorded(x: Tensor) -> Tensor:
        try:
            y = forward(x)
        except (ValueError, NotImplementedError) as error:
            raise UsageError(
                f"{name} {_text(layer)} cannot take {x.shape[1:]}: {error}", "change the layer or the input"
            ) from None
        outputs.append((name, layer, y))
        return y

    return recorded
