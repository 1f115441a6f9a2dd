"""Philox4x32-10 against Random123's known answers and a twin in plain Python integers."""

import math

import numpy as np
import pytest
from gpucnn_kernels import philox_xp
from gpucnn_kernels.philox_xp import below, bits, keep, philox

ONES = 0xFFFFFFFF
KNOWN = [  # counter, key, words: kat_vectors of Random123, "philox4x32 10"
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def twin(counter, key):
    """The rounds of Salmon et al. 2011, section 3.3, on Python integers."""
    l0, r0, l1, r1 = counter  # two Feistel networks beside each other
    k0, k1 = key
    for _ in range(10):
        low, high = 0xD2511F53 * l0, 0xCD9E8D57 * l1
        l0, r0, l1, r1 = (high // 2**32) ^ r0 ^ k0, high % 2**32, (low // 2**32) ^ r1 ^ k1, low % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return l0, r0, l1, r1


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_known_answers(counter, key, words):
    assert twin(counter, key) == words
    arrays = tuple(np.array([c], np.uint64) for c in counter)
    assert tuple(int(word[0]) for word in philox(arrays, key)) == words


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 0x0123456789ABCDEF, 2**64 - 1])
@pytest.mark.parametrize("use, epoch", [(0, 0), (17, 3), (ONES, ONES)])
def test_bits(seed, use, epoch, device):
    samples, elements = [0, 7, 50_000, ONES], 11
    found = bits(seed, use, epoch, device.asarray(samples), elements)
    expected = [
        [
            twin((element // 4, sample, epoch, use), (seed % 2**32, seed // 2**32))[element % 4]
            for element in range(elements)
        ]
        for sample in samples
    ]
    assert found.dtype == np.uint32
    assert found.tolist() == expected


@pytest.mark.parametrize("elements", [0, 1, 3, 4, 5, 8])
def test_a_draw_does_not_depend_on_how_many_are_asked_for(elements):
    samples = np.array([3, 1])
    assert np.array_equal(bits(1, 2, 3, samples, elements), bits(1, 2, 3, samples, 12)[:, :elements])
    assert bits(1, 2, 3, samples, elements).shape == (2, elements)


def test_the_type_of_the_indices_does_not_matter():
    wanted = bits(1, 2, 3, np.array([3, 1], np.int64), 5)
    for dtype in (np.uint8, np.int32, np.uint64):
        assert np.array_equal(bits(1, 2, 3, np.array([3, 1], dtype), 5), wanted)


def test_uses_stay_apart():
    assert len({philox_xp.SHUFFLE, philox_xp.AUGMENT, philox_xp.DROPOUT - 1, philox_xp.DROPOUT}) == 4


EDGES = np.array([0, 1, 2**31 - 1, 2**31, ONES - 1, ONES], np.uint32)


@pytest.mark.parametrize("limit", [1, 2, 9, 1024, 50_000, 2**32])
def test_below_is_the_high_word_of_the_product(limit):
    found = below(EDGES, limit)
    assert found.dtype == np.int64
    assert found.tolist() == [int(draw) * limit // 2**32 for draw in EDGES]
    assert found.max() == limit - 1


def test_below_reaches_every_value_equally_often():
    draws = bits(5, 0, 0, np.arange(1000), 90).ravel()
    counts = np.bincount(below(draws, 9), minlength=9)
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert len(counts) == 9
    assert chi_squared < 26.1  # 8 degrees of freedom; larger in a case of 1,000


def test_keep_compares_with_a_threshold():
    assert keep(EDGES, 0.0).all()
    assert not keep(EDGES, 1.0).any()
    assert keep(EDGES, 0.5).tolist() == [False, False, False, True, True, True]
    assert keep(EDGES, 2**-32).tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_keep_rate(p):
    kept = keep(bits(5, 0, 0, np.arange(1000), 100), p)
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / kept.size)


def test_every_bit_is_fair_and_neighbours_are_not_alike():
    draws = bits(0, 0, 0, np.arange(2000), 8)
    as_bits = (draws[..., None] >> np.arange(32, dtype=np.uint32)) & 1  # (sample, element, bit)
    assert abs(as_bits.mean((0, 1)) - 0.5).max() < 5 * 0.5 / math.sqrt(draws.size)
    for axis in (0, 1):
        changed = np.diff(as_bits.astype(np.int8), axis=axis) != 0
        assert abs(changed.mean() - 0.5) < 5 * 0.5 / math.sqrt(changed.size)
