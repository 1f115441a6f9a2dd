// CUDA C++ for a CPU compiler: put in front of an unmodified .cu file (-include), it gives the words of the
// language a meaning that the runtime (runtime.cpp) carries out. One CUDA thread is one fiber; all run on one core.
//
// Shared memory is `thread_local`: a block-scope thread_local is static without the word (`__shared__ float t[16];`),
// `extern thread_local` is legal (`extern __shared__ float s[];`), and all of it lies together in the module's
// thread-local block, where the runtime finds it to poison and to check it.
#pragma once

#define __global__
#define __device__
#define __host__
#define __shared__ constinit thread_local
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

#include "gpusim.h"

extern "C" int printf(const char*, ...);
constexpr int warpSize = 32;

// Barriers. __threadfence orders nothing that a single core could reorder.
GPUSIM_INLINE void __syncthreads(gpusim::Site at = gpusim::here()) {
    gpusim::gpusim_barrier(gpusim::SYNC, 0, at.file, at.line);
}
GPUSIM_INLINE int __syncthreads_count(int p, gpusim::Site at = gpusim::here()) {
    return gpusim::gpusim_barrier(gpusim::COUNT, p, at.file, at.line);
}
GPUSIM_INLINE int __syncthreads_and(int p, gpusim::Site at = gpusim::here()) {
    return gpusim::gpusim_barrier(gpusim::AND, p, at.file, at.line);
}
GPUSIM_INLINE int __syncthreads_or(int p, gpusim::Site at = gpusim::here()) {
    return gpusim::gpusim_barrier(gpusim::OR, p, at.file, at.line);
}
GPUSIM_INLINE void __threadfence() {}
GPUSIM_INLINE void __threadfence_block() {}
GPUSIM_INLINE void __syncwarp(unsigned mask = 0xFFFFFFFFu, gpusim::Site at = gpusim::here()) {
    gpusim::gpusim_collective(mask, nullptr, nullptr, true, at.file, at.line);
}
__attribute__((error("__activemask names whoever happens to be here: pass the mask that the algorithm knows")))
unsigned __activemask();

#define assert(condition)                                                                  \
    ((condition) ? (void)0 : gpusim::gpusim_stop("assertion", #condition, __FILE__, __LINE__))
GPUSIM_INLINE void __trap(gpusim::Site at = gpusim::here()) { gpusim::gpusim_stop("assertion", "__trap()", at.file, at.line); }

#include "cuda_warp.h"
#include "cuda_math.h"
#include "tensor_core.h"

// Atomics. The runtime does the access, so that a checked one is seen as atomic.
#define GPUSIM_ATOMIC(T, call, name, op)                                                                    \
    GPUSIM_INLINE T name(T* p, T value) { return gpusim::call(gpusim::op, p, value, static_cast<T>(0)); }
#define GPUSIM_INTEGER_ATOMICS(T, call)                                                                     \
    GPUSIM_ATOMIC(T, call, atomicAdd, ADD)                                                                  \
    GPUSIM_ATOMIC(T, call, atomicMin, MIN)                                                                  \
    GPUSIM_ATOMIC(T, call, atomicMax, MAX)                                                                  \
    GPUSIM_ATOMIC(T, call, atomicAnd, AND_BITS)                                                             \
    GPUSIM_ATOMIC(T, call, atomicOr, OR_BITS)                                                               \
    GPUSIM_ATOMIC(T, call, atomicXor, XOR_BITS)                                                             \
    GPUSIM_ATOMIC(T, call, atomicExch, EXCHANGE)                                                            \
    GPUSIM_INLINE T atomicCAS(T* p, T compare, T value) { return gpusim::call(gpusim::CAS, p, value, compare); }
GPUSIM_INTEGER_ATOMICS(int, gpusim_atomic_int)
GPUSIM_INTEGER_ATOMICS(unsigned, gpusim_atomic_unsigned)
GPUSIM_INTEGER_ATOMICS(unsigned long long, gpusim_atomic_long)
GPUSIM_ATOMIC(int, gpusim_atomic_int, atomicSub, SUB)
GPUSIM_ATOMIC(unsigned, gpusim_atomic_unsigned, atomicSub, SUB)
GPUSIM_ATOMIC(unsigned, gpusim_atomic_unsigned, atomicInc, INCREMENT)
GPUSIM_ATOMIC(unsigned, gpusim_atomic_unsigned, atomicDec, DECREMENT)
GPUSIM_ATOMIC(float, gpusim_atomic_float, atomicAdd, ADD)
GPUSIM_ATOMIC(float, gpusim_atomic_float, atomicExch, EXCHANGE)

#include "cuda_export.h"
