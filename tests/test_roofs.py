"""Roofs: that what is timed is really computed and copied, and that figures are kept, and measured anew when asked."""

import json
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from gpucnn_kernels import offline
from gpucnn_kernels import peak as peak_of_gpu
from gpucnn_kernels.cpu import peak
from gpucnn_kernels.resources import doubles, usage

from gpucnn import Device, roofs
from gpucnn.costs import Cost
from gpucnn.roofs import Roofs


def after(rounds):
    """The sum of the eight chains that begin with 0, 1, ... 7."""
    sums = np.arange(8, dtype=np.float64)
    for _ in range(rounds):
        sums = sums * np.float32(0.999) + np.float32(0.001)
    return sums.sum()


@pytest.mark.parametrize("rounds", [0, 1, 1001])
def test_the_cpu_computes_what_it_counts(rounds):
    out = np.full(3, np.nan, np.float32)
    assert peak.multiply_adds(out, rounds) == 2 * 8 * peak.LANES * rounds * 3
    assert out == pytest.approx(peak.LANES * after(rounds), rel=1e-4)


@pytest.mark.parametrize("rounds", [0, 1, 1001])
def test_a_gpu_computes_what_it_counts(rounds):
    out = np.full(512, np.nan, np.float32)
    assert peak_of_gpu.multiply_adds(out, rounds) == 2 * 8 * rounds * 512
    assert out == pytest.approx(after(rounds), rel=1e-4)


def test_a_gpu_multiplies_and_adds_in_one_instruction():
    """Nothing else in the loop: four rounds of eight, in registers, and no doubles."""
    ptx = offline.cuda_c_to_ptx(peak_of_gpu.kernels.text, ("-ftz=true",), "compute_90", "peak.cu")
    [used] = usage(ptx, "sm_90").values()
    assert ptx.count("fma.rn.ftz.f32") >= 4 * peak_of_gpu.CHAINS
    assert not doubles(ptx) and used.spills == used.stack == 0


def test_the_copy_copies_and_counts_both_ways():
    x = np.arange(1001, dtype=np.float32)
    y = np.zeros_like(x)
    assert peak.copy(x, y) == 8008
    assert np.array_equal(x, y)


def test_the_best_of_a_second(monkeypatch):
    ticks = iter([0.0, *(0.0, 0.0, 0.5), *(0.5, 0.5, 0.75), *(0.75, 0.75, 1.5), 1.5])  # 0.5 s, 0.25 s, 0.75 s
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert peak._best(lambda: 100, seconds=1.0) == 400


@pytest.fixture
def alone():
    """[whether nobody else uses the CPU]"""
    return [True]


@pytest.fixture
def measured(tmp_path, monkeypatch, alone):
    """How often roofs were measured; an empty cache folder."""
    calls = []
    monkeypatch.setattr(roofs, "_measured", lambda device: calls.append(1) or (123.456, 20.0 + len(calls), alone[0]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return calls


def test_roofs_are_measured_once(measured, tmp_path):
    assert roofs.roofs(Device("cpu")) == roofs.roofs(Device("cpu")) == Roofs(123.5, 21.0)
    assert roofs.roofs(Device("cpu"), again=True) == roofs.roofs(Device("cpu")) == Roofs(123.5, 22.0)
    assert len(measured) == 2
    assert roofs.roofs(Device("sim")) is None
    [file] = (tmp_path / "gpucnn" / "kernels").iterdir()
    assert list(json.loads(file.read_text()).values()) == [{"gflops": 123.5, "gbs": 22.0}]
    [name] = json.loads(file.read_text())
    strange = (7, {"gflops": 1}, {"gflops": "1", "gbs": 1}, {"gflops": 0, "gbs": 1}, {"gflops": 1, "gbs": float("nan")})
    for damaged in ("no json", "[]", '{"x": 1}', "[" * 100_000, *(json.dumps({name: each}) for each in strange)):
        file.write_text(damaged)
        assert roofs.roofs(Device("cpu")).gflops == 123.5


def test_roofs_of_a_busy_machine_are_not_kept(measured, alone, caplog):
    alone[0] = False
    assert roofs.roofs(Device("cpu")) == Roofs(123.5, 21.0)
    assert "others use this CPU" in caplog.text
    alone[0] = True
    assert roofs.roofs(Device("cpu")) == roofs.roofs(Device("cpu")) == Roofs(123.5, 22.0)


@pytest.mark.parametrize(("used", "alone"), [(1.9, True), (1.5, False)])
def test_who_else_computes(used, alone, monkeypatch):
    """In a second of which two threads could have had two."""
    clocks = {"perf_counter": iter([5.0, 6.0]), "process_time": iter([3.0, 3.0 + used])}
    clock = SimpleNamespace(**{name: lambda ticks=ticks: next(ticks) for name, ticks in clocks.items()})
    monkeypatch.setattr(roofs, "time", clock)
    monkeypatch.setattr(peak, "roofs", lambda: (1.0, 2.0))
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    assert roofs._measured(Device("cpu")) == (1.0, 2.0, alone)


def test_a_cache_that_cannot_be_written(measured, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert roofs.roofs(Device("cpu")) == Roofs(123.5, 21.0)


def test_the_longer_of_two_times():
    assert Roofs(100, 10).seconds(Cost(2_000_000_000, 100_000_000)) == pytest.approx(0.02)
    assert Roofs(100, 10).seconds(Cost(500_000_000, 100_000_000)) == pytest.approx(0.01)
    assert Roofs(100, 10).ridge == 10
