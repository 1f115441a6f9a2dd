// Convolution and matrix products on tensor cores: implicit GEMM (see conv2d.cu) over arrays with the channels
// innermost, x (n, h, w, ci), each pixel's channels filled up to a multiple of 4; launched by tensorcores.py.
//
// All arrays are float32. A tensor core multiplies fewer bits, with sums in float32; PRECISION says which:
//   TF32    both factors rounded to 10 bits of mantissa, 2^-11 of each
//   TF32X3  each factor as the sum of two such numbers, three products instead of one: the error is that of float32
//           (Ootomo and Yokota 2022, https://arxiv.org/abs/2203.03341)
//   BF16    both factors rounded to 7 bits of mantissa, 2^-8 of each, two of them in a register
// Factors are rounded on their way from shared memory to the tensor cores, so nothing else depends on it.
//
// A block computes TILE_M points x TILE_N channels, summed over a depth that it walks through in slices of 32; a warp
// computes WARP_M x WARP_N of them, in tiles of 16 x 8. Going forward a point is a pixel and the depth is a window;
// for the weights a point is a place (ky, kx, c) in the window and the depth is all pixels. 16-byte asynchronous copies
// bring in the slices, STAGES - 1 ahead, into places of shared memory from which no two threads of a warp read the
// same bank: the columns of a row are permuted by an exclusive or with its number, which takes no memory, so that three
// stages of the largest tile (96 KB) fit every GPU from compute capability 8.0 on.
//
// Every output has a fixed order of summation. Indices are 32 bits wide.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "the kernels tf32, tf32x3 and bf16 need a GPU of compute capability 8.0 (Ampere) or later"
#endif

#define TF32 0
#define TF32X3 1
#define BF16 2
#ifndef PRECISION
#define PRECISION TF32
#endif
#ifndef TILE_N
#define TILE_N 64  // 8, 16, 64 or 128
#endif
#define TILE_M 128
#define WARP_M (TILE_N < 64 ? 32 : 64)
#define WARP_N (TILE_N < 32 ? TILE_N : 32)
#define ACROSS (TILE_N / WARP_N)  // warps side by side
#define THREADS (32 * TILE_M / WARP_M * ACROSS)
#define SLICE 32
#define STAGES (TILE_N < 64 ? 2 : 3)
#define STAGE ((TILE_M + TILE_N) * SLICE)

extern __shared__ __align__(16) float shared[];  // (STAGES, STAGE)

// A factor of one multiplication: 16 steps of the depth of 8 * LINES rows of A or columns of B, LINES being 2 in A and 1
// in B. A thread holds step 4i + t of line g and, in A, of line g + 8, with g = lane / 4 and t = lane % 4, rounded: word
// LINES * i + j is of line g + 8j. Which step stands where is free as long as it is so in both factors; a word of
// bfloat16 takes steps 4i + t and 4i + 4 + t.
#define WORDS (PRECISION == BF16 ? 2 : 4)
template <int LINES> struct Factor {
    unsigned big[LINES * WORDS];
#if PRECISION == TF32X3
    unsigned small[LINES * WORDS];
#endif
};

template <int LINES> __device__ __forceinline__ Factor<LINES> rounded(const float (&steps)[4 * LINES]) {
    Factor<LINES> factor;
#pragma unroll
    for (int i = 0; i < LINES * WORDS; ++i) {
#if PRECISION == BF16
        const int first = i / LINES * 2 * LINES + i % LINES;
        factor.big[i] = cvt_rn_bf16x2(steps[first + LINES], steps[first]);
#else
        factor.big[i] = nearest_tf32(steps[i]);
#endif
#if PRECISION == TF32X3
        const float big = __uint_as_float(factor.big[i] & ~0x1FFFu);  // nothing says that the other bits are zeros
        factor.small[i] = nearest_tf32(steps[i] - big);
#endif
    }
    return factor;
}

