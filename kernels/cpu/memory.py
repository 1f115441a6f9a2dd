"""A pool of memory: what one step of training gave back, the next one takes.

Fresh memory is expensive on a CPU: the system hands it out page by page, at the first touch, and each page costs as
much as reading it twice. A training step asks for the same sizes again and again, so blocks go back to the pool when
the last array on them is gone, and after the first step nothing is allocated any more.
"""

from collections import defaultdict
from functools import lru_cache

import numpy as np

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_SPARE = 3  # times what was in use at most may lie idle: the sizes of a whole step are never in use all at once


class Memory(np.ndarray):
    """Bytes of the system. A type of its own, since NumPy looks through views of one type: to it, not to the Block."""


class Block(Memory):
    """Bytes of the pool. Arrays are views of it and keep it alive; without them it goes back.

    shape_of: what an array in layout.py's layout was made for, (images, elements); None for other arrays.
    """

    shape_of: tuple[int, int] | None = None

    def __del__(self) -> None:
        POOL.give_back(self)


class Pool:
    """`take` memory; it comes back by itself. Counts what it had to allocate.

    poison: fill what is taken with 0xFF, NaN as a float32, so that a number which no kernel wrote shows in a test.
    """

    poison = False

    def __init__(self) -> None:
        self._idle: dict[int, list[Memory]] = defaultdict(list)
        self.allocations = 0
        self.idle_bytes = self.used_bytes = self.most_bytes = 0

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes, aligned to cache lines, its content undefined."""
        size = _rounded(size)
        idle = self._idle[size]
        if idle:
            memory = idle.pop()
            self.idle_bytes -= size
        else:
            if self.idle_bytes > _SPARE * self.most_bytes:  # what other batch sizes left behind
                self._idle.clear()
                self.idle_bytes = 0
            memory = _aligned(size)
            self.allocations += 1
        self.used_bytes += size
        self.most_bytes = max(self.most_bytes, self.used_bytes)
        if self.poison:
            memory[...] = 0xFF
        return memory.view(Block)

    def give_back(self, block: Block) -> None:
        self.used_bytes -= block.size
        self.idle_bytes += block.size
        self._idle[block.size].append(block.view(Memory))


@lru_cache(maxsize=1024)
def _rounded(size: int) -> int:
    """Sizes in steps of an eighth: 8, 9, .. 16, 18, ... lines, so that nearly equal ones share their blocks."""
    step = max(_ALIGNMENT, 1 << max(size - 1, 8).bit_length() - 4)
    return -(-max(size, 1) // step) * step


def _aligned(size: int) -> Memory:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(Memory)


POOL = Pool()
