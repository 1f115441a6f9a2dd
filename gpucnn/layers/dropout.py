"""Dropout, of single elements and of whole channels."""

from dataclasses import replace

from .. import functional as F
from ..module import Module
from ..tensor import Tensor

_NEXT_CALL = 1 << 16  # more than a model has dropout layers


class Dropout(Module):
    """Zero elements with probability p in training; `place` fixes the draws (see functional.dropout)."""

    place: F.Place | None = None

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"the dropout probability must be between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, place=self._next_place())

    def _next_place(self) -> F.Place | None:
        """The place of this call; a second call in the same step then draws elsewhere."""
        place = self.place
        if place is not None:
            self.place = replace(place, use=place.use + _NEXT_CALL)
        return place

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Zero whole channels of (n, c, h, w) with probability p in training."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training, place=self._next_place())
