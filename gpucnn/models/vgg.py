"""VGG: Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition"
(arXiv:1409.1556). Nothing but 3x3 convolutions: two of them see as far as one of 5x5, with fewer weights."""

from ..layers import Conv2d, Dropout, Linear, MaxPool2d, ReLU
from ..module import Module
from ..sequential import Sequential
from .model import Model


def stack(ci: int, co: int, count: int) -> list[Module]:
    """`count` convolutions of 3x3, then a pool that halves the image."""
    layers: list[Module] = []
    for i in range(count):
        layers += [Conv2d(co if i else ci, co, 3, padding=1), ReLU()]
    return [*layers, MaxPool2d(2)]


class VGG16(Model):
    """Configuration D, 13 convolutions and 3 linear layers: 138,357,544 parameters on 3x224x224, 1000 classes."""

    channels = 3
    image_size = (224, 224)
    classes = 1000
    for_imagenet = True
    convolutions = 2, 2, 3, 3, 3

    def build(self, channels: int, height: int, width: int) -> None:
        first, second, third, fourth, fifth = self.convolutions
        self.features = Sequential(
            *stack(3, 64, first),  # 64x112x112
            *stack(64, 128, second),  # 128x56x56
            *stack(128, 256, third),  # 256x28x28
            *stack(256, 512, fourth),  # 512x14x14
            *stack(512, 512, fifth),  # 512x7x7
        )
        self.classifier = Sequential(
            Linear(25088, 4096),
            ReLU(),
            Dropout(0.5),
            Linear(4096, 4096),
            ReLU(),
            Dropout(0.5),
            Linear(4096, self.num_classes),
        )


class VGG19(VGG16):
    """Configuration E, 16 convolutions: 143,667,240 parameters on 3x224x224, 1000 classes."""

    convolutions = 2, 2, 4, 4, 4


class VGGLite(Model):
    """For small images, three pairs of convolutions, two linear layers: 814,122 parameters on 3x32x32, 10 classes."""

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            *stack(channels, 32, 2),  # 32x16x16
            *stack(32, 64, 2),  # 64x8x8
            *stack(64, 128, 2),  # 128x4x4
        )
        self.classifier = Sequential(
            Linear(2048, 256),
            ReLU(),
            Dropout(0.5),
            Linear(256, self.num_classes),
        )
