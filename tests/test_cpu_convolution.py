"""Convolution on the CPU beyond the shape table: large batches, numbers of threads, other CPUs, and rounding errors."""

import subprocess
import sys
from math import prod
from pathlib import Path

import gpucnn_kernels as kernels
import numba
import numpy as np
import pytest
from closeness import assert_close
from gpucnn_kernels.cpu import target
from gpucnn_kernels.cpu.convolution import Plan

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS.parent / "bench"))
import cpu_errors  # noqa: E402

# x, w, stride, padding, pool
WINOGRAD = [
    ((33, 16, 8, 8), (20, 16, 3, 3), (1, 1), (1, 1), (2, 2)),
    ((128, 24, 6, 9), (17, 24, 3, 3), (1, 1), (2, 0), (1, 1)),
    ((128, 33, 9, 6), (34, 33, 3, 3), (1, 1), (0, 2), (2, 4)),
]
ROWS = [
    ((33, 3, 9, 11), (6, 3, 5, 5), (1, 1), (0, 0), (2, 2)),
    ((17, 4, 12, 13), (9, 4, 3, 5), (2, 1), (2, 4), (1, 1)),
    ((128, 6, 14, 14), (16, 6, 5, 5), (1, 1), (1, 2), (3, 4)),
    ((17, 16, 21, 37), (8, 16, 5, 5), (1, 1), (2, 2), (2, 2)),  # in more than one block of rows
]
DIRECT = [
    ((33, 3, 9, 11), (5, 3, 5, 5), (1, 1), (0, 0), (2, 2)),
    ((17, 5, 7, 8), (7, 5, 3, 2), (2, 1), (1, 0), (1, 1)),
    ((17, 8, 6, 7), (8, 8, 2, 5), (1, 1), (3, 0), (1, 1)),  # windows that lie on padding only
    ((128, 16, 3, 3), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1)),
    ((33, 64, 6, 12), (7, 64, 3, 3), (1, 1), (1, 1), (2, 2)),  # rows that are copied, of x
    ((33, 48, 9, 17), (5, 48, 3, 3), (2, 2), (1, 0), (1, 1)),
    ((33, 5, 7, 13), (70, 5, 3, 3), (1, 1), (1, 1), (1, 1)),  # and of gy
    ((33, 4, 9, 17), (150, 4, 3, 2), (2, 1), (0, 1), (1, 1)),
]
NAMES = "y", "gx", "gw", "gb"
each_kind = pytest.mark.parametrize("impl", ["cpu", "exact"])
each_shape = pytest.mark.parametrize("shape", [*WINOGRAD, *ROWS, *DIRECT], ids=str)


@pytest.fixture
def set_threads():
    yield lambda count: numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def drawn(shape):
    """x, w and b in float32, at most 1 in size."""
    rng = np.random.default_rng(0)
    x, w, *_ = shape
    return [rng.uniform(-1, 1, each).astype(np.float32) for each in (x, w, w[:1])]


def terms(shape, y):
    """Of the sums in y, gx, gw and gb."""
    _, (co, ci, *kernel), *_ = shape
    pixels = y.shape[0] * prod(y.shape[2:])
    return ci * prod(kernel), co * prod(kernel), pixels, pixels


def plain(impl, x, w, b, gy, stride, padding):
    """[y, gx, gw, gb] of conv2d; gy is drawn where it is None."""
    conv2d = kernels.load("conv2d", impl)
    y = conv2d.forward(x, w, b, stride, padding)
    gy = np.random.default_rng(1).uniform(-1, 1, y.shape).astype(np.float32) if gy is None else gy
    gx = conv2d.backward_input(gy, w, x.shape, stride, padding)
    return gy, [y, gx, *conv2d.backward_weight(gy, x, w.shape, stride, padding)]


