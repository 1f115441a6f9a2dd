"""What every implementation of an op is tried on: a table of shapes, and as many drawn ones as wanted.

A Case is one call of one function of an op, with float64 arguments that float32 holds exactly, and with how far
rounding may take each of its results from the reference in float64.

Tensor cores round their factors to fewer bits than float32 has. The cases of their kinds have whole numbers instead,
few enough bits for all of them: nothing is rounded, and results must be exact.
"""

from collections.abc import Callable, Iterator
from math import ceil, prod
from typing import Any

import numpy as np

from . import load
from . import trainingcases as step
from .arrays import Pair, out_size, taps
from .case import Case, tolerance
from .case import spread as _spread
from .case import whole as _whole
from .normcases import batch_norm, draw_batch_norm
from .shapetable import DRAWN, SHAPES

_TENSOR_CORES = ("tf32", "tf32x3", "bf16")


def table(op: str, impl: str = "") -> list[Case]:
    """The cases of the shape table of `op`, for `impl`. ValueError where there is none."""
    if op not in _OPS:
        raise ValueError(f"no shapes for the op {op!r}; there are {', '.join(_OPS)}")
    shapes = [shape for shape in SHAPES[op] if _takes(op, impl, shape)]
    return [
        case for number, shape in enumerate(shapes) for case in _build(op, impl, np.random.default_rng(number), shape)
    ]


def draws(op: str, count: int, seed: int = 0, impl: str = "") -> Iterator[Case]:
    """The cases of `count` drawn shapes, for `impl`; the same ones for a seed."""
    _, draw = _OPS[op]
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        yield from _build(op, impl, rng, draw(rng))


def _takes(op: str, impl: str, shape: tuple) -> bool:
    """Whether the kernels have the pool of this shape."""
    pools = getattr(load(op, impl), "POOLS", None) if op == "conv2d_relu_maxpool" and impl else None
    return pools is None or shape[-2] in pools


def _build(op: str, impl: str, rng: Any, shape: tuple) -> list[Case]:
    build, _ = _OPS[op]
    if impl not in _TENSOR_CORES or op not in ("conv2d", "conv2d_relu_maxpool", "linear"):
        return build(rng, *shape)
    exact = build(rng, *shape, spread=_whole)
    return [case._replace(tolerances=(0,) * len(case.tolerances)) for case in exact]


def ops() -> tuple[str, ...]:
    """The ops that have cases."""
    return tuple(_OPS)


def _conv2d(
    rng: Any,
    n: int,
    ci: int,
    h: int,
    w_: int,
    co: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    bias: bool,
    spread: Callable = _spread,
) -> list[Case]:
    x, w, b = (spread(rng, shape) for shape in ((n, ci, h, w_), (co, ci, *kernel), (co,)))
    oh, ow = out_size((h, w_), kernel, stride, padding)
    gy = spread(rng, (n, co, oh, ow))
    shape = f"x {x.shape} w {w.shape} stride {stride} padding {padding}{'' if bias else ' no bias'}"
    pixels, window = n * oh * ow, prod(kernel)
    return [
        Case("conv2d", "forward", (x, w, b if bias else None, stride, padding), (tolerance(ci * window, 1),), shape),
        Case("conv2d", "backward_input", (gy, w, x.shape, stride, padding), (tolerance(co * window, 1),), shape),
        Case("conv2d", "backward_weight", (gy, x, w.shape, stride, padding), (tolerance(pixels, 1),) * 2, shape),
    ]


def _conv2d_relu_maxpool(
    rng: Any,
    n: int,
    ci: int,
    h: int,
    w_: int,
    co: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    pool: Pair,
    bias: bool,
    spread: Callable = _spread,
) -> list[Case]:
    """Drawn until no window has two values, or one and 0, so close that rounding could make a tie of them."""
    fused, conv2d = load("conv2d_relu_maxpool", "xp"), load("conv2d", "xp")
    window = prod(kernel)
    for _ in range(100):
        x, w, b = (spread(rng, shape) for shape in ((n, ci, h, w_), (co, ci, *kernel), (co,)))
        z = conv2d.forward(x, w, b if bias else None, stride, padding)
        oh, ow = z.shape[2] // pool[0], z.shape[3] // pool[1]
        places = list(taps(z, pool, pool, (oh, ow)))
        second, first = np.sort([np.full_like(places[0], -np.inf), *places], axis=0)[-2:]
        rounding = tolerance(ci * window, float(np.abs(w).max())) if spread is _spread else -1.0
        if not ((np.abs(first) <= rounding) | (first > 0) & (first - second <= 2 * rounding)).any():
            break
    else:
        raise ValueError(f"conv2d_relu_maxpool: windows of {x.shape} by {w.shape} are always close to ties")
    forward = x, w, b if bias else None, stride, padding, pool
    y, code = fused.forward(*forward)
    gy = spread(rng, y.shape)
    shape = f"x {x.shape} w {w.shape} stride {stride} padding {padding} pool {pool}{'' if bias else ' no bias'}"
    backward = gy, code, x, w, stride, padding, pool
    of_weights = (tolerance(n * oh * ow, 1),) * 2
    of_all = tolerance(co * window, 1), *of_weights
    return [
        Case("conv2d_relu_maxpool", "forward", forward, (tolerance(ci * window, 1), 0), shape),
        Case("conv2d_relu_maxpool", "backward", backward, of_all, shape),
        # A first layer's, for which tensor cores have a kernel of its own.
        Case("conv2d_relu_maxpool", "backward", (*backward, (False, True)), (0, *of_weights), f"{shape} without gx"),
    ]


