"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition"."""

from ..layers import AvgPool2d, Conv2d, Linear, MaxPool2d, ReLU, Tanh
from ..sequential import Sequential
from .model import Model


class LeNet(Model):
    """The modern reading, with ReLU and max pooling: 62,006 parameters on 3x32x32, 10 classes."""

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 6, 5),  # 6x28x28
            ReLU(),
            MaxPool2d(2),  # 6x14x14
            Conv2d(6, 16, 5),  # 16x10x10
            ReLU(),
            MaxPool2d(2),  # 16x5x5
        )
        self.classifier = Sequential(
            Linear(400, 120),
            ReLU(),
            Linear(120, 84),
            ReLU(),
            Linear(84, self.num_classes),
        )


class LeNet1998(Model):
    """As published, with tanh and average pooling on one channel (and every second map connected to every
    first one, and a linear output instead of the radial basis functions): 61,706 parameters."""

    channels = 1
    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(1, 6, 5),  # 6x28x28
            Tanh(),
            AvgPool2d(2),  # 6x14x14
            Conv2d(6, 16, 5),  # 16x10x10
            Tanh(),
            AvgPool2d(2),  # 16x5x5
        )
        self.classifier = Sequential(
            Linear(400, 120),
            Tanh(),
            Linear(120, 84),
            Tanh(),
            Linear(84, self.num_classes),
        )
