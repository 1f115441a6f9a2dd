"""Steps of training: a batch, forward, backward, the optimizer's update, and the sums of the epoch.

HostSteps     takes each batch from the host's loop; what repeats itself is the pass through the network
DeviceSteps   takes nothing from the host: what changes from one step to the next, like the place in the epoch and the
              learning rate, lies in the device's memory, so that a whole step repeats itself, and is one CUDA graph
"""

from collections.abc import Sequence
from functools import partial
from operator import is_
from typing import Any, Self

from . import functional as F
from .backend import Array, Device
from .data.batches import Batch, Batches
from .graph import Graph, Repeated
from .layers import Dropout
from .module import Module
from .optim import Optimizer
from .profiling import annotate


class Meter:
    """Sums of loss and correct answers, in the type of the losses, to which `cross_entropy` adds those of a batch.

    They stay on the device until they are read.
    """

    def __init__(self, device: Device, dtype: Any = "float32") -> None:
        self.device = device
        self.sums: Array = device.xp.zeros(2, dtype)
        self.reset()

    def reset(self, images: int = 0, sums: tuple[float, float] = (0.0, 0.0)) -> None:
        """Begin with what `images` images have given."""
        self.images = images
        self.sums[...] = self.device.asarray(sums, self.sums.dtype)

    def read(self) -> tuple[float, float]:
        """(mean loss, accuracy); waits for the device."""
        loss, correct = self.totals()
        return loss / max(self.images, 1), correct / max(self.images, 1)

    def totals(self) -> tuple[float, float]:
        """(sum of losses, number of right answers); waits for the device."""
        loss, correct = self.sums.tolist()
        return loss, correct


class HostSteps:
    """`begin` an epoch, then each call trains on the next batch, or batches; `meter` sums them up.

    The optimizer is theirs inside a `with` statement, and is as it was before behind it.
    """

    def __init__(self, model: Module, optimizer: Optimizer, train: Batches, seed: int, label_smoothing: float) -> None:
        self.optimizer, self.train, self.seed = optimizer, train, seed
        self.meter = Meter(train.device, train.mean.dtype)
        self.graph = Graph(model, train.device, label_smoothing, self.meter.sums)
        first = train.device.kernel("philox").DROPOUT
        dropouts = (module for module in model.modules() if isinstance(module, Dropout))
        self._dropouts = list(enumerate(dropouts, first))

    def __enter__(self) -> Self:
        self._top_rate = self.optimizer.lr
        return self

    def __exit__(self, *error: object) -> None:
        self.optimizer.lr = self._top_rate

    def begin(self, epoch: int, rates: Sequence[float], step: int = 0, sums: tuple[float, float] = (0.0, 0.0)) -> None:
        """An epoch of len(rates) steps, with the learning rate of each; the first `step` are done and gave `sums`."""
        self.meter.reset(min(step * self.train.batch_size, self.train.examples), sums)
        self._epoch = epoch
        self._batches = zip(self.train.epoch(epoch, step), rates[step:], strict=False)

    def __call__(self) -> int:
        """The number of steps made."""
        with annotate("step"):
            with annotate("batch"):
                batch, self.optimizer.lr = next(self._batches)
            self._place(self._epoch, batch.samples)
            self.graph(batch.x, batch.y)
            self._update(batch)
        self.meter.images += batch.whole
        return 1

    def _update(self, batch: Batch) -> None:
        self.optimizer.step()

    def _place(self, epoch: int | Array, samples: Array) -> None:
        """Tell the dropouts of which draws theirs are."""
        for use, layer in self._dropouts:
            layer.place = F.Place(self.seed, use, epoch, samples)


