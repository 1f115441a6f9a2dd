"""Parameters side by side in one vector, so that an optimizer's step is one kernel."""

from collections.abc import Mapping

from .backend import Array
from .module import Parameter

_ALIGNMENT = 64  # elements: each parameter begins where a kernel may load wide words


class Flat:
    """The parameters of one device and dtype: their `data` become views of the vector `p`, in order.

    g: the gradients, likewise; state: the vectors that an optimizer keeps beside them, zeros at first.
    """

    def __init__(self, parameters: Mapping[str, Parameter], states: int) -> None:
        first = next(iter(parameters.values()))
        self.device, self.dtype, self.parameters = first.device, first.dtype, dict(parameters)
        self.places: dict[str, slice] = {}
        end = 0
        for name, p in self.parameters.items():
            start, end = end, end - (-p.data.size // _ALIGNMENT) * _ALIGNMENT
            self.places[name] = slice(start, end)
        self.p, self.g, *self.state = (self.device.xp.zeros(end, self.dtype) for _ in range(2 + states))
        self._data, self._gradients = self.views(self.p), self.views(self.g)
        self.take_in()

    def views(self, vector: Array) -> dict[str, Array]:
        """name -> the part of `vector` that belongs to the parameter, in its shape."""
        return {
            name: vector[place][: self.parameters[name].data.size].reshape(self.parameters[name].shape)
            for name, place in self.places.items()
        }

    def holds(self) -> bool:
        """Whether all parameters still are of this device and dtype."""
        return all(p.device == self.device and p.dtype == self.dtype for p in self.parameters.values())

    def take_in(self) -> None:
        """Where somebody gave a parameter another array: copy its values, and make the view its `data` again."""
        for name, p in self.parameters.items():
            view = self._data[name]
            if p.data is not view:
                view[...] = p.data
                p.data = view

    def receive(self, wanted: bool) -> None:
        """Have gradients written where `collect` would copy them to: they hold until the next backward pass."""
        for name, p in self.parameters.items():
            p.into = self._gradients[name] if wanted else None

    def collect(self) -> list[slice]:
        """Copy the gradients into `g`, zeros where there is none; gives the stretches of the vectors that have one."""
        stretches: list[slice] = []
        for name, p in self.parameters.items():
            if not p.requires_grad or p.grad is None:
                self._gradients[name][...] = 0
            else:
                if p.grad is not self._gradients[name]:
                    self._gradients[name][...] = p.grad
                place = self.places[name]
                if stretches and stretches[-1].stop == place.start:
                    place = slice(stretches.pop().start, place.stop)
                stretches.append(place)
        return stretches
