// What PTX instructions do, one template an instruction; ptx_emit.py writes calls of them. T is the instruction's
// type: u32, s32, f32, ... Chapter 9 of https://docs.nvidia.com/cuda/parallel-thread-execution has the definitions.
#pragma once

namespace ptx {

inline namespace types {
using u8 = unsigned char;
using s8 = signed char;
using u16 = unsigned short;
using s16 = short;
using u32 = unsigned;
using s32 = int;
using u64 = unsigned long long;
using s64 = long long;
using f32 = float;
using f64 = double;
using pred = bool;
}  // namespace types

template <class T> inline constexpr bool is_float = false;
template <> inline constexpr bool is_float<f32> = true;
template <> inline constexpr bool is_float<f64> = true;
template <class T> inline constexpr bool is_signed = T(-1) < T(0);
template <int bytes> struct Sized;
template <> struct Sized<1> { using U = u8; using S = s8; };
template <> struct Sized<2> { using U = u16; using S = s16; };
template <> struct Sized<4> { using U = u32; using S = s32; };
template <> struct Sized<8> { using U = u64; using S = s64; };
template <> struct Sized<16> { using U = unsigned __int128; using S = __int128; };
template <class T> using Unsigned = typename Sized<sizeof(T)>::U;
template <class T, bool is_signed> struct WideOf { using type = typename Sized<2 * sizeof(T)>::U; };
template <class T> struct WideOf<T, true> { using type = typename Sized<2 * sizeof(T)>::S; };
template <class T> using Wide = typename WideOf<T, is_signed<T>>::type;
template <class T> inline constexpr int bits_of = 8 * int(sizeof(T));

// A register's content as another type: the same bits, or cut, or extended by the sign of the type that it has.
template <class To, class From> GPUSIM_INLINE To as(From value) {
    if constexpr (sizeof(To) == sizeof(From) || is_float<To>) {
        return __builtin_bit_cast(To, value);
    } else if constexpr (is_float<From>) {
        return To(__builtin_bit_cast(Unsigned<From>, value));
    } else {
        return To(value);
    }
}

// Memory. Types that may alias, because PTX has no objects, and vectors that are one access.
template <class T> struct Memory { typedef T type __attribute__((may_alias)); };
template <class T> using memory = typename Memory<T>::type;
template <class T, int n> struct VectorOf { typedef T type __attribute__((vector_size(n * sizeof(T)), may_alias)); };
template <class T, int n> using vector = typename VectorOf<T, n>::type;
template <int size, int align> struct alignas(align) Bytes { char at[size]; };  // a .param of a function

GPUSIM_INLINE char* opaque(void* p) {  // an address that the compiler knows nothing about
    asm volatile("" : "+r"(p));
    return static_cast<char*>(p);
}
template <int bytes> GPUSIM_INLINE char* aligned(char* p, gpusim::Site at = gpusim::here()) {
    if (reinterpret_cast<u64>(p) % bytes)
        gpusim::gpusim_stop("misaligned", bytes == 16 ? "16-byte access" : bytes == 8 ? "8-byte access" : "vector access", at.file, at.line);
    return p;
}

// Integers. Arithmetic wraps, so it is done unsigned, and 16 bits in 32, which C++ would take for int.
template <class T> using Work = Unsigned<decltype(T() + 0u)>;
template <class T> GPUSIM_INLINE T add(T a, T b) {
    if constexpr (is_float<T>) return a + b;
    else return T(Unsigned<T>(a) + 0u + Unsigned<T>(b));
}
template <class T> GPUSIM_INLINE T sub(T a, T b) {
    if constexpr (is_float<T>) return a - b;
    else return T(Unsigned<T>(a) + 0u - Unsigned<T>(b));
}
template <class T> GPUSIM_INLINE T mul(T a, T b) {
    if constexpr (is_float<T>) return a * b;
    else return T((Unsigned<T>(a) + 0u) * Unsigned<T>(b));
}
template <class T> GPUSIM_INLINE Wide<T> mul_wide(T a, T b) { return Wide<T>(a) * Wide<T>(b); }
template <class T> GPUSIM_INLINE T mul_hi(T a, T b) { return T(mul_wide(a, b) >> bits_of<T>); }
template <class T> GPUSIM_INLINE T mad(T a, T b, T c) { return add<T>(mul<T>(a, b), c); }
template <class T> GPUSIM_INLINE T mad_hi(T a, T b, T c) { return add<T>(mul_hi<T>(a, b), c); }
template <class T> GPUSIM_INLINE Wide<T> mad_wide(T a, T b, Wide<T> c) { return add<Wide<T>>(mul_wide(a, b), c); }
template <class T> GPUSIM_INLINE T div(T a, T b) {  // x / 0 is not defined: all ones here, as the hardware gives
    if constexpr (is_float<T>) return a / b;
    else if (b == 0) return T(-1);
    else if (is_signed<T> && b == T(-1)) return sub<T>(0, a);
    else return T(a / b);
}
template <class T> GPUSIM_INLINE T rem(T a, T b) {
    if (b == 0) return a;
    if (is_signed<T> && b == T(-1)) return 0;
    return T(a % b);
}
template <class T> GPUSIM_INLINE T neg(T a) {
    if constexpr (is_float<T>) return -a;
    else return sub<T>(0, a);
}
template <class T> GPUSIM_INLINE T abs(T a) {
    if constexpr (is_float<T>) return as<T>(Unsigned<T>(as<Unsigned<T>>(a) << 1 >> 1));
    else return a < 0 ? sub<T>(0, a) : a;
}
template <class T> GPUSIM_INLINE T min(T a, T b) {  // a NaN loses, and -0 is less than +0
    if constexpr (is_float<T>) {
        if (a != a || b != b) return a != a ? b : a;
        if (a == b) return __builtin_signbit(a) ? a : b;
    }
    return b < a ? b : a;
}
template <class T> GPUSIM_INLINE T max(T a, T b) {
    if constexpr (is_float<T>) {
        if (a != a || b != b) return a != a ? b : a;
        if (a == b) return __builtin_signbit(a) ? b : a;
    }
    return a < b ? b : a;
}
template <class T> GPUSIM_INLINE T min_nan(T a, T b) { return a != a ? a : b != b ? b : min<T>(a, b); }
template <class T> GPUSIM_INLINE T max_nan(T a, T b) { return a != a ? a : b != b ? b : max<T>(a, b); }

template <class T> GPUSIM_INLINE T add_carry(T a, T b, u32 in, u32& carry) {
    const Wide<T> sum = Wide<T>(a) + b + in;
    carry = u32(sum >> bits_of<T>);
    return T(sum);
}
template <class T> GPUSIM_INLINE T sub_carry(T a, T b, u32 in, u32& carry) {
    const Wide<T> difference = Wide<T>(a) - b - in;
    carry = u32(difference >> bits_of<T>) & 1;
    return T(difference);
}

// Bits. A shift by the width or more leaves zeros, or signs.
template <class T> GPUSIM_INLINE T band(T a, T b) { return T(a & b); }
template <class T> GPUSIM_INLINE T bor(T a, T b) { return T(a | b); }
template <class T> GPUSIM_INLINE T bxor(T a, T b) { return T(a ^ b); }
template <class T> GPUSIM_INLINE T bnot(T a) { return T(a ^ T(-1)); }
template <class T> GPUSIM_INLINE T cnot(T a) { return a == 0; }
template <class T> GPUSIM_INLINE T shl(T a, u32 n) { return n < u32(bits_of<T>) ? T((a + 0u) << n) : T(0); }
template <class T> GPUSIM_INLINE T shr(T a, u32 n) {
    if (n < u32(bits_of<T>)) return T(a >> n);
    return is_signed<T> && a < 0 ? T(-1) : T(0);
}
template <bool clamp> GPUSIM_INLINE u32 shf_l(u32 lo, u32 hi, u32 n) {
    n = clamp ? min<u32>(n, 32) : n & 31;
    return u32((u64(hi) << 32 | lo) << n >> 32);
}
template <bool clamp> GPUSIM_INLINE u32 shf_r(u32 lo, u32 hi, u32 n) {
    n = clamp ? min<u32>(n, 32) : n & 31;
    return u32((u64(hi) << 32 | lo) >> n);
}
template <class T> GPUSIM_INLINE T bfe(T a, u32 pos, u32 len) {
    pos &= 0xFF, len &= 0xFF;
    const u32 top = min<u32>(pos + len - 1, bits_of<T> - 1);
    const bool sign = is_signed<T> && len && (a >> top & 1);
    Unsigned<T> result = 0;
    for (u32 i = 0; i < u32(bits_of<T>); i++)
        result |= Unsigned<T>(i < len && pos + i < u32(bits_of<T>) ? a >> (pos + i) & 1 : sign) << i;
    return T(result);
}
template <class T> GPUSIM_INLINE T bfi(T a, T b, u32 pos, u32 len) {
    pos &= 0xFF, len &= 0xFF;
    for (u32 i = 0; i < len && pos + i < u32(bits_of<T>); i++) b = (b & ~(T(1) << (pos + i))) | (a >> i & 1) << (pos + i);
    return b;
}
GPUSIM_INLINE u32 prmt(u32 a, u32 b, u32 selector) {
    u32 result = 0;
    for (int i = 0; i < 4; i++) {
        const u32 choice = selector >> (4 * i);
        const u32 byte = u32((u64(b) << 32 | a) >> (8 * (choice & 7))) & 0xFF;
        result |= (choice & 8 ? (byte & 0x80 ? 0xFF : 0) : byte) << (8 * i);
    }
    return result;
}
template <u32 table> GPUSIM_INLINE u32 lop3(u32 a, u32 b, u32 c) {
    u32 result = 0;
    for (u32 i = 0; i < 8; i++)
        if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return result;
}
template <class T> GPUSIM_INLINE u32 popc(T a) { return u32(__builtin_popcountll(a)); }
template <class T> GPUSIM_INLINE u32 clz(T a) { return a ? u32(__builtin_clzll(a)) - (64 - bits_of<T>) : bits_of<T>; }
template <class T> GPUSIM_INLINE u32 bfind(T a) {
    const Unsigned<T> x = Unsigned<T>(is_signed<T> && a < 0 ? ~a : a);
    return x ? bits_of<T> - 1 - clz(x) : 0xFFFFFFFFu;
}
template <class T> GPUSIM_INLINE u32 bfind_shiftamt(T a) {
    const u32 bit = bfind(a);
    return bit == 0xFFFFFFFFu ? bit : bits_of<T> - 1 - bit;
}
template <class T> GPUSIM_INLINE T brev(T a) {
    T result = 0;
    for (int i = 0; i < bits_of<T>; i++) result |= (a >> i & 1) << (bits_of<T> - 1 - i);
    return result;
}

// Comparisons: with a NaN, the plain ones are false and those with a u ("unordered") are true.
template <class T> GPUSIM_INLINE bool num(T a, T b) { return a == a && b == b; }
template <class T> GPUSIM_INLINE bool nan(T a, T b) { return !num(a, b); }
template <class T> GPUSIM_INLINE bool eq(T a, T b) { return a == b; }
template <class T> GPUSIM_INLINE bool ne(T a, T b) { return num(a, b) && a != b; }
template <class T> GPUSIM_INLINE bool lt(T a, T b) { return a < b; }
template <class T> GPUSIM_INLINE bool le(T a, T b) { return a <= b; }
template <class T> GPUSIM_INLINE bool gt(T a, T b) { return a > b; }
template <class T> GPUSIM_INLINE bool ge(T a, T b) { return a >= b; }
template <class T> GPUSIM_INLINE bool equ(T a, T b) { return nan(a, b) || a == b; }
template <class T> GPUSIM_INLINE bool neu(T a, T b) { return a != b; }
template <class T> GPUSIM_INLINE bool ltu(T a, T b) { return !(a >= b); }
template <class T> GPUSIM_INLINE bool leu(T a, T b) { return !(a > b); }
template <class T> GPUSIM_INLINE bool gtu(T a, T b) { return !(a <= b); }
template <class T> GPUSIM_INLINE bool geu(T a, T b) { return !(a < b); }

}  // namespace ptx

#include "ptx_float.h"
#include "ptx_warp.h"