class DeviceSteps(HostSteps):
    """The same numbers, to the bit. A last batch that is smaller is taken from the host.

    at_once: the steps of one recording. The default on a GPU is 10: a launch takes as long as many a small kernel.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        train: Batches,
        seed: int,
        label_smoothing: float,
        at_once: int | None = None,
    ) -> None:
        super().__init__(model, optimizer, train, seed, label_smoothing)
        xp, n = train.device.xp, train.batch_size
        self._drawn = [xp.empty_like(part) for part in train.draw(0)]  # of the whole epoch: samples, words, labels
        self._dealt = [xp.empty((n, *part.shape[1:]), part.dtype) for part in self._drawn]  # of a batch
        self._rates, self._rate = xp.zeros(len(train), "float32"), xp.zeros((), "float32")
        self._position, self._first = xp.zeros((), "int32"), xp.zeros((), "int32")  # batches, in all and before
        self._epoch_number = xp.zeros((), "uint32")
        self._at_once = at_once or (10 if train.device.type == "cuda" and train.device.graph else 1)
        self._state: tuple = ()

    def __enter__(self) -> Self:
        self.optimizer.receive_gradients()
        self.optimizer.count = self._position
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.optimizer.receive_gradients(False)
        self.optimizer.count = None

    def begin(self, epoch: int, rates: Sequence[float], step: int = 0, sums: tuple[float, float] = (0.0, 0.0)) -> None:
        self.meter.reset(min(step * self.train.batch_size, self.train.examples), sums)
        self.optimizer.take_in()
        buffers = (tensor.data for tensor in self.graph.buffers)
        state = *self.optimizer.vectors(), *buffers, self.meter.sums, self._position
        if len(state) != len(self._state) or not all(map(is_, state, self._state)):
            self._state = state
            self._repeated = {  # number of steps -> what makes them
                count: Repeated(partial(self._steps, count), self.train.device, state, self._is_repeatable)
                for count in (self._at_once, 1)
            }
        for place, drawn in zip(self._drawn, self.train.draw(epoch), strict=True):
            place[...] = drawn
        self._rates[: len(rates)] = self.train.device.asarray(rates, "float32")
        self._steps_before = self.optimizer.steps - step
        self._position[...], self._first[...] = self.optimizer.steps, self._steps_before
        self._epoch_number[...] = epoch
        self._whole = min(len(rates), len(self.train.x) // self.train.batch_size)
        self._done, self._last_rate = step, rates[-1]

    def __call__(self) -> int:
        n = self.train.batch_size
        if self._done == self._whole:
            samples, words, y = (part[self._whole * n :] for part in self._drawn)
            self._position += 1
            with annotate("step"):
                self._train(samples, words, y, self._last_rate)
            self.meter.images += len(y)
            return 1
        count, run = next((c, run) for c, run in self._repeated.items() if c <= self._whole - self._done)
        run()
        self.meter.images += count * n
        self._done += count
        self.optimizer.steps = self._steps_before + self._done  # a graph does not count there
        return count

    @property
    def is_repeated(self) -> bool:
        """Whether steps are repeated as they were recorded; known after the second call."""
        return self._repeated[self._at_once].trusted

    def _steps(self, count: int) -> tuple:
        n, deal = self.train.batch_size, self.train.device.kernel("deal")
        samples, words, y = self._dealt
        for _ in range(count):
            counts = self._position, self._first
            with annotate("step"):
                with annotate("batch"):
                    deal.forward(*self._drawn, self._rates, *counts, n, out=(*self._dealt, self._rate, self._position))
                self._train(samples, words, y, self._rate)
        return self._state

    def _is_repeatable(self) -> bool:
        return self.optimizer.repeatable and self.graph.repeatable

    def _train(self, samples: Array, words: Array, y: Array, rate: float | Array) -> None:
        with annotate("batch"):
            x = self.train.images(samples, words)
        self._place(self._epoch_number, samples)
        self.optimizer.lr = rate
        self.graph.run(x, y)
        self.optimizer.step()


def steps_on(device: Device) -> type[HostSteps]:
    """The steps that suit a device."""
    return HostSteps if device.type == "cpu" else DeviceSteps
