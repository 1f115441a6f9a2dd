"""The vision transformer: Dosovitskiy et al. 2020, "An image is worth 16x16 words" (arXiv:2010.11929)."""

from .. import functional as F
from ..layers import LayerNorm, Linear, MultiheadSelfAttention, PatchEmbedding
from ..module import Module
from ..sequential import Sequential
from ..tensor import Tensor
from .model import Model


class EncoderLayer(Module):
    """x (n, t, e) -> (n, t, e): tokens look at each other, then each one thinks by itself; both add to what was there.

    State-dict keys of torch.nn.TransformerEncoderLayer with norm_first.
    """

    def __init__(self, embed_dim: int, num_heads: int, hidden: int) -> None:
        self.self_attn = MultiheadSelfAttention(embed_dim, num_heads)
        self.linear1 = Linear(embed_dim, hidden)
        self.linear2 = Linear(hidden, embed_dim)
        self.norm1 = LayerNorm(embed_dim)
        self.norm2 = LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class ViTTiny(Model):
    """Patches of 4x4, 6 layers, 4 heads: 810,890 parameters on 3x32x32, 10 classes.

    The mean of all tokens goes to the head, which needs no class token (Beyer et al. 2022, arXiv:2205.01580).
    """

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            PatchEmbedding(channels, (height, width), patch_size=4, embed_dim=128),  # 64 tokens of 128
            *(EncoderLayer(128, num_heads=4, hidden=256) for _ in range(6)),  # 64x128
            LayerNorm(128),
        )
        self.classifier = Linear(128, self.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.mean(self.features(x), 1))
