"""Batch normalisation in CUDA C: the launches of batch_norm.cu. Shapes and formula as in batch_norm_xp.py, in float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError
where int32 cannot count the elements. workspace: a float32 array of `workspace_size` or more.
"""

from math import prod

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result, scratch

kernels = CudaC("batch_norm")

_BLOCK = 256  # threads; the kernels count on it
_BLOCKS = 1024  # about what a large GPU runs at a time
_SHORTEST = 2048  # numbers that are worth a block
_MOST = 64  # parts of a channel, which every thread adds up


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float,
    eps: float,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, ...]:
    """y, the batch's mean and scale (c,), and the new running_mean, running_var and number of batches ()."""
    n, c, pixels = _sizes(x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    expect("batches", batches, ())
    y, *of_channels, new_batches = out or (None,) * 6
    y = result("out[0]", x, x.shape, y)
    rows = [result(f"out[{i + 1}]", x, (c,), place) for i, place in enumerate(of_channels)]
    rows.append(result("out[5]", batches, (), new_batches))
    parts = splits, _ = _parts(n, c, pixels)
    partial = scratch("batch_norm.forward", x, 2 * c * splits, workspace)
    kernels.launch("batch_norm_statistics", (c * splits,), (_BLOCK,), (x, partial, n, c, pixels, *parts))
    arrays = x, partial, weight, bias, running_mean, running_var, batches, y, *rows
    kernels.launch("batch_norm_normalise", (c * splits,), (_BLOCK,), (*arrays, n, c, pixels, *parts, momentum, eps))
    return (y, *rows)


def evaluate(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float, out: tuple | None = None, workspace=None
) -> tuple[Array, Array]:
    """y and scale (c,) with the mean and variance that are given."""
    n, c, pixels = _sizes(x, weight=weight, bias=bias, mean=mean, var=var)
    y, scale = out or (None, None)
    y, scale = result("out[0]", x, x.shape, y), result("out[1]", x, (c,), scale)
    arguments = x, weight, bias, mean, var, y, scale, n, c, pixels, eps
    kernels.launch("batch_norm_evaluate", (ceil_div(x.size, _BLOCK),), (_BLOCK,), arguments)
    return y, scale


def backward(
    gy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    scale: Array,
    training: bool,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array]:
    """gx of x's shape, gw and gb (c,)."""
    n, c, pixels = _sizes(x, weight=weight, mean=mean, scale=scale)
    expect("gy", gy, x.shape)
    gx, gw, gb = out or (None, None, None)
    gx = result("out[0]", x, x.shape, gx)
    gw, gb = result("out[1]", x, (c,), gw), result("out[2]", x, (c,), gb)
    parts = splits, _ = _parts(n, c, pixels)
    partial = scratch("batch_norm.backward", x, 2 * c * splits, workspace)
    sizes = n, c, pixels, *parts
    kernels.launch("batch_norm_backward_sums", (c * splits,), (_BLOCK,), (gy, x, mean, scale, partial, *sizes))
    arguments = gy, x, partial, weight, mean, scale, gx, gw, gb, *sizes, training
    kernels.launch("batch_norm_backward_input", (c * splits,), (_BLOCK,), arguments)
    return gx, gw, gb


def _sizes(x: Array, **of_channels: Array) -> tuple[int, int, int]:
    """(n, c, pixels) of x (n, c, ...), beside which everything else has shape (c,)."""
    n, c, *rest = x.shape
    countable(x.shape)
    for name, array in of_channels.items():
        expect(name, array, (c,))
    return n, c, prod(rest)


def workspace_size(n: int, c: int, pixels: int) -> int:
    """The float32 numbers that a pass keeps between its two kernels."""
    return 2 * c * _parts(n, c, pixels)[0]


def _parts(n: int, c: int, pixels: int) -> tuple[int, int]:
    """(parts of a channel, numbers in each): so many that there are about _BLOCKS blocks, by shapes alone."""
    total = n * pixels
    wanted = max(1, min(_BLOCKS // c, total // _SHORTEST, _MOST))
    chunk = ceil_div(total, wanted)
    return ceil_div(total, chunk), chunk
