// A step of Adam, float32; the formula is in adam_xp.py.

// What is the same for all elements of a step.
struct Factors {
    float beta1, new1, beta2, new2;  // new1 = 1 - beta1
    float keep, decay;               // of p: 1 - lr * weight_decay and 0, or 1 and weight_decay
    float rate, scale, eps;          // lr / (1 - beta1**t), 1 / sqrt(1 - beta2**t)
};

__device__ inline void update(float& p, float g, float& m, float& v, const Factors& f) {
    const float d = g + f.decay * p;
    m = f.beta1 * m + f.new1 * d;
    v = f.beta2 * v + f.new2 * d * d;
    p = f.keep * p - f.rate * m / (sqrtf(v) * f.scale + f.eps);
}

// Thread i updates four neighbouring elements, in 16-byte accesses, as long as there are `fours`; the threads behind
// them update one each of what is left. lr and t are read from the device's memory, where a host that repeats a
// recorded launch can change them. 1 - beta**t is -expm1(t * log(beta)): the difference of two floats near 1 would
// lose what is left of them, this is right to a few units of the last digit for every t. Each thread computes it for
// itself, some 50 instructions beside the 112 bytes that it moves. In and out may be the same vectors.
extern "C" __global__ void __launch_bounds__(256) adam_step(
    const float* p, const float* g, const float* m, const float* v, float* new_p, float* new_m, float* new_v,
    const int* t, const float* lr, int n, int fours, float beta1, float new1, float log_beta1, float beta2, float new2,
    float log_beta2, float eps, float weight_decay, int decoupled) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, single = i + 3 * fours;
    const float steps = static_cast<float>(t[0]);
    Factors f = {beta1, new1, beta2, new2, 1.0f, weight_decay, 0.0f, 0.0f, eps};
    if (decoupled) f.keep = 1.0f - lr[0] * weight_decay, f.decay = 0.0f;
    f.rate = lr[0] / -expm1f(steps * log_beta1);
    f.scale = 1.0f / sqrtf(-expm1f(steps * log_beta2));
    if (i < fours) {
        const float4 gs = load4(g + 4 * i);
        float4 ps = load4(p + 4 * i), ms = load4(m + 4 * i), vs = load4(v + 4 * i);
        update(ps.x, gs.x, ms.x, vs.x, f);
        update(ps.y, gs.y, ms.y, vs.y, f);
        update(ps.z, gs.z, ms.z, vs.z, f);
        update(ps.w, gs.w, ms.w, vs.w, f);
        store4(new_p + 4 * i, ps);
        store4(new_m + 4 * i, ms);
        store4(new_v + 4 * i, vs);
    } else if (single < n) {
        float one_p = p[single], one_m = m[single], one_v = v[single];
        update(one_p, g[single], one_m, one_v, f);
        new_p[single] = one_p;
        new_m[single] = one_m;
        new_v[single] = one_v;
    }
}
