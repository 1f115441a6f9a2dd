// Between a kernel and the runtime: the types of both sides and the calls from one to the other.
#pragma once

#define GPUSIM_INLINE static inline __attribute__((always_inline, unused))
using size_t = decltype(sizeof 0);

#define GPUSIM_VECTOR(T, name, align)                                                              \
    struct name##2 { __attribute__((aligned(align * 2))) T x; T y; };                               \
    struct name##3 { T x, y, z; };                                                                 \
    struct name##4 { __attribute__((aligned(align * 4))) T x; T y, z, w; };                         \
    GPUSIM_INLINE name##2 make_##name##2(T x, T y) { return {x, y}; }                               \
    GPUSIM_INLINE name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                       \
    GPUSIM_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
GPUSIM_VECTOR(float, float, 4)
GPUSIM_VECTOR(int, int, 4)
GPUSIM_VECTOR(unsigned, uint, 4)
GPUSIM_VECTOR(short, short, 2)
GPUSIM_VECTOR(unsigned short, ushort, 2)
GPUSIM_VECTOR(signed char, char, 1)
GPUSIM_VECTOR(unsigned char, uchar, 1)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace gpusim {

// Where in the source a thread stands. As a default argument it names the line of the caller.
struct Site {
    const char* file;
    int line;
};
GPUSIM_INLINE constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
}

enum Barrier { SYNC, COUNT, AND, OR };
enum Atomic { ADD, SUB, MIN, MAX, AND_BITS, OR_BITS, XOR_BITS, EXCHANGE, CAS, INCREMENT, DECREMENT };

// A warp's common operation: each lane deposits a pointer to its operands, and the last lane of the mask to arrive
// executes the operation for all. `present` has a bit for each lane that takes part.
using Lanes = void* const*;
using Execute = void (*)(Lanes lanes, unsigned present);

extern "C" {
int gpusim_barrier(Barrier kind, int predicate, const char* file, int line);
void gpusim_collective(unsigned mask, Execute execute, void* operands, bool orders_memory, const char* file, int line);
unsigned gpusim_lane();
float gpusim_atomic_float(Atomic, float*, float value, float compare);
int gpusim_atomic_int(Atomic, int*, int value, int compare);
unsigned gpusim_atomic_unsigned(Atomic, unsigned*, unsigned value, unsigned compare);
unsigned long long gpusim_atomic_long(Atomic, unsigned long long*, unsigned long long value, unsigned long long compare);
[[noreturn]] void gpusim_stop(const char* kind, const char* what, const char* file, int line);
}

}  // namespace gpusim

extern "C" {
extern uint3 threadIdx, blockIdx;  // not const: the runtime changes them whenever it switches threads
extern dim3 blockDim, gridDim;
}
