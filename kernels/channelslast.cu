// To arrays with the channels innermost, each pixel's filled up to a multiple of 4: see channelslast.py. What stands
// behind the c channels is nobody's: it is not written.

// x (n, c, size) -> y (n, size, padded). A block transposes a square of SIDE pixels, counted through all images, and SIDE
// channels in shared memory, so that both sides are read and written in rows of neighbours; a row of the square is 1
// longer, or its columns would share a bank.

#define SIDE 32

extern "C" __global__ void __launch_bounds__(SIDE * 8) channels_innermost(
    const float* x, float* y, int n, int c, int size, int padded) {
    __shared__ float square[SIDE][SIDE + 1];
    const int p0 = blockIdx.x * SIDE, c0 = blockIdx.y * SIDE, tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    const int p = p0 + tx, from = p / size * c * size + p % size;
    for (int i = ty; i < SIDE; i += 8) square[i][tx] = c0 + i < c && p < n * size ? x[from + (c0 + i) * size] : 0.0f;
    __syncthreads();  // the square is complete before anybody reads it
    for (int i = ty; i < SIDE; i += 8)
        if (p0 + i < n * size && c0 + tx < c) y[(p0 + i) * padded + c0 + tx] = square[tx][i];
}

// And back: x (n, size, padded) -> y (n, c, size), by the same squares.
extern "C" __global__ void __launch_bounds__(SIDE * 8) channels_outermost(
    const float* x, float* y, int n, int c, int size, int padded) {
    __shared__ float square[SIDE][SIDE + 1];
    const int p0 = blockIdx.x * SIDE, c0 = blockIdx.y * SIDE, tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    const int p = p0 + tx, to = p / size * c * size + p % size;
    for (int i = ty; i < SIDE; i += 8)
        square[i][tx] = p0 + i < n * size && c0 + tx < c ? x[(p0 + i) * padded + c0 + tx] : 0.0f;
    __syncthreads();  // the square is complete before anybody reads it
    for (int i = ty; i < SIDE; i += 8)
        if (c0 + i < c && p < n * size) y[to + (c0 + i) * size] = square[tx][i];
}

// Weights for mma.cu: w (co, ci, taps) -> y (co, taps, ci), and behind it (ci, taps, co) with the window turned around,
// rows filled up with zeros to a multiple of 4. Thread i computes y[i], or what begins with y[skipped].
extern "C" __global__ void weights_innermost(const float* w, float* y, int co, int ci, int taps, int skipped) {
    const int padded_ci = (ci + 3) / 4 * 4, padded_co = (co + 3) / 4 * 4, forward = co * taps * padded_ci;
    const int i = blockIdx.x * blockDim.x + threadIdx.x + skipped;
    if (i >= forward + ci * taps * padded_co) return;
    const bool back = i >= forward;
    const int k = back ? i - forward : i, length = back ? padded_co : padded_ci;
    const int column = k % length, tap = k / length % taps, row = k / length / taps;
    const int o = back ? column : row, c = back ? row : column;
    y[i - skipped] = o < co && c < ci ? w[(o * ci + c) * taps + (back ? taps - 1 - tap : tap)] : 0.0f;
}

// The gradient before ReLU and pooling: gz (n, oh, ow, padded) from gy and code, which may lie anyhow. Thread i computes
// gz[i]: gy where it was the maximum of its window, else 0, as in rows and columns that are in no window.
extern "C" __global__ void unpool(
    const float* gy, const unsigned char* code, float* gz, int n, int c, int padded, int oh, int ow, int pool_h,
    int pool_w, int gy_n, int gy_c, int gy_h, int gy_w, int code_n, int code_c, int code_h, int code_w) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * oh * ow * padded) return;
    const int o = i % padded, ox = i / padded % ow, oy = i / padded / ow % oh, image = i / padded / ow / oh;
    const int wy = oy / pool_h, wx = ox / pool_w, place = oy % pool_h * pool_w + ox % pool_w;
    float g = 0.0f;
    if (o >= c) return;
    if (wy < oh / pool_h && wx < ow / pool_w)
        if (code[image * code_n + o * code_c + wy * code_h + wx * code_w] == place)
            g = gy[image * gy_n + o * gy_c + wy * gy_h + wx * gy_w];
    gz[i] = g;
}
