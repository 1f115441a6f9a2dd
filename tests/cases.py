"""One table of calls that reaches every op: the gradient check and the dtype walk go through it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import gpucnn.functional as F
from gpucnn import Tensor


class Case(NamedTuple):
    op: str
    note: str
    function: Callable
    shapes: tuple


def _statistics(x):
    """A running mean and variance for x (n, c, ...), on its device and of its dtype."""
    c = x.shape[1]
    values = np.linspace(-0.5, 0.5, c), np.linspace(0.5, 2, c)
    return [Tensor(x.device.asarray(v, x.dtype), device=x.device) for v in values]


def _place(x):
    return F.Place(7, 16, 2, x.device.xp.arange(len(x)) * 3)


CASES = [
    # operators
    Case("+", "broadcast", lambda a, b: a + b, ((3, 1, 5), (4, 1))),
    Case("+", "number", lambda a: 2 + (a + 1), ((3, 5),)),
    Case("-", "broadcast", lambda a, b: a - b, ((4, 1), (3, 1, 5))),
    Case("-", "number", lambda a: 2 - (a - 1), ((3, 5),)),
    Case("*", "broadcast", lambda a, b: a * b, ((3, 4), (1,))),
    Case("*", "scalar", lambda a, b: a * b, ((), (3, 4))),
    Case("*", "itself", lambda a: 3 * (a * a), ((3, 4),)),
    Case("/", "broadcast", lambda a, b: a / b, ((1, 4), (3, 1))),
    Case("/", "number", lambda a: 2 / (a / 3), ((5,),)),
    Case("-x", "", lambda a: -a, ((3,),)),
    Case("**", "cube", lambda a: a**3, ((3, 4),)),
    Case("**", "inverse square", lambda a: a**-2.0, ((3, 4),)),
    Case("**", "root", lambda a: (a * a) ** 0.5, ((3, 4),)),
    Case("@", "", lambda a, b: a @ b, ((3, 5), (5, 2))),
    # gpucnn.functional
    Case("add", "", F.add, ((3, 1), (4,))),
    Case("matmul", "", F.matmul, ((1, 7), (7, 3))),
    Case("sum", "all", F.sum, ((3, 4),)),
    Case("sum", "some", lambda x: F.sum(x, (0, -1)), ((3, 4, 5),)),
    Case("sum", "keepdim", lambda x: F.sum(x, 1, keepdim=True), ((3, 4, 5),)),
    Case("mean", "all", F.mean, ((3, 5),)),
    Case("mean", "some", lambda x: F.mean(x, (1, 2)), ((3, 4, 5),)),
    Case("mean", "keepdim", lambda x: F.mean(x, -1, keepdim=True), ((3, 4, 5),)),
    Case("reshape", "", lambda x: F.reshape(x, (5, -1)), ((2, 3, 5),)),
    Case("flatten", "", lambda x: F.flatten(x, 1), ((2, 3, 5),)),
    Case("flatten", "middle", lambda x: F.flatten(x, 1, -2), ((2, 3, 2, 5),)),
    Case("transpose", "", lambda x: F.transpose(x, 1, -1), ((2, 3, 4, 5),)),
    Case("cat", "", lambda *xs: F.cat(xs, 1), ((2, 1, 3), (2, 4, 3), (2, 2, 3))),
    Case("cat", "twice the same", lambda x: F.cat([x, x], -1), ((2, 3),)),
    Case("pad", "", lambda x: F.pad(x, (1, 2, 0, 3)), ((2, 3, 4),)),
    Case("linear", "", F.linear, ((3, 5), (4, 5), (4,))),
    Case("linear", "no bias, three dimensions", F.linear, ((2, 3, 5), (4, 5))),
    Case("linear", "one vector", F.linear, ((5,), (4, 5), (4,))),
    Case("relu", "", F.relu, ((3, 7),)),
    Case("sigmoid", "", F.sigmoid, ((3, 7),)),
    Case("tanh", "", F.tanh, ((3, 7),)),
    Case("gelu", "", F.gelu, ((3, 7),)),
    Case("softmax", "", F.softmax, ((3, 7),)),
    Case("softmax", "dim", lambda x: F.softmax(x, 1), ((2, 5, 3),)),
    Case("log_softmax", "", F.log_softmax, ((3, 7),)),
    Case("log_softmax", "dim", lambda x: F.log_softmax(x, 0), ((4, 3),)),
    Case("cross_entropy", "", lambda x: F.cross_entropy(x, [3, 0, 6]), ((3, 7),)),
    Case("cross_entropy", "smooth", lambda x: F.cross_entropy(x, [1, 0, 1], label_smoothing=0.1), ((3, 4),)),
    Case("cross_entropy", "auxiliary", lambda *xs: F.cross_entropy(xs, [2, 0, 1]), ((3, 4), (3, 4), (3, 4))),
    Case("conv2d", "", F.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2), (4,))),
    Case("conv2d", "no bias", lambda x, w: F.conv2d(x, w, None, 2, 1), ((1, 2, 7, 6), (3, 2, 3, 3))),
    Case("conv2d", "rows left over", lambda *t: F.conv2d(*t, (3, 2), (0, 2)), ((2, 1, 8, 6), (2, 1, 3, 5), (2,))),
    Case("conv2d", "same", lambda *t: F.conv2d(*t, padding="same"), ((2, 2, 5, 4), (3, 2, 4, 2), (3,))),
    Case("conv2d", "groups", lambda *t: F.conv2d(*t, 1, 1, groups=2), ((2, 4, 5, 4), (6, 2, 3, 3), (6,))),
    Case("conv2d", "depthwise", lambda *t: F.conv2d(*t, groups=3), ((1, 3, 4, 4), (3, 1, 2, 3))),
    Case("conv2d", "1x1", F.conv2d, ((1, 3, 1, 1), (2, 3, 1, 1), (2,))),
    Case("conv2d_relu_maxpool", "", lambda *t: F.conv2d_relu_maxpool(*t, 1, 1, 2), ((2, 3, 6, 5), (4, 3, 3, 2), (4,))),
    Case("conv2d_relu_maxpool", "no pool, no bias", F.conv2d_relu_maxpool, ((2, 2, 4, 5), (3, 2, 3, 3))),
    Case("max_pool2d", "", lambda x: F.max_pool2d(x, 2), ((2, 3, 5, 4),)),
    Case("max_pool2d", "overlap", lambda x: F.max_pool2d(x, 3, 2, 1), ((2, 2, 7, 6),)),
    Case("max_pool2d", "rectangle", lambda x: F.max_pool2d(x, (2, 3), (3, 1), (1, 0)), ((1, 2, 6, 5),)),
    Case("avg_pool2d", "", lambda x: F.avg_pool2d(x, 2), ((2, 3, 5, 4),)),
    Case("avg_pool2d", "overlap", lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 1)), ((2, 2, 7, 6),)),
    Case("adaptive_avg_pool2d", "", F.adaptive_avg_pool2d, ((2, 3, 5, 4),)),
    Case("dropout", "", lambda x: F.dropout(x, 0.4, place=_place(x)), ((3, 4, 5),)),
    Case("dropout", "eval", lambda x: F.dropout(x, 0.4, training=False) * 1, ((3, 4),)),
    Case("dropout2d", "", lambda x: F.dropout2d(x, 0.4, place=_place(x)), ((3, 4, 2, 2),)),
    Case("batch_norm", "train", lambda x, *wb: F.batch_norm(x, *_statistics(x), *wb, True), ((4, 3), (3,), (3,))),
    Case(
        "batch_norm", "train 2d", lambda x, *wb: F.batch_norm(x, *_statistics(x), *wb, True), ((2, 3, 3, 2), (3,), (3,))
    ),
    Case("batch_norm", "eval", lambda x, *wb: F.batch_norm(x, *_statistics(x), *wb), ((2, 3, 3, 2), (3,), (3,))),
    Case("layer_norm", "", lambda x, *wb: F.layer_norm(x, (5,), *wb), ((2, 3, 5), (5,), (5,))),
    Case("layer_norm", "two dimensions", lambda x, *wb: F.layer_norm(x, (4, 3), *wb), ((2, 4, 3), (4, 3), (4, 3))),
    Case("local_response_norm", "", lambda x: F.local_response_norm(x, 3, 0.7, 0.75, 2.0), ((2, 5, 3, 2),)),
    Case("local_response_norm", "even", lambda x: F.local_response_norm(x, 4, 1.5), ((2, 7, 2),)),
    Case("local_response_norm", "wider than x", lambda x: F.local_response_norm(x, 5, 2.0), ((1, 2, 3),)),
    Case("self_attention", "one head", lambda x: F.self_attention(x, 1), ((2, 3, 6),)),
    Case("self_attention", "", lambda x: F.self_attention(x, 2), ((2, 5, 18),)),
]

every_case = {"argvalues": CASES, "ids": [f"{case.op} {case.note}".strip() for case in CASES]}
