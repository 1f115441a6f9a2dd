"""What keeps a network from learning its training images by heart: pooled heads, dropout and augmentation.

5,000 images, seen 12 times, are few enough to be learnt by heart.
"""

from ..layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU
from ..models import Model
from ..models.simplecnn import SimpleCNN
from ..sequential import Sequential
from .claim import Above, Claim, Times


class FullyConnectedHead(SimpleCNN):
    """Two linear layers on all places of all maps, where SimpleCNN takes the mean of each: 2,193,226 parameters."""

    def build(self, channels: int, height: int, width: int) -> None:
        super().build(channels, height, width)
        *convolutions, _ = (module for _, module in self.features.children())
        self.features = Sequential(*convolutions)  # 128x8x8
        self.classifier = Sequential(
            Linear(8192, 256),
            ReLU(),
            Linear(256, self.num_classes),
        )


HEAD = Claim(
    "gap-vs-fully-connected",
    "Global average pooling in place of fully connected layers overfits less, is more accurate, and has a fraction of "
    "the parameters.",
    "Lin, Chen and Yan 2013, Network in network (arXiv:1312.4400), section 4.6: 89.6 % and 88.4 % on CIFAR-10",
    "--dataset cifar10 --epochs 12 --batch-size 64 --augment none",
    {"global average": SimpleCNN, "fully connected": FullyConnectedHead},
    [Above("global average", "fully connected", 0.01), Times("fully connected", "global average", 10, "parameters")],
    images=(5_000, 2_000),
)


class Undropped(Model):
    """Two convolutions and two linear layers: 1,070,794 parameters on 3x32x32."""

    dropout = 0.0

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 32, 3, padding=1),  # 32x32x32
            ReLU(),
            MaxPool2d(2),  # 32x16x16
            Conv2d(32, 64, 3, padding=1),  # 64x16x16
            ReLU(),
            MaxPool2d(2),  # 64x8x8
            Flatten(),
            Dropout(self.dropout),
        )
        self.classifier = Sequential(
            Linear(4096, 256),
            ReLU(),
            Dropout(self.dropout),
            Linear(256, self.num_classes),
        )


class Dropped(Undropped):
    """Half of what the linear layers read is dropped in training."""

    dropout = 0.5


DROPOUT = Claim(
    "dropout",
    "Dropout in front of the linear layers makes a network more accurate on images that it has not seen.",
    "Srivastava et al. 2014, Dropout, table 4: from 85.0 % to 85.7 % on CIFAR-10 in fully connected layers alone",
    "--dataset cifar10 --epochs 12 --batch-size 64 --lr 0.02 --augment none",
    {"dropout": Dropped, "no dropout": Undropped},
    [Above("dropout", "no dropout", 0.007)],
    images=(5_000, 2_000),
)

AUGMENTATION = Claim(
    "augmentation",
    "Pictures that are shifted and mirrored at random keep a network from overfitting.",
    "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep CNNs, section 4.1",
    "--dataset cifar10 --model tinytorch-cifar --epochs 12 --batch-size 64",
    {"crop and flip": "--augment crop,flip", "as they are": "--augment none"},
    [Above("crop and flip", "as they are", 0.02), Above("as they are", "crop and flip", 0.05, "train_accuracy")],
    images=(5_000, 2_000),
)
