"""What `gpucnn doctor` says on machines that lack one thing or another, all of them made up here."""

import json
import sys
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from gpucnn_kernels import offline
from gpucnn_kernels.sim import NoCompiler, current_mode

from gpucnn import DeviceError
from gpucnn.cli import main

doctor = import_module("gpucnn.cli.doctor")  # `gpucnn.cli.doctor` is the command


class Machine:
    """A GPU with driver, CuPy, all kinds of kernels, a compiler and writable caches; tests take things away."""

    def __init__(self, folder):
        self.driver = 12090
        self.fault = None
        self.broken = {}  # (device, kind) -> what is raised, or a wrong result
        self.compiler = SimpleNamespace(version="g++ 12")
        self.caches = folder / "built", folder / "data"
        self.memory = 70_000_000_000, 80_000_000_000
        self.free_disk = 50_000_000_000
        self.found = {"nvrtc": "/lib/libnvrtc.so", "nvvm": "/lib/libnvvm.so", "cudart": "/include"}
        self.programs = {"nsys": "/usr/bin/nsys"}
        self.asked = []

    def device(self, type, index=0, kernels=""):
        def forward(x, size, stride, padding):
            kind = kernels.removeprefix("avgpool2d=")
            self.asked.append((type, kind, current_mode().tier))
            answer = self.broken.get((type, kind), np.array([[2.5, 4.5], [10.5, 12.5]], np.float32))
            assert x.dtype == np.float32 and x.sum() == 120
            if isinstance(answer, Exception):
                raise answer
            return answer.reshape(1, 1, 2, 2)

        return SimpleNamespace(type=type, index=index, xp=np, kernel=lambda op: SimpleNamespace(forward=forward))

    def load_nvidia_dynamic_lib(self, name):
        if name not in self.found:
            raise RuntimeError(f"{name} not found")
        return SimpleNamespace(abs_path=self.found[name])

    def find_nvidia_header_directory(self, name):
        return self.found.get(name)

    def find_compiler(self):
        if isinstance(self.compiler, Exception):
            raise self.compiler
        return self.compiler


@pytest.fixture
def machine(monkeypatch, tmp_path):
    made = Machine(tmp_path)
    monkeypatch.setattr(doctor, "Device", made.device)
    monkeypatch.setattr("gpucnn.backend.Device", made.device)
    monkeypatch.setattr(doctor, "probe_cuda", lambda: made.fault)
    monkeypatch.setattr(doctor, "cuda_of_driver", lambda: made.driver)
    monkeypatch.setattr(doctor, "find_compiler", made.find_compiler)
    monkeypatch.setattr(doctor, "built_kernels", lambda: made.caches[0])
    monkeypatch.setattr(doctor, "cache_folder", lambda: made.caches[1])
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cupy"))
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    monkeypatch.setattr(doctor, "free_memory", lambda: made.memory)
    monkeypatch.setattr(doctor, "disk_usage", lambda path: SimpleNamespace(free=made.free_disk))
    monkeypatch.setattr(doctor, "which", made.programs.get)
    monkeypatch.setattr(
        doctor, "import_module", lambda name: made if name == "cuda.pathfinder" else import_module(name)
    )
    return made


def report():
    """what -> (found, mend), as the command says it."""
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    return {what: (row["found"], row["mend"]) for what, row in json.loads(result.stdout.splitlines()[-1]).items()}


def test_a_machine_that_has_everything(machine):
    found = report()
    assert found["gpu"] == ("a driver for CUDA 12.9", "")
    for what in ("xp kernels on cuda", "raw kernels on cuda", "numba kernels on cuda"):
        assert found[what] == ("run", "")
    for what in ("raw kernels on sim", "raw kernels on sim as PTX", "numba kernels on sim"):
        assert found[what] == ("run", "")
    assert found["cpu kernels on cpu"] == ("run", "")
    assert found["vectors on cpu"][0].split()[1] == "float32"
    assert machine.asked == [
        ("cpu", "cpu", "source"),
        ("cuda", "xp", "source"),
        ("cuda", "raw", "source"),
        ("cuda", "numba", "source"),
        ("sim", "raw", "source"),
        ("sim", "raw", "ptx"),
        ("sim", "numba", "source"),
    ]
    assert all(not mend for what, (_, mend) in found.items() if what not in doctor.PACKAGES)
    assert found["NVRTC"][0] == "/lib/libnvrtc.so" and found["CUDA headers"][0] == "/include"
    assert found["gpu memory"][0] == "70.0 of 80.0 GB are free" and found["nsys"][0] == "/usr/bin/nsys"
    assert found["disk"][0].startswith("50.0 GB free in /")


