// Global average pooling, float32, NCHW: the mean of each channel of each image, a plane of h * w_ numbers.

// A warp computes the mean of one plane. Neighbouring lanes read neighbouring numbers, then shuffles add the lanes'
// sums, which needs neither shared memory nor a barrier. Lanes of a warp share their plane, so they return together.
extern "C" __global__ void globalavgpool2d_forward(const float* x, float* y, int n, int c, int h, int w_) {
    const int plane = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (plane >= n * c) return;
    float sum = 0.0f;
    for (int i = lane; i < h * w_; i += 32) sum += x[plane * h * w_ + i];
    sum = warp_sum(sum);
    if (lane == 0) y[plane] = sum / static_cast<float>(h * w_);
}

// Thread i computes gx[i], its share of the gradient of its plane's mean.
extern "C" __global__ void globalavgpool2d_backward(const float* gy, float* gx, int n, int c, int h, int w_) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * h * w_) return;
    gx[i] = gy[i / (h * w_)] / static_cast<float>(h * w_);
}
