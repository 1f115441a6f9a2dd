"""What a trained model makes of a drawing, which first becomes a picture like those of its data set."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..backend import to_host
from ..errors import UsageError
from ..summary import layer_outputs
from ..tensor import Tensor
from .inputs import REFERENCE, fitted, probabilities_of
from .run_folder import restore

SIDE = 280  # pixels of a drawing
MOST = 16  # maps of a layer that are shown

Array = np.ndarray[Any, Any]

_MNIST = 20 / 28  # of the height and width of a picture that its digit may fill
_FILLS = {"digits": 1.0, "tinydigits": 1.0}  # where that is something else


class Reader:
    """The model of `run`; `facts` say what it is, JSON as `answer` is.

    UsageError for a model of colour pictures; DataError where the weights cannot be read, or are damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.model, self.meta = restore(run, REFERENCE)
        if self.meta["input_shape"][0] != 1:
            raise UsageError(
                f"{self.meta['model']} in {run} was trained on pictures in colour, and drawings have none",
                "train one on digits: gpucnn train --model mnist-cnn",
            )
        layers, _ = self._read(np.eye(*self.meta["image_size"]))
        self.facts = {name: self.meta[name] for name in ("model", "dataset", "epoch", "classes")} | {
            "side": SIDE,
            "layers": [
                {"name": name, "kind": kind, "shape": y.shape, "shown": as_maps(y).shape} for name, kind, y in layers
            ],
        }

    def answer(self, ink: Array) -> dict[str, Any]:
        """To a drawing, uint8 (SIDE, SIDE): its label, the probabilities, and the maps of each layer, bytes in base64.

        Nothing of all that where nothing is drawn.
        """
        pixels = centred(ink, self.meta["image_size"], _FILLS.get(self.meta["dataset"], _MNIST))
        if pixels is None:
            return {"label": None, "probabilities": [], "maps": []}
        layers, probabilities = self._read(pixels)
        return {
            "label": self.meta["classes"][probabilities.argmax()],
            "probabilities": probabilities.tolist(),
            "maps": [b64encode(as_maps(y).tobytes()).decode() for _, _, y in layers],
        }

    def _read(self, pixels: Array) -> tuple[list[tuple[str, str, Array]], Array]:
        """Of a picture, 0..1 (h, w): name, kind and output of the input and of each layer; the probabilities."""
        grey = np.round(self.meta["white"] * pixels).astype(np.uint8)
        x, grey = fitted(grey[None, None], self.meta, REFERENCE)
        with no_grad():
            outputs = layer_outputs(self.model, Tensor(x, device=REFERENCE))
        layers = [(name, type(layer).__name__, to_host(y.data)[0]) for name, layer, y in outputs]
        return [("input", "", grey[0]), *layers], probabilities_of(outputs[-1][2], self.run)[0]


def centred(ink: Array, size: tuple[int, int], fill: float) -> Array | None:
    """A drawing, uint8, as a picture (h, w) of 0..1: as large as fits in `fill` of it, aspect kept, and centred.

    So MNIST was made (http://yann.lecun.com/exdb/mnist): digits were scaled to fit in 20x20 of the 28x28 pixels, and
    moved until their centre of mass lay on pixel 14 of 0..27. Here a pixel is the mean of the ink in it, and ink is
    not moved out of the picture. None where no pixel is half covered.
    """
    covered = ink >= 128
    if not covered.any():
        return None
    rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255
    scale = min(fill * n / m for n, m in zip(size, cut.shape, strict=True))
    down, right = (_shares(cut.sum(1 - axis), scale, size[axis]) for axis in (0, 1))
    return down @ cut @ right.T


def _shares(mass: Array, scale: float, n: int) -> Array:
    """How much each of n pixels takes of each place of a drawing: (n, places). mass: the ink at each place."""
    edges = scale * np.arange(len(mass) + 1)
    centre = mass @ (edges[:-1] + edges[1:]) / 2 / mass.sum()
    edges += np.clip(n // 2 + 0.5 - centre, 0, n - edges[-1])
    pixels = np.arange(n)[:, None]
    return np.clip(np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels), 0, None)


def as_maps(y: Array) -> Array:
    """What a layer gives for one picture, as uint8 (maps, h, w): 0 is the least value in all of it, 255 the largest."""
    maps = y if y.ndim == 3 else np.atleast_2d(y)[None]
    low, high = float(y.min()), float(y.max())
    return np.round((maps[:MOST] - low) * (255 / ((high - low) or 1))).astype(np.uint8)
