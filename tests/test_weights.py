"""Training that begins with weights from elsewhere: state dicts in safetensors with PyTorch's keys."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from gpucnn.checkpoint import load_weights
from gpucnn.cli import main
from gpucnn.cli.weights import heads_of, start_from
from gpucnn.errors import DataError, UsageError
from gpucnn.initializers import undrawn
from gpucnn.models import MODELS

TRAIN = "train --dataset tinydigits --epochs 1 --limit-batches 1 --output-dir run --json"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def gpucnn(line, code=0):
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else result.stderr


def model(classes=10, seed=0):
    return MODELS["tinydigits-cnn"]((1, 8, 8), classes).initialize(seed)


def same(one, other):
    return {name: bool(np.array_equal(one[name], other[name])) for name in one}


def write(state, name="w.safetensors", **changes):
    save_file({**state, **changes}, name)
    return Path(name)


def test_a_state_dict_is_taken_over():
    file, fresh = write(model(seed=1).state_dict()), model(seed=2)
    start_from(fresh, file, False)
    assert all(same(fresh.state_dict(), model(seed=1).state_dict()).values())


def test_pytorch_writes_and_we_read():
    torch = pytest.importorskip("torch", reason="no PyTorch: make setup EXTRAS=oracle")
    from safetensors.torch import save_file as save_torch

    twin = torch.nn.Module()
    twin.features = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3))
    twin.classifier = torch.nn.Sequential(torch.nn.Linear(72, 10))
    for dtype, tolerance in ((torch.float32, 0), (torch.float16, 1e-3)):
        save_torch({name: tensor.to(dtype) for name, tensor in twin.state_dict().items()}, "t.safetensors")
        fresh = model()
        start_from(fresh, Path("t.safetensors"), False)
        for name, tensor in twin.state_dict().items():
            found = fresh.state_dict()[name]
            assert found.dtype == np.float32
            atol = tolerance * 2**-14  # below which a float16 has fewer digits
            np.testing.assert_allclose(found, tensor.numpy(), rtol=tolerance, atol=atol)


def test_the_head_keeps_its_own_where_it_is_reset():
    file = write(model(classes=4, seed=1).state_dict())
    fresh = model(seed=2)
    start_from(fresh, file, True)
    assert same(fresh.state_dict(), model(seed=1).state_dict()) == {
        "features.0.weight": True, "features.0.bias": True, "classifier.0.weight": False, "classifier.0.bias": False
    }  # fmt: skip
    assert same(fresh.state_dict(), model(seed=2).state_dict())["classifier.0.weight"]
    headless = {name: array for name, array in model(seed=3).state_dict().items() if name.startswith("features")}
    start_from(fresh, write(headless), True)
    assert np.array_equal(fresh.state_dict()["features.0.weight"], headless["features.0.weight"])


@pytest.mark.parametrize("name", MODELS)
def test_the_heads_are_the_layers_that_give_the_classes(name):
    """Those whose parameters have other shapes where the classes are others."""
    kind = MODELS[name]
    with undrawn():
        thirteen, fourteen = (kind(kind.default_shape(), classes) for classes in (13, 14))
    shapes = {key: tensor.shape for key, tensor in fourteen.named_tensors()}
    differing = {key for key, tensor in thirteen.named_tensors() if shapes[key] != tensor.shape}
    assert {key for key in shapes if key.startswith(heads_of(thirteen))} == differing


def test_every_head_of_auxiliary_classifiers_is_reset():
    kind, shape = MODELS["googlenet-lite-aux"], (3, 32, 32)
    saved, fresh = kind(shape, 4).initialize(1), kind(shape, 5).initialize(2)
    own, taken = fresh.state_dict(), saved.state_dict()
    with pytest.raises(UsageError, match="expected") as caught:
        start_from(fresh, write(taken), False)
    assert "--reset-head" in caught.value.hint
    start_from(fresh, Path("w.safetensors"), True)
    for key, array in fresh.state_dict().items():
        new = key.startswith(("classifier.1.", "aux1.8.", "aux2.8."))
        assert np.array_equal(array, (own if new else taken)[key]), key


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"classifier.0.weight": np.zeros((5, 72), np.float32)}, r"\(5, 72\), expected \(10, 72\)", "--reset-head"),
        ({"features.0.bias": np.zeros(9, np.float32)}, r"features.0.bias is \(9,\), expected \(8,\)", "--model"),
        ({"fc.weight": np.zeros(3, np.float32)}, "unknown fc.weight", "--model"),
    ],
)
def test_weights_that_do_not_fit(change, message, hint):
    fresh = model(seed=2)
    with pytest.raises(UsageError, match=message) as caught:
        start_from(fresh, write(model().state_dict(), **change), False)
    assert hint in caught.value.hint
    assert all(same(fresh.state_dict(), model(seed=2).state_dict()).values())


def test_a_missing_weight_is_named():
    state = model().state_dict()
    del state["features.0.bias"]
    with pytest.raises(UsageError, match=r"missing features\.0\.bias"):
        start_from(model(), write(state), True)


def test_files_that_are_no_safetensors():
    with pytest.raises(DataError, match="no weights at"):
        start_from(model(), Path("none.safetensors"), False)
    Path("w.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(DataError, match="may be a pickle, which is a program") as caught:
        start_from(model(), Path("w.pth"), False)
    assert "save_file" in caught.value.hint


def test_training_begins_with_them_and_says_so_in_its_config():
    gpucnn(f"{TRAIN} --seed 1")
    first = load_weights(Path("run/last.safetensors"))[0]
    gpucnn("train --dataset tinydigits --epochs 1 --limit-batches 1 --lr 1e-30 --weights run --output-dir again --json")
    again = load_weights(Path("again/last.safetensors"))[0]
    assert all(same(first, again).values())
    assert 'weights = "run"' in Path("again/config.toml").read_text()


def test_a_run_goes_on_without_the_weights_that_it_began_with():
    write(model(seed=1).state_dict())
    gpucnn(f"{TRAIN} --weights w.safetensors --lr-scheduler constant")
    Path("w.safetensors").unlink()
    assert gpucnn("train --resume run --epochs 2 --json")["epochs"] == 2


def test_bad_flags():
    assert "--reset-head without weights" in gpucnn(f"{TRAIN} --reset-head", 2)
    write(model(classes=4).state_dict())
    assert "hint: for other classes begin with a new head: --reset-head" in gpucnn(
        f"{TRAIN} --weights w.safetensors", 2
    )
    gpucnn(f"{TRAIN} --weights w.safetensors --reset-head")
