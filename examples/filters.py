"""What training made of the filters of the first convolution, as a picture: above as they were drawn, below trained.

gpucnn train --dataset digits --output-dir runs/lenet
python examples/filters.py runs/lenet filters.png

`gpucnn plot filters RUN` draws the filters of any layer with a scale, `gpucnn plot features RUN` what layers see.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from gpucnn import CPU
from gpucnn.cli.run_folder import restore
from gpucnn.models import MODELS, Model

SIDE, GAP = 80, 8  # pixels of a filter, and between two


def first_filters(model: Model) -> np.ndarray:
    """w (co, ci, kh, kw) of the first convolution."""
    return next(p.numpy() for p in model.parameters() if p.ndim == 4)


def pictures(w: np.ndarray, largest: float) -> list[Image.Image]:
    """One for each output: weight 0 is grey, `largest` white, -largest black; three inputs are red, green and blue."""
    w = w if w.shape[1] == 3 else w[:, :1].repeat(3, 1)
    pixels = np.round(127.5 + 127.5 * w / largest).astype(np.uint8).transpose(0, 2, 3, 1)
    return [Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.NEAREST) for each in pixels]


def main(run: Path, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The filters (co, ci, kh, kw) before and after training; `file` becomes their picture."""
    model, meta = restore(run, CPU)
    untrained = MODELS[meta["model"]](meta["input_shape"], len(meta["classes"]))
    untrained.initialize(meta["seed"])  # the weights that the run began with: they depend on the seed alone
    before, after = first_filters(untrained), first_filters(model)
    largest = float(max(np.abs(before).max(), np.abs(after).max()))  # one scale, so that the rows can be compared
    step = SIDE + GAP
    sheet = Image.new("RGB", (GAP + step * len(after), GAP + step * 2), "white")
    for row, w in enumerate((before, after)):
        for column, picture in enumerate(pictures(w, largest)):
            sheet.paste(picture, (GAP + step * column, GAP + step * row))
    sheet.save(file)
    print(f"{file}: the {len(after)} filters of {meta['model']}, above as seed {meta['seed']} drew them, below trained")
    print(f"the mean size of a weight went from {np.abs(before).mean():.3f} to {np.abs(after).mean():.3f}")
    return before, after


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("this takes a run and a picture to write: python examples/filters.py runs/lenet filters.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
