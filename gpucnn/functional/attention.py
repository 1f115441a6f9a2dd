"""Attention among the tokens of a sequence (Vaswani et al. 2017, arXiv:1706.03762)."""

import math

from ..autograd import Function
from ..backend import Array
from ..tensor import Tensor


class SelfAttention(Function):
    """softmax(q k' / sqrt(d)) v for each head; q, k, v and y are (n, heads, t, d), the weights p (n, heads, t, t)."""

    def __init__(self, num_heads: int) -> None:
        self.num_heads = num_heads

    def forward(self, qkv: Array) -> Array:
        xp = self.device.xp
        n, t, features = qkv.shape
        parts = 3, self.num_heads, features // (3 * self.num_heads)
        self.q, self.k, self.v = q, k, v = qkv.reshape(n, t, *parts).transpose(2, 0, 3, 1, 4)
        self.scale = 1 / math.sqrt(q.shape[-1])
        p = q @ k.swapaxes(2, 3)
        p = xp.exp((p - p.max(-1, keepdims=True)) * self.scale)
        self.p = p = p / p.sum(-1, keepdims=True)
        return (p @ v).swapaxes(1, 2).reshape(n, t, features // 3)

    def backward(self, gy: Array) -> Array:
        n, t, e = gy.shape
        q, k, v, p = self.q, self.k, self.v, self.p
        gy = gy.reshape(n, t, self.num_heads, e // self.num_heads).swapaxes(1, 2)
        gp = gy @ v.swapaxes(2, 3)
        gs = p * (gp - (gp * p).sum(-1, keepdims=True)) * self.scale  # of q k'
        gqkv = self.device.xp.stack([gs @ k, gs.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ gy])
        return gqkv.transpose(1, 3, 0, 2, 4).reshape(n, t, 3 * e)


def self_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """qkv (n, t, 3 e), the queries, keys and values of t tokens side by side -> (n, t, e).

    Each of the heads has e / num_heads features of its own; where it looks is softmax(q k' / sqrt(e / num_heads)).
    """
    if qkv.ndim != 3 or num_heads < 1 or qkv.shape[2] % (3 * num_heads):
        raise ValueError(
            f"self_attention takes (n, t, 3 e) with e a multiple of num_heads {num_heads}, got {qkv.shape}"
        )
    return SelfAttention.apply(qkv, num_heads=num_heads)
