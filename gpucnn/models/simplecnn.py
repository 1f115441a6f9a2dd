"""The smallest network that is still one of today's: 3x3 convolutions, and global average pooling for a head
(Lin, Chen and Yan 2013, "Network in network", arXiv:1312.4400)."""

from ..layers import AdaptiveAvgPool2d, Conv2d, Linear, MaxPool2d, ReLU
from ..sequential import Sequential
from .model import Model


class SimpleCNN(Model):
    """Three convolutions: 94,538 parameters on 3x32x32, 10 classes; images of any size."""

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 32, 3, padding=1),  # 32x32x32
            ReLU(),
            MaxPool2d(2),  # 32x16x16
            Conv2d(32, 64, 3, padding=1),  # 64x16x16
            ReLU(),
            MaxPool2d(2),  # 64x8x8
            Conv2d(64, 128, 3, padding=1),  # 128x8x8
            ReLU(),
            AdaptiveAvgPool2d(1),  # 128x1x1
        )
        self.classifier = Linear(128, self.num_classes)
