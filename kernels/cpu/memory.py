"""A pool of memory: what one step of training gave back, the next one takes.

Fresh memory is expensive on a CPU: the system hands it out page by page, at the first touch, and each page costs as
much as reading it twice. A training step asks for the same sizes again and again, so the pool keeps every block it
made, and takes it again once no array lies in it any more: after the first step nothing is allocated.
"""

import itertools
from collections import defaultdict
from functools import lru_cache
from sys import getrefcount
from threading import Lock

import numpy as np

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_SPARE = 3  # times what was in use at most may lie idle: the sizes of a whole step are never in use all at once


class _Memory(np.ndarray):
    """Bytes of the system. A type of its own, since NumPy looks through views of one type: to it, not to the Block."""


class Block(np.ndarray):
    """Bytes of the pool. Arrays are views of it, and its references tell whether there are any.

    shape_of: what an array in layout.py's layout was made for, (images, elements); None for other arrays.
    """

    shape_of: tuple[int, int] | None = None


class Pool:
    """`take` memory; it comes back by itself. Counts what it had to allocate.

    poison: fill what is taken with 0xFF, NaN as a float32, so that a number which no kernel wrote shows in a test.
    """

    poison = False

    def __init__(self) -> None:
        self._blocks: dict[int, list[Block]] = defaultdict(list)
        self._lock = Lock()
        self.allocations = self._most = 0

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes, aligned to cache lines, its content undefined."""
        size = _rounded(size)
        blocks = self._blocks[size]
        with self._lock:
            references = _references(blocks)
            if _NO_ARRAYS in references:
                block = blocks[references.index(_NO_ARRAYS)]
            else:
                block = self._allocate(size)
                blocks.append(block)
        block.shape_of = None
        if self.poison:
            block[...] = 0xFF
        return block

    def idle(self) -> list[Block]:
        """The blocks in which no array lies."""
        return [
            block
            for blocks in self._blocks.values()
            for block, count in zip(blocks, _references(blocks), strict=True)
            if count == _NO_ARRAYS
        ]

    def _allocate(self, size: int) -> Block:
        """A new block; but first, what other batch sizes left behind goes, where it is much."""
        idle = sum(block.size for block in self.idle())
        used = sum(map(len, itertools.chain(*self._blocks.values()))) - idle + size
        self._most = max(self._most, used)
        if idle > _SPARE * self._most:
            for blocks in self._blocks.values():
                keep = [count != _NO_ARRAYS for count in _references(blocks)]
                blocks[:] = itertools.compress(blocks, keep)
        self.allocations += 1
        return _aligned(size)


@lru_cache(maxsize=1024)
def _rounded(size: int) -> int:
    """Sizes in steps of an eighth: 8, 9, .. 16, 18, ... lines, so that nearly equal ones share their blocks."""
    step = max(_ALIGNMENT, 1 << max(size - 1, 8).bit_length() - 4)
    return -(-max(size, 1) // step) * step


def _aligned(size: int) -> Block:
    memory = np.empty(size + _ALIGNMENT, np.uint8).view(_Memory)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(Block)


def _references(blocks: list[Block]) -> list[int]:
    """How many references each block has: that of the list, those of arrays, and what looking at it adds."""
    return list(map(getrefcount, blocks))


(_NO_ARRAYS,) = _references([_aligned(1)])  # what looking adds depends on Python's version
POOL = Pool()
