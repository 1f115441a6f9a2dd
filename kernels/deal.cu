// The next batch of an epoch: what deal_xp.py says.

// One block copies the n examples of batch number position - first; a warp reads neighbours. Thread 0 counts the batch once
// everybody has read its number, which is why there is one block: a second one might read it after that. Cost: a
// launch, as long as n is some thousands.
extern "C" __global__ void __launch_bounds__(256) deal_forward(
    const int* samples, const unsigned* words, const int* y, const float* rates, const int* position, const int* first,
    int* to_samples, unsigned* to_words, int* to_y, float* rate, int* next, int n, int k) {
    const int dealt = position[0], step = dealt - first[0], at = step * n;
    for (int i = threadIdx.x; i < n; i += 256) {
        to_samples[i] = samples[at + i];
        to_y[i] = y[at + i];
    }
    for (int i = threadIdx.x; i < k * n; i += 256) to_words[i] = words[k * at + i];
    __syncthreads();  // `next` may be `position`
    if (threadIdx.x == 0) rate[0] = rates[step], next[0] = dealt + 1;
}
