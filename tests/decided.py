"""Gradients of a whole network, compared between kernels that round differently.

On the other side of a tie, of a ReLU or of the maximum of a window, a gradient differs by more than rounding. So one
run writes down how it decided, and the reference is made to send gradients back the same way.

Where products are of rounded factors, rounding decides, too: numbers that differ in their last bit lie now and then on
both sides of the middle between two rounded ones, 2**13 last bits apart in tf32, 2**16 in bfloat16.
"""

import sys
from functools import partial

import numpy as np
import pytest

import gpucnn.functional as F
from gpucnn import Tensor
from gpucnn.functional.activation import ReLU
from gpucnn.functional.conv import Conv2d, Conv2dReluMaxPool
from gpucnn.functional.linear import Linear
from gpucnn.functional.norm import BatchNorm
from gpucnn.functional.pool import MaxPool2d
from gpucnn.layers import Dropout


class Decisions:
    """Which ReLUs are on and which input of a window is its maximum: made by a first run, imposed on a second one.

    In the second run, `own` counts what it would have decided and `overruled` where that was otherwise.

    rounding: how the kernels of the first run round the factors of their products; the second run then multiplies such
    factors: x and w going forward, gy and w for gx, gy and x for gw. gb is a sum, not a product.

    anew: behind each batch normalisation the second run goes on from the numbers of the first, so that what one layer
    rounded is not enlarged by the next.
    """

    def __init__(self, rounding=None, anew=False):
        self.made, self.own, self.overruled, self.rounding, self.anew = [], 0, 0, rounding, anew

    def decide(self, decision, imposed):
        """What holds for the next layer: `decision` itself in the first run."""
        if imposed is None:
            self.made.append(np.array(decision))
            return decision
        kept = next(imposed)
        self.own += kept.size
        self.overruled += int((kept != decision).sum())
        return kept

    def factor(self, x, imposed):
        """What a layer is to multiply: x itself in the first run, where the kernels round."""
        if self.rounding is None:
            return x
        own = self.rounding(x)
        kept = self.decide(own, imposed)
        if imposed is None:
            return x
        slack = 1e-6 * np.abs(x).max()  # beyond it nothing is imposed: a number that is wrong has to show
        return np.where((self.rounding(x - slack) <= kept) & (kept <= self.rounding(x + slack)), kept, own)

    def begin(self, y, imposed):
        """What the layer behind batch normalisation is to get: y itself in the first run, or where the second is not
        near it: a number that is wrong has to show.
        """
        if not self.anew:
            return y
        if imposed is None:
            self.made.append(np.array(y))
            return y
        kept = next(imposed)
        return np.where(np.abs(kept - y) <= 1e-4 * np.abs(y).max(), kept, y)

    def functions(self):
        """A Function -> the one that takes its place in the next run."""
        decide, imposed = self.decide, iter(self.made) if self.made else None
        factor, begin = partial(self.factor, imposed=imposed), partial(self.begin, imposed=imposed)

        class DecidedReLU(ReLU):
            def forward(self, x):
                y = super().forward(x)
                self.on = decide(y > 0, imposed)
                return y

            def backward(self, gy):
                return super().backward(gy) if imposed is None else gy * self.on

        class DecidedBatchNorm(BatchNorm):
            def forward(self, *inputs):
                return begin(super().forward(*inputs))

        class WithCode:
            def forward(self, *inputs):
                y = super().forward(*inputs)
                self.code = decide(self.code, imposed)
                return y

        class WithFactors:
            def forward(self, x, w, *b):
                return super().forward(factor(x), factor(w), *b)

            def backward(self, gy):
                rounded = factor(gy)
                gradients = super().backward(rounded)
                return gradients if rounded is gy else (*gradients[:2], *super().backward(gy)[2:])

        return {
            ReLU: DecidedReLU,
            BatchNorm: DecidedBatchNorm,
            MaxPool2d: type("DecidedMaxPool2d", (WithCode, MaxPool2d), {}),
            Conv2d: type("DecidedConv2d", (WithFactors, Conv2d), {}),
            Conv2dReluMaxPool: type("DecidedConv2dReluMaxPool", (WithFactors, WithCode, Conv2dReluMaxPool), {}),
            Linear: type("DecidedLinear", (WithFactors, Linear), {}),
        }


def gradients(device, model, shape, decisions=None, n=8, dtype=np.float32):
    """(loss, name -> gradient) of `model`, newly initialised, for one batch of n images of `shape`."""
    rng = np.random.default_rng(7)
    model = model.initialize(3).to(device, dtype)
    for use, layer in enumerate(module for module in model.modules() if isinstance(module, Dropout)):
        layer.place = F.Place(5, 16 + use, 0, np.arange(n))  # the same draws in every run
    x = Tensor(device.asarray(rng.standard_normal((n, *shape), np.float32), dtype), device=device)
    with pytest.MonkeyPatch.context() as patch:
        for function, decided in decisions.functions().items() if decisions else ():
            patch.setattr(sys.modules[function.__module__], function.__name__, decided)
        loss = F.cross_entropy(model(x), rng.integers(0, 10, n))
        loss.backward()
    return float(loss.data), {name: p.grad for name, p in model.named_parameters()}
