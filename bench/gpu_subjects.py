"""A training step on a GPU, in gpucnn and in PyTorch: the same network, weights, recipe and precision.

batch(x, y)      a batch of the host as the step takes it
mode(training)   dropout on or off
rate(lr)         another learning rate, before the first step
prepare(x, y)    whatever comes before the first step, given a batch
step(x, y)       forward, cross entropy, backward, SGD; the loss, on the device, without waiting for it
weights()        all of them as one vector, on the host
details()        what the step was really run by
"""

from typing import Any

import cpu_subjects
import gpucnn_kernels
import numpy as np
from cpu_subjects import CLASSES, RECIPE, Skipped, model, need_torch

import gpucnn as g
from gpucnn.backend import KINDS, recorder, to_host
from gpucnn.errors import UsageError
from gpucnn.graph import Graph

Array = Any
# What PyTorch is told, and what |error| / |value| of a matrix product shows that it heard.
MODES = {"fp32-ieee": (0.0, 5e-6), "tf32": (2e-5, 2e-3), "bf16": (5e-4, 2e-2)}
MODE_OF = {"tf32": "tf32", "bf16": "bf16"}  # of a kind of kernels; the others round as fp32-ieee does
GATES = {"fp32-ieee": 1e-5, "tf32": 1e-3, "bf16": 1e-2}  # |error| / |value| that a kind may have in its mode


def mode_of(kind: str) -> str:
    return MODE_OF.get(kind, "fp32-ieee")


def kinds(device: str, op: str = "conv2d") -> list[str]:
    """The kinds of kernels that `op` has on `device`, beside the reference."""
    return [kind for kind in KINDS[device] if kind != "xp" and kind in gpucnn_kernels.implementations(op)]


def torch_device(device: str) -> str:
    """Where PyTorch computes: on the CPU where gpucnn is on the simulator."""
    return "cpu" if device == "sim" else "cuda"


def set_precision(torch: Any, mode: str) -> None:
    """`mode` of MODES, said in the attributes that PyTorch has for it since 2.9; bf16 is said to autocast."""
    value = "tf32" if mode == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = value
    torch.backends.cudnn.conv.fp32_precision = value
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False


def pictures(network: str, batch: int, count: int) -> list[tuple[Array, Array]]:
    """`count` batches of normalised noise with labels, on the host."""
    rng = np.random.default_rng(0)
    shape = batch, *model(network).input_shape
    return [(rng.standard_normal(shape, np.float32), rng.integers(0, CLASSES, batch)) for _ in range(count)]


class Ours:
    """gpucnn's step: the one place that knows how it is run."""

    def __init__(self, network: str, device: str, kernels: str, graph: bool = True) -> None:
        try:
            self.device = g.Device(device, kernels=kernels, graph=graph)
        except UsageError as error:
            raise Skipped(str(error)) from None
        if graph and recorder(self.device) is None:
            raise Skipped(f"no graph of a step on {device}")
        self.model = model(network).to(self.device)
        self.optimizer = g.optim.SGD(self.model.named_parameters(), **RECIPE)
        self.forward_backward = Graph(self.model, self.device)

    def batch(self, x: Array, y: Array) -> tuple[Array, Array]:
        return self.device.asarray(x), self.device.asarray(y, "int32")

    def mode(self, training: bool) -> None:
        self.model.train(training)

    def rate(self, lr: float) -> None:
        self.optimizer.lr = lr

    def prepare(self, x: Array, y: Array) -> None:
        pass

    def step(self, x: Array, y: Array) -> Array:
        loss, _ = self.forward_backward(x, y)
        self.optimizer.step()
        return loss

    def details(self) -> dict[str, Any]:
        graph = self.device.graph and self.forward_backward._repeated.trusted
        return {"kernels": self.device.kernels_in_words(), "graph": graph}

    def weights(self) -> Array:
        return np.concatenate([to_host(p.data).ravel() for p in self.model.parameters()])


class Torch(cpu_subjects.Torch):
    """`how`: eager; graph, the whole step captured by hand; or a mode of torch.compile, which gets network and loss.

    bf16 is autocast over float32 parameters, or everything in bfloat16 where `pure`.
    """

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

    def batch(self, x: Array, y: Array) -> tuple[Any, Any]:
        images, labels = super().batch(x, y)
        return images.to(self.where), labels.to(self.where)

    def rate(self, lr: float) -> None:
        self.optimizer.param_groups[0]["lr"] = lr

    def _loss(self, x: Any, y: Any) -> Any:
        # without the cache of casts, which a capture must not fill: each weight is used once anyway
        with self.torch.autocast(self.where, self.torch.bfloat16, enabled=self.autocast, cache_enabled=False):
            return self.torch.nn.functional.cross_entropy(self.net(x), y)

    def prepare(self, x: Any, y: Any) -> None:
        if self.how != "graph":
            return
        torch = self.torch
        self.x, self.y = x.clone(), y.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(5):
                self._eager(self.x, self.y)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.loss = self.loss_of(self.x, self.y)
            self.loss.backward()
            self.optimizer.step()

    def step(self, x: Any, y: Any) -> Any:
        if self.how != "graph":
            return self._eager(x, y)
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return self.loss

    def _eager(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def details(self) -> dict[str, Any]:
        return {"graph": self.how == "graph"}

    def weights(self) -> Array:
        return np.concatenate([p.detach().float().cpu().numpy().ravel() for p in self.net.parameters()])
