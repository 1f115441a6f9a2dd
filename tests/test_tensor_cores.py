"""The kinds of tensor cores: their errors, the layout of their arrays, and what they refuse."""

import gpucnn_kernels as kernels
import numpy as np
import pytest
from gpucnn_kernels import cases, channelslast
from gpucnn_kernels.sim import mode

import gpucnn.functional as F
from gpucnn import Device, Tensor

pytestmark = pytest.mark.timeout(600)

LIMITS = {"tf32x3": 1e-5, "tf32": 1e-3, "bf16": 1e-2}  # of the norm of a result
each_kind = pytest.mark.parametrize("kind", LIMITS)
NO = (1, 1), (0, 0)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def results_of(case, kind):
    found = getattr(kernels.load(case.op, kind), case.function)(*case.single())
    return found if isinstance(found, tuple) else (found,)


def supported(op, kind):
    """The cases of the shape table with numbers of 24 bits, without the long ones: sums of few terms err most."""
    pools = getattr(kernels.load(op, kind), "POOLS", None)
    return [
        case
        for case in [*cases.table(op), *cases.draws(op, 10)]
        if not case.long and (pools is None or pool_of(case) in pools)
    ]


def pool_of(case):
    return case.arguments[6 if case.function == "backward" else 5]


@each_kind
@pytest.mark.parametrize("op", ["conv2d", "conv2d_relu_maxpool", "linear"])
def test_errors_are_those_of_the_rounded_factors(op, kind):
    worst = 0.0
    for case in supported(op, kind):
        for result, exact in zip(results_of(case, kind), case.expected(), strict=True):
            if exact is not None and exact.dtype == np.float64:  # codes are compared below
                error = np.linalg.norm(result - exact) / max(np.linalg.norm(exact), 1e-30)  # a sum of one may be 0
                assert error <= LIMITS[kind], str(case)
                worst = max(worst, error)
    assert worst > {"tf32x3": 1e-8, "tf32": 1e-4, "bf16": 1e-3}[kind]  # they are rounded, and not more than said


@each_kind
def test_a_code_names_a_pixel_that_is_as_large_as_the_maximum_but_for_rounding(kind):
    conv2d = kernels.load("conv2d", "xp")
    for case in supported("conv2d_relu_maxpool", kind):
        if case.function != "forward" or pool_of(case) != (2, 2):
            continue
        x, w, b, stride, padding, _ = case.arguments
        y, code = results_of(case, kind)
        z = conv2d.forward(x, w, b, stride, padding)[..., : 2 * y.shape[2], : 2 * y.shape[3]]
        windows = z.reshape(*y.shape[:3], 2, y.shape[3], 2).swapaxes(3, 4).reshape(*y.shape, 4)
        named = np.take_along_axis(windows, np.minimum(code, 3)[..., None].astype(int), -1)[..., 0]
        allowed = LIMITS[kind] * np.abs(z).max()
        assert (named >= windows.max(-1) - allowed)[code != 255].all()
        assert (windows.max(-1) <= allowed)[code == 255].all()
        assert ((y == 0) == (code == 255)).all()


def test_three_products_are_as_exact_as_float32():
    """In a sum of 576 terms they are as near as the multiply-adds of the kind raw, far nearer than one product."""
    x, w = drawn(1, 64, 8, 8), drawn(16, 64, 3, 3, seed=1)
    exact = kernels.load("conv2d", "xp").forward(x.astype(np.float64), w.astype(np.float64), None, *NO)
    error = {
        kind: np.abs(kernels.load("conv2d", kind).forward(x, w, None, *NO) - exact).max() for kind in (*LIMITS, "raw")
    }
    assert error["tf32x3"] < 2 * error["raw"] and error["tf32x3"] < 3e-3 * error["tf32"] < 3e-3 * error["bf16"]


# the layout


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 8, 2, 2), (1, 1, 1, 1), (5, 1, 3, 1), (2, 33, 7, 9), (7, 6, 1, 1)])
def test_conversion_to_channels_last(shape):
    x = drawn(*shape)
    y = channelslast.channels_last(x)
    assert np.array_equal(x, y)
    assert channelslast.channels_last(y) is y
    assert y.strides[1] == 4 or shape[1] == 1
    assert np.array_equal(channelslast.channels_last(x.transpose(0, 1, 3, 2)), x.transpose(0, 1, 3, 2))
    assert channelslast.memory(y).flags.c_contiguous and np.shares_memory(channelslast.memory(y), y)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 1), (5, 1, 3, 1), (2, 33, 7, 9), (7, 6, 1, 1)])
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_conversion_from_channels_last(shape, order):
    x = drawn(*shape)
    for y in (channelslast.channels_last(x), x.transpose(0, 1, 3, 2), x):
        with mode(check=True, order=order, seed=0):
            found = channelslast.contiguous(y)
        assert found.flags.c_contiguous and np.array_equal(found, y)
    assert channelslast.contiguous(x) is x


