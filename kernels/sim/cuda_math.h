// CUDA's arithmetic on a CPU. Declared here rather than included: the system's headers take longer to read than a
// kernel takes to compile. Approximate functions (__expf, rsqrtf) are the exact ones: their last bits are the GPU's.
#pragma once

#define GPUSIM_MATH1(name)                                                       \
    extern "C" float name##f(float) noexcept;                                    \
    extern "C" double name(double) noexcept;                                     \
    GPUSIM_INLINE float name(float x) { return name##f(x); }
GPUSIM_MATH1(exp) GPUSIM_MATH1(exp2) GPUSIM_MATH1(expm1) GPUSIM_MATH1(log) GPUSIM_MATH1(log2) GPUSIM_MATH1(log10)
GPUSIM_MATH1(log1p) GPUSIM_MATH1(sqrt) GPUSIM_MATH1(cbrt) GPUSIM_MATH1(sin) GPUSIM_MATH1(cos) GPUSIM_MATH1(tan)
GPUSIM_MATH1(tanh) GPUSIM_MATH1(sinh) GPUSIM_MATH1(cosh) GPUSIM_MATH1(atan) GPUSIM_MATH1(erf) GPUSIM_MATH1(fabs)
GPUSIM_MATH1(floor) GPUSIM_MATH1(ceil) GPUSIM_MATH1(trunc) GPUSIM_MATH1(round) GPUSIM_MATH1(rint)

#define GPUSIM_MATH2(name)                                                       \
    extern "C" float name##f(float, float) noexcept;                             \
    extern "C" double name(double, double) noexcept;                             \
    GPUSIM_INLINE float name(float x, float y) { return name##f(x, y); }
GPUSIM_MATH2(pow) GPUSIM_MATH2(fmin) GPUSIM_MATH2(fmax) GPUSIM_MATH2(fmod) GPUSIM_MATH2(atan2) GPUSIM_MATH2(copysign)

extern "C" float fmaf(float, float, float) noexcept;
extern "C" double fma(double, double, double) noexcept;
extern "C" int abs(int) noexcept;
GPUSIM_INLINE float fma(float x, float y, float z) { return fmaf(x, y, z); }
GPUSIM_INLINE float abs(float x) { return fabsf(x); }
extern "C" float ldexpf(float, int) noexcept;
extern "C" float hypotf(float, float) noexcept;
extern "C" long lrintf(float) noexcept;
GPUSIM_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
GPUSIM_INLINE float rsqrt(float x) { return rsqrtf(x); }
GPUSIM_INLINE float exp10f(float x) { return powf(10.0f, x); }
GPUSIM_INLINE float fdividef(float x, float y) { return x / y; }
GPUSIM_INLINE void sincosf(float x, float* sine, float* cosine) { *sine = sinf(x), *cosine = cosf(x); }
GPUSIM_INLINE bool signbit(float x) { return __builtin_signbit(x); }
GPUSIM_INLINE bool isnan(float x) { return __builtin_isnan(x); }
GPUSIM_INLINE bool isinf(float x) { return __builtin_isinf(x); }
GPUSIM_INLINE bool isfinite(float x) { return __builtin_isfinite(x); }

GPUSIM_INLINE float __expf(float x) { return expf(x); }
GPUSIM_INLINE float __exp10f(float x) { return powf(10.0f, x); }
GPUSIM_INLINE float __logf(float x) { return logf(x); }
GPUSIM_INLINE float __log2f(float x) { return log2f(x); }
GPUSIM_INLINE float __sinf(float x) { return sinf(x); }
GPUSIM_INLINE float __cosf(float x) { return cosf(x); }
GPUSIM_INLINE float __tanf(float x) { return tanf(x); }
GPUSIM_INLINE float __powf(float x, float y) { return powf(x, y); }
GPUSIM_INLINE float __fdividef(float x, float y) { return x / y; }
GPUSIM_INLINE float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // a NaN becomes 0
GPUSIM_INLINE float __fadd_rn(float x, float y) { return x + y; }
GPUSIM_INLINE float __fsub_rn(float x, float y) { return x - y; }
GPUSIM_INLINE float __fmul_rn(float x, float y) { return x * y; }
GPUSIM_INLINE float __fdiv_rn(float x, float y) { return x / y; }
GPUSIM_INLINE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
GPUSIM_INLINE float __frcp_rn(float x) { return 1.0f / x; }
GPUSIM_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
GPUSIM_INLINE float __frsqrt_rn(float x) { return rsqrtf(x); }

#define GPUSIM_MIN_MAX(A, B, R)                                                  \
    GPUSIM_INLINE R min(A a, B b) { const R x = a, y = b; return y < x ? y : x; } \
    GPUSIM_INLINE R max(A a, B b) { const R x = a, y = b; return x < y ? y : x; }
GPUSIM_MIN_MAX(int, int, int)
GPUSIM_MIN_MAX(unsigned, unsigned, unsigned)
GPUSIM_MIN_MAX(int, unsigned, unsigned)
GPUSIM_MIN_MAX(unsigned, int, unsigned)
GPUSIM_MIN_MAX(long, long, long)
GPUSIM_MIN_MAX(unsigned long, unsigned long, unsigned long)
GPUSIM_MIN_MAX(long long, long long, long long)
GPUSIM_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
GPUSIM_INLINE float min(float a, float b) { return fminf(a, b); }  // a NaN loses, as on the GPU
GPUSIM_INLINE float max(float a, float b) { return fmaxf(a, b); }
GPUSIM_INLINE double min(double a, double b) { return fmin(a, b); }
GPUSIM_INLINE double max(double a, double b) { return fmax(a, b); }

GPUSIM_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
GPUSIM_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
GPUSIM_INLINE int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
GPUSIM_INLINE int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
GPUSIM_INLINE int __ffs(int x) { return __builtin_ffs(x); }
GPUSIM_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
GPUSIM_INLINE unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; bit++) reversed |= (x >> bit & 1) << (31 - bit);
    return reversed;
}
GPUSIM_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const unsigned long long bytes = (static_cast<unsigned long long>(y) << 32) | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= unsigned(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xFF) << (8 * i);
    return result;
}
GPUSIM_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
    return unsigned(((static_cast<unsigned long long>(hi) << 32 | lo) << (shift & 31)) >> 32);
}
GPUSIM_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
    return unsigned((static_cast<unsigned long long>(hi) << 32 | lo) >> (shift & 31));
}
GPUSIM_INLINE int __mulhi(int a, int b) { return int((static_cast<long long>(a) * b) >> 32); }
GPUSIM_INLINE unsigned __umulhi(unsigned a, unsigned b) {
    return unsigned((static_cast<unsigned long long>(a) * b) >> 32);
}
GPUSIM_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
GPUSIM_INLINE int __mul24(int a, int b) { return ((a << 8) >> 8) * ((b << 8) >> 8); }

