"""gpucnn: a small CNN framework to read to the bottom and train with for real."""

from . import functional, optim
from .autograd import Function, no_grad
from .backend import CPU, Device
from .errors import DataError, DeviceError, DivergedError, GpucnnError, UsageError
from .layers import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    MultiheadSelfAttention,
    PatchEmbedding,
    ReLU,
    Sigmoid,
    Tanh,
)
from .module import Module, Parameter
from .sequential import Sequential
from .tensor import Tensor

__version__ = "0.1.0"