def test_an_array_that_does_not_start_at_16_bytes_is_converted():
    for start in range(1, 5):
        x = drawn(4 * 3 * 3 * 2 + 4).ravel()[start:][:72].reshape(2, 3, 3, 4).transpose(0, 3, 1, 2)
        y = channelslast.channels_last(x)
        assert y.ctypes.data % 16 == 0 and np.array_equal(x, y)


def test_an_array_in_no_known_layout_is_not_taken_for_one():
    with pytest.raises(ValueError, match="in no layout that kernels know"):
        channelslast.memory(drawn(2, 6, 5, 4)[:, ::2])


def lies_at_the_end(x):
    """x in the layout, in memory that ends with the last channel of the last pixel."""
    if x.ndim != 4:
        return x
    n, c, h, w = x.shape
    inner = channelslast.padded(c)
    buffer = np.empty((n * h * w - 1) * inner + c, x.dtype)
    strides = [x.itemsize * step for step in (h * w * inner, 1, w * inner, inner)]
    y = np.lib.stride_tricks.as_strided(buffer, x.shape, strides)
    y[...] = x
    return y


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 8, 3, 4), (1, 1, 1, 1), (3, 5, 1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_an_array_with_all_of_its_memory(shape, dtype):
    x = np.abs(100 * drawn(*shape)).astype(dtype)
    inner = channelslast.padded(shape[1])
    found = channelslast.whole(x)
    assert found.shape == (shape[0], *shape[2:], inner) and found.flags.c_contiguous and found.dtype == dtype
    assert np.array_equal(found[..., : shape[1]].transpose(0, 3, 1, 2), x)
    ours = channelslast.empty(x, shape)
    assert np.shares_memory(channelslast.whole(ours), ours)
    at_the_end = lies_at_the_end(x)
    assert np.shares_memory(channelslast.whole(at_the_end), at_the_end) == (shape[1] == inner)


@pytest.mark.parametrize("needs", [(True, True), (False, True)])
@pytest.mark.parametrize("channels", [6, 8])
def test_nothing_is_read_behind_an_array(channels, needs):
    fused = kernels.load("conv2d_relu_maxpool", "tf32")
    x, w = drawn(2, 5, 6, 6), drawn(channels, 5, 3, 3, seed=1)
    y, code = fused.forward(x, w, None, (1, 1), (1, 1), (2, 2))
    expected = fused.backward(y, code, x, w, (1, 1), (1, 1), (2, 2))
    with mode(check=True):
        found = fused.backward(*map(lies_at_the_end, (y, code, x, w)), (1, 1), (1, 1), (2, 2), needs)
    assert all(np.array_equal(one, other) for one, other in zip(found[1:], expected[1:], strict=True))


@pytest.mark.parametrize("kind", [*LIMITS, "raw"])
def test_weights_are_converted_once_for_both_passes(kind, monkeypatch):
    seen, launch = [], channelslast.kernels.launch
    monkeypatch.setattr(channelslast.kernels, "launch", lambda *a, **k: seen.append(a[3][0].shape) or launch(*a, **k))
    device = Device("sim", kernels=kind)
    x, u, v, w = (Tensor(drawn(*s), True, device) for s in ((2, 6, 5, 5), (6, 6, 3, 3), (7, 6, 3, 3), (9, 63)))
    y = F.conv2d_relu_maxpool(F.conv2d(x, u, padding=1), v)
    F.linear(y.reshape(2, 63), w).sum().backward()
    converted = [seen.count(shape) for shape in (u.shape, v.shape, (*w.shape, 1, 1))]
    assert converted == ([0] * 3 if kind == "raw" else [1] * 3)
    assert all(each.grad.any() for each in (x, u, v, w))


def test_weights_that_need_no_copy_going_forward_are_copied_for_the_way_back_alone(monkeypatch):
    seen, launch = [], channelslast.kernels.launch
    monkeypatch.setattr(channelslast.kernels, "launch", lambda *a, **k: seen.append(a[3][0].shape) or launch(*a, **k))
    device = Device("sim", kernels="tf32")
    x, w = (Tensor(drawn(*shape), True, device) for shape in ((3, 8), (5, 8)))
    y = F.linear(x, w)
    assert seen == []
    (y * y).sum().backward()
    assert seen.count((5, 8, 1, 1)) == 1


@each_kind
def test_results_are_channels_last_and_any_layout_gives_the_same_bits(kind):
    fused = kernels.load("conv2d_relu_maxpool", kind)
    x, w, b = drawn(3, 6, 9, 8), drawn(10, 6, 3, 3, seed=1), drawn(10, seed=2)
    window = (1, 1), (1, 0), (2, 2)
    y, code = fused.forward(x, w, b, *window)
    gy = drawn(*y.shape, seed=3)
    gradients = fused.backward(gy, code, x, w, *window)
    assert channelslast.channels_last(y) is y
    assert channelslast.channels_last(gradients[0]) is gradients[0]
    assert gradients[1].flags.c_contiguous
    other = np.full((3, 9, 8, 8), np.nan, np.float32)[..., :6].transpose(0, 3, 1, 2)  # what fills pixels up is not read
    other[...] = x
    assert channelslast.channels_last(other) is other
    for laid_out in (other, np.asfortranarray(x), np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1]):
        for one, two in zip(fused.forward(laid_out, w, b, *window), (y, code), strict=True):
            assert np.array_equal(one, two)
        for g in (gy, channelslast.channels_last(gy), np.asfortranarray(gy)):
            for c in (code, np.ascontiguousarray(code), np.asfortranarray(code)):
                again = fused.backward(g, c, laid_out, w, *window)
                assert all(np.array_equal(one, two) for one, two in zip(again, gradients, strict=True))


