"""Every op as a function of Tensors, with PyTorch's names: `import gpucnn.functional as F`."""

from .activation import gelu, log_softmax, relu, sigmoid, softmax, tanh
from .arithmetic import add, matmul, mean, sum
from .attention import self_attention
from .conv import conv2d, conv2d_relu_maxpool
from .dropout import Place, dropout, dropout2d
from .linear import linear
from .loss import cross_entropy
from .norm import batch_norm, layer_norm, local_response_norm
from .pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .shape import cat, flatten, pad, reshape, transpose

__all__ = [
    "Place",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "batch_norm",
    "cat",
    "conv2d",
    "conv2d_relu_maxpool",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "flatten",
    "gelu",
    "layer_norm",
    "linear",
    "local_response_norm",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "mean",
    "pad",
    "relu",
    "reshape",
    "self_attention",
    "sigmoid",
    "softmax",
    "sum",
    "tanh",
    "transpose",
]
