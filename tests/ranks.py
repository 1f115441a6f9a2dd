"""What tests of several processes share: mpirun, and stand-ins for the other ranks."""

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpucnn.parallel import Ranks

MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
needs_mpi = pytest.mark.skipif(MPIRUN is None, reason="no mpirun: make setup")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class Share(Ranks):
    """One of several ranks, of which the others are not there."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


class World:
    """MPI with several ranks, all of which say what this one says, or what `others` make of it."""

    rank = 0

    def __init__(self, size, others=lambda value: value):
        self.size, self.others = size, others

    def bcast(self, value):
        return value

    def allgather(self, value):
        return [value] + [self.others(value)] * (self.size - 1)

    def Abort(self, code):
        self.aborted = code

    def Allreduce(self, where, bucket):
        bucket *= self.size


def install_mpi(monkeypatch, *world):
    """Put a World in the place of mpi4py's."""
    fake = SimpleNamespace(COMM_WORLD=World(*world), IN_PLACE="in place")
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=fake))
    return fake.COMM_WORLD
