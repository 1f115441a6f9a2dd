"""Training steps on a GPU, in gpucnn and in PyTorch: the same network, weights, recipe, precision and data.

load(x, y, n)    pictures uint8 and labels into the GPU's memory, as batches of n
mode(training)   dropout on or off
rate(lr)         another learning rate, before the first step
step()           the next batch forward, cross entropy, backward, SGD, without waiting for the GPU; or several of them:
                 how many
loss()           a number: of the steps since it was asked last (PyTorch: of the last one)
weights()        all of them as one vector, on the host
details()        what the steps were really run by

gpucnn's step takes its batch from all pictures, and normalises it; PyTorch finds its batches ready.
"""

from contextlib import ExitStack
from typing import Any

import cpu_subjects
import gpucnn_kernels
import numpy as np
from cpu_subjects import CLASSES, RECIPE, Skipped, model, need_torch

import gpucnn as g
from gpucnn.backend import KINDS, to_host
from gpucnn.data.batches import Batches
from gpucnn.errors import UsageError
from gpucnn.steps import DeviceSteps

Array = Any
MEAN, STD = 127.5, 64.0  # of every channel
MOST = 24  # batches that PyTorch keeps ready
# What PyTorch is told, and what |error| / |value| of a matrix product shows that it heard.
MODES = {"fp32-ieee": (0.0, 5e-6), "tf32": (2e-5, 2e-3), "bf16": (5e-4, 2e-2)}
MODE_OF = {"tf32": "tf32", "bf16": "bf16"}  # of a kind of kernels; the others round as fp32-ieee does
CHANNELS_LAST = ("tf32", "tf32x3", "bf16")  # kinds whose images lie so
GATES = {"fp32-ieee": 1e-5, "tf32": 1e-3, "bf16": 1e-2}  # |error| / |value| that a kind may have in its mode


def mode_of(kind: str) -> str:
    return MODE_OF.get(kind, "fp32-ieee")


def kinds(device: str, op: str = "conv2d", tiny: bool = False) -> list[str]:
    """The kinds of kernels that `op` has on `device`, beside the reference; tiny: those that soon run on sim."""
    found = [kind for kind in KINDS[device] if kind != "xp" and kind in gpucnn_kernels.implementations(op)]
    return [kind for kind in found if kind != "numba" or not tiny or op == "maxpool2d"]


def torch_device(device: str) -> str:
    """Where PyTorch computes: on the CPU, too, where gpucnn is on the simulator."""
    return "cuda" if device == "cuda" else "cpu"


