// 2-D cross-correlation, forward and backward, float32, NCHW; the shapes and the formula are in conv2d_xp.py.
// Rung 3 also with the ReLU and the pooling that follow it, as conv2d_relu_maxpool_xp.py says.
//
// A ladder: the same three passes, each rung with one idea more.
//   1 naive   one thread computes one output
//   2 tiled   a block shares its inputs in shared memory (forward)
//   3 gemm    a thread computes a block of outputs in registers: the convolution as a matrix product ("implicit
//             GEMM", Chetlur et al. 2014, https://arxiv.org/abs/1410.0759), whose matrix of windows is never stored
//
// Every output has one thread that writes it and a fixed order of summation, so that results are the same bits in
// every run. Padding is zeros that are not stored: a read outside the image yields 0. Indices are 32 bits wide.

// Rung 1. One thread computes one output from global memory. Neighbouring threads compute neighbouring pixels of one
// channel, so that a warp reads one weight and a row of inputs. Cost: two loads for each multiply-add.

// Thread i computes y[i].
extern "C" __global__ void conv2d_forward_naive(
    const float* x, const float* w, const float* b, float* y, int n, int ci, int h, int w_, int co, int kh, int kw,
    int sh, int sw, int ph, int pw, int oh, int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * co * oh * ow) return;
    const int ox = i % ow, oy = i / ow % oh, o = i / (ow * oh) % co, image = i / (ow * oh * co);
    float sum = b ? b[o] : 0.0f;
    for (int c = 0; c < ci; ++c) {
        for (int ky = 0; ky < kh; ++ky) {
            const int iy = oy * sh + ky - ph;
            if (iy < 0 || iy >= h) continue;
            for (int kx = 0; kx < kw; ++kx) {
                const int ix = ox * sw + kx - pw;
                if (ix < 0 || ix >= w_) continue;
                sum += x[((image * ci + c) * h + iy) * w_ + ix] * w[((o * ci + c) * kh + ky) * kw + kx];
            }
        }
    }
    y[i] = sum;
}

// Thread i computes gx[i]. It asks which outputs have read its input: the window that starts at oy * sh - ph has its
// row ky on iy, if iy + ph - ky is a multiple of sh.
extern "C" __global__ void conv2d_backward_input_naive(
    const float* gy, const float* w, float* gx, int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw,
    int ph, int pw, int oh, int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * ci * h * w_) return;
    const int ix = i % w_, iy = i / w_ % h, c = i / (w_ * h) % ci, image = i / (w_ * h * ci);
    float sum = 0.0f;
    for (int o = 0; o < co; ++o) {
        for (int ky = 0; ky < kh; ++ky) {
            const int oy = (iy + ph - ky) / sh;
            if (iy + ph - ky < 0 || (iy + ph - ky) % sh != 0 || oy >= oh) continue;
            for (int kx = 0; kx < kw; ++kx) {
                const int ox = (ix + pw - kx) / sw;
                if (ix + pw - kx < 0 || (ix + pw - kx) % sw != 0 || ox >= ow) continue;
                sum += gy[((image * co + o) * oh + oy) * ow + ox] * w[((o * ci + c) * kh + ky) * kw + kx];
            }
        }
    }
    gx[i] = sum;
}

// Thread i computes gw[i]; the co threads behind them compute gb. Cost: as many threads as there are weights, few in
// a first layer, and each walks over all n * oh * ow pixels.
extern "C" __global__ void conv2d_backward_weight_naive(
    const float* gy, const float* x, float* gw, float* gb, int n, int ci, int h, int w_, int co, int kh, int kw,
    int sh, int sw, int ph, int pw, int oh, int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, weights = co * ci * kh * kw;
    if (i >= weights + co) return;
    const bool bias = i >= weights;
    const int kx = i % kw, ky = i / kw % kh, c = i / (kw * kh) % ci, o = bias ? i - weights : i / (kw * kh * ci);
    float sum = 0.0f;
    for (int image = 0; image < n; ++image) {
        for (int oy = 0; oy < oh; ++oy) {
            const int iy = oy * sh + ky - ph;
            if (!bias && (iy < 0 || iy >= h)) continue;
            for (int ox = 0; ox < ow; ++ox) {
                const int ix = ox * sw + kx - pw;
                const float g = gy[((image * co + o) * oh + oy) * ow + ox];
                if (bias) sum += g;
                else if (ix >= 0 && ix < w_) sum += g * x[((image * ci + c) * h + iy) * w_ + ix];
            }
        }
    }
    if (bias) gb[o] = sum;
    else gw[i] = sum;
}

