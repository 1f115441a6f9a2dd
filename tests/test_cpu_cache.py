"""Machine code that is kept: what was cut short, as by a power failure, is made again."""

from pathlib import Path

import numpy as np
import pytest
from gpucnn_kernels.cpu.compiled import Compiled


def plus_one(x):
    for i in range(x.size):
        x[i] += 1


def result():
    """What the kernel computes, with what lies in the cache or newly compiled; and whether it is kept then."""
    kernel = Compiled(plus_one, ("void(float32[::1])",), 1, {})
    x = np.zeros(3, np.float32)
    kernel(x)
    return x.tolist(), kernel.kept()


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("length", [0, 20, -7])
def test_machine_code_that_was_cut_short_is_made_again(kind, length, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level("INFO", "gpucnn.kernels")
    assert result() == result() == ([1, 1, 1], True)
    assert caplog.text.count("compiling") == 1
    [file] = Path(tmp_path, "gpucnn", "kernels").rglob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:length])
    assert not (kind == "nbi" and Compiled(plus_one, ("void(float32[::1])",), 1, {}).kept())
    assert result() == result() == ([1, 1, 1], True)
    assert caplog.text.count("compiling") == 2
