"""Tensor: an array with a device and a place on the tape, and the Functions behind its operators."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd import Function, backward
from .backend import CPU, Array, Device, to_host


class Tensor:
    """An array on a device that may take part in differentiation.

    data: the array (numpy or cupy); lists and Python numbers become float32, arrays keep their dtype.
    grad: the array of d loss / d data that `backward` adds to, or None. Only leaves get one. It may share
    memory with other gradients: replace it rather than change it in place.
    """

    __array_ufunc__ = None  # array + tensor is a Tensor, not an array of Tensors
    __slots__ = ("__weakref__", "data", "device", "function", "grad", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, device: Device = CPU) -> None:
        if isinstance(data, Tensor):
            raise TypeError("Tensor(Tensor): use .detach() for a tensor outside the tape")
        if not hasattr(data, "dtype"):
            data = np.asarray(data)
            data = data.astype(np.float32) if data.dtype.kind in "fiub" else data
        self.data: Array = device.asarray(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors can require a gradient, this one is {self.data.dtype}")
        self.device = device
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.function: Function | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        tail = ", requires_grad=True" if self.requires_grad else ""
        return f"{type(self).__name__}({to_host(self.data)!r}, device={str(self.device)!r}{tail})"

    def item(self) -> float:
        """The value of a tensor with one element, as a Python number."""
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; on the CPU it shares memory with the tensor."""
        return to_host(self.data)

    def detach(self) -> "Tensor":
        """The same array outside the tape."""
        return self.like(self.data)

    def like(self, array: Array) -> "Tensor":
        """A plain Tensor, outside the tape, around an array that is on this tensor's device already."""
        y = Tensor.__new__(Tensor)
        y.data, y.device, y.requires_grad, y.grad, y.function = array, self.device, False, None, None
        return y

    def to(self, device: Device) -> "Tensor":
        """The values on `device`, outside the tape; on the device they are on already, the memory is shared."""
        return Tensor(self.data, device=device)

    def backward(self, gradient: Any = None) -> None:
        """Add d self / d leaf to the `grad` of every leaf that requires one; frees the tape behind it.

        gradient: d loss / d self, of self's shape; it may be left out where self has one element.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() of a tensor that does not require a gradient")
        if gradient is None:
            if self.data.size != 1:
                raise RuntimeError(f"backward() of a tensor of shape {self.shape} needs the gradient argument")
        else:
            gradient = self.device.asarray(gradient.data if isinstance(gradient, Tensor) else gradient, self.dtype)
            if gradient.shape != self.shape:
                raise ValueError(f"the gradient has shape {gradient.shape}, the tensor {self.shape}")
        backward(self, gradient)

    # The Functions of the operators are at the foot of this file.
    def __add__(self, other: Any) -> "Tensor":
        return Add.apply(self, self._operand(other))

    def __mul__(self, other: Any) -> "Tensor":
        return Mul.apply(self, self._operand(other))

    def __sub__(self, other: Any) -> "Tensor":
        return Sub.apply(self, self._operand(other))

    def __rsub__(self, other: Any) -> "Tensor":
        return Sub.apply(self._operand(other), self)

    def __truediv__(self, other: Any) -> "Tensor":
        return Div.apply(self, self._operand(other))

    def __rtruediv__(self, other: Any) -> "Tensor":
        return Div.apply(self._operand(other), self)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return MatMul.apply(self, self._operand(other))

    def __pow__(self, exponent: float) -> "Tensor":
        return Pow.apply(self, exponent=exponent)

    def __neg__(self) -> "Tensor":
        return self * -1.0

    __radd__, __rmul__ = __add__, __mul__

    def sum(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> "Tensor":
        """Sum over the dimensions `dim`, or over all."""
        return Sum.apply(self, dim=dim, keepdim=keepdim)

    def mean(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> "Tensor":
        """Mean over the dimensions `dim`, or over all."""
        total = self.sum(dim, keepdim)
        return total * (total.data.size / self.data.size)

    def reshape(self, *shape: int) -> "Tensor":
        """The same elements in row-major order under another shape; one size may be -1."""
        return Reshape.apply(self, shape=shape[0] if isinstance(shape[0], Sequence) else shape)

    def _operand(self, other: Any) -> "Tensor":
        if isinstance(other, Tensor):
            return other
        keep = self.dtype.kind == "f"  # a float32 tensor stays float32; 0.5 beside integers stays 0.5
        return self.like(self.device.asarray(other, self.dtype if keep else None))


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the dimensions along which an operand of `shape` was broadcast."""
    if gradient.shape == shape:
        return gradient
    if gradient.ndim > len(shape):
        gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return gradient.sum(stretched, keepdims=True) if stretched else gradient


class Add(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, gy: Array) -> tuple:
        return unbroadcast(gy, self.shapes[0]), unbroadcast(gy, self.shapes[1])


class Sub(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, gy: Array) -> tuple:
        return unbroadcast(gy, self.shapes[0]), unbroadcast(-gy, self.shapes[1])


class Mul(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return a * b

    def backward(self, gy: Array) -> tuple:
        ga = unbroadcast(gy * self.b, self.a.shape) if self.needs[0] else None
        gb = unbroadcast(gy * self.a, self.b.shape) if self.needs[1] else None
        return ga, gb


class Div(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return a / b

    def backward(self, gy: Array) -> tuple:
        ga = gy / self.b
        gb = unbroadcast(-ga * self.a / self.b, self.b.shape) if self.needs[1] else None
        return unbroadcast(ga, self.a.shape), gb


class Pow(Function):
    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, x: Array) -> Array:
        self.x = x
        return x**self.exponent

    def backward(self, gy: Array) -> Array:
        return gy * (self.exponent * self.x ** (self.exponent - 1))


class MatMul(Function):
    """a (n, k) @ b (k, m) -> (n, m)"""

    def forward(self, a: Array, b: Array) -> Array:
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"matmul takes two matrices, got shapes {a.shape} and {b.shape}")
        self.a, self.b = a, b
        return a @ b

    def backward(self, gy: Array) -> tuple:
        return (gy @ self.b.T if self.needs[0] else None), (self.a.T @ gy if self.needs[1] else None)


class Sum(Function):
    def __init__(self, dim: int | tuple[int, ...] | None, keepdim: bool) -> None:
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.sum(self.dim, keepdims=self.keepdim)

    def backward(self, gy: Array) -> Array:
        xp = self.device.xp
        if self.dim is not None and not self.keepdim:
            gy = xp.expand_dims(gy, self.dim)
        return xp.broadcast_to(gy, self.shape)


class Reshape(Function):
    repeatable = True

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return self.device.contiguous(x).reshape(self.shape)

    def backward(self, gy: Array) -> Array:
        return gy.reshape(self.x_shape)