// Rung 2. Windows overlap, so rung 1 fetches each input kh * kw times. Here a block fetches it once: 16 x 16 threads
// compute 16 x 16 pixels of one output channel, and for one input channel after the other the block holds in shared
// memory the inputs under its windows, halo included ((15 * sh + kh) rows of (15 * sw + kw)), and the kh * kw weights.
// Cost: still two loads for each multiply-add, but from shared memory; x is fetched again for each output channel.

#define SIDE 16
extern __shared__ float shared[];

extern "C" __global__ void __launch_bounds__(SIDE * SIDE) conv2d_forward_tiled(
    const float* x, const float* w, const float* b, float* y, int n, int ci, int h, int w_, int co, int kh, int kw,
    int sh, int sw, int ph, int pw, int oh, int ow) {
    const int rows = (SIDE - 1) * sh + kh, columns = (SIDE - 1) * sw + kw;
    float* tile = shared;                     // (rows, columns) of x
    float* filter = shared + rows * columns;  // (kh, kw) of w
    const int across = (ow + SIDE - 1) / SIDE, down = (oh + SIDE - 1) / SIDE;
    const int ox0 = blockIdx.x % across * SIDE, oy0 = blockIdx.x / across % down * SIDE;
    const int o = blockIdx.x / (across * down) % co, image = blockIdx.x / (across * down * co);
    const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    float sum = b ? b[o] : 0.0f;
    for (int c = 0; c < ci; ++c) {
        for (int i = threadIdx.x; i < rows * columns; i += SIDE * SIDE) {
            const int iy = oy0 * sh - ph + i / columns, ix = ox0 * sw - pw + i % columns;
            const bool inside = iy >= 0 && iy < h && ix >= 0 && ix < w_;
            tile[i] = inside ? x[((image * ci + c) * h + iy) * w_ + ix] : 0.0f;
        }
        for (int i = threadIdx.x; i < kh * kw; i += SIDE * SIDE) filter[i] = w[(o * ci + c) * kh * kw + i];
        __syncthreads();  // the channel is complete before anybody reads it
        for (int ky = 0; ky < kh; ++ky)
            for (int kx = 0; kx < kw; ++kx)
                sum += tile[(ty * sh + ky) * columns + tx * sw + kx] * filter[ky * kw + kx];
        __syncthreads();  // everybody has read it before the next one overwrites it
    }
    if (oy0 + ty < oh && ox0 + tx < ow) y[((image * co + o) * oh + oy0 + ty) * ow + ox0 + tx] = sum;
}

// Rung 3. What limits rung 2 is that each multiply-add reads two numbers. A thread that holds REG_P inputs and REG_C
// weights in registers computes REG_P * REG_C products of them. So the pass is written as a matrix product, pixels x
// channels, summed over depth: ci * kh * kw going forward. A block of 128 threads computes TILE_P pixels of TILE_C
// channels; slice after slice of TILE_K steps of the depth it stages both factors in shared memory, and each thread
// multiplies its REG_P pixels with its REG_C channels.
//
// The TX threads with consecutive tx hold consecutive pixels: they stage, read and store without bank conflicts and
// in whole sectors. A warp lies within one ty, so that a weight is one broadcast, four of them one 16-byte load.
// Nobody returns before a barrier: pixels, channels and depth beyond the end are staged as zeros.
//
// TILE_C is chosen by the host, so that a layer of 6 channels does not compute 64; the fewer the channels, the more
// pixels. One slice of (TILE_P + TILE_C) * TILE_K loads feeds TILE_P * TILE_C * TILE_K multiply-adds.

#ifndef TILE_C
#define TILE_C 64  // 8, 16, 32 or 64
#endif
#define THREADS 128
#define TILE_K 8
#define REG_P 4
#define REG_C (TILE_C < 32 ? 8 : 16)
#define TX (THREADS * REG_C / TILE_C)
#define TILE_P (TX * REG_P)
#define STAGED (TILE_P / THREADS)  // pixels that one thread stages

