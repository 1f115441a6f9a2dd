"""What `gpucnn bench kernels` measures: each kernel that a training step calls, alone.

Nothing is timed before its results were compared with the reference in float64, and nothing counts whose results
have other bits afterwards.
"""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from gpucnn_kernels.channelslast import copied
from gpucnn_kernels.clock import Cpu, Gpu, Host, middle, sets

from .. import functional as F
from ..backend import Array, Device, to_host
from ..costs import Cost, Costs
from ..data import Batches, synthetic
from ..models import Model, model_class
from ..profiling import listening
from ..tensor import Tensor

REFERENCE = Device("cpu", kernels="xp")
CALLS = 20  # in a CUDA graph, at least
_GATES = {"tf32": (1e-3, 3e-2), "bf16": (1e-2, 1e-1)}  # |error| / |value| of a kernel's results, of a step's gradients
_FP32 = 1e-5, 1e-3


def gates(kind: str) -> tuple[float, float]:
    """|error| / |value| that results of kernels of a kind may have, and the gradients of a whole step."""
    return _GATES.get(kind, _FP32)


def clock_of(device: Device) -> Cpu:
    """Its clock. The simulator's times say nothing about a GPU."""
    return {"cpu": Host, "cuda": Gpu, "sim": Cpu}[device.type]()


class Call(NamedTuple):
    """`kernel(*arguments)`, as a training step called it; `name` is that of the pass in costs.py."""

    name: str
    op: str
    kind: str
    kernel: Callable[..., Any]
    arguments: tuple
    cost: Cost

    @property
    def function(self) -> str:
        """The one of the op that it is."""
        return self.name.rpartition(".")[2]

    def by(self, kernel: Callable[..., Any], kind: str, function: str) -> "Call":
        """The same by another kernel; function: its name, where that is a rung of a ladder."""
        rung = function.removeprefix(self.function)
        return self._replace(kernel=kernel, kind=kind + rung.replace("_", " "))


class _Calls(Costs):
    """Hears a step, and keeps the calls of kernels that are passes of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, tuple[str, Callable[..., Any], tuple]] = {}

    def called(self, source: str, function: str, kernel: Callable[..., Any], arguments: tuple) -> None:
        if self._layers:
            self.heard.setdefault(f"{self._layers[-1]}.{function}", (source, kernel, arguments))


def new_model(name: str, device: Device) -> Model:
    """A model on `device`, for the pictures that it takes, or for those of CIFAR-10."""
    kind = model_class(name)
    model = kind((kind.channels or 3, *(kind.image_size or (32, 32))))
    model.initialize(0).to(device)
    return model


def pictures(model: Model, batch_size: int, device: Device, batches: int = 1) -> Batches:
    """Random pictures for a model, shuffled, cropped and flipped anew in each epoch."""
    data = synthetic.load(f"{batches * batch_size}x{'x'.join(map(str, model.input_shape))}")
    how: dict[str, Any] = {"shuffle": True, "augment": ("crop", "flip"), "drop_last": True}
    return Batches(data.train_x, data.train_y, batch_size, device=device, mean=data.mean, std=data.std, **how)


def calls(model: Model, train: Batches) -> list[Call]:
    """What a training step calls, in its order."""
    batch, listener = next(train.epoch(0)), _Calls()
    with listening(listener):
        F.cross_entropy(model.train()(Tensor(batch.x, device=train.device)), batch.y).backward()
    sources = {f"{op}_{kind}": (op, kind) for op, kind in train.device.implementation.items()}
    return [
        Call(name, *sources[source], kernel, arguments, listener.passes[name])
        for name, (source, kernel, arguments) in listener.heard.items()
        if name in listener.passes
    ]


def measured(call: Call, clock: Cpu, repeats: int) -> dict[str, Any]:
    """A row: the call's error, its time, and what it then computes and moves a second; `fault` says what is wrong.

    error: the largest |error| / |value| of its results, in 2-norms. us: microseconds.
    """
    row: dict[str, Any] = {"name": call.name, "op": call.op, "kernels": call.kind}
    row |= {"flops": call.cost.flops, "bytes": call.cost.bytes, "intensity": call.cost.intensity}
    before = _floats(call.kernel(*call.arguments))
    row["error"] = max(map(distance, before, _exact(call)), default=0.0)
    if not row["error"] < gates(call.kind)[0]:
        return row | {"fault": f"results are off by {row['error']:.1e}"}
    count = sets(clock, call.cost.bytes)
    again = [partial(call.kernel, *map(_copied, call.arguments)) for _ in range(count)] if clock.l2 else [
        partial(call.kernel, *call.arguments)
    ]  # fmt: skip
    replay = clock.ours(again * (ceil(CALLS / count) if clock.l2 else 1))
    clock.times(replay, 2)
    row |= middle(clock.times(replay, repeats), replay.calls)
    row |= {"gflops": 1e-3 * call.cost.flops / row["us"], "gbs": 1e-3 * call.cost.bytes / row["us"]}
    after = _floats(call.kernel(*call.arguments))
    if not all(map(np.array_equal, before, after)):
        return row | {"fault": "results have other bits after it was timed"}
    return row


def _exact(call: Call) -> list[Array]:
    reference = getattr(REFERENCE.kernel(call.op), call.function)
    return _floats(reference(*map(wide, call.arguments)))


def wide(value: Any) -> Any:
    """An array on the host, float64 where it has floats; anything else as it is."""
    if not hasattr(value, "dtype"):
        return value
    array = np.ascontiguousarray(to_host(value))
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _copied(value: Any) -> Any:
    return copied(value) if hasattr(value, "flags") else value


def _floats(result: Any) -> list[Array]:
    """Copies of the arrays of floats among the results. The place of a maximum may be another one near a tie."""
    arrays = [to_host(array) for array in (result if isinstance(result, tuple) else (result,)) if array is not None]
    return [np.array(array) for array in arrays if array.dtype.kind == "f"]


def distance(found: Array, exact: Array) -> float:
    length = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / (length or 1.0)
