// 2-D max pooling, float32, NCHW; the formula and the rules for ties, NaN and padding are in maxpool2d_xp.py.

// Thread i computes y[i] and code[i]. It visits the places of its window that lie in the image, in row-major order,
// and keeps the first of the largest; a NaN is larger than every number. Where nothing is larger than minus infinity,
// the code is the first place in the image. Cost: each input is read once for each window it is in, mostly from cache.
extern "C" __global__ void maxpool2d_forward(
    const float* x, float* y, unsigned char* code, int n, int c, int h, int w_, int kh, int kw, int sh, int sw, int ph,
    int pw, int oh, int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * oh * ow) return;
    const int ox = i % ow, oy = i / ow % oh, plane = i / (ow * oh);
    const int top = oy * sh - ph, left = ox * sw - pw;
    const int ky0 = max(-top, 0), ky1 = min(h - top, kh);
    const int kx0 = max(-left, 0), kx1 = min(w_ - left, kw);
    float best = __int_as_float(0xFF800000);  // minus infinity
    int place = ky0 * kw + kx0;
    for (int ky = ky0; ky < ky1; ++ky) {
        for (int kx = kx0; kx < kx1; ++kx) {
            const float value = x[(plane * h + top + ky) * w_ + left + kx];
            if (value > best || (value != value && best == best)) {
                best = value;
                place = ky * kw + kx;
            }
        }
    }
    y[i] = best;
    code[i] = place;
}

// Thread i computes gx[i]: it visits the windows that its input is in, oy0 .. oy1-1 by ox0 .. ox1-1, and adds the
// gradients of those whose maximum it was. A gather needs neither atomics nor zeros beforehand, and its order is
// fixed. Cost: a byte is read for each window an input is in, and a float for each that it won.
extern "C" __global__ void maxpool2d_backward(
    const float* gy, const unsigned char* code, float* gx, int n, int c, int h, int w_, int kh, int kw, int sh, int sw,
    int ph, int pw, int oh, int ow) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * c * h * w_) return;
    const int ix = i % w_, iy = i / w_ % h, plane = i / (w_ * h);
    const int oy0 = max(iy + ph - kh + sh, 0) / sh, oy1 = min((iy + ph) / sh + 1, oh);
    const int ox0 = max(ix + pw - kw + sw, 0) / sw, ox1 = min((ix + pw) / sw + 1, ow);
    float sum = 0.0f;
    for (int oy = oy0; oy < oy1; ++oy) {
        for (int ox = ox0; ox < ox1; ++ox) {
            const int o = (plane * oh + oy) * ow + ox;
            const int place = (iy + ph - oy * sh) * kw + ix + pw - ox * sw;
            if (code[o] == place) sum += gy[o];
        }
    }
    gx[i] = sum;
}
