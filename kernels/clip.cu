// Gradients whose norm is limited, float32; the formula is in clip_xp.py.

// Each block adds up the squares of its threads' elements, every gridDim.x * 256th one, into an element of `sums`: there
// are no float atomics, so that the order of the sum, and its bits, depend on n alone. Cost: 4 bytes read an element.
extern "C" __global__ void __launch_bounds__(256) clip_squares(const float* g, float* sums, int n) {
    float sum = 0.0f;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) sum += g[i] * g[i];
    sum = block_sum<8>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Thread i scales element i, once its block has added up the sums of the blocks before, at most one for each of its
// threads: they come from the cache, and a third kernel would take longer to launch. out may be g.
extern "C" __global__ void __launch_bounds__(256) clip_scale(
    const float* g, const float* sums, float* out, int n, int blocks, float max_norm) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    const float norm = sqrtf(block_sum<8>(threadIdx.x < blocks ? sums[threadIdx.x] : 0.0f));
    const float factor = max_norm / (norm + 1e-6f);
    if (i < n) out[i] = g[i] * (factor > 1.0f ? 1.0f : factor);
}