// sums += a * b
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[2 * WORDS], const unsigned (&b)[WORDS]) {
#pragma unroll
    for (int i = 0; i < WORDS; i += 2) {
        const unsigned rows[4] = {a[2 * i], a[2 * i + 1], a[2 * i + 2], a[2 * i + 3]}, columns[2] = {b[i], b[i + 1]};
#if PRECISION == BF16
        mma_m16n8k16_bf16(sums, rows, columns, sums);
#else
        mma_m16n8k8_tf32(sums, rows, columns, sums);
#endif
    }
}
__device__ __forceinline__ void multiply(float (&sums)[4], const Factor<2>& a, const Factor<1>& b) {
#if PRECISION == TF32X3
    multiply(sums, a.small, b.big);  // the small ones first, or they would be rounded off
    multiply(sums, a.big, b.small);
#endif
    multiply(sums, a.big, b.big);
}

// sums += the slices' products. copy(stage) starts the copies of the next slice, and store(stage), much later, puts what
// came through registers to them; rows(stage, i, step) and columns(stage, j, step) are the factors of the 16 rows and 8
// columns of tile (i, j) from a step on; each(stage) is done once a slice, when it is there.
template <class Copy, class Store, class Rows, class Columns, class Each>
__device__ __forceinline__ void sum_slices(float (&sums)[WARP_M / 16][WARP_N / 8][4], int slices, Copy copy,
                                           Store store, Rows rows, Columns columns, Each each) {
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < slices) copy(s), store(s);
        cp_async_commit_group();
    }
    int stage = 0, next = STAGES - 1;
    for (int s = 0; s < slices; ++s) {
        cp_async_wait_group<STAGES - 2>();  // this thread's copies of slice s are there
        __syncthreads();                    // and everybody's; and nobody still reads slice s - 1, which is overwritten:
        if (s + STAGES - 1 < slices) copy(next);
        cp_async_commit_group();  // an empty one at the end, so that the wait counts right
#pragma unroll
        for (int step = 0; step < SLICE; step += 16) {
            Factor<1> b[WARP_N / 8];
#pragma unroll
            for (int j = 0; j < WARP_N / 8; ++j) b[j] = columns(stage, j, step);
#pragma unroll
            for (int i = 0; i < WARP_M / 16; ++i) {
                const Factor<2> a = rows(stage, i, step);
#pragma unroll
                for (int j = 0; j < WARP_N / 8; ++j) multiply(sums[i][j], a, b[j]);
            }
        }
        each(stage);
        if (s + STAGES - 1 < slices) store(next);
        stage = stage + 1 == STAGES ? 0 : stage + 1, next = next + 1 == STAGES ? 0 : next + 1;
    }
}

// A slice going forward: rows of 32 steps, points and then channels; 16-byte piece p of row r stands at piece p ^ r % 8.
// row0 is a multiple of 8.
__device__ __forceinline__ int piece_at(int row0, int row, int piece) {
    return row0 * SLICE + row * SLICE + (piece ^ row % 8) * 4;
}

// 16 steps of 8 * LINES lines from line0 on, four times 8 lines x 4 steps a load, in the order of the factor's words.
template <int LINES> __device__ __forceinline__ Factor<LINES> from_rows(const float* tile, int line0, int step) {
    const int lane = threadIdx.x % 32, line = lane % 8 + lane / 8 % LINES * 8;
    float steps[4 * LINES];
#pragma unroll
    for (int i = 0; i < LINES; ++i) {
        unsigned words[4];
        ldmatrix_x4(words, tile + piece_at(line0, line, step / 4 + 4 / LINES * i + lane / 8 / LINES));
#pragma unroll
        for (int j = 0; j < 4; ++j) steps[4 * i + j] = __uint_as_float(words[j]);
    }
    return rounded<LINES>(steps);
}

