"""Every op, forward and backward, against the naive float64 loops of loops.py."""

import loops
import numpy as np
import pytest
from closeness import assert_close

import gpucnn.functional as F
from gpucnn import CPU, Device, Tensor
from gpucnn.backend import to_host
from gpucnn.gradcheck import gradients, tie_free

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SIZE = 4.0  # of a product of two values of tie_free


def check(f, forward, backward, arrays, terms, dtype, device=CPU):
    """f on Tensors against the two loops; terms: of the sums in y and in each gradient."""
    arrays = [x.astype(dtype) for x in arrays]
    exact = [x.astype(np.float64) for x in arrays]
    expected = forward(*exact)
    gy = tie_free(np.random.default_rng(5), np.shape(expected), dtype)
    y, found = gradients(f, arrays, gy, device=device)
    assert_close(y, expected, terms[0], SIZE, dtype, "y")
    wanted = backward(gy.astype(np.float64), *exact)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert_close(ours, theirs, terms[1 + i], SIZE, dtype, f"gradient {i}")


def draw(*shapes):
    rng = np.random.default_rng(3)
    return [tie_free(rng, shape) for shape in shapes]


CONVOLUTIONS = {  # note: x shape, w shape, stride, padding, groups
    "plain": ((2, 3, 5, 4), (4, 3, 3, 2), (1, 1), (0, 0), 1),
    "1x1 of 1x1": ((1, 3, 1, 1), (2, 3, 1, 1), (1, 1), (0, 0), 1),
    "as large as its input": ((1, 2, 5, 3), (3, 2, 5, 3), (1, 1), (0, 0), 1),
    "larger than its input": ((1, 1, 2, 1), (2, 1, 4, 5), (1, 1), (1, 2), 1),
    "padding": ((2, 2, 4, 5), (3, 2, 3, 3), (1, 1), (1, 1), 1),
    "more padding than kernel": ((1, 1, 3, 2), (2, 1, 2, 2), (1, 1), (3, 4), 1),
    "rectangular padding": ((1, 2, 4, 3), (2, 2, 3, 2), (1, 1), (0, 2), 1),
    "stride that fits": ((2, 2, 7, 5), (2, 2, 3, 3), (2, 2), (0, 0), 1),
    "stride with rows left over": ((2, 1, 8, 6), (2, 1, 3, 3), (2, 2), (0, 0), 1),
    "rectangular stride": ((1, 2, 7, 8), (2, 2, 3, 1), (3, 2), (1, 0), 1),
    "stride beyond the kernel": ((1, 2, 7, 7), (2, 2, 2, 1), (3, 4), (0, 0), 1),
    "groups": ((2, 4, 4, 3), (6, 2, 2, 3), (1, 1), (1, 1), 2),
    "depthwise": ((1, 3, 5, 4), (6, 1, 3, 3), (2, 1), (1, 0), 3),
}
every_convolution = pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)


def convolution_terms(x, w, y):
    """Of a sum in y, gx, gw and gb at most."""
    (n, _, oh, ow), (co, ci, kh, kw) = y, w
    return 1 + ci * kh * kw, co * kh * kw, n * oh * ow, n * oh * ow


@BOTH
@every_convolution
def test_conv2d(case, dtype, device):
    x_shape, w_shape, *options = case
    arrays = draw(x_shape, w_shape, w_shape[:1])
    y_shape = loops.conv2d(*arrays, *options).shape
    check(
        lambda x, w, b: F.conv2d(x, w, b, options[0], options[1], groups=options[2]),
        lambda x, w, b: loops.conv2d(x, w, b, *options),
        lambda gy, x, w, b: loops.conv2d_backward(gy, x, w, b, *options),
        arrays,
        convolution_terms(x_shape, w_shape, y_shape),
        dtype,
        device,
    )


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 2), (3, 4), (2, 5)])
def test_conv2d_same(kernel, device):
    x_shape, w_shape = (2, 2, 5, 4), (3, 2, *kernel)

    def backward(gy, x, w, b):
        gx, gw, gb = loops.conv2d_backward(gy, loops.same(x, kernel), w, b)
        top, left = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
        return gx[:, :, top : top + 5, left : left + 4], gw, gb

    check(
        lambda x, w, b: F.conv2d(x, w, b, padding="same"),
        lambda x, w, b: loops.conv2d(loops.same(x, kernel), w, b),
        backward,
        draw(x_shape, w_shape, w_shape[:1]),
        convolution_terms(x_shape, w_shape, (2, 3, 5, 4)),
        np.float64,
        device,
    )


POOLS = {  # note: x shape, size, stride, padding
    "2x2": ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0)),
    "rows and columns left over": ((2, 2, 5, 7), (2, 2), (2, 2), (0, 0)),
    "overlap": ((2, 2, 7, 5), (3, 3), (2, 2), (0, 0)),
    "overlap and padding": ((1, 2, 6, 7), (3, 3), (2, 2), (1, 1)),
    "rectangle": ((1, 2, 6, 7), (2, 4), (3, 1), (1, 2)),
    "gaps": ((1, 2, 7, 7), (2, 1), (3, 4), (0, 0)),
    "1x1": ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0)),
    "larger than its input": ((1, 2, 2, 1), (4, 3), (1, 1), (2, 1)),
    "as large as its input": ((2, 1, 5, 3), (5, 3), (5, 3), (0, 0)),
}
every_pool = pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)


