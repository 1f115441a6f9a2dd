"""Kernels of a training step around the network: what the shape table of kernels/cases.py leaves open.

NumPy arrays run on the simulator, a GPU's on the GPU: the `device` fixture says which.
"""

import gpucnn_kernels as kernels
import numpy as np
import pytest
from gpucnn_kernels.sim import mode

from gpucnn.backend import CPU, to_host

VECTORS = {  # op: function, vectors that go in, and what follows them
    "relu forward": ("relu", "forward", 1, ()),
    "relu backward": ("relu", "backward", 2, ()),
    "sgd": ("sgd", "step", 3, (0.25, 0.9, 0.1, True)),
    "adam": ("adam", "step", 4, (3, 0.25, (0.9, 0.999), 1e-8, 0.1, True)),
}
each_run = pytest.mark.parametrize("call", VECTORS)
each_update = pytest.mark.parametrize("op", ["sgd", "adam"])


def vectors(call, n):
    """Numbers of either sign, and a last one (Adam's mean of squares) of none below 0.1."""
    rng = np.random.default_rng(n)
    found = [rng.standard_normal(n).astype(np.float32) for _ in range(VECTORS[call][2])]
    return [*found[:-1], np.abs(found[-1]) + np.float32(0.1)] if call == "adam" else found


def moved(array, device, offset):
    """The same values `offset` elements behind an address that 16 divides."""
    buffer = device.xp.empty(len(array) + offset, array.dtype)
    buffer[offset:] = device.asarray(array)
    return buffer[offset:]


def run(call, arrays, device, impl="raw", change=(), **more):
    op, function, _, rest = VECTORS[call]
    arrays = [device.asarray(array) if isinstance(array, np.ndarray) else array for array in arrays]
    found = getattr(kernels.load(op, impl), function)(*arrays, *change, *rest[len(change) :], **more)
    return [to_host(array) for array in (found if isinstance(found, tuple) else (found,))]


@each_run
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 1023, 1024, 1030])
def test_vectors_that_begin_anywhere_give_the_same_bits(call, n, device):
    arrays = vectors(call, n)
    expected = run(call, [moved(array, device, 0) for array in arrays], device)
    for offset in (1, 2, 3):
        found = run(call, [moved(array, device, offset) for array in arrays], device)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


@each_run
def test_results_do_not_depend_on_the_schedule(call):
    results = []
    for order in ("forward", "reverse", "random"):
        with mode(order=order, seed=3):
            results.append(run(call, vectors(call, 1030), CPU))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@each_update
@pytest.mark.parametrize("impl", ["xp", "cpu", "raw"])
def test_a_step_in_place_gives_the_same_bits(op, impl, device):
    if impl == "cpu" and device.type != "cpu":
        pytest.skip("no GPU: kernels of the CPU")
    arrays = [device.asarray(array) for array in vectors(op, 301)]
    expected = run(op, arrays, device, impl)
    p, _, *state = arrays
    found = run(op, arrays, device, impl, out=(p, *state))
    for one, other, array in zip(expected, found, (p, *state), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, to_host(array))


