// Pictures into a batch, augmented and normalised, uint8 to float32; what is done is in augment_xp.py. Each operation
// rounds as the reference's does, so the bits are the same.

constexpr int PAD = 4, SQUARE = 8;  // those of augment_xp.py

// In 0 .. limit-1: see philox_xp.py.
__device__ inline int below(unsigned draw, int limit) { return __umulhi(draw, limit); }

// What the draws of a picture say: how far the window is moved, whether it is mirrored, and where the square begins.
struct Draws {
    int down, right;
    bool mirrored;
    int top, left;
};

__device__ inline Draws draws(const unsigned* words, int image, int h, int w_, bool crop, bool flip, bool cutout) {
    const int down = crop ? below(words[4 * image], 2 * PAD + 1) - PAD : 0;
    const int right = crop ? below(words[4 * image + 1], 2 * PAD + 1) - PAD : 0;
    const bool mirrored = flip && words[4 * image + 2] >> 31;
    const int centre = cutout ? below(words[4 * image + 3], h * w_) : 0;
    return {down, right, mirrored, cutout ? centre / w_ - SQUARE / 2 : h, centre % w_ - SQUARE / 2};
}

// What becomes of pixel i of a plane, one channel of a picture.
__device__ inline float pixel(const unsigned char* plane, const Draws& d, int i, int h, int w_, float mean, float std) {
    const int oy = i / w_, ox = i % w_;
    const int iy = oy + d.down, ix = (d.mirrored ? w_ - 1 - ox : ox) + d.right;
    const bool inside = iy >= 0 && iy < h && ix >= 0 && ix < w_;
    const bool hidden = oy >= d.top && oy < d.top + SQUARE && ox >= d.left && ox < d.left + SQUARE;
    const float value = inside ? plane[iy * w_ + ix] : 0.0f;
    return hidden ? 0.0f : (value - mean) / std;
}

// A block computes one channel of one picture; its draws are the same for all threads. Of the pixels, in row-major
// order, thread t computes every one that is t behind a multiple of the block's size, so that a warp writes side by
// side, and reads the bytes of a row or two side by side, backwards where they are mirrored. Cost: a byte read, four
// written, and a division for each pixel.
extern "C" __global__ void __launch_bounds__(256) augment_forward(
    const unsigned char* x, const int* samples, const unsigned* words, const float* mean, const float* std, float* y,
    int c, int h, int w_, int crop, int flip, int cutout) {
    const int image = blockIdx.x / c, channel = blockIdx.x % c;
    const unsigned char* plane = x + (samples[image] * c + channel) * h * w_;
    const Draws d = draws(words, image, h, w_, crop, flip, cutout);
    for (int i = threadIdx.x; i < h * w_; i += blockDim.x)
        y[blockIdx.x * h * w_ + i] = pixel(plane, d, i, h, w_, mean[channel], std[channel]);
}

// The same with the channels innermost, `padded` of them, a multiple of 4: y (n, h, w, padded), zeros from c on. A block
// computes one picture, a thread all channels of a pixel, four in one 16-byte access.
extern "C" __global__ void __launch_bounds__(256) augment_forward_innermost(
    const unsigned char* x, const int* samples, const unsigned* words, const float* mean, const float* std, float* y,
    int c, int padded, int h, int w_, int crop, int flip, int cutout) {
    const int image = blockIdx.x, size = h * w_;
    const unsigned char* picture = x + samples[image] * c * size;
    const Draws d = draws(words, image, h, w_, crop, flip, cutout);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        for (int first = 0; first < padded; first += 4) {
            float four[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int channel = first + k;
                if (channel < c) four[k] = pixel(picture + channel * size, d, i, h, w_, mean[channel], std[channel]);
            }
            store4(y + (image * size + i) * padded + first, make_float4(four[0], four[1], four[2], four[3]));
        }
    }
}