def test_for_people(machine):
    machine.compiler = NoCompiler()
    lines = CliRunner().invoke(main, ["doctor"]).output.splitlines()
    place = lines.index(f"{'C++ compiler':26} none")
    assert lines[place + 1] == f"{'':26} to mend it: apt install g++, or pip install ziglang"


def test_no_driver(machine):
    machine.driver = None
    found = report()
    assert found["gpu"][0] == "no NVIDIA driver" and "--device sim" in found["gpu"][1]
    assert not [what for what in found if "cuda" in what]
    assert found["raw kernels on sim"] == ("run", "")


CUPY = DeviceError("CuPy is not installed", "a hint")
OLD = DeviceError("no usable NVIDIA GPU (cudaErrorInsufficientDriver: CUDA driver version is insufficient)", "a hint")
NVRTC = DeviceError('no usable NVIDIA GPU (Failure finding "libnvrtc.so.13 or libnvrtc.so.12")', "a hint")
HEADERS = DeviceError('no usable NVIDIA GPU (cannot open source file "vector_types.h")', "a hint")
DENIED = DeviceError("no usable NVIDIA GPU (cudaErrorDevicesUnavailable)", "check nvidia-smi")


@pytest.mark.parametrize(
    ("fault", "driver", "mend"),
    [
        (CUPY, 12040, "pip install 'gpucnn[cuda12]'"),
        (CUPY, 13000, "pip install 'gpucnn[cuda13]'"),
        (OLD, 12080, "pip uninstall cupy-cuda13x, then pip install 'gpucnn[cuda12]'"),
        (OLD, 11080, "install a newer driver: 525 or later for CUDA 12, 580 or later for CUDA 13"),
        (NVRTC, 12040, "pip install 'cupy-cuda12x[ctk]'"),
        (NVRTC, 13010, "pip install 'cupy-cuda13x[ctk]'"),
        (HEADERS, 12040, "pip install 'cupy-cuda12x[ctk]'"),
        (DENIED, 12040, "check nvidia-smi"),
    ],
)
def test_a_gpu_that_runs_no_kernel(machine, fault, driver, mend):
    machine.fault, machine.driver = fault, driver
    found = report()
    assert found["kernels on cuda"] == (str(fault), mend)
    assert "raw kernels on cuda" not in found


@pytest.mark.parametrize(
    ("kind", "answer", "state", "mend"),
    [
        (
            "numba",
            ModuleNotFoundError("No module named 'numba.cuda'"),
            "No module named 'numba.cuda'",
            "pip install 'numba-cuda[cu12]'",
        ),
        (
            "numba",
            RuntimeError("libNVVM cannot be found.\nLong"),
            "libNVVM cannot be found.",
            "pip install 'numba-cuda[cu12]'",
        ),
        ("raw", RuntimeError("failed to load builtins"), "failed to load builtins", "pip install 'cupy-cuda12x[ctk]'"),
        ("raw", RuntimeError(), "RuntimeError", "gpucnn kernels check avgpool2d says more"),
        ("raw", np.full(4, 2.5), "they compute wrong results", "report this, with the output of gpucnn doctor --json"),
        (
            "raw",
            np.full(4, np.nan),
            "they compute wrong results",
            "report this, with the output of gpucnn doctor --json",
        ),
    ],
)
def test_one_kind_of_kernels_that_does_not_run(machine, kind, answer, state, mend):
    machine.broken["cuda", kind] = answer
    found = report()
    assert found[f"{kind} kernels on cuda"] == (state, mend)
    assert found["xp kernels on cuda"] == ("run", "")


