// What a batch adds to the sums of an epoch, float32; what it is is in tally_xp.py.

// One block counts the right answers, its threads every 1024th row, and adds what it found to the sums: a second
// kernel, or atomics, would be what more blocks need. A row is read by one thread: with tens of classes, as in the
// networks here, that takes no longer than the launch. Counts are exact up to 2**24. out may be sums: the threads
// before the barrier do not touch it.
extern "C" __global__ void __launch_bounds__(1024) tally_add(
    const float* sums, const float* loss, const float* logits, const int* target, float* out, int n, int classes) {
    float right = 0.0f;
    for (int row = threadIdx.x; row < n; row += 1024) {
        const float* of_row = logits + row * classes;
        float largest = of_row[0];
        int answer = 0;
        for (int j = 1; j < classes; ++j) {
            const float value = of_row[j];
            if (value > largest || (value != value && largest == largest)) {
                largest = value;
                answer = j;
            }
        }
        if (answer == target[row]) right += 1.0f;
    }
    right = block_sum<32>(right);
    if (threadIdx.x == 0) {
        out[0] = sums[0] + n * loss[0];
        out[1] = sums[1] + right;
    }
}
