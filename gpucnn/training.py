"""The training loop: `fit` yields one record per epoch and never prints."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from . import functional as F
from .autograd import no_grad
from .data.batches import Batches
from .errors import DivergedError
from .finite import CheckedSteps
from .module import Module
from .optim import Optimizer, Schedule
from .parallel import ALONE, Ranks
from .rank_steps import RankSteps
from .steps import Meter, steps_on
from .tensor import Tensor

_SECONDS_BETWEEN_READINGS = 0.1  # reading a loss waits for the device, so not after every step


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Losses are means an image, accuracies fractions; lr is that of the last step."""

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    lr: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Position:
    """Where training begins, or goes on: `epoch` epochs are done, and `step` steps of the next.

    sums: those of these steps, see Meter; seconds: what they took. Everything random follows from the place in the run,
    so that with the weights and the optimizer's state this is all there is to know.
    """

    epoch: int = 0
    step: int = 0
    sums: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" + (f" and {self.step} steps" if self.step else "")


BEGINNING = Position()


@dataclass(frozen=True)
class Step:
    """Where training is: `step` of `steps` in `epoch` (all from 1), and the means so far in this epoch."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    meter: Meter
    started: float

    def position(self) -> Position:
        """Where to go on from here, until the next step is made; waits for the device."""
        return Position(self.epoch - 1, self.step, self.meter.totals(), time.perf_counter() - self.started)


def fit(
    model: Module,
    optimizer: Optimizer,
    train: Batches,
    test: Batches,
    *,
    epochs: int,
    schedule: Schedule,
    seed: int = 0,
    label_smoothing: float = 0.0,
    limit_batches: int | None = None,
    start: Position = BEGINNING,
    checked: bool = False,
    ranks: Ranks = ALONE,
    after_step: Callable[[Step], None] = lambda step: None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train for `epochs`, changing `optimizer.lr` by `schedule` at every step; yields after each epoch.

    limit_batches: at most so many batches an epoch, to train and to test. start: where another call was, from whose
    weights and optimizer's state this one is to go on; it then gives the same bits that the other would have given.

    DivergedError as soon as a loss that is read is not finite, the one on the test images included; if `checked`, each
    number is looked at, and the error names the op.
    ranks: several processes that call this together, with batches of which each gets its share. They begin with the
    weights and the optimizer's state of rank 0; losses and accuracies are those of all.
    `check` is called after every step and every test batch, and may raise to stop there.
    """
    device, top_lr = train.device, optimizer.lr
    steps = min(len(train), limit_batches or len(train))
    kind: Any = CheckedSteps if checked else steps_on(device)
    if ranks.size > 1:
        kind = partial(RankSteps, ranks=ranks)  # which are not checked
        ranks.copy_first([array for kept in optimizer.state.values() for array in kept])
        optimizer.steps = ranks.broadcast(optimizer.steps)
        _share(model, ranks)
    with kind(model, optimizer, train, seed, label_smoothing) as run:
        for epoch in range(start.epoch, epochs):
            model.train()
            rates = [top_lr * schedule(epoch * steps + step) for step in range(steps)]
            begin = start if epoch == start.epoch else Position(epoch)
            last_reading = time.perf_counter()
            started = last_reading - begin.seconds
            run.begin(epoch, rates, begin.step, begin.sums)
            step = begin.step
            loss_so_far, accuracy_so_far = run.meter.read() if step else (math.nan, math.nan)
            while step < steps:
                step += run()
                now = time.perf_counter()
                # ranks read what they have exchanged, and so all of them give up at the same step
                if now - last_reading > _SECONDS_BETWEEN_READINGS or step == steps or ranks.size > 1:
                    last_reading = now
                    loss_so_far, accuracy_so_far = run.meter.read()
                    _require_finite(loss_so_far, f"in epoch {epoch + 1}, at step {step} of {steps}", top_lr)
                after_step(Step(epoch + 1, step, steps, loss_so_far, accuracy_so_far, run.meter, started))
                check()
            device.synchronize()
            seconds = time.perf_counter() - started
            _share(model, ranks)
            test_loss, test_accuracy = evaluate(model, test, limit_batches, check, ranks)
            _require_finite(test_loss, f"on the test images after epoch {epoch + 1}", top_lr)
            yield Epoch(
                epoch + 1,
                loss_so_far,
                accuracy_so_far,
                test_loss,
                test_accuracy,
                rates[-1],
                seconds,
                run.meter.images / seconds,
            )


def rehearse(model: Module, train: Batches, n: int | None = None) -> None:
    """Forward and backward of one batch, or of one of n images, leaving the model as it was."""
    state = model.state_dict()
    share = train.share(min(n or train.batch_size, train.examples))
    samples, words, y = (part[share] for part in train.draw(0))
    F.cross_entropy(model.train()(Tensor(train.images(samples, words), device=train.device)), y).backward()
    model.load_state_dict(state)
    for parameter in model.parameters():
        parameter.grad = None


def _require_finite(loss: float, where: str, lr: float) -> None:
    if not math.isfinite(loss):
        hint = f"use a smaller learning rate, --lr {lr / 10:g}, or limit the gradients: --clip-grad-norm 1"
        raise DivergedError(f"the loss is {loss} {where}", hint)


def evaluate(
    model: Module,
    batches: Batches,
    limit_batches: int | None = None,
    check: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> tuple[float, float]:
    """(mean cross entropy, accuracy) over the images of `batches`, in evaluation mode; check, ranks: as in fit."""
    model.eval()
    meter = Meter(batches.device, batches.mean.dtype)
    with no_grad():
        for batch in islice(batches.epoch(0), limit_batches):
            if len(batch.y):  # a rank may have no share in a small batch
                F.cross_entropy(model(Tensor(batch.x, device=batches.device)), batch.y, sums=meter.sums)
            meter.images += batch.whole
            check()
    ranks.all_reduce([meter.sums])
    return meter.read()


def _share(model: Module, ranks: Ranks) -> None:
    """The model of rank 0 on all ranks: the running statistics of batch normalisation are its own, and another CPU may
    have rounded an update otherwise.
    """
    ranks.copy_first([tensor.data for _, tensor in model.named_tensors()])
