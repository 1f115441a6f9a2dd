// The most that multiplications and additions of float32 can be: CHAINS sums a thread that do not wait for each other,
// and nothing else in the loop. A multiprocessor takes 4 cycles for one and starts 128 of them in each; 8 chains in 8
// warps of each of its 4 schedulers keep them busy with room to spare. peak.py times it.

#define CHAINS 8

// Thread i repeats sum = sum * factor + term `rounds` times in each of its chains, and adds them up, so that none of
// them can be left out. Cost: 2 * CHAINS * rounds operations.
extern "C" __global__ void __launch_bounds__(256) peak_multiply_adds(float* out, float factor, float term, int rounds) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sums[CHAINS];
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain) sums[chain] = (float)chain;
#pragma unroll 4
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int chain = 0; chain < CHAINS; ++chain) sums[chain] = fmaf(sums[chain], factor, term);
    }
    float total = 0.0f;
#pragma unroll
    for (int chain = 0; chain < CHAINS; ++chain) total += sums[chain];
    out[i] = total;
}
