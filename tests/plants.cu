// Kernels with one mistake each, made where `bug` is 1; where it is 0 they are right. FAULT marks the lines that a
// fault may name first, OTHER those of the thread that it collides with; test_sim.py reads the marks.

#define PLANT(name) extern "C" __global__ void name(const float* x, float* y, int n, int bug)

extern __shared__ float dynamic[];

// ---- races

PLANT(race_neighbour) {  // right by luck in forward order
    __shared__ float s[256];
    const int t = threadIdx.x;
    s[t] = x[t];  // OTHER
    if (!bug) __syncthreads();
    y[t] = t ? s[t - 1] : 0.0f;  // FAULT
}

PLANT(race_mirror) {
    __shared__ float s[256];
    const int t = threadIdx.x;
    s[t] = x[t];  // FAULT
    if (!bug) __syncthreads();
    y[t] = s[blockDim.x - 1 - t];  // OTHER
}

PLANT(race_tile_loop) {  // the second barrier of the loop: the tile is overwritten while others read it
    __shared__ float tile[256];
    const int t = threadIdx.x;
    float sum = 0.0f;
    for (int round = 0; round < 3; ++round) {
        tile[t] = x[t] + round;  // FAULT OTHER
        __syncthreads();
        for (int i = 0; i < blockDim.x; ++i) sum += tile[i];  // FAULT OTHER
        if (!bug) __syncthreads();
    }
    y[t] = sum;
}

PLANT(race_warp_synchronous) {  // lanes do not run in step
    __shared__ float s[32];
    const int t = threadIdx.x % 32;
    if (threadIdx.x >= 32) return;
    s[t] = x[t];
    __syncwarp();
    for (int distance = 16; distance > 0; distance /= 2) {
        float sum = s[t];
        if (t < distance) sum += s[t + distance];  // FAULT OTHER
        if (!bug) __syncwarp();
        s[t] = sum;  // OTHER FAULT
        if (!bug) __syncwarp();
    }
    if (t == 0) y[0] = s[0];
}

PLANT(race_no_atomic) {
    if (bug) y[0] += x[threadIdx.x];  // FAULT OTHER
    else atomicAdd(y, x[threadIdx.x]);
}

PLANT(race_between_blocks) {
    const int i = (bug ? 0 : blockIdx.x * blockDim.x) + threadIdx.x;
    y[i] += x[i];  // FAULT OTHER
}

PLANT(race_read_between_blocks) {  // a block reads what the next one writes
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const float value = bug && i + blockDim.x < n ? y[i + blockDim.x] : x[i];  // OTHER
    y[i] = value;  // FAULT
}

PLANT(race_same_value) {
    if (bug || threadIdx.x == 0) y[0] = 1.0f;  // FAULT OTHER
}

PLANT(race_shuffle_is_no_barrier) {
    __shared__ float s[32];
    const int t = threadIdx.x % 32;
    if (threadIdx.x >= 32) return;
    s[t] = x[t];  // OTHER
    const float own = __shfl_xor_sync(0xFFFFFFFFu, x[t], 1);
    if (!bug) __syncwarp();
    y[t] = s[t ^ 1] + own;  // FAULT
}

PLANT(race_half_a_warp) {  // the barrier of 16 lanes says nothing about the other 16
    __shared__ float s[32];
    const int t = threadIdx.x % 32;
    if (threadIdx.x >= 32) return;
    s[t] = x[t];  // FAULT OTHER
    __syncwarp(!bug ? 0xFFFFFFFFu : t < 16 ? 0x0000FFFFu : 0xFFFF0000u);
    y[t] = s[31 - t];  // FAULT OTHER
}

PLANT(race_atomic_and_plain) {
    if (!bug || threadIdx.x < 32) atomicAdd(y, 1.0f);  // OTHER
    if (bug && threadIdx.x == 40) y[1] = y[0];         // FAULT
}

PLANT(race_hand_shake) {  // "the last block sums up" needs two kernels
    __shared__ int last;
    if (threadIdx.x == 0) {
        y[1 + blockIdx.x] = x[blockIdx.x];  // OTHER
        __threadfence();
        last = atomicAdd(y, 1.0f) == gridDim.x - 1;
        if (bug && last) y[64] = y[1] + y[2];  // FAULT
    }
}

PLANT(race_bytes) {  // one word, four owners
    __shared__ unsigned char s[256];
    const int t = threadIdx.x;
    s[t] = (unsigned char)(t);               // FAULT OTHER
    if (bug && threadIdx.x == 3) s[2] = 0;  // FAULT OTHER
    __syncthreads();
    y[t] = s[t];
}

// ---- out of bounds

PLANT(bounds_last_block) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x + (bug ? 1 : 0);
    y[i] = 1.0f;  // FAULT
}

PLANT(bounds_before) {
    const int t = threadIdx.x;
    y[t] = x[bug || t ? t - 1 : 0];  // FAULT
}

PLANT(bounds_far) {
    if (threadIdx.x == 3) y[bug ? n * 1000 : 0] = x[0];  // FAULT
}

