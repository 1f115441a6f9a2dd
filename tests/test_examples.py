"""The examples, and the library snippet of the README, run as they stand."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from command import succeed

from gpucnn.backend import probe_cuda

ROOT = Path(__file__).parent.parent


def example(name):
    """What the file of examples/ defines; none of them is longer than two screens."""
    file = ROOT / "examples" / f"{name}.py"
    assert len(file.read_text().splitlines()) <= 90
    return runpy.run_path(str(file))


def test_train_lenet(capsys):
    assert example("train_lenet")["main"](epochs=3) > 0.9
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len((ROOT / "examples" / "train_lenet.py").read_text().splitlines()) <= 60


def test_my_op(capsys):
    accuracy, slopes = example("my_op")["main"](epochs=5)
    assert accuracy > 0.8
    assert np.abs(slopes - 0.25).max() > 0.05  # they are learned
    assert capsys.readouterr().out.startswith("the gradients of PReLU are what differences of its values say")


@pytest.mark.parametrize("wrong", ["gx", "slope"])
def test_a_wrong_gradient_of_my_op_is_found(wrong, monkeypatch):
    module = example("my_op")
    kind = module["PReLUFunction"]
    backward = kind.backward

    def changed(self, gy):
        gx, gslope = backward(self, gy)
        return (1.0001 * gx, gslope) if wrong == "gx" else (gx, -gslope)

    monkeypatch.setattr(kind, "backward", changed)
    with pytest.raises(AssertionError, match="differences say"):
        module["check"]()


@pytest.mark.parametrize("where", ["sim", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_my_conv(where, tmp_path, capsys):
    """On the device that it finds; a kernel that is wrong is not trained with."""
    if (probe_cuda() is None) != (where == "cuda"):
        pytest.skip("a GPU is here, and the example takes it" if where == "sim" else f"no GPU: {probe_cuda()}")
    module = example("my_conv")
    error, ours, reference = module["main"](epochs=2)
    assert 0 < error < 1e-6
    assert ours[1] < 0.7 * ours[0]
    np.testing.assert_allclose(ours, reference, rtol=1e-3)
    assert f"{where}" in capsys.readouterr().out
    wrong = tmp_path / "wrong.cu"
    wrong.write_text(module["EXAMPLE"].read_text().replace("sum += ", "sum -= "))
    with pytest.raises(SystemExit, match=r"wrong.cu computes something else"):
        module["main"](wrong)


def test_filters(own_folder):
    Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
    succeed("train --dataset tinydigits --epochs 5 --lr 0.1 --momentum 0.9 --output-dir run")
    before, after = example("filters")["main"](Path("run"), Path("filters.png"))
    assert before.shape == after.shape == (8, 1, 3, 3)
    assert np.abs(after - before).max() > 0.1
    largest = max(np.abs(before).max(), np.abs(after).max())
    with Image.open("filters.png") as picture:
        assert picture.size == (8 + 88 * 8, 8 + 88 * 2)
        pixels = np.asarray(picture.convert("L")).astype(float)
    for row, w in enumerate((before, after)):
        for column in range(8):
            tile = pixels[8 + 88 * row :, 8 + 88 * column :][13:80:27, 13:80:27]  # the middles of 3x3 weights
            np.testing.assert_allclose(tile, 127.5 + 127.5 * w[column, 0] / largest, atol=0.6)
    assert pixels[:8].min() == 255


def test_my_pictures(own_folder, capfd):
    pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
    tuned, fresh = example("my_pictures")["main"](Path("here"))
    assert tuned > 0.75
    assert tuned > fresh + 0.15
    assert len(list(Path("here/few/test").rglob("*.png"))) == 120
    out = capfd.readouterr().out
    assert "--weights here/of_many --reset-head" in out and f"{tuned:.1%} are recognised from saved weights" in out


def test_the_snippet_of_the_readme():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rng = np.random.default_rng(0)
    names = {"images": rng.random((6, 1, 8, 8), np.float32), "labels": rng.integers(0, 10, 6)}
    losses = []
    for _ in range(2):
        exec(code, names)
        losses.append(names["loss"].item())
    assert losses[0] == losses[1] > 0  # it begins anew from seed 0


def test_the_readme_names_every_example():
    readme = (ROOT / "README.md").read_text()
    assert [
        f for f in (ROOT / "examples").iterdir() if f.suffix != ".pyc" and f"(examples/{f.name})" not in readme
    ] == []
