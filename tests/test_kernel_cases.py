"""Every kernel against the reference in float64: the shape table and drawn shapes, between poisoned memory.

CUDA C runs as its source and as the PTX that NVRTC makes of it, Numba as the PTX that Numba makes of it; on a GPU
all of them run there. The kernels of the CPU run as they are. `--draws N` sets the number of drawn shapes;
`make test-kernels` takes 200.
"""

import gpucnn_kernels as kernels
import numba
import numpy as np
import pytest
from gpucnn_kernels import cases, check
from gpucnn_kernels.cpu import layout
from gpucnn_kernels.cpu.memory import POOL
from gpucnn_kernels.sim import mode

from gpucnn.backend import Device, probe_cuda

pytestmark = pytest.mark.timeout(3000)  # 200 draws, compilers, and a busy machine

TENSOR_CORES = ("tf32", "tf32x3", "bf16")
GPU_KINDS = ("numba", "raw", *TENSOR_CORES)
WRITTEN = [(op, impl) for op in cases.ops() for impl in kernels.implementations(op) if impl in GPU_KINDS]
# The kinds of tensor cores differ in their products alone: one of them goes everywhere, the others where products are,
# and not through the cases that are long for the width of indices.
TIERS = [
    (op, impl, tier)
    for op, impl in WRITTEN
    for tier in (("ptx",) if impl == "numba" else ("source", "ptx"))
    if tier == "source" or impl not in ("tf32x3", "bf16") or op == "linear"
]
SANITIZED = [
    (op, impl, tier) for op, impl, tier in TIERS if impl in ("raw", "numba") or (impl, tier) == ("tf32", "source")
]
each_kernel = pytest.mark.parametrize("op, impl", WRITTEN)
ON_CPU = [(op, impl) for op in cases.ops() for impl in ("cpu", "exact") if impl in kernels.implementations(op)]


def faults(verdicts):
    return [f"{verdict.case}: {verdict.fault}" for verdict in verdicts if verdict.fault]


def test_every_op_has_cases_and_both_implementations_that_it_should_have():
    assert set(cases.ops()) == set(kernels.ops()) - {"philox"}
    both = {"conv2d", "maxpool2d", "avgpool2d", "globalavgpool2d"}
    assert {op for op, impl in WRITTEN if impl == "numba"} == both
    of_a_step = {"adam", "augment", "batch_norm", "clip", "deal", "cross_entropy", "dropout", "relu", "sgd"}
    products = {"conv2d", "conv2d_relu_maxpool", "linear"}
    for kind in TENSOR_CORES:
        assert {op for op, impl in WRITTEN if impl == kind} == {*products, "augment"}
    assert {op for op, impl in WRITTEN if impl == "raw"} == both | products | of_a_step


@pytest.mark.parametrize("op, impl, tier", TIERS)
def test_on_the_simulator(op, impl, tier, pytestconfig):
    module = kernels.load(op, impl)
    with mode(tier=tier):
        for wanted in (cases.table(op, impl), cases.draws(op, pytestconfig.getoption("--draws"), impl=impl)):
            short = [case for case in wanted if impl not in ("tf32x3", "bf16") or not case.long]
            assert faults(check.check(module, short)) == []


@pytest.mark.parametrize("op, impl, tier", SANITIZED)
def test_nothing_to_report_in_three_schedules(op, impl, tier):
    with mode(tier=tier):
        assert faults(check.check(kernels.load(op, impl), cases.table(op, impl), sanitize=True)) == []


@pytest.mark.gpu
@each_kernel
def test_on_a_gpu(op, impl, pytestconfig):
    if fault := probe_cuda():
        pytest.skip(f"no GPU: {fault}")
    wanted = [*cases.table(op, impl), *cases.draws(op, pytestconfig.getoption("--draws"), impl=impl)]
    assert faults(check.check(kernels.load(op, impl), wanted, Device("cuda").xp)) == []


# on the CPU

OF_IMAGES = ["avgpool2d", "batch_norm", "cross_entropy", "dropout", "globalavgpool2d", "linear", "maxpool2d", "relu"]


@pytest.mark.parametrize(("op", "impl"), ON_CPU)
def test_on_the_cpu(op, impl, pytestconfig, monkeypatch):
    monkeypatch.setattr(POOL, "poison", True)  # what lies between kernels, too
    for wanted in (cases.table(op), cases.draws(op, pytestconfig.getoption("--draws"))):
        assert faults(check.check(kernels.load(op, impl), wanted)) == []


