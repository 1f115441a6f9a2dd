// The floating point half of ptx.h: rounding, conversions, approximations (exact here: the GPU's last bits differ).
#pragma once

extern "C" int fesetround(int) noexcept;

namespace ptx {

#ifdef __aarch64__
enum Rounding { NEAREST = 0, UP = 0x400000, DOWN = 0x800000, TO_ZERO = 0xC00000 };
#else
enum Rounding { NEAREST = 0, DOWN = 0x400, UP = 0x800, TO_ZERO = 0xC00 };
#endif

GPUSIM_INLINE f32 ftz(f32 x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
GPUSIM_INLINE f64 ftz(f64 x) { return x; }
template <class T> GPUSIM_INLINE T saturate(T x) { return x > 0 ? (x < 1 ? x : T(1)) : T(0); }  // a NaN becomes 0

GPUSIM_INLINE f32 fused(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
GPUSIM_INLINE f64 fused(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
GPUSIM_INLINE f32 square_root(f32 x) { return __builtin_sqrtf(x); }
GPUSIM_INLINE f64 square_root(f64 x) { return __builtin_sqrt(x); }

template <class T> GPUSIM_INLINE T fma(T a, T b, T c) { return fused(a, b, c); }
template <class T> GPUSIM_INLINE T rcp(T x) { return 1 / x; }
template <class T> GPUSIM_INLINE T sqrt(T x) { return square_root(x); }
template <class T> GPUSIM_INLINE T rsqrt(T x) { return 1 / square_root(x); }
template <class T> GPUSIM_INLINE T ex2(T x) { return ::exp2f(x); }
template <class T> GPUSIM_INLINE T lg2(T x) { return ::log2f(x); }
template <class T> GPUSIM_INLINE T sin(T x) { return ::sinf(x); }
template <class T> GPUSIM_INLINE T cos(T x) { return ::cosf(x); }
template <class T> GPUSIM_INLINE T tanh(T x) { return ::tanhf(x); }
template <class T> GPUSIM_INLINE T copysign(T sign, T size) {
    return as<T>(Unsigned<T>(as<Unsigned<T>>(abs(size)) | (as<Unsigned<T>>(sign) >> (bits_of<T> - 1) << (bits_of<T> - 1))));
}

// An operation in another rounding mode. The volatile values keep the compiler from moving it out.
template <class Result, class T, class Operation>
GPUSIM_INLINE Result rounded(Rounding mode, Operation operation, T a, T b = T(), T c = T()) {
    volatile T x = a, y = b, z = c;
    fesetround(mode);
    volatile Result result = operation(T(x), T(y), T(z));
    fesetround(NEAREST);
    return result;
}

// To the nearest integer (ties to even), towards zero, down, up.
template <class T> GPUSIM_INLINE T rni(T x) { return T(__builtin_rint(x)); }
template <class T> GPUSIM_INLINE T rzi(T x) { return T(__builtin_trunc(x)); }
template <class T> GPUSIM_INLINE T rmi(T x) { return T(__builtin_floor(x)); }
template <class T> GPUSIM_INLINE T rpi(T x) { return T(__builtin_ceil(x)); }

template <class To> inline constexpr To largest = is_signed<To> ? To(Unsigned<To>(-1) >> 1) : To(-1);
template <class To> inline constexpr To smallest = is_signed<To> ? To(-largest<To> - 1) : To(0);

// A float outside the integer's range gives its nearest end, a NaN gives 0.
template <class To, class From> GPUSIM_INLINE To to_integer(From x) {
    if (x != x) return 0;
    if (x >= From(largest<To>)) return largest<To>;
    if (x <= From(smallest<To>)) return smallest<To>;
    return To(x);
}
template <class To, class From> GPUSIM_INLINE To clamped(From x) {
    const __int128 wide = x;
    return wide > largest<To> ? largest<To> : wide < smallest<To> ? smallest<To> : To(x);
}

// bfloat16 is the upper half of a float32.
GPUSIM_INLINE u16 to_bf16(f32 x) {
    const u32 bits = as<u32>(x);
    return x != x ? 0x7FFF : u16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
GPUSIM_INLINE u32 to_bf16x2(f32 high, f32 low) { return u32(to_bf16(high)) << 16 | to_bf16(low); }

}  // namespace ptx
