// Softmax cross entropy with label smoothing, its gradient and the right answers, float32; the formulas are in
// cross_entropy_xp.py.
//
// The wanted distribution q of a row is `on` at its target and `off` at the other classes.

#define LANES 8    // that share a row: at a time they read 32 bytes, the least that memory gives
#define ROWS 128   // that a block of 1024 threads computes at a time

// Thread 0 writes what the sums over all rows come to; totals may be sums, which nobody else reads.
__device__ inline void finish(
    float lost, float right, const float* sums, float* loss, float* totals, int n) {
    if (threadIdx.x != 0) return;
    loss[0] = lost / static_cast<float>(n);
    totals[0] = (sums ? sums[0] : 0.0f) + lost;
    totals[1] = (sums ? sums[1] : 0.0f) + right;
}

// Eight lanes compute a row of gx, each of them every 8th class, in three passes over the row: for its largest logit,
// and whether a class beats the target as the answer; for the sum of exponentials; for gx and the loss, to which a
// class that nobody wants adds nothing, were its log p minus infinity. Groups behind the last row go along without a
// class, for all lanes of a warp have to meet in the shuffles. A block takes `rounds` times 128 rows. A single one is
// done with them: one launch is what a batch of tens of classes needs. Several leave their sums in partial (blocks, 2).
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_forward(
    const float* logits, const int* target, const float* sums, float* loss, float* totals, float* gx, float* partial,
    int n, int classes, int rounds, float on, float off) {
    const int lane = threadIdx.x % LANES;
    float lost = 0.0f, right = 0.0f;
    for (int round = 0; round < rounds; ++round) {
        const int place = (blockIdx.x * rounds + round) * ROWS + threadIdx.x / LANES;
        const int row = min(place, n - 1), count = place < n ? classes : 0, wanted = target[row];
        const float* of_row = logits + row * classes;
        const float of_target = of_row[wanted];
        float largest = __int_as_float(0xFF800000), beaten = 0.0f;  // minus infinity
        for (int j = lane; j < count; j += LANES) {
            const float value = of_row[j];
            const bool nan = value != value, earlier = j < wanted;  // NaN is the largest, of equal ones the first
            if (value > of_target || (earlier && value == of_target) || (nan && (earlier || of_target == of_target)))
                beaten = 1.0f;
            largest = fmaxf(largest, value);
        }
        largest = warp_max<LANES>(largest);
        beaten = warp_max<LANES>(beaten);
        float sum = 0.0f;
        for (int j = lane; j < count; j += LANES) sum += expf(of_row[j] - largest);
        const float log_sum = logf(warp_sum<LANES>(sum));
        for (int j = lane; j < count; j += LANES) {
            const float log_p = of_row[j] - largest - log_sum, q = j == wanted ? on : off;
            gx[row * classes + j] = (expf(log_p) - q) / static_cast<float>(n);
            if (q != 0.0f) lost -= q * log_p;
        }
        if (lane == 0 && count > 0 && beaten == 0.0f) right += 1.0f;
    }
    block_sums<32>(lost, right);
    if (gridDim.x == 1) {
        finish(lost, right, sums, loss, totals, n);
    } else if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = lost;
        partial[2 * blockIdx.x + 1] = right;
    }
}

// One block adds up what the blocks before it left, in a fixed order.
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_total(
    const float* partial, const float* sums, float* loss, float* totals, int blocks, int n) {
    float lost = 0.0f, right = 0.0f;
    for (int i = threadIdx.x; i < blocks; i += 1024) {
        lost += partial[2 * i];
        right += partial[2 * i + 1];
    }
    block_sums<32>(lost, right);
    finish(lost, right, sums, loss, totals, n);
}
