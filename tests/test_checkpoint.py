import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpucnn import checkpoint
from gpucnn.errors import DataError

STATE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7, np.int64)}


def test_round_trip_with_a_transposed_view(tmp_path):
    state = STATE | {"t": STATE["w"].T}
    checkpoint.save_weights(tmp_path / "a.safetensors", state, {"model": "lenet", "classes": ["a", "b"]})
    found, meta = checkpoint.load_weights(tmp_path / "a.safetensors")
    assert meta["model"] == "lenet"
    assert meta["classes"] == ["a", "b"]
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        checkpoint.save_weights(tmp_path / name, STATE, {"epoch": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save_weights(path, STATE, {"epoch": 1})

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_weights(path, STATE, {"epoch": 2})
    assert checkpoint.load_weights(path)[1]["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_damaged_file(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="not a readable weights file"):
        checkpoint.load_weights(tmp_path / "a.safetensors")


def test_a_truncated_file(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save_weights(path, STATE, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not a readable weights file"):
        checkpoint.load_weights(path)


def test_a_missing_file_a_strange_one_and_a_newer_one(tmp_path):
    with pytest.raises(DataError, match="no weights at"):
        checkpoint.load_weights(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot read|not a readable weights file"):
        checkpoint.load_weights(tmp_path)
    save_file(STATE, tmp_path / "strange")
    with pytest.raises(DataError, match=r"not written by this gpucnn \(version None\)"):
        checkpoint.load_weights(tmp_path / "strange")
    save_file(STATE, tmp_path / "newer", {"gpucnn": json.dumps({"version": 99})})
    with pytest.raises(DataError, match=r"not written by this gpucnn \(version 99\)"):
        checkpoint.load_weights(tmp_path / "newer")
