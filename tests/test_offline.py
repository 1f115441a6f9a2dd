"""Compilers of a GPU on a machine that need not have one."""

import builtins
import re
import subprocess
import sys

import pytest
from gpucnn_kernels import offline
from numba import cuda

TEXT = """#line 7 "twice.cu"
extern "C" __global__ void twice(const float* x, float* y) {
    y[threadIdx.x] = FACTOR * x[threadIdx.x];
}
"""


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_cuda_c(arch):
    ptx = offline.cuda_c_to_ptx(TEXT, ("-DFACTOR=2.0f",), arch)
    assert f".target {arch}" in ptx and ".entry twice(" in ptx and "\0" not in ptx
    assert re.search(r'\.file\s+\d+ "[^"]*twice\.cu"', ptx) and re.search(r"\.loc\s+\d+ 8 ", ptx)


def test_cuda_c_that_does_not_compile_says_where():
    with pytest.raises(offline.CompileError, match=r'twice\.cu\(8\): error: identifier "FACTOR" is undefined'):
        offline.cuda_c_to_ptx(TEXT)
    with pytest.raises(offline.CompileError, match="invalid value for --gpu-architecture"):
        offline.cuda_c_to_ptx(TEXT, arch="sm_12")


@cuda.jit(device=True)
def double(value):
    return value + value


def twice(x, y):
    y[cuda.threadIdx.x] = double(x[cuda.threadIdx.x])


def wrong(x, y):
    y[0] = x.nothing


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_numba(arch):
    ptx = offline.numba_to_ptx(twice, "void(float32[::1], float32[::1])", arch)
    assert f".target {arch}" in ptx and ".entry twice(" in ptx and "twice_param_0" in ptx
    assert "test_offline.py" in ptx and f".loc\t1 {twice.__code__.co_firstlineno + 1} " in ptx


def test_numba_finds_its_device_again():
    from numba.cuda import dispatcher

    before = dispatcher.get_current_device
    offline.numba_to_ptx(twice, "void(float32[::1], float32[::1])")
    with pytest.raises(offline.CompileError):
        offline.numba_to_ptx(wrong, "void(float32[::1], float32[::1])")
    assert dispatcher.get_current_device is before


def test_numba_that_does_not_compile_says_why():
    with pytest.raises(
        offline.CompileError, match=r"wrong\(float32\[::1\], float32\[::1\]\): .*Unknown attribute 'nothing'"
    ):
        offline.numba_to_ptx(wrong, "void(float32[::1], float32[::1])")


@pytest.mark.parametrize("module, call", [
    ("cuda.bindings", lambda: offline.cuda_c_to_ptx(TEXT)),
    ("numba", lambda: offline.numba_to_ptx(twice, "void(float32[::1], float32[::1])")),
])  # fmt: skip
def test_a_missing_package_is_named_with_the_command_that_installs_it(module, call, monkeypatch):
    find = builtins.__import__

    def without(name, *rest, **more):
        if name == module or name.startswith(module + "."):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return find(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    offline._cuda_c_to_ptx.cache_clear()
    offline.numba_to_ptx.cache_clear()
    with pytest.raises(offline.MissingPackage, match=f"No module named '{module}") as error:
        call()
    assert error.value.hint == "pip install 'gpucnn[sim]'" and "\n" not in str(error.value)


def test_numba_where_numpy_has_no_row_stack():
    """As with NumPy 2.5."""
    code = """
import numpy as np
import numba.np.arrayobj  # numba itself asks for the name where NumPy is older
del np.row_stack
np.__all__.remove("row_stack")
from gpucnn_kernels import avgpool2d_numba, offline
kernel = avgpool2d_numba.avgpool2d_forward
assert ".entry avgpool2d_forward(" in offline.numba_to_ptx(kernel.function, kernel.signature)
assert "row_stack" not in vars(np)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