// Four threads of a warp, lanes l, l ^ 4, l ^ 8 and l ^ 12, hold a pixel of a 2x2 window each, and of it sums of two
// windows and two channels. They exchange them so that each has all four pixels, in order, of one window and channel:
// thread i of the four that of sums[i].
__device__ __forceinline__ void to_window(float (&sums)[4]) {
    const bool odd = threadIdx.x & 4, high = threadIdx.x & 8;
    float left[2], right[2];  // of the window's upper or lower row; for sums[odd] and sums[2 + odd]
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const float kept = odd ? sums[2 * i + 1] : sums[2 * i], given = odd ? sums[2 * i] : sums[2 * i + 1];
        const float got = __shfl_xor_sync(0xFFFFFFFFu, given, 4);
        left[i] = odd ? got : kept, right[i] = odd ? kept : got;
    }
    const float got_left = __shfl_xor_sync(0xFFFFFFFFu, high ? left[0] : left[1], 8);
    const float got_right = __shfl_xor_sync(0xFFFFFFFFu, high ? right[0] : right[1], 8);
    sums[0] = high ? got_left : left[0], sums[1] = high ? got_right : right[0];
    sums[2] = high ? left[1] : got_left, sums[3] = high ? right[1] : got_right;
}

// y = conv2d(x, w, b), and what follows it: POOL 0 nothing, 1 ReLU, 2 ReLU and the maximum of 2x2 pixels, with the code
// of conv2d_relu_maxpool_xp.py.
//
// w is (co, kh, kw, ci), channels filled up with zeros like those of x. y and code may lie anyhow: their strides are
// y_n, y_c, y_h and y_w. Block (i, j, k) computes pixels i * TILE_M... of all images, counted through, and channels
// j * TILE_N...; of the depth it sums `chunk` slices from k * chunk on, and with several such parts y is (parts, part),
// without bias. With POOL 2 pixels are counted window by window, so that a warp has whole windows, and those that no
// window reads are left out.
//
// DILATED: it is x that is spread, by sh - 1 rows and sw - 1 columns of zeros that are not stored, and windows start at
// every pixel of the result: the gradient of the input of a convolution with strides. It multiplies with those zeros,
// sh * sw times what would be needed, because none of our networks has such a layer.
template <int POOL, bool DILATED>
__device__ __forceinline__ void convolve(
    const float* x, const float* w, const float* b, float* y, unsigned char* code, int n, int ci, int h, int w_, int co,
    int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow, int y_n, int y_c, int y_h, int y_w, int chunk,
    int part) {
    constexpr int SIDE = POOL == 2 ? 2 : 1, PLACES = SIDE * SIDE, ROWS = THREADS / 8;  // ROWS are copied at a time
    const int t = threadIdx.x, lane = t % 32, row0 = t / 32 / ACROSS * WARP_M, column0 = t / 32 % ACROSS * WARP_N;
    const int p0 = blockIdx.x * TILE_M, o0 = blockIdx.y * TILE_N, windows_h = oh / SIDE, windows_w = ow / SIDE;
    const int points = n * windows_h * windows_w * SIDE * SIDE, piece = t % 8;
    const int pieces = (ci + 3) / 4, depth = kh * kw * pieces;  // of a pixel and of a window
    int iy[TILE_M / ROWS], ix[TILE_M / ROWS], at[TILE_M / ROWS];  // where the windows of this thread's rows start
#pragma unroll
    for (int i = 0; i < TILE_M / ROWS; ++i) {
        const int p = p0 + i * ROWS + t / 8, window = p / (SIDE * SIDE);
        const int oy = window / windows_w % windows_h * SIDE + p % (SIDE * SIDE) / SIDE;
        iy[i] = (DILATED ? oy : oy * sh) - ph;
        if (p >= points) iy[i] = h * sh;  // every row of this window is outside
        ix[i] = (window % windows_w * SIDE + p % SIDE) * (DILATED ? 1 : sw) - pw;
        at[i] = window / (windows_w * windows_h) * h * w_ * pieces;
        if (!DILATED) at[i] += (iy[i] * w_ + ix[i]) * pieces;
    }
    const int first = blockIdx.z * chunk, slices = min(chunk, (depth + 7) / 8 - first);
    int q = first * 8 + piece;  // the piece of the window that this thread copies next: (ky, kx, c)
    int c = q % pieces, kx = q / pieces % kw, ky = q / pieces / kw;
    const auto copy = [&](int stage) {
        float *points_at = shared + stage * STAGE, *channels_at = points_at + TILE_M * SLICE;
        const int bytes = ky < kh ? min(16, 4 * (ci - 4 * c)) : 0, tap = (ky * w_ + kx) * pieces + c;
#pragma unroll
        for (int i = 0; i < TILE_M / ROWS; ++i) {
            const int vy = iy[i] + ky, vx = ix[i] + kx;
            bool inside = bytes > 0;
            int from = at[i] + tap;
            if (DILATED) {
                inside = inside && vy >= 0 && vx >= 0 && vy % sh == 0 && vx % sw == 0 && vy / sh < h && vx / sw < w_;
                from = at[i] + (vy / sh * w_ + vx / sw) * pieces + c;
            } else {
                inside = inside && (unsigned)vy < h && (unsigned)vx < w_;
            }
            cp_async<16>(points_at + piece_at(i * ROWS, t / 8, piece), x + 4 * from, inside ? bytes : 0);
        }
#pragma unroll
        for (int i = 0; i < (TILE_N + ROWS - 1) / ROWS; ++i) {
            const int row = i * ROWS + t / 8;
            if (TILE_N % ROWS == 0 || row < TILE_N)
                cp_async<16>(channels_at + piece_at(i * ROWS, t / 8, piece), w + 4 * ((o0 + row) * depth + q),
                             bytes > 0 && o0 + row < co ? 16 : 0);
        }
        for (q += 8, c += 8; c >= pieces; c -= pieces)
            if (++kx == kw) kx = 0, ++ky;
    };
    float sums[WARP_M / 16][WARP_N / 8][4] = {};
    sum_slices(
        sums, slices, copy, [](int) {},
        [&](int stage, int i, int step) { return from_rows<2>(shared + stage * STAGE, row0 + 16 * i, step); },
        [&](int stage, int j, int step) {
            return from_rows<1>(shared + stage * STAGE + TILE_M * SLICE, column0 + 8 * j, step);
        },
        [](int) {});
#pragma unroll
    for (int i = 0; POOL == 2 && i < WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; ++j) to_window(sums[i][j]);
    // Of tile (i, j), sums[i][j] are in rows lane / 4 and lane / 4 + 8 and columns lane % 4 * 2 and the next one.
#pragma unroll
    for (int i = 0; i < WARP_M / 16; ++i) {
#pragma unroll
        for (int half = 0; half < (POOL == 2 ? 1 : 2); ++half) {
            const int row = POOL == 2 ? lane / 16 * 4 + (lane & 8) : lane / 4 + half * 8;
            const int p = p0 + row0 + 16 * i + row, window = p / (SIDE * SIDE);
            const int to = window / (windows_w * windows_h) * y_n + window / windows_w % windows_h * y_h +
                           window % windows_w * y_w + blockIdx.z * part;
#pragma unroll
            for (int j = 0; j < WARP_N / 8; ++j) {
#pragma unroll
                for (int k = 0; k < (POOL == 2 ? 1 : 2); ++k) {
                    const int o = o0 + column0 + 8 * j + lane % 4 * 2 + (POOL == 2 ? (lane & 4) / 4 : k);
                    if (p >= points || o >= co) continue;
                    float of_window[PLACES];
#pragma unroll
                    for (int place = 0; place < PLACES; ++place)
                        of_window[place] = sums[i][j][POOL == 2 ? place : 2 * half + k] + (b ? b[o] : 0.0f);
                    y[to + o * y_c] = POOL > 0 ? relu_of_largest(of_window, code[to + o * y_c]) : of_window[0];
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) mma_forward(
    const float* x, const float* w, const float* b, float* y, int n, int ci, int h, int w_, int co, int kh, int kw,
    int sh, int sw, int ph, int pw, int oh, int ow, int y_n, int y_c, int y_h, int y_w, int chunk, int part) {
    convolve<0, false>(x, w, b, y, nullptr, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow, y_n, y_c, y_h, y_w, chunk,
                       part);
}
extern "C" __global__ void __launch_bounds__(THREADS) mma_forward_dilated(
    const float* x, const float* w, const float* b, float* y, int n, int ci, int h, int w_, int co, int kh, int kw,
    int dy, int dx, int ph, int pw, int oh, int ow, int y_n, int y_c, int y_h, int y_w, int chunk, int part) {
    convolve<0, true>(x, w, b, y, nullptr, n, ci, h, w_, co, kh, kw, dy, dx, ph, pw, oh, ow, y_n, y_c, y_h, y_w, chunk,
                      part);
}
extern "C" __global__ void __launch_bounds__(THREADS) mma_forward_relu(
    const float* x, const float* w, const float* b, float* y, unsigned char* code, int n, int ci, int h, int w_, int co,
    int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow, int y_n, int y_c, int y_h, int y_w, int chunk,
    int part) {
    convolve<1, false>(x, w, b, y, code, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow, y_n, y_c, y_h, y_w, chunk,
                       part);
}
extern "C" __global__ void __launch_bounds__(THREADS) mma_forward_relu_pool(
    const float* x, const float* w, const float* b, float* y, unsigned char* code, int n, int ci, int h, int w_, int co,
    int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow, int y_n, int y_c, int y_h, int y_w, int chunk,
    int part) {
    convolve<2, false>(x, w, b, y, code, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow, y_n, y_c, y_h, y_w, chunk,
                       part);
}

// y[i] = the sum of parts[0..count-1][i] in their order, and b. Rows are `columns` long.
extern "C" __global__ void mma_forward_reduce(const float* parts, const float* b, float* y, int count, int rows,
                                              int columns) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * columns) return;
    float sum = 0.0f;
    for (int part = 0; part < count; ++part) sum += parts[part * rows * columns + i];
    y[i] = b ? sum + b[i % columns] : sum;
}

// A slice for the weights: 32 pixels of WIDTH points or channels. Threads with t = lane % 4 read 8 columns of row t, or
// of 4i + t further down: those 8 are at another place in each of 4 rows, so that they are in all 32 banks.
template <int WIDTH> __device__ __forceinline__ int column_at(int row, int column) {
    return row * WIDTH + (column ^ row % 4 * (WIDTH < 32 ? WIDTH : 32) / 32 * 8);
}

// 16 steps of 8 * LINES lines from line0 on, in the order of the factor's words.
template <int LINES, int WIDTH>
__device__ __forceinline__ Factor<LINES> from_columns(const float* tile, int line0, int step) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float steps[4 * LINES];
#pragma unroll
    for (int j = 0; j < LINES; ++j) {
        const float* line = tile + g + column_at<WIDTH>(t, line0 + 8 * j);
#pragma unroll
        for (int i = 0; i < 4; ++i) steps[LINES * i + j] = line[(step + 4 * i) * WIDTH];
    }
    return rounded<LINES>(steps);
}

// Four neighbouring channels of a pixel of the gradient before ReLU and pooling, which is never stored: of each, gy of
// its window where the code names the pixel, else 0. On their way they are gy as it is, and for each a byte that is 0
// where it passes.
struct Piece {
    float4 gy;
    unsigned differs;
};

// Of piece number `from`, `there` channels are there: at most 4, none if it is 0 or less. `place` is the pixel's in its
// window. Nothing depends on whether it is there but what passes, so that no load waits for anything.
__device__ __forceinline__ Piece fetched(const float* gy, const unsigned* code, int from, int there, unsigned place) {
    const unsigned behind = there >= 4 ? 0 : there <= 0 ? 0xFFFFFFFFu : 0xFFFFFFFFu << 8 * there;
    from = there > 0 ? from : 0;
    return {load4(gy + 4 * from), (code[from] ^ place * 0x01010101u) | behind};
}
__device__ __forceinline__ void store_passed(float* to, const Piece& piece) {
    store4(to, make_float4(piece.differs & 0xFF ? 0.0f : piece.gy.x, piece.differs & 0xFF00 ? 0.0f : piece.gy.y,
                           piece.differs & 0xFF0000 ? 0.0f : piece.gy.z, piece.differs >> 24 ? 0.0f : piece.gy.w));
}

// gw as a product: the places (ky, kx, c) of a window x output channels, summed over all pixels. There are far more
// pixels than weights, so the pixels are cut into gridDim.x splits of `chunk`, each writes a matrix of its own to
// partial (splits, places + 1, channels), and mma_backward_weight_reduce adds them in a fixed order. The last row is
// gb, which the first block of each channel sums on the way, in float32. The number of splits depends on the shapes
// alone.
//
// Block (s, i, j) computes split s of places i * TILE_M... and channels j * TILE_N...; places and channels include
// those that fill up a pixel. x and gy have the channels innermost.
//
// POOLED: gy and code, channels innermost, are of windows of side 1 << shift.
template <bool POOLED>
__device__ __forceinline__ void backward_weight(
    const float* gy, const unsigned* code, int shift, const float* x, float* partial, int chunk, int n, int ci, int h,
    int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    constexpr int ROWS = THREADS / 8, OWN = TILE_M / 32;  // rows copied at a time; pieces of x that a thread copies of each
    const int t = threadIdx.x, lane = t % 32, row0 = t / 32 / ACROSS * WARP_M, column0 = t / 32 % ACROSS * WARP_N;
    const int first = blockIdx.x * chunk, k0 = blockIdx.y * TILE_M, o0 = blockIdx.z * TILE_N, piece = t % 8;
    const int pixels = n * oh * ow, end = first + min(chunk, pixels - first);
    const int pieces = (ci + 3) / 4, places = kh * kw * pieces * 4, channels = (co + 3) / 4 * 4;
    const int rows = oh >> shift, columns = ow >> shift;  // of gy
    int ky[OWN], kx[OWN], at[OWN], bytes[OWN];  // the places that this thread copies
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
        const int q = k0 / 4 + piece + 8 * i, c = q % pieces;
        ky[i] = q / pieces / kw, kx[i] = q / pieces % kw;
        at[i] = (ky[i] * w_ + kx[i]) * pieces + c;
        bytes[i] = ky[i] < kh ? min(16, 4 * (ci - 4 * c)) : 0;
    }
    int p = first + t / 8;  // the pixel that this thread copies next
    Piece own[POOLED ? SLICE / ROWS : 1][(TILE_N + 31) / 32];
    const auto copy = [&](int stage) {
        float *points_at = shared + stage * STAGE, *channels_at = points_at + TILE_M * SLICE;
#pragma unroll
        for (int row = 0; row < SLICE; row += ROWS, p += ROWS) {
            const int line = (unsigned)p / ow, image = (unsigned)line / oh, oy = line - image * oh, ox = p - line * ow;
            const int iy = oy * sh - ph, ix = ox * sw - pw;
            const int from = ((image * h + iy) * w_ + ix) * pieces;
#pragma unroll
            for (int i = 0; i < OWN; ++i) {
                const bool inside = p < end && (unsigned)(iy + ky[i]) < h && (unsigned)(ix + kx[i]) < w_;
                cp_async<16>(points_at + row * TILE_M + column_at<TILE_M>(t / 8, 4 * piece) + 32 * i,
                             x + 4 * (from + at[i]), inside ? bytes[i] : 0);
            }
            const bool passes = p < end && oy < rows << shift && ox < columns << shift;
            const int pixel = POOLED ? (image * rows + (oy >> shift)) * columns + (ox >> shift) : p;
#pragma unroll
            for (int o = 0; o < TILE_N; o += 32) {
                const int at_gy = pixel * channels + o0 + o + 4 * piece;
                if (POOLED)
                    own[row / ROWS][o / 32] =
                        fetched(gy, code, at_gy / 4, passes && o + 4 * piece < TILE_N ? co - o0 - o - 4 * piece : 0,
                                (oy & shift) * 2 + (ox & shift));
                else if (o + 4 * piece < TILE_N)
                    cp_async<16>(channels_at + row * TILE_N + column_at<TILE_N>(t / 8, 4 * piece) + o,
                                 gy + at_gy, p < end ? max(0, min(16, 4 * (co - o0 - o - 4 * piece))) : 0);
            }
        }
    };
    const auto store = [&](int stage) {
        float* channels_at = shared + stage * STAGE + TILE_M * SLICE;
#pragma unroll
        for (int row = 0; POOLED && row < SLICE; row += ROWS)
#pragma unroll
            for (int o = 0; o < TILE_N; o += 32)
                if (o + 4 * piece < TILE_N)
                    store_passed(channels_at + row * TILE_N + column_at<TILE_N>(t / 8, 4 * piece) + o,
                                 own[row / ROWS][o / 32]);
    };
    float sums[WARP_M / 16][WARP_N / 8][4] = {}, bias = 0.0f;
    sum_slices(
        sums, (end - first + SLICE - 1) / SLICE, copy, store,
        [&](int stage, int i, int step) {
            return from_columns<2, TILE_M>(shared + stage * STAGE + row0, 16 * i, step);
        },
        [&](int stage, int j, int step) {
            return from_columns<1, TILE_N>(shared + stage * STAGE + TILE_M * SLICE + column0, 8 * j, step);
        },
        [&](int stage) {  // the threads of a channel take every (THREADS / TILE_N)-th pixel
            for (int row = t / TILE_N; blockIdx.y == 0 && row < SLICE; row += THREADS / TILE_N)
                bias += shared[stage * STAGE + TILE_M * SLICE + column_at<TILE_N>(row, t % TILE_N)];
        });
    float* to = partial + blockIdx.x * (places + 1) * channels;
#pragma unroll
    for (int i = 0; i < WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; ++j)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int place = k0 + row0 + 16 * i + lane / 4 + k / 2 * 8, o = o0 + column0 + 8 * j + lane % 4 * 2 + k % 2;
                if (place < places && o < channels) to[place * channels + o] = sums[i][j][k];
            }
    __syncthreads();  // nobody reads a slice any more
    shared[t] = bias;
    __syncthreads();  // the sums of all threads are there
    if (blockIdx.y > 0 || t >= TILE_N || o0 + t >= channels) return;
    for (int other = t + TILE_N; other < THREADS; other += TILE_N) bias += shared[other];
    to[places * channels + o0 + t] = bias;
}

