import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpucnn import checkpoint
from gpucnn.checkpoint import State
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
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)


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
    with pytest.raises(OSError, match="No space left") as told:
        checkpoint.save_weights(path, STATE, {"epoch": 2})
    assert told.value.filename == str(path)
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
    with pytest.raises(DataError, match=r"strange holds weights alone") as caught:
        checkpoint.load_weights(tmp_path / "strange")
    assert "--weights" in caught.value.hint
    save_file(STATE, tmp_path / "newer", {"gpucnn": json.dumps({"version": 99})})
    with pytest.raises(DataError, match=r"newer gpucnn \(format 99, this one reads up to 2\)") as error:
        checkpoint.load_weights(tmp_path / "newer")
    assert not isinstance(error.value, checkpoint.DamagedError)


def test_a_file_of_version_1_has_weights_alone(tmp_path):
    """As gpucnn 0.1 wrote them: no checksum, no optimizer."""
    save_file(STATE, tmp_path / "old", {"gpucnn": json.dumps({"version": 1, "epoch": 3})})
    weights, optimizer, meta = checkpoint.load_state(tmp_path / "old")
    assert (weights.keys(), optimizer, meta) == (STATE.keys(), {}, {"epoch": 3})


def test_weights_and_the_state_of_the_optimizer_come_apart_again(tmp_path):
    state = State(
        {"a.w": STATE["w"], "optimizer.w": STATE["w"] + 1}, {"steps": STATE["n"], "v.a.w": STATE["w"] + 2}, {}
    )
    checkpoint.save_state(tmp_path / "a", state)
    found = checkpoint.load_state(tmp_path / "a")
    for part, wanted in zip(found[:2], state[:2], strict=True):
        assert part.keys() == wanted.keys()
        assert all(np.array_equal(part[name], wanted[name]) for name in wanted)
    assert checkpoint.load_weights(tmp_path / "a")[0].keys() == state.weights.keys()


def test_no_bit_of_a_file_can_change_unseen(tmp_path):
    """In its header, which is JSON, some may leave a file that is read as the same; then it must be the same."""
    path = tmp_path / "a"
    checkpoint.save_state(path, State(STATE, {"steps": STATE["n"]}, {"epoch": 3, "rate": 0.1}))
    whole, content = checkpoint.load_state(path), path.read_bytes()
    seen = 0
    for place in range(len(content)):
        for bit in (0, 5):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                found = checkpoint.load_state(path)
            except DataError:
                seen += 1
                continue
            assert found.meta == whole.meta
            for part, wanted in zip(found[:2], whole[:2], strict=True):
                assert part.keys() == wanted.keys()
                assert all(part[name].tobytes() == wanted[name].tobytes() for name in wanted)
    assert seen >= 0.9 * 2 * len(content)


def test_the_old_file_keeps_another_name(tmp_path):
    path, keep = tmp_path / "a", tmp_path / "b"
    for epoch in range(3):
        checkpoint.save_state(path, State(STATE, {}, {"epoch": epoch}), keep if epoch else None)
        if epoch:
            assert checkpoint.load_state(keep).meta["epoch"] == epoch - 1
    assert checkpoint.load_state(path).meta["epoch"] == 2
    assert sorted(tmp_path.iterdir()) == [path, keep]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_a_second_name(tmp_path, monkeypatch, links):
    """Twice, since a rename between two names of one file does nothing; and where there are no links."""
    if not links:
        monkeypatch.setattr(checkpoint.Path, "hardlink_to", no_links)
    path, name = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"1")
    for _ in range(2):
        checkpoint.link_atomic(path, name)
    checkpoint.write_atomic(path, b"2")
    assert (path.read_bytes(), name.read_bytes()) == (b"2", b"1")
    assert sorted(tmp_path.iterdir()) == [path, name]


def no_links(*_):
    raise OSError(95, "Operation not supported")
