"""Models without convolution, to compare with: softmax regression and the multilayer perceptron."""

from ..layers import Linear, ReLU
from ..sequential import Sequential
from .model import Model


class LinearModel(Model):
    """Softmax regression: one linear layer on the pixels; 30,730 parameters on 3x32x32, 10 classes."""

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential()
        self.classifier = Sequential(Linear(channels * height * width, self.num_classes))


class MLP(Model):
    """Two hidden layers of 512 and 256 (Rumelhart et al. 1986): 1,707,274 parameters on 3x32x32, 10 classes."""

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential()
        self.classifier = Sequential(
            Linear(channels * height * width, 512),
            ReLU(),
            Linear(512, 256),
            ReLU(),
            Linear(256, self.num_classes),
        )