PLANT(bounds_wild) {
    const float* far = bug ? x + (1ll << 40) : x;
    if (threadIdx.x == 3) y[0] = far[0];  // FAULT
}

PLANT(bounds_null) {
    const float* b = bug ? nullptr : x;
    y[threadIdx.x] = b[threadIdx.x];  // FAULT
}

PLANT(bounds_dynamic) {  // launched with room for 256 floats
    const int t = threadIdx.x + (bug ? 193 : 0);
    dynamic[t] = x[threadIdx.x];  // FAULT
    __syncthreads();
    y[threadIdx.x] = dynamic[t];
}

PLANT(bounds_row) {  // stays inside of the array, but not of its row
    __shared__ float tile[16][17];
    const int t = threadIdx.x % 16;
    if (threadIdx.x >= 16) return;
    tile[t][bug ? t + 2 : t] = x[t];  // FAULT
    y[t] = tile[t][bug ? t + 2 : t];
}

// ---- uninitialised

PLANT(unwritten_shared) {
    __shared__ float s[256];
    const int t = threadIdx.x;
    if (!bug) s[t] = 0.0f;
    s[t] += x[t];  // FAULT
    y[t] = s[t];
}

PLANT(unwritten_halo) {
    const int t = threadIdx.x;
    dynamic[t + 1] = x[t];
    if (t == 0) dynamic[0] = 0.0f;
    if (!bug && t == 0) dynamic[blockDim.x + 1] = 0.0f;
    __syncthreads();
    y[t] = dynamic[t] + dynamic[t + 1] + dynamic[t + 2];  // FAULT
}

PLANT(unwritten_in_this_block) {  // shared memory does not outlive a block
    __shared__ float kept;
    if (threadIdx.x == 0 && (!bug || blockIdx.x == 0)) kept = x[0];
    __syncthreads();
    if (threadIdx.x == 0) y[blockIdx.x] = kept;  // FAULT
}

// ---- barriers

PLANT(barrier_two_places) {
    if (bug && threadIdx.x == 3) {
        __syncthreads();  // FAULT OTHER
    } else {
        __syncthreads();  // FAULT OTHER
    }
    y[threadIdx.x] = 1.0f;
}

PLANT(barrier_early_return) {
    if (bug && threadIdx.x == 5) return;
    __syncthreads();  // FAULT
    y[threadIdx.x] = 1.0f;
}

PLANT(barrier_trip_count) {
    const int trips = bug && threadIdx.x == 7 ? 3 : 2;
    for (int i = 0; i < trips; ++i) __syncthreads();  // FAULT OTHER
    y[threadIdx.x] = 1.0f;
    __syncthreads();  // FAULT OTHER
}

PLANT(deadlock_shuffle_and_barrier) {
    float value = x[threadIdx.x];
    if (bug && threadIdx.x < 16) __syncthreads();       // OTHER
    else value = __shfl_sync(0xFFFFFFFFu, value, 0);    // FAULT
    __syncthreads();
    y[threadIdx.x] = value;
}

PLANT(deadlock_syncwarp) {
    if (bug && threadIdx.x % 2) __syncwarp();  // FAULT
    __syncthreads();  // OTHER
    y[threadIdx.x] = 1.0f;
}

// ---- masks

PLANT(mask_without_own_lane) {
    float value = x[threadIdx.x];
    value = __shfl_down_sync(bug ? 0x0000FFFFu : 0xFFFFFFFFu, value, 1);  // FAULT
    y[threadIdx.x] = value;
}

PLANT(mask_two_opinions) {
    const unsigned mask = bug && threadIdx.x % 32 == 4 ? 0x7FFFFFFFu : 0xFFFFFFFFu;
    y[threadIdx.x] = __ballot_sync(mask, threadIdx.x & 1) ? 1.0f : 0.0f;  // FAULT OTHER
}

PLANT(mask_two_operations) {
    float value = x[threadIdx.x];
    if (bug && threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xFFFFFFFFu, value, 1);  // FAULT OTHER
    else value = __shfl_down_sync(0xFFFFFFFFu, value, 1);                              // FAULT OTHER
    y[threadIdx.x] = value;
}

// ---- alignment

PLANT(misaligned_float4) {
    if (threadIdx.x == 0) *reinterpret_cast<float4*>(y + (bug ? 1 : 4)) = make_float4(1.0f, 2.0f, 3.0f, 4.0f);  // FAULT
}

PLANT(misaligned_shared) {
    dynamic[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    const float2 pair = *reinterpret_cast<const float2*>(dynamic + (bug ? 1 : 2));  // FAULT
    y[threadIdx.x] = pair.x + pair.y;
}

// ---- the rest

PLANT(division_by_zero) {
    const int t = threadIdx.x;
    y[t] = float(t / (bug ? t - 3 : t + 1));  // FAULT
}

PLANT(asserted) {
    assert(!bug || threadIdx.x < 9);  // FAULT
    y[threadIdx.x] = 1.0f;
}
