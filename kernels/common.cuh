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

// Tensor cores and asynchronous copies: instructions of compute capability 8.0, in PTX. What each does, and how a matrix
// is spread over a warp, is said at the twins in sim/tensor_core.h.
#ifdef GPUCNN_SIM
using gpusim::cp_async, gpusim::cp_async_commit_group, gpusim::cp_async_wait_group;
using gpusim::cvt_rn_bf16x2, gpusim::ldmatrix_x4;
using gpusim::mma_m16n8k16_bf16, gpusim::mma_m16n8k8_tf32;
inline unsigned nearest_tf32(float x) { return gpusim::cvt_rna_tf32(x); }
#else
__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }
template <unsigned bytes> __device__ inline void cp_async(void* to, const void* from, unsigned used) {
    static_assert(bytes == 16, "others would need .ca");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(used));
}
__device__ inline void cp_async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int most> __device__ inline void cp_async_wait_group() {
    asm volatile("cp.async.wait_group %0;" ::"n"(most) : "memory");
}
// The nearest tf32; of two, the one away from zero, or the even one where that is a single instruction: from 9.0 on.
__device__ inline unsigned nearest_tf32(float x) {
    unsigned bits;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#endif
    return bits;
}
__device__ inline unsigned cvt_rn_bf16x2(float high, float low) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
__device__ inline void ldmatrix_x4(unsigned (&words)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(shared_address(row)) : "memory");
}
#define MMA(type)                                                                                                    \
    asm volatile("mma.sync.aligned." type " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"      \
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), \
                   "f"(c[3]))
__device__ inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                        const float (&c)[4]) {
    MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
}
__device__ inline void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                         const float (&c)[4]) {
    MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
}
#endif

// ReLU and max pooling over the sums of a window: the largest of them, and its code, which is the place of the first such
// one or, where it is not above 0, 255. A NaN is the largest, and passes.
template <int PLACES>
__device__ inline float relu_of_largest(const float (&sums)[PLACES], unsigned char& code) {
    float largest = sums[0];
    int place = 0;
#pragma unroll
    for (int other = 1; other < PLACES; ++other)
        if (sums[other] > largest || (sums[other] != sums[other] && largest == largest))
            largest = sums[other], place = other;
    code = largest <= 0.0f ? 255 : place;
    return largest <= 0.0f ? 0.0f : largest;
}

// The sum, or the maximum, over each LANES neighbouring lanes of a warp, the same bits in all of them: in each round a
// lane adds what a partner has, and both add the same two numbers. All 32 lanes must come here.
template <int LANES = 32>
__device__ inline float warp_sum(float value) {
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
    return value;
}
template <int LANES = 32>
__device__ inline float warp_max(float value) {  // fmaxf passes a NaN over
    for (int distance = LANES / 2; distance > 0; distance /= 2)
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

// As block_sum, for two sums at once.
template <int WARPS>
__device__ inline void block_sums(float& a, float& b) {
    __shared__ float sums[2][WARPS];
    a = warp_sum(a);
    b = warp_sum(b);
    if (threadIdx.x % 32 == 0) {
        sums[0][threadIdx.x / 32] = a;
        sums[1][threadIdx.x / 32] = b;
    }
    __syncthreads();  // the sums of all warps are there
    a = b = 0.0f;
    for (int warp = 0; warp < WARPS; ++warp) {
        a += sums[0][warp];
        b += sums[1][warp];
    }
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
