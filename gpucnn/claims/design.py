"""What to build a network of: nonlinearities, sizes of convolutions, and ways to make the picture smaller."""

from ..layers import AdaptiveAvgPool2d, AvgPool2d, Conv2d, Linear, MaxPool2d, ReLU, Tanh
from ..models import Model
from ..module import Module
from ..sequential import Sequential
from ..summary import summarize
from .claim import Above, Claim, Times, Trained


class FourLayers(Model):
    """Three convolutions and a linear layer, as in figure 1 of the paper: 33,834 parameters on 3x32x32."""

    activation: type[Module] = ReLU
    places = 16  # of each map that the linear layer reads

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 16, 3, padding=1),  # 16x32x32
            self.activation(),
            *self.pool(16),  # 16x16x16
            Conv2d(16, 32, 3, padding=1),  # 32x16x16
            self.activation(),
            *self.pool(32),  # 32x8x8
            Conv2d(32, 64, 3, padding=1),  # 64x8x8
            self.activation(),
            *self.last_pool(64),  # 64x4x4
        )
        self.classifier = Linear(64 * self.places, self.num_classes)

    def pool(self, channels: int) -> list[Module]:
        return [MaxPool2d(2)]

    def last_pool(self, channels: int) -> list[Module]:
        return self.pool(channels)


class FourLayersTanh(FourLayers):
    """The same with tanh."""

    activation = Tanh


def epochs_to_accuracy(trained: Trained) -> dict[str, float]:
    """How many epochs it took to reach a training accuracy of 60 %; one more than there were where none did."""
    reached = (epoch.epoch for epoch in trained.epochs if epoch.train_accuracy >= 0.6)
    return {"epochs_to_60_%": next(reached, len(trained.epochs) + 1)}


RELU = Claim(
    "relu-vs-tanh",
    "A network of four layers learns several times faster with ReLU than with tanh.",
    "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep CNNs, figure 1: six times faster to 75 % "
    "of the training images of CIFAR-10",
    "--dataset cifar10 --epochs 20 --lr 0.02 --weight-decay 0 --lr-scheduler constant --augment none",
    {"relu": FourLayers, "tanh": FourLayersTanh},
    [Times("tanh", "relu", 2, "epochs_to_60_%")],
    images=(10_000, 1_000),
    measure=epochs_to_accuracy,
)


class OneFive(Model):
    """Two stages, each one convolution of 5x5 with 32 channels: 57,290 parameters on 3x32x32."""

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 32, 3, padding=1),  # 32x32x32
            ReLU(),
            MaxPool2d(2),  # 32x16x16
            *self.stage(),
            MaxPool2d(2),  # 32x8x8
            *self.stage(),
            MaxPool2d(2),  # 32x4x4
        )
        self.classifier = Linear(512, self.num_classes)

    def stage(self) -> list[Module]:
        return [Conv2d(32, 32, 5, padding=2), ReLU()]


class TwoThree(OneFive):
    """Two convolutions of 3x3 in place of each, which see as far: 43,018 parameters."""

    def stage(self) -> list[Module]:
        return [Conv2d(32, 32, 3, padding=1), ReLU(), Conv2d(32, 32, 3, padding=1), ReLU()]


class OneFiveBehindOne(OneFive):
    """A convolution of 1x1 in front of each, which leaves it a quarter of the channels: 19,418 parameters."""

    def stage(self) -> list[Module]:
        return [Conv2d(32, 8, 1), ReLU(), Conv2d(8, 32, 5, padding=2), ReLU()]


def operations(trained: Trained) -> dict[str, float]:
    """Floating-point operations of the forward pass of one image."""
    return {"flops": sum(row.flops for row in summarize(trained.model, trained.model.input_shape))}


STACK = Claim(
    "two-3x3-vs-5x5",
    "Two convolutions of 3x3 see as far as one of 5x5, with fewer parameters, and are more accurate.",
    "Simonyan and Zisserman 2014, Very deep convolutional networks (arXiv:1409.1556), sections 2.3 and 4.1",
    "--dataset cifar10 --epochs 8 --lr 0.02",
    {"two 3x3": TwoThree, "one 5x5": OneFive},
    [Above("two 3x3", "one 5x5", 0.01), Times("one 5x5", "two 3x3", 1.3, "parameters")],
    images=(10_000, 2_000),
    measure=operations,
)

BOTTLENECK = Claim(
    "bottleneck-1x1",
    "A convolution of 1x1 in front of one of 5x5, which leaves it fewer channels, saves most of the arithmetic and "
    "little of the accuracy.",
    "Szegedy et al. 2014, Going deeper with convolutions (arXiv:1409.4842), sections 4 and 5",
    "--dataset cifar10 --epochs 8 --lr 0.02",
    {"1x1, then 5x5": OneFiveBehindOne, "5x5": OneFive},
    [Times("5x5", "1x1, then 5x5", 2.5, "flops"), Above("1x1, then 5x5", "5x5", -0.02)],
    images=(10_000, 2_000),
    measure=operations,
)


class AveragePools(FourLayers):
    """FourLayers with the mean of each window in place of its largest value."""

    def pool(self, channels: int) -> list[Module]:
        return [AvgPool2d(2)]


class Strides(FourLayers):
    """With a convolution of stride 2 in place of each pooling: 82,330 parameters."""

    def pool(self, channels: int) -> list[Module]:
        return [Conv2d(channels, channels, 3, stride=2, padding=1), ReLU()]


class GlobalPool(FourLayers):
    """With the mean of each whole map in place of the last pooling: 24,234 parameters."""

    places = 1

    def last_pool(self, channels: int) -> list[Module]:
        return [AdaptiveAvgPool2d(1)]


POOLING = Claim(
    "pooling",
    "Max pooling is better than average pooling, and convolutions with a stride do as well as max pooling.",
    "Scherer, Müller and Behnke 2010, Evaluation of pooling operations in convolutional architectures; Springenberg et "
    "al. 2014, Striving for simplicity (arXiv:1412.6806)",
    "--dataset cifar10 --epochs 8 --lr 0.02",
    {"max": FourLayers, "average": AveragePools, "strided": Strides, "global": GlobalPool},
    [Above("max", "average", 0.01), Above("strided", "max", -0.01)],
    images=(10_000, 2_000),
)
