"""Every op, forward and backward, against PyTorch in float64, over 200 drawn configurations a family."""

from itertools import pairwise

import numpy as np
import pytest
from closeness import assert_close

import gpucnn.functional as F
from gpucnn import Tensor
from gpucnn.gradcheck import gradients, tie_free

torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
hypothesis = pytest.importorskip("hypothesis", reason="no hypothesis: make setup")
given, st = hypothesis.given, hypothesis.strategies
torch.set_num_threads(1)
TF = torch.nn.functional

configurations = hypothesis.settings(max_examples=200)
small = st.integers(1, 4)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def compare(ours, theirs, arrays, terms, size=4.0):
    """Our f and PyTorch's on the same arrays; `terms`: of the longest sum in y and in every gradient."""
    dtype = arrays[0].dtype
    twins = [torch.from_numpy(x.astype(np.float64)).requires_grad_() for x in arrays]
    expected = theirs(*twins)
    gy = tie_free(np.random.default_rng(arrays[0].size), tuple(expected.shape), dtype)
    expected.backward(torch.from_numpy(gy.astype(np.float64)))
    y, found = gradients(ours, arrays, gy)
    assert_close(y, expected.detach(), terms, size, dtype, "y")
    for i, (gx, twin) in enumerate(zip(found, twins, strict=True)):
        assert_close(gx, twin.grad, terms, size, dtype, f"gradient {i}")


