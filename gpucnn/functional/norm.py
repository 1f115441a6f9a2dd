"""Normalisation over the batch, over the features of an example, and over neighbouring channels."""

from collections.abc import Sequence

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


class BatchNorm(Function):
    """Over every dimension but the second; the arithmetic is in the kernels of the op batch_norm.

    running: mean, variance and number of batches, which training changes in place.
    """

    repeatable = True

    def __init__(self, running: tuple, training: bool, momentum: float, eps: float) -> None:
        self.running, self.training, self.momentum, self.eps = running, training, momentum, eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.x, self.weight = self.device.contiguous(x), weight
        kernel = self.device.kernel("batch_norm", x.dtype)
        arguments = self.x, weight, bias, *self.running
        if self.training:
            places = None, None, None, *self.running
            y, self.mean, self.scale, *_ = kernel.forward(*arguments, self.momentum, self.eps, places)
        else:
            self.mean = self.running[0]
            y, self.scale = kernel.evaluate(*arguments[:-1], self.eps)
        return y

    def backward(self, gy: Array) -> tuple:
        kernel = self.device.kernel("batch_norm", gy.dtype)
        places = None, *(self.into(1, 2) or (None, None))
        of_forward = self.x, self.weight, self.mean, self.scale, self.training
        return kernel.backward(self.device.contiguous(gy), *of_forward, places)


class LayerNorm(Function):
    """Over the last `ndim` dimensions, of each example by itself (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""

    def __init__(self, ndim: int, eps: float) -> None:
        self.ndim, self.eps = ndim, eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.dims, self.others = tuple(range(-self.ndim, 0)), tuple(range(x.ndim - self.ndim))
        self.weight = weight
        centred = x - x.mean(self.dims, keepdims=True)
        self.scale = 1 / self.device.xp.sqrt((centred * centred).mean(self.dims, keepdims=True) + self.eps)
        self.normal = centred * self.scale
        return self.normal * weight + bias

    def backward(self, gy: Array) -> tuple:
        gw, gb = (gy * self.normal).sum(self.others), gy.sum(self.others)
        gx = None
        if self.needs[0]:
            g = gy * self.weight
            along = (g * self.normal).mean(self.dims, keepdims=True)
            gx = self.scale * (g - g.mean(self.dims, keepdims=True) - self.normal * along)
        return gx, gw, gb


class LocalResponseNorm(Function):
    """x / t**beta with t = k + alpha / size * (the sum of x**2 in a window of channels)."""

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Array) -> Array:
        self.x = x
        self.t = self.k + self.alpha / self.size * self._window_sum(x * x, self.size // 2)
        self.power = self.t**-self.beta
        return x * self.power

    def backward(self, gy: Array) -> Array:
        # x[j] is in the windows of as many channels behind it as its own window has before it
        others = self._window_sum(gy * self.x * self.power / self.t, (self.size - 1) // 2)
        return gy * self.power - (2 * self.alpha * self.beta / self.size) * self.x * others

    def _window_sum(self, x: Array, before: int) -> Array:
        """For each channel the sum over `size` neighbours, of which it has `before` in front of it."""
        n, c, *rest = x.shape
        padded = self.device.xp.zeros((n, c + self.size - 1, *rest), x.dtype)
        padded[:, before : before + c] = x
        total = padded[:, :c].copy()
        for i in range(1, self.size):
            total += padded[:, i : i + c]
        return total


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    """x (n, c, ...) -> the same shape: (x - mean) / sqrt(var + eps) * weight + bias, each of shape (c,).

    In training the batch's own statistics normalise (biased variance), the running ones move towards them in place by
    `momentum` (unbiased variance), and the batch is counted; otherwise the running ones normalise.
    """
    if x.ndim < 2 or any(t.shape != x.shape[1:2] for t in (running_mean, running_var, weight, bias)):
        raise ValueError(f"batch_norm takes x (n, c, ...) and four of shape (c,), got {x.shape} and {weight.shape}")
    if training and x.data.size // x.shape[1] < 2:
        raise ValueError(f"batch_norm needs more than one value a channel in training, got an input of {x.shape}")
    count = x.device.xp.zeros((), "int64") if num_batches_tracked is None else num_batches_tracked.data
    running = running_mean.data, running_var.data, count
    return BatchNorm.apply(x, weight, bias, running=running, training=training, momentum=momentum, eps=eps)


def layer_norm(x: Tensor, normalized_shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """x (..., *normalized_shape) -> the same shape: (x - mean) / sqrt(var + eps) * weight + bias, var biased.

    Mean and variance are those of each example's, or token's, last dimensions; weight and bias have their shape.
    """
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape or weight.shape != shape or bias.shape != shape:
        raise ValueError(
            f"layer_norm over {shape} takes x (..., *{shape}), got {x.shape}, {weight.shape}, {bias.shape}"
        )
    return LayerNorm.apply(x, weight, bias, ndim=len(shape), eps=eps)


def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x (n, c, ...) -> x / (k + alpha * mean)**beta, the mean of x**2 over `size` channels around each, zeros outside.

    As in PyTorch, alpha is divided by the size; in the paper (Krizhevsky et al. 2012, 3.3) it is not.
    """
    if x.ndim < 3 or size < 1:
        raise ValueError(f"local_response_norm takes x (n, c, ...) and a size from 1 on, got {x.shape} and {size}")
    return LocalResponseNorm.apply(x, size=size, alpha=alpha, beta=beta, k=k)
