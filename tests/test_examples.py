"""The examples, and the library snippet of the README, run as they stand."""

import re
import runpy
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent


def test_train_lenet(capsys):
    example = runpy.run_path(str(ROOT / "examples" / "train_lenet.py"))
    assert example["main"](epochs=3) > 0.9
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len((ROOT / "examples" / "train_lenet.py").read_text().splitlines()) <= 60


def test_the_snippet_of_the_readme():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rng = np.random.default_rng(0)
    names = {"images": rng.random((6, 1, 8, 8), np.float32), "labels": rng.integers(0, 10, 6)}
    losses = []
    for _ in range(2):
        exec(code, names)
        losses.append(names["loss"].item())
    assert losses[0] == losses[1] > 0  # it begins anew from seed 0
