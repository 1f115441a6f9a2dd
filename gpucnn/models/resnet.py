"""ResNet for CIFAR-10: He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition" (arXiv:1512.03385),
section 4.2. The plain networks are the same without the shortcuts, which have no parameters."""

from .. import functional as F
from ..layers import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Linear, ReLU
from ..module import Module
from ..sequential import Sequential
from ..tensor import Tensor
from .model import Model


class Block(Module):
    """x (n, ci, h, w) -> (n, co, h / stride, w / stride): relu(body(x) + x), or relu(body(x))."""

    def __init__(self, ci: int, co: int, stride: int, residual: bool) -> None:
        self.body = Sequential(
            Conv2d(ci, co, 3, stride, padding=1, bias=False),
            BatchNorm2d(co),
            ReLU(),
            Conv2d(co, co, 3, padding=1, bias=False),
            BatchNorm2d(co),
        )
        self.stride, self.new_channels, self.residual = stride, co - ci, residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return F.relu(y + self._shortcut(x) if self.residual else y)

    def _shortcut(self, x: Tensor) -> Tensor:
        """Option A of the paper: every second pixel, and zeros in the new channels."""
        if self.stride > 1:
            x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else x


class ResNet20(Model):
    """20 layers with weights: 269,722 parameters on 3x32x32, 10 classes."""

    image_size = (32, 32)
    depth = 20
    residual = True

    def build(self, channels: int, height: int, width: int) -> None:
        blocks = (self.depth - 2) // 6  # of each stage
        self.features = Sequential(
            Conv2d(channels, 16, 3, padding=1, bias=False),  # 16x32x32
            BatchNorm2d(16),
            ReLU(),
            *self._stage(16, 16, blocks, 1),  # 16x32x32
            *self._stage(16, 32, blocks, 2),  # 32x16x16
            *self._stage(32, 64, blocks, 2),  # 64x8x8
            AdaptiveAvgPool2d(1),  # 64x1x1
        )
        self.classifier = Linear(64, self.num_classes)

    def _stage(self, ci: int, co: int, blocks: int, stride: int) -> list[Module]:
        first = Block(ci, co, stride, self.residual)
        return [first, *(Block(co, co, 1, self.residual) for _ in range(blocks - 1))]


class ResNet56(ResNet20):
    """56 layers: 853,018 parameters on 3x32x32, 10 classes."""

    depth = 56


class ResNet110(ResNet20):
    """110 layers: 1,727,962 parameters on 3x32x32, 10 classes."""

    depth = 110


class Plain20(ResNet20):
    """ResNet-20 without its shortcuts: 269,722 parameters."""

    residual = False


class Plain56(ResNet56):
    """ResNet-56 without its shortcuts, which trains worse than Plain-20: 853,018 parameters."""

    residual = False