// sums[i][j] += points[k][tx + i * TX] * channels[k][ty * REG_C + j] over the steps k of a slice; points are pixels,
// or the taps of the weights further below.
template <int REG, int STEPS, int WIDTH>
__device__ __forceinline__ void multiply_slice(
    float (&sums)[REG][REG_C], const float (&points)[STEPS][WIDTH], const float (&channels)[STEPS][TILE_C + 4], int tx,
    int ty) {
#pragma unroll 4
    for (int k = 0; k < STEPS; ++k) {
        float channel[REG_C];
#pragma unroll
        for (int j = 0; j < REG_C; j += 4) {
            const float4 four = load4(&channels[k][ty * REG_C + j]);
            channel[j] = four.x, channel[j + 1] = four.y, channel[j + 2] = four.z, channel[j + 3] = four.w;
        }
#pragma unroll
        for (int i = 0; i < REG; ++i) {
            const float point = points[k][tx + i * TX];
#pragma unroll
            for (int j = 0; j < REG_C; ++j) sums[i][j] += point * channel[j];
        }
    }
}

// Block (i, j) computes pixels i * TILE_P... of all images, counted through, and channels j * TILE_C...
// Step k of the depth is (c, ky, kx), the same for all threads, so it is counted up instead of divided out.
//
// What follows the sums: POOL 0 nothing, 1 ReLU, 2 ReLU and the maximum of 2x2 pixels, both with their code. With POOL 2
// pixels are counted window by window, those left out that no window reads, and a block takes the first pixel of all its
// windows, then the second, ...: so the REG_P pixels of a thread are one window, whose maximum it finds in registers.
template <int POOL>
__device__ __forceinline__ void forward_gemm(
    const float* x, const float* w, const float* b, float* y, unsigned char* code, int n, int ci, int h, int w_, int co,
    int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    constexpr int EDGE = POOL == 2 ? 2 : 1, PLACES = EDGE * EDGE, WINDOWS = TILE_P / PLACES;
    static_assert(REG_P == 4, "as many as places in a window");
    __shared__ float xs[TILE_K][TILE_P];
    __shared__ __align__(16) float ws[TILE_K][TILE_C + 4];  // 4 more, or the TILE_K steps of a channel share a bank
    const int t = threadIdx.x, tx = t % TX, ty = t / TX;
    const int q0 = blockIdx.x * WINDOWS, o0 = blockIdx.y * TILE_C;
    const int rows = oh / EDGE, columns = ow / EDGE, windows = n * rows * columns, depth = ci * kh * kw;
    int iy[STAGED], ix[STAGED], at[STAGED];  // where the windows of the staged pixels start
#pragma unroll
    for (int s = 0; s < STAGED; ++s) {
        const int q = q0 + (t + s * THREADS) % WINDOWS, place = (t + s * THREADS) / WINDOWS;
        iy[s] = q < windows ? (q / columns % rows * EDGE + place / EDGE) * sh - ph : h;  // h: every row is outside
        ix[s] = (q % columns * EDGE + place % EDGE) * sw - pw;
        at[s] = (q / (rows * columns) * ci * h + iy[s]) * w_ + ix[s];
    }
    float sums[REG_P][REG_C];
#pragma unroll
    for (int j = 0; j < REG_C; ++j) {
        const int o = o0 + ty * REG_C + j;
        const float bias = b && o < co ? b[o] : 0.0f;
#pragma unroll
        for (int i = 0; i < REG_P; ++i) sums[i][j] = bias;
    }
    int c = 0, ky = 0, kx = 0;
    for (int k0 = 0; k0 < depth; k0 += TILE_K) {
#pragma unroll
        for (int k = 0; k < TILE_K; ++k) {
#pragma unroll
            for (int s = 0; s < STAGED; ++s) {
                const bool inside = c < ci && (unsigned)(iy[s] + ky) < h && (unsigned)(ix[s] + kx) < w_;
                xs[k][t + s * THREADS] = inside ? x[at[s] + (c * h + ky) * w_ + kx] : 0.0f;
            }
            if (++kx == kw) kx = 0, ++ky;
            if (ky == kh) ky = 0, ++c;
        }
        const int k = t % TILE_K;
        for (int o = t / TILE_K; o < TILE_C; o += THREADS / TILE_K)
            ws[k][o] = o0 + o < co && k0 + k < depth ? w[(o0 + o) * depth + k0 + k] : 0.0f;
        __syncthreads();  // the slice is complete before anybody reads it
        multiply_slice(sums, xs, ws, tx, ty);
        __syncthreads();  // everybody has read it before the next one overwrites it
    }
#pragma unroll
    for (int i = 0; i < REG_P / PLACES; ++i) {
        const int q = q0 + tx + i * TX, to = q / (rows * columns) * co * rows * columns + q % (rows * columns);
#pragma unroll
        for (int j = 0; j < REG_C; ++j) {
            const int o = o0 + ty * REG_C + j, at = to + o * rows * columns;
            if (q >= windows || o >= co) continue;
            float window[PLACES];
#pragma unroll
            for (int place = 0; place < PLACES; ++place) window[place] = sums[i + place][j];
            y[at] = POOL > 0 ? relu_of_largest(window, code[at]) : window[0];
        }
    }
}

