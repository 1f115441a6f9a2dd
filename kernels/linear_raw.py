"""The fully connected layer in CUDA C: the launches of linear.cu. Shapes and formula as in linear_xp.py, in float32.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype,
NotImplementedError where int32 cannot count the elements.

A product with few tiles and a long sum, like a classifier's, is split along the sum, by its shapes alone, so that
results are the same bits on every device; the parts lie in `workspace`, a float32 array of `workspace_size` or more.
"""

from .arrays import Array
from .launch import CudaC, ceil_div
from .shapes import countable, expect, result, scratch

kernels = CudaC("linear")

_TILE, _SLICE, _BLOCK = 64, 16, 256  # those of linear.cu
_BLOCKS = 256  # about what a large GPU runs at a time
_SHORTEST = 128  # steps of a sum that are worth a block


def forward(x: Array, w: Array, b: Array | None, out: Array | None = None, workspace=None) -> Array:
    """y (n, co); b may be None."""
    (n, ci), co = x.shape, len(w)
    countable(x.shape, w.shape, (n, co))
    expect("w", w, (co, ci))
    if b is not None:
        expect("b", b, (co,))
    y = result("out", x, (n, co), out)
    _product("linear_forward", x, w, b, y, ci, (n, ci, co), workspace)
    return y


def backward_input(gy: Array, w: Array, out: Array | None = None, workspace=None) -> Array:
    """gx (n, ci)."""
    n, (co, ci) = len(gy), w.shape
    countable(gy.shape, w.shape, (n, ci))
    expect("gy", gy, (n, co))
    gx = result("out", gy, (n, ci), out)
    _product("linear_backward_input", gy, w, None, gx, co, (n, ci, co), workspace)
    return gx


def backward_weight(gy: Array, x: Array, out: tuple | None = None, workspace=None) -> tuple[Array, Array]:
    """gw (co, ci) and gb (co,)."""
    (n, co), ci = gy.shape, x.shape[1]
    countable(gy.shape, x.shape, (co, ci))
    expect("x", x, (n, ci))
    gw, gb = out or (None, None)
    gw, gb = result("out[0]", gy, (co, ci), gw), result("out[1]", gy, (co,), gb)
    _product("linear_backward_weight", gy, x, None, gw, n, (n, ci, co), workspace)
    kernels.launch("linear_backward_bias", (ceil_div(co, 32),), (_BLOCK,), (gy, gb, n, co))
    return gw, gb


def workspace_size(rows: int, columns: int, depth: int) -> int:
    """The float32 numbers that a product of `rows` x `columns`, summed over `depth`, keeps between its two kernels."""
    chunks, _ = _chunks(rows, columns, depth)
    return chunks * rows * columns if chunks > 1 else 0


def _chunks(rows: int, columns: int, depth: int) -> tuple[int, int]:
    """(number of parts of the sum, steps in each): so many that there are about _BLOCKS blocks."""
    tiles = ceil_div(rows, _TILE) * ceil_div(columns, _TILE)
    wanted = max(1, min(_BLOCKS // tiles, depth // _SHORTEST))
    chunk = ceil_div(ceil_div(depth, wanted), _SLICE) * _SLICE
    return ceil_div(depth, chunk), chunk


def _product(
    kernel: str, first: Array, second: Array, b: Array | None, out: Array, depth: int, sizes: tuple, workspace: Array
) -> None:
    """Launch one of the three products; sizes: n, ci, co."""
    rows, columns = out.shape
    chunks, chunk = _chunks(rows, columns, depth)
    grid = ceil_div(rows, _TILE), ceil_div(columns, _TILE), chunks
    bias = (b,) if kernel == "linear_forward" else ()
    if chunks == 1:
        kernels.launch(kernel, grid, (_BLOCK,), (first, second, *bias, out, *sizes, chunk))
        return
    countable((chunks, rows, columns))
    parts = scratch(kernel, out, chunks * rows * columns, workspace)
    kernels.launch(kernel, grid, (_BLOCK,), (first, second, *(None for _ in bias), parts, *sizes, chunk))
    reduce = parts, b, out, chunks, rows, columns
    kernels.launch("linear_reduce", (ceil_div(out.size, _BLOCK),), (_BLOCK,), reduce)