def draw_arrays(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [tie_free(rng, shape, dtype) for shape in shapes]


@st.composite
def windows(draw, whole_padding=True):
    """(size, stride, padding) and an input (h, w) in which the window fits at least once."""
    size, stride = draw(pairs), draw(pairs)
    padding = tuple(draw(st.integers(0, 3 if whole_padding else k // 2)) for k in size)
    h, w = (draw(st.integers(max(1, k - 2 * p), k + 7)) for k, p in zip(size, padding, strict=True))
    return size, stride, padding, (h, w)


def convolution(draw, groups, bias):
    (size, stride, padding, image), n = draw(windows()), draw(small)
    ci, co = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shapes = [(n, groups * ci, *image), (groups * co, ci, *size), (groups * co,)]
    arrays = draw_arrays(draw(seeds), draw(dtypes), *shapes[: 3 if bias else 2])
    terms = max(ci * size[0] * size[1], co * size[0] * size[1], n * (image[0] + 6) * (image[1] + 6))
    compare(
        lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, groups=groups),
        lambda x, w, b=None: TF.conv2d(x, w, b, stride, padding, groups=groups),
        arrays,
        terms,
    )


@configurations
@given(st.data())
def test_conv2d(data):
    convolution(data.draw, 1, data.draw(st.booleans()))


@configurations
@given(st.data())
def test_conv2d_with_groups(data):
    convolution(data.draw, data.draw(st.integers(2, 4)), data.draw(st.booleans()))


@configurations
@given(
    small, small, small, pairs, st.tuples(st.integers(1, 7), st.integers(1, 7)), st.sampled_from([1, 2]), dtypes, seeds
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_conv2d_same(n, ci, co, size, image, groups, dtype, seed):
    w_shape = (groups * co, ci, *size)
    compare(
        lambda x, w, b: F.conv2d(x, w, b, padding="same", groups=groups),
        lambda x, w, b: TF.conv2d(x, w, b, padding="same", groups=groups),
        draw_arrays(seed, dtype, (n, groups * ci, *image), w_shape, w_shape[:1]),
        max(ci * size[0] * size[1], co * size[0] * size[1], n * image[0] * image[1]),
    )


@configurations
@given(windows(whole_padding=False), small, small, dtypes, seeds)
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_pool2d(op, window, n, c, dtype, seed):
    size, stride, padding, image = window
    compare(
        lambda x: getattr(F, op)(x, size, stride, padding),
        lambda x: getattr(TF, op)(x, size, stride, padding),
        draw_arrays(seed, dtype, (n, c, *image)),
        size[0] * size[1],
    )


@configurations
@given(small, small, st.integers(1, 9), st.integers(1, 9), dtypes, seeds)
def test_adaptive_avg_pool2d(n, c, h, w, dtype, seed):
    arrays = draw_arrays(seed, dtype, (n, c, h, w))
    compare(F.adaptive_avg_pool2d, lambda x: TF.adaptive_avg_pool2d(x, 1), arrays, h * w)


@configurations
@given(shapes, st.integers(1, 9), st.integers(1, 9), st.booleans(), dtypes, seeds)
def test_linear(leading, n_in, n_out, bias, dtype, seed):
    arrays = draw_arrays(seed, dtype, (*leading, n_in), (n_out, n_in), (n_out,))[: 3 if bias else 2]
    compare(F.linear, TF.linear, arrays, max(n_in + 1, n_out, np.prod(leading)))


@configurations
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), dtypes, seeds)
def test_matmul(n, k, m, dtype, seed):
    compare(F.matmul, torch.matmul, draw_arrays(seed, dtype, (n, k), (k, m)), max(n, k, m))


@configurations
@given(shapes, st.sampled_from([0.1, 1, 10]), dtypes, seeds)
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu"])
def test_activation(name, shape, scale, dtype, seed):
    arrays = [x * x.dtype.type(scale) for x in draw_arrays(seed, dtype, shape)]
    compare(getattr(F, name), getattr(torch if name in ("sigmoid", "tanh") else TF, name), arrays, 1, 4 * max(1, scale))


@configurations
@given(shapes, st.data(), st.sampled_from([0.1, 1, 10]), dtypes, seeds)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, shape, data, scale, dtype, seed):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    arrays = [x * x.dtype.type(scale) for x in draw_arrays(seed, dtype, shape)]
    compare(
        lambda x: getattr(F, name)(x, dim), lambda x: getattr(TF, name)(x, dim), arrays, shape[dim], 4 * max(1, scale)
    )


@configurations
@given(st.integers(1, 7), st.integers(1, 11), st.sampled_from([0.0, 0.1, 0.5, 1.0]), dtypes, seeds)
def test_cross_entropy(n, classes, smoothing, dtype, seed):
    labels = np.random.default_rng(seed).integers(0, classes, n)
    compare(
        lambda x: F.cross_entropy(x, labels, label_smoothing=smoothing),
        lambda x: TF.cross_entropy(x, torch.from_numpy(labels), label_smoothing=smoothing),
        draw_arrays(seed, dtype, (n, classes)),
        n * classes,
    )


@configurations
@given(st.integers(1, 5), small, st.sampled_from([(), (3,), (2, 3), (1, 1), (5, 4)]), st.data(), dtypes, seeds)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training, n, c, image, data, dtype, seed):
    count = n * int(np.prod(image))
    if training and count < 2:
        n, count = n + 1, count + int(np.prod(image))
    momentum, eps = data.draw(st.sampled_from([0.1, 0.5, 1.0])), data.draw(st.sampled_from([1e-5, 1e-2]))
    x, weight, bias = draw_arrays(seed, dtype, (n, c, *image), (c,), (c,))
    mean, var = np.linspace(-1, 1, c).astype(dtype), np.linspace(0.5, 2, c).astype(dtype)
    running = Tensor(mean.copy()), Tensor(var.copy())
    twins = [torch.from_numpy(v.astype(np.float64)) for v in (mean, var)]
    spread = np.moveaxis(x, 1, 0).reshape(c, -1).var(1).min() if training else var.min()
    enlarged = 4 / (float(spread) + eps)  # how much normalising enlarges an error of x, twice in its gradient
    compare(
        lambda x, w, b: F.batch_norm(x, *running, w, b, training, momentum, eps),
        lambda x, w, b: TF.batch_norm(x, *twins, w, b, training, momentum, eps),
        [x, weight, bias],
        count,
        4 * max(1.0, enlarged),
    )
    for ours, theirs, what in zip(running, twins, ("running mean", "running variance"), strict=True):
        assert_close(ours.data, theirs, count, 4.0, dtype, what)


@configurations
@given(shapes, st.data(), st.sampled_from([1e-5, 1e-2]), dtypes, seeds)
def test_layer_norm(leading, data, eps, dtype, seed):
    normalized = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=2).map(tuple))
    x, weight, bias = draw_arrays(seed, dtype, (*leading, *normalized), normalized, normalized)
    spread = float(x.reshape(-1, np.prod(normalized)).var(1).min())
    compare(
        lambda x, w, b: F.layer_norm(x, normalized, w, b, eps),
        lambda x, w, b: TF.layer_norm(x, normalized, w, b, eps),
        [x, weight, bias],
        max(np.prod(normalized), np.prod(leading)),
        4 * max(1.0, 4 / (spread + eps)),  # as in batch_norm
    )


@configurations
@given(small, st.integers(1, 9), st.sampled_from([(3,), (2, 3), (1, 1)]), st.integers(1, 6), st.data(), dtypes, seeds)
def test_local_response_norm(n, c, image, size, data, dtype, seed):
    alpha, beta, k = (data.draw(st.sampled_from(values)) for values in ([1e-4, 1.0], [0.5, 0.75], [1.0, 2.0]))
    compare(
        lambda x: F.local_response_norm(x, size, alpha, beta, k),
        lambda x: TF.local_response_norm(x, size, alpha, beta, k),
        draw_arrays(seed, dtype, (n, c, *image)),
        size,
    )


