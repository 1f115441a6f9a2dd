"""Why convolve: what it is that equal weights at all places buy, and why equal weights at the start buy nothing."""

import numpy as np

from ..backend import to_host
from ..data import Batches
from ..layers import Conv2d, Linear, MaxPool2d, ReLU
from ..models import Model
from ..models.tinydigits import TinyDigitsCNN
from ..sequential import Sequential
from ..training import evaluate
from .claim import Above, Claim, Times, Trained, Within


class EqualFilters(TinyDigitsCNN):
    """Each filter begins as a copy of the first one, and so does what the classifier makes of it."""

    def initialize(self, seed: int) -> "EqualFilters":
        super().initialize(seed)
        filters, bias, weight, _ = (parameter.data for parameter in self.parameters())
        filters[...], bias[...] = filters[:1], bias[:1]
        of_filter = weight.reshape(len(weight), len(filters), -1)  # classes, filters, places
        of_filter[...] = of_filter[:, :1]
        return self


def filter_spread(trained: Trained) -> dict[str, float]:
    """How far the filters of the first layer are from their first one, beside the largest of their weights."""
    filters = to_host(next(trained.model.parameters()).data)
    return {"filter_spread": float(abs(filters - filters[:1]).max() / abs(filters).max())}


SYMMETRY = Claim(
    "symmetry-breaking",
    "Filters that begin equal get equal gradients and stay equal, however long they are trained: a network of eight is "
    "one of one.",
    "Rumelhart, Hinton and Williams 1986, Learning internal representations by error propagation",
    "--dataset tinydigits",
    {"equal": EqualFilters, "drawn": "--model tinydigits-cnn"},
    [
        Within("equal", 0, 1e-5, "filter_spread"),
        Within("drawn", 0.1, what="filter_spread"),
        Above("drawn", "equal", 0.05),
    ],
    seeds=8,
    measure=filter_spread,
)

CNN_VS_MLP = Claim(
    "cnn-vs-mlp-digits",
    "On 8x8 digits a CNN is more accurate than an MLP with nearly three times as many parameters, at the same budget.",
    "Reddi et al., TinyTorch (cs249r_book), whose milestones of 1986 and 1998 train these two networks",
    "--dataset tinydigits",
    {"cnn": "--model tinydigits-cnn", "mlp": "--model tinydigits-mlp"},
    [Above("cnn", "mlp", 0), Times("mlp", "cnn", 2.5, "parameters")],
    seeds=8,
)


class SmallCNN(Model):
    """Two convolutions and a linear layer: 5,994 parameters on 1x28x28."""

    maps = 8, 16

    def build(self, channels: int, height: int, width: int) -> None:
        first, second = self.maps
        self.features = Sequential(
            Conv2d(channels, first, 5),  # 8x24x24
            ReLU(),
            MaxPool2d(2),  # 8x12x12
            Conv2d(first, second, 5),  # 16x8x8
            ReLU(),
            MaxPool2d(2),  # 16x4x4
        )
        self.classifier = Linear(second * 16, self.num_classes)


class SmallerCNN(SmallCNN):
    """Half the maps: 2,202 parameters."""

    maps = 4, 8


class Hidden32(Model):
    """A perceptron with one hidden layer of 32: 25,450 parameters on 1x28x28."""

    hidden = 32

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential()
        self.classifier = Sequential(
            Linear(channels * height * width, self.hidden),
            ReLU(),
            Linear(self.hidden, self.num_classes),
        )


class Hidden8(Hidden32):
    """6,370 parameters."""

    hidden = 8


class Hidden128(Hidden32):
    """101,770 parameters."""

    hidden = 128


class Hidden512(Hidden32):
    """407,050 parameters."""

    hidden = 512


WEIGHT_SHARING = Claim(
    "weight-sharing",
    "Weights that are shared between places save parameters: an MLP needs more than ten times as many to be as "
    "accurate as a CNN.",
    "LeCun 1989, Generalization and network design strategies (there 1,060 free parameters read 98.4 % of 160 digits, "
    "3,240 of a fully connected network 87 %)",
    "--dataset mnist --augment none --epochs 5",
    {
        "cnn 4-8": SmallerCNN,
        "cnn 8-16": SmallCNN,
        "mlp 8": Hidden8,
        "mlp 32": Hidden32,
        "mlp 128": Hidden128,
        "mlp 512": Hidden512,
    },
    [
        Above("cnn 4-8", "mlp 32", 0),
        Times("mlp 32", "cnn 4-8", 10, "parameters"),
        Above("cnn 8-16", "mlp 128", 0),
        Times("mlp 128", "cnn 8-16", 10, "parameters"),
    ],
    images=(10_000, 10_000),
)


def shifted_accuracy(trained: Trained) -> dict[str, float]:
    """Accuracy on the test images moved by some pixels: the mean of right, left, down and up, black coming in."""
    test, found = trained.test, {}
    pictures, (mean, std) = to_host(test.x), (to_host(each) for each in (test.mean, test.std))
    for shift in (1, 2, 3, 4, 6):
        accuracies = []
        for axis, by in ((3, shift), (3, -shift), (2, shift), (2, -shift)):
            moved = np.roll(pictures, by, axis)
            moved.swapaxes(0, axis)[slice(by) if by > 0 else slice(by, None)] = 0  # what comes in from the other side
            batches = Batches(moved, test.y, test.batch_size, device=test.device, mean=mean, std=std)
            accuracies.append(evaluate(trained.model, batches)[1])
        found[f"accuracy_{shift}_px"] = sum(accuracies) / len(accuracies)
    return found


TRANSLATION = Claim(
    "translation",
    "A CNN still reads digits that are moved to where it never saw any in training; an MLP does not, and global "
    "average pooling helps further.",
    "LeCun et al. 1998, Gradient-based learning applied to document recognition, section II; Lin, Chen and Yan 2013, "
    "Network in network (arXiv:1312.4400), section 3.2",
    "--dataset mnist --augment none --epochs 5",
    {"mlp": "--model mlp", "lenet": "--model lenet", "simplecnn": "--model simplecnn"},
    [
        Above("lenet", "mlp", 0.1, "accuracy_3_px"),
        Above("simplecnn", "lenet", 0.1, "accuracy_6_px"),
    ],
    images=(10_000, 1_000),
    measure=shifted_accuracy,
)
