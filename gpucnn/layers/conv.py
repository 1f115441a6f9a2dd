"""Convolution."""

from typing import Any

from .. import functional as F
from ..functional.shape import pair
from ..tensor import Tensor
from .arguments import positive, short
from .linear import Affine


class Conv2d(Affine):
    """x (n, in_channels, h, w) -> (n, out_channels, oh, ow); weight (out, in/groups, kh, kw), bias (out,)"""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups must divide {in_channels} and {out_channels} channels, got {groups}")
        self.stride, self.groups = pair("stride", stride, 1), groups
        self.padding = padding if padding == "same" else pair("padding", padding, 0)
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding 'same' needs stride 1, got {stride!r}")
        super().__init__((out_channels, in_channels // groups, *pair("kernel_size", kernel_size, 1)), bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)

    def extra_repr(self) -> str:
        co, ci, *kernel = self.weight.shape
        text = f"{ci * self.groups}, {co}, kernel_size={short(kernel)}"
        text += f", stride={short(self.stride)}" if self.stride != (1, 1) else ""
        text += f", padding={short(self.padding)}" if self.padding != (0, 0) else ""
        return text + (f", groups={self.groups}" if self.groups > 1 else "")
