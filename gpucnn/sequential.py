"""Sequential: modules one after another, some of them as one op where the device has kernels for it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import functional as F
from .backend import Device
from .layers import Conv2d, MaxPool2d, ReLU
from .module import Module
from .profiling import in_layer
from .tensor import Tensor


class Sequential(Module):
    """Modules one after another; their names are 0, 1, 2, ..."""

    def __init__(self, *modules: Module) -> None:
        for index, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes Modules, argument {index} is {module!r}")
            setattr(self, str(index), module)

    def forward(self, x: Tensor) -> Tensor:
        for step in fused([module for _, module in self.children()], x.device, x.dtype):
            x = step(x)
        return x


def fused(modules: list[Module], device: Device, dtype: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    """`modules`, but Conv2d, ReLU and perhaps MaxPool2d in a row as one step, where `device` has kernels for it."""
    if not device.fuses("conv2d_relu_maxpool"):
        yield from modules
        return
    pools = getattr(device.kernel("conv2d_relu_maxpool", dtype), "POOLS", None)  # those that it takes; None: any
    waiting = modules[::-1]
    while waiting:
        layer: Any = waiting.pop()
        if not (_is(layer, Conv2d) and layer.groups == 1 and waiting and _is(waiting[-1], ReLU)):
            yield layer
            continue
        waiting.pop()
        size = _pool_size(waiting[-1]) if waiting else None
        if size and (pools is None or size in pools):
            waiting.pop()
        else:
            size = (1, 1)
        yield partial(_together, layer, pool=size)


def _together(layer: Conv2d, x: Tensor, pool: tuple[int, int]) -> Tensor:
    """The convolution with the ReLU and the pooling behind it; to profilers, all of it is the convolution's."""
    with in_layer(layer):
        return F.conv2d_relu_maxpool(x, layer.weight, layer.bias, layer.stride, layer.padding, pool)


def _pool_size(layer: Any) -> tuple[int, int] | None:
    """The size of the windows where `layer` is max pooling over windows side by side."""
    if not _is(layer, MaxPool2d):
        return None
    size, stride, padding = layer.window
    return size if stride == size and padding == (0, 0) else None


def _is(module: Any, kind: type[Module]) -> bool:
    """Whether it is what `kind` says and nothing more: no subclass, and not with a `forward` of its own."""
    return type(module) is kind and "forward" not in vars(module)
