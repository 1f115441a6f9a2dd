"""Two networks that tutorials made known, to compare with what those report."""

from ..layers import BatchNorm2d, Conv2d, Dropout, Dropout2d, Linear, MaxPool2d, ReLU
from ..sequential import Sequential
from .model import Model


class MnistCNN(Model):
    """PyTorch's first example for MNIST: 21,840 parameters on 1x28x28, 10 classes. It gives logits, not their softmax.

    There dropout and pooling come before the ReLU; here behind it, where they compute the same numbers.
    """

    channels = 1
    image_size = (28, 28)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(1, 10, 5),  # 10x24x24
            ReLU(),
            MaxPool2d(2),  # 10x12x12
            Conv2d(10, 20, 5),  # 20x8x8
            ReLU(),
            MaxPool2d(2),  # 20x4x4
            Dropout2d(0.5),
        )
        self.classifier = Sequential(
            Linear(320, 50),
            ReLU(),
            Dropout(0.5),
            Linear(50, self.num_classes),
        )


class TinyTorchCifar(Model):
    """The CNN of TinyTorch's milestone for CIFAR-10 (Reddi et al., cs249r_book): 612,234 parameters on 3x32x32."""

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 32, 3),  # 32x30x30
            BatchNorm2d(32),
            ReLU(),
            MaxPool2d(2),  # 32x15x15
            Conv2d(32, 64, 3),  # 64x13x13
            BatchNorm2d(64),
            ReLU(),
            MaxPool2d(2),  # 64x6x6
        )
        self.classifier = Sequential(
            Linear(2304, 256),
            ReLU(),
            Dropout(0.3),
            Linear(256, self.num_classes),
        )
