"""AlexNet for small images: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep CNNs"."""

from ..layers import Conv2d, Dropout, Linear, MaxPool2d, ReLU
from ..sequential import Sequential
from .model import Model


class AlexNetLite(Model):
    """Five 3x3 convolutions and two linear layers: 2,310,154 parameters on 3x32x32, 10 classes."""

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
