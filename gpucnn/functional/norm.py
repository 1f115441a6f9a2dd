"""Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167)."""

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


class BatchNorm(Function):
    """Over every dimension but the second; `of_batch` says that mean and var are the batch's own."""

    def __init__(self, mean: Array, var: Array, of_batch: bool, eps: float) -> None:
        self.mean, self.var, self.of_batch, self.eps = mean, var, of_batch, eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.dims = (0, *range(2, x.ndim))
        self.along = (1, -1) + (1,) * (x.ndim - 2)  # (c,) beside x
        self.weight = weight
        self.scale = (1 / self.device.xp.sqrt(self.var + self.eps)).astype(x.dtype)
        self.normal = (x - self.mean.reshape(self.along)) * self.scale.reshape(self.along)
        return self.normal * weight.reshape(self.along) + bias.reshape(self.along)

    def backward(self, gy: Array) -> tuple:
        gb = gy.sum(self.dims)
        gw = (gy * self.normal).sum(self.dims)
        gx = None
        if self.needs[0]:
            if self.of_batch:  # the batch's mean and variance depend on x, too
                count = gy.size // gy.shape[1]
                gy = gy - (gb / count).reshape(self.along) - self.normal * (gw / count).reshape(self.along)
            gx = gy * (self.weight * self.scale).reshape(self.along)
        return gx, gw, gb


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """x (n, c, ...) -> the same shape: (x - mean) / sqrt(var + eps) * weight + bias, each of shape (c,).

    In training the batch's own statistics normalise (biased variance), and the running ones move towards
    them in place by `momentum` (unbiased variance); otherwise the running ones normalise.
    """
    if x.ndim < 2 or any(t.shape != x.shape[1:2] for t in (running_mean, running_var, weight, bias)):
        raise ValueError(f"batch_norm takes x (n, c, ...) and four of shape (c,), got {x.shape} and {weight.shape}")
    mean, var = running_mean.data, running_var.data
    if training:
        count = x.data.size // x.shape[1]
        if count < 2:
            raise ValueError(f"batch_norm needs more than one value a channel in training, got an input of {x.shape}")
        dims = (0, *range(2, x.ndim))
        mean, var = x.data.mean(dims), x.data.var(dims)
        running_mean.data += momentum * (mean - running_mean.data)
        running_var.data += momentum * (var * (count / (count - 1)) - running_var.data)
    return BatchNorm.apply(x, weight, bias, mean=mean, var=var, of_batch=training, eps=eps)
