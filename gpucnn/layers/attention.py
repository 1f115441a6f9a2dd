"""The layers of a vision transformer: patches of an image as tokens, and attention among them."""

import math

import numpy as np

from .. import functional as F
from ..initializers import draws, normal, uniform_xavier
from ..module import Module, Parameter
from ..tensor import Tensor
from .arguments import positive, short
from .conv import Conv2d
from .linear import Linear


class MultiheadSelfAttention(Module):
    """x (n, t, embed_dim) -> (n, t, embed_dim): each token takes from all others what their keys promise.

    State-dict keys of torch.nn.MultiheadAttention, whose query, key and value are all x here.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim {embed_dim}, got {num_heads}")
        self.num_heads = num_heads
        self.in_proj_weight = Parameter(np.zeros((3 * embed_dim, embed_dim), np.float32))
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32))
        self.out_proj = Linear(embed_dim, embed_dim)
        if draws():
            self.reset_parameters(np.random.default_rng())

    def reset_parameters(self, rng: np.random.Generator) -> None:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        weight.data = weight.device.asarray(uniform_xavier(rng, weight.shape), weight.dtype)
        bias.data = bias.device.xp.zeros_like(bias.data)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        return self.out_proj(F.self_attention(qkv, self.num_heads))

    def extra_repr(self) -> str:
        return f"{self.out_proj.weight.shape[0]}, num_heads={self.num_heads}"


class PatchEmbedding(Module):
    """x (n, c, h, w) -> (n, t, embed_dim): a token for each patch, a linear map of its pixels plus a learned place.

    image_size (h, w) is a multiple of patch_size; the t patches go row by row.
    """

    def __init__(self, in_channels: int, image_size: tuple[int, int], patch_size: int, embed_dim: int) -> None:
        if any(side % patch_size for side in image_size):
            raise ValueError(f"patch_size must divide the image's {image_size}, got {patch_size}")
        tokens = math.prod(image_size) // patch_size**2
        self.positions = Parameter(np.zeros((1, tokens, embed_dim), np.float32))
        self.proj = Conv2d(in_channels, embed_dim, patch_size, patch_size)
        if draws():
            self.reset_parameters(np.random.default_rng())

    def reset_parameters(self, rng: np.random.Generator) -> None:
        places = normal(rng, self.positions.shape, 0.02)
        self.positions.data = self.positions.device.asarray(places, self.positions.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.transpose(F.flatten(self.proj(x), 2), 1, 2) + self.positions

    def extra_repr(self) -> str:
        return f"{self.positions.shape[1]} patches of {short(self.proj.stride)}x{short(self.proj.stride)}"