// The convolution: a block computes a tile of pixels x channels.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_forward_gemm(
    const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, float* __restrict__ y,
    int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    forward_gemm<0>(x, w, b, y, nullptr, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}
// The convolution and its ReLU.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_forward_relu(
    const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, float* __restrict__ y,
    unsigned char* __restrict__ code, int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw, int ph,
    int pw, int oh, int ow) {
    forward_gemm<1>(x, w, b, y, code, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}
// The convolution, its ReLU, and the maximum of 2x2 pixels.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_forward_relu_pool(
    const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, float* __restrict__ y,
    unsigned char* __restrict__ code, int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw, int ph,
    int pw, int oh, int ow) {
    forward_gemm<2>(x, w, b, y, code, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}

// The same product with gy for x and input channels for output channels; the depth is co * ny * nx.
// With a stride, row iy meets only the rows ky of a window with ky = iy + ph modulo sh. So the inputs fall into
// sh * sw classes (ry, rx), and a block computes inputs of one class: it visits ny = kh / sh rows of the window
// (rounded up or down), ky = ry, ry + sh, ..., and misses none. Without a stride there is one class.
//
// POOLED: what is multiplied is the gradient before ReLU and pooling, which is never stored: at an output pixel gy of its
// window, of side 1 << shift, where the code names the pixel, else 0. `place` of a pixel is what the code would be.
__device__ inline int place_in_window(int oy, int ox, int shift) { return (oy & shift) * 2 + (ox & shift); }

template <bool POOLED>
__device__ __forceinline__ void backward_input_gemm(
    const float* gy, const unsigned char* code, int shift, const float* w, float* gx, int n, int ci, int h, int w_,
    int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    __shared__ float gs[TILE_K][TILE_P];
    __shared__ __align__(16) float ws[TILE_K][TILE_C + 4];
    const int t = threadIdx.x, tx = t % TX, ty = t / TX;
    const int classes = sh * sw, ry = blockIdx.x % classes / sw, rx = blockIdx.x % classes % sw;
    const int p0 = blockIdx.x / classes * TILE_P, c0 = blockIdx.y * TILE_C;
    const int qh = (h + sh - 1) / sh, qw = (w_ + sw - 1) / sw, pixels = n * qh * qw;  // inputs of a class, at most
    const int iy0 = (ry + ph * (sh - 1)) % sh, ix0 = (rx + pw * (sw - 1)) % sw;       // its first row and column
    const int ny = (kh - ry + sh - 1) / sh, nx = (kw - rx + sw - 1) / sw, depth = co * ny * nx;
    const int rows = oh >> shift, columns = ow >> shift;  // of gy
    int oy[STAGED], ox[STAGED], at[STAGED];  // the outputs that have read the staged inputs at ky = ry, kx = rx
#pragma unroll
    for (int s = 0; s < STAGED; ++s) {
        const int p = p0 + t + s * THREADS;
        oy[s] = p < pixels ? (p / qw % qh * sh + iy0 + ph - ry) / sh : -1;  // -1: outside, as all before it
        ox[s] = (p % qw * sw + ix0 + pw - rx) / sw;
        at[s] = p / (qh * qw) * co * rows * columns;
        if (!POOLED) at[s] += oy[s] * ow + ox[s];
    }
    float sums[REG_P][REG_C] = {};
    int o = 0, jy = 0, jx = 0;
    for (int k0 = 0; k0 < depth; k0 += TILE_K) {
#pragma unroll
        for (int k = 0; k < TILE_K; ++k) {
#pragma unroll
            for (int s = 0; s < STAGED; ++s) {
                const int vy = oy[s] - jy, vx = ox[s] - jx;
                const bool inside = o < co && (unsigned)vy < rows << shift && (unsigned)vx < columns << shift;
                const int from = POOLED ? at[s] + (o * rows + (vy >> shift)) * columns + (vx >> shift)
                                        : at[s] + (o * oh - jy) * ow - jx;
                const float g = inside ? gy[from] : 0.0f;  // both are read at once, not one after the other
                const int named = POOLED && inside ? code[from] : 0;
                gs[k][t + s * THREADS] = !POOLED || named == place_in_window(vy, vx, shift) ? g : 0.0f;
            }
            if (++jx == nx) jx = 0, ++jy;
            if (jy == ny) jy = 0, ++o;
        }
        const int k = t % TILE_K, tap = (k0 + k) % (ny * nx), ky = ry + tap / nx * sh, kx = rx + tap % nx * sw;
        const int wo = (k0 + k) / (ny * nx);
        for (int c = t / TILE_K; c < TILE_C; c += THREADS / TILE_K)
            ws[k][c] = c0 + c < ci && wo < co ? w[((wo * ci + c0 + c) * kh + ky) * kw + kx] : 0.0f;
        __syncthreads();  // the slice is complete before anybody reads it
        multiply_slice(sums, gs, ws, tx, ty);
        __syncthreads();  // everybody has read it before the next one overwrites it
    }
#pragma unroll
    for (int i = 0; i < REG_P; ++i) {
        const int p = p0 + tx + i * TX, iy = p / qw % qh * sh + iy0, ix = p % qw * sw + ix0;
        const int to = (p / (qh * qw) * ci * h + iy) * w_ + ix;
#pragma unroll
        for (int j = 0; j < REG_C; ++j) {
            const int c = c0 + ty * REG_C + j;
            if (p < pixels && iy < h && ix < w_ && c < ci) gx[to + c * h * w_] = sums[i][j];
        }
    }
}

// The gradient of the input: a block computes a tile of pixels x channels.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_backward_input_gemm(
    const float* __restrict__ gy, const float* __restrict__ w, float* __restrict__ gx, int n, int ci, int h, int w_,
    int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    backward_input_gemm<false>(gy, nullptr, 0, w, gx, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}
// The same from the gradient and the code behind ReLU and pooling.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_backward_input_pooled(
    const float* __restrict__ gy, const unsigned char* __restrict__ code, int shift, const float* __restrict__ w,
    float* __restrict__ gx, int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw,
    int oh, int ow) {
    backward_input_gemm<true>(gy, code, shift, w, gx, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}

// gw as a matrix product: output channels x taps, summed over all pixels. A tap is a place (c, ky, kx) in a window;
// behind the ci * kh * kw of them stands one more that reads 1 everywhere: its weight gradient is gb. The sum is far
// longer than the matrix is large, so that one block for each tile would leave a GPU idle: the pixels are cut into
// gridDim.x splits of `chunk`, each writes a matrix of its own to partial (splits, co, taps + 1), and a second kernel
// adds them up in a fixed order. The number of splits depends on the shapes alone.
//
// Block (s, i, j) computes split s of taps i * TILE_T... and channels j * TILE_C... Slices are TILE_S pixels deep; a
// warp stages one channel or one tap at TILE_S consecutive pixels. Threads with consecutive tx hold consecutive taps.

#define TILE_S 32
#define TILE_T 128
#define REG_T (TILE_T / TX)

template <bool POOLED>
__device__ __forceinline__ void backward_weight_gemm(
    const float* gy, const unsigned char* code, int shift, const float* x, float* partial, int chunk, int n, int ci,
    int h, int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    __shared__ __align__(16) float gs[TILE_S][TILE_C + 4];
    __shared__ float xs[TILE_S][TILE_T + 1];  // 1 more, or the pixels of a tap share a bank
    __shared__ int tap_at[TILE_T], tap_y[TILE_T], tap_x[TILE_T];
    const int t = threadIdx.x, tx = t % TX, ty = t / TX, lane = t % TILE_S;
    const int t0 = blockIdx.y * TILE_T, o0 = blockIdx.z * TILE_C;
    const int pixels = n * oh * ow, taps = ci * kh * kw, rows = oh >> shift, columns = ow >> shift;
    const int first = blockIdx.x * chunk, end = first + min(chunk, pixels - first);
    for (int i = t; i < TILE_T; i += THREADS) {
        const int c = (t0 + i) / (kh * kw), ky = (t0 + i) / kw % kh, kx = (t0 + i) % kw;
        tap_at[i] = (c * h + ky) * w_ + kx;
        tap_y[i] = t0 + i < taps ? ky : h + ph;  // h + ph: outside in every window
        tap_x[i] = kx;
    }
    __syncthreads();  // the taps are complete before anybody stages
    float sums[REG_T][REG_C] = {};
    for (int q = first; q < end; q += TILE_S) {
        const int p = q + lane, image = p / (oh * ow), oy = p / ow % oh, ox = p % ow;
        const int iy = oy * sh - ph, ix = ox * sw - pw, x_at = (image * ci * h + iy) * w_ + ix;
        const int g_at = (image * co * rows + (oy >> shift)) * columns + (ox >> shift);
        const bool passes = p < end && (!POOLED || (oy < rows << shift && ox < columns << shift));
        for (int o = t / TILE_S; o < TILE_C; o += THREADS / TILE_S) {
            const bool inside = passes && o0 + o < co;
            const int from = g_at + (o0 + o) * rows * columns;
            const float g = inside ? gy[from] : 0.0f;
            const int named = POOLED && inside ? code[from] : 0;
            gs[lane][o] = !POOLED || named == place_in_window(oy, ox, shift) ? g : 0.0f;
        }
        for (int i = t / TILE_S; i < TILE_T; i += THREADS / TILE_S) {
            const bool inside = p < end && (unsigned)(iy + tap_y[i]) < h && (unsigned)(ix + tap_x[i]) < w_;
            xs[lane][i] = inside ? x[x_at + tap_at[i]] : t0 + i == taps ? 1.0f : 0.0f;
        }
        __syncthreads();  // the slice is complete before anybody reads it
        multiply_slice(sums, xs, gs, tx, ty);
        __syncthreads();  // everybody has read it before the next one overwrites it
    }
#pragma unroll
    for (int i = 0; i < REG_T; ++i) {
        const int tap = t0 + tx + i * TX, to = blockIdx.x * co * (taps + 1) + tap;
#pragma unroll
        for (int j = 0; j < REG_C; ++j) {
            const int o = o0 + ty * REG_C + j;
            if (o < co && tap <= taps) partial[to + o * (taps + 1)] = sums[i][j];
        }
    }
}

// The gradient of the weights: a block computes a tile of taps x channels, of one split.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_backward_weight_gemm(
    const float* __restrict__ gy, const float* __restrict__ x, float* __restrict__ partial, int chunk, int n, int ci,
    int h, int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    backward_weight_gemm<false>(gy, nullptr, 0, x, partial, chunk, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}
// The same from the gradient and the code behind ReLU and pooling.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_backward_weight_pooled(
    const float* __restrict__ gy, const unsigned char* __restrict__ code, int shift, const float* __restrict__ x,
    float* __restrict__ partial, int chunk, int n, int ci, int h, int w_, int co, int kh, int kw, int sh, int sw, int ph,
    int pw, int oh, int ow) {
    backward_weight_gemm<true>(gy, code, shift, x, partial, chunk, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}

// partial (splits, co, taps + 1) -> gw (co, taps) and gb (co,). A block adds up 32 columns: thread (column, row) every
// ROWS-th split, then the threads of row 0 the ROWS sums of their column. A warp reads 32 consecutive numbers.

#define ROWS 8

extern "C" __global__ void __launch_bounds__(32 * ROWS) conv2d_backward_weight_reduce(
    const float* partial, float* gw, float* gb, int splits, int co, int taps) {
    __shared__ float sums[ROWS][32];
    const int column = threadIdx.x % 32, row = threadIdx.x / 32, i = blockIdx.x * 32 + column;
    const int columns = co * (taps + 1), o = i / (taps + 1), tap = i % (taps + 1);
    float sum = 0.0f;
    if (i < columns)
        for (int s = row; s < splits; s += ROWS) sum += partial[s * columns + i];
    sums[row][column] = sum;
    __syncthreads();  // row 0 reads what the others have written
    if (row > 0 || i >= columns) return;
    for (int r = 1; r < ROWS; ++r) sum += sums[r][column];
    if (tap < taps) gw[o * taps + tap] = sum;
    else gb[o] = sum;
}
