"""Normalisation: over the batch, over the features of each example, over neighbouring channels."""

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..module import Module, Parameter
from ..tensor import Tensor
from .arguments import positive


class _BatchNorm(Module):
    """Parameters weight, bias; buffers running_mean, running_var, num_batches_tracked."""

    ndims: tuple[int, ...]

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        positive(num_features=num_features)
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean = Tensor(np.zeros(num_features, np.float32))
        self.running_var = Tensor(np.ones(num_features, np.float32))
        self.num_batches_tracked = Tensor(np.zeros((), np.int64))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        for tensor in (self.weight, self.running_var):
            tensor.data = tensor.device.xp.ones_like(tensor.data)
        for tensor in (self.bias, self.running_mean, self.num_batches_tracked):
            tensor.data = tensor.device.xp.zeros_like(tensor.data)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.ndims or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"{type(self).__name__}({self.extra_repr()}) cannot take an input of shape {x.shape}")
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            num_batches_tracked=self.num_batches_tracked,
        )

    def extra_repr(self) -> str:
        return str(self.weight.shape[0])


class BatchNorm1d(_BatchNorm):
    """x (n, c) or (n, c, l): batch normalisation over all but the channels"""

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """x (n, c, h, w): batch normalisation over all but the channels"""

    ndims = (4,)


class LayerNorm(Module):
    """x (..., *normalized_shape): each example, or token, by its own mean and variance; weight, bias of that shape"""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5) -> None:
        sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        positive(**{f"normalized_shape[{i}]": size for i, size in enumerate(sizes)})
        self.eps = eps
        self.weight = Parameter(np.ones(sizes, np.float32))
        self.bias = Parameter(np.zeros(sizes, np.float32))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        self.weight.data = self.weight.device.xp.ones_like(self.weight.data)
        self.bias.data = self.bias.device.xp.zeros_like(self.bias.data)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return str(self.weight.shape[0] if self.weight.ndim == 1 else self.weight.shape)


class LocalResponseNorm(Module):
    """x (n, c, ...): each value by the squares of its neighbours in `size` channels (see F.local_response_norm)"""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        positive(size=size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
