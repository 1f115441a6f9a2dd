"""Philox4x32-10, the counter-based random generator of everything random after initialisation.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A draw is a pure function of its
place, so there is no state to carry, and resume, ranks and devices agree by construction:

    key     = (seed & 0xffffffff, seed >> 32)
    counter = (element // 4, sample, epoch, use)      the draw of an element is word element % 4
    use     = what the draw is for: SHUFFLE, AUGMENT, ..., DROPOUT + the layer's place in its model
              (and 65536 more for each further call of the layer in one step)
    sample  = the example's index in its data set, never its place in the batch

Every use stays in integers (compare with a threshold, multiply and shift), so that no device rounds
differently from another.
"""

from .arrays import Array, namespace

SHUFFLE, AUGMENT, SYNTHETIC, UNPLACED, DROPOUT = 0, 1, 2, 15, 16

_MASK = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple, key: tuple[int, int]) -> tuple:
    """Ten rounds over `counter` (four uint64 arrays of 32-bit values that broadcast) -> four such arrays."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def bits(seed: int, use: int, epoch: int | Array, samples: Array, elements: int) -> Array:
    """uint32 (len(samples), elements): the draws of elements 0 .. elements-1 for each of `samples`.

    epoch: a number, or an array of one element.
    """
    xp = namespace(samples)
    of_epoch = xp.empty((1, 1), xp.uint64)
    of_epoch[...] = epoch
    blocks = -(-elements // 4)
    counter = (
        xp.arange(blocks, dtype=xp.uint64)[None, :],
        samples.astype(xp.uint64)[:, None],
        of_epoch,
        xp.full((1, 1), use, xp.uint64),
    )
    words = xp.empty((len(samples), blocks, 4), xp.uint32)
    for word, value in enumerate(philox(counter, (seed & _MASK, (seed >> 32) & _MASK))):
        words[:, :, word] = value
    return words.reshape(len(samples), 4 * blocks)[:, :elements]


def below(draw: Array, limit: int) -> Array:
    """int64 in 0 .. limit-1 from uint32 draws: the high word of draw * limit (bias below limit / 2**32)."""
    xp = namespace(draw)
    return ((draw.astype(xp.uint64) * limit) >> 32).astype(xp.int64)


def keep(draw: Array, p: float) -> Array:
    """bool: True with probability 1 - p, by comparing with round(p * 2**32)."""
    return draw.astype(namespace(draw).uint64) >= round(p * 2**32)