def fused(impl, x, w, b, stride, padding, pool):
    """([gy, code], [y, gx, gw, gb]) of conv2d_relu_maxpool."""
    module = kernels.load("conv2d_relu_maxpool", impl)
    y, code = module.forward(x, w, b, stride, padding, pool)
    gy = np.random.default_rng(1).uniform(-1, 1, y.shape).astype(np.float32)
    return (gy, code), [y, *module.backward(gy, code, x, w, stride, padding, pool)]


def test_shapes_go_the_way_that_is_meant():
    for way, shapes in (("winograd", WINOGRAD), ("rows", ROWS), ("direct", DIRECT)):
        assert all(Plan(*shape, False).way == way for shape in shapes)
        assert all(Plan(*shape, True).way == "direct" for shape in shapes)


@each_shape
@each_kind
def test_conv2d_in_large_batches_and_on_any_number_of_threads(impl, shape, set_threads):
    _, _, stride, padding, _ = shape
    arrays = drawn(shape)
    set_threads(1)
    gy, alone = plain(impl, *arrays, None, stride, padding)
    set_threads(2)
    _, together = plain(impl, *arrays, gy, stride, padding)
    x, w, b, gy = (each.astype(np.float64) for each in (*arrays, gy))
    _, expected = plain("xp", x, w, b, gy, stride, padding)
    for name, one, two, exact, count in zip(NAMES, alone, together, expected, terms(shape, expected[0]), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)
        assert_close(one, exact, count, 1, np.float32, name)


@each_shape
@each_kind
def test_the_fused_op_in_large_batches_and_on_any_number_of_threads(impl, shape, set_threads):
    """Gradients are compared for our own codes: where two places tie but for rounding, either is right."""
    _, _, stride, padding, pool = shape
    arrays = drawn(shape)
    set_threads(1)
    (gy, code), alone = fused(impl, *arrays, *shape[2:])
    set_threads(2)
    (_, other_code), together = fused(impl, *arrays, *shape[2:])
    np.testing.assert_array_equal(code, other_code)
    reference = kernels.load("conv2d_relu_maxpool", "xp")
    x, w, b, gy = (each.astype(np.float64) for each in (*arrays, gy))
    y, exact_code = reference.forward(x, w, b, stride, padding, pool)
    assert (code != exact_code).mean() < 1e-3
    expected = [y, *reference.backward(gy, code, x, w, stride, padding, pool)]
    for name, one, two, exact, count in zip(NAMES, alone, together, expected, terms(shape, y), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)
        assert_close(one, exact, count, 1, np.float32, name)


# other CPUs: LLVM splits vectors that are too wide for this one

ALL = "conv2d_cpu", "conv2d_relu_maxpool_cpu", "linear_cpu"
SOME = "conv2d_cpu.forward", "conv2d_exact.backward_weight", "linear_cpu"  # what is compiled in half the time


@pytest.mark.parametrize("index, tried", [(0, ALL), (len(target.TARGETS) - 1, SOME)], ids=["widest", "narrowest"])
def test_the_tiles_of_other_cpus_are_right_too(index, tried):
    command = [sys.executable, TESTS / "other_target.py", str(index), *tried]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50


# rounding errors, on the shapes of AlexNet-lite and a batch of 32


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    torch.set_num_threads(1)


def test_errors_of_winograds_convolution():
    for x, w, padding in cpu_errors.shapes():
        errors = cpu_errors.errors(("cpu",), x, w, padding)["cpu"]
        assert max(*errors["y"], *errors["gx"]) <= 5e-6, (w, errors)
        assert max(errors["gw"]) <= 1e-5, (w, errors)


def test_errors_without_winograd_are_at_most_twice_pytorchs(torch):
    for x, w, padding in cpu_errors.shapes():
        found = cpu_errors.errors(("exact", "torch"), x, w, padding)
        theirs = {name: np.array(errors) for name, errors in found["torch"].items()}
        for name, ours in found["exact"].items():
            assert (ours <= 2 * theirs[name]).all(), (w, name, found)
