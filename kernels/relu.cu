// The rectified linear unit, float32; the formula is in relu_xp.py.

__device__ inline float positive(float x) { return x <= 0.0f ? 0.0f : x; }  // NaN stays NaN
__device__ inline float where_positive(float y, float gy) { return y > 0.0f ? gy : 0.0f; }

// Thread i computes four neighbouring elements, in 16-byte accesses, as long as there are `fours`; the threads behind
// them compute one each of what is left. Cost: 8 bytes moved for each element.
extern "C" __global__ void __launch_bounds__(256) relu_forward(const float* x, float* y, int n, int fours) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, single = i + 3 * fours;
    if (i < fours) {
        const float4 xs = load4(x + 4 * i);
        store4(y + 4 * i, make_float4(positive(xs.x), positive(xs.y), positive(xs.z), positive(xs.w)));
    } else if (single < n) {
        y[single] = positive(x[single]);
    }
}

// As relu_forward. Cost: 12 bytes moved for each element.
extern "C" __global__ void __launch_bounds__(256) relu_backward(
    const float* gy, const float* y, float* gx, int n, int fours) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, single = i + 3 * fours;
    if (i < fours) {
        const float4 g = load4(gy + 4 * i), ys = load4(y + 4 * i);
        store4(gx + 4 * i, make_float4(where_positive(ys.x, g.x), where_positive(ys.y, g.y),
                                       where_positive(ys.z, g.z), where_positive(ys.w, g.w)));
    } else if (single < n) {
        gx[single] = where_positive(y[single], gy[single]);
    }
}
