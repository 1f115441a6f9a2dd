"""Kernels of the ops of a network but convolution: what the shape table of kernels/cases.py leaves open.

NumPy arrays run on the simulator, a GPU's on the GPU: the `device` fixture says which.
"""

from itertools import pairwise

import gpucnn_kernels as kernels
import numpy as np
import pytest
from closeness import assert_close
from gpucnn_kernels import batch_norm_raw, cross_entropy_raw, philox_xp
from gpucnn_kernels.linear_raw import workspace_size
from gpucnn_kernels.sim import mode

from gpucnn.backend import CPU, to_host
from gpucnn.gradcheck import tie_free

SINGLE = np.float32
OPS = {
    "maxpool2d": ("raw", "numba"),
    "avgpool2d": ("raw", "numba"),
    "globalavgpool2d": ("raw", "numba"),
    "batch_norm": ("raw",),
    "cross_entropy": ("raw",),
    "dropout": ("raw",),
    "linear": ("raw",),
}
each_kind = pytest.mark.parametrize("impl", ["raw", "numba"])
INF, NAN = np.inf, np.nan


def calls(op):
    """(function, arguments): one call of each function, with sizes that fill no block and no warp."""
    rng = np.random.default_rng(0)
    x, gp, g0 = (tie_free(rng, shape, SINGLE) for shape in ((2, 3, 7, 6), (2, 3, 4, 3), (2, 3, 1, 1)))
    window = (3, 2), (2, 2), (1, 0)
    logits, target = tie_free(rng, (300, 230), SINGLE), rng.integers(0, 37, 300).astype(np.int32)  # three blocks
    place = 0.4, 2**40 + 3, 17, 2, np.array([9, 4], np.int32)
    y, w, gy = (tie_free(rng, shape, SINGLE) for shape in ((5, 300), (67, 300), (5, 67)))
    wide, of_channels = tie_free(rng, (3, 2, 47, 31), SINGLE), [np.abs(tie_free(rng, (2,), SINGLE)) for _ in range(4)]
    return {
        "maxpool2d": [
            ("forward", (x, *window)),
            ("backward", (gp, rng.integers(0, 6, gp.shape).astype(np.uint8), x.shape, *window)),
        ],
        "avgpool2d": [("forward", (x, *window)), ("backward", (gp, x.shape, *window))],
        "globalavgpool2d": [("forward", (x,)), ("backward", (g0, x.shape))],
        "batch_norm": [  # two parts of each channel
            ("forward", (wide, *of_channels, np.array(6), 0.1, 1e-5)),
            ("evaluate", (wide, *of_channels, 1e-5)),
            ("backward", (wide[::-1].copy(), wide, *of_channels[:3], True)),
        ],
        "cross_entropy": [
            ("forward", (logits, target, 0.1)),
            ("forward", (logits[:150, :37].copy(), target[:150], 0.1, np.array([3.5, 7], SINGLE))),
        ],
        "dropout": [(name, (x, *place, channels)) for name in ("forward", "backward") for channels in (False, True)],
        "linear": [
            ("forward", (y, w, w[:, 0].copy())),
            ("backward_input", (gy, w)),
            ("backward_weight", (gy, y)),
        ],
    }[op]


CALLS = [(op, impl, name, arguments) for op in OPS for impl in OPS[op] for name, arguments in calls(op)]


