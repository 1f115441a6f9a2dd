"""Layers: state plus one functional call each, with PyTorch's names, defaults and state-dict keys."""

from .activation import GELU, Flatten, ReLU, Sigmoid, Tanh
from .attention import MultiheadSelfAttention, PatchEmbedding
from .conv import Conv2d
from .dropout import Dropout, Dropout2d
from .linear import Linear
from .norm import BatchNorm1d, BatchNorm2d, LayerNorm, LocalResponseNorm
from .pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "MultiheadSelfAttention",
    "PatchEmbedding",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
