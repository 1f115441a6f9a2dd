"""What every model shares: its input is checked when it is built, not in the middle of a step."""

from .. import functional as F
from ..errors import UsageError
from ..module import Module
from ..tensor import Tensor


class Model(Module):
    """`features`, flattened, then `classifier`: images (n, c, h, w) -> logits (n, num_classes).

    channels, image_size: what the architecture can take; None means any.
    """

    channels: int | None = None
    image_size: tuple[int, int] | None = None
    features: Module
    classifier: Module

    def __init__(self, input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> None:
        channels, *size = input_shape
        name = type(self).__name__
        if num_classes < 2:
            raise UsageError(f"{name} needs at least 2 classes, got {num_classes}", "check the data set's classes")
        if self.channels not in (None, channels):
            raise UsageError(
                f"{name} takes images with {self.channels} channel(s), these have {channels}",
                "choose another model, or a data set that fits: gpucnn summary MODEL",
            )
        if self.image_size not in (None, tuple(size)):
            raise UsageError(
                f"{name} takes images of {self.image_size[0]}x{self.image_size[1]}, these have {size[0]}x{size[1]}",
                "choose another model, or a data set that fits: gpucnn summary MODEL",
            )
        self.input_shape, self.num_classes = tuple(input_shape), num_classes
        self.build(*input_shape)

    def build(self, channels: int, height: int, width: int) -> None:
        """Make the layers for images of this shape."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.flatten(self.features(x), 1))
