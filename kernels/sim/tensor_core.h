// CPU twins of tensor core and asynchronous copy instructions, for the functions of common.cuh that wrap their PTX.
// Fragments are spread over a warp as chapter 9.7 of the PTX ISA draws them (mma.m16n8k8 and m16n8k16): with
// group g = lane / 4 and t = lane % 4, C and D have rows g and g + 8 at columns 2t and 2t + 1.
#pragma once

namespace gpusim {

extern "C" {
void gpusim_copy_async(void* to, const void* from, unsigned bytes, unsigned used);
void gpusim_copy_commit();
void gpusim_copy_wait(int most);
}

struct Product {
    unsigned a[4], b[2];
    float c[4], d[4];
};

// Every lane hands in its fragments; the last to arrive puts the matrices together and multiplies them. Sums are in
// float64: the hardware's order and rounding of them are not documented.
template <int depth, class Spread> GPUSIM_INLINE void multiply(Lanes lanes, unsigned present, Spread spread) {
    float a[16][depth], b[depth][8];
    if (present != 0xFFFFFFFFu) gpusim_stop("bad-mask", "mma.sync without all lanes of its warp", nullptr, 0);
    for (int lane = 0; lane < 32; lane++) spread(*static_cast<Product*>(lanes[lane]), lane / 4, lane % 4, a, b);
    for (int lane = 0; lane < 32; lane++) {
        Product& own = *static_cast<Product*>(lanes[lane]);
        for (int i = 0; i < 4; i++) {
            double sum = own.c[i];
            for (int k = 0; k < depth; k++) sum += double(a[lane / 4 + i / 2 * 8][k]) * b[k][lane % 4 * 2 + i % 2];
            own.d[i] = float(sum);
        }
    }
}
GPUSIM_INLINE float from_bits(unsigned bits) { return __builtin_bit_cast(float, bits); }

// a[i] is A[g + i % 2 * 8][t + i / 2 * 4], b[i] is B[t + 4i][g], as float32 bits of which the last 13 are not read.
inline void multiply_tf32(Lanes lanes, unsigned present) {
    multiply<8>(lanes, present, [](const Product& own, int g, int t, float (&a)[16][8], float (&b)[8][8]) {
        for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = from_bits(own.a[i] & ~0x1FFFu);
        for (int i = 0; i < 2; i++) b[t + 4 * i][g] = from_bits(own.b[i] & ~0x1FFFu);
    });
}
// a[i] holds A[g + i % 2 * 8][2t + i / 2 * 8] in its lower half and the element right of it in its upper half,
// b[i] holds B[2t + 8i][g] and the element below it.
inline void multiply_bf16(Lanes lanes, unsigned present) {
    multiply<16>(lanes, present, [](const Product& own, int g, int t, float (&a)[16][16], float (&b)[16][8]) {
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++) a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = from_bits(own.a[i] >> 16 * half << 16);
            for (int i = 0; i < 2; i++) b[2 * t + 8 * i + half][g] = from_bits(own.b[i] >> 16 * half << 16);
        }
    });
}

GPUSIM_INLINE void mma(Execute multiply, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                       Site at) {
    Product own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {c[0], c[1], c[2], c[3]}, {}};
    gpusim_collective(0xFFFFFFFFu, multiply, &own, false, at.file, at.line);
    for (int i = 0; i < 4; i++) d[i] = own.d[i];
}
// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32: D = A B + C for A (16, 8), B (8, 8), C and D (16, 8).
GPUSIM_INLINE void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                                    Site at = here()) {
    mma(multiply_tf32, d, a, b, c, at);
}
// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: the same for A (16, 16) and B (16, 8), two elements a register.
GPUSIM_INLINE void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                                     Site at = here()) {
    mma(multiply_bf16, d, a, b, c, at);
}
// cvt.rna.tf32.f32: to 10 bits of mantissa, the nearest, of two the one away from zero.
GPUSIM_INLINE unsigned cvt_rna_tf32(float x) {
    const unsigned bits = __builtin_bit_cast(unsigned, x);
    return (bits & 0x7F800000u) == 0x7F800000u ? bits : (bits + 0x1000u) & ~0x1FFFu;
}

// cvt.rn.bf16x2.f32: two numbers as bfloat16, the nearest, of two the even one; `high` is in the upper half.
GPUSIM_INLINE unsigned cvt_rn_bf16(float x) {
    const unsigned bits = __builtin_bit_cast(unsigned, x);
    return x != x ? 0x7FFFu : (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}
GPUSIM_INLINE unsigned cvt_rn_bf16x2(float high, float low) { return cvt_rn_bf16(high) << 16 | cvt_rn_bf16(low); }

// ldmatrix.sync.aligned.m8n8.x4.shared.b16, of words: lane 8m + r has the address of 16 bytes, row r of matrix m, and
// every lane receives of each matrix word lane % 4 of row lane / 4.
struct Rows {
    const unsigned *own, *of[4];
};
inline void exchange_rows(Lanes lanes, unsigned present) {
    if (present != 0xFFFFFFFFu) gpusim_stop("bad-mask", "ldmatrix without all lanes of its warp", nullptr, 0);
    for (int lane = 0; lane < 32; lane++)
        for (int m = 0; m < 4; m++)
            static_cast<Rows*>(lanes[lane])->of[m] = static_cast<Rows*>(lanes[8 * m + lane / 4])->own;
}
GPUSIM_INLINE void ldmatrix_x4(unsigned (&words)[4], const void* row, Site at = here()) {
    if (reinterpret_cast<size_t>(row) % 16) gpusim_stop("misaligned", "ldmatrix", at.file, at.line);
    Rows rows = {static_cast<const unsigned*>(row), {}};
    gpusim_collective(0xFFFFFFFFu, exchange_rows, &rows, false, at.file, at.line);
    for (int m = 0; m < 4; m++) words[m] = rows.of[m][gpusim_lane() % 4];
}

// cp.async.ca/cg.shared.global: `used` bytes from global memory, zeros up to `bytes`, which are 4, 8 or 16. They
// arrive as late as CUDA allows, at the wait for their group, so that a wait that is missing or too weak shows.
template <unsigned bytes> GPUSIM_INLINE void cp_async(void* to, const void* from, unsigned used = bytes) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    gpusim_copy_async(to, from, bytes, used);
}
GPUSIM_INLINE void cp_async_commit_group() { gpusim_copy_commit(); }
template <int most> GPUSIM_INLINE void cp_async_wait_group() { gpusim_copy_wait(most); }
GPUSIM_INLINE void cp_async_wait_all() { gpusim_copy_wait(-1); }

}  // namespace gpusim
