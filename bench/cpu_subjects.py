"""What is compared: gpucnn, PyTorch and NumPy behind one interface, all with the same network, weights and recipe.

batch(x, y)       images (n, c, h, w) float32 and labels int64 in whatever form the subject computes with; not timed
mode(training)    dropout on or off
step(x, y)        forward, cross entropy, zero_grad, backward, SGD; the loss as a number
evaluate(x)       forward alone, nothing recorded for backward
gradients(x, y)   the loss and d loss / d parameter by the parameter's name, in PyTorch's layout; nothing is updated
"""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cpu_peers
import numpy as np
from gpucnn_kernels.cpu.layout import lines

import gpucnn as g
import gpucnn.functional as F
from gpucnn.errors import UsageError
from gpucnn.graph import Graph
from gpucnn.models import model_class
from gpucnn.models.resnet import Block

Array = Any
RECIPE = {"lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4}
IMAGE, CLASSES = (3, 32, 32), 10


class Skipped(Exception):
    """This subject does not exist here; the text says why."""


def need_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        raise Skipped("no torch: make setup EXTRAS=oracle") from None


def model(network: str) -> Any:
    kind = model_class(network)
    return kind((kind.channels or IMAGE[0], *(kind.image_size or IMAGE[1:])), CLASSES).initialize(seed=0)


class Ours:
    """`options` of Device; one that Device does not have yet skips the subject."""

    def __init__(self, network: str, **options: Any) -> None:
        unknown = set(options) - {field.name for field in dataclasses.fields(g.Device)}
        if unknown:
            raise Skipped(f"Device has no {', '.join(unknown)}")
        try:
            self.device = g.Device("cpu", **options)
        except UsageError as error:
            raise Skipped(str(error)) from None
        self.model = model(network).to(self.device)
        self.optimizer = g.optim.SGD(self.model.named_parameters(), **RECIPE)
        self.forward_backward = Graph(self.model, self.device)

    def batch(self, x: Array, y: Array) -> tuple[Array, Array]:
        """As `Batches` gives them: in the layout of the kernels."""
        if self.device.implementation["conv2d"] != "xp" and x.dtype == np.float32:
            x = np.moveaxis(lines(x), -1, 0)[: len(x)]
        return x, y

    def mode(self, training: bool) -> None:
        self.model.train(training)

    def step(self, x: Array, y: Array) -> float:
        loss, _ = self.forward_backward(x, y)
        self.optimizer.step()
        return loss.item()

    def evaluate(self, x: Array) -> Any:
        with g.no_grad():
            return self.model(g.Tensor(x, device=self.device))

    def gradients(self, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        self.model.eval()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(g.Tensor(x, device=self.device)), y)
        loss.backward()
        return loss.item(), {name: p.grad for name, p in self.model.named_parameters()}

    def details(self) -> dict[str, Any]:
        return {"kernels": self.device.kernels_in_words()}


class Torch:
    """Eager, or through torch.compile; parameters and images channels first or last."""

    def __init__(self, network: str, *, channels_last: bool = False, compiled: bool = False, dtype: str = "float32"):
        torch = need_torch()
        self.torch, ours = torch, model(network)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        net = self._layer(g.Sequential(ours.features, g.Flatten(), ours.classifier))
        with torch.no_grad():
            for theirs, p in zip(net.parameters(), ours.parameters(), strict=True):
                theirs.copy_(torch.from_numpy(p.data))
        self.dtype = getattr(torch, dtype)
        self.net = net.to(dtype=self.dtype, memory_format=self.format)
        self.names = [name for name, _ in ours.named_parameters()]
        self.optimizer = torch.optim.SGD(self.net.parameters(), **RECIPE, fused=True)  # its fastest
        self.run = torch.compile(self.net) if compiled else self.net

    def _layer(self, layer: g.Module) -> Any:
        nn = self.torch.nn
        match layer:
            case g.Sequential():
                return nn.Sequential(*(self._layer(each) for _, each in layer.children()))
            case Block(residual=True):
                return residual(self.torch, self._layer(layer.body), layer)
            case g.Conv2d():
                co, ci, *kernel = layer.weight.shape
                return nn.Conv2d(ci, co, tuple(kernel), layer.stride, layer.padding, bias=layer.bias is not None)
            case g.BatchNorm2d():
                return nn.BatchNorm2d(*layer.weight.shape)
            case g.AdaptiveAvgPool2d():
                return nn.AdaptiveAvgPool2d(1)
            case g.MaxPool2d():
                return nn.MaxPool2d(*layer.window)
            case g.Linear():
                return nn.Linear(*reversed(layer.weight.shape))
            case g.Dropout():
                return nn.Dropout(layer.p)
        return {g.ReLU: nn.ReLU, g.Flatten: nn.Flatten}[type(layer)]()

    def batch(self, x: Array, y: Array) -> tuple[Any, Any]:
        images = self.torch.from_numpy(x).to(dtype=self.dtype, memory_format=self.format)
        return images, self.torch.from_numpy(y)

    def mode(self, training: bool) -> None:
        self.run.train(training)

    def step(self, x: Any, y: Any) -> float:
        loss = self.torch.nn.functional.cross_entropy(self.run(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def evaluate(self, x: Any) -> Any:
        with self.torch.inference_mode():
            return self.run(x)

    def gradients(self, x: Any, y: Any) -> tuple[float, dict[str, Array]]:
        self.net.eval()
        self.optimizer.zero_grad()
        loss = self.torch.nn.functional.cross_entropy(self.run(x), y)
        loss.backward()
        return loss.item(), {n: p.grad.numpy() for n, p in zip(self.names, self.net.parameters(), strict=True)}

    def details(self) -> dict[str, Any]:
        return {"threads": self.torch.get_num_threads(), "capability": self.torch.backends.cpu.get_cpu_capability()}


def residual(torch: Any, body: Any, block: Block) -> Any:
    """`block` in PyTorch, around its `body`."""

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Any) -> Any:
            channels = 0, 0, 0, 0, 0, block.new_channels
            shortcut = torch.nn.functional.pad(x[:, :, :: block.stride, :: block.stride], channels)
            return torch.relu(self.body(x) + shortcut)

    return Residual()


class Peer:
    """A network of cpu_peers.py."""

    def __init__(self, network: str, peer: type[cpu_peers.Im2col]) -> None:
        ours = model(network)
        self.names = [name for name, _ in ours.named_parameters()]
        self.net, self.training = peer(ours), True

    def batch(self, x: Array, y: Array) -> tuple[Array, Array]:
        return self.net.input(x), y

    def mode(self, training: bool) -> None:
        self.training = training

    def step(self, x: Array, y: Array) -> float:
        loss = self.net.backward(self.net.forward(x, self.training), y)
        self.net.update(**RECIPE)
        return loss

    def evaluate(self, x: Array) -> Array:
        return self.net.forward(x, self.training)

    def gradients(self, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        loss = self.net.backward(self.net.forward(x, False), y)
        return loss, dict(zip(self.names, self.net.named_gradients(), strict=True))

    def details(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Subject:
    """`family`: gpucnn, torch or numpy. `tuned`: malloc keeps what is freed. `rounds`: at most so many."""

    family: str
    make: Callable[..., Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuned: bool = False
    rounds: int = 1000

    @property
    def eager_torch(self) -> bool:
        return self.family == "torch" and not self.options.get("compiled")


SUBJECTS = {
    "gpucnn": Subject("gpucnn", Ours),
    "gpucnn-no-fuse": Subject("gpucnn", Ours, {"fuse": False}),
    "gpucnn-no-graph": Subject("gpucnn", Ours, {"graph": False}),
    "gpucnn-exact": Subject("gpucnn", Ours, {"kernels": "exact"}),
    "torch": Subject("torch", Torch),
    "torch-channels-last": Subject("torch", Torch, {"channels_last": True}),
    "torch-tuned": Subject("torch", Torch, tuned=True),
    "torch-channels-last-tuned": Subject("torch", Torch, {"channels_last": True}, tuned=True),
    "torch-compile": Subject("torch", Torch, {"compiled": True}, rounds=1),
    "numpy-im2col": Subject("numpy", Peer, {"peer": cpu_peers.Im2col}),
    "numpy-nhwc": Subject("numpy", Peer, {"peer": cpu_peers.ChannelsLast}),
}


def make(name: str, network: str) -> Any:
    """The subject called `name` with `network`; Skipped where it does not exist here."""
    return SUBJECTS[name].make(network, **SUBJECTS[name].options)
