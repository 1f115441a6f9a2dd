"""What the literature and the courses claim of convolutional networks, as runs that show whether it is so here.

`CLAIMS[name]`, in the order in which `gpucnn reproduce --all` takes them: what costs least comes first.
"""

from ..errors import nearest
from . import convolution, depth, design, milestones, overfitting
from .claim import Claim, Trained, spread, values, words

__all__ = ["CLAIMS", "Claim", "Trained", "claim_named", "spread", "values", "words"]

CLAIMS: dict[str, Claim] = {
    each.name: each
    for each in (
        convolution.SYMMETRY,
        convolution.CNN_VS_MLP,
        milestones.LENET_DIGITS,
        convolution.WEIGHT_SHARING,
        convolution.TRANSLATION,
        milestones.LENET_MNIST,
        milestones.MNIST_CNN,
        design.RELU,
        design.STACK,
        design.BOTTLENECK,
        design.POOLING,
        overfitting.HEAD,
        overfitting.DROPOUT,
        overfitting.AUGMENTATION,
        milestones.MLP_CIFAR10,
        milestones.LENET_CIFAR10,
        milestones.TINYTORCH_CIFAR10,
        milestones.SIMPLECNN_CIFAR10,
        depth.AUXILIARY,
        depth.TRANSFORMER,
        depth.DEGRADATION,
        milestones.ALEXNET_CIFAR10,
    )
}


def claim_named(name: str) -> Claim:
    """CLAIMS[name]; UsageError with the nearest name where there is none."""
    if name not in CLAIMS:
        raise nearest("claim", name, CLAIMS)
    return CLAIMS[name]
