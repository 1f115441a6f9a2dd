// A step of stochastic gradient descent, float32; the formula is in sgd_xp.py.

__device__ inline void update(
    float& p, float g, float& v, float lr, float momentum, float weight_decay, bool nesterov) {
    const float d = g + weight_decay * p;
    v = momentum * v + d;
    p -= lr * (nesterov ? d + momentum * v : v);
}

// Thread i updates four neighbouring elements, in 16-byte accesses, as long as there are `fours`; the threads behind
// them update one each of what is left. lr is read from the device's memory, where a host that repeats a recorded
// launch can change it. p and new_p may be the same vector, and v and new_v. Cost: 20 bytes moved for each element.
extern "C" __global__ void __launch_bounds__(256) sgd_step(
    const float* p, const float* g, const float* v, float* new_p, float* new_v, const float* lr, int n, int fours,
    float momentum, float weight_decay, int nesterov) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, single = i + 3 * fours;
    if (i < fours) {
        const float4 gs = load4(g + 4 * i);
        float4 ps = load4(p + 4 * i), vs = load4(v + 4 * i);
        update(ps.x, gs.x, vs.x, lr[0], momentum, weight_decay, nesterov);
        update(ps.y, gs.y, vs.y, lr[0], momentum, weight_decay, nesterov);
        update(ps.z, gs.z, vs.z, lr[0], momentum, weight_decay, nesterov);
        update(ps.w, gs.w, vs.w, lr[0], momentum, weight_decay, nesterov);
        store4(new_p + 4 * i, ps);
        store4(new_v + 4 * i, vs);
    } else if (single < n) {
        float one_p = p[single], one_v = v[single];
        update(one_p, g[single], one_v, lr[0], momentum, weight_decay, nesterov);
        new_p[single] = one_p;
        new_v[single] = one_v;
    }
}
