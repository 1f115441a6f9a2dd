"""DenseNet: Huang, Liu, van der Maaten, Weinberger 2016, "Densely connected convolutional networks"
(arXiv:1608.06993)."""

from .. import functional as F
from ..layers import AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Linear, ReLU
from ..module import Module
from ..sequential import Sequential
from ..tensor import Tensor
from .model import Model

GROWTH = 12  # channels that each layer adds


class DenseLayer(Module):
    """x (n, ci, h, w) -> (n, ci + GROWTH, h, w): what came in stays, for all layers behind it to read."""

    def __init__(self, ci: int) -> None:
        self.body = Sequential(BatchNorm2d(ci), ReLU(), Conv2d(ci, GROWTH, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.cat([x, self.body(x)], 1)


class DenseNetLite(Model):
    """The basic one, 22 layers deep where the paper's smallest has 40: 270,706 parameters on 3x32x32, 10 classes."""

    image_size = (32, 32)

    def build(self, channels: int, height: int, width: int) -> None:
        self.features = Sequential(
            Conv2d(channels, 16, 3, padding=1, bias=False),  # 16x32x32
            *self._dense(16),  # 88x32x32
            *self._transition(88),  # 88x16x16
            *self._dense(88),  # 160x16x16
            *self._transition(160),  # 160x8x8
            *self._dense(160),  # 232x8x8
            BatchNorm2d(232),
            ReLU(),
            AdaptiveAvgPool2d(1),  # 232x1x1
        )
        self.classifier = Linear(232, self.num_classes)

    def _dense(self, ci: int) -> list[Module]:
        return [DenseLayer(ci + i * GROWTH) for i in range(6)]

    def _transition(self, c: int) -> list[Module]:
        return [BatchNorm2d(c), ReLU(), Conv2d(c, c, 1, bias=False), AvgPool2d(2)]
