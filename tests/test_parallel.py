"""Several processes train as one does: the same batches, losses and sums, and the same bits on all of them."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from parallel_run import CASES, TWO_GPUS, run
from ranks import MPIRUN, ONE_THREAD, Share, install_mpi, needs_mpi

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device, DeviceError, UsageError
from gpucnn.data import Batches, load
from gpucnn.optim import constant
from gpucnn.parallel import ALONE, Nccl, connect, own_device, with_nccl
from gpucnn.training import fit

HERE = Path(__file__).parent
DATA = load("tinydigits")


# the shares of a batch


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("drop_last", [True, False])
def test_shares_put_together_are_the_batches_of_one_process(ranks, drop_last):
    options = {"device": g.CPU, "mean": DATA.mean, "std": DATA.std, "seed": 3, "shuffle": True, "augment": ("crop",)}
    data = DATA.train_x[:100], DATA.train_y[:100], 32
    whole = Batches(*data, drop_last=drop_last, **options)
    shares = [Batches(*data, drop_last=drop_last, rank=rank, ranks=ranks, **options) for rank in range(ranks)]
    parts = zip(*(share.epoch(2) for share in shares), strict=True)
    for batch, part in zip(whole.epoch(2), parts, strict=True):
        for field in ("x", "y", "samples"):
            together = np.concatenate([getattr(share, field) for share in part])
            np.testing.assert_array_equal(together, getattr(batch, field))
        sizes = [len(share.y) for share in part]
        assert max(sizes) - min(sizes) <= 1
        assert {share.whole for share in part} == {len(batch.y)}


@pytest.mark.parametrize(
    "share, size, error, words",
    [
        ({"rank": 1, "ranks": 4}, 35, UsageError, "4 ranks cannot share a batch of 3"),
        ({}, 32, ValueError, "batches for rank 0 of 1 on rank 1 of 4"),
    ],
)
def test_batches_that_ranks_cannot_share_are_refused(share, size, error, words):
    batches = Batches(DATA.train_x[:size], DATA.train_y[:size], 32, device=g.CPU, mean=DATA.mean, std=DATA.std, **share)
    model = g.Sequential(g.Flatten(), g.Linear(64, 10))
    optimizer = g.optim.SGD(model.named_parameters(), 0.1)
    with pytest.raises(error, match=words):
        next(fit(model, optimizer, batches, batches, epochs=1, schedule=constant(), ranks=Share(1, 4)))


# 2 and 4 ranks against one process


@pytest.fixture(scope="module")
def alone():
    return {case: run(case, ALONE) for case in CASES}


@pytest.fixture(scope="module", params=[2, 4])
def together(request, tmp_path_factory):
    """What parallel_run.py finds on so many ranks."""
    file = tmp_path_factory.mktemp("ranks") / "found.json"
    mpirun(request.param, [str(HERE / "parallel_run.py"), str(file)])
    return SimpleNamespace(size=request.param, **json.loads(file.read_text()))


def mpirun(count, words, **options):
    return subprocess.run(command(count, words), check=True, env=os.environ | ONE_THREAD, timeout=120, **options)


def command(count, words):
    return [MPIRUN, "-n", str(count), sys.executable, "-m", "mpi4py", *words]


@needs_mpi
@pytest.mark.parametrize("case, tolerance", [("float64", 1e-10), ("float32", 1e-4), ("sim", 1e-4)])
def test_the_losses_are_those_of_one_process(together, alone, case, tolerance):
    one, all_ranks = alone[case], together.cases[case]
    assert len(one["losses"]) == CASES[case][-1]
    np.testing.assert_allclose(all_ranks["losses"], one["losses"], rtol=tolerance)
    assert len(set(np.round(one["losses"], 6))) == len(one["losses"])  # they say something
    np.testing.assert_allclose(all_ranks["epochs"], one["epochs"], rtol=tolerance)
    assert len(one["epochs"]) == (CASES[case][-1] - 1) // 7


@needs_mpi
@pytest.mark.parametrize("case", [*CASES, "norm"])
def test_the_weights_are_the_same_bits_on_all_ranks_after_each_step(together, case):
    found = together.norm if case == "norm" else together.cases[case]
    first, *others = found["weights"]
    assert len(others) == together.size - 1
    assert all(other == first for other in others)
    assert len(set(first)) == len(first)
    assert all(state == found["states"][0] for state in found["states"])  # running statistics, too


@needs_mpi
def test_arrays_are_added_up_and_copied(together):
    n = together.size
    total = n * (n - 1) / 2
    assert together.arrays["sums"] == [[[total + 1.5 * n] * 3] * 2, total, [0.0, n, 2.0 * n, 3.0 * n]]
    assert together.arrays["copied"] == [3] * n


# AlexNet on two processors


def losses_of_the_whole_network(steps):
    """Both halves in one process: where a half sees its own channels only, there are two groups."""
    halves = [TWO_GPUS["HalfAlexNet"](Share(rank, 2), width=8).initialize(rank) for rank in range(2)]
    parts = [dict(half.named_parameters()) for half in halves]
    p = {name: g.Parameter(np.concatenate([part[name].data for part in parts]).astype(np.float64)) for name in parts[0]}

    def layer(name):
        return p[f"{name}.weight"], p[f"{name}.bias"]

    def forward(x):
        x = F.max_pool2d(F.relu(F.conv2d(x, *layer("conv1"), padding=1)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, *layer("conv2"), padding=1, groups=2)), 2)
        x = F.relu(F.conv2d(x, *layer("conv3"), padding=1))
        x = F.relu(F.conv2d(x, *layer("conv4"), padding=1, groups=2))
        x = F.max_pool2d(F.relu(F.conv2d(x, *layer("conv5"), padding=1, groups=2)), 2)
        return F.linear(F.relu(F.linear(F.flatten(x, 1), *layer("linear6"))), *layer("linear7"))

    digits = load("digits").fit((32, 32))
    feed = {"device": g.CPU, "mean": digits.mean, "std": digits.std, "dtype": "float64"}
    batches = Batches(digits.train_x, digits.train_y, 32, shuffle=True, drop_last=True, **feed)
    optimizer, losses = g.optim.SGD(p.items(), lr=0.02, momentum=0.9), []
    for _, batch in zip(range(steps), batches.epoch(0), strict=False):
        loss = F.cross_entropy(forward(g.Tensor(batch.x)), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@needs_mpi
def test_alexnet_on_two_processors_is_one_network_with_groups(together):
    if together.size == 2:
        np.testing.assert_allclose(together.two_gpus, losses_of_the_whole_network(5), rtol=1e-10)


# connections


def test_one_process_is_alone(monkeypatch):
    assert connect() is ALONE
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert connect() is ALONE
    assert ALONE.gather("x") == ["x"] and ALONE.broadcast("x") == "x" and ALONE.threads() is None


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_without_mpi4py_are_told(monkeypatch, name):
    monkeypatch.setenv(name, "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DeviceError, match="2 processes were started together, and mpi4py is not installed") as error:
        connect()
    assert (error.value.exit_code, error.value.hint) == (3, "pip install 'gpucnn[mpi]'")


def test_an_mpirun_of_another_mpi_is_told(mpi, monkeypatch):
    mpi(1)
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(DeviceError, match="each is alone: mpirun belongs to another MPI"):
        connect()


def test_an_mpi_that_is_not_there_is_told(monkeypatch):
    class Nothing:
        def __getattr__(self, name):
            raise RuntimeError("cannot load MPI library\nmore")

    monkeypatch.setitem(sys.modules, "mpi4py", Nothing())
    with pytest.raises(DeviceError, match=r"--distributed mpi, and mpi4py finds no MPI \(cannot load MPI library\)"):
        connect("mpi")


def test_ranks_of_one_machine_take_its_gpus_in_turn(monkeypatch):
    def devices(device):
        ranks = [Share(0, 4) for _ in range(4)]
        for nth, each in enumerate(ranks):
            each.local_rank = lambda nth=nth: nth
        return [own_device(each, device) for each in ranks]

    monkeypatch.setitem(sys.modules, "cupy", None)
    assert devices("auto") == ["auto"] * 4
    runtime = SimpleNamespace(getDeviceCount=lambda: 2)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    assert devices("cuda") == ["cuda", "cuda:1"] * 2
    assert devices("auto") == ["auto", "cuda:1"] * 2
    assert devices("cuda:0") == ["cuda:0"] * 4
    assert devices("cpu") == ["cpu"] * 4


# NCCL, with a stand-in for CuPy's


class FakeNccl:
    """As many ranks as arrays were given: all of them have what this one has. `said` are the calls in their order."""

    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0

    def __init__(self, ranks, available=True):
        self.ranks, self.available, self.said, self.memory, self.open = ranks, available, [], {}, False

    def get_unique_id(self):
        return (1, 2, 3)

    def groupStart(self):
        self.open = True
        self.said.append("start")

    def groupEnd(self):
        assert self.open
        self.open = False
        self.said.append("end")

    def NcclCommunicator(self, size, name, rank):
        assert (size, name, rank) == (self.ranks, (1, 2, 3), 0)

        def all_reduce(source, target, count, kind, operation, stream):
            assert self.open and source == target and operation == self.NCCL_SUM
            array = self.memory[source]
            assert count == array.size and kind == {4: 7, 8: 8}[array.itemsize]
            array *= self.ranks
            self.said.append(f"{count} on stream {stream}")

        return SimpleNamespace(allReduce=all_reduce)


class FakeArray:
    """A NumPy array that says it lies on a GPU."""

    def __init__(self, nccl, values, dtype):
        self.values = np.array(values, dtype)
        self.dtype, self.size, self.shape = self.values.dtype, self.values.size, self.values.shape
        self.data = SimpleNamespace(ptr=1000 + id(self))
        nccl.memory[self.data.ptr] = self.values

    def get(self):
        return self.values

    def set(self, values):
        self.values[...] = values


def gpu(nccl, bus="0000:01:00.0"):
    """A device whose CuPy has this NCCL."""
    cuda = SimpleNamespace(
        nccl=nccl,
        Device=lambda index: SimpleNamespace(pci_bus_id=bus),
        get_current_stream=lambda: SimpleNamespace(ptr=5),
    )
    return SimpleNamespace(type="cuda", index=0, xp=SimpleNamespace(cuda=cuda))


@pytest.fixture
def mpi(monkeypatch):
    return partial(install_mpi, monkeypatch)


def test_nccl_adds_up_in_one_group_on_the_current_stream(mpi):
    mpi(3)
    nccl = FakeNccl(3)
    ranks = Nccl(gpu(nccl))
    arrays = [FakeArray(nccl, [1, 2], "f4"), FakeArray(nccl, [[3.0]], "f8")]
    ranks.all_reduce(arrays)
    assert [array.values.tolist() for array in arrays] == [[3, 6], [[9]]]
    assert nccl.said == ["start", "2 on stream 5", "1 on stream 5", "end"]
    host = np.array([2.0])
    ranks.all_reduce([host])
    assert host == 6 and len(nccl.said) == 4  # by MPI
    assert str(ranks) == "3 ranks by NCCL"


def test_mpi_takes_arrays_of_a_gpu_through_the_host(mpi):
    mpi(2)
    nccl = FakeNccl(2)
    arrays = [FakeArray(nccl, [1, 2], "f4"), FakeArray(nccl, 7, "f4")]
    ranks = connect("mpi")
    for _ in range(2):
        ranks.all_reduce(arrays)
    assert [array.values.tolist() for array in arrays] == [[4, 8], 28]
    assert nccl.said == []


def test_nccl_is_taken_where_each_rank_has_a_gpu(mpi):
    mpi(2, lambda value: ("other", value[1]) if isinstance(value, tuple) else value)
    ranks = connect("mpi")
    assert isinstance(with_nccl(ranks, gpu(FakeNccl(2))), Nccl)
    assert with_nccl(ranks, gpu(FakeNccl(2)), "mpi") is ranks
    assert with_nccl(ALONE, gpu(FakeNccl(1))) is ALONE


@pytest.mark.parametrize(
    "device, reason",
    [
        (Device("cpu"), "NCCL is for GPUs, and a rank computes on cpu"),
        (gpu(FakeNccl(2, available=False)), "CuPy comes without NCCL here"),
        (gpu(FakeNccl(2)), "several share one"),
    ],
)
def test_nccl_is_not_taken_where_it_cannot_be(mpi, device, reason):
    mpi(2)
    ranks = connect("mpi")
    assert with_nccl(ranks, device) is ranks
    with pytest.raises(UsageError, match=reason) as error:
        with_nccl(ranks, device, "nccl")
    assert error.value.hint == "--distributed mpi"