GPUSIM_INLINE int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
GPUSIM_INLINE unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
GPUSIM_INLINE float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
GPUSIM_INLINE float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
GPUSIM_INLINE float __int2float_rn(int x) { return float(x); }
GPUSIM_INLINE float __uint2float_rn(unsigned x) { return float(x); }
GPUSIM_INLINE int __float2int_rn(float x) { return int(rintf(x)); }
GPUSIM_INLINE unsigned __float2uint_rn(float x) { return unsigned(rintf(x)); }
GPUSIM_INLINE unsigned __float2uint_rz(float x) { return unsigned(x); }
GPUSIM_INLINE int __float2int_rz(float x) { return int(x); }
GPUSIM_INLINE int __float2int_rd(float x) { return int(floorf(x)); }
GPUSIM_INLINE int __float2int_ru(float x) { return int(ceilf(x)); }

// Loads and stores with a hint for the caches, which are not simulated.
template <class T> GPUSIM_INLINE T __ldg(const T* p) { return *p; }
template <class T> GPUSIM_INLINE T __ldca(const T* p) { return *p; }
template <class T> GPUSIM_INLINE T __ldcg(const T* p) { return *p; }
template <class T> GPUSIM_INLINE T __ldcs(const T* p) { return *p; }
template <class T> GPUSIM_INLINE void __stcg(T* p, T value) { *p = value; }
template <class T> GPUSIM_INLINE void __stcs(T* p, T value) { *p = value; }
