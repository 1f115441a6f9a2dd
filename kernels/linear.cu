// The fully connected layer, float32: x (n, ci), w (co, ci), b (co,), y (n, co), row-major.
//
//   forward          y  = x * w^T + b    (n, co), summed over ci
//   backward_input   gx = gy * w         (n, ci), summed over co
//   backward_weight  gw = gy^T * x       (co, ci), summed over n
//
// One routine computes all three: out (rows, columns) = a * b, summed over depth. Of a factor, the depth lies along
// its rows in memory (x and w going forward, gy for gx) or across them.

#define TILE 64    // rows and columns of out that a block computes
#define SLICE 16   // steps of the depth that are in shared memory at a time
#define THREADS 256

// Copy TILE lines of a factor, `first` and on, over the depth k0 .. k1-1 to shared memory, transposed where needed:
// tile[s][i] is step k0 + s of line first + i, and 0 beyond the end of either. Neighbouring threads read neighbouring
// numbers in both cases.
template <bool ALONG>
__device__ inline void stage(float (*tile)[TILE + 4], const float* factor, int first, int lines, int k0, int k1,
                             int depth) {
    for (int t = threadIdx.x; t < TILE * SLICE; t += THREADS) {
        const int s = ALONG ? t % SLICE : t / TILE, i = ALONG ? t / SLICE : t % TILE;
        const int line = first + i, k = k0 + s;
        const int at = ALONG ? line * depth + k : k * lines + line;
        tile[s][i] = line < lines && k < k1 ? factor[at] : 0.0f;
    }
}

// A block computes TILE x TILE numbers of out over `chunk` steps of the depth, those of blockIdx.z; with several
// chunks, out is (chunks, rows, columns) and linear_reduce adds them. A thread keeps 4 x 4 sums in registers, so that
// 8 numbers from shared memory, in two 16-byte loads, make 16 multiply-adds. A line of a tile is 4 longer than TILE,
// or the steps of a transposed copy would share a bank. Cost: each factor is read once for each TILE of the other.
template <bool A_ALONG, bool B_ALONG>
__device__ inline void multiply(const float* a, const float* b, const float* bias, float* out, int rows, int columns,
                                int depth, int chunk) {
    __shared__ __align__(16) float as[SLICE][TILE + 4];
    __shared__ __align__(16) float bs[SLICE][TILE + 4];
    const int row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
    const int begin = blockIdx.z * chunk, end = min(begin + chunk, depth);
    const int tx = threadIdx.x % 16 * 4, ty = threadIdx.x / 16 * 4;
    float sums[4][4] = {};
    for (int k = begin; k < end; k += SLICE) {
        stage<A_ALONG>(as, a, row0, rows, k, end, depth);
        stage<B_ALONG>(bs, b, column0, columns, k, end, depth);
        __syncthreads();  // the slice is complete before anybody reads it
#pragma unroll
        for (int s = 0; s < SLICE; ++s) {
            const float4 a4 = load4(&as[s][ty]), b4 = load4(&bs[s][tx]);
            const float of_a[4] = {a4.x, a4.y, a4.z, a4.w}, of_b[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] += of_a[i] * of_b[j];
        }
        __syncthreads();  // everybody has read it before the next one overwrites it
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int row = row0 + ty + i;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int column = column0 + tx + j;
            if (row < rows && column < columns)
                out[(blockIdx.z * rows + row) * columns + column] = sums[i][j] + (bias ? bias[column] : 0.0f);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) linear_forward(
    const float* x, const float* w, const float* b, float* y, int n, int ci, int co, int chunk) {
    multiply<true, true>(x, w, b, y, n, co, ci, chunk);
}

extern "C" __global__ void __launch_bounds__(THREADS) linear_backward_input(
    const float* gy, const float* w, float* gx, int n, int ci, int co, int chunk) {
    multiply<true, false>(gy, w, nullptr, gx, n, ci, co, chunk);
}

extern "C" __global__ void __launch_bounds__(THREADS) linear_backward_weight(
    const float* gy, const float* x, float* gw, int n, int ci, int co, int chunk) {
    multiply<false, false>(gy, x, nullptr, gw, co, ci, n, chunk);
}

// Thread i computes number i of out (rows, columns): the sum over the chunks in their order, and the bias.
extern "C" __global__ void linear_reduce(
    const float* partial, const float* b, float* out, int chunks, int rows, int columns) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * columns) return;
    float sum = b ? b[i % columns] : 0.0f;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * rows * columns + i];
    out[i] = sum;
}

// A block sums 32 columns of gy (n, co): warp r takes every 8th row from r on, one lane a column, so that a warp reads
// 32 neighbours; then the first warp adds the 8 sums of each column in their order.
extern "C" __global__ void __launch_bounds__(THREADS) linear_backward_bias(
    const float* gy, float* gb, int n, int co) {
    __shared__ float sums[THREADS / 32][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, o = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (o < co)
        for (int row = warp; row < n; row += THREADS / 32) sum += gy[row * co + o];
    sums[warp][lane] = sum;
    __syncthreads();  // the sums of all warps are there
    if (warp == 0 && o < co) {
        for (int other = 1; other < THREADS / 32; ++other) sum += sums[other][lane];
        gb[o] = sum;
    }
}
