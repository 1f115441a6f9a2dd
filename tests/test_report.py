"""bench/report.py: what it cuts out of kernels, and when it calls a picture stale."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="no matplotlib: make setup")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import report

drawings = import_module("gpucnn.cli.drawings")


def test_a_picture_is_compared_byte_for_byte_if_the_same_matplotlib_drew_it(tmp_path, capsys):
    picture = tmp_path / "picture.png"
    one, other = (drawings.encoded(drawings.matrix("t", w), "png") for w in (np.eye(2), np.ones((2, 2))))
    assert report.differs(picture, one)  # there is none
    picture.write_bytes(one)
    assert not report.differs(picture, one)
    assert report.differs(picture, other)
    assert capsys.readouterr().out == ""
    picture.write_bytes(other.replace(b"Matplotlib version3", b"Matplotlib version2"))
    assert not report.differs(picture, one)
    assert "not compared, it was drawn by Matplotlib version2" in capsys.readouterr().out


def test_an_excerpt_is_a_whole_function_as_it_stands_in_its_file():
    lines = report.excerpt("conv2d.cu", "void conv2d_forward_naive(", "}").splitlines()
    assert (lines[0], lines[-1], lines[-2]) == ("```cuda", "```", "}")
    text = (Path(__file__).parents[1] / "kernels" / "conv2d.cu").read_text()
    assert "\n".join(lines[1:-1]) in text and text.count(lines[1]) == 1


def test_the_ladder_has_a_row_for_each_rung():
    rows = [line for line in report.ladder().splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| naive", "CUDA C"], ["| naive", "Numba"], ["| tiled", "CUDA C"], ["| gemm", "CUDA C"], ["| gemm", "Numba"],
    ]  # fmt: skip