def _draw_conv2d_relu_maxpool(rng: Any) -> tuple:
    *sizes, kernel, stride, padding, bias = _draw_conv2d(rng)
    n, ci, h, w_, co = sizes
    padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel, strict=True))  # windows of padding alone are ties
    h, w_ = (max(length, k) for length, k in zip((h, w_), kernel, strict=True))
    oh, ow = out_size((h, w_), kernel, stride, padding)
    pool = (2, 2) if min(oh, ow) > 1 and rng.integers(2) else (1, 1)
    return n, ci, h, w_, min(co, 20), kernel, stride, padding, pool, bias


def _draw_window(rng: Any, most: int) -> tuple:
    """(h, w, kernel, stride, padding) that go together, now and then with a padding beyond half the kernel."""
    kernel, stride, padding = (
        tuple(int(v) for v in rng.integers(low, high, 2)) for low, high in ((1, 6), (1, 4), (0, 4))
    )
    h, w_ = (int(rng.integers(max(1, k - 2 * p), most)) for k, p in zip(kernel, padding, strict=True))
    return h, w_, kernel, stride, padding


def _draw_conv2d(rng: Any) -> tuple:
    h, w_, *window = _draw_window(rng, 14)
    n, ci, co = (int(rng.integers(1, most)) for most in (5, 10, rng.choice([8, 20, 70])))
    return n, ci, h, w_, co, *window, bool(rng.integers(2))


def _max_pool2d(
    rng: Any, n: int, c: int, h: int, w_: int, size: Pair, stride: Pair, padding: Pair, special: tuple = ()
) -> list[Case]:
    x = rng.choice(special, (n, c, h, w_)) if special else _spread(rng, (n, c, h, w_))
    y, code = load("maxpool2d", "xp").forward(x, size, stride, padding)
    code = np.where(rng.random(code.shape) < 0.1, 255, code).astype(np.uint8)  # a fused ReLU killed these
    gy = _spread(rng, y.shape)
    shape = f"x {x.shape} size {size} stride {stride} padding {padding}{f' of {special}' if special else ''}"
    return [
        Case("maxpool2d", "forward", (x, size, stride, padding), (0, 0), shape),
        Case("maxpool2d", "backward", (gy, code, x.shape, size, stride, padding), (tolerance(prod(size), 1),), shape),
    ]


def _avg_pool2d(rng: Any, n: int, c: int, h: int, w_: int, *window: Pair) -> list[Case]:
    x = _spread(rng, (n, c, h, w_))
    gy = _spread(rng, (n, c, *out_size((h, w_), *window)))
    shape = f"x {x.shape} size {window[0]} stride {window[1]} padding {window[2]}"
    return [
        Case("avgpool2d", "forward", (x, *window), (tolerance(prod(window[0]), 1),), shape),
        Case("avgpool2d", "backward", (gy, x.shape, *window), (tolerance(prod(window[0]), 1),), shape),
    ]


def _draw_pool2d(rng: Any) -> tuple:
    """As PyTorch's, a padding is at most half the window."""
    h, w_, size, stride, _ = _draw_window(rng, 20)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in size)
    h, w_ = (max(length, k) for length, k in zip((h, w_), size, strict=True))
    return *(int(v) for v in rng.integers(1, 5, 2)), h, w_, size, stride, padding


def _global_avg_pool2d(rng: Any, *x_shape: int) -> list[Case]:
    x, gy = _spread(rng, x_shape), _spread(rng, (*x_shape[:2], 1, 1))
    return [
        Case("globalavgpool2d", "forward", (x,), (tolerance(prod(x_shape[2:]), 1),), f"x {x_shape}"),
        Case("globalavgpool2d", "backward", (gy, x_shape), (tolerance(1, 1),), f"x {x_shape}"),
    ]


def _cross_entropy(rng: Any, n: int, classes: int, smoothing: float, scale: float, special: tuple = ()) -> list[Case]:
    """Half of the answers are right; a wrong count is off by at least 1, which no tolerance here allows.

    special: what a class of every row is, or where there are several all of them.
    """
    logits = rng.choice(special, (n, classes)) if len(special) > 1 else _spread(rng, (n, classes)) * scale
    target = np.where(rng.random(n) < 0.5, logits.argmax(1), rng.integers(0, classes, n)).astype(np.int32)
    if len(special) == 1:
        logits[np.arange(n), (target + 1) % classes] = special[0]
    size = 2 * scale + float(np.log(classes)) + 1  # no log p is larger
    of_row, of_sum = tolerance(classes, size), tolerance(n, size)
    sums = np.array([3.5, 7.0]) if n % 2 else None
    tolerances = of_row + of_sum / n, n * of_row + of_sum + tolerance(0, 8), of_row / n + tolerance(2, 2 / n)
    shape = f"logits {logits.shape} label_smoothing {smoothing} up to {scale}{f' of {special}' if special else ''}"
    return [Case("cross_entropy", "forward", (logits, target, smoothing, sums), tolerances, shape)]


