"""The simulator finds every planted mistake, says where, and says nothing of the same kernel without the mistake."""

import re
from pathlib import Path

import numpy as np
import pytest
from gpucnn_kernels.sim import KernelFault, RawModule

TEXT = '#line 1 "plants.cu"\n' + (Path(__file__).parent / "plants.cu").read_text()
ORDERS = ("forward", "reverse", "random")
BLOCK, BLOCKS = 64, 2

# kernel: kind, and in forward order the thread and the block that are named
PLANTS = {
    "race_neighbour": ("race", 1, 0),
    "race_mirror": ("race", 32, 0),
    "race_tile_loop": ("race", 1, 0),
    "race_warp_synchronous": ("race", 1, 0),
    "race_no_atomic": ("race", 1, 0),
    "race_between_blocks": ("race", 0, 1),
    "race_read_between_blocks": ("race", 0, 1),
    "race_same_value": ("race", 1, 0),
    "race_shuffle_is_no_barrier": ("race", 0, 0),
    "race_half_a_warp": ("race", 16, 0),
    "race_atomic_and_plain": ("race", 40, 0),
    "race_hand_shake": ("race", 0, 1),
    "race_bytes": ("race", 3, 0),
    "bounds_last_block": ("out-of-bounds", 63, 1),
    "bounds_before": ("out-of-bounds", 0, 0),
    "bounds_far": ("out-of-bounds", 3, 0),
    "bounds_wild": ("out-of-bounds", 3, 0),
    "bounds_null": ("out-of-bounds", 0, 0),
    "bounds_dynamic": ("out-of-bounds", 63, 0),
    "bounds_row": ("out-of-bounds", 15, 0),
    "unwritten_shared": ("uninitialised", 0, 0),
    "unwritten_halo": ("uninitialised", 63, 0),
    "unwritten_in_this_block": ("uninitialised", 0, 1),
    "barrier_two_places": ("divergent-barrier", 3, 0),
    "barrier_early_return": ("divergent-barrier", 0, 0),
    "barrier_trip_count": ("divergent-barrier", 7, 0),
    "deadlock_shuffle_and_barrier": ("deadlock", 16, 0),
    "deadlock_syncwarp": ("deadlock", 1, 0),
    "mask_without_own_lane": ("bad-mask", 16, 0),
    "mask_two_opinions": ("bad-mask", 4, 0),
    "mask_two_operations": ("bad-mask", 16, 0),
    "misaligned_float4": ("misaligned", 0, 0),
    "misaligned_shared": ("misaligned", 0, 0),
    "division_by_zero": ("division-by-zero", 3, 0),
    "asserted": ("assertion", 9, 0),
}
# One block where the mistake is inside a block: the twins of these write the same outputs in every block.
ONE_BLOCK = {name for name in PLANTS if not re.search(r"block|hand_shake|bounds_last", name)}
each_plant = pytest.mark.parametrize("name", PLANTS)
each_order = pytest.mark.parametrize("order", ORDERS)


def marked(name, mark):
    """The lines of the kernel `name` that carry `mark`."""
    lines = TEXT.splitlines()[1:]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"PLANT({name})"))
    end = next(i for i in range(start, len(lines)) if lines[i] == "}")
    return {f"plants.cu:{i + 1}" for i in range(start, end) if mark in lines[i].partition("//")[2].split()}


def launch(name, bug, check, order="forward", seed=0):
    """The outputs y (128,) of the kernel, which were NaN before, or zeros where it adds to them."""
    blocks = 1 if name in ONE_BLOCK else BLOCKS
    x = np.random.default_rng(0).standard_normal(BLOCK * BLOCKS).astype(np.float32)
    y = np.zeros_like(x)
    function = RawModule(code=TEXT, check=check, order=order, seed=seed).get_function(name)
    function((blocks,), (BLOCK,), (x, y, np.int32(x.size), np.int32(bug)), shared_mem=4 * 256)
    return y


@each_plant
@each_order
def test_a_mistake_is_found(name, order):
    kind, thread, block = PLANTS[name]
    with pytest.raises(KernelFault) as caught:
        launch(name, bug=1, check=True, order=order)
    fault = caught.value
    assert (fault.kind, fault.kernel) == (kind, name)
    here, other = marked(name, "FAULT"), marked(name, "OTHER")
    assert here
    if order == "forward":
        assert (fault.thread, fault.block) == ((thread, 0, 0), (block, 0, 0))
        assert fault.lines[0] in here
        assert set(fault.lines[1:]) <= other
    assert set(fault.lines) <= here | other
    assert fault.lines
    assert all(part in str(fault) for part in (kind, name, *fault.lines))


@each_plant
def test_the_kernel_without_it_is_clean(name):
    expected = launch(name, bug=0, check=False)
    for order in ORDERS:
        for seed in range(1 + 2 * (order == "random")):
            np.testing.assert_allclose(launch(name, 0, True, order, seed), expected, rtol=1e-6)


def test_the_plants_are_the_kernels_of_the_text():
    assert set(re.findall(r"^PLANT\((\w+)\)", TEXT, re.MULTILINE)) == set(PLANTS)
