// What several kernels share; gpucnn_kernels.source() puts it in front of every .cu file.
//
// On a CPU (GPUCNN_SIM) the same text is compiled as C++, so what only a GPU has stands here once, with its twin.

// Four neighbouring floats in one 16-byte access. A GPU faults where the address is no multiple of 16.
#ifdef GPUCNN_SIM
inline float4 load4(const float* p, gpusim::Site at = gpusim::here()) {
    if (reinterpret_cast<size_t>(p) % 16) gpusim::gpusim_stop("misaligned", "16-byte access", at.file, at.line);
    return *reinterpret_cast<const float4*>(p);
}
inline void store4(float* p, float4 value, gpusim::Site at = gpusim::here()) {
    if (reinterpret_cast<size_t>(p) % 16) gpusim::gpusim_stop("misaligned", "16-byte access", at.file, at.line);
    *reinterpret_cast<float4*>(p) = value;
}
#else
__device__ inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline void store4(float* p, float4 value) { *reinterpret_cast<float4*>(p) = value; }
#endif

// The sum, or the maximum, over the 32 lanes of a warp, the same bits in every lane: in each of five rounds a lane
// adds what a partner has, and both add the same two numbers. All 32 lanes must come here.
__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
    return value;
}
__device__ inline float warp_max(float value) {  // fmaxf passes a NaN over
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, distance));
    return value;
}

// The sum over the 32 * WARPS threads of a block, the same bits in every thread. Each warp sums its lanes, then every
// thread adds the warps' sums in their order. All threads must come here, once a kernel.
template <int WARPS>
__device__ inline float block_sum(float value) {
    __shared__ float sums[WARPS];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();  // the sums of all warps are there
    float total = 0.0f;
    for (int warp = 0; warp < WARPS; ++warp) total += sums[warp];
    return total;
}

// Philox4x32-10: four random words from their place alone, the same bits as philox_xp.py (the paper is named there).
__device__ inline uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        const unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}
