"""Optimizers with PyTorch's arithmetic, and learning-rate schedules as functions of the step."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .backend import Array, Device, to_host
from .errors import GpucnnError
from .flat import Flat
from .module import Parameter
from .profiling import annotate


class Optimizer:
    """Updates parameters from their gradients; `lr` may be changed between steps.

    parameters: Parameters, or (name, Parameter) pairs, whose names then appear in errors. The first `step`
    is an error where a parameter that requires a gradient got none: it is not connected to the loss.

    max_norm, which may be set: limits the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_` does.

    The parameters' `data` become views of one vector for each device and dtype, and a step changes it in place. Who
    replaces a parameter's `data`, or moves the model, may do so at any time: the next step takes it in again.
    """

    states: tuple[str, ...] = ()  # vectors that `update` keeps, by PyTorch's names
    repeatable = False  # whether all that `update` takes may lie in the device's memory: see steps.py

    def __init__(self, parameters: Iterable[Any], lr: float, weight_decay: float) -> None:
        pairs = [p if isinstance(p, tuple) else (f"parameter {i}", p) for i, p in enumerate(parameters)]
        self.parameters: dict[str, Parameter] = {}
        seen = set()  # a parameter given twice is updated once, under its first name
        for name, p in pairs:
            if not p.requires_grad or id(p) in seen:
                continue
            seen.add(id(p))
            if self.parameters.setdefault(name, p) is not p:
                raise ValueError(f"two parameters are named {name}: give the optimizer one model, or parameters alone")
        if not self.parameters:
            raise ValueError("the optimizer got no parameter that requires a gradient")
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr and weight_decay must be at least 0, got {lr} and {weight_decay}")
        self.lr, self.weight_decay = lr, weight_decay
        self.steps = 0
        self.count: Array | None = None  # the same in the device's memory, if somebody counts there
        self.max_norm: float | None = None
        self._receives = False
        self._vectors: list[Flat] = []
        self._arrange()

    @property
    def state(self) -> dict[str, tuple[Array, ...]]:
        """What is kept for each parameter, as arrays of its shape: views, so that they may be written to."""
        views = [(flat, [flat.views(vector) for vector in flat.state]) for flat in self._vectors]
        return {name: tuple(each[name] for each in kept) for flat, kept in views for name in flat.parameters}

    def state_dict(self) -> dict[str, np.ndarray]:
        """`steps`, and host copies of what is kept for each parameter, e.g. `momentum_buffer.0.weight`."""
        kept = {
            f"{what}.{name}": np.array(to_host(array))
            for name, arrays in self.state.items()
            for what, array in zip(self.states, arrays, strict=True)
        }
        return {"steps": np.array(self.steps, np.int64), **kept}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from `state`; ValueError where it is of another optimizer, or of other parameters."""
        own = self.state_dict()
        if {name: array.shape for name, array in own.items()} != {name: array.shape for name, array in state.items()}:
            raise ValueError(f"the state is not one of {type(self).__name__} over these parameters")
        self.steps = int(state["steps"])
        for name, arrays in self.state.items():
            for what, array in zip(self.states, arrays, strict=True):
                array[...] = self.parameters[name].device.asarray(state[f"{what}.{name}"])

    def _arrange(self) -> None:
        """Sort the parameters into vectors by device and dtype; what was kept for them moves with them."""
        before = self.state
        groups: dict[Any, dict[str, Parameter]] = {}
        for name, p in self.parameters.items():
            groups.setdefault((p.device, p.dtype), {})[name] = p
        self._vectors = [Flat(group, len(self.states)) for group in groups.values()]
        for name, arrays in self.state.items():
            for array, old in zip(arrays, before.get(name, ()), strict=False):
                array[...] = self.parameters[name].device.asarray(to_host(old))
        if self._receives:
            self.receive_gradients()

    def take_in(self) -> None:
        """Parameters whose `data` somebody replaced, or moved to another device."""
        if not all(flat.holds() for flat in self._vectors):
            self._arrange()
        for flat in self._vectors:
            flat.take_in()

    def vectors(self) -> list[Array]:
        """All that a step changes, once it has taken them in: the parameters and what is kept for them."""
        return [vector for flat in self._vectors for vector in (flat.p, *flat.state)]

    def receive_gradients(self, wanted: bool = True) -> None:
        """Have gradients written to where `step` reads them, not copied there; they hold until the next backward."""
        self._receives = wanted
        for flat in self._vectors:
            flat.receive(wanted)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters.values():
            p.grad = None

    def step(self, exchange: Callable[[list[Array]], None] | None = None) -> None:
        """One update of every parameter that has a gradient.

        exchange: changes the vectors of gradients in place before they are used, to those of several processes, say.
        """
        if self.steps == 0:
            lost = [name for name, p in self.parameters.items() if p.requires_grad and p.grad is None]
            if lost:
                hint = "use them in forward, or set requires_grad = False on them"
                raise GpucnnError(f"no gradient reached {', '.join(lost)}", hint)
        self.steps += 1
        if self.max_norm is not None and len(self._vectors) > 1:
            raise ValueError("gradients on several devices, or of several dtypes, have no norm to be limited")
        with annotate("optimizer"):
            self.take_in()
            parts = [flat.collect() for flat in self._vectors]
            if exchange:
                exchange([flat.g for flat in self._vectors])
            for flat, stretches in zip(self._vectors, parts, strict=True):
                if self.max_norm is not None:
                    flat.device.kernel("clip", flat.dtype).scale(flat.g, self.max_norm, out=flat.g)
                for part in stretches:
                    self.update(flat.device, flat.p[part], flat.g[part], *(vector[part] for vector in flat.state))

    def update(self, device: Device, p: Array, g: Array, *state: Array) -> None:
        """Change p and the state in place, given the gradient; vectors (n,) that hold many parameters."""
        raise NotImplementedError


class SGD(Optimizer):
    """v = momentum * v + g + weight_decay * p;  p -= lr * v, or lr * (g + momentum * v) with Nesterov.

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """

    states = ("momentum_buffer",)
    repeatable = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        self.momentum, self.nesterov = momentum, nesterov

    def update(self, device: Device, p: Array, g: Array, *state: Array) -> None:
        kernel = device.kernel("sgd", p.dtype)
        kernel.step(p, g, *state, self.lr, self.momentum, self.weight_decay, self.nesterov, out=(p, *state))


class Adam(Optimizer):
    """m, v = moving means of g and g**2;  p -= lr * m_hat / (sqrt(v_hat) + eps)

    Kingma and Ba 2014, arXiv:1412.6980. weight_decay adds weight_decay * p to g.
    """

    states = ("exp_avg", "exp_avg_sq")
    repeatable = True
    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if min(betas) < 0 or max(betas) >= 1:
            raise ValueError(f"betas must be at least 0 and below 1, got {betas}")
        if eps < 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        self.betas, self.eps = betas, eps

    def update(self, device: Device, p: Array, g: Array, *state: Array) -> None:
        decay = self.weight_decay, self.decoupled
        kernel = device.kernel("adam", p.dtype)
        t = self.steps if self.count is None else self.count
        kernel.step(p, g, *state, t, self.lr, self.betas, self.eps, *decay, out=(p, *state))


class AdamW(Adam):
    """Adam whose weight decay shrinks p by lr * weight_decay beside the step (arXiv:1711.05101)."""

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


Schedule = Callable[[int], float]  # step (0 is the first) -> what lr is multiplied with


def constant() -> Schedule:
    """1 at every step."""
    return lambda step: 1.0


def step_decay(step_size: int, gamma: float = 0.1) -> Schedule:
    """gamma ** (step // step_size)"""
    if step_size < 1:
        raise ValueError(f"step_size must be at least 1, got {step_size}")
    return lambda step: gamma ** (step // step_size)


def cosine(steps: int) -> Schedule:
    """Half a cosine from 1 to 0 over `steps` steps (arXiv:1608.03983, without restarts)."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


def one_cycle(steps: int, pct_start: float = 0.2, start: float = 1 / 10, end: float = 1 / 1000) -> Schedule:
    """Straight from `start` up to 1 over the first pct_start of `steps`, and down to `end` (arXiv:1708.07120).

    The last step, steps - 1, has `end`; the peak may lie between two steps.
    """
    if steps < 1 or not 0 <= pct_start <= 1:
        raise ValueError(f"steps must be at least 1 and pct_start in 0 .. 1, got {steps} and {pct_start}")
    peak, last = pct_start * steps - 1, steps - 1

    def factor(step: int) -> float:
        step = min(step, last)
        if step <= peak:
            return start + (1 - start) * (step / peak if peak else 1.0)
        return 1 + (end - 1) * (step - peak) / (last - peak)

    return factor


def warm_up(steps: int, then: Schedule) -> Schedule:
    """Straight from 1/(steps+1) up to 1 during `steps` steps, then the other schedule from its own step 0."""
    return lambda step: (step + 1) / (steps + 1) if step < steps else then(step - steps)
