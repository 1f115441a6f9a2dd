// Softmax cross entropy with label smoothing, float32; the formula is in cross_entropy_xp.py.
//
// The wanted distribution q of a row is `on` at its target and `off` at the other classes.

// A warp computes one row of log_p, its lanes every 32nd class: three passes over the row, for its largest logit, for
// the sum of exponentials, and for log_p. A class that nobody wants adds nothing to the loss, were its log_p minus
// infinity. The block's 8 rows add up in shared memory; its barrier is met by the warps beyond the last row, too.
extern "C" __global__ void __launch_bounds__(256) cross_entropy_forward(
    const float* logits, const int* target, float* log_p, float* partial, int n, int classes, float on, float off) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    float loss = 0.0f;
    if (row < n) {
        const float* of_row = logits + row * classes;
        float largest = __int_as_float(0xFF800000);  // minus infinity
        for (int j = lane; j < classes; j += 32) largest = fmaxf(largest, of_row[j]);
        largest = warp_max(largest);
        float sum = 0.0f;
        for (int j = lane; j < classes; j += 32) sum += expf(of_row[j] - largest);
        const float log_sum = logf(warp_sum(sum));
        for (int j = lane; j < classes; j += 32) {
            const float value = of_row[j] - largest - log_sum, q = j == target[row] ? on : off;
            log_p[row * classes + j] = value;
            if (q != 0.0f) loss -= q * value;
        }
    }
    loss = block_sum<8>(loss);
    if (threadIdx.x == 0) partial[blockIdx.x] = loss;
}

// One block adds what the blocks before it left, in a fixed order, to the mean over the n rows.
extern "C" __global__ void __launch_bounds__(256) cross_entropy_mean(
    const float* partial, float* loss, int blocks, int n) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < blocks; i += 256) sum += partial[i];
    sum = block_sum<8>(sum);
    if (threadIdx.x == 0) loss[0] = sum / static_cast<float>(n);
}

// Thread i computes the gradient of logit i: (softmax - q) * gy / n. gy is one number in the device's memory, which
// the host need not wait for.
extern "C" __global__ void cross_entropy_backward(
    const float* gy, const float* log_p, const int* target, float* gx, int n, int classes, float on, float off) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * classes) return;
    const float q = i % classes == target[i / classes] ? on : off;
    gx[i] = (expf(log_p[i]) - q) * (gy[0] / static_cast<float>(n));
}
