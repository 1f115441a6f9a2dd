"""Pictures of your own, and too few of them: begin with the weights of a network that has seen many others.

python examples/my_pictures.py                           with drawn shapes
python examples/my_pictures.py PICTURES WEIGHTS          with your folder, one subfolder a class, and the weights (a run
                                                         or a .safetensors file) of a LeNet trained on colour pictures

The convolutions have learned edges and corners, which serve other classes, too; only the last layer, which says the
names of the old classes, is drawn anew: --reset-head. For comparison the same steps are made from nothing.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gpucnn.cli.run_folder import read_metrics

SIDE = 32
MANY, FEW = ("circle", "square", "triangle", "plus"), ("ring", "diamond", "star")


def shape(name: str, rng: np.random.Generator) -> Image.Image:
    """A shape of any colour, size and place on a ground of any other colour, with noise."""
    ground, colour = (tuple(map(int, rng.integers(low, low + 100, 3))) for low in rng.permutation([20, 140]))
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    pen, r = ImageDraw.Draw(picture), float(rng.uniform(7, 11))
    x, y = map(float, rng.uniform(r + 1, SIDE - r - 1, 2))
    box = (x - r, y - r, x + r, y + r)
    if name == "circle":
        pen.ellipse(box, fill=colour)
    elif name == "ring":
        pen.ellipse(box, outline=colour, width=3)
    elif name == "plus":
        pen.line((x - r, y, x + r, y), colour, 4)
        pen.line((x, y - r, x, y + r), colour, 4)
    elif name == "star":
        corners = [(r if i % 2 else 0.4 * r, 0.2 * np.pi * i) for i in range(10)]
        pen.polygon([(x + s * np.sin(a), y + s * np.cos(a)) for s, a in corners], fill=colour)
    else:
        sides, turn = {"square": (4, 0), "diamond": (4, 45), "triangle": (3, 0)}[name]
        pen.regular_polygon((x, y, r), sides, turn, fill=colour)
    noisy = np.asarray(picture) + rng.normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw(folder: Path, names: Iterable[str], count: int, rng: np.random.Generator) -> None:
    """folder/<name>/0.png, 1.png, ...: `count` pictures of each shape, a subfolder a class."""
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shape(name, rng).save(folder / name / f"{i}.png")


def train(run: Path, pictures: Path, *flags: str) -> float:
    """gpucnn train; the test accuracy that it ends with."""
    words = ["train", "--dataset", f"folder:{pictures}", "--output-dir", str(run), "--overwrite", *flags]
    print("gpucnn", *words, flush=True)
    subprocess.run([sys.executable, "-m", "gpucnn", *words], check=True)
    return read_metrics(run)[-1].test_accuracy


def main(place: Path, pictures: Path | None = None, weights: Path | None = None) -> tuple[float, float]:
    """(test accuracy from saved weights, from nothing). What was not given is made, in the folder `place`."""
    rng = np.random.default_rng(0)
    if weights is None:
        draw(place / "many", MANY, 300, rng)
        weights = place / "of_many"
        train(weights, place / "many", "--epochs", "12", "--batch-size", "32")
    if pictures is None:
        pictures = place / "few"
        draw(pictures / "train", FEW, 12, rng)
        draw(pictures / "test", FEW, 40, rng)
    flags = "--epochs", "15", "--batch-size", "9", "--lr", "0.02", "--augment", "crop,flip"
    tuned = train(place / "from_weights", pictures, "--weights", str(weights), "--reset-head", *flags)
    fresh = train(place / "from_nothing", pictures, *flags)
    print(f"of the test pictures {tuned:.1%} are recognised from saved weights, {fresh:.1%} from nothing")
    return tuned, fresh


if __name__ == "__main__":
    main(Path("runs/my_pictures"), *map(Path, sys.argv[1:3]))
