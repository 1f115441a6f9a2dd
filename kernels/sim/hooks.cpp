// Where the checked kernel calls: -fsanitize=thread makes the compiler announce every access before it happens, and
// -fsanitize=bounds an index beyond a declared array. The sanitizers' own libraries are not linked; this is all of it.
#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "runtime.h"

#define GPUSIM_HOOK(name, size, alignment, kind)                                                         \
    extern "C" void name(void* p) {                                                                      \
        gpusim::check_access(p, size, alignment, gpusim::kind, __builtin_return_address(0));             \
    }
#define GPUSIM_HOOKS(size)                                                                               \
    GPUSIM_HOOK(__tsan_read##size, size, size, READ)                                                     \
    GPUSIM_HOOK(__tsan_write##size, size, size, WRITE)                                                   \
    GPUSIM_HOOK(__tsan_volatile_read##size, size, size, READ)                                            \
    GPUSIM_HOOK(__tsan_volatile_write##size, size, size, WRITE)                                          \
    GPUSIM_HOOK(__tsan_unaligned_read##size, size, 0, READ)                                              \
    GPUSIM_HOOK(__tsan_unaligned_write##size, size, 0, WRITE)                                            \
    GPUSIM_HOOK(__tsan_unaligned_volatile_read##size, size, 0, READ)                                     \
    GPUSIM_HOOK(__tsan_unaligned_volatile_write##size, size, 0, WRITE)
GPUSIM_HOOKS(1)
GPUSIM_HOOKS(2)
GPUSIM_HOOKS(4)
GPUSIM_HOOKS(8)
GPUSIM_HOOKS(16)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* p, size_t size) {
    gpusim::check_access(p, size, 0, gpusim::READ, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t size) {
    gpusim::check_access(p, size, 0, gpusim::WRITE, __builtin_return_address(0));
}
void* __tsan_memcpy(void* to, const void* from, size_t size) {  // clang's: a copy of a struct
    gpusim::check_access(from, size, 0, gpusim::READ, __builtin_return_address(0));
    gpusim::check_access(to, size, 0, gpusim::WRITE, __builtin_return_address(0));
    return memcpy(to, from, size);
}
void* __tsan_memset(void* to, int value, size_t size) {
    gpusim::check_access(to, size, 0, gpusim::WRITE, __builtin_return_address(0));
    return memset(to, value, size);
}

struct UndefinedAt {  // what every report of -fsanitize=undefined begins with
    const char* file;
    unsigned line, column;
};
void __ubsan_handle_out_of_bounds(const UndefinedAt* at, long index) {
    char text[120];
    snprintf(text, sizeof text, "index %ld is outside of the declared array", index);
    gpusim::gpusim_stop("out-of-bounds", text, at->file, int(at->line));
}
void __ubsan_handle_type_mismatch_v1(const UndefinedAt* at, const void* p) {
    char text[120];
    snprintf(text, sizeof text, "an access at %p, which is not a multiple of its type's alignment", p);
    gpusim::gpusim_stop("misaligned", text, at->file, int(at->line));
}
void __ubsan_handle_divrem_overflow(const UndefinedAt* at, long, long) {
    gpusim::gpusim_stop("division-by-zero", "an integer divided by zero", at->file, int(at->line));
}
}

namespace gpusim {

// Atomics are the runtime's own accesses: one OS thread runs all, so reading and then writing is atomic.
template <class T> static T changed(Atomic what, T old, T value, T compare) {
    switch (what) {
        case ADD: return old + value;
        case SUB: return old - value;
        case MIN: return std::min(old, value);
        case MAX: return std::max(old, value);
        case EXCHANGE: return value;
        case CAS: return old == compare ? value : old;
        case INCREMENT: return old >= value ? T(0) : old + T(1);
        case DECREMENT: return old == T(0) || old > value ? value : old - T(1);
        default: break;
    }
    if constexpr (T(1) / T(2) == T(0)) {  // an integer
        if (what == AND_BITS) return old & value;
        if (what == OR_BITS) return old | value;
        return old ^ value;
    }
    return old;
}
#define GPUSIM_ATOMIC_ACCESS(T, name)                                                                    \
    extern "C" T name(Atomic what, T* p, T value, T compare) {                                   \
        if (launch->checked) check_access(p, sizeof(T), sizeof(T), ATOMIC, __builtin_return_address(0)); \
        const T old = *p;                                                                                \
        *p = changed(what, old, value, compare);                                                         \
        return old;                                                                                      \
    }
GPUSIM_ATOMIC_ACCESS(float, gpusim_atomic_float)
GPUSIM_ATOMIC_ACCESS(int, gpusim_atomic_int)
GPUSIM_ATOMIC_ACCESS(unsigned, gpusim_atomic_unsigned)
GPUSIM_ATOMIC_ACCESS(unsigned long long, gpusim_atomic_long)

}  // namespace gpusim
