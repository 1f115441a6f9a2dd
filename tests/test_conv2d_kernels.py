"""conv2d in CUDA C and in Numba, beyond the shape table: the rungs of its ladder, its tiles, splits and workspace."""

from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
from closeness import assert_close
from gpucnn_kernels import cases, check, conv2d_xp, convolution, load
from gpucnn_kernels.sim import mode

PASSES = ["forward", "backward_input", "backward_weight"]
RUNGS = [("raw", "naive"), ("raw", "tiled"), ("numba", "naive")]  # the shape table tries the fastest ones


@pytest.fixture(params=["raw", "numba"])
def conv2d(request):
    return loaded(request.param)


def loaded(impl):
    if impl == "numba":
        pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    return load("conv2d", impl)


def drawn(x_shape, w_shape, stride, padding, seed=0):
    """float32 x, w, b and gy, of at most 1 in size."""
    rng = np.random.default_rng(seed)
    g = convolution.geometry(x_shape, w_shape, stride, padding)
    shapes = x_shape, w_shape, (g.co,), (g.n, g.co, g.oh, g.ow)
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]


def all_passes(conv2d, x, w, b, gy, stride, padding):
    """[y, gx, gw, gb]."""
    y = conv2d.forward(x, w, b, stride, padding)
    gx = conv2d.backward_input(gy, w, x.shape, stride, padding)
    return [y, gx, *conv2d.backward_weight(gy, x, w.shape, stride, padding)]


def assert_right(conv2d, x_shape, w_shape, stride, padding):
    arrays = drawn(x_shape, w_shape, stride, padding)
    expected = all_passes(conv2d_xp, *(array.astype(np.float64) for array in arrays), stride, padding)
    window, pixels = prod(w_shape[2:]), arrays[3].size // w_shape[0]
    terms = x_shape[1] * window + 1, w_shape[0] * window, pixels, pixels
    results = zip(all_passes(conv2d, *arrays, stride, padding), expected, terms, ("y", "gx", "gw", "gb"), strict=True)
    for actual, exact, count, name in results:
        assert_close(actual, exact, count, 1, np.float32, name)


@pytest.mark.parametrize("impl, rung", RUNGS)
def test_every_rung_is_right(impl, rung):
    module = loaded(impl)
    functions = {name: getattr(module, f"{name}_{rung}") for name in PASSES if hasattr(module, f"{name}_{rung}")}
    assert "forward" in functions
    tried = [case for case in cases.table("conv2d") if case.function in functions]
    verdicts = list(check.check(SimpleNamespace(**functions), tried))
    assert len(verdicts) == len(tried) >= 13
    assert [f"{v.case}: {v.fault}" for v in verdicts if v.fault] == []


def test_the_last_rung_is_what_the_op_runs(conv2d):
    for name in PASSES:
        assert getattr(conv2d, f"{name}_gemm") is getattr(conv2d, name)


@pytest.mark.parametrize("channels", [8, 9, 16, 17, 32, 33, 64, 65])
def test_every_tile_of_channels_both_ways(conv2d, channels):
    assert_right(conv2d, (2, channels, 5, 7), (3, channels, 3, 2), (2, 1), (1, 1))
    assert_right(conv2d, (2, 3, 5, 7), (channels, 3, 3, 2), (1, 2), (0, 1))


@pytest.mark.parametrize("n", [127, 128, 129, 512, 513])
def test_pixels_around_the_borders_of_blocks_and_splits(conv2d, n):
    assert_right(conv2d, (n, 2, 1, 1), (4, 2, 1, 1), (1, 1), (0, 0))
    assert_right(conv2d, (n, 2, 1, 1), (33, 2, 1, 1), (1, 1), (0, 0))


@pytest.mark.parametrize("ci", [31, 32, 33])
def test_taps_around_the_border_of_a_block(conv2d, ci):
    """32 channels of 2 x 2 fill a block of taps, so that the bias's gradient is alone in the next."""
    assert_right(conv2d, (2, ci, 4, 3), (5, ci, 2, 2), (1, 1), (0, 0))


@pytest.mark.parametrize("stride, padding", [((3, 2), (3, 3)), ((4, 5), (0, 1)), ((1, 3), (2, 0))])
def test_strides_beyond_the_kernel_and_padding_beyond_it(conv2d, stride, padding):
    assert_right(conv2d, (3, 2, 7, 11), (9, 2, 2, 3), stride, padding)


def test_the_same_bits_in_every_schedule(conv2d):
    arguments = *drawn((5, 3, 12, 11), (10, 3, 3, 5), (1, 2), (1, 0)), (1, 2), (1, 0)
    first = all_passes(conv2d, *arguments)
    assert convolution.partial_shape(convolution.geometry((5, 3, 12, 11), (10, 3, 3, 5), (1, 2), (1, 0)))[0] > 1
    for order in ("forward", "reverse", "random"):
        with mode(order=order, seed=7):
            for result, again in zip(first, all_passes(conv2d, *arguments), strict=True):
                np.testing.assert_array_equal(result, again, err_msg=order)