def set_precision(torch: Any, mode: str) -> None:
    """`mode` of MODES, for matrices and convolutions; bf16 is said to autocast.

    In the attributes that PyTorch has for it since 2.9, and first in those before them: torch.compile still reads
    these in places, and refuses to where the two say different things.
    """
    value = "tf32" if mode == "tf32" else "ieee"
    torch.set_float32_matmul_precision("high" if mode == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = mode == "tf32"
    for part in (torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        part.fp32_precision = value
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # a rehearsal: threads that wait for each other keep the cores from the simulator


def pictures(network: str, count: int) -> tuple[Array, Array]:
    """`count` pictures uint8 (n, c, h, w) of noise, and their labels, on the host."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, *model(network).input_shape), np.uint8)
    return x, rng.integers(0, CLASSES, count)


class Ours:
    """gpucnn's step: the one place that knows how it is run. at_once: the steps of one graph."""

    def __init__(self, network: str, device: str, kernels: str, graph: bool = True, at_once: int | None = None) -> None:
        try:
            self.device = g.Device(device, kernels=kernels, graph=graph)
        except UsageError as error:
            raise Skipped(str(error)) from None
        self.model = model(network).to(self.device)
        self.optimizer, self.at_once = g.optim.SGD(self.model.named_parameters(), **RECIPE), at_once
        self.rate(RECIPE["lr"])

    def load(self, x: Array, y: Array, n: int, **draws: Any) -> None:
        """draws: shuffle and augment of Batches."""
        c = x.shape[1]
        self.train = Batches(x, y, n, device=self.device, mean=[MEAN] * c, std=[STD] * c, drop_last=True, **draws)
        steps = DeviceSteps(self.model, self.optimizer, self.train, 0, 0.0, self.at_once)
        self.run = ExitStack().enter_context(steps)
        self.epoch = self.left = 0

    def mode(self, training: bool) -> None:
        self.model.train(training)

    def rate(self, lr: float) -> None:
        self.lr = lr

    def begin(self) -> None:
        """An epoch."""
        self.epoch, self.left, self.read = self.epoch + 1, len(self.train), (0.0, 0)
        self.run.begin(self.epoch - 1, [self.lr] * self.left)

    def step(self) -> int:
        if not self.left:
            self.begin()
        made = self.run()
        self.left -= made
        return made

    def loss(self) -> float:
        before, meter = self.read, self.run.meter
        self.read = meter.read()[0] * meter.images, meter.images
        return (self.read[0] - before[0]) / (self.read[1] - before[1])

    def details(self) -> dict[str, Any]:
        return {"kernels": self.device.kernels_in_words(), "graph": self.run.is_repeated}

    def weights(self) -> Array:
        return np.concatenate([to_host(p.data).ravel() for p in self.model.parameters()])


class Torch(cpu_subjects.Torch):
    """`how`: eager; graph, the whole step captured by hand; or a mode of torch.compile, which gets network and loss.

    bf16 is autocast over float32 parameters, or everything in bfloat16 where `pure`.
    """

    label_smoothing = 0.0

    def __init__(
        self, network: str, device: str, mode: str, how: str = "eager", channels_last: bool = False, pure: bool = False
    ) -> None:
        torch, self.where = need_torch(), torch_device(device)
        if how != "eager" and device == "sim":
            raise Skipped(f"PyTorch's {how} is about a GPU")
        set_precision(torch, mode)
        super().__init__(network, channels_last=channels_last, dtype="bfloat16" if pure else "float32")
        self.net.to(self.where)
        self.optimizer = torch.optim.SGD(self.net.parameters(), **RECIPE, fused=True)
        self.how, self.autocast = how, mode == "bf16" and not pure
        self.loss_of = self._loss if how in ("eager", "graph") else torch.compile(self._loss, mode=how)

    def load(self, x: Array, y: Array, n: int) -> None:
        normal = (x[: MOST * n].astype(np.float32) - MEAN) / STD
        batches = [self.batch(normal[i : i + n], y[i : i + n]) for i in range(0, len(normal) - n + 1, n)]
        self.batches = [(images.to(self.where), labels.to(self.where)) for images, labels in batches]
        self.place, self.ready = 0, self.how != "graph"

    def rate(self, lr: float) -> None:
        self.optimizer.param_groups[0]["lr"] = lr

    def precision(self) -> Any:
        """A context that computes as `mode` says; without the cache of casts, which a capture must not fill."""
        return self.torch.autocast(self.where, self.torch.bfloat16, enabled=self.autocast, cache_enabled=False)

    def _loss(self, x: Any, y: Any) -> Any:
        with self.precision():
            return self.torch.nn.functional.cross_entropy(self.net(x), y, label_smoothing=self.label_smoothing)

    def step(self, *_: Any) -> int:  # type: ignore[override]
        x, y = self.batches[self.place]
        self.place = (self.place + 1) % len(self.batches)
        if self.how != "graph":
            self.last = self.eager(x, y)
            return 1
        if not self.ready:
            self._capture(x, y)
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return 1

    def _capture(self, x: Any, y: Any) -> None:
        """The whole step, after a few that warm up: `last` is its loss, `x` and `y` its batch."""
        torch = self.torch
        self.x, self.y, self.ready = x.clone(), y.clone(), True
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(5):
                self.eager(self.x, self.y)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.last = self.loss_of(self.x, self.y)
            self.last.backward()
            self.optimizer.step()

    def loss(self) -> float:
        return float(self.last)

    def eager(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def details(self) -> dict[str, Any]:
        return {"graph": self.how == "graph"}

    def weights(self) -> Array:
        return np.concatenate([p.detach().float().cpu().numpy().ravel() for p in self.net.parameters()])
