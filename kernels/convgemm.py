"""Rung 3 of conv2d.cu in Numba CUDA: convolutions as matrix products in registers. The ideas are explained there.

Numba has no macros: what a -D chooses in CUDA C, a function chooses here, and what it defines is constant to its
kernel. An index is cast to uint32 where it meets an array, because for a signed one Numba asks whether it is negative.
"""

from functools import cache

from numba import cuda, float32, int32, uint32

from .convolution import TAPS, THREADS, TILES
from .launch import Floats, Int, NumbaKernel, numba_kernel

TILE_K = 8
REG_P = 4
TILE_S = 32
TILE_T = TAPS
ROWS = 8


@cuda.jit(device=True, inline="always")
def div(a, b):
    """a / b of C for a >= 0, b > 0, in 32 bits; Numba's // rounds down instead, in 64."""
    return int32(uint32(a) // uint32(b))


@cuda.jit(device=True, inline="always")
def mod(a, b):
    """a % b of C for a >= 0, b > 0."""
    return int32(uint32(a) % uint32(b))


def _multiply_slice(REG: int, REG_C: int, TX: int, STEPS: int):
    """sums[i, j] += points[k, tx + i * TX] * channels[k, ty * REG_C + j] over the steps k of a slice."""

    @cuda.jit(device=True)
    def multiply_slice(sums, points, channels, tx, ty):
        channel = cuda.local.array(REG_C, float32)
        for k in range(STEPS):
            for j in range(REG_C):
                channel[j] = channels[k, uint32(ty * REG_C + j)]
            for i in range(REG):
                point = points[k, uint32(tx + i * TX)]
                for j in range(REG_C):
                    sums[i, j] += point * channel[j]

    return multiply_slice


@cache
def forward(TILE_C: int) -> NumbaKernel:
    """conv2d_forward_gemm for blocks of TILE_C channels."""
    REG_C, TILE_P = TILES[TILE_C]
    TX, STAGED, PITCH = TILE_P // REG_P, TILE_P // THREADS, TILE_C + 4
    multiply_slice = _multiply_slice(REG_P, REG_C, TX, TILE_K)

    @numba_kernel
    def conv2d_forward_gemm(
        x: Floats, w: Floats, b: Floats, y: Floats, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int, kw: Int,
        sh: Int, sw: Int, ph: Int, pw: Int, oh: Int, ow: Int,
    ):  # fmt: skip
        xs = cuda.shared.array((TILE_K, TILE_P), float32)
        ws = cuda.shared.array((TILE_K, PITCH), float32)  # 4 more, or the TILE_K steps of a channel share a bank
        t = int32(cuda.threadIdx.x)
        tx, ty = mod(t, TX), div(t, TX)
        p0, o0 = int32(cuda.blockIdx.x * TILE_P), int32(cuda.blockIdx.y * TILE_C)
        pixels, depth = int32(n * oh * ow), int32(ci * kh * kw)
        iy = cuda.local.array(STAGED, int32)  # where the windows of the staged pixels start
        ix = cuda.local.array(STAGED, int32)
        at = cuda.local.array(STAGED, int32)
        for s in range(STAGED):
            p = int32(p0 + t + s * THREADS)
            iy[s] = mod(div(p, ow), oh) * sh - ph if p < pixels else h  # h: every row of this window is outside
            ix[s] = mod(p, ow) * sw - pw
            at[s] = (div(p, oh * ow) * ci * h + iy[s]) * w_ + ix[s]
        sums = cuda.local.array((REG_P, REG_C), float32)
        for j in range(REG_C):
            o = int32(o0 + ty * REG_C + j)
            bias = b[uint32(o)] if b.size > 0 and o < co else float32(0)
            for i in range(REG_P):
                sums[i, j] = bias
        c, ky, kx = int32(0), int32(0), int32(0)
        for k0 in range(int32(0), depth, int32(TILE_K)):
            for k in range(TILE_K):
                for s in range(STAGED):
                    value = float32(0)
                    if c < ci and uint32(iy[s] + ky) < uint32(h) and uint32(ix[s] + kx) < uint32(w_):
                        value = x[uint32(at[s] + (c * h + ky) * w_ + kx)]
                    xs[k, uint32(t + s * THREADS)] = value
                kx = int32(kx + 1)
                if kx == kw:
                    kx = int32(0)
                    ky = int32(ky + 1)
                if ky == kh:
                    ky = int32(0)
                    c = int32(c + 1)
            k = mod(t, TILE_K)
            for o in range(div(t, TILE_K), TILE_C, THREADS // TILE_K):
                value = float32(0)
                if o0 + o < co and k0 + k < depth:
                    value = w[uint32((o0 + o) * depth + k0 + k)]
                ws[uint32(k), uint32(o)] = value
            cuda.syncthreads()  # the slice is complete before anybody reads it
            multiply_slice(sums, xs, ws, tx, ty)
            cuda.syncthreads()  # everybody has read it before the next one overwrites it
        for i in range(REG_P):
            p = int32(p0 + tx + i * TX)
            to = int32(div(p, oh * ow) * co * oh * ow + mod(p, oh * ow))
            for j in range(REG_C):
                o = int32(o0 + ty * REG_C + j)
                if p < pixels and o < co:
                    y[uint32(to + o * oh * ow)] = sums[i, j]

    return conv2d_forward_gemm


@cache
def backward_input(TILE_C: int) -> NumbaKernel:
    """conv2d_backward_input_gemm for blocks of TILE_C input channels."""
    REG_C, TILE_P = TILES[TILE_C]
    TX, STAGED, PITCH = TILE_P // REG_P, TILE_P // THREADS, TILE_C + 4
    multiply_slice = _multiply_slice(REG_P, REG_C, TX, TILE_K)

    @numba_kernel
    def conv2d_backward_input_gemm(
        gy: Floats, w: Floats, gx: Floats, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int, kw: Int, sh: Int,
        sw: Int, ph: Int, pw: Int, oh: Int, ow: Int,
    ):  # fmt: skip
        gs = cuda.shared.array((TILE_K, TILE_P), float32)
        ws = cuda.shared.array((TILE_K, PITCH), float32)
        t = int32(cuda.threadIdx.x)
        tx, ty = mod(t, TX), div(t, TX)
        classes = int32(sh * sw)
        ry, rx = div(mod(cuda.blockIdx.x, classes), sw), mod(mod(cuda.blockIdx.x, classes), sw)
        p0, c0 = int32(div(cuda.blockIdx.x, classes) * TILE_P), int32(cuda.blockIdx.y * TILE_C)
        qh, qw = div(h + sh - 1, sh), div(w_ + sw - 1, sw)
        pixels = int32(n * qh * qw)  # inputs of a class, at most
        iy0, ix0 = mod(ry + ph * (sh - 1), sh), mod(rx + pw * (sw - 1), sw)  # its first row and column
        ny, nx = div(kh - ry + sh - 1, sh), div(kw - rx + sw - 1, sw)
        depth = int32(co * ny * nx)
        oy = cuda.local.array(STAGED, int32)  # the outputs that have read the staged inputs at ky = ry, kx = rx
        ox = cuda.local.array(STAGED, int32)
        at = cuda.local.array(STAGED, int32)
        for s in range(STAGED):
            p = int32(p0 + t + s * THREADS)
            oy[s] = div(mod(div(p, qw), qh) * sh + iy0 + ph - ry, sh) if p < pixels else -1  # -1: outside
            ox[s] = div(mod(p, qw) * sw + ix0 + pw - rx, sw)
            at[s] = (div(p, qh * qw) * co * oh + oy[s]) * ow + ox[s]
        sums = cuda.local.array((REG_P, REG_C), float32)
        for i in range(REG_P):
            for j in range(REG_C):
                sums[i, j] = float32(0)
        o, jy, jx = int32(0), int32(0), int32(0)
        for k0 in range(int32(0), depth, int32(TILE_K)):
            for k in range(TILE_K):
                for s in range(STAGED):
                    value = float32(0)
                    if o < co and uint32(oy[s] - jy) < uint32(oh) and uint32(ox[s] - jx) < uint32(ow):
                        value = gy[uint32(at[s] + (o * oh - jy) * ow - jx)]
                    gs[k, uint32(t + s * THREADS)] = value
                jx = int32(jx + 1)
                if jx == nx:
                    jx = int32(0)
                    jy = int32(jy + 1)
                if jy == ny:
                    jy = int32(0)
                    o = int32(o + 1)
            k = mod(t, TILE_K)
            tap, wo = mod(k0 + k, ny * nx), div(k0 + k, ny * nx)
            ky, kx = int32(ry + div(tap, nx) * sh), int32(rx + mod(tap, nx) * sw)
            for c in range(div(t, TILE_K), TILE_C, THREADS // TILE_K):
                value = float32(0)
                if c0 + c < ci and wo < co:
                    value = w[uint32(((wo * ci + c0 + c) * kh + ky) * kw + kx)]
                ws[uint32(k), uint32(c)] = value
            cuda.syncthreads()  # the slice is complete before anybody reads it
            multiply_slice(sums, gs, ws, tx, ty)
            cuda.syncthreads()  # everybody has read it before the next one overwrites it
        for i in range(REG_P):
            p = int32(p0 + tx + i * TX)
            iy, ix = int32(mod(div(p, qw), qh) * sh + iy0), int32(mod(p, qw) * sw + ix0)
            to = int32((div(p, qh * qw) * ci * h + iy) * w_ + ix)
            for j in range(REG_C):
                c = int32(c0 + ty * REG_C + j)
                if p < pixels and iy < h and ix < w_ and c < ci:
                    gx[uint32(to + c * h * w_)] = sums[i, j]

    return conv2d_backward_input_gemm


@cache
def backward_weight(TILE_C: int) -> NumbaKernel:
    """conv2d_backward_weight_gemm for blocks of TILE_C output channels."""
    REG_C = TILES[TILE_C].channels
    TX, PITCH, T_PITCH = THREADS * REG_C // TILE_C, TILE_C + 4, TILE_T + 1
    REG_T = TILE_T // TX
    multiply_slice = _multiply_slice(REG_T, REG_C, TX, TILE_S)

    @numba_kernel
    def conv2d_backward_weight_gemm(
        gy: Floats, x: Floats, partial: Floats, chunk: Int, n: Int, ci: Int, h: Int, w_: Int, co: Int, kh: Int,
        kw: Int, sh: Int, sw: Int, ph: Int, pw: Int, oh: Int, ow: Int,
    ):  # fmt: skip
        gs = cuda.shared.array((TILE_S, PITCH), float32)
        xs = cuda.shared.array((TILE_S, T_PITCH), float32)  # 1 more, or the pixels of a tap share a bank
        tap_at = cuda.shared.array(TILE_T, int32)
        tap_y = cuda.shared.array(TILE_T, int32)
        tap_x = cuda.shared.array(TILE_T, int32)
        t = int32(cuda.threadIdx.x)
        tx, ty, lane = mod(t, TX), div(t, TX), mod(t, TILE_S)
        t0, o0 = int32(cuda.blockIdx.y * TILE_T), int32(cuda.blockIdx.z * TILE_C)
        pixels, taps = int32(n * oh * ow), int32(ci * kh * kw)
        first = int32(cuda.blockIdx.x * chunk)
        end = int32(first + min(chunk, int32(pixels - first)))
        for i in range(t, TILE_T, THREADS):
            c, ky, kx = div(t0 + i, kh * kw), mod(div(t0 + i, kw), kh), mod(t0 + i, kw)
            tap_at[uint32(i)] = (c * h + ky) * w_ + kx
            tap_y[uint32(i)] = ky if t0 + i < taps else h + ph  # h + ph: outside in every window
            tap_x[uint32(i)] = kx
        cuda.syncthreads()  # the taps are complete before anybody stages
        sums = cuda.local.array((REG_T, REG_C), float32)
        for i in range(REG_T):
            for j in range(REG_C):
                sums[i, j] = float32(0)
        for q in range(first, end, int32(TILE_S)):
            p = int32(q + lane)
            image = div(p, oh * ow)
            iy, ix = int32(mod(div(p, ow), oh) * sh - ph), int32(mod(p, ow) * sw - pw)
            g_at, x_at = int32(image * co * oh * ow + mod(p, oh * ow)), int32((image * ci * h + iy) * w_ + ix)
            for o in range(div(t, TILE_S), TILE_C, THREADS // TILE_S):
                value = float32(0)
                if p < end and o0 + o < co:
                    value = gy[uint32(g_at + (o0 + o) * oh * ow)]
                gs[uint32(lane), uint32(o)] = value
            for i in range(div(t, TILE_S), TILE_T, THREADS // TILE_S):
                value = float32(1) if t0 + i == taps else float32(0)
                row, column = int32(iy + tap_y[uint32(i)]), int32(ix + tap_x[uint32(i)])
                if p < end and uint32(row) < uint32(h) and uint32(column) < uint32(w_):
                    value = x[uint32(x_at + tap_at[uint32(i)])]
                xs[uint32(lane), uint32(i)] = value
            cuda.syncthreads()  # the slice is complete before anybody reads it
            multiply_slice(sums, xs, gs, tx, ty)
            cuda.syncthreads()  # everybody has read it before the next one overwrites it
        for i in range(REG_T):
            tap = int32(t0 + tx + i * TX)
            to = int32(cuda.blockIdx.x * co * (taps + 1) + tap)
            for j in range(REG_C):
                o = int32(o0 + ty * REG_C + j)
                if o < co and tap <= taps:
                    partial[uint32(to + o * int32(taps + 1))] = sums[i, j]

    return conv2d_backward_weight_gemm


@numba_kernel
def conv2d_backward_weight_reduce(partial: Floats, gw: Floats, gb: Floats, splits: Int, co: Int, taps: Int):
    sums = cuda.shared.array((ROWS, 32), float32)
    t = int32(cuda.threadIdx.x)
    column, row = mod(t, 32), div(t, 32)
    i, columns = int32(cuda.blockIdx.x * 32 + column), int32(co * (taps + 1))
    o, tap = div(i, taps + 1), mod(i, taps + 1)
    total = float32(0)
    if i < columns:
        for s in range(row, splits, int32(ROWS)):
            total += partial[uint32(s * columns + i)]
    sums[uint32(row), uint32(column)] = total
    cuda.syncthreads()  # row 0 reads what the others have written
    if row == 0 and i < columns:
        for r in range(1, ROWS):
            total += sums[r, uint32(column)]
        if tap < taps:
            gw[uint32(o * taps + tap)] = total
        else:
            gb[uint32(o)] = total