def run(op, impl, name, arguments, device, **more):
    """The results of one call on `device`, as a tuple of NumPy arrays."""
    arguments = [device.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    results = getattr(kernels.load(op, impl), name)(*arguments, **more)
    return tuple(to_host(r) for r in (results if isinstance(results, tuple) else (results,)))


@pytest.mark.parametrize("op, impl, name, arguments", CALLS)
def test_out_is_filled_and_returned(op, impl, name, arguments, device):
    """The same bits with and without buffers; the shapes and dtypes are the reference's."""
    fresh = run(op, impl, name, arguments, device)
    expected = run(op, "xp", name, arguments, device)
    assert [(r.shape, r.dtype) for r in fresh] == [(r.shape, r.dtype) for r in expected]
    buffers = tuple(device.xp.full_like(device.asarray(result), 77) for result in fresh)
    for result, buffer in zip(
        run(op, impl, name, arguments, device, out=buffers if len(buffers) > 1 else buffers[0]), buffers, strict=True
    ):
        assert np.shares_memory(result, buffer) or device.type != "cpu"
        np.testing.assert_array_equal(result, to_host(buffer))
    for result, buffer in zip(fresh, buffers, strict=True):
        np.testing.assert_array_equal(result, to_host(buffer))


@pytest.mark.parametrize("op, impl, name, arguments", [call for call in CALLS if call[1] == "numba"])
def test_numba_and_cuda_c_sum_in_one_order(op, impl, name, arguments, device):
    """They are one text in two languages, so their results are the same bits."""
    for a, b in zip(*(run(op, kind, name, arguments, device) for kind in ("raw", "numba")), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op, impl, name, arguments", CALLS)
def test_results_do_not_depend_on_the_schedule(op, impl, name, arguments):
    """The same bits whichever thread and block comes first: what is needed for runs to be repeatable on a GPU."""
    results = []
    for order in ("forward", "reverse", "random"):
        with mode(order=order, seed=3):
            results.append(run(op, impl, name, arguments, CPU))
    for one, other in pairwise(results):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


# errors


def first_call(op):
    return calls(op)[0][1]


@pytest.mark.parametrize("op, impl", [(op, impl) for op in OPS for impl in OPS[op]])
def test_doubles_and_transposed_arrays_are_refused(op, impl, device):
    x, *others = first_call(op)
    with pytest.raises(TypeError, match="is an array of float32, got float64"):
        run(op, impl, "forward", (x.astype(np.float64), *others), device)
    others = [device.asarray(a) if isinstance(a, np.ndarray) else a for a in others]
    with pytest.raises(ValueError, match="is not C-contiguous"):
        kernels.load(op, impl).forward(device.xp.asfortranarray(device.asarray(x)), *others)


def zeros(*shape, dtype=SINGLE):
    return np.zeros(shape, dtype)


LABELS = zeros(2, dtype=np.int32)


@pytest.mark.parametrize(
    "op, name, arguments, text",
    [
        ("maxpool2d", "backward", (zeros(1, 1, 2, 2), zeros(1, 1, 2, 3, dtype=np.uint8), (1, 1, 4, 4)), "code has"),
        ("maxpool2d", "backward", (zeros(1, 1, 2, 3), zeros(1, 1, 2, 3, dtype=np.uint8), (1, 1, 4, 4)), "gy has shape"),
        ("avgpool2d", "backward", (zeros(1, 2, 2, 2), (1, 1, 4, 4)), r"gy has shape \(1, 2, 2, 2\), expected"),
        ("avgpool2d", "forward", (zeros(1, 1, 1, 1),), "kernel 2x2 is larger than its input 1x1"),
        ("globalavgpool2d", "backward", (zeros(1, 2, 2, 1), (1, 2, 4, 4)), "gy has shape"),
        ("batch_norm", "evaluate", (zeros(3, 4), *[zeros(4)] * 3, zeros(3), 0.1), r"var has shape \(3,\), expected"),
        ("batch_norm", "backward", (zeros(3, 4), zeros(4, 4), *[zeros(4)] * 3, True), "gy has shape"),
        ("cross_entropy", "forward", (zeros(3, 4), LABELS, 0.0), r"target has shape \(2,\), expected \(3,\)"),
        ("cross_entropy", "forward", (zeros(2, 4), LABELS, 0.0, zeros(3)), r"sums has shape \(3,\), expected \(2,\)"),
        ("dropout", "forward", (zeros(3, 4), 0.5, 0, 0, 0, LABELS, False), r"samples has shape \(2,\)"),
        ("linear", "forward", (zeros(3, 4), zeros(2, 5), None), r"w has shape \(2, 5\), expected \(2, 4\)"),
        ("linear", "forward", (zeros(3, 4), zeros(2, 4), zeros(4)), r"b has shape \(4,\), expected \(2,\)"),
        ("linear", "backward_input", (zeros(3, 4), zeros(2, 4)), r"gy has shape \(3, 4\), expected \(3, 2\)"),
        ("linear", "backward_weight", (zeros(3, 4), zeros(2, 4)), r"x has shape \(2, 4\), expected \(3, 4\)"),
    ],
)
def test_shapes_that_do_not_go_together(op, name, arguments, text, device):
    window = ((2, 2), (2, 2), (0, 0)) if op in ("maxpool2d", "avgpool2d") else ()
    for impl in OPS[op]:
        with pytest.raises(ValueError, match=text):
            run(op, impl, name, (*arguments, *window), device)


@each_kind
def test_a_byte_names_255_places(impl, device):
    with pytest.raises(NotImplementedError, match="max pooling over 16x16 places: a window has at most 255"):
        run("maxpool2d", impl, "forward", (zeros(1, 1, 16, 16), (16, 16), (1, 1), (0, 0)), device)


@pytest.mark.parametrize("op, impl", [(op, impl) for op in OPS for impl in OPS[op]])
def test_more_elements_than_int32_can_name(op, impl):
    """Said before anything is computed; the array here is one number, spread."""
    huge = np.broadcast_to(
        SINGLE(0), (2**16, 2**15) if op in ("cross_entropy", "linear", "dropout") else (1, 1, 2**16, 2**15)
    )
    more = {
        "maxpool2d": ((2, 2), (2, 2), (0, 0)),
        "avgpool2d": ((2, 2), (2, 2), (0, 0)),
        "globalavgpool2d": (),
        "batch_norm": (*[zeros(1)] * 4, np.array(0), 0.1, 1e-5),
        "cross_entropy": (LABELS, 0.0),
        "dropout": (0.5, 0, 0, 0, LABELS, False),
        "linear": (zeros(1, 2**15), None),
    }[op]
    with pytest.raises(NotImplementedError, match="the kernels count in int32"):
        kernels.load(op, impl).forward(huge, *more)


# max pooling


@each_kind
@pytest.mark.parametrize(
    "window, best, place",
    [
        ([-INF, -INF, -INF, -INF], -INF, 0),
        ([-INF, -INF, -3, -INF], -3, 2),
        ([1, 2, 2, 1], 2, 1),
        ([0.0, -0.0, 0.0, 0.0], 0, 0),
        ([INF, NAN, INF, NAN], NAN, 1),
        ([NAN, INF, NAN, 5], NAN, 0),
        ([5, INF, INF, 5], INF, 1),
    ],
)
def test_the_first_of_the_largest_wins_and_nan_over_all(impl, window, best, place, device):
    x = np.array(window, SINGLE).reshape(1, 1, 2, 2)
    y, code = run("maxpool2d", impl, "forward", (x, (2, 2), (1, 1), (0, 0)), device)
    np.testing.assert_array_equal(y, np.full((1, 1, 1, 1), best))
    assert code.item() == place


@each_kind
def test_padding_never_wins(impl, device):
    """An image of minus infinity: the first place of a window that is in the image, and its gradient goes there."""
    x = np.full((1, 1, 3, 3), -INF, SINGLE)
    window = (3, 3), (2, 2), (1, 1)
    y, code = run("maxpool2d", impl, "forward", (x, *window), device)
    assert (y == -INF).all()
    assert code.ravel().tolist() == [4, 3, 1, 0]
    gy = np.array([1, 2, 4, 8], SINGLE).reshape(1, 1, 2, 2)
    (gx,) = run("maxpool2d", impl, "backward", (gy, code, x.shape, *window), device)
    assert gx.ravel().tolist() == [1, 2, 0, 4, 8, 0, 0, 0, 0]


@each_kind
def test_a_dead_output_passes_nothing(impl, device):
    """Code 255, in the largest window, whose last place is 254."""
    shape = 1, 1, 17, 15
    for code, expected in ((254, 1), (255, 0)):
        arguments = np.ones((1, 1, 1, 1), SINGLE), np.full((1, 1, 1, 1), code, np.uint8)
        (gx,) = run("maxpool2d", impl, "backward", (*arguments, shape, shape[2:], (1, 1), (0, 0)), device)
        assert gx.sum() == gx[0, 0, -1, -1] == expected


# batch normalisation


@pytest.mark.parametrize("impl", ["raw", "cpu"])
def test_a_large_mean_does_not_cancel_the_variance(impl):
    """At a mean of a thousand deviations, squares of float32 have no digit left for the variance."""
    x = (1000 + tie_free(np.random.default_rng(0), (5, 3, 40, 30), np.float64)).astype(SINGLE)
    others, count = [np.ones(3, SINGLE)] * 4, np.array(0)
    _, mean, scale, *_ = kernels.load("batch_norm", impl).forward(x, *others, count, 0.1, 1e-5)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / np.sqrt(exact.var((0, 2, 3)) + 1e-5), rtol=1e-4)


# cross entropy


def test_an_impossible_class_costs_nothing_unless_it_is_wanted(device):
    logits, target = np.array([[-INF, 1, 2], [0, -INF, 0]], SINGLE), np.array([2, 0], np.int32)
    loss, _, gx = run("cross_entropy", "raw", "forward", (logits, target, 0.0), device)
    assert loss == pytest.approx((np.log1p(np.exp(-1)) + np.log(2)) / 2, rel=1e-6)
    assert gx[0, 0] == gx[1, 1] == 0
    loss, *_ = run("cross_entropy", "raw", "forward", (logits, target, 0.1), device)
    assert loss == INF


@pytest.mark.parametrize("logit", [NAN, INF])
def test_a_row_without_an_answer_spoils_its_own_row_alone(logit, device):
    logits = np.ones((3, 40), SINGLE)
    logits[1, 33] = logit
    loss, totals, gx = run("cross_entropy", "raw", "forward", (logits, np.zeros(3, np.int32), 0.0), device)
    assert np.isnan(loss) and np.isnan(totals[0]) and totals[1] == 2
    assert np.isnan(gx[1]).all()
    assert np.isfinite(gx[[0, 2]]).all()


ROWS = [  # logits of a row, and the answer that they are
    ((0.0, 1.0, 1.0), 1),
    ((1.0, 1.0, 1.0), 0),
    ((-INF, -INF, -1.0), 2),
    ((-INF, -INF, -INF), 0),
    ((3.0, NAN, INF), 1),
    ((3.0, NAN, NAN), 1),
    ((NAN, 5.0, NAN), 0),
]


@pytest.mark.parametrize("impl", ["xp", "raw", "cpu"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_answer_is_the_first_of_the_largest(impl, device):
    where = CPU if impl == "cpu" else device
    logits = np.array([row for row, _ in ROWS], SINGLE)
    for answer in range(3):
        arguments = logits, np.full(len(ROWS), answer, np.int32), 0.0, np.array([10, 20], SINGLE)
        _, totals, _ = run("cross_entropy", impl, "forward", arguments, where)
        assert totals[1] == 20 + sum(right == answer for _, right in ROWS)


@pytest.mark.parametrize("impl", ["xp", "raw", "cpu"])
@pytest.mark.parametrize("shape", [(19, 37), (300, 230)])
def test_sums_are_added_to_in_place(impl, shape, device):
    """Twice the same batch, of one block and of three."""
    where = CPU if impl == "cpu" else device
    rng = np.random.default_rng(0)
    logits, target = tie_free(rng, shape, SINGLE), rng.integers(0, shape[1], shape[0]).astype(np.int32)
    target[:7] = logits[:7].argmax(1)
    arguments = [where.asarray(array) for array in (logits, target)]
    loss, batch, gx = kernels.load("cross_entropy", impl).forward(*arguments, 0.1)
    sums = where.asarray(np.array([0.5, 100], SINGLE))
    for times in (1, 2):
        out = None, sums, None
        again = kernels.load("cross_entropy", impl).forward(*arguments, 0.1, sums, out)
        assert again[1] is sums
        np.testing.assert_array_equal(to_host(again[0]), to_host(loss))
        np.testing.assert_array_equal(to_host(again[2]), to_host(gx))
        right = (logits.argmax(1) == target).sum()
        assert right >= 7
        expected = 0.5 + times * len(logits) * float(loss), 100 + times * right
        assert to_host(sums).tolist() == pytest.approx(expected, rel=1e-6)
        assert to_host(batch)[1] == right


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_large_logits_and_many_rows(smoothing, device):
    """More rows than one block computes at a time, logits that exp would overflow."""
    rng = np.random.default_rng(0)
    logits, target = rng.uniform(-300, 300, (2100, 3)).astype(SINGLE), rng.integers(0, 3, 2100).astype(np.int32)
    arguments = logits.astype(np.float64), target, smoothing
    for found, expected, size in zip(
        run("cross_entropy", "raw", "forward", (logits, target, smoothing), device),
        kernels.load("cross_entropy", "xp").forward(*arguments),
        (600, 600 * 2100, 2 / 2100),
        strict=True,
    ):
        assert_close(found, expected, 3, size, SINGLE)


def test_the_workspaces(device):
    """The caller's memory is used where it is large enough, and refused where it is not."""
    logits, target, smoothing = first_call("cross_entropy")
    x, w, b = first_call("linear")
    size = workspace_size(len(x), len(w), x.shape[1])
    assert size == 2 * 5 * 67, "this sum is one that is split"
    assert cross_entropy_raw.workspace_size(*logits.shape) == 6, "two sums of three blocks"
    assert cross_entropy_raw.workspace_size(512, 10) == 0, "one block and one launch"
    normalised = first_call("batch_norm")
    assert batch_norm_raw.workspace_size(3, 2, 47 * 31) == 8, "two numbers for two parts of two channels"
    for op, arguments, needed in (
        ("cross_entropy", (logits, target, smoothing), 6),
        ("linear", (x, w, b), size),
        ("batch_norm", normalised, 8),
    ):
        memory = device.xp.full(needed + 1, 77, SINGLE)
        expected = run(op, "raw", "forward", arguments, device)
        for a, b in zip(run(op, "raw", "forward", arguments, device, workspace=memory), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        assert (to_host(memory)[:-1] != 77).all()
        assert memory[-1] == 77
        with pytest.raises(ValueError, match=f"workspace has {needed - 1} elements, .* needs {needed} here"):
            run(op, "raw", "forward", arguments, device, workspace=memory[: needed - 1])


# dropout


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 7, 2**63 + 5, 2**64 - 1])
@pytest.mark.parametrize("use, epoch", [(16, 0), (17 + 65536, 3), (15, 2**32 - 1)])
@pytest.mark.parametrize("shape, channels", [((3, 13), False), ((3, 2, 3, 5), False), ((3, 13, 2, 5), True)])
def test_draws_are_those_of_the_reference(seed, use, epoch, shape, channels, device):
    samples = np.array([2**31 - 1, 0, 59_999], np.int32)
    elements = shape[1] if channels else int(np.prod(shape[1:]))
    draws = philox_xp.bits(seed, use, epoch, samples, elements)
    ones = np.ones(shape, SINGLE)
    for p in (0.1, 0.5, 0.97):
        (y,) = run("dropout", "raw", "forward", (ones, p, seed, use, epoch, samples, channels), device)
        kept = (draws >= round(p * 2**32)).reshape((*shape[:2], 1, 1) if channels else shape)
        np.testing.assert_array_equal(y, ones * np.where(kept, SINGLE(1 / (1 - p)), SINGLE(0)))


def test_the_threshold_is_met_exactly(device):
    """p such that round(p * 2**32) is one of the draws: that one is kept, and dropped with the next p."""
    samples, where = np.array([5], np.int32), (3, 16, 0)
    draws = philox_xp.bits(*where, samples, 8)[0]
    for draw in (int(d) for d in draws):
        for threshold, kept in ((draw, True), (draw + 1, False)):
            (y,) = run(
                "dropout",
                "raw",
                "forward",
                (np.ones((1, 8), SINGLE), threshold / 2**32, *where, samples, False),
                device,
            )
            assert bool(y[0, list(draws).index(draw)]) == kept


@pytest.mark.parametrize("p", [1.0, 1 - 2**-40])
def test_everything_can_be_dropped(p, device):
    """A probability whose threshold is 2**32, beyond every draw; a NaN and an infinity stay visible."""
    x = np.array([[1, -2, INF, 3, NAN]], SINGLE)
    (y,) = run("dropout", "raw", "forward", (x, p, 0, 16, 0, np.array([0], np.int32), False), device)
    np.testing.assert_array_equal(y, [[0, 0, NAN, 0, NAN]])


# linear


@pytest.mark.parametrize("n, ci, co", [(1, 2048, 10), (3, 129, 1), (66, 257, 65), (130, 16, 130)])
def test_a_wrong_number_stays_where_it_belongs(n, ci, co, device):
    """A NaN in x reaches its row of y alone, an infinity in w its column: nothing is multiplied with padding."""
    rng = np.random.default_rng(0)
    x, w = tie_free(rng, (n, ci), SINGLE), tie_free(rng, (co, ci), SINGLE)
    x[n // 2, ci - 1], w[co // 2, ci - 1] = NAN, INF
    (y,) = run("linear", "raw", "forward", (x, w, None), device)
    finite = np.ones((n, co), bool)
    finite[n // 2], finite[:, co // 2] = False, False
    np.testing.assert_array_equal(np.isfinite(y), finite)


@pytest.mark.parametrize("n, ci, co", [(512, 512, 10), (7, 2048, 10), (2, 1000, 3)])
def test_long_sums_are_split_and_still_right(n, ci, co, device):
    rng = np.random.default_rng(0)
    x, w, gy = (rng.uniform(-1, 1, shape).astype(SINGLE) for shape in ((n, ci), (co, ci), (n, co)))
    assert workspace_size(n, co, ci) > n * co
    for name, arguments, terms in (
        ("forward", (x, w, w[:, 0].copy()), ci),
        ("backward_input", (gy, w), co),
        ("backward_weight", (gy, x), n),
    ):
        exact = [a.astype(np.float64) for a in arguments]
        for found, expected in zip(
            run("linear", "raw", name, arguments, device), run("linear", "xp", name, exact, device), strict=True
        ):
            assert_close(found, expected, terms, 1, SINGLE, name)