def _draw_cross_entropy(rng: Any) -> tuple:
    n, classes = int(rng.integers(1, 70)), int(rng.integers(1, rng.choice([12, 70, 300])))
    return n, classes, float(rng.choice([0, 0.1, 0.5])), float(rng.choice([1, 8, 64]))


def _dropout(
    rng: Any, x_shape: tuple, p: float, seed: int, use: int, epoch: int, channels: bool, special: bool = False
) -> list[Case]:
    x = _spread(rng, x_shape)
    if special:  # dropped or kept, none of them becomes a number
        x.reshape(-1)[::4] = rng.choice((np.nan, np.inf, -np.inf), ceil(x.size / 4))
    samples = rng.integers(0, 2**31, len(x)).astype(np.int32)
    if p == DRAWN:
        p = float(load("philox", "xp").bits(seed, use, epoch, samples, 1)[0, 0]) / 2**32
    epochs = {"forward": epoch, "backward": np.array(epoch, np.uint32)}  # as a number, and in memory
    mark = f"{' channels' if channels else ''}{' one in 4 of them not finite' if special else ''}"
    shape = f"x {x_shape} p {p} seed {seed} use {use} epoch {epoch}{mark}"
    largest = (tolerance(0, 1 / (1 - p) if p < 1 else 0),)
    return [
        Case("dropout", function, (x, p, seed, use, where, samples, channels), largest, shape)
        for function, where in epochs.items()
    ]


def _draw_dropout(rng: Any) -> tuple:
    x_shape = tuple(int(v) for v in rng.integers(1, 9, rng.choice([2, 4])))
    p = float(rng.choice([0.1, 0.5, 0.9, 1]))
    return (
        x_shape,
        p,
        int(rng.integers(2**63)),
        int(rng.integers(16, 2**18)),
        int(rng.integers(2**32)),
        len(x_shape) == 4,
    )


def _linear(rng: Any, n: int, ci: int, co: int, bias: bool, spread: Callable = _spread) -> list[Case]:
    x, w, b, gy = (spread(rng, shape) for shape in ((n, ci), (co, ci), (co,), (n, co)))
    shape = f"x {x.shape} w {w.shape}{'' if bias else ' no bias'}"
    return [
        Case("linear", "forward", (x, w, b if bias else None), (tolerance(ci, 1),), shape),
        Case("linear", "backward_input", (gy, w), (tolerance(co, 1),), shape),
        Case("linear", "backward_weight", (gy, x), (tolerance(n, 1),) * 2, shape),
    ]


def _draw_linear(rng: Any) -> tuple:
    return *(int(rng.integers(1, rng.choice([5, 40, 140]))) for _ in range(3)), bool(rng.integers(2))


def _relu(rng: Any, x_shape: tuple, special: tuple = ()) -> list[Case]:
    x = rng.choice(special, x_shape) if special else _spread(rng, x_shape)
    y, gy = load("relu", "xp").forward(x), _spread(rng, x_shape)
    shape = f"x {x_shape}{f' of {special}' if special else ''}"
    return [Case("relu", "forward", (x,), (0,), shape), Case("relu", "backward", (gy, y), (0,), shape)]


def _draw_relu(rng: Any) -> tuple:
    return (tuple(int(v) for v in rng.integers(1, 9, rng.choice([1, 2, 4]))),)


def _draw_global_avg_pool2d(rng: Any) -> tuple:
    return tuple(int(v) for v in rng.integers(1, (6, 40, 14, 14)))


_OPS: dict[str, tuple[Callable[..., list[Case]], Callable[[Any], tuple]]] = {
    "conv2d": (_conv2d, _draw_conv2d),
    "conv2d_relu_maxpool": (_conv2d_relu_maxpool, _draw_conv2d_relu_maxpool),
    "maxpool2d": (_max_pool2d, _draw_pool2d),
    "avgpool2d": (_avg_pool2d, _draw_pool2d),
    "globalavgpool2d": (_global_avg_pool2d, _draw_global_avg_pool2d),
    "batch_norm": (batch_norm, draw_batch_norm),
    "cross_entropy": (_cross_entropy, _draw_cross_entropy),
    "dropout": (_dropout, _draw_dropout),
    "linear": (_linear, _draw_linear),
    "augment": (step.augment, step.draw_augment),
    "deal": (step.deal, step.draw_deal),
    "sgd": (step.sgd, step.draw_sgd),
    "adam": (step.adam, step.draw_adam),
    "clip": (step.clip, step.draw_clip),
    "relu": (_relu, _draw_relu),
}
