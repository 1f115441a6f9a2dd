"""AlexNet on two processors, as it was in 2012: each has half of the channels, and some layers see those of both.

Krizhevsky, Sutskever, Hinton 2012, section 3.5: the second, fourth and fifth convolution see the channels of their own
processor only, the third convolution and the linear layers those of both. So activations travel, and their gradients
on the way back, but no gradient of a weight ever does: data-parallel training (docs/many-machines.md) is the other way
round. Here for 32x32 pictures, on the bundled digits.

mpirun -n 2 python -m mpi4py examples/two_gpu_alexnet.py
"""

from itertools import count, islice
from typing import Any

import numpy as np

import gpucnn as g
import gpucnn.functional as F
from gpucnn.backend import CPU, Array, Device, probe_cuda, to_host
from gpucnn.data import Batches, load
from gpucnn.parallel import Ranks, connect


class Together(g.Function):
    """x (n, c, ...) on each rank -> (n, ranks * c, ...) on all of them, in the order of the ranks.

    Each rank goes on with all channels in its own way, so the gradient of x is the sum of what comes back on all ranks.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def forward(self, x: Array) -> Array:
        parts = self.ranks.gather(to_host(x))
        return self.device.asarray(np.concatenate(parts, 1))

    def backward(self, gy: Array) -> Array:
        gy = gy.copy()
        self.ranks.all_reduce([gy])
        own = gy.shape[1] // self.ranks.size
        return gy[:, self.ranks.rank * own : (self.ranks.rank + 1) * own]


class HalfAlexNet(g.Module):
    """One processor's half of the network. `width`: channels of the first convolution, on both together."""

    def __init__(self, ranks: Ranks, width: int = 32, channels: int = 1, classes: int = 10) -> None:
        self.ranks = ranks
        own = width // ranks.size
        self.conv1 = g.Conv2d(channels, own, 3, padding=1)
        self.conv2 = g.Conv2d(own, 2 * own, 3, padding=1)
        self.conv3 = g.Conv2d(2 * width, 4 * own, 3, padding=1)
        self.conv4 = g.Conv2d(4 * own, 4 * own, 3, padding=1)
        self.conv5 = g.Conv2d(4 * own, 2 * own, 3, padding=1)
        self.linear6 = g.Linear(2 * width * 16, 4 * own)
        self.linear7 = g.Linear(4 * width, classes // ranks.size)

    def forward(self, x: g.Tensor) -> g.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # 16x16
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # 8x8
        x = F.relu(self.conv3(self.together(x)))
        x = F.relu(self.conv4(x))
        x = F.max_pool2d(F.relu(self.conv5(x)), 2)  # 4x4
        x = F.relu(self.linear6(F.flatten(self.together(x), 1)))
        return self.together(self.linear7(self.together(x)))

    def together(self, x: g.Tensor) -> g.Tensor:
        """The channels of both processors."""
        return Together.apply(x, ranks=self.ranks)


def train(ranks: Ranks, device: Device, steps: int, width: int = 32, dtype: str = "float32") -> list[float]:
    """The loss of each step, of which both ranks see the same."""
    digits = load("digits").fit((32, 32))
    feed: dict[str, Any] = {"device": device, "mean": digits.mean, "std": digits.std, "dtype": dtype}
    batches = Batches(digits.train_x, digits.train_y, 32, shuffle=True, drop_last=True, **feed)
    model = HalfAlexNet(ranks, width).initialize(seed=ranks.rank).to(device, dtype)
    optimizer = g.optim.SGD(model.named_parameters(), lr=0.02, momentum=0.9)
    losses: list[float] = []
    for batch in islice((batch for epoch in count() for batch in batches.epoch(epoch)), steps):
        loss = F.cross_entropy(model(g.Tensor(batch.x, device=device)), batch.y)
        optimizer.zero_grad()
        (loss / ranks.size).backward()  # both compute it, and their gradients are added up
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(steps: int = 100) -> None:
    ranks = connect()
    if ranks.size != 2:
        raise SystemExit("this takes two processes: mpirun -n 2 python -m mpi4py examples/two_gpu_alexnet.py")
    device = CPU if probe_cuda(ranks.rank) else Device("cuda", ranks.rank)
    losses = train(ranks, device, steps)
    if ranks.rank == 0:
        print(
            f"{ranks}, each with half of the channels, on {device}: "
            f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
        )


if __name__ == "__main__":
    main()
