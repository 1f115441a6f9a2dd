"""The fully connected layer, and what it shares with convolution: a weight and a bias."""

import math
from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..initializers import draws, uniform_fan_in
from ..module import Module, Parameter
from ..tensor import Tensor
from .arguments import positive


class Affine(Module):
    """weight of `shape` (out, ...), bias (out,) or None, each value drawn within 1 / sqrt(inputs of an output)."""

    def __init__(self, shape: Sequence[int], bias: bool) -> None:
        self.weight = Parameter(np.zeros(shape, np.float32))
        self.bias = Parameter(np.zeros(shape[0], np.float32)) if bias else None
        if draws():
            self.reset_parameters(np.random.default_rng())

    def reset_parameters(self, rng: np.random.Generator) -> None:
        fan_in = math.prod(self.weight.shape[1:])
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                values = uniform_fan_in(rng, parameter.shape, fan_in)
                parameter.data = parameter.device.asarray(values, parameter.dtype)


class Linear(Affine):
    """x (..., in_features) -> (..., out_features); weight (out, in), bias (out,)"""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        positive(in_features=in_features, out_features=out_features)
        super().__init__((out_features, in_features), bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"
