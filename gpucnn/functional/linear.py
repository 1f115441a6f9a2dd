"""The fully connected layer; the arithmetic is in the kernels of the op linear."""

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor
from .shape import same_dtype, weights


class Linear(Function):
    """Over the last dimension; the kernels know only matrices."""

    repeatable = True

    def forward(self, x: Array, w: Array, b: Array | None = None) -> Array:
        contiguous = self.device.contiguous
        self.x_shape, self.x = x.shape, contiguous(x.reshape(-1, x.shape[-1]))
        kernel = self.device.kernel("linear", w.dtype)
        self.w, self.b = weights(kernel, contiguous(w)), None if b is None else contiguous(b)
        y = kernel.forward(self.x, self.w, self.b)
        return y.reshape(*x.shape[:-1], len(w))

    def backward(self, gy: Array) -> tuple:
        kernel = self.device.kernel("linear", self.w.dtype)
        gy = self.device.contiguous(gy.reshape(-1, gy.shape[-1]))
        gx = kernel.backward_input(gy, self.w).reshape(self.x_shape) if self.needs[0] else None
        gw, gb = kernel.backward_weight(gy, self.x, self.into(1, 2)) if any(self.needs[1:]) else (None, None)
        return (gx, gw) if self.b is None else (gx, gw, gb)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., n_in), weight (n_out, n_in), bias (n_out,) -> (..., n_out): x @ weight.T + bias"""
    if x.ndim < 1 or weight.ndim != 2:
        raise ValueError(f"linear takes x (..., n_in) and weight (n_out, n_in), got {x.shape} and {weight.shape}")
    n_out, n_in = weight.shape
    if x.shape[-1] != n_in:
        raise ValueError(f"the input has {x.shape[-1]} features, the linear layer takes {n_in}")
    if bias is not None and bias.shape != (n_out,):
        raise ValueError(f"the bias has shape {bias.shape}, the linear layer has {n_out} outputs")
    same_dtype(x, weight)
    return Linear.apply(*((x, weight) if bias is None else (x, weight, bias)))
