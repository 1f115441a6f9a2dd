"""Gradients of a whole network, compared between kernels that round differently.

On the other side of a tie, of a ReLU or of the maximum of a window, a gradient differs by more than rounding. So one
run writes down how it decided, and the reference is made to send gradients back the same way.
"""

import numpy as np
import pytest

import gpucnn.functional as F
from gpucnn import Tensor
from gpucnn.functional.activation import ReLU
from gpucnn.functional.conv import Conv2dReluMaxPool
from gpucnn.functional.pool import MaxPool2d


class Decisions:
    """Which ReLUs are on and which input of a window is its maximum: made by a first run, imposed on a second one.

    In the second run, `own` counts what it would have decided and `overruled` where that was otherwise.
    """

    def __init__(self):
        self.made, self.own, self.overruled = [], 0, 0

    def decide(self, decision, imposed):
        """What holds for the next layer: `decision` itself in the first run."""
        if imposed is None:
            self.made.append(np.array(decision))
            return decision
        kept = next(imposed)
        self.own += kept.size
        self.overruled += int((kept != decision).sum())
        return kept

    def functions(self):
        """name in gpucnn.functional -> the Function that takes its place in the next run."""
        decide, imposed = self.decide, iter(self.made) if self.made else None

        class DecidedReLU(ReLU):
            def forward(self, x):
                y = super().forward(x)
                self.on = decide(y > 0, imposed)
                return y

            def backward(self, gy):
                return super().backward(gy) if imposed is None else gy * self.on

        class WithCode:
            def forward(self, *inputs):
                y = super().forward(*inputs)
                self.code = decide(self.code, imposed)
                return y

        return {
            "activation.ReLU": DecidedReLU,
            "pool.MaxPool2d": type("DecidedMaxPool2d", (WithCode, MaxPool2d), {}),
            "conv.Conv2dReluMaxPool": type("DecidedConv2dReluMaxPool", (WithCode, Conv2dReluMaxPool), {}),
        }


def gradients(device, model, shape, decisions=None, n=8, dtype=np.float32):
    """(loss, name -> gradient) of `model`, newly initialised, for one batch of n images of `shape`; no dropout."""
    rng = np.random.default_rng(7)
    model = model.initialize(3).to(device, dtype).eval()
    x = Tensor(device.asarray(rng.standard_normal((n, *shape), np.float32), dtype), device=device)
    with pytest.MonkeyPatch.context() as patch:
        for name, function in decisions.functions().items() if decisions else ():
            patch.setattr(f"gpucnn.functional.{name}", function)
        loss = F.cross_entropy(model(x), rng.integers(0, 10, n))
        loss.backward()
    return float(loss.data), {name: p.grad for name, p in model.named_parameters()}
