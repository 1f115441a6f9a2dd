// Batch normalisation, float32, x (n, c, pixels); the formula is in batch_norm_xp.py.
//
// Each pass is a pair of kernels. The first has `splits` blocks for each channel, which share its n * pixels numbers in
// parts of `chunk`, and leaves two numbers for each block in partial (c, splits, 2). The second has the same blocks:
// every thread adds up its channel's parts, in their order, then the block computes its part of the result. So sums
// depend on shapes alone, and x is read twice, gy twice, and nothing else of their size.

// Number k of the n * pixels numbers of a channel.
__device__ inline int place(int k, int channel, int c, int pixels) {
    return (k / pixels * c + channel) * pixels + k % pixels;
}

// partial: the mean of each part, and the sum of its squared distances from it. A number of the part is taken off all
// of them before they are squared: what is left is as small as their spread, and loses no digits.
extern "C" __global__ void __launch_bounds__(256) batch_norm_statistics(
    const float* x, float* partial, int n, int c, int pixels, int splits, int chunk) {
    const int channel = blockIdx.x / splits, first = blockIdx.x % splits * chunk;
    const int count = min(chunk, n * pixels - first);
    const float shift = x[place(first, channel, c, pixels)];
    float sum = 0.0f, squares = 0.0f;
    for (int k = first + threadIdx.x; k < first + count; k += 256) {
        const float value = x[place(k, channel, c, pixels)] - shift;
        sum += value;
        squares += value * value;
    }
    block_sums<8>(sum, squares);
    if (threadIdx.x == 0) {
        const float mean = sum / static_cast<float>(count);
        partial[2 * blockIdx.x] = shift + mean;
        partial[2 * blockIdx.x + 1] = squares - sum * mean;
    }
}

// y, and from the channel's first block its mean, scale and the new running statistics, and the count of batches. The parts' distances are from
// their own means; each mean's distance from the channel's comes in addition, once for each number of the part.
extern "C" __global__ void __launch_bounds__(256) batch_norm_normalise(
    const float* x, const float* partial, const float* weight, const float* bias, const float* running_mean,
    const float* running_var, const long long* batches, float* y, float* mean, float* scale, float* new_mean,
    float* new_var, long long* new_batches, int n, int c, int pixels, int splits, int chunk, float momentum,
    float eps) {
    const int channel = blockIdx.x / splits, first = blockIdx.x % splits * chunk, total = n * pixels;
    const float* parts = partial + 2 * channel * splits;
    const float shift = parts[0];
    float sum = 0.0f;
    for (int s = 0; s < splits; ++s) sum += (parts[2 * s] - shift) * static_cast<float>(min(chunk, total - s * chunk));
    const float middle = shift + sum / static_cast<float>(total);
    float squares = 0.0f;
    for (int s = 0; s < splits; ++s) {
        const float away = parts[2 * s] - middle;
        squares += parts[2 * s + 1] + away * away * static_cast<float>(min(chunk, total - s * chunk));
    }
    const float var = squares / static_cast<float>(total), inverse = 1.0f / sqrtf(var + eps);
    const float factor = inverse * weight[channel], offset = bias[channel];
    for (int k = first + threadIdx.x; k < min(first + chunk, total); k += 256) {
        const int i = place(k, channel, c, pixels);
        y[i] = (x[i] - middle) * factor + offset;
    }
    if (first == 0 && threadIdx.x == 0) {
        mean[channel] = middle;
        scale[channel] = inverse;
        const float unbiased = squares / static_cast<float>(total - 1);
        new_mean[channel] = running_mean[channel] + momentum * (middle - running_mean[channel]);
        new_var[channel] = running_var[channel] + momentum * (unbiased - running_var[channel]);
        if (channel == 0) new_batches[0] = batches[0] + 1;
    }
}

// Thread i computes y[i] with the running statistics; the first image's first pixels leave scale.
extern "C" __global__ void batch_norm_evaluate(
    const float* x, const float* weight, const float* bias, const float* mean, const float* var, float* y, float* scale,
    int n, int c, int pixels, float eps) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * pixels) return;
    const int channel = i / pixels % c;
    const float inverse = 1.0f / sqrtf(var[channel] + eps);
    y[i] = (x[i] - mean[channel]) * (inverse * weight[channel]) + bias[channel];
    if (i < c * pixels && i % pixels == 0) scale[channel] = inverse;
}

// partial: the sums of gy and of gy * normal over each part.
extern "C" __global__ void __launch_bounds__(256) batch_norm_backward_sums(
    const float* gy, const float* x, const float* mean, const float* scale, float* partial, int n, int c, int pixels,
    int splits, int chunk) {
    const int channel = blockIdx.x / splits, first = blockIdx.x % splits * chunk;
    const float middle = mean[channel], inverse = scale[channel];
    float of_gy = 0.0f, of_product = 0.0f;
    for (int k = first + threadIdx.x; k < min(first + chunk, n * pixels); k += 256) {
        const int i = place(k, channel, c, pixels);
        of_gy += gy[i];
        of_product += gy[i] * ((x[i] - middle) * inverse);
    }
    block_sums<8>(of_gy, of_product);
    if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = of_gy;
        partial[2 * blockIdx.x + 1] = of_product;
    }
}

// gx, and from the channel's first block gw and gb. training: 1 where mean and scale are the batch's own, else 0.
extern "C" __global__ void __launch_bounds__(256) batch_norm_backward_input(
    const float* gy, const float* x, const float* partial, const float* weight, const float* mean, const float* scale,
    float* gx, float* gw, float* gb, int n, int c, int pixels, int splits, int chunk, int training) {
    const int channel = blockIdx.x / splits, first = blockIdx.x % splits * chunk, total = n * pixels;
    const float* parts = partial + 2 * channel * splits;
    float of_gy = 0.0f, of_product = 0.0f;
    for (int s = 0; s < splits; ++s) {
        of_gy += parts[2 * s];
        of_product += parts[2 * s + 1];
    }
    if (first == 0 && threadIdx.x == 0) {
        gb[channel] = of_gy;
        gw[channel] = of_product;
    }
    const float middle = mean[channel], inverse = scale[channel], factor = weight[channel] * inverse;
    const float share = training ? 1.0f / static_cast<float>(total) : 0.0f;
    for (int k = first + threadIdx.x; k < min(first + chunk, total); k += 256) {
        const int i = place(k, channel, c, pixels);
        const float normal = (x[i] - middle) * inverse;
        gx[i] = (gy[i] - of_gy * share - normal * (of_product * share)) * factor;
    }
}
