"""Two NumPy networks to compare with: the layers of a gpucnn model in float32, every pass written by hand, no tape.

Im2col        channels first; windows gathered by kernel position into (n, c, kh, kw, oh, ow), then np.tensordot,
              pooling over such columns, too: how Chainer computes on the CPU (Tokui et al. 2019, arXiv:1908.00213).
              As there, columns are 9 or 25 times as large as their images and are not kept for the backward pass
ChannelsLast  channels last; windows through sliding_window_view, then matrix products, which is the fastest of the
              short ways to write it in NumPy
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

import gpucnn as g

Array = Any
Pair = tuple[int, int]


class Layer:
    """`forward(x, training)`, then `backward(gy)`, which also leaves one of `gradients` for each of `parameters`."""

    def __init__(self, *parameters: Array) -> None:
        self.parameters, self.gradients = parameters, [np.zeros_like(p) for p in parameters]
        self.momenta = [np.zeros_like(p) for p in parameters]
        self.first = False  # of its network: then nobody needs the gradient of its input


class ReLU(Layer):
    def forward(self, x: Array, training: bool) -> Array:
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, gy: Array) -> Array:
        return gy * (self.y > 0)


class Dropout(Layer):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.rng = p, np.random.Generator(np.random.SFC64(0))

    def forward(self, x: Array, training: bool) -> Array:
        self.mask = None
        if training:
            self.mask = (self.rng.random(x.shape, np.float32) >= self.p) * np.float32(1 / (1 - self.p))
        return x * self.mask if training else x

    def backward(self, gy: Array) -> Array:
        return gy if self.mask is None else gy * self.mask


class Linear(Layer):
    """Also flattens, channels first, as the weights want it."""

    def forward(self, x: Array, training: bool) -> Array:
        w, b = self.parameters
        self.x_shape, self.x = x.shape, x.reshape(len(x), -1)
        return self.x @ w.T + b

    def backward(self, gy: Array) -> Array:
        self.gradients = [gy.T @ self.x, gy.sum(0)]
        return (gy @ self.parameters[0]).reshape(self.x_shape)


def im2col(x: Array, kernel: Pair, stride: Pair, padding: Pair, fill: float = 0.0) -> Array:
    """x (n, c, h, w) -> (n, c, kh, kw, oh, ow)"""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    oh, ow = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    columns = np.empty((*x.shape[:2], kh, kw, oh, ow), x.dtype)
    for ky in range(kh):
        for kx in range(kw):
            columns[:, :, ky, kx] = x[:, :, ky : ky + sh * oh : sh, kx : kx + sw * ow : sw]
    return columns


def col2im(columns: Array, x_shape: tuple, stride: Pair, padding: Pair) -> Array:
    """columns (n, c, kh, kw, oh, ow) -> (n, c, h, w): each value added to where im2col took it from."""
    n, c, kh, kw, oh, ow = columns.shape
    (sh, sw), (ph, pw), (h, w) = stride, padding, x_shape[2:]
    x = np.zeros((n, c, h + 2 * ph, w + 2 * pw), columns.dtype)
    for ky in range(kh):
        for kx in range(kw):
            x[:, :, ky : ky + sh * oh : sh, kx : kx + sw * ow : sw] += columns[:, :, ky, kx]
    return x[:, :, ph : ph + h, pw : pw + w]


class Im2colConv(Layer):
    def __init__(self, layer: g.Conv2d) -> None:
        super().__init__(layer.weight.data.copy(), layer.bias.data.copy())
        self.kernel, self.stride, self.padding = layer.weight.shape[2:], layer.stride, layer.padding

    def forward(self, x: Array, training: bool) -> Array:
        w, b = self.parameters
        self.x = x
        y = np.tensordot(im2col(x, self.kernel, self.stride, self.padding), w, ((1, 2, 3), (1, 2, 3)))
        y += b
        return np.moveaxis(y, 3, 1)

    def backward(self, gy: Array) -> Array:
        columns = im2col(self.x, self.kernel, self.stride, self.padding)
        self.gradients = [np.tensordot(gy, columns, ((0, 2, 3), (0, 4, 5))), gy.sum((0, 2, 3))]
        if self.first:
            return None
        columns = np.moveaxis(np.tensordot(self.parameters[0], gy, (0, 1)), 3, 0)
        return col2im(columns, self.x.shape, self.stride, self.padding)


class Im2colMaxPool(Layer):
    def __init__(self, layer: g.MaxPool2d) -> None:
        super().__init__()
        self.size, self.stride, self.padding = layer.window

    def forward(self, x: Array, training: bool) -> Array:
        columns = im2col(x, self.size, self.stride, self.padding, -np.inf)
        n, c, kh, kw, oh, ow = columns.shape
        self.x_shape, columns = x.shape, columns.reshape(n, c, kh * kw, oh, ow)
        self.code = columns.argmax(2)
        return columns.max(2)

    def backward(self, gy: Array) -> Array:
        n, c, oh, ow = gy.shape
        columns = np.zeros((n * c * oh * ow, self.size[0] * self.size[1]), gy.dtype)
        columns[np.arange(len(columns)), self.code.ravel()] = gy.ravel()
        columns = columns.reshape(n, c, oh, ow, *self.size).transpose(0, 1, 4, 5, 2, 3)
        return col2im(columns, self.x_shape, self.stride, self.padding)


def windows(x: Array, kernel: Pair, padding: Pair) -> Array:
    """x (n, h, w, c) -> (n*oh*ow, kh*kw*c), stride 1"""
    (n, h, w, c), (ph, pw) = x.shape, padding
    padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c), x.dtype)
    padded[:, ph : ph + h, pw : pw + w] = x
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return view.reshape(-1, kernel[0] * kernel[1] * c)


class ChannelsLastConv(Layer):
    """Its weight lies as (kh, kw, ci, co)."""

    def __init__(self, layer: g.Conv2d) -> None:
        if layer.stride != (1, 1):
            raise NotImplementedError(f"stride {layer.stride}: the gradient of the input is written for 1")
        super().__init__(np.ascontiguousarray(layer.weight.data.transpose(2, 3, 1, 0)), layer.bias.data.copy())
        self.kernel, self.padding = layer.weight.shape[2:], layer.padding

    def forward(self, x: Array, training: bool) -> Array:
        w, b = self.parameters
        n, h, w_, _ = x.shape
        (kh, kw), (ph, pw) = self.kernel, self.padding
        self.columns = windows(x, self.kernel, self.padding)
        y = self.columns @ w.reshape(-1, len(b))
        y += b
        return y.reshape(n, h + 2 * ph - kh + 1, w_ + 2 * pw - kw + 1, len(b))

    def backward(self, gy: Array) -> Array:
        w, (kh, kw), (ph, pw) = self.parameters[0], self.kernel, self.padding
        rows = gy.reshape(-1, w.shape[3])
        self.gradients = [(self.columns.T @ rows).reshape(w.shape), rows.sum(0)]
        if self.first:
            return None
        n, oh, ow, _ = gy.shape  # one product a kernel position: faster here than windows of gy, or than col2im
        gx = np.zeros((n, oh + kh - 1, ow + kw - 1, w.shape[2]), gy.dtype)
        for ky in range(kh):
            for kx in range(kw):
                gx[:, ky : ky + oh, kx : kx + ow] += (rows @ w[ky, kx].T).reshape(n, oh, ow, -1)
        return gx[:, ph : oh + kh - 1 - ph, pw : ow + kw - 1 - pw]


class ChannelsLastMaxPool(Layer):
    """2x2, step 2, even sizes: all that these networks have."""

    def __init__(self, layer: g.MaxPool2d) -> None:
        super().__init__()
        if layer.window != ((2, 2), (2, 2), (0, 0)):
            raise NotImplementedError(f"pooling {layer.window}: only 2x2 with step 2 is written")

    def taps(self, x: Array) -> list[Array]:
        return [x[:, ky::2, kx::2] for ky in (0, 1) for kx in (0, 1)]

    def forward(self, x: Array, training: bool) -> Array:
        y, *others = self.taps(x)
        self.code = np.zeros(y.shape, np.uint8)
        for place, tap in enumerate(others, 1):
            np.maximum(self.code, (tap > y) * np.uint8(place), out=self.code)
            y = np.maximum(y, tap)
        return y

    def backward(self, gy: Array) -> Array:
        n, oh, ow, c = gy.shape
        gx = np.empty((n, 2 * oh, 2 * ow, c), gy.dtype)
        for place, tap in enumerate(self.taps(gx)):
            np.multiply(gy, self.code == place, out=tap)
        return gx


class ChannelsFirst(Layer):
    """Turns the last image around, so that Linear flattens it as its weights want it."""

    def forward(self, x: Array, training: bool) -> Array:
        return x.transpose(0, 3, 1, 2)

    def backward(self, gy: Array) -> Array:
        return np.ascontiguousarray(gy.transpose(0, 2, 3, 1))


class Im2col:
    """A network of `layers`, with the cross entropy and PyTorch's SGD."""

    conv: type = Im2colConv
    pool: type = Im2colMaxPool
    turn: tuple[type[Layer], ...] = ()

    def __init__(self, model: Any) -> None:
        self.layers: list[Any] = [self.layer(each) for _, each in model.features.children()]
        self.layers += [turn() for turn in self.turn]
        self.layers += [self.layer(each) for _, each in model.classifier.children()]
        self.layers[0].first = True

    def layer(self, layer: g.Module) -> Layer:
        """The peer of one layer of gpucnn, with a copy of its parameters."""
        match layer:
            case g.Conv2d():
                return self.conv(layer)
            case g.MaxPool2d():
                return self.pool(layer)
            case g.Linear(weight=w, bias=b):
                return Linear(w.data.copy(), b.data.copy())
            case g.Dropout():
                return Dropout(layer.p)
            case g.ReLU():
                return ReLU()
        raise NotImplementedError(f"{type(layer).__name__} has no peer")

    def input(self, x: Array) -> Array:
        """Images (n, c, h, w) as the first layer takes them."""
        return x

    def forward(self, x: Array, training: bool) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, logits: Array, labels: Array) -> float:
        """The loss; the gradients stay in the layers."""
        rows = np.arange(len(labels))
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        gy = np.exp(log_p)
        gy[rows, labels] -= 1
        gy /= len(labels)
        for layer in reversed(self.layers):
            gy = layer.backward(gy)
        return float(-log_p[rows, labels].mean())

    def update(self, lr: float, momentum: float, weight_decay: float) -> None:
        for layer in self.layers:
            for p, gp, v in zip(layer.parameters, layer.gradients, layer.momenta, strict=True):
                v *= momentum
                v += gp
                v += weight_decay * p
                p -= lr * v

    def named_gradients(self) -> Iterator[Array]:
        """The gradients in the order and the layout of the model's parameters."""
        for layer in self.layers:
            yield from layer.gradients


class ChannelsLast(Im2col):
    conv, pool, turn = ChannelsLastConv, ChannelsLastMaxPool, (ChannelsFirst,)

    def input(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))

    def named_gradients(self) -> Iterator[Array]:
        for gradient in super().named_gradients():
            yield gradient.transpose(3, 2, 0, 1) if gradient.ndim == 4 else gradient
