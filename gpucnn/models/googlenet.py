"""GoogLeNet: Szegedy et al. 2014, "Going deeper with convolutions" (arXiv:1409.4842)."""

from .. import functional as F
from ..layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
)
from ..module import Module
from ..sequential import Sequential
from ..tensor import Tensor
from .model import Model

# Channels of 1x1; of 1x1, then 3x3; of 1x1, then 5x5; of 1x1 after a pool: table 1 of the paper.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),  # 256
    "3b": (128, 128, 192, 32, 96, 64),  # 480
    "4a": (192, 96, 208, 16, 48, 64),  # 512
    "4b": (160, 112, 224, 24, 64, 64),  # 512
    "4c": (128, 128, 256, 24, 64, 64),  # 512
    "4d": (112, 144, 288, 32, 64, 64),  # 528
    "4e": (256, 160, 320, 32, 128, 128),  # 832
    "5a": (256, 160, 320, 32, 128, 128),  # 832
    "5b": (384, 192, 384, 48, 128, 128),  # 1024
}


class Inception(Module):
    """Four branches side by side; the 1x1 convolutions in front of the wide ones make them cheap."""

    def __init__(self, ci: int, channels: tuple[int, ...], normalised: bool) -> None:
        one, before_three, three, before_five, five, after_pool = channels

        def conv(ci: int, co: int, size: int) -> list[Module]:
            return convolution(ci, co, size, normalised)

        self.branch1 = Sequential(*conv(ci, one, 1))
        self.branch2 = Sequential(*conv(ci, before_three, 1), *conv(before_three, three, 3))
        self.branch3 = Sequential(*conv(ci, before_five, 1), *conv(before_five, five, 5))
        self.branch4 = Sequential(MaxPool2d(3, 1, 1), *conv(ci, after_pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def convolution(ci: int, co: int, size: int, normalised: bool, stride: int = 1) -> list[Module]:
    """A convolution and its ReLU, between them batch normalisation or not."""
    conv = Conv2d(ci, co, size, stride, size // 2, bias=not normalised)
    return [conv, BatchNorm2d(co), ReLU()] if normalised else [conv, ReLU()]


class GoogLeNet(Model):
    """As published: 6,998,552 parameters on 3x224x224, 1000 classes, counting weights and biases of what answers.

    The two auxiliary classifiers, which only training has, are left out; with them there are 13,378,280. (The 5 million
    of some texts come from "12 times fewer than AlexNet", the 6.8 of others from the sum of the paper's table.)
    """

    channels: int | None = 3
    image_size = (224, 224)
    classes = 1000
    for_imagenet = True
    heads = ("classifier", "aux1", "aux2")
    divisor, normalised, auxiliary = 1, False, False
    side = 14  # of the images that the fourth stage works on

    def stem(self, channels: int) -> list[Module]:
        """What is in front of the first module."""
        return [
            *convolution(channels, 64, 7, False, stride=2),  # 64x112x112
            MaxPool2d(3, 2, 1),  # 64x56x56
            LocalResponseNorm(5),
            *convolution(64, 64, 1, False),
            *convolution(64, 192, 3, False),  # 192x56x56
            LocalResponseNorm(5),
            MaxPool2d(3, 2, 1),  # 192x28x28
        ]

    def build(self, channels: int, height: int, width: int) -> None:
        ci = 192 // self.divisor

        def modules(*names: str) -> list[Module]:
            nonlocal ci
            made: list[Module] = []
            for name in names:
                sizes = tuple(size // self.divisor for size in MODULES[name])
                made.append(Inception(ci, sizes, self.normalised))
                ci = sizes[0] + sizes[2] + sizes[4] + sizes[5]
            return made

        self.features = Sequential(*self.stem(channels), *modules("3a", "3b"), MaxPool2d(3, 2, 1), *modules("4a"))
        self.aux1 = self.auxiliary_classifier(ci) if self.auxiliary else None  # on 512x14x14
        self.later = Sequential(*modules("4b", "4c", "4d"))
        self.aux2 = self.auxiliary_classifier(ci) if self.auxiliary else None  # on 528x14x14
        self.last = Sequential(*modules("4e"), MaxPool2d(3, 2, 1), *modules("5a", "5b"), AdaptiveAvgPool2d(1))
        self.classifier = Sequential(Dropout(0.4), Linear(ci, self.num_classes))

    def auxiliary_classifier(self, ci: int) -> Module:
        """A second answer from half way, whose loss brings gradients to where they have faded: see cross_entropy."""
        co, pooled = 128 // self.divisor, (self.side - 5) // 3 + 1
        return Sequential(
            AvgPool2d(5, 3),
            *convolution(ci, co, 1, self.normalised),
            Flatten(),
            Linear(co * pooled**2, 1024 // self.divisor),
            ReLU(),
            Dropout(0.7),
            Linear(1024 // self.divisor, self.num_classes),
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        middle = self.features(x)
        later = self.later(middle)
        logits = self.classifier(F.flatten(self.last(later), 1))
        if self.training and self.aux1 and self.aux2:
            return logits, self.aux1(middle), self.aux2(later)
        return logits


class GoogLeNetLite(GoogLeNet):
    """For small images, a quarter of the channels, with batch normalisation (Ioffe and Szegedy 2015, where Inception
    got it): 372,578 parameters on 3x32x32, 10 classes."""

    channels = None
    image_size = (32, 32)
    classes = 10
    for_imagenet = False
    divisor, normalised = 4, True
    side = 8

    def stem(self, channels: int) -> list[Module]:
        return [*convolution(channels, 48, 3, True), MaxPool2d(3, 2, 1)]  # 48x16x16


class GoogLeNetLiteAux(GoogLeNetLite):
    """GoogLeNet-lite with both auxiliary classifiers: 452,214 parameters in training."""

    auxiliary = True
