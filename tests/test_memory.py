"""Whether a step fits into memory: what is measured on small batches holds for large ones."""

import subprocess
import sys
import tracemalloc
from collections import defaultdict

import numpy as np
import pytest
from gpucnn_kernels.cpu.memory import POOL

from gpucnn import Device, DeviceError, memory
from gpucnn.backend import probe_cuda
from gpucnn.data import Batches
from gpucnn.models import model_class
from gpucnn.training import rehearse

rng = np.random.default_rng(0)


def made(network, device, batch_size):
    if device.type == "cuda" and (fault := probe_cuda()):
        pytest.skip(f"no GPU: {fault}")
    x, y = rng.integers(0, 256, (512, 3, 32, 32), np.uint8), rng.integers(0, 10, 512)
    model = model_class(network)((3, 32, 32), 10).initialize(0).to(device)
    return model, Batches(x, y, batch_size, device=device, mean=(128.0,) * 3, std=(64.0,) * 3, augment=("crop",))


@pytest.mark.parametrize(
    "network, device",
    [
        ("lenet", Device("cpu", kernels="xp")),
        ("lenet", Device("cpu")),
        pytest.param("alexnet-lite", Device("cuda", kernels="raw"), marks=pytest.mark.gpu),
    ],
    ids=["reference", "cpu", "cuda"],
)
def test_the_need_of_a_large_batch_is_that_of_two_small_ones(network, device, monkeypatch):
    monkeypatch.setattr(POOL, "_blocks", defaultdict(list))  # what other tests left there would serve small batches
    monkeypatch.setattr(POOL, "_most", 0)
    model, train = made(network, device, 512)
    predicted = memory.Need(model, train)(400)
    if device.type == "cuda":
        pool = device.xp.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        rehearse(model, train, 400)
        measured = pool.total_bytes() - before
    else:
        tracemalloc.start()
        rehearse(model, train, 400)
        measured = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 0.7 * measured <= predicted <= 1.5 * measured


def test_the_largest_batch_fits_and_the_next_one_does_not():
    model, train = made("lenet", Device("cpu", kernels="xp"), 512)
    need = memory.Need(model, train)
    free = need(333)
    assert need.most(free) == 328
    assert need(need.most(free)) <= free < need(need.most(free) + 8)
    assert need.most(need(5) + 1) == 5
    assert need.most(0) == 1


def test_a_batch_that_does_not_fit_is_refused_before_its_step(monkeypatch):
    model, train = made("lenet", Device("cpu", kernels="xp"), 512)
    free = memory.Need(model, train)(100)
    monkeypatch.setattr(memory, "available", lambda device: free)
    with pytest.raises(DeviceError, match="batches of 512 does not fit into memory: it takes about") as error:
        memory.require_memory(model, train)
    assert error.value.exit_code == 3
    suggested = int(error.value.hint.rpartition(" ")[2])
    assert 90 <= suggested <= 100
    memory.require_memory(*made("lenet", Device("cpu", kernels="xp"), suggested))


def test_a_small_batch_is_not_measured(monkeypatch):
    model, train = made("lenet", Device("cpu", kernels="xp"), 8)
    monkeypatch.setattr(memory, "Need", None)
    memory.require_memory(model, train)


def test_to_run_out_of_memory_names_a_smaller_batch(monkeypatch):
    """Even where, by what is known, there was room for it."""
    model, train = made("lenet", Device("cpu", kernels="xp"), 64)
    for free in (None, 1 << 40):
        monkeypatch.setattr(memory, "available", lambda device, free=free: free)
        with (
            pytest.raises(DeviceError, match="batches of 64 ran out of memory") as error,
            memory.enough_memory(model, train),
        ):
            raise MemoryError
        assert error.value.hint.endswith("--batch-size 32")


LIMITED = """
import resource
from pathlib import Path
import numpy as np
from gpucnn import CPU, memory
used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28),) * 2)
free = memory.available(CPU)
np.empty(free - (1 << 24), np.uint8)
try:
    np.empty(free + (1 << 24), np.uint8)
except MemoryError:
    print(free >> 20)
"""


def test_a_limit_of_the_process_is_what_is_available():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 200 <= int(done.stdout) <= 256


def test_limits_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda place: tmp_path if place == "/sys/fs/cgroup" else None)
    assert memory._of_the_group() is None
    for name, text in (("memory.max", "max"), ("memory.current", "700"), ("memory.stat", "anon 9\ninactive_file 50\n")):
        (tmp_path / name).write_text(text)
    assert memory._of_the_group() is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._of_the_group() == 350
