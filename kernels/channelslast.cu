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

// Weights for mma.cu: w -> y (rows, taps, padded), zeros in the columns from `columns` on. Of w, neighbouring rows are
// row_step apart, columns column_step and taps 1: output channels are the rows going forward, input channels going
// back, where the window is turned around. Thread i computes y[i].
extern "C" __global__ void weights_innermost(
    const float* w, float* y, int rows, int taps, int columns, int padded, int row_step, int column_step, int turned) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * taps * padded) return;
    const int column = i % padded, tap = i / padded % taps, row = i / padded / taps;
    const int from = row * row_step + column * column_step + (turned ? taps - 1 - tap : tap);
    y[i] = column < columns ? w[from] : 0.0f;
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
