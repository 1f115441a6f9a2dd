"""AlexNet: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep CNNs"."""

from ..layers import Conv2d, Dropout, Linear, LocalResponseNorm, MaxPool2d, ReLU
from ..sequential import Sequential
from .model import Model


class AlexNet(Model):
    """In one piece, as on one GPU: 62,378,344 parameters on 3x227x227, 1000 classes.

    The paper says 224x224, of which its first convolution would make 54.25 columns; 224 is taken with a padding of 2.
    """

    channels = 3
    image_size, other_size = (227, 227), (224, 224)
    classes = 1000
    for_imagenet = True
    groups = 1

    def build(self, channels: int, height: int, width: int) -> None:
        groups = self.groups
        self.features = Sequential(
            Conv2d(3, 96, 11, stride=4, padding=2 if height == 224 else 0),  # 96x55x55
            ReLU(),
            LocalResponseNorm(5, alpha=5e-4, k=2),  # the paper's alpha, 1e-4, is not divided by the size
            MaxPool2d(3, 2),  # 96x27x27
            Conv2d(96, 256, 5, padding=2, groups=groups),  # 256x27x27
            ReLU(),
            LocalResponseNorm(5, alpha=5e-4, k=2),
            MaxPool2d(3, 2),  # 256x13x13
            Conv2d(256, 384, 3, padding=1),  # 384x13x13
            ReLU(),
            Conv2d(384, 384, 3, padding=1, groups=groups),  # 384x13x13
            ReLU(),
            Conv2d(384, 256, 3, padding=1, groups=groups),  # 256x13x13
            ReLU(),
            MaxPool2d(3, 2),  # 256x6x6
        )
        self.classifier = Sequential(
            Dropout(0.5),
            Linear(9216, 4096),
            ReLU(),
            Dropout(0.5),
            Linear(4096, 4096),
            ReLU(),
            Linear(4096, self.num_classes),
        )


class AlexNetGrouped(AlexNet):
    """As published, on two GPUs that see only half of each other's channels: 60,965,224 parameters on 3x227x227."""

    groups = 2


class AlexNetLite(Model):
    """For small images, five 3x3 convolutions and two linear layers: 2,310,154 parameters on 3x32x32, 10 classes."""

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 64, 3, padding=1),  # 64x32x32
            ReLU(),
            MaxPool2d(2),  # 64x16x16
            Conv2d(64, 128, 3, padding=1),  # 128x16x16
            ReLU(),
            MaxPool2d(2),  # 128x8x8
            Conv2d(128, 256, 3, padding=1),  # 256x8x8
            ReLU(),
            Conv2d(256, 256, 3, padding=1),  # 256x8x8
            ReLU(),
            Conv2d(256, 128, 3, padding=1),  # 128x8x8
            ReLU(),
            MaxPool2d(2),  # 128x4x4
        )
        self.classifier = Sequential(
            Linear(2048, 512),
            ReLU(),
            Dropout(0.5),
            Linear(512, self.num_classes),
        )
