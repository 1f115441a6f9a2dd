"""Which way a convolution takes on the CPU, and the memory it needs there: what conv2d_cpu.py and its kin call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .. import maxpool2d_cpu
from ..arrays import Pair, out_size
from ..maxpool2d_xp import DEAD
from ..shapes import expect
from . import direct, winograd, winograd_rows
from .filters import transform_weights
from .layout import LINE, empty, line_count, lines, plain
from .simd import LANES
from .target import TARGET
from .tiles import HEIGHTS, tiles_in_all
from .windows import along, pixels, readers, windows

_CHUNK = 8  # lines that a chunk of Winograd's points holds: with all channels they still fit the caches
_UNFUSED = np.zeros((1, 1, 1, 1), np.uint8)  # in place of codes
_NO_BIAS = np.zeros(0, np.float32)
_NO_GRADIENT = np.zeros((1, 1, 1, 1), np.float32)
_MOST = 1 << 31  # bytes of an array that the walks of direct.py can name


@dataclass(frozen=True)
class Plan:
    """The shapes of a call and what follows from them. `exact` keeps it from Winograd's way; no pool: nothing is fused.

    ValueError where shapes do not go together, NotImplementedError beyond the reach of a code or a walk.
    """

    x: tuple
    w: tuple
    stride: Pair
    padding: Pair
    pool: Pair | None
    exact: bool

    def __post_init__(self) -> None:
        (n, ci, h, w_), (co, w_ci), (oh, ow) = self.x, self.w[:2], self.sizes
        if ci != w_ci:
            raise ValueError(f"x has {ci} channels (shape {self.x}), w is for {w_ci} (shape {self.w})")
        if self.pool and self.pool[0] * self.pool[1] > DEAD:
            raise NotImplementedError(f"max pooling over {self.pool} places: a window has at most {DEAD}")
        if 4 * (n + 2 * LINE) * max(ci * h * w_, co * oh * ow) >= _MOST:
            raise NotImplementedError(f"a convolution of {self.x} by {self.w} on the CPU: an array has at most 2 GB")

    @cached_property
    def sizes(self) -> Pair:
        """(oh, ow) of the convolution itself."""
        return out_size(self.x[2:], self.w[2:], self.stride, self.padding)

    @cached_property
    def out(self) -> tuple:
        """The shape of the result."""
        (oh, ow), (qh, qw) = self.sizes, self.pool or (1, 1)
        return self.x[0], self.w[0], oh // qh, ow // qw

    @cached_property
    def way(self) -> str:
        """winograd, rows (winograd_rows.py) or direct."""
        geometry = self.w, self.stride, self.padding, self.pool or (1, 1), self.sizes
        if not self.exact and winograd.fits(*geometry):
            return "winograd"
        return "rows" if not self.exact and winograd_rows.fits(*geometry) else "direct"

    # the tables of windows.py, for the rows and for the columns

    @cached_property
    def windows(self) -> tuple:
        return self._along(windows)

    @cached_property
    def readers(self) -> tuple:
        return self._along(readers)

    @cached_property
    def pixels(self) -> tuple:
        return self._along(pixels)

    def _along(self, table: Callable) -> tuple:
        return along(table, self.x[2:], self.sizes, self.w[2:], self.stride, self.padding)


plan = lru_cache(maxsize=256)(Plan)  # a step makes the same calls again and again


def forward(call: Plan, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> tuple:
    """(y, code); code is None where nothing is fused."""
    if b is not None:
        expect("b", b, call.w[:1])
    y, y_lines = empty(call.out)
    code, codes = empty(call.out, np.uint8) if call.pool else (None, _UNFUSED)
    pool = call.pool or (1, 1)
    bias = _NO_BIAS if b is None else np.ascontiguousarray(b)
    x, w = lines(x), np.ascontiguousarray(w)
    if call.way == "winograd":
        u = _points_of_weights(w, False)
        count = _chunk(call)
        room = _points(count + TARGET.lines, max(call.x[1], call.w[0]))
        v, m = room[:, TARGET.lines :, : call.x[1]], room[:, :count, : call.w[0]]
        winograd.forward(x, u, bias, y_lines, codes, v, m, call.padding, pool, code is not None)
    elif call.way == "rows":
        rows, _ = call.windows
        winograd_rows.forward(x, w, bias, y_lines, codes, rows, call.stride[0], call.padding[1], pool, code is not None)
    else:
        a = _packed(w, False)
        room = direct.room_for(x, a, y_lines, pool, call.stride[0])
        direct.convolve(x, a, bias, y_lines, codes, *call.windows, (1, 1), 1, pool, code is not None, room)
    return y, code


def backward(call: Plan, gy: np.ndarray, code: Any, x: Any, w: Any, need_x: bool, need_w: bool) -> tuple:
    """(gx, gw, gb), None where they are not needed; x may be None where gw is not, and w where gx is not."""
    expect("gy", gy, call.out)
    codes, pool, fused = _UNFUSED if code is None else lines(code), call.pool or (1, 1), code is not None
    gx, gx_lines = empty(call.x) if need_x else (None, None)
    gw, gb = (plain(call.w), plain(call.w[:1])) if need_w else (None, None)
    gy_lines = lines(gy)
    x_lines = lines(x) if need_w else None
    w = np.ascontiguousarray(w) if need_x else None
    if call.way == "winograd":
        u = _points_of_weights(w, True) if need_x else _NO_GRADIENT
        v, m = (_points(_chunk(call), channels) for channels in (call.x[1], call.w[0]))
        gu = _points_of_gradient(call.w) if need_w else _NO_GRADIENT
        winograd.backward(
            gy_lines, codes, x_lines if need_w else gx_lines, u, gx_lines if need_x else x_lines,
            gw if need_w else _NO_GRADIENT, gb if need_w else _NO_BIAS, v, m, gu,
            call.padding, pool, fused, need_x, need_w,
        )  # fmt: skip
        return gx, gw, gb
    if need_w:
        (rows, _), (row_taps, column_taps) = call.windows, call.pixels
        if call.way == "rows":
            winograd_rows.backward_weight(
                gy_lines, codes, x_lines, gw, gb, rows, row_taps, call.stride[0], call.padding[1], pool, fused
            )
        else:
            sums = plain((direct.parts_of(call.w, call.sizes), *call.w, LANES))
            column = call.sizes[1], call.stride[1], call.padding[1]
            direct.backward_weight(gy_lines, codes, x_lines, gw, gb, sums, rows, column_taps, *column, pool, fused)
    if need_x:
        if call.way == "rows":
            rows, _ = call.readers
            winograd_rows.backward_input(
                gy_lines, codes, w, gx_lines, rows, call.stride[0], call.padding[1], pool, fused
            )
        else:
            if fused:  # where the gradient came from before pool and ReLU
                shape = call.x[0], call.w[0], *call.sizes
                gy_lines = lines(maxpool2d_cpu.backward(gy, code, shape, pool, pool, (0, 0)))
            a = _packed(w, True)
            room = direct.room_for(gy_lines, a, gx_lines, (1, 1), 1)
            tables = *call.readers, call.stride, -1
            direct.convolve(gy_lines, a, _NO_BIAS, gx_lines, _UNFUSED, *tables, (1, 1), False, room)
    return gx, gw, gb


def _in_tiles(w: np.ndarray, exchanged: bool) -> tuple[int, int]:
    """(tiles of output channels, input channels), or of input channels where `exchanged`."""
    count, depth = (w.shape[1], w.shape[0]) if exchanged else w.shape[:2]
    return tiles_in_all(count, HEIGHTS), depth


def _packed(w: np.ndarray, exchanged: bool) -> np.ndarray:
    """The weights in tiles, for the direct way."""
    a = plain((*_in_tiles(w, exchanged), *w.shape[2:], TARGET.rows))
    direct.pack(w, a, exchanged)
    return a


def _points_of_weights(w: np.ndarray, exchanged: bool) -> np.ndarray:
    """Winograd's transformed weights, in tiles."""
    u = plain((36, *_in_tiles(w, exchanged), TARGET.rows))
    transform_weights(w, u, exchanged)
    return u


def _points_of_gradient(shape: tuple) -> np.ndarray:
    """Room for the gradient of the transformed weights, (36, co, ci in whole lines, 1)."""
    return plain((36, shape[0], line_count(shape[1]) * LINE, 1))


def _chunk(call: Plan) -> int:
    """Lines of a chunk: those of all images for as many tiles as the caches hold."""
    image_lines = line_count(call.x[0])
    tiles = -(-call.sizes[0] // 4) * -(-call.sizes[1] // 4)
    return max(1, min(tiles, _CHUNK // image_lines)) * image_lines


def _points(count: int, channels: int) -> np.ndarray:
    """Room for Winograd's points of `count` lines, (36, lines, channels, LINE).

    Odd distances, in lines, between lines and between points spread them over all sets of the caches; a tile of rows
    may read a few lines behind the last.
    """
    line = (channels | 1) * LINE
    point = (count * (channels | 1) | 1) * LINE
    memory = plain((36 * point + TARGET.rows * LINE,))
    return np.ndarray((36, count, channels, LINE), np.float32, memory, 0, (4 * point, 4 * line, 4 * LINE, 4))
