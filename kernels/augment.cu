// Pictures into a batch, augmented and normalised, uint8 to float32; what is done is in augment_xp.py.

constexpr int PAD = 4, SQUARE = 8;  // those of augment_xp.py

// In 0 .. limit-1: see philox_xp.py.
__device__ inline int below(unsigned draw, int limit) { return __umulhi(draw, limit); }

// A block computes one channel of one picture; its draws are the same for all threads. Of the pixels, in row-major
// order, thread t computes every one that is t behind a multiple of the block's size, so that a warp writes side by
// side, and reads the bytes of a row or two side by side, backwards where they are flipped. Each operation rounds as
// the reference's does, so the bits are the same. Cost: a byte read, four written, and a division for each pixel.
extern "C" __global__ void __launch_bounds__(256) augment_forward(
    const unsigned char* x, const int* samples, const unsigned* words, const float* mean, const float* std, float* y,
    int c, int h, int w_, int crop, int flip, int cutout) {
    const int image = blockIdx.x / c, channel = blockIdx.x % c;
    const unsigned char* plane = x + (samples[image] * c + channel) * h * w_;
    const int down = crop ? below(words[4 * image], 2 * PAD + 1) - PAD : 0;
    const int right = crop ? below(words[4 * image + 1], 2 * PAD + 1) - PAD : 0;
    const bool mirrored = flip && words[4 * image + 2] >> 31;
    const int centre = cutout ? below(words[4 * image + 3], h * w_) : 0;
    const int top = cutout ? centre / w_ - SQUARE / 2 : h, left = centre % w_ - SQUARE / 2;
    for (int i = threadIdx.x; i < h * w_; i += blockDim.x) {
        const int oy = i / w_, ox = i % w_;
        const int iy = oy + down, ix = (mirrored ? w_ - 1 - ox : ox) + right;
        const bool inside = iy >= 0 && iy < h && ix >= 0 && ix < w_;
        const bool hidden = oy >= top && oy < top + SQUARE && ox >= left && ox < left + SQUARE;
        const float pixel = inside ? plane[iy * w_ + ix] : 0.0f;
        y[blockIdx.x * h * w_ + i] = hidden ? 0.0f : (pixel - mean[channel]) / std[channel];
    }
}