@BOTH
@every_pool
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_pool2d(op, case, dtype, device):
    x_shape, *window = case
    places = int(np.prod(window[0]))
    first = (lambda result: result[0]) if op == "max_pool2d" else (lambda result: result)
    check(
        lambda x: getattr(F, op)(x, *window),
        lambda x: first(getattr(loops, op)(x, *window)),
        lambda gy, x: getattr(loops, op + "_backward")(gy, x, *window),
        draw(x_shape),
        (places, places),
        dtype,
        device,
    )


def max_pool_exactly(x, device, window):
    """y and the gradient of max pooling must equal the loops' to the last bit: small integers round nowhere."""
    y, places = loops.max_pool2d(x, *window)
    gy = np.arange(1.0, y.size + 1).reshape(y.shape)
    ours, (gx,) = gradients(lambda x: F.max_pool2d(x, *window), [x], gy, device=device)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(gx, loops.max_pool2d_backward(gy, x, *window))
    return places


@every_pool
def test_max_pool_ties_go_to_the_first(case, device):
    shape, *window = case
    max_pool_exactly(np.random.default_rng(0).integers(0, 2, shape).astype(float), device, window)
    places = max_pool_exactly(np.zeros(shape), device, window)
    assert all(place[2] == max(oy * window[1][0] - window[2][0], 0) for (_, _, oy, _), place in places.items())


@every_pool
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_max_pool_of_special_values(case, special, device):
    shape, *window = case
    x = np.random.default_rng(0).permutation(np.arange(np.prod(shape, dtype=float))).reshape(shape)
    max_pool_exactly(np.where(x % 3 == 0, special, x), device, window)
    max_pool_exactly(np.full(shape, special), device, window)


@pytest.mark.parametrize("name", loops.ACTIVATIONS)
@BOTH
def test_activation(name, dtype, device):
    function, derivative = loops.ACTIVATIONS[name]
    check(
        getattr(F, name),
        lambda x: loops.elementwise(function, x),
        lambda gy, x: gy * loops.elementwise(derivative, x),
        draw((3, 7)),
        (1, 1),
        dtype,
        device,
    )


@pytest.mark.parametrize("name", loops.ACTIVATIONS)
@BOTH
def test_activation_far_from_zero(name, dtype, device):
    function, derivative = loops.ACTIVATIONS[name]
    x = np.array([-700, -90, -30, -9, 9, 30, 90, 700], dtype)
    y, (gx,) = gradients(getattr(F, name), [x], np.ones(8), device=device)
    large = np.maximum(1, abs(x))  # relu and gelu grow with x, and their errors with them
    assert_close(y / large, loops.elementwise(function, x) / large, 1, 1.0, dtype)
    assert_close(gx, loops.elementwise(derivative, x), 1, 1.0, dtype)


@BOTH
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(3, 7), (1, 2), (4, 1)])
def test_softmax(name, shape, dtype, device):
    forward, backward = getattr(loops, name), getattr(loops, name + "_backward")
    for shift in (0, 1000, -1000):  # exp(1000) would overflow; a multiple of 1/1024 shifts float32 exactly
        arrays = [np.round(draw(shape)[0] * 1024) / 1024 + shift]
        check(getattr(F, name), forward, backward, arrays, (shape[1], shape[1]), dtype, device)


@BOTH
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(5, 3), (1, 10), (3, 2)])
def test_cross_entropy(shape, smoothing, dtype, device):
    labels = np.arange(shape[0]) * 2 % shape[1]
    check(
        lambda x: F.cross_entropy(x, labels, label_smoothing=smoothing),
        lambda x: np.float64(loops.cross_entropy(x, labels, smoothing)),
        lambda gy, x: loops.cross_entropy_backward(gy, x, labels, smoothing),
        draw(shape),
        (shape[0] * shape[1], 1),
        dtype,
        device,
    )


def test_cross_entropy_of_impossible_classes():
    """A logit of minus infinity elsewhere is probability 0 and changes nothing."""
    x = np.array([[1.0, -np.inf, 2.0], [-np.inf, 0.5, -np.inf]])
    loss, (gx,) = gradients(lambda x: F.cross_entropy(x, [2, 1]), [x], 1.0)
    assert_close(loss, np.float64((np.log(1 + np.exp(-1.0)) + 0) / 2), 3, 1.0, np.float64)
    p = 1 / (1 + np.exp(1.0))
    assert_close(gx, np.array([[p, 0, -p], [0, 0, 0]]) / 2, 3, 1.0, np.float64)


