// One thread does nothing: what is left of a launch is its cost.
extern "C" __global__ void nothing(const float* x) {}
