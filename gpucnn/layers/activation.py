"""Layers without state: activations, and the step from images to vectors."""

from .. import functional as F
from ..module import Module
from ..tensor import Tensor


class Flatten(Module):
    """x (n, ...) -> (n, features)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, 1)


class ReLU(Module):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class GELU(Module):
    """x * Phi(x)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)