@pytest.mark.parametrize("where", ["xp", "cpu", "sim"])
def test_the_sums_of_a_cross_entropy(where):
    """n times the loss, and the right answers, of the first of several logits; a gradient of 1 need not be given."""
    device = Device("sim") if where == "sim" else Device("cpu", kernels=where)
    x, sums = draw((5, 3))[0].astype(np.float32), device.asarray(np.array([0.25, 3], np.float32))
    own, other = (Tensor(array, True, device) for array in (x, x[::-1].copy()))
    labels = np.array([*x.argmax(1)[:3], *x.argmin(1)[3:]])
    losses = [F.cross_entropy(logits, labels, sums=sums) for logits in (own, (own, other))]
    expected = 5 * loops.cross_entropy(x.astype(np.float64), labels)
    np.testing.assert_allclose(to_host(sums), [0.25 + 2 * expected, 3 + 2 * 3], rtol=1e-5)
    losses[0].backward()
    alone, own.grad = own.grad, None
    losses[1].backward(np.float32(2))
    np.testing.assert_allclose(own.grad, 2 * alone, rtol=1e-6)
    np.testing.assert_allclose(alone, loops.cross_entropy_backward(1, x.astype(np.float64), labels), atol=1e-6)


@BOTH
@pytest.mark.parametrize("shapes", [((3, 5), (4, 5)), ((1, 1), (1, 1)), ((1, 7), (2, 7)), ((6, 1), (3, 1))])
def test_linear(shapes, dtype, device):
    (n, ci), (co, _) = shapes
    arrays = draw(*shapes, (co,))
    check(F.linear, loops.linear, loops.linear_backward, arrays, (ci + 1, co, n, n), dtype, device)


@BOTH
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 2, 4, 3), (2, 3, 1, 1), (1, 1, 2, 3)])
def test_batch_norm(shape, training, dtype, device):
    c = shape[1]
    mean, var = np.linspace(-0.5, 0.5, c).astype(dtype), np.linspace(0.5, 2, c).astype(dtype)
    x, weight, bias = draw(shape, (c,), (c,))
    statistics = loops.moments(x.astype(dtype).astype(np.float64))[:2] if training else (mean, var)
    spread = max(1, *(4 / np.sqrt(v) for v in statistics[1])) ** 2  # how much normalising enlarges an error
    running = [Tensor(v.copy(), device=device) for v in (mean, var)]
    check(
        lambda x, w, b: F.batch_norm(x, *running, w, b, training),
        lambda x, w, b: loops.batch_norm(x, *statistics, w, b),
        lambda gy, x, w, b: loops.batch_norm_backward(gy, x, *statistics, w, b, training),
        [x, weight, bias],
        (x.size / c * spread,) * 4,
        dtype,
        device,
    )
    if training:
        _, _, count = loops.moments(x)
        mean = 0.9 * mean + 0.1 * np.array(statistics[0])
        var = 0.9 * var + 0.1 * np.array(statistics[1]) * count / (count - 1)
    assert_close(running[0].data, mean, x.size / c, SIZE, dtype, "running mean")
    assert_close(running[1].data, var, x.size / c, SIZE, dtype, "running variance")


LAYOUTS = {  # the same values, not C-contiguous
    "Fortran": lambda xp, x: xp.asfortranarray(x),
    "every other": lambda xp, x: xp.repeat(x, 2, -1)[..., ::2],
    "backwards": lambda xp, x: xp.flip(xp.ascontiguousarray(xp.flip(x))),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(
    "f, shapes",
    [
        (lambda *t: F.conv2d(*t, 2, 1), ((2, 3, 5, 4), (2, 3, 3, 2), (2,))),
        (lambda *t: F.conv2d(*t, padding="same", groups=2), ((2, 4, 3, 4), (2, 2, 2, 2), (2,))),
        (lambda x: F.max_pool2d(x, 3, 2, 1), ((2, 3, 5, 4),)),
        (lambda x: F.avg_pool2d(x, 2), ((2, 3, 5, 4),)),
        (F.linear, ((3, 5), (4, 5), (4,))),
        (F.softmax, ((3, 5),)),
        (lambda x: F.cross_entropy(x, [1, 0, 3]), ((3, 5),)),
        (lambda x, w, b: F.batch_norm(x, w, w * w, w, b), ((2, 3, 4, 2), (3,), (3,))),
        (lambda x: F.flatten(x, 1), ((2, 3, 4),)),
    ],
    ids=["conv2d", "groups", "max_pool2d", "avg_pool2d", "linear", "softmax", "cross_entropy", "batch_norm", "flatten"],
)
def test_the_layout_in_memory_changes_nothing(f, shapes, layout, device):
    def run(rearrange, backward):
        tensors = [Tensor(x, True, device) for x in draw(*shapes)]
        for tensor in tensors:
            tensor.data = rearrange(device.xp, tensor.data)  # the constructor would make it contiguous
        y = f(*tensors)
        backward(y)
        return [y.data, *(tensor.grad for tensor in tensors)]

    expected = run(lambda xp, x: x, lambda y: y.backward(device.xp.ones(y.shape)))
    found = run(layout, lambda y: y.sum().backward())  # whose gradient is one number seen through a view
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, to_host(theirs), 100, SIZE, np.float64)
