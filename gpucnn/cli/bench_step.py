"""What `gpucnn bench step` measures: a training step as a whole."""

import time
from typing import Any

import numpy as np
from gpucnn_kernels.clock import middle

from .. import functional as F
from ..backend import Array, to_host
from ..data import Batches
from ..models import Model
from ..optim import SGD
from ..steps import steps_on
from ..tensor import Tensor
from .bench_kernels import REFERENCE, distance, gates, wide


def step(model: Model, train: Batches, seconds: float, rounds: int = 5) -> dict[str, Any]:
    """A training step as `fit` makes it, with its batch: us, images_per_second; `fault` says what is wrong.

    error: how far the worst parameter's gradient is from float64, without dropout.
    """
    device = train.device
    row: dict[str, Any] = {"error": _gradient_error(model, train)}
    if not row["error"] < gates(device.implementation["conv2d"])[1]:
        return row | {"fault": f"gradients are off by {row['error']:.1e}"}
    before = model.state_dict()
    optimizer = SGD(model.train().named_parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    with steps_on(device)(model, optimizer, train, 0, 0.0) as run:
        left = epoch = 0

        def timed(least: float) -> float:
            """Seconds a step, over as many as take `least` seconds."""
            nonlocal left, epoch
            made, started = 0, time.perf_counter()
            while not made or time.perf_counter() - started < least:
                if not left:
                    run.begin(epoch, [0.001] * len(train))
                    left, epoch = len(train), epoch + 1
                step = run()
                left, made = left - step, made + step
            device.synchronize()
            return (time.perf_counter() - started) / made

        for _ in range(4):  # recorded, compared, repeated
            timed(0)
        timed(seconds / rounds)
        row |= middle([timed(seconds / rounds) for _ in range(rounds)])
        loss, _ = run.meter.read()
    row |= {"images_per_second": 1e6 * train.batch_size / row["us"], "loss": loss}
    after = model.state_dict()
    if not np.isfinite(loss) or all(np.array_equal(after[name], before[name]) for name in before):
        return row | {"fault": f"it does not train: the loss is {loss}"}
    return row


def _gradient_error(model: Model, train: Batches) -> float:
    """Of one batch, against the reference in float64."""
    batch = next(train.epoch(0))
    found = _gradients(model, batch.x, batch.y)
    exact = type(model)(model.input_shape, model.num_classes)  # type: ignore[arg-type]
    exact.load_state_dict(model.state_dict())
    exact.to(REFERENCE, np.float64)
    return max(map(distance, found, _gradients(exact, wide(batch.x), to_host(batch.y))))


def _gradients(model: Model, x: Array, y: Array) -> list[Array]:
    device = next(model.parameters()).device
    F.cross_entropy(model.eval()(Tensor(x, device=device)), y).backward()
    found = [np.array(to_host(p.grad)) for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    return found
