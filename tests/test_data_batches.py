"""Batches against a loop over single pictures that draws its own Philox words."""

import ast
import inspect
from itertools import islice

import numpy as np
import pytest
from data_files import philox_words, shuffled
from gpucnn_kernels.channelslast import channels_last
from gpucnn_kernels.cpu import layout
from gpucnn_kernels.sim import mode

from gpucnn import data
from gpucnn.backend import CPU, Device
from gpucnn.data import Batches, batches, order
from gpucnn.errors import UsageError

MEAN, STD = (120.0, 99.5, 7.0), (60.0, 33.3, 1.5)
AUGMENTS = [(), ("crop",), ("flip",), ("cutout",), ("crop", "flip"), ("flip", "cutout"), ("crop", "flip", "cutout")]


def pictures(n=23, shape=(3, 10, 13)):
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n)


def make(x, y, batch_size=8, **options):
    return Batches(x, y, batch_size, device=CPU, mean=MEAN[: x.shape[1]], std=STD[: x.shape[1]], **options)


def test_pictures_that_may_not_be_written_to_are_read():
    """As np.frombuffer and np.load(mmap_mode="r") give them."""
    x, y = pictures()
    expected = [batch.x.copy() for batch in make(x, y).epoch(0)]
    x.flags.writeable = False
    for batch, same in zip(make(x, y).epoch(0), expected, strict=True):
        np.testing.assert_array_equal(batch.x, same)


def naive(picture, augment, seed, epoch, sample, dtype):
    """One picture (c, h, w), pixel by pixel, as the docstring of batches.py has it."""
    c, h, w = picture.shape
    words = philox_words(seed, 1, epoch, sample)
    down, right = (words[0] * 9 >> 32) - 4, (words[1] * 9 >> 32) - 4
    if "crop" not in augment:
        down = right = 0
    cy, cx = divmod(words[3] * h * w >> 32, w)
    out = np.empty((c, h, w), dtype)
    for k in range(c):
        for i in range(h):
            for j in range(w):
                column = w - 1 - j if "flip" in augment and words[2] >> 31 else j
                row, column = i + down, column + right
                inside = 0 <= row < h and 0 <= column < w
                pixel = dtype(picture[k, row, column] if inside else 0)
                out[k, i, j] = (pixel - dtype(MEAN[k])) / dtype(STD[k])
                if "cutout" in augment and -4 <= i - cy < 4 and -4 <= j - cx < 4:
                    out[k, i, j] = 0
    return out


@pytest.mark.parametrize("augment", AUGMENTS, ids="+".join)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_the_naive_loop_bit_for_bit(augment, dtype):
    x, y = pictures()
    seed, epoch = (7 << 32) + 3, 2
    for batch in make(x, y, augment=augment, seed=seed, shuffle=True, dtype=dtype).epoch(epoch):
        assert batch.x.dtype == dtype
        for picture, sample in zip(batch.x, batch.samples, strict=True):
            np.testing.assert_array_equal(picture, naive(x[sample], augment, seed, epoch, int(sample), dtype))


@pytest.mark.parametrize("augment", AUGMENTS, ids="+".join)
@pytest.mark.parametrize("shape", [(3, 10, 13), (1, 1, 1), (2, 3, 2)])
def test_the_kernels_of_the_cpu_give_the_bits_of_the_reference_in_their_own_layout(augment, shape):
    x, y = pictures(37, shape)
    options = {"mean": MEAN[: shape[0]], "std": STD[: shape[0]], "augment": augment, "shuffle": True}
    epochs = [Batches(x, y, 18, device=device, **options).epoch(1) for device in (CPU, Device(kernels="xp"))]
    for ours, theirs in zip(*epochs, strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x)
        lanes = layout.lines(ours.x)
        assert np.shares_memory(lanes, ours.x)
        assert not lanes[..., len(ours.x) :].any()


