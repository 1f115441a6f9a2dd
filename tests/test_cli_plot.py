"""`gpucnn plot`: that the pictures show the numbers of the run, say what they show, and are written whole."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from command import fail, succeed

import gpucnn.cli
from gpucnn import CPU, Tensor
from gpucnn.cli.run_folder import read_metrics, restore
from gpucnn.data import load
from gpucnn.roofs import Roofs
from gpucnn.summary import layer_outputs
from gpucnn.training import Epoch

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
drawings = import_module("gpucnn.cli.drawings")

TRAIN = "train --device cpu --kernels xp --dataset tinydigits --epochs 2 --seed 3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a small model, to look at."""
    folder = tmp_path_factory.mktemp("plot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeed(f"{TRAIN} --output-dir run")
    return folder


@pytest.fixture(autouse=True)
def folder(trained, monkeypatch):
    """Every test runs beside the run, which is named `run`."""
    monkeypatch.chdir(trained)


def words(figure):
    """All that is written in a picture."""
    return " | ".join(text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text")))


def pictures(figure):
    """The arrays that are shown as pictures."""
    return [image.get_array() for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("kind", ["curves", "filters", "features", "confusion"])
def test_each_picture_is_written_says_so_and_names_the_next(kind):
    lines = succeed(f"plot {kind} run").splitlines()
    assert lines[0].endswith(f"; run/{kind}.png")
    with Image.open(f"run/{kind}.png") as image:
        assert min(image.size) > 200
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    assert re.fullmatch(r"next: .*gpucnn plot (filters|features|confusion|roofline) run", lines[-1])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_figures_make_the_same_bytes(suffix, tmp_path):
    for name in "ab":
        drawings.write(drawings.matrix("t", np.eye(2)), tmp_path / f"{name}.{suffix}")
    a, b = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert a == b
    facts = json.loads(succeed(f"plot curves run --json --output {tmp_path / 'c'}.{suffix}"))
    assert facts["picture"] == f"{tmp_path / 'c'}.{suffix}" and (tmp_path / f"c.{suffix}").exists()


def test_curves_are_the_metrics():
    epochs = read_metrics(Path("run"))
    assert [e.epoch for e in epochs] == [1, 2]
    figure = drawings.curves("run", epochs)
    loss, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [
        [e.train_loss for e in epochs],
        [e.test_loss for e in epochs],
    ]
    assert list(accuracy.lines[1].get_ydata()) == [e.test_accuracy for e in epochs]
    assert list(accuracy.lines[1].get_xdata()) == [1, 2]
    text = words(figure)
    assert all(word in text for word in ("nats", "%", "epoch", "training", "test", f"{epochs[-1].test_accuracy:.2%}"))


def test_filters_of_colour_are_centred_on_grey():
    w = np.random.default_rng(0).standard_normal((20, 3, 5, 4)).astype(np.float32)
    figure = drawings.filters("t", w)
    shown = pictures(figure)
    assert len(shown) == 16
    largest = np.abs(w).max()
    for tile, kernel in zip(shown, w, strict=False):
        for y, x, c in np.ndindex(5, 4, 3):
            assert tile[y, x, c] == pytest.approx(0.5 + kernel[c, y, x] / (2 * largest))
    assert "first 16 of 20 outputs" in words(figure) and "grey is 0" in words(figure)


@pytest.mark.parametrize(("co", "ci", "count"), [(3, 1, 3), (20, 2, 256), (2, 40, 32)])
def test_filters_of_other_channels_are_tiles_of_one_scale(co, ci, count):
    w = np.random.default_rng(0).standard_normal((co, ci, 3, 3)).astype(np.float32)
    figure = drawings.filters("t", w)
    shown = [image for axes in figure.axes for image in axes.images]
    assert len(shown) == min(co, 16) * min(ci, 16)
    assert {image.get_clim() for image in shown} == {(-np.abs(w).max(), np.abs(w).max())}
    tiles = [w[o, c] for o in range(min(co, 16)) for c in range(min(ci, 16))]
    assert all(np.array_equal(image.get_array(), tile) for image, tile in zip(shown, tiles, strict=True))
    assert ("first 16 of 40 inputs" in words(figure)) == (ci > 16)


def test_any_layer_has_a_picture_and_an_unknown_one_a_hint():
    assert json.loads(succeed("plot filters run --json"))["shape"] == [8, 1, 3, 3]
    assert json.loads(succeed("plot filters run --layer classifier.0 --json"))["shape"] == [10, 72]
    fail("plot filters run --layer classifier.1", 2, r"unknown layer with weights 'classifier.1'", "classifier.0")


def test_a_linear_layer_that_reads_the_picture_is_shown_as_pictures_of_the_classes(monkeypatch, tmp_path):
    succeed(f"train --kernels xp --dataset tinydigits --model linear --epochs 1 --output-dir {tmp_path / 'linear'}")
    drawn = []
    monkeypatch.setattr(drawings, "write", lambda figure, path: drawn.append(figure))
    succeed(f"plot filters {tmp_path / 'linear'}")
    state = restore(tmp_path / "linear", CPU)[0].state_dict()["classifier.0.weight"]
    assert all(np.array_equal(tile.ravel(), row) for tile, row in zip(pictures(drawn[0]), state, strict=True))
    assert [axes.get_title() for axes in drawn[0].axes[:10]] == list("0123456789")


def test_the_outputs_of_layers_are_those_of_one_after_another():
    model, _ = restore(Path("run"), CPU)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8), np.float32)
    y, expected = Tensor(x), []
    for part in (model.features, model.classifier):
        for _, layer in part.children():
            y = layer(y)
            expected.append(y.numpy())
        y = Tensor(y.numpy().reshape(2, -1))
    found = layer_outputs(model, Tensor(x))
    assert [name for name, _, _ in found] == ["features.0", "features.1", "features.2", "classifier.0"]
    for (_, _, ours), theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)
    assert not any("forward" in vars(module) for module in model.modules())


