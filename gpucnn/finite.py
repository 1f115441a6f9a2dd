"""Where numbers stop being finite: steps of training again, with every number looked at."""

from typing import Any

from . import functional as F
from .autograd import Function, tape
from .backend import Array
from .errors import DivergedError
from .module import Parameter
from .steps import HostSteps
from .tensor import Tensor


class CheckedSteps(HostSteps):
    """The same numbers by the tape alone; DivergedError names the first op whose result is not finite."""

    def __call__(self) -> int:
        batch, self.optimizer.lr = next(self._batches)
        self._place(self._epoch, batch.samples)
        self.optimizer.zero_grad()
        outputs = self.graph.model(Tensor(batch.x, device=self.train.device))
        loss = F.cross_entropy(outputs, batch.y, label_smoothing=self.graph.label_smoothing, sums=self.meter.sums)
        self._forward(loss)
        self._backward(loss)
        self.optimizer.step()
        for name, p in self.optimizer.parameters.items():
            self._look(p.data, "in", name, "after the step of", type(self.optimizer).__name__)
        self.meter.images += len(batch.y)
        return 1

    def _forward(self, loss: Any) -> None:
        functions = tape(loss)
        results = {id(x.function): x for function in functions for x in function.inputs} | {id(loss.function): loss}
        for function in reversed(functions):
            self._look(results[id(function)].data, "in the forward pass of", self._named(function))

    def _backward(self, loss: Any) -> None:
        """`loss.backward()`, with a look at every gradient."""
        functions = tape(loss)
        functions[0].gy = self.train.device.xp.ones_like(loss.data)
        for function in functions:
            name, inputs = self._named(function), function.inputs
            function.run_backward()
            for x in inputs:
                gradient = x.function.gy if x.function else x.grad
                if gradient is not None:
                    self._look(gradient, "in the backward pass of", name)

    def _named(self, function: Function) -> str:
        """`Conv2d (features.0.weight, features.0.bias)`"""
        names = {id(p): name for name, p in self.optimizer.parameters.items()}
        own = [names[id(x)] for x in function.inputs if isinstance(x, Parameter) and id(x) in names]
        return type(function).__name__ + (f" ({', '.join(own)})" if own else "")

    def _look(self, array: Array, *where: str) -> None:
        finite = self.train.device.xp.isfinite(array)
        if not finite.all():
            step = self.meter.images // self.train.batch_size + 1
            lost = f"{finite.size - int(finite.sum())} of {finite.size} numbers are not finite"
            raise DivergedError(f"in step {step} of epoch {self._epoch + 1}, {' '.join(where)}, {lost}")
