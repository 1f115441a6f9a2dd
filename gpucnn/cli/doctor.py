"""`gpucnn doctor`: what this machine offers, and the command that mends what is missing."""

import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from ctypes import CDLL, byref, c_int
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import disk_usage, which
from typing import NamedTuple

import click
from gpucnn_kernels.cachefolder import cache_folder as built_kernels
from gpucnn_kernels.sim import mode
from gpucnn_kernels.sim.compiler import NoCompiler, find_compiler

from .. import __version__
from ..backend import Device, probe_cuda, probe_kernels
from ..data.files import cache_folder
from ..errors import DeviceError
from .environment import cores
from .options import json_option
from .output import Output

# package -> what pip is to install for it
PACKAGES = {
    **{name: name for name in ("numpy", "numba", "scipy", "safetensors", "pillow")},
    "matplotlib": "'gpucnn[plot]'",
    **dict.fromkeys(("onnx", "onnxruntime"), "'gpucnn[onnx]'"),
    **dict.fromkeys(("starlette", "uvicorn"), "'gpucnn[demo]'"),
}
ENOUGH = 1 << 30  # bytes free for runs


class Finding(NamedTuple):
    """One line of the report; `mend` is empty where nothing is missing."""

    what: str
    state: str
    mend: str = ""


@click.command(short_help="Check what this machine offers.")
@json_option
def doctor(as_json: bool) -> None:
    """Check Python, the packages, the GPU, the simulator and the data, and say how to mend what is missing.

    Each kind of kernels is compiled and launched, and its result compared.
    """
    output = Output(as_json)
    findings = []
    for finding in _examine():
        findings.append(finding)
        output.say(f"{finding.what:26} {finding.state}")
        if finding.mend:
            output.say(f"{'':26} to mend it: {finding.mend}")
    output.result({finding.what: {"found": finding.state, "mend": finding.mend} for finding in findings})
    output.next("train", "--dataset", "digits")


def _examine() -> Iterator[Finding]:
    yield Finding("gpucnn", __version__)
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}, {cores()} cores")
    for package, mend in PACKAGES.items():
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, "not installed", f"pip install {mend}")
    driver = cuda_of_driver()
    yield from _cpu()
    yield from _gpu(driver)
    yield from _compilers(driver)
    yield from _simulator()
    yield _cache("kernel cache", built_kernels, "set XDG_CACHE_HOME to a folder that can be written to")
    folder = os.environ.get("GPUCNN_DATA_DIR")
    missing = folder and not Path(folder).is_dir()
    yield Finding("GPUCNN_DATA_DIR", f"{folder}, no folder" if missing else folder or "not set",
                  "unset GPUCNN_DATA_DIR" if missing else "")  # fmt: skip
    yield _cache("data cache", cache_folder, "set XDG_CACHE_HOME to a folder that can be written to")
    yield _space()


def _cpu() -> Iterator[Finding]:
    from gpucnn_kernels.cpu.target import TARGET

    yield _kernels("cpu", "cpu", None)
    yield Finding("vectors on cpu", f"{TARGET.lanes} float32 ({TARGET.name})")
    yield _threads()


def _threads() -> Finding:
    """How Numba starts the threads of the CPU's kernels: by OpenMP, where there is a library for it."""
    try:
        import_module("numba.np.ufunc.omppool")
    except ImportError:
        return Finding("threads on cpu", "start slowly, without OpenMP", "apt install libgomp1")
    return Finding("threads on cpu", "by OpenMP")


