"""Two small models for 8x8 digits, with the shapes that TinyTorch trains (Reddi et al., cs249r_book)."""

from ..layers import Conv2d, Linear, MaxPool2d, ReLU
from ..sequential import Sequential
from .model import Model


class TinyDigitsCNN(Model):
    """One 3x3 convolution: 810 parameters on 1x8x8, 10 classes."""

    channels = 1
    image_size = (8, 8)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(1, 8, 3),  # 8x6x6
            ReLU(),
            MaxPool2d(2),  # 8x3x3
        )
        self.classifier = Sequential(Linear(72, self.num_classes))


class TinyDigitsMLP(Model):
    """One hidden layer of 32: 2,410 parameters on 1x8x8, 10 classes."""

    channels = 1
    image_size = (8, 8)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential()
        self.classifier = Sequential(
            Linear(64, 32),
            ReLU(),
            Linear(32, self.num_classes),
        )
