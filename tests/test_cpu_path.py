"""Training on the CPU's own kernels: right from end to end, fused or not, and nothing new from the system in a step."""

import os
import subprocess
import sys
import tracemalloc

import numba
import numpy as np
import pytest
from decided import Decisions, gradients
from gpucnn_kernels.cpu.memory import POOL

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device
from gpucnn.data.batches import Batches
from gpucnn.graph import Graph
from gpucnn.models import model_class
from gpucnn.optim import SGD

REFERENCE = Device("cpu", kernels="conv2d_relu_maxpool=xp")  # fused where ours is, so that both decide the same things
IMAGE = (3, 32, 32)


def small():
    """Convolutions that go the direct way and Winograd's, with and without pooling, and 17 channels, for 16x16."""
    return g.Sequential(
        *(g.Conv2d(3, 16, 3, padding=1), g.ReLU(), g.MaxPool2d(2)),
        *(g.Conv2d(16, 24, 3, padding=1), g.ReLU(), g.MaxPool2d(2)),
        *(g.Conv2d(24, 17, 3, padding=1), g.ReLU()),
        *(g.Flatten(), g.Linear(17 * 4 * 4, 10)),
    )


NETWORKS = {
    "lenet": (model_class("lenet"), IMAGE),
    "alexnet-lite": (model_class("alexnet-lite"), IMAGE),
    "small": (small, (3, 16, 16)),
}


def far(one, other):
    """name -> the distance of two gradients, as a share of the length of the second."""
    assert one.keys() == other.keys()
    return {name: np.linalg.norm(one[name] - other[name]) / np.linalg.norm(other[name]) for name in one}


# gradients


@pytest.mark.parametrize("kernels", ["cpu", "exact"])
@pytest.mark.parametrize("network, n", [("lenet", 17), ("alexnet-lite", 8), ("small", 33)])
def test_gradients_of_a_network_are_those_of_the_reference_in_float64(network, n, kernels):
    build, shape = NETWORKS[network]
    decisions = Decisions()
    loss, actual = gradients(Device("cpu", kernels=kernels), build(), shape, decisions, n)
    expected_loss, expected = gradients(REFERENCE, build(), shape, decisions, n, np.float64)
    assert decisions.own > 0 and decisions.overruled <= 1e-4 * decisions.own
    assert abs(loss - expected_loss) <= 1e-6 * expected_loss
    assert all(gradient.dtype == np.float32 for gradient in actual.values())
    errors = far(actual, expected)
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("network", ["lenet", "small"])
def test_fused_and_unfused_give_the_same_gradients(network, n):
    build, shape = NETWORKS[network]
    loss, fused = gradients(Device("cpu"), build(), shape, n=n)
    unfused_loss, unfused = gradients(Device("cpu", fuse=False), build(), shape, n=n)
    assert abs(loss - unfused_loss) <= 1e-6 * unfused_loss
    errors = far(fused, unfused)
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("n", [1, 15, 17, 33])
@pytest.mark.parametrize("network", ["lenet", "small"])
def test_what_the_pool_gives_back_does_not_matter(network, n, fuse):
    """Memory is taken again with what was in it, and lanes behind the last image are not cleared by themselves."""
    build, shape = NETWORKS[network]

    def run():
        loss, found = gradients(Device("cpu", fuse=fuse), build(), shape, n=n)
        return loss, {name: gradient.copy() for name, gradient in found.items()}

    run()
    loss, expected = run()
    for byte in (0xFF, 0x7F):  # NaN, and numbers whose sums overflow
        allocations = POOL.allocations
        for block in POOL.idle():
            block[...] = byte
        del block  # a reference, too
        again, actual = run()
        assert POOL.allocations == allocations, "what was spoilt is not what was taken"
        assert again == loss
        for name, gradient in actual.items():
            np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


# memory


def training(network, n, device):
    """Each `next` is a training step as `fit` makes it: a batch with crop and flip, the tape, and SGD."""
    build, shape = NETWORKS[network]
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (8 * n, *shape), np.uint8), rng.integers(0, 10, 8 * n)
    pixels = {"mean": [120.0] * 3, "std": [60.0] * 3}
    batches = Batches(x, y, n, device=device, **pixels, shuffle=True, augment=("crop", "flip"))
    model = build().initialize(0).to(device)
    optimizer = SGD(model.named_parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    graph = Graph(model, device)
    dropouts = [module for module in model.modules() if isinstance(module, g.Dropout)]
    for batch in batches.epoch(0):
        for use, layer in enumerate(dropouts, device.kernel("philox").DROPOUT):
            layer.place = F.Place(0, use, 0, batch.samples)
        loss, _ = graph(batch.x, batch.y)
        optimizer.step()
        yield loss.item()


@pytest.fixture
def two_threads():
    """Each thread has small rooms of its own, so that a bound on them holds for a number of threads."""
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("network, n, most", [("lenet", 128, 64), ("lenet", 37, 64), ("alexnet-lite", 16, 256)])
def test_a_step_allocates_nothing_once_it_is_warm(network, n, most, graph, fuse, two_threads):
    """No block of the pool, nothing that stays, and never more at once than `most` KB besides.

    tracemalloc sees what Python, NumPy and Numba take. All that they do take in a step are the tape, the numbers of a
    batch and of its channels, and in kernels tables of places and a line a row where sums begin: 128 KB for the 2048
    rows of alexnet-lite's largest linear layer. The smallest activation of lenet's convolutions at a batch of 128 has
    200 KB, all arrays of its step together have 2 MB; those of alexnet-lite at 16 have 9 MB.
    """
    steps = training(network, n, Device("cpu", fuse=fuse, graph=graph))
    next(steps)
    next(steps)
    next(steps)
    allocations = POOL.allocations
    tracemalloc.start()
    try:
        for step in range(3):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            next(steps)
            after, peak = tracemalloc.get_traced_memory()
            assert step == 0 or after - before <= 4 * 1024  # the first one replaces what was taken unseen
            assert peak - before <= most * 1024
    finally:
        tracemalloc.stop()
    assert POOL.allocations == allocations


@pytest.mark.parametrize(
    "given, expected", [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")]
)
def test_threads_wait_for_microseconds_unless_the_user_says_otherwise(given, expected):
    """In a process of its own, since the library reads it when it is loaded."""
    code = (
        "import os, sys; from gpucnn_kernels.cpu.compiled import start_threads; assert 'numba.np.ufunc.omppool' not in "
        "sys.modules; start_threads(); print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == expected, done.stderr