@pytest.mark.parametrize("tier", ["source", "ptx"])
@pytest.mark.parametrize("kind", ["raw", "tf32", "tf32x3", "bf16"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("augment", AUGMENTS, ids="+".join)
def test_the_kernels_of_a_gpu_give_the_bits_of_the_reference(augment, channels, kind, tier):
    x, y = pictures(37, (channels, 10, 13))
    mean, std = ((MEAN + MEAN)[:channels], (STD + STD)[:channels])
    options = {"mean": mean, "std": std, "augment": augment, "shuffle": True}
    with mode(tier=tier, check=True):
        devices = Device("sim", kernels=kind), Device(kernels="xp")
        epochs = [Batches(x, y, 18, device=device, **options).epoch(1) for device in devices]
        for ours, theirs in zip(*epochs, strict=True):
            for left, right in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(left, right)
            if kind == "raw":
                assert ours.x.flags.c_contiguous
            else:
                assert channels_last(ours.x) is ours.x, "the batch is not in the layout of the kernels"


def test_every_offset_flip_and_centre_occurs():
    x = np.zeros((4000, 1, 12, 12), np.uint8)
    x[:] = 1 + np.arange(144).reshape(12, 12)  # each pixel says where it comes from
    options = {"device": CPU, "mean": (0,), "std": (1,)}
    cropped = next(Batches(x, np.zeros(4000, int), 4000, augment=("crop",), **options).epoch(0)).x
    assert len(np.unique(cropped[:, 0, 6, 6])) == 81
    flipped = next(Batches(x, np.zeros(4000, int), 4000, augment=("flip",), **options).epoch(0)).x
    assert 0.45 < (flipped[:, 0, 0, 0] == 12).mean() < 0.55
    cut = next(Batches(x, np.zeros(4000, int), 4000, augment=("cutout",), **options).epoch(0)).x
    holes = (cut == 0).sum((1, 2, 3))
    assert holes.max() == 64 and holes.min() == 16  # the centre in a corner leaves 4x4 at the least
    assert 0 < (cut[:, 0, 0, 0] == 0).mean() < (cut[:, 0, 6, 6] == 0).mean()


def test_pictures_do_not_depend_on_the_batch_they_are_in():
    x, y = pictures()
    augment = ("crop", "flip", "cutout")

    def by_sample(**options):
        got = make(x, y, augment=augment, seed=4, **options).epoch(1)
        return {int(i): picture for batch in got for picture, i in zip(batch.x, batch.samples, strict=True)}

    whole = by_sample(batch_size=23)
    assert sorted(whole) == list(range(23))
    for other in (by_sample(batch_size=1), by_sample(batch_size=5, shuffle=True)):
        assert sorted(other) == sorted(whole)
        for sample, picture in other.items():
            np.testing.assert_array_equal(picture, whole[sample])


def test_a_seed_gives_the_same_batches_and_another_does_not():
    x, y = pictures(100)
    options = {"augment": ("crop", "flip"), "shuffle": True}
    first, again, other = (list(make(x, y, seed=s, **options).epoch(3)) for s in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0].samples, other[0].samples)


def test_epochs_differ_and_can_be_asked_for_in_any_order():
    x, y = pictures(100)
    loader = make(x, y, shuffle=True, augment=("crop",))
    second, first = list(loader.epoch(1)), list(loader.epoch(0))
    assert not np.array_equal(first[0].samples, second[0].samples)
    np.testing.assert_array_equal(next(loader.epoch(1)).x, second[0].x)
    still = make(x, y, augment=("crop",))
    assert not np.array_equal(next(still.epoch(0)).x, next(still.epoch(1)).x)


def test_two_passes_can_interleave():
    x, y = pictures()
    loader = make(x, y, augment=("crop",))
    a, b = loader.epoch(0), loader.epoch(0)
    kept = next(a).x.copy(), next(b).x
    np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_shuffle_is_the_permutation_of_sorted_philox_keys(seed):
    x, y = pictures(200, (1, 2, 2))
    for epoch in (0, 1):
        samples = np.concatenate([b.samples for b in make(x, y, seed=seed, shuffle=True).epoch(epoch)])
        assert samples.tolist() == shuffled(200, seed, epoch)
        assert samples.dtype == np.int32 and sorted(samples.tolist()) == list(range(200))


def test_without_shuffle_the_order_is_that_of_the_data_and_labels_go_along():
    x, y = pictures()
    got = list(make(x, y).epoch(5))
    assert np.concatenate([b.samples for b in got]).tolist() == list(range(23))
    assert np.concatenate([b.y for b in got]).tolist() == y.tolist()
    shuffled_batches = list(make(x, y, shuffle=True).epoch(5))
    assert all((b.y == y[b.samples]).all() and b.y.dtype == np.int32 for b in shuffled_batches)


@pytest.mark.parametrize(
    ("n", "size", "drop", "sizes"),
    [(23, 8, False, [8, 8, 7]), (23, 8, True, [8, 8]), (24, 8, True, [8] * 3), (3, 8, False, [3])],
)
def test_number_and_sizes_of_batches(n, size, drop, sizes):
    x, y = pictures(n)
    loader = make(x, y, size, drop_last=drop, augment=("crop",))
    assert [len(b.x) for b in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes) and loader.examples == sum(sizes)


def test_the_data_are_not_written_to():
    x, y = pictures()
    before = x.copy()
    for _ in make(x, y, augment=("crop", "flip", "cutout")).epoch(0):
        pass
    np.testing.assert_array_equal(x, before)


def test_mean_and_std_of_a_data_set_normalise_it():
    digits = data.load("digits")
    loader = Batches(
        digits.train_x, digits.train_y, 2000, device=CPU, mean=digits.mean, std=digits.std, dtype="float64"
    )
    (batch,) = islice(loader.epoch(0), 1)
    assert abs(batch.x.mean()) < 1e-12 and abs(batch.x.std() - 1) < 1e-12


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"augment": ("crop", "flp")}, "unknown augmentation 'flp'", "did you mean flip"),
        ({"augment": ("zzz",)}, "unknown augmentation 'zzz'", "crop, flip, cutout"),
        ({"batch_size": 0}, "batch size 0", "at least 1"),
        ({"batch_size": 24, "drop_last": True}, "24 with 23 examples", "at most 23"),
    ],
)
def test_wrong_arguments(options, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        make(*pictures(), **options)
    assert hint in caught.value.hint


@pytest.mark.parametrize("module", [batches, order])
def test_code_for_the_device_does_not_name_numpy(module):
    tree = ast.parse(inspect.getsource(module))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not names & {"numpy", "cupy"}