@configurations
@given(small, st.integers(1, 7), small, small, st.sampled_from([0.1, 1, 3]), dtypes, seeds)
def test_self_attention(n, t, heads, d, scale, dtype, seed):
    def theirs(qkv):
        q, k, v = (part.unflatten(2, (heads, d)).transpose(1, 2) for part in qkv.chunk(3, 2))
        return TF.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    (qkv,) = draw_arrays(seed, dtype, (n, t, 3 * heads * d))
    qkv *= dtype(scale)
    compare(lambda x: F.self_attention(x, heads), theirs, [qkv], t + d, 4 * max(1, scale) ** 2)


@configurations
@given(shapes, st.data(), dtypes, seeds)
def test_transpose(shape, data, dtype, seed):
    dims = [data.draw(st.integers(-len(shape), len(shape) - 1)) for _ in range(2)]
    compare(lambda x: F.transpose(x, *dims), lambda x: torch.transpose(x, *dims), draw_arrays(seed, dtype, shape), 1)


@configurations
@given(shapes, st.data(), dtypes, seeds)
def test_flatten(shape, data, dtype, seed):
    start = data.draw(st.integers(0, len(shape) - 1))
    end = data.draw(st.integers(start, len(shape) - 1)) - data.draw(st.sampled_from([0, len(shape)]))
    arrays = draw_arrays(seed, dtype, shape)
    compare(lambda x: F.flatten(x, start, end), lambda x: torch.flatten(x, start, end), arrays, 1)


@configurations
@given(shapes, st.data(), dtypes, seeds)
def test_reshape(shape, data, dtype, seed):
    sizes = list(data.draw(st.permutations([*shape, 1])))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sizes) - 1))))
    to = [int(np.prod(sizes[a:b])) for a, b in pairwise([0, *cuts, len(sizes)])]
    to[data.draw(st.integers(0, len(to) - 1))] = -1
    arrays = draw_arrays(seed, dtype, shape)
    compare(lambda x: F.reshape(x, to), lambda x: torch.reshape(x, to), arrays, 1)


@configurations
@given(shapes, st.data(), st.lists(small, min_size=1, max_size=4), dtypes, seeds)
def test_cat(shape, data, sizes, dtype, seed):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = [tuple(size if i == dim % len(shape) else s for i, s in enumerate(shape)) for size in sizes]
    compare(lambda *xs: F.cat(xs, dim), lambda *xs: torch.cat(xs, dim), draw_arrays(seed, dtype, *parts), 1)


@configurations
@given(shapes, st.data(), dtypes, seeds)
def test_pad(shape, data, dtype, seed):
    dims = data.draw(st.integers(1, len(shape)))
    widths = data.draw(st.lists(st.integers(0, 3), min_size=2 * dims, max_size=2 * dims))
    compare(lambda x: F.pad(x, widths), lambda x: TF.pad(x, widths), draw_arrays(seed, dtype, shape), 1)


@configurations
@given(shapes, st.data(), dtypes, seeds)
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_reduction(name, shape, data, dtype, seed):
    dims = data.draw(st.none() | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple))
    if dims is not None:
        dims = tuple(d - data.draw(st.sampled_from([0, len(shape)])) for d in dims)
    keepdim = data.draw(st.booleans())
    compare(
        lambda x: getattr(F, name)(x, dims, keepdim),
        lambda x: getattr(torch, name)(x, dims, keepdim),
        draw_arrays(seed, dtype, shape),
        np.prod(shape),
    )


@configurations
@given(shapes, st.data(), dtypes, seeds)
@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: 2 - 3 * (1 - a) / 4 + (b + 1) * 2,
        lambda a, b: 1 / a - (-b) ** 2,
    ],
    ids=["+", "-", "*", "/", "numbers", "reciprocal and power"],
)
def test_arithmetic_with_broadcasting(f, shape, data, dtype, seed):
    def part():
        """`shape` with some of its sizes 1, and some of its first dimensions left out."""
        return tuple(data.draw(st.sampled_from([1, s])) for s in shape)[data.draw(st.integers(0, len(shape))) :]

    arrays = draw_arrays(seed, dtype, part(), part())
    compare(f, f, arrays, np.prod(shape), 25.0)  # a / b**2 is at most 2 / 0.3**2
