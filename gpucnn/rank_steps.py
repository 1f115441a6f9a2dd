"""Steps of training for one of several ranks: its share of each batch, and the updates of all."""

from functools import partial

from .backend import Array
from .data.batches import Batch, Batches
from .errors import UsageError
from .module import Module
from .optim import Optimizer
from .parallel import Ranks
from .steps import HostSteps


class RankSteps(HostSteps):
    """On every device those of the host: what ranks exchange, behind the backward pass, is no kernel to record.

    The weights, and the sums of the epoch, are those of all ranks after each step.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, train: Batches, seed: int, label_smoothing: float, ranks: Ranks
    ) -> None:
        super().__init__(model, optimizer, train, seed, label_smoothing)
        if (train.rank, train.ranks) != (ranks.rank, ranks.size):
            raise ValueError(f"batches for rank {train.rank} of {train.ranks} on rank {ranks.rank} of {ranks.size}")
        smallest = train.examples - (len(train) - 1) * train.batch_size
        if smallest < ranks.size:
            hint = f"use batches of at least {ranks.size}, and drop_last, or fewer ranks"
            raise UsageError(f"{ranks.size} ranks cannot share a batch of {smallest}", hint)
        self.ranks = ranks
        self._sums = self.graph.sums = self.meter.sums.copy()  # of this rank's share, and once exchanged of the batch

    def _update(self, batch: Batch) -> None:
        self.optimizer.step(partial(self._exchange, len(batch.y) / batch.whole))
        self.meter.sums += self._sums
        self._sums[...] = 0

    def _exchange(self, share: float, gradients: list[Array]) -> None:
        """From the mean gradients of a share of the batch to those of the whole batch; the sums go along."""
        for gradient in gradients:
            gradient *= share
        self.ranks.all_reduce([*gradients, self._sums])
