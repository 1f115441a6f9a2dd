"""bench/accuracy_torch.py: that PyTorch's side of it takes the steps that gpucnn takes, and that the table says so."""

import sys
from pathlib import Path

import numpy as np
import pytest

from gpucnn.cli.output import Output
from gpucnn.cli.run import Run

torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import accuracy_torch  # noqa: E402
import report  # noqa: E402
from time_to_accuracy import Torch, flags_of  # noqa: E402


def vector(arrays):
    """All numbers of a state dict, but those that count batches."""
    return np.concatenate([np.ravel(array) for array in arrays if array.ndim])


@pytest.mark.parametrize("optimizer", ["sgd --lr 0.1 --nesterov", "adam --lr 1e-3", "adamw --lr 1e-3"])
@pytest.mark.parametrize("model, share", [("simplecnn", 0.03), ("resnet20", 0.1)])
@np.errstate(all="ignore")  # a rehearsal computes with whatever lies in memory
def test_both_sides_take_the_same_steps(model, share, optimizer):
    """With one batch of all pictures an epoch there is no order to differ in, and nothing else is drawn.

    Adam divides a gradient by its size: where it is small, what was rounded decides about a whole step.
    """
    words = f"--model {model} --dataset synthetic:16x3x32x32 --batch-size 16 --augment none --epochs 4 --seed 3"
    flags = flags_of(f"{words} --wd 2 --optimizer {optimizer} --device cpu --threads 1".split())
    ours, theirs = Run(dict(flags), Output(True)), Torch(flags, "eager")
    first = vector(ours.model.state_dict().values())
    theirs.epoch(0, None)
    theirs.restart()  # as if that had not been
    for epoch, _ in enumerate(ours.epochs(2, None)):
        theirs.epoch(epoch, None)
    expected = vector(ours.model.state_dict().values())
    found = vector(theirs.net.net.state_dict().values())
    assert np.linalg.norm(found - expected) <= share * np.linalg.norm(expected - first)


def test_the_record_and_the_table(capsys):
    words = "--model tinydigits-cnn --dataset tinydigits --augment none --epochs 3 --batch-size 1000 --lr 0.1"
    found = accuracy_torch.beside(words.split())
    ours, theirs = found["gpucnn"], found["torch"]
    assert len(ours) == len(theirs) == 3
    assert [epoch["test_accuracy"] for epoch in ours] == [epoch["test_accuracy"] for epoch in theirs]
    found |= {
        "images": 1000,
        "gpucnn": [{"seconds": 0.5, "test_accuracy": 0.25}, {"seconds": 2.0, "test_accuracy": 0.5}],
    }
    row = report.torch_table([found]).splitlines()[2]
    assert row.startswith("| tinydigits-cnn | sgd 0.1 | 1000 | 2 | 50.0% |")
    assert " | 1,000 | " in row  # 2 epochs of 1000 pictures in 2 seconds
