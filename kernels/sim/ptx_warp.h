// The part of ptx.h where threads meet or stand beside one another. Tensor cores and cp.async: tensor_core.h.
#pragma once

extern "C" int snprintf(char*, size_t, const char*, ...) noexcept;

namespace ptx {

GPUSIM_INLINE u32 lane() { return gpusim::gpusim_lane(); }
GPUSIM_INLINE u32 warp() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) / 32;
}
GPUSIM_INLINE u32 lanemask_eq() { return 1u << lane(); }
GPUSIM_INLINE u32 lanemask_lt() { return lanemask_eq() - 1; }
GPUSIM_INLINE u32 lanemask_le() { return lanemask_eq() | lanemask_lt(); }
GPUSIM_INLINE u32 lanemask_gt() { return ~lanemask_le(); }
GPUSIM_INLINE u32 lanemask_ge() { return ~lanemask_lt(); }

// shfl.sync: `clamp` holds the last lane of the segment and, above, the bits that number the segments. A lane whose
// source lies outside reads itself.
struct Source {
    u32 lane;
    bool inside;
};
GPUSIM_INLINE Source shfl_from(u32 from, bool inside) { return {inside ? from : lane(), inside}; }
GPUSIM_INLINE u32 shfl_first(u32 clamp) { return lane() & (clamp >> 8 & 31); }
GPUSIM_INLINE u32 shfl_last(u32 clamp) { return shfl_first(clamp) | (clamp & 31 & ~(clamp >> 8)); }
GPUSIM_INLINE Source shfl_up(u32 by, u32 clamp) {
    const s32 from = s32(lane()) - s32(by & 31);
    return shfl_from(u32(from), from >= s32(shfl_last(clamp)));
}
GPUSIM_INLINE Source shfl_down(u32 by, u32 clamp) {
    const u32 from = lane() + (by & 31);
    return shfl_from(from, from <= shfl_last(clamp));
}
GPUSIM_INLINE Source shfl_bfly(u32 bits, u32 clamp) {
    const u32 from = lane() ^ (bits & 31);
    return shfl_from(from, from <= shfl_last(clamp));
}
GPUSIM_INLINE Source shfl_idx(u32 index, u32 clamp) {
    const u32 from = shfl_first(clamp) | (index & 31 & ~(clamp >> 8));
    return shfl_from(from, from <= shfl_last(clamp));
}

// redux.sync and match.any.sync: every lane gets the values of all, then does the arithmetic for itself.
struct Everyone {
    u64 own, all[32];
    u32 present;
};
inline void gather(gpusim::Lanes lanes, unsigned present) {
    for (int to = 0; to < 32; to++) {
        if (!(present >> to & 1)) continue;
        Everyone* everyone = static_cast<Everyone*>(lanes[to]);
        everyone->present = present;
        for (int from = 0; from < 32; from++)
            if (present >> from & 1) everyone->all[from] = static_cast<Everyone*>(lanes[from])->own;
    }
}
template <class T, class Operation>
GPUSIM_INLINE T redux(u32 mask, T value, Operation operation, gpusim::Site at) {
    Everyone everyone = {u64(value), {}, 0};
    gpusim::gpusim_collective(mask, gather, &everyone, false, at.file, at.line);
    bool first = true;
    T result = T();
    for (int i = 0; i < 32; i++)
        if (everyone.present >> i & 1) result = first ? T(everyone.all[i]) : operation(result, T(everyone.all[i])), first = false;
    return result;
}
#define PTX_REDUX(name, function)                                                                         \
    template <class T> GPUSIM_INLINE T redux_##name(u32 mask, T value, gpusim::Site at = gpusim::here()) { \
        return redux<T>(mask, value, [](T a, T b) { return function<T>(a, b); }, at);                      \
    }
PTX_REDUX(add, add) PTX_REDUX(min, min) PTX_REDUX(max, max) PTX_REDUX(and, band) PTX_REDUX(or, bor) PTX_REDUX(xor, bxor)
template <class T> GPUSIM_INLINE u32 match_any(u32 mask, T value, gpusim::Site at = gpusim::here()) {
    Everyone everyone = {u64(value), {}, 0};
    gpusim::gpusim_collective(mask, gather, &everyone, false, at.file, at.line);
    u32 same = 0;
    for (int i = 0; i < 32; i++)
        if (everyone.present >> i & 1 && everyone.all[i] == u64(value)) same |= 1u << i;
    return same;
}

// ldmatrix: 8x8 matrices of 16-bit elements; lane 8m + r has the address of row r of matrix m, and every lane
// receives two neighbours of row lane / 4 (or, transposed, of column lane / 4).
template <int count, bool transposed>
GPUSIM_INLINE void ldmatrix(u32* result, char* row, gpusim::Site at = gpusim::here()) {
    const u64 own = u64(aligned<16>(row, at));
    for (int m = 0; m < count; m++) {
        char* const rows[2] = {
            (char*)__shfl_sync(0xFFFFFFFFu, own, 8 * m + s32(transposed ? lane() % 4 * 2 : lane() / 4), 32, at),
            (char*)__shfl_sync(0xFFFFFFFFu, own, 8 * m + s32(transposed ? lane() % 4 * 2 + 1 : lane() / 4), 32, at)};
        if (transposed) {
            const u32 low = *(memory<u16>*)(rows[0] + lane() / 4 * 2), high = *(memory<u16>*)(rows[1] + lane() / 4 * 2);
            result[m] = high << 16 | low;
        } else {
            result[m] = *(memory<u32>*)(rows[0] + lane() % 4 * 4);
        }
    }
}

GPUSIM_INLINE f64 atomic_add(f64* p, f64 value) {
    u64 *bits = (u64*)p, old = atomicOr(bits, u64(0)), assumed;
    do assumed = old, old = atomicCAS(bits, assumed, as<u64>(as<f64>(assumed) + value));
    while (old != assumed);
    return as<f64>(old);
}

// printf and assert arrive as functions of the device's system.
inline Bytes<4, 4> vprintf(Bytes<8, 8> format, Bytes<8, 8> arguments) {
    const char *f = as<const char*>(format), *a = as<const char*>(arguments);
    for (int next = 0; *f;) {
        char one[64] = {*f++}, text[512];
        if (one[0] != '%' || *f == '%') {
            if (one[0] == '%') f++;
            printf("%c", one[0]);
            continue;
        }
        int length = 1, longs = 0;
        while (length < 62 && *f && !(*f >= 'A' && *f <= 'z' && *f != 'l' && *f != 'h' && *f != 'z')) longs += *f == 'l', one[length++] = *f++;
        const char kind = one[length++] = *f++;
        const bool real = kind == 'f' || kind == 'e' || kind == 'g' || kind == 'E' || kind == 'G';
        const int size = real || longs || kind == 's' || kind == 'p' ? 8 : 4;
        next = (next + size - 1) / size * size;
        if (real) snprintf(text, sizeof text, one, *(const f64*)(a + next));
        else if (size == 8) snprintf(text, sizeof text, one, *(const u64*)(a + next));
        else snprintf(text, sizeof text, one, *(const u32*)(a + next));
        printf("%s", text);
        next += size;
    }
    return {};
}
inline void assertfail(Bytes<8, 8> what, Bytes<8, 8> file, Bytes<4, 4> line, Bytes<8, 8>, Bytes<8, 8>) {
    gpusim::gpusim_stop("assertion", as<const char*>(what), as<const char*>(file), as<int>(line));
}

}  // namespace ptx
