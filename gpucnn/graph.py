"""Training without Python between the kernels: a run is recorded once and then repeated as a whole.

For a small network, choosing kernels and preparing their arguments takes Python as long as the kernels run. All of it
depends on shapes alone, and is the same for every batch:

    first time     it runs as ever, and is recorded: on the CPU and the simulator as a list of kernels and arguments,
                   on a GPU as a CUDA graph
    second time    it runs both ways; only if all numbers agree to the last bit, the recording is trusted
    from then on   what was recorded is repeated

What is not recorded, like a number that NumPy computed on the way, is not repeated. So all Functions on the tape must
be `repeatable`, the modules must be gpucnn's own (others may decide by numbers what they compute), and whatever does
not fit runs as ever.
"""

import logging
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from . import functional as F
from . import lint
from .autograd import tape
from .backend import Array, Device, on_host, recorder, to_host
from .module import Module, Parameter
from .profiling import repeating
from .tensor import Tensor

log = logging.getLogger("gpucnn.kernels")


class Repeated:
    """`run(*inputs)`, a tuple of arrays, repeated where `device` records and it was seen to repeat itself.

    state: the arrays that `run` changes in place. allowed: asked once `run` was recorded. The arrays of a result hold
    until the next call.
    """

    def __init__(
        self,
        run: Callable[..., tuple],
        device: Device,
        state: Sequence[Array] = (),
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._run, self._state, self._allowed = run, state, allowed
        self._recorder: Any = recorder(device)
        self._recording: Any = None
        self.trusted = False

    def __call__(self, *inputs: Array) -> tuple:
        if self._recorder is None or not repeating():
            return self._run(*inputs)
        if self._recording is None:
            return self._record(*inputs)
        if not self._recording.takes(*inputs):
            return self._run(*inputs)
        return self._recording(*inputs) if self.trusted else self._compare(*inputs)

    def forget(self, state: Sequence[Array]) -> None:
        """Record anew, with the next call, which changes these arrays."""
        self._recording, self.trusted, self._state = None, False, state

    def _record(self, *inputs: Array) -> tuple:
        recording = self._recorder(self._run, *inputs)
        if recording.fault:
            log.warning("no CUDA graph, each kernel is launched by itself: %s", recording.fault)
        if recording.fault or not self._allowed():
            self._recorder = None
        else:
            self._recording = recording
        return recording.result

    def _compare(self, *inputs: Array) -> tuple:
        """Both ways, from the same state. Numbers that did not change since the recording prove nothing."""
        recorded, before = _bits(self._recording.result), [array.copy() for array in self._state]
        repeated = _bits(self._recording(*inputs))
        for array, value in zip(self._state, before, strict=True):
            array[...] = value
        result = self._run(*inputs)
        if repeated != _bits(result):
            self._recorder = self._recording = None
        self.trusted = self._recording is not None and repeated != recorded
        return result


def _bits(arrays: tuple) -> list[bytes]:
    return [to_host(array).tobytes() for array in arrays if array is not None]


class Graph:
    """Loss and gradients of batches on `device`, with `model` as it then is, repeated where that is possible.

    A recording is of one shape of batches, the first that comes, and of the arrays in which the parameters then lie.
    sums: an array to which the batches' loss and right answers are added: see cross_entropy.
    """

    def __init__(self, model: Module, device: Device, label_smoothing: float = 0.0, sums: Array | None = None) -> None:
        self.model, self.device, self.label_smoothing, self.sums = model, device, label_smoothing, sums
        self.parameters = list(model.parameters())
        self.buffers = [tensor for _, tensor in model.named_tensors() if not isinstance(tensor, Parameter)]
        self.repeatable = False  # whether what ran last would give the same when it is repeated
        self._repeated = Repeated(self.run, device, allowed=lambda: self.repeatable)
        self._ours = all(map(_is_ours, model.modules()))
        self._depends_on: list = []
        self._classes = 0

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Images x (n, c, h, w) and labels y (n,) -> their loss () and logits (n, classes), until the next call.

        `grad` of the parameters becomes the gradient of this loss alone.
        """
        y = self.device.asarray(y, "int32")
        if on_host(y) and y.size and self._classes and (y.min() < 0 or y.max() >= self._classes):
            self.run(x, y)  # says what is wrong with them
        state = [tensor.data for tensor in self.buffers] + ([] if self.sums is None else [self.sums])
        depends_on = [self.model.training, *(p.data for p in self.parameters), *state]
        if len(depends_on) != len(self._depends_on) or not all(map(is_, depends_on, self._depends_on)):
            self._repeated.forget(state)
            self._depends_on = depends_on
        loss, logits, *gradients = self._repeated(x, y)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return loss, logits

    def run(self, x: Array, y: Array) -> tuple:
        """Loss, logits and the gradient of each parameter, by the tape."""
        for p in self.parameters:
            p.grad = None
        outputs = self.model(Tensor(x, device=self.device))
        loss = F.cross_entropy(outputs, y, label_smoothing=self.label_smoothing, sums=self.sums)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs  # those of auxiliary classifiers come behind
        functions = tape(loss)
        if not self._classes:  # the first batch
            lint.check(functions)
        self.repeatable = self._ours and all(function.repeatable for function in functions)
        self._classes = logits.shape[1]
        loss.backward()
        return loss.data, logits.data, *(p.grad for p in self.parameters)


def _is_ours(module: Module) -> bool:
    return type(module).__module__.partition(".")[0] == __package__ and "forward" not in vars(module)