def test_padding_of_images_that_are_not_finite_stays_zero(conv2d):
    """What lies behind an image's rows is the next row, not padding: nothing of it may reach a border."""
    x, w, b, gy = drawn((3, 2, 4, 4), (5, 2, 3, 3), (1, 1), (1, 1))
    x[1], gy[1] = np.nan, np.inf
    y, gx = conv2d.forward(x, w, b, (1, 1), (1, 1)), conv2d.backward_input(gy, w, x.shape, (1, 1), (1, 1))
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
    assert not np.isfinite(gx[1]).any() and np.isfinite(gx[[0, 2]]).all()


def test_a_workspace_is_used_and_its_contents_do_not_matter(conv2d):
    shapes = (5, 3, 12, 11), (10, 3, 3, 5), (1, 1), (0, 0)
    x, w, _, gy = drawn(*shapes)
    expected = conv2d.backward_weight(gy, x, w.shape, *shapes[2:])
    size = convolution.workspace_size(*shapes)
    workspace = np.full(size + 5, np.nan, np.float32)
    for _ in range(2):  # the second time it holds what the first has left
        for result, exact in zip(
            conv2d.backward_weight(gy, x, w.shape, *shapes[2:], workspace=workspace), expected, strict=True
        ):
            np.testing.assert_array_equal(result, exact)
    assert np.isfinite(workspace[:size]).all() and np.isnan(workspace[size:]).all()
    with pytest.raises(ValueError, match=rf"workspace has {size - 1} elements, conv2d\.backward_weight needs {size}"):
        conv2d.backward_weight(gy, x, w.shape, *shapes[2:], workspace=workspace[: size - 1])


def test_a_batch_of_none(conv2d):
    y, gx, gw, gb = all_passes(conv2d, *drawn((0, 3, 5, 5), (4, 3, 3, 3), (1, 1), (0, 0)), (1, 1), (0, 0))
    assert y.shape == (0, 4, 3, 3) and gx.shape == (0, 3, 5, 5)
    np.testing.assert_array_equal(gw, np.zeros((4, 3, 3, 3)))
    np.testing.assert_array_equal(gb, np.zeros(4))


@pytest.mark.parametrize("pixels", [1, 127, 128, 129, 4096, 100_003, 25_690_112])
@pytest.mark.parametrize("co, taps", [(6, 75), (16, 150), (64, 27), (192, 576), (256, 2304), (4096, 4096)])
def test_splits_cover_the_pixels_once(pixels, co, taps):
    g = convolution.Geometry(1, taps, 1, pixels, co, 1, 1, 1, 1, 0, 0, 1, pixels)
    count, chunk = convolution.splits(g)
    assert count * chunk >= pixels > (count - 1) * chunk
    assert chunk % 32 == 0
    assert count * co * (taps + 1) < max(2**24, 2 * co * taps)  # the workspace stays small beside the weights


X, W = np.zeros((2, 3, 6, 5), np.float32), np.zeros((4, 3, 3, 3), np.float32)
GY, HUGE = np.zeros((2, 4, 4, 3), np.float32), np.broadcast_to(np.float32(0), (2**26, 3, 6, 5))
NO = (1, 1), (0, 0)


@pytest.mark.parametrize(
    "error, text, call",
    [
        (ValueError, r"x has 3 channels .* w is for 2", lambda m: m.forward(X, W[:, :2].copy(), None, *NO)),
        (ValueError, r"b has shape \(3,\), expected \(4,\)", lambda m: m.forward(X, W, np.zeros(3, np.float32), *NO)),
        (ValueError, r"out has shape .* expected \(2, 4, 4, 3\)", lambda m: m.forward(X, W, None, *NO, out=X)),
        (ValueError, "larger than its input", lambda m: m.forward(X[:, :, :2].copy(), W, None, *NO)),
        (ValueError, r"gy has shape .* expected \(2, 4, 4, 3\)", lambda m: m.backward_input(X, W, X.shape, *NO)),
        (ValueError, r"out has shape .* expected \(2, 3, 6, 5\)", lambda m: m.backward_input(GY, W, X.shape, *NO, GY)),
        (ValueError, r"gy has shape", lambda m: m.backward_weight(GY[:1], X, W.shape, *NO)),
        (ValueError, r"out\[1\] has shape", lambda m: m.backward_weight(GY, X, W.shape, *NO, (W, X))),
        (TypeError, "float64", lambda m: m.forward(X.astype(np.float64), W, None, *NO)),
        (ValueError, "contiguous", lambda m: m.forward(X.transpose(0, 1, 3, 2), W, None, *NO)),
        (NotImplementedError, "int32", lambda m: m.forward(HUGE, W, None, *NO)),
        (NotImplementedError, "int32", lambda m: m.backward_input(GY, W, HUGE.shape, (1, 1), (0, 0))),
    ],
)
def test_errors(conv2d, error, text, call):
    with pytest.raises(error, match=text):
        call(conv2d)


def test_a_tile_beyond_shared_memory_is_refused():
    x, w = np.zeros((1, 1, 120, 120), np.float32), np.zeros((1, 1, 110, 110), np.float32)
    with pytest.raises(NotImplementedError, match="kernel 110x110, stride 1,1: 110900 bytes of shared memory"):
        load("conv2d", "raw").forward_tiled(x, w, None, *NO)
