"""Activations: relu, sigmoid, tanh, gelu, softmax, log_softmax."""

import math

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


class ReLU(Function):
    repeatable = True

    def forward(self, x: Array) -> Array:
        self.y = self.device.kernel("relu", x.dtype).forward(self.device.contiguous(x))
        return self.y

    def backward(self, gy: Array) -> Array:
        return self.device.kernel("relu", gy.dtype).backward(self.device.contiguous(gy), self.y)


class Sigmoid(Function):
    def forward(self, x: Array) -> Array:
        self.y = 0.5 * (1 + self.device.xp.tanh(0.5 * x))  # exp(-x) would overflow
        return self.y

    def backward(self, gy: Array) -> Array:
        return gy * (self.y * (1 - self.y))


class Tanh(Function):
    def forward(self, x: Array) -> Array:
        self.y = self.device.xp.tanh(x)
        return self.y

    def backward(self, gy: Array) -> Array:
        return gy * (1 - self.y * self.y)


class GELU(Function):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    def forward(self, x: Array) -> Array:
        self.x = x
        self.phi = 0.5 * (1 + self.device.special.erf(x * math.sqrt(0.5)))
        return x * self.phi

    def backward(self, gy: Array) -> Array:
        density = self.device.xp.exp(-0.5 * self.x * self.x) * (1 / math.sqrt(2 * math.pi))
        return gy * (self.phi + self.x * density)


class Softmax(Function):
    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Array) -> Array:
        self.y = self.device.xp.exp(x - x.max(self.dim, keepdims=True))
        self.y /= self.y.sum(self.dim, keepdims=True)
        return self.y

    def backward(self, gy: Array) -> Array:
        return self.y * (gy - (gy * self.y).sum(self.dim, keepdims=True))


class LogSoftmax(Function):
    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Array) -> Array:
        shifted = x - x.max(self.dim, keepdims=True)  # exp(x) would overflow
        self.y = shifted - self.device.xp.log(self.device.xp.exp(shifted).sum(self.dim, keepdims=True))
        return self.y

    def backward(self, gy: Array) -> Array:
        return gy - self.device.xp.exp(self.y) * gy.sum(self.dim, keepdims=True)


def relu(x: Tensor) -> Tensor:
    """max(x, 0); its gradient at 0 is 0"""
    return ReLU.apply(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return Sigmoid.apply(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(x)


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x) with the exact normal distribution function."""
    return GELU.apply(x)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`"""
    return Softmax.apply(x, dim=dim)


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `dim`"""
    return LogSoftmax.apply(x, dim=dim)
