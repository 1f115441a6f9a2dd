"""An op of your own: PReLU, a ReLU that learns a slope for what is below 0 (He et al. 2015, arXiv:1502.01852).

python examples/my_op.py

An op is a Function: forward computes, and keeps what backward will need; backward gets the gradient of the output
and returns one of each input. Inside are arrays, of NumPy or of CuPy, outside Tensors.
"""

import numpy as np

import gpucnn as g
import gpucnn.functional as F
from gpucnn.backend import Array
from gpucnn.data import load
from gpucnn.gradcheck import gradcheck, tie_free


class PReLUFunction(g.Function):
    """x (n, c, h, w), slope (c,) -> y of x's shape: x where it is above 0, slope * x elsewhere"""

    def forward(self, x: Array, slope: Array) -> Array:
        self.x, self.slope = x, slope[:, None, None]
        return self.device.xp.where(x > 0, x, self.slope * x)

    def backward(self, gy: Array) -> tuple[Array, Array]:
        gx = self.device.xp.where(self.x > 0, gy, self.slope * gy)
        gslope = gy * self.device.xp.minimum(self.x, 0)  # dy / dslope is x where x is below 0, and 0 elsewhere
        return gx, gslope.sum((0, 2, 3))  # a slope is used by all pixels of its channel: their gradients add up


class PReLU(g.Module):
    """The op as a layer, with the slopes as a parameter that the optimizer finds."""

    def __init__(self, channels: int) -> None:
        self.slope = g.Parameter(np.full(channels, 0.25, np.float32))

    def forward(self, x: g.Tensor) -> g.Tensor:
        return PReLUFunction.apply(x, self.slope)


def check() -> None:
    """AssertionError where backward is not the derivative of forward: by differences, in float64, on odd shapes."""
    rng = np.random.default_rng(0)
    gradcheck(PReLUFunction.apply, tie_free(rng, (2, 3, 5, 4)), tie_free(rng, (3,)))  # no x near the kink at 0


def main(epochs: int = 15, batch_size: int = 40) -> tuple[float, np.ndarray]:
    """(test accuracy, slopes) of a small network with the op."""
    check()
    print("the gradients of PReLU are what differences of its values say")
    digits = load("tinydigits")
    train_x, test_x = ((x.astype(np.float32) - digits.mean[0]) / digits.std[0] for x in (digits.train_x, digits.test_x))
    model = g.Sequential(g.Conv2d(1, 8, 3), PReLU(8), g.MaxPool2d(2), g.Flatten(), g.Linear(72, 10)).initialize(seed=0)
    optimizer = g.optim.Adam(model.named_parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        for batch in rng.permutation(len(train_x)).reshape(-1, batch_size):
            loss = F.cross_entropy(model(g.Tensor(train_x[batch])), digits.train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with g.no_grad():
            accuracy = float((model(g.Tensor(test_x)).numpy().argmax(1) == digits.test_y).mean())
        print(f"epoch {epoch + 1:2}  loss of the last batch {loss.item():.4f}  test accuracy {accuracy:.1%}")
    slopes = dict(model.named_parameters())["1.slope"].numpy()
    print(f"slopes, each 0.25 at first: {slopes.round(2)}")
    return accuracy, slopes


if __name__ == "__main__":
    main()
