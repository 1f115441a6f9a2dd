"""The shape table of a model, made by running it once on zeros."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .autograd import no_grad
from .backend import CPU
from .errors import UsageError
from .module import Module
from .tensor import Tensor


@dataclass(frozen=True)
class Row:
    """One layer: dotted name, the layer as text, output shape without the batch, number of parameters."""

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int


def summarize(model: Module, input_shape: tuple[int, ...]) -> list[Row]:
    """Rows in the order in which the layers run; UsageError names the layer that cannot take its input."""
    rows: list[Row] = []
    layers = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    first = next(model.parameters(), None)
    device, dtype = (first.device, first.dtype) if first else (CPU, np.float32)
    zeros = Tensor(np.zeros((1, *input_shape), dtype), device=device)
    modes = [(module, module.training) for module in model.modules()]
    try:
        for name, layer in layers:
            layer.forward = _recorder(name, layer, rows)  # type: ignore[method-assign]
        with no_grad():
            model.eval()(zeros)
    finally:
        for _, layer in layers:
            vars(layer).pop("forward", None)
        for module, training in modes:
            module.training = training
    return rows


def _recorder(name: str, layer: Module, rows: list[Row]) -> Any:
    """layer.forward that also writes its row."""
    forward = layer.forward

    def recorded(x: Tensor) -> Tensor:
        try:
            y = forward(x)
        except (ValueError, NotImplementedError) as error:
            raise UsageError(
                f"{name} {layer!r} cannot take {x.shape[1:]}: {error}", "change the layer or the input"
            ) from None
        rows.append(Row(name, repr(layer), y.shape[1:], sum(p.data.size for p in layer.parameters())))
        return y

    return recorded