def test_features_show_the_picture_its_maps_and_the_classes(monkeypatch):
    drawn = []
    monkeypatch.setattr(drawings, "write", lambda figure, path: drawn.append(figure))
    facts = json.loads(succeed("plot features run --json"))
    assert [layer["shape"] for layer in facts["layers"]] == [[8, 6, 6], [8, 6, 6], [8, 3, 3], [10]]
    shown = pictures(drawn[0])
    assert len(shown) == 1 + 8 + 8 + 8 + 1
    pixels = load("tinydigits").test_x[0, 0] / 16
    assert np.abs(shown[0] - pixels).max() < 0.1  # read back from the PNG of 8 bits
    relu = shown[9:17]
    assert all((new == np.maximum(old, 0)).all() for old, new in zip(shown[1:9], relu, strict=True))
    predicted = json.loads(succeed(f"predict run {facts['image']} --device cpu --kernels xp --top 5 --json"))
    for ours, theirs in zip(facts["labels"], predicted["predictions"][0]["labels"], strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["probability"] == pytest.approx(theirs["probability"], rel=1e-5)
    assert all(word in words(drawn[0]) for word in ("features.0 Conv2d", "8x6x6", "probability", "%"))


def test_confusion_counts_each_test_image_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(drawings, "write", lambda figure, path: drawn.append(figure))
    flags = "--device cpu --kernels xp --json"
    facts = json.loads(succeed(f"plot confusion run {flags}"))
    counts, data = np.array(facts["counts"]), load("tinydigits")
    model, meta = restore(Path("run"), CPU)
    mean, std = (np.float32(meta[name]).reshape(1, 1, 1, 1) for name in ("mean", "std"))
    predicted = model(Tensor((data.test_x - mean) / std)).numpy().argmax(1)
    expected = [[int(((data.test_y == t) & (predicted == p)).sum()) for p in range(10)] for t in range(10)]
    assert counts.tolist() == expected
    assert facts["test_accuracy"] == json.loads(succeed(f"eval run {flags}"))["test_accuracy"]
    share = pictures(drawn[0])[0]
    np.testing.assert_allclose(share.sum(1), 1)
    assert {str(count) for count in counts.ravel() if count} <= set(words(drawn[0]).split(" | "))
    assert all(word in words(drawn[0]) for word in ("true class", "predicted class", "share of the true class"))


def test_confusion_of_other_data_is_an_error():
    fail("plot confusion run --dataset synthetic:64x3x8x8", 2, "was trained for 1 channels")


def test_a_class_without_images_and_many_classes():
    figure = drawings.confusion("t", np.zeros((40, 40), np.int64), [f"class {i}" for i in range(40)])
    assert np.isfinite(pictures(figure)[0]).all()
    assert "class 7" not in words(figure)


def test_a_roofline_shows_what_was_measured(monkeypatch):
    drawn = []
    monkeypatch.setattr(drawings, "write", lambda figure, path: drawn.append(figure))
    monkeypatch.setattr(import_module("gpucnn.cli.bench"), "roofs", lambda device: Roofs(100.0, 10.0))
    found = json.loads(succeed("plot roofline run --device cpu --batch-size 3 --json"))
    rows = [row for row in found["rows"] if row["flops"]]
    axes = drawn[0].axes[0]
    places = {tuple(map(float, points.get_offsets()[0])) for points in axes.collections}
    assert places == {(row["flops"] / row["bytes"], 1e-3 * row["flops"] / row["us"]) for row in rows}
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", "GFLOP/s")
    (x, y), roofs = axes.lines[0].get_data(), found["roofs"]
    assert list(y) == [x[0] * roofs["gbs"], roofs["gflops"], roofs["gflops"]]
    assert "features.0.forward" in words(drawn[0]) and "tinydigits-cnn, batch 3, cpu" in words(drawn[0])


def test_a_roofline_of_figures_in_a_file(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(drawings, "write", lambda figure, path: drawn.append((figure, path)))
    row = {"name": "conv.forward", "us": 10.0, "gflops": 50.0, "intensity": 4.0}
    found = {"model": "m", "batch_size": 8, "device": "cuda:0", "roofs": {"gflops": 100.0, "gbs": 20.0}}
    kinds = [row | {"kernels": "raw"}, row | {"kernels": "numba"}, row | {"gflops": None}]
    (tmp_path / "found.json").write_text("a line\n" + json.dumps(found | {"rows": kinds}) + "\n")
    succeed(f"plot roofline {tmp_path / 'found.json'}")
    figure, path = drawn[0]
    assert path == tmp_path / "roofline.png"
    assert "conv.forward, raw, 10 µs, 62%" in words(figure) and "conv.forward, numba" in words(figure)
    lines = [json.dumps(found | {"rows": [row | change]}) for change in ({"us": "9"}, {"intensity": 0}, {"name": 3})]
    lines += [json.dumps(found | {"rows": 3}), json.dumps(found | {"rows": [row], "roofs": {"gflops": 0, "gbs": 1}})]
    for text in ("", "[]", "{}", "no json", "[" * 100_000, *lines):
        (tmp_path / "other.json").write_text(text)
        fail(f"plot roofline {tmp_path / 'other.json'}", 4, "holds no figures of kernels", "bench kernels --json")
    (tmp_path / "other.json").write_text(json.dumps(found | {"roofs": None, "rows": kinds}))
    fail(f"plot roofline {tmp_path / 'other.json'}", 4, "nothing of it computes under a roof")
    fail("plot roofline missing.json", 4, "missing.json does not exist")


def test_names_are_no_mathematics():
    """Matplotlib reads what stands between two dollars as TeX, and ends where it is none."""
    name, roofs = r"from $5 to $\frac{9}$", Roofs(100.0, 10.0)
    epoch = Epoch(1, 1.5, 0.25, 1.25, 0.5, 0.1, 2.0, 100.0)
    w = np.ones((2, 1, 3, 3))
    for figure in (
        drawings.curves(name, [epoch]),
        drawings.filters(name, w, [name, name]),
        drawings.matrix(name, w[:, 0, 0]),
        drawings.features(name, w[0], [("ReLU", w[0])], [(name, 0.5)]),
        drawings.confusion(name, np.eye(2, dtype=int), [name, name]),
        drawings.roofline(name, [drawings.Point(name, 1.0, 2.0, 3.0)], roofs),
    ):
        assert drawings.encoded(figure, "png")
        assert name in words(figure).replace(r"\$", "$")


def test_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "gpucnn.cli.drawings")
    monkeypatch.delattr(gpucnn.cli, "drawings")
    for kind in ("curves", "filters", "features", "confusion"):
        fail(f"plot {kind} run", 3, "matplotlib, which is not installed", r"pip install 'gpucnn\[plot\]'")


def test_bad_files(tmp_path):
    fail("plot curves nowhere", 4, "nowhere does not exist")
    fail("plot filters nowhere", 4, "no weights at nowhere")
    fail("plot curves run --output a.jpg", 2, r"'\.jpg'", r"\.png")
    fail("plot curves run --output no/a.png", 2, "there is no folder no", "mkdir")
    fail("plot features run --image missing.png", 4, "missing.png does not exist")
    for text, pattern in (("", "no epoch was finished"), ("{}\n", "holds no metrics"), ("[1\n", "holds no metrics")):
        (tmp_path / "metrics.jsonl").write_text(text)
        fail(f"plot curves {tmp_path}", 4, pattern)
    (tmp_path / "last.safetensors").write_bytes(Path("run/last.safetensors").read_bytes())
    fail(f"plot features {tmp_path}", 4, "there is no picture in", "--image")


def test_weights_alone_are_drawn_beside_themselves(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(Path("run/last.safetensors").read_bytes())
    succeed(f"plot filters {tmp_path / 'best.safetensors'}")
    assert (tmp_path / "filters.png").exists()


def test_a_new_run_leaves_no_pictures_of_the_old_one():
    succeed(f"{TRAIN} --output-dir again")
    succeed("plot filters again")
    succeed(f"{TRAIN} --epochs 1 --output-dir again --overwrite")
    assert [file.name for file in Path("again").glob("*.png")] == ["curves.png"]


def test_one_epoch_makes_curves():
    epoch = Epoch(1, 2.0, 0.1, 2.1, 0.2, 0.1, 1.0, 100.0)
    assert len(drawings.curves("run", [epoch]).axes) == 2
