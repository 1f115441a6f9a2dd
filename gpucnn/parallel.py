"""Several processes that train one model together, each on its share of every batch.

Ranks   one process alone: there is nobody to exchange anything with
Mpi     processes that mpirun or srun started, by mpi4py: what they exchange goes through the memory of their machines
Nccl    the same, and what lies on GPUs is added up from GPU to GPU, by cupy.cuda.nccl

Rank 0 is the one that tells and saves. What is marked as collective is called by all ranks, in the same order.
"""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import numpy as np

from .backend import Array, Device, on_host, to_host
from .errors import DeviceError, UsageError

# How many processes Open MPI, MPICH and its kin, or Slurm say that they have started together.
_STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


class Ranks:
    """The processes of a run; this class is of one alone, and says what the others do."""

    rank, size = 0, 1

    def __str__(self) -> str:
        return "one process"

    def all_reduce(self, arrays: Sequence[Array]) -> None:
        """Collective: each array becomes its sum over all ranks, in one message, and to the same bits on all ranks."""

    def copy_first(self, arrays: Sequence[Array]) -> None:
        """Collective: the arrays become those of rank 0."""

    def broadcast(self, value: Any) -> Any:
        """Collective: what rank 0 gives, anything that pickles."""
        return value

    def gather(self, value: Any) -> list:
        """Collective: what each rank gives, in their order."""
        return [value]

    def barrier(self) -> None:
        """Collective: wait until all ranks are here."""

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Collective: rank 0 leaves the block before the others enter it, and they find what it left in a cache."""
        if self.rank:
            self.barrier()
        yield
        if not self.rank:
            self.barrier()

    def local_rank(self) -> int:
        """Collective: which of the ranks of its machine this one is."""
        return 0

    def threads(self) -> int | None:
        """Collective: how many threads each rank may take, where ranks share the cores of a machine."""
        return None

    def abort(self, code: int) -> None:
        """End all ranks at once, wherever they are; mpirun returns `code`."""


ALONE = Ranks()


class Mpi(Ranks):
    """MPI's processes. An all-reduce gives all of them the same bits: the standard demands it."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._comm.rank, self._comm.size

    def __str__(self) -> str:
        return f"{self.size} ranks by MPI"

    def all_reduce(self, arrays: Sequence[Array]) -> None:
        parts = [to_host(array).ravel() for array in arrays]
        bucket = self._bucket(sum(part.size for part in parts), np.result_type(*parts))
        np.concatenate(parts, out=bucket)
        self._comm.Allreduce(self._mpi.IN_PLACE, bucket)
        _write(arrays, np.split(bucket, np.cumsum([part.size for part in parts])[:-1]))

    def copy_first(self, arrays: Sequence[Array]) -> None:
        values = self._comm.bcast([to_host(array) for array in arrays] if self.rank == 0 else None)
        if self.rank:
            _write(arrays, values)

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def gather(self, value: Any) -> list:
        return self._comm.allgather(value)

    def barrier(self) -> None:
        self._comm.Barrier()

    def local_rank(self) -> int:
        return self._here.rank

    def threads(self) -> int | None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
        return max(1, len(cores) // self._here.allgather(cores).count(cores))  # some mpirun give each its own cores

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(code)

    @cached_property
    def _here(self) -> Any:
        """The ranks of this machine."""
        return self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)

    def _bucket(self, size: int, dtype: np.dtype) -> np.ndarray:
        """The same memory in every step."""
        if self._kept.size != size or self._kept.dtype != dtype:
            self._kept = np.empty(size, dtype)
        return self._kept

    _kept = np.empty(0)


class Nccl(Mpi):
    """MPI's processes with a GPU each."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._cuda = device.xp.cuda
        self._nccl = self._cuda.nccl
        self._types = {"f": self._nccl.NCCL_FLOAT32, "d": self._nccl.NCCL_FLOAT64}
        name = self.broadcast(self._nccl.get_unique_id() if self.rank == 0 else None)
        self._gpus = self._nccl.NcclCommunicator(self.size, name, self.rank)

    def __str__(self) -> str:
        return f"{self.size} ranks by NCCL"

    def all_reduce(self, arrays: Sequence[Array]) -> None:
        if any(map(on_host, arrays)):
            super().all_reduce(arrays)
            return
        stream = self._cuda.get_current_stream().ptr
        self._nccl.groupStart()
        for array in arrays:
            place, kind = array.data.ptr, self._types[array.dtype.char]
            self._gpus.allReduce(place, place, array.size, kind, self._nccl.NCCL_SUM, stream)
        self._nccl.groupEnd()


def _write(arrays: Sequence[Array], values: Sequence[np.ndarray]) -> None:
    for array, value in zip(arrays, values, strict=True):
        value = value.reshape(array.shape).astype(array.dtype, copy=False)
        if on_host(array):
            array[...] = value
        else:
            array.set(value)


def connect(how: str = "auto") -> Ranks:
    """The processes that were started together; one alone is itself. `how` is auto, mpi or nccl.

    DeviceError where they cannot find each other.
    """
    started = max(int(os.environ.get(name) or 1) for name in _STARTED)
    if how == "auto" and started == 1:
        return ALONE
    together = f"{started} processes were started together" if started > 1 else f"--distributed {how}"
    try:
        ranks = Mpi()
    except ModuleNotFoundError:
        raise DeviceError(f"{together}, and mpi4py is not installed", "pip install 'gpucnn[mpi]'") from None
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"{together}, and mpi4py finds no MPI ({reason})", "pip install mpich") from None
    if ranks.size < started:
        hint = "use the mpirun of mpi4py's MPI: one in the same environment, say, after pip install mpich"
        raise DeviceError(f"{together}, and each is alone: mpirun belongs to another MPI than mpi4py", hint)
    return ranks


def own_device(ranks: Ranks, device: str) -> str:
    """Collective: where `device` names no GPU, cuda:1, ... for the ranks of a machine that has several, in turn."""
    nth = ranks.local_rank()
    if nth and device in ("auto", "cuda"):
        with suppress(Exception):  # no GPU, or no CuPy: parse_device says so
            nth %= Device("cuda").xp.cuda.runtime.getDeviceCount()
            return f"cuda:{nth}" if nth else device
    return device


def with_nccl(ranks: Ranks, device: Device, how: str = "auto") -> Ranks:
    """Collective: `ranks`, by NCCL where each has a GPU of its own; UsageError where `how` asks for it in vain."""
    if ranks is ALONE or how == "mpi":
        return ranks
    faults = [fault for fault in ranks.gather(_no_nccl(device)) if fault]
    if not faults and len(set(gpus := ranks.gather(_gpu(device)))) < len(gpus):
        faults = ["NCCL takes one rank for each GPU, and here several share one"]
    if not faults:
        return Nccl(device)
    if how == "nccl":
        raise UsageError(f"--distributed nccl: {faults[0]}", "--distributed mpi")
    return ranks


def _no_nccl(device: Device) -> str:
    if device.type != "cuda":
        return f"NCCL is for GPUs, and a rank computes on {device}"
    return "" if device.xp.cuda.nccl.available else "CuPy comes without NCCL here"


def _gpu(device: Device) -> tuple[str, str]:
    """Which one of all GPUs of all machines."""
    return platform.node(), device.xp.cuda.Device(device.index).pci_bus_id