def in_lines(x, n, fill):
    """x in the layout of the CPU, `fill` in the lanes behind image n, if it is an array of float32 images or codes."""
    if not isinstance(x, np.ndarray) or x.ndim < 2 or len(x) != n or x.dtype.kind == "i":
        return x
    y, lines = layout.empty(x.shape, x.dtype)
    y[...] = x
    lines[..., n:] = fill
    return y


def results(case, arguments):
    found = getattr(kernels.load(case.op, "cpu"), case.function)(*arguments)
    return found if isinstance(found, tuple) else (found,)


@pytest.fixture
def set_threads():
    yield numba.set_num_threads
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("op", OF_IMAGES)
def test_layouts_threads_and_lanes_behind_the_last_image(op, set_threads):
    """The same bits from plain arrays and from those in the layout, on one thread and on two; lanes as promised."""
    for case in [*cases.table(op), *cases.draws(op, 5)]:
        plain = case.single()
        image, n = plain[0], len(plain[0])
        gradient = case.function.startswith("backward")
        laid_out = [in_lines(x, n, 0 if gradient and x is image else 1) for x in plain]
        expected = results(case, plain)
        for threads in (1, 2):
            set_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            found = results(case, laid_out)
            for one, other in zip(expected, found, strict=True):
                assert np.array_equal(one, other, equal_nan=True), str(case)
        if case.function == "backward_weight":
            assert all(result.flags.c_contiguous for result in found)
            continue
        of_images = found[0 if op == "batch_norm" else -1]
        behind = layout.lines(of_images)[..., n:]
        is_gradient = gradient or op == "cross_entropy"
        assert not behind.any() if is_gradient else np.isfinite(behind).all(), str(case)
        assert layout.lines(of_images).ctypes.data == of_images.ctypes.data, "the result is not in the layout"


@pytest.mark.parametrize("op", cases.ops())
def test_the_reference_passes_its_own_table_in_float32(op):
    verdicts = list(check.check(kernels.load(op, "xp"), [*cases.table(op), *cases.draws(op, 20)]))
    assert faults(verdicts) == []
    assert max(verdict.error for verdict in verdicts) < 0.5


# the check itself


class Wrong:
    """The reference of an op with one thing wrong."""

    def __init__(self, op, spoil):
        self.module, self.spoil = kernels.load(op, "xp"), spoil

    def __getattr__(self, name):
        def call(*arguments, out):
            result = getattr(self.module, name)(*arguments, out=out)
            self.spoil(arguments, out)
            return result

        return call


def last_of_result(arguments, out):
    out.reshape(-1)[-1] += 1e-3


def not_written(arguments, out):
    out.reshape(-1)[:1] = np.frombuffer(b"\xff" * 4, np.float32)


def an_argument(arguments, out):
    arguments[0].reshape(-1)[0] = 7


@pytest.mark.parametrize(
    "spoil, text",
    [
        (last_of_result, "the result is wrong in 1 of"),
        (not_written, "the result is wrong in 1 of"),
        (an_argument, "an argument, or memory beside it, was written"),
    ],
)
def test_what_is_wrong_is_found(spoil, text):
    [verdict] = check.check(Wrong("avgpool2d", spoil), cases.table("avgpool2d")[:1])
    assert text in verdict.fault


@pytest.mark.parametrize("place", [-1, 0])
def test_a_write_beside_the_result_is_found(place):
    def spoil(arguments, out):
        buffer = out
        while isinstance(buffer.base, np.ndarray):
            buffer = buffer.base
        buffer[place] = 0

    [verdict] = check.check(Wrong("avgpool2d", spoil), cases.table("avgpool2d")[:1])
    assert verdict.fault == "memory beside the result was written"


def test_cases_are_the_same_ones_again():
    for op in cases.ops():
        for one, other in zip(cases.draws(op, 3), cases.draws(op, 3), strict=True):
            assert str(one) == str(other)
            assert all(
                np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else True
                for a, b in zip(one.arguments, other.arguments, strict=True)
            )


@pytest.mark.parametrize("op", cases.ops())
def test_long_cases_are_not_checked_access_by_access(op, monkeypatch):
    seen = []
    monkeypatch.setattr(check, "_compare", lambda module, case, xp: seen.append(case) or check.Verdict(case, 0.0))
    table = cases.table(op)
    assert any(case.long for case in table)
    list(check.check(None, table, sanitize=True))
    assert [sum(each is case for each in seen) for case in table] == [1 if case.long else 4 for case in table]


def test_arguments_are_what_float32_holds_and_differ():
    for op in cases.ops():
        for case in cases.table(op):
            for value in case.arguments:
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    assert np.array_equal(value, value.astype(np.float32), equal_nan=True)
            if " of " not in case.shape and case.function == "forward":
                assert len(np.unique(case.arguments[0])) == case.arguments[0].size