@each_kind
def test_only_what_is_needed_is_computed(kind):
    fused = kernels.load("conv2d_relu_maxpool", kind)
    x, w = drawn(2, 3, 6, 6), drawn(4, 3, 3, 3, seed=1)
    y, code = fused.forward(x, w, None, *NO, (1, 1))
    both = fused.backward(y, code, x, w, *NO, (1, 1))
    assert fused.backward(y, code, x, w, *NO, (1, 1), (True, False))[1:] == (None, None)
    gx, gw, gb = fused.backward(y, code, x, w, *NO, (1, 1), (False, True))
    assert gx is None and np.array_equal(gw, both[1]) and np.array_equal(gb, both[2])


@each_kind
def test_not_a_number_is_a_maximum_and_not_dead(kind):
    x = drawn(1, 2, 4, 4)
    x[0, 0, 1, 0] = np.nan
    y, code = kernels.load("conv2d_relu_maxpool", kind).forward(x, np.ones((3, 2, 1, 1), np.float32), None, *NO, (2, 2))
    assert np.isnan(y[0, :, 0, 0]).all() and (code[0, :, 0, 0] == 2).all()
    assert np.isfinite(y).sum() == y.size - 3


@each_kind
def test_the_same_bits_in_every_schedule(kind):
    calls = [case for op in ("conv2d", "linear") for case in cases.table(op) if not case.long][:12]
    for case in calls:
        first = results_of(case, kind)
        for order in ("reverse", "random"):
            with mode(order=order, seed=7):
                assert all(np.array_equal(a, b) for a, b in zip(first, results_of(case, kind), strict=True)), str(case)


@each_kind
def test_a_batch_of_none(kind):
    conv2d, linear = kernels.load("conv2d", kind), kernels.load("linear", kind)
    x, w = np.zeros((0, 3, 5, 5), np.float32), drawn(4, 3, 3, 3)
    y = conv2d.forward(x, w, None, *NO)
    assert y.shape == (0, 4, 3, 3) and conv2d.backward_input(y, w, x.shape, *NO).shape == x.shape
    assert not any(g.any() for g in conv2d.backward_weight(y, x, w.shape, *NO))
    assert linear.forward(x.reshape(0, 75), drawn(4, 75), None).shape == (0, 4)
    assert not any(g.any() for g in linear.backward_weight(np.zeros((0, 4), np.float32), x.reshape(0, 75)))


X, W, HUGE = drawn(2, 3, 6, 5), drawn(4, 3, 3, 3), np.broadcast_to(np.float32(0), (2**26, 3, 6, 5))


@each_kind
@pytest.mark.parametrize(
    "error, text, call",
    [
        (ValueError, r"x has 3 channels .* w is for 2", lambda m, f: m.forward(X, W[:, :2].copy(), None, *NO)),
        (ValueError, r"b has shape \(3,\)", lambda m, f: m.forward(X, W, drawn(3), *NO)),
        (ValueError, "out has shape", lambda m, f: m.forward(X, W, None, *NO, out=X)),
        (ValueError, "no layout", lambda m, f: m.forward(X, W, None, *NO, out=drawn(2, 4, 3, 4).swapaxes(2, 3))),
        (ValueError, "larger than its input", lambda m, f: m.forward(X[:, :, :2], W, None, *NO)),
        (ValueError, "gy has shape", lambda m, f: m.backward_input(X, W, X.shape, *NO)),
        (ValueError, "gy has shape", lambda m, f: m.backward_weight(X, X, W.shape, *NO)),
        (TypeError, "float64", lambda m, f: m.forward(X.astype(np.float64), W, None, *NO)),
        (NotImplementedError, "int32", lambda m, f: m.forward(HUGE, W, None, *NO)),
        (NotImplementedError, "max pooling over 3x2 places", lambda m, f: f.forward(X, W, None, *NO, (3, 2))),
        (NotImplementedError, "max pooling over 3x2 places", lambda m, f: f.backward(X, X, X, W, *NO, (3, 2))),
    ],
)
def test_errors(error, text, call, kind):
    with pytest.raises(error, match=text):
        call(kernels.load("conv2d", kind), kernels.load("conv2d_relu_maxpool", kind))
