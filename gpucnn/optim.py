"""Optimizers with PyTorch's arithmetic, and learning-rate schedules as functions of the step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from .backend import Array
from .errors import GpucnnError
from .module import Parameter


class Optimizer:
    """Updates parameters from their gradients; `lr` may be changed between steps.

    parameters: Parameters, or (name, Parameter) pairs, whose names then appear in errors. The first `step`
    is an error where a parameter that requires a gradient got none: it is not connected to the loss.
    """

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
        self.state: dict[str, tuple[Array, ...]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters.values():
            p.grad = None

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        if self.steps == 0:
            lost = [name for name, p in self.parameters.items() if p.requires_grad and p.grad is None]
            if lost:
                hint = "use them in forward, or set requires_grad = False on them"
                raise GpucnnError(f"no gradient reached {', '.join(lost)}", hint)
        self.steps += 1
        for name, p in self.parameters.items():
            if p.requires_grad and p.grad is not None:
                self.update(name, p)

    def update(self, name: str, p: Parameter) -> None:
        """Change `p.data` in place."""
        raise NotImplementedError


class SGD(Optimizer):
    """v = momentum * v + g + weight_decay * p;  p -= lr * v, or lr * (g + momentum * v) with Nesterov.

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """

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

    def update(self, name: str, p: Parameter) -> None:
        g: Array = p.grad + self.weight_decay * p.data if self.weight_decay else p.grad
        if self.momentum:
            if name not in self.state:
                self.state[name] = (p.device.xp.zeros_like(p.data),)
            (v,) = self.state[name]
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        p.data -= self.lr * g


class Adam(Optimizer):
    """m, v = moving means of g and g**2;  p -= lr * m_hat / (sqrt(v_hat) + eps)

    Kingma and Ba 2014, arXiv:1412.6980. weight_decay adds weight_decay * p to g.
    """

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

    def update(self, name: str, p: Parameter) -> None:
        self._move(name, p, p.grad + self.weight_decay * p.data if self.weight_decay else p.grad)

    def _move(self, name: str, p: Parameter, g: Array) -> None:
        xp = p.device.xp
        if name not in self.state:
            self.state[name] = xp.zeros_like(p.data), xp.zeros_like(p.data)
        m, v = self.state[name]
        beta1, beta2 = self.betas
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        root = xp.sqrt(v) / math.sqrt(1 - beta2**self.steps) + self.eps
        p.data -= (self.lr / (1 - beta1**self.steps)) * m / root


class AdamW(Adam):
    """Adam whose weight decay shrinks p by lr * weight_decay beside the step (arXiv:1711.05101)."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, name: str, p: Parameter) -> None:
        p.data *= 1 - self.lr * self.weight_decay
        self._move(name, p, p.grad)


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