def test_the_simulator_without_compilers(machine):
    missing = offline.MissingPackage("numba-cuda", ImportError("no numba_cuda"))
    machine.broken["sim", "numba"] = missing
    assert report()["numba kernels on sim"][1] == "pip install 'gpucnn[sim]'"
    machine.compiler = NoCompiler()
    found = report()
    assert found["C++ compiler"] == ("none", "apt install g++, or pip install ziglang")
    assert "raw kernels on sim" not in found


@pytest.mark.parametrize(
    ("missing", "driver", "what", "mend"),
    [
        ("nvrtc", 12040, "NVRTC", "pip install 'cupy-cuda12x[ctk]'"),
        ("nvvm", 13000, "NVVM", "pip install 'numba-cuda[cu13]'"),
        ("cudart", 12040, "CUDA headers", "pip install 'cupy-cuda12x[ctk]'"),
        ("nvvm", None, "NVVM", "pip install 'gpucnn[sim]'"),
    ],
)
def test_compilers_and_headers_that_are_missing(machine, missing, driver, what, mend):
    machine.driver = driver
    del machine.found[missing]
    found = report()
    assert found[what] == ("not found", mend)
    assert [name for name in ("NVRTC", "NVVM", "CUDA headers") if found[name][1]] == [what]


def test_without_anything_of_cuda(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    monkeypatch.setattr(doctor, "import_module", import_module)
    assert report()["NVRTC"] == ("not found", "pip install 'cupy-cuda12x[ctk]'")


def test_a_gpu_that_somebody_else_uses(machine):
    machine.memory = 3_000_000_000, 80_000_000_000
    state, mend = report()["gpu memory"]
    assert state == "3.0 of 80.0 GB are free" and "nvidia-smi" in mend


def test_no_nsys(machine):
    machine.programs.clear()
    state, mend = report()["nsys"]
    assert state.startswith("not found") and mend.startswith("apt install nsight-systems-cli")


def test_a_full_disk(machine):
    machine.free_disk = 20_000_000
    state, mend = report()["disk"]
    assert state.startswith("0.0 GB free in") and mend.startswith("du ")


def test_a_data_folder_that_is_none(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path / "nowhere"))
    assert report()["GPUCNN_DATA_DIR"] == (f"{tmp_path / 'nowhere'}, no folder", "unset GPUCNN_DATA_DIR")


@pytest.mark.parametrize("package", doctor.PACKAGES)
def test_a_package_that_is_missing(machine, monkeypatch, package):
    def find(name):
        if name == package:
            raise doctor.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", find)
    found = report()
    assert found[package] == ("not installed", f"pip install {doctor.PACKAGES[package]}")
    assert [name for name in doctor.PACKAGES if found[name][1]] == [package]


def test_threads_without_openmp(machine, monkeypatch):
    def missing(module):
        raise ImportError(f"libgomp.so.1, for {module}")

    monkeypatch.setattr(doctor, "import_module", missing)
    assert report()["threads on cpu"] == ("start slowly, without OpenMP", "apt install libgomp1")


def test_caches(machine, monkeypatch):
    machine.caches[0].mkdir()
    (machine.caches[0] / "one.so").write_bytes(bytes(1_500_000))
    (machine.caches[1]).write_text("a file where a folder should be")
    found = report()
    assert found["kernel cache"] == (f"{machine.caches[0]}, 1.5 MB", "")
    assert found["CuPy's kernel cache"][0].endswith("cupy, 0.0 MB")
    state, mend = found["data cache"]
    assert "cannot be written to" in state and "XDG_CACHE_HOME" in mend

    def no_pooch():
        raise ModuleNotFoundError("No module named 'pooch'", name="pooch")

    monkeypatch.setattr(doctor, "cache_folder", no_pooch)
    assert report()["data cache"] == ("pooch is not installed", "pip install pooch")


def test_the_driver_is_asked_for_its_cuda(monkeypatch):
    class Driver:
        def cuDriverGetVersion(self, pointer):
            pointer._obj.value = 13000
            return 0

    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(doctor, "CDLL", no_library)
    assert doctor.cuda_of_driver() is None
    monkeypatch.setattr(doctor, "CDLL", lambda name: Driver())
    assert doctor.cuda_of_driver() == 13000
