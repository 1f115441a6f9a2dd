"""The pool of memory of the CPU's kernels: what is in use is never given away, what is not comes back."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpucnn_kernels.cpu.memory import Pool


@pytest.fixture
def pool():
    return Pool()


def array(pool, size=100):
    return np.ndarray((size,), np.float32, pool.take(4 * size))


def test_memory_comes_back_with_the_last_array_in_it(pool):
    first, second = array(pool), array(pool)
    place, rest = second.ctypes.data, second[3:].reshape(1, -1)
    assert first.ctypes.data != place
    del second
    third = array(pool)
    assert (pool.allocations, len(pool.idle())) == (3, 0)
    assert third.ctypes.data != place
    del rest
    assert len(pool.idle()) == 1
    assert array(pool).ctypes.data == place
    assert pool.allocations == 3


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 12345])
def test_blocks_are_aligned_and_large_enough(pool, size):
    block = pool.take(size)
    assert block.ctypes.data % 64 == 0
    assert size <= block.size <= max(64, size + size // 8 + 64)


def test_what_a_larger_step_left_behind_goes_once_it_is_much(pool):
    step = [array(pool, 1000) for _ in range(4)]
    del step
    for size in range(2000, 40000, 1000):
        array(pool, size)
    assert sum(block.size for block in pool.idle()) <= 3 * 5 * 40000 * 4


def test_threads_never_share_memory(pool):
    def work(number):
        for _ in range(300):
            mine = array(pool)
            mine[:] = number
            assert (mine == number).all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert pool.allocations <= 8