def _gpu(driver: int | None) -> Iterator[Finding]:
    if driver is None:
        yield Finding(
            "gpu", "no NVIDIA driver", "with a GPU, install its driver: nvidia.com/drivers; without: --device sim"
        )
        return
    yield Finding("gpu", f"a driver for CUDA {driver // 1000}.{driver % 1000 // 10}")
    if fault := probe_cuda():  # then no kind of kernels runs, for want of one thing
        yield Finding("kernels on cuda", str(fault), remedy(fault, driver))
        return
    for kind in ("xp", "raw", "numba"):
        yield _kernels("cuda", kind, driver)
    free, total = free_memory()
    mend = (
        ""
        if free > total // 2
        else "nvidia-smi lists what else runs there: end it, or choose another GPU: --device cuda:1"
    )
    yield Finding("gpu memory", f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free", mend)
    nsys = which("nsys")
    mend = "" if nsys else "apt install nsight-systems-cli, from developer.nvidia.com/nsight-systems"
    yield Finding("nsys", nsys or "not found: no profile shows when kernels run", mend)
    cupy_cache = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    yield _cache("CuPy's kernel cache", lambda: cupy_cache, "set CUPY_CACHE_DIR to a folder that can be written to")


def _compilers(driver: int | None) -> Iterator[Finding]:
    """What CUDA C and Numba are compiled with, for a GPU and on the simulator; kernels of your own may want headers."""
    ctk, numba = (f"pip install {package}" for package in ("'cupy-cuda{}x[ctk]'", "'numba-cuda[cu{}]'"))
    for what, find, mend in (
        ("NVRTC", lambda cuda: cuda.load_nvidia_dynamic_lib("nvrtc").abs_path, ctk),
        ("NVVM", lambda cuda: cuda.load_nvidia_dynamic_lib("nvvm").abs_path, numba),
        ("CUDA headers", lambda cuda: cuda.find_nvidia_header_directory("cudart"), ctk),
    ):
        try:
            place = find(import_module("cuda.pathfinder"))
        except Exception:  # whatever is missing shows as an error of its own kind
            place = None
        mend = "pip install 'gpucnn[sim]'" if driver is None else mend.format(13 if driver >= 13000 else 12)
        yield Finding(what, place or "not found", "" if place else mend)


def _simulator() -> Iterator[Finding]:
    try:
        yield Finding("C++ compiler", find_compiler().version)
    except NoCompiler as fault:
        yield Finding("C++ compiler", "none", fault.hint)
        return
    yield _kernels("sim", "raw", None)
    with mode(tier="ptx"):
        yield _kernels("sim", "raw", None, " as PTX")
    yield _kernels("sim", "numba", None)


def _kernels(device: str, kind: str, driver: int | None, how: str = "") -> Finding:
    fault = probe_kernels(Device(device), kind)
    what = f"{kind} kernels on {device}{how}"
    return Finding(what, str(fault), remedy(fault, driver)) if fault else Finding(what, "run")


def free_memory() -> tuple[int, int]:
    """Free and total bytes of the GPU."""
    return import_module("cupy").cuda.runtime.memGetInfo()


def cuda_of_driver() -> int | None:
    """The newest CUDA that the installed driver can run, like 12090 for 12.9; None without a driver."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        found = c_int()
        try:
            if CDLL(name).cuDriverGetVersion(byref(found)) == 0:
                return found.value
        except OSError:
            continue
    return None


# what an error says -> what to install, for the CUDA of the driver
REMEDIES = (
    (r"CuPy is not installed|No module named 'cupy", "pip install 'gpucnn[cuda{}]'"),
    (r"numba-cuda|No module named 'numba|nvvm|nvjitlink|cuda-bindings", "pip install 'numba-cuda[cu{}]'"),
    (r"nvrtc|cannot open source file|vector_types\.h|failed to load builtins", "pip install 'cupy-cuda{}x[ctk]'"),
)


def remedy(fault: DeviceError, driver: int | None) -> str:
    """The command that mends what `fault` says is missing; the driver decides for which CUDA to install."""
    text = str(fault)
    if driver is not None:
        if "InsufficientDriver" in text:
            return (
                "pip uninstall cupy-cuda13x, then pip install 'gpucnn[cuda12]'"
                if 12000 <= driver < 13000
                else "install a newer driver: 525 or later for CUDA 12, 580 or later for CUDA 13"
            )
        for pattern, command in REMEDIES:
            if re.search(pattern, text, re.IGNORECASE):
                return command.format(13 if driver >= 13000 else 12)
    return fault.hint or "gpucnn kernels check avgpool2d says more"


def _space() -> Finding:
    """Room for runs: weights and metrics are written here unless --output-dir says otherwise."""
    free = disk_usage(Path.cwd()).free
    mend = "" if free > ENOUGH else f"du -xh {Path.cwd()} | sort -h | tail shows what to remove"
    return Finding("disk", f"{free / 1e9:.1f} GB free in {Path.cwd()}", mend)


def _cache(what: str, find: Callable[[], Path], mend: str) -> Finding:
    """A cache folder, what it holds, and whether more can be written to it."""
    try:
        folder = find()
    except ModuleNotFoundError as error:
        return Finding(what, f"{error.name} is not installed", f"pip install {error.name}")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding(what, f"{folder}, {size / 1e6:.1f} MB")
    except OSError as error:
        return Finding(what, f"{folder} cannot be written to ({error.strerror})", mend)
