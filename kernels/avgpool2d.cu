// 2-D average pooling, float32, NCHW; the formula is in avgpool2d_xp.py. Padding counts in the divisor.

// Thread i computes y[i] from the places of its window that lie in the image.
// Cost: each input is read once for each window it is in, mostly from cache.
extern "C" __global__ void avgpool2d_forward(
    const float* x, float* y, int n, int c, int h, int w_, int kh, int kw, int sh, int sw, int ph, int pw, int oh,
    int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * oh * ow) return;
    const int ox = i % ow, oy = i / ow % oh, plane = i / (ow * oh);
    const int top = oy * sh - ph, left = ox * sw - pw;
    const int ky0 = max(-top, 0), ky1 = min(h - top, kh);
    const int kx0 = max(-left, 0), kx1 = min(w_ - left, kw);
    float sum = 0.0f;
    for (int ky = ky0; ky < ky1; ++ky)
        for (int kx = kx0; kx < kx1; ++kx) sum += x[(plane * h + top + ky) * w_ + left + kx];
    y[i] = sum / static_cast<float>(kh * kw);
}

// Thread i computes gx[i]: its share of the gradient of every window that its input is in, oy0 .. oy1-1 by
// ox0 .. ox1-1. A gather needs neither atomics nor zeros beforehand, and its order is fixed.
extern "C" __global__ void avgpool2d_backward(
    const float* gy, float* gx, int n, int c, int h, int w_, int kh, int kw, int sh, int sw, int ph, int pw, int oh,
    int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * h * w_) return;
    const int ix = i % w_, iy = i / w_ % h, plane = i / (w_ * h);
    const int oy0 = max(iy + ph - kh + sh, 0) / sh, oy1 = min((iy + ph) / sh + 1, oh);
    const int ox0 = max(ix + pw - kw + sw, 0) / sw, ox1 = min((ix + pw) / sw + 1, ow);
    float sum = 0.0f;
    for (int oy = oy0; oy < oy1; ++oy)
        for (int ox = ox0; ox < ox1; ++ox) sum += gy[(plane * oh + oy) * ow + ox];
    gx[i] = sum / static_cast<float>(kh * kw);
}
