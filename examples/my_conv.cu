// A convolution of your own: one thread computes one output, straight from the definition.
//
//     gpucnn kernels check examples/my_conv.cu --op conv2d
//     gpucnn train --dataset digits --model tinydigits-cnn --device sim --kernels conv2d=examples/my_conv.cu
//
// A kernel is named after the function it computes, and its parameters after what they are: arrays x, w, b, y,
// gy, gx, gw, gb; sizes n, ci, h, w_, co, kh, kw, sh, sw, ph, pw, oh, ow. It takes those it needs, in any order;
// b is null without a bias. What this file leaves out, the gradients, runs on gpucnn's own kernels.

// launch: grid=(n * co, ceil_div(oh * ow, 64)) block=(64)
extern "C" __global__ void conv2d_forward(const float* x, const float* w, const float* b, float* y, int ci, int h,
                                          int w_, int co, int kh, int kw, int sh, int sw, int ph, int pw, int oh,
                                          int ow) {
  int pixel = blockIdx.y * blockDim.x + threadIdx.x;
  int c = blockIdx.x % co;
  int image = blockIdx.x / co;
  if (pixel >= oh * ow) return;
  int oy = pixel / ow;
  int ox = pixel % ow;
  float sum = b ? b[c] : 0.0f;
  for (int i = 0; i < ci; i++)
    for (int ky = 0; ky < kh; ky++)
      for (int kx = 0; kx < kw; kx++) {
        int iy = oy * sh + ky - ph;
        int ix = ox * sw + kx - pw;
        if (iy >= 0 && iy < h && ix >= 0 && ix < w_)
          sum += x[((image * ci + i) * h + iy) * w_ + ix] * w[((c * ci + i) * kh + ky) * kw + kx];
      }
  y[((image * co + c) * oh + oy) * ow + ox] = sum;
}
