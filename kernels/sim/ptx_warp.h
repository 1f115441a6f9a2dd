// The part of ptx.h where threads meet or stand beside one another: warps, matrix products, asynchronous copies.
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

// mma.sync: d = a b + c for a (16, k), b (k, 8) and c (16, 8), spread over the warp as section 9.7.14 draws it: with
// group g = lane / 4 and t = lane % 4, c has rows g and g + 8 at columns 2t and 2t + 1. Sums are in float64 here.
struct Product {
    u32 a[4], b[2];
    f32 c[4], d[4];
};
template <int depth, class Spread> GPUSIM_INLINE void product(gpusim::Lanes lanes, unsigned present, Spread spread) {
    if (present != 0xFFFFFFFFu) gpusim::gpusim_stop("bad-mask", "mma.sync without all lanes of its warp", nullptr, 0);
    f32 a[16][depth], b[depth][8];
    for (int lane = 0; lane < 32; lane++) spread(*static_cast<Product*>(lanes[lane]), lane / 4, lane % 4, a, b);
    for (int lane = 0; lane < 32; lane++) {
        Product& own = *static_cast<Product*>(lanes[lane]);
        for (int i = 0; i < 4; i++) {
            f64 sum = own.c[i];
            for (int k = 0; k < depth; k++) sum += f64(a[lane / 4 + i / 2 * 8][k]) * b[k][lane % 4 * 2 + i % 2];
            own.d[i] = f32(sum);
        }
    }
}
inline void product_tf32(gpusim::Lanes lanes, unsigned present) {  // the lower 13 bits of an operand are not looked at
    product<8>(lanes, present, [](Product& own, int g, int t, f32 (*a)[8], f32 (*b)[8]) {
        for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = as<f32>(own.a[i] & ~0x1FFFu);
        for (int i = 0; i < 2; i++) b[t + 4 * i][g] = as<f32>(own.b[i] & ~0x1FFFu);
    });
}
inline void product_bf16(gpusim::Lanes lanes, unsigned present) {
    product<16>(lanes, present, [](Product& own, int g, int t, f32 (*a)[16], f32 (*b)[8]) {
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++) a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = as<f32>(own.a[i] >> 16 * half << 16);
            for (int i = 0; i < 2; i++) b[2 * t + i * 8 + half][g] = as<f32>(own.b[i] >> 16 * half << 16);
        }
    });
}
GPUSIM_INLINE void mma(Product& own, gpusim::Execute execute, gpusim::Site at = gpusim::here()) {
    gpusim::gpusim_collective(0xFFFFFFFFu, execute, &own, false, at.file, at.line);
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

// cp.async. The copies are made as late as CUDA allows: at the wait that asks for their group. So a wait that is
// missing or too weak leaves what was in shared memory before, which is NaN at first.
struct Copies {
    struct Copy { char *to, *from; u32 bytes, used; int group; };
    Copy waiting[128];
    int count = 0, groups = 0;

    template <int bytes> void copy(char* to, char* from, u32 used, gpusim::Site at = gpusim::here()) {
        if (count == 128) gpusim::gpusim_stop("assertion", "more than 128 copies of cp.async without a wait", at.file, at.line);
        waiting[count++] = {aligned<bytes>(to, at), used ? aligned<bytes>(from, at) : from, bytes, used, groups};
    }
    void commit() { groups++; }
    // All groups but the latest `most` are copied; `here_too` includes copies that are in no group yet.
    void wait(int most, bool here_too = false) {
        int kept = 0;
        for (int i = 0; i < count; i++) {
            const Copy c = waiting[i];
            if (c.group >= groups - most && !here_too) {
                waiting[kept++] = c;
                continue;
            }
            for (u32 b = 0; b < c.bytes; b += 4) *(memory<u32>*)(c.to + b) = b < c.used ? *(memory<u32>*)(c.from + b) : 0;
        }
        count = kept;
    }
};

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
