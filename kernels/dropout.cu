// Dropout, float32: y = x * scale where a draw is at least `threshold`, and x * 0 elsewhere, so that a NaN stays one.
// Forward and backward are the same kernels: a draw depends on its place alone, so it is made again, not stored.
//
// Four draws are one call of the generator: those of elements 4*b .. 4*b+3 of a sample have the counter
// (b, sample, epoch, use), and the seed is the key. The epoch is read from the device's memory, where a host that
// repeats a recorded launch can change it.

// A thread makes four draws and computes their four elements. Cost: some 100 integer instructions for 32 bytes moved.
extern "C" __global__ void dropout_elements(
    const float* x, const int* samples, const unsigned* epoch, float* y, int n, int elements, unsigned seed_low,
    unsigned seed_high, unsigned use, unsigned threshold, float scale) {
    const int fours = (elements + 3) / 4, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * fours) return;
    const int row = i / fours, four = i % fours;
    const uint4 words = philox(make_uint4(four, samples[row], epoch[0], use), make_uint2(seed_low, seed_high));
    const unsigned draws[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
        const int element = 4 * four + word, at = row * elements + element;
        if (element < elements) y[at] = x[at] * (draws[word] >= threshold ? scale : 0.0f);
    }
}

// A warp makes the four draws of four neighbouring channels, each lane the same ones, and its lanes share the work on
// each channel, a plane of `inner` numbers.
extern "C" __global__ void dropout_channels(
    const float* x, const int* samples, const unsigned* epoch, float* y, int n, int channels, int inner,
    unsigned seed_low, unsigned seed_high, unsigned use, unsigned threshold, float scale) {
    const int fours = (channels + 3) / 4, i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (i >= n * fours) return;
    const int row = i / fours, four = i % fours;
    const uint4 words = philox(make_uint4(four, samples[row], epoch[0], use), make_uint2(seed_low, seed_high));
    const unsigned draws[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
        const int channel = 4 * four + word, plane = (row * channels + channel) * inner;
        const float factor = draws[word] >= threshold ? scale : 0.0f;
        if (channel < channels)
            for (int p = threadIdx.x % 32; p < inner; p += 32) y[plane + p] = x[plane + p] * factor;
    }
}
