"""What every model shares: its input is checked when it is built, not in the middle of a step."""

from .. import functional as F
from ..errors import UsageError
from ..module import Module
from ..tensor import Tensor


class Model(Module):
    """`features`, flattened, then `classifier`: images (n, c, h, w) -> logits (n, num_classes).

    channels, image_size: what the architecture can take, other_size one more size; None means any.
    classes: how many there are unless somebody says so.
    for_imagenet: published for photographs of ImageNet's size, and here to be read, counted and run forward: to train
    it takes another machine.
    heads: the parts that end in a layer of `num_classes` outputs; one that a variant lacks is None.
    """

    channels: int | None = None
    image_size: tuple[int, int] | None = None
    other_size: tuple[int, int] | None = None
    classes = 10
    for_imagenet = False
    heads: tuple[str, ...] = ("classifier",)
    features: Module
    classifier: Module

    def __init__(self, input_shape: tuple[int, int, int] | None = None, num_classes: int | None = None) -> None:
        input_shape = input_shape or self.default_shape()
        num_classes = self.classes if num_classes is None else num_classes
        channels, *size = input_shape
        name = type(self).__name__
        if num_classes < 2:
            raise UsageError(f"{name} needs at least 2 classes, got {num_classes}", "check the data set's classes")
        if self.channels not in (None, channels):
            raise UsageError(
                f"{name} takes images with {self.channels} channel(s), these have {channels}",
                "choose another model, or a data set that fits: gpucnn summary MODEL",
            )
        if self.image_size and tuple(size) not in (self.image_size, self.other_size):
            raise UsageError(
                f"{name} takes images of {self.image_size[0]}x{self.image_size[1]}, these have {size[0]}x{size[1]}",
                "choose another model, or a data set that fits: gpucnn summary MODEL",
            )
        self.input_shape, self.num_classes = tuple(input_shape), num_classes
        self.build(*input_shape)

    @classmethod
    def default_shape(cls) -> tuple[int, int, int]:
        """(c, h, w) of the images that it takes, 3x32x32 where it takes any."""
        return cls.channels or 3, *(cls.image_size or (32, 32))

    def build(self, channels: int, height: int, width: int) -> None:
        """Make the layers for images of this shape."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.classifier(F.flatten(self.features(x), 1))
