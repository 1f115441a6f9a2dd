"""What commands say of kernels that are compiled, of threads, and of a machine that slows them down."""

import json
import logging
import re

import numba
import pytest
from click.testing import CliRunner

import gpucnn.cpu
from gpucnn import CPU, Device
from gpucnn.cli import main
from gpucnn.cli.notes import heard_kernels, note

TINY = "train --device cpu --dataset synthetic:64x1x8x8 --model tinydigits-cnn --augment none --epochs 1 -b 16"
log = logging.getLogger("gpucnn.kernels")


def run(line, folder):
    return CliRunner().invoke(main, [*line.split(), "--output-dir", str(folder / "run")])


@pytest.fixture
def threads():
    """As many as the machine has; afterwards, all of them again."""
    yield numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_compiling_is_said_once_and_a_warning_each_time(capsys):
    level, handlers = log.level, log.handlers[:]
    with heard_kernels():
        for name in ("one", "two"):
            log.info("compiling %s", name)
        log.warning("kernels cannot be kept")
    assert capsys.readouterr().err.splitlines() == [
        "compiling kernels for this CPU (once, about 20 s) ...",
        "note: kernels cannot be kept",
    ]
    assert (log.level, log.handlers) == (level, handlers)


def test_a_note(capsys):
    note("too slow", "buy another")
    note("too slow")
    assert capsys.readouterr().err.splitlines() == ["note: too slow; to mend it: buy another", "note: too slow"]


def test_what_slows_down_is_said_after_the_first_epoch_and_json_stays_json(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gpucnn_kernels.cpu.compiled.unfavourable", lambda: [("threads start slowly", "apt install it")]
    )
    result = run(f"{TINY} --epochs 2 --json", tmp_path)
    assert result.exit_code == 0, result.output
    assert re.findall("^note: .*$", result.stderr, re.M) == ["note: threads start slowly; to mend it: apt install it"]
    assert json.loads(result.stdout.splitlines()[-1])["epochs"] == 2
    assert "images/s" in result.stderr


def test_nothing_slows_down_what_is_not_compiled():
    assert gpucnn.cpu.unfavourable(Device(kernels="xp")) == []
    assert gpucnn.cpu.unfavourable(Device("sim")) == []


def test_threads(tmp_path, threads):
    result = run(f"{TINY} --threads 1", tmp_path)
    assert result.exit_code == 0, result.output
    assert numba.get_num_threads() == 1
    assert "threads = 1" in (tmp_path / "run" / "config.toml").read_text()
    result = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), "--device", "cpu", "--threads", str(threads)])
    assert result.exit_code == 0, result.output
    assert numba.get_num_threads() == threads


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_threads_that_there_are_not(tmp_path, threads, count):
    result = run(f"{TINY} --threads {count}", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --threads {count}: there are {threads} cores here\nhint: give 1")


def test_threads_of_blas_where_nothing_is_compiled(threads):
    from threadpoolctl import ThreadpoolController, threadpool_limits

    with threadpool_limits():  # restores them
        gpucnn.cpu.set_threads(1, Device(kernels="xp"))
        blas = [each for each in ThreadpoolController().info() if each["user_api"] == "blas"]
        assert all(each["num_threads"] == 1 for each in blas)
        gpucnn.cpu.set_threads(1, CPU)
        assert numba.get_num_threads() == 1