@each_update
@pytest.mark.parametrize("impl", ["xp", "cpu", "raw"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_what_changes_from_step_to_step_may_lie_in_memory(op, impl, shape, device):
    if impl == "cpu" and device.type != "cpu":
        pytest.skip("no GPU: kernels of the CPU")
    lr = device.xp.full(shape, 0.03125, np.float32)
    given, wanted = ((lr,), (0.03125,)) if op == "sgd" else ((device.xp.full(shape, 7, np.int32), lr), (7, 0.03125))
    arrays = vectors(op, 301)
    for one, other in zip(run(op, arrays, device, impl, given), run(op, arrays, device, impl, wanted), strict=True):
        if impl == "xp":  # which computes with an array's own dtype
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(one, other)


@each_update
def test_what_lies_in_memory_is_read_when_the_kernel_runs(op, device):
    """The same launch again, with another number in the same place."""
    arrays, lr = vectors(op, 5), device.xp.zeros((), np.float32)
    change = (lr,) if op == "sgd" else (2, lr)
    still = run(op, arrays, device, change=change)[0]
    lr[...] = 0.5
    np.testing.assert_array_equal(still, run(op, arrays, device, change=(0.0,) if op == "sgd" else (2, 0.0))[0])
    np.testing.assert_array_equal(
        run(op, arrays, device, change=change)[0],
        run(op, arrays, device, change=(0.5,) if op == "sgd" else (2, 0.5))[0],
    )


STEPS = [*range(1, 30), *np.unique(np.geomspace(30, 1e6, 60).astype(int)).tolist()]


@pytest.mark.parametrize("tier", ["source", "ptx"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), (0.999, 0.9999), (0.5, 0.999999)])
def test_the_correction_of_adam_is_exact_at_every_step(betas, tier):
    """One step from p = 0 whose moments are known: what is left is lr / (1 - beta1**t) * sqrt(1 - beta2**t)."""
    worst = 0.0
    with mode(tier=tier):
        for t in STEPS:
            p, g, m, v = (np.array([value], np.float32) for value in (0, 1, 1, 1))
            new_p, new_m, new_v = kernels.load("adam", "raw").step(p, g, m, v, t, 1.0, betas, 0.0, 0.0, False)
            exact = -float(new_m[0]) / (1 - betas[0] ** t) / np.sqrt(float(new_v[0]) / (1 - betas[1] ** t))
            worst = max(worst, abs(float(new_p[0]) / exact - 1))
    assert worst < 3 * 2**-23  # a handful of operations, each off by half a unit of the last digit


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    "op, function, arguments, error, text",
    [
        ("relu", "backward", (zeros(3), zeros(4)), ValueError, r"gy has shape \(3,\), expected \(4,\)"),
        ("relu", "forward", (zeros(3, dtype=np.float64),), TypeError, "is an array of float32, got float64"),
        ("relu", "forward", (zeros(4, 2)[:, :1],), ValueError, "is not C-contiguous"),
        ("sgd", "step", (zeros(3), zeros(4), zeros(3), 0.1, 0.9, 0, False), ValueError, "g has shape"),
        ("sgd", "step", (zeros(3), zeros(3), zeros(4), 0.1, 0.9, 0, False), ValueError, "v has shape"),
        ("sgd", "step", (*[zeros(3)] * 3, zeros(2), 0.9, 0, False), ValueError, "lr is a number or an array of one"),
        ("sgd", "step", (*[zeros(3)] * 3, zeros(1, dtype=np.float64), 0, 0, False), TypeError, "lr is an array of"),
        ("adam", "step", (*[zeros(3)] * 3, zeros(4), 1, 0.1, (0, 0), 0, 0, False), ValueError, "v has shape"),
        ("adam", "step", (*[zeros(3)] * 4, zeros(1), 0.1, (0, 0), 0, 0, False), TypeError, "t is an array of int32"),
        ("clip", "scale", (zeros(3, dtype=np.float64), 1.0), TypeError, "is an array of float32, got float64"),
        ("augment", "forward", (*[zeros(2, 1, 3, 3, dtype=np.uint8), zeros(2, dtype=np.int32)],
            zeros(2, 3, dtype=np.uint32), zeros(1), zeros(1), True, False, False), ValueError, "words has shape"),
        ("augment", "forward", (*[zeros(2, 1, 3, 3, dtype=np.uint8), zeros(2, dtype=np.int32)],
            None, zeros(2), zeros(1), False, False, False), ValueError, "mean has shape"),
        ("augment", "forward", (*[zeros(2, 1, 3, 3, dtype=np.uint8), zeros(2, dtype=np.int64)],
            None, zeros(1), zeros(1), False, False, False), TypeError, "samples is an array of int32, got int64"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(op, function, arguments, error, text, device):
    arguments = [device.asarray(a) if isinstance(a, np.ndarray) and "C-cont" not in text else a for a in arguments]
    if device.type == "cpu" or "C-cont" not in text:
        with pytest.raises(error, match=text):
            getattr(kernels.load(op, "raw"), function)(*arguments)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_the_next_batch_is_dealt_in_place(order):
    """Every thread has read the position before it is changed: the accesses are checked."""
    rng, n = np.random.default_rng(0), 300
    samples, y = (rng.integers(0, 1000, 2 * n, np.int32) for _ in range(2))
    words, rates = rng.integers(0, 2**32, (2 * n, 4), np.uint32), np.array([0.5, 0.25], np.float32)
    position, first, rate = np.array(7, np.int32), np.array(7, np.int32), np.zeros((), np.float32)
    dealt = np.empty(n, np.int32), np.empty((n, 4), np.uint32), np.empty(n, np.int32)
    for step in range(2):
        with mode(check=True, order=order, seed=step):
            out = *dealt, rate, position
            kernels.load("deal", "raw").forward(samples, words, y, rates, position, first, n, out=out)
        assert (position, rate) == (7 + step + 1, rates[step])
        for found, whole in zip(dealt, (samples, words, y), strict=True):
            np.testing.assert_array_equal(found, whole[step * n : (step + 1) * n])