extern "C" __global__ void __launch_bounds__(THREADS) mma_backward_weight(
    const float* gy, const float* x, float* partial, int chunk, int n, int ci, int h, int w_, int co, int kh, int kw,
    int sh, int sw, int ph, int pw, int oh, int ow) {
    backward_weight<false>(gy, nullptr, 0, x, partial, chunk, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}
extern "C" __global__ void __launch_bounds__(THREADS) mma_backward_weight_pooled(
    const float* gy, const unsigned* code, int shift, const float* x, float* partial, int chunk, int n, int ci, int h,
    int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh, int ow) {
    backward_weight<true>(gy, code, shift, x, partial, chunk, n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow);
}

// partial (splits, places + 1, channels) -> gw (co, ci, taps) and gb (co,). A block adds up 32 columns: thread (column,
// row) every 8th split, then the threads of row 0 the 8 sums of their column. A warp reads 32 consecutive numbers.
extern "C" __global__ void __launch_bounds__(256) mma_backward_weight_reduce(
    const float* partial, float* gw, float* gb, int splits, int co, int ci, int taps) {
    __shared__ float of_rows[8][32];
    const int column = threadIdx.x % 32, row = threadIdx.x / 32, i = blockIdx.x * 32 + column;
    const int inner = (ci + 3) / 4 * 4, channels = (co + 3) / 4 * 4, columns = (taps * inner + 1) * channels;
    const int o = i % channels, place = i / channels, c = place % inner, tap = place / inner;
    float sum = 0.0f;
    if (i < columns)
        for (int s = row; s < splits; s += 8) sum += partial[s * columns + i];
    of_rows[row][column] = sum;
    __syncthreads();  // row 0 reads what the others have written
    if (row > 0 || i >= columns || o >= co) return;
    for (int r = 1; r < 8; ++r) sum += of_rows[r][column];
    if (tap == taps) gb[o] = sum;
    else if (c < ci) gw[(o * ci + c) * taps + tap] = sum;
}
