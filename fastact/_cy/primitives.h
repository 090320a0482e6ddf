/* The intrinsics of the formula language in C: branch-free, so that a loop over them becomes SIMD code.
   Compiled without contraction and without fast-math, so every level with FMA gives the same bits. */
#ifndef FASTACT_PRIMITIVES_H
#define FASTACT_PRIMITIVES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define FASTACT_INLINE static __forceinline
#else
#define FASTACT_INLINE static inline __attribute__((always_inline))
#endif

/* A call of the C library's fma would cost a hundred times the multiplication: only where it is one instruction. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__) || defined(_M_ARM64) || (defined(_MSC_VER) && defined(__AVX2__))
#define FASTACT_FMA 1
#endif

#define FASTACT_INTRINSICS(name, real, integer, mantissa, bias, c_abs, c_sqrt, c_copysign, c_fma)                     \
    FASTACT_INLINE real abs_##name(real x) { return c_abs(x); }                                                           \
    FASTACT_INLINE real abs_at_most_##name(real x, real limit)                                                           \
    {                                                                                                                    \
        integer bits, most;                                                                                              \
        memcpy(&bits, &x, sizeof bits);                                                                                  \
        memcpy(&most, &limit, sizeof most);                                                                              \
        bits &= ~((integer)1 << (sizeof bits * 8 - 1));                                                                  \
        bits = bits > most ? most : bits;                                                                                \
        memcpy(&x, &bits, sizeof x);                                                                                     \
        return x;                                                                                                        \
    }                                                                                                                    \
    FASTACT_INLINE real sqrt_##name(real x) { return c_sqrt(x); }                                                         \
    FASTACT_INLINE real copysign_##name(real x, real s) { return c_copysign(x, s); }                                      \
    FASTACT_INLINE real select_##name(int c, real a, real b) { return c ? a : b; }                                       \
    FASTACT_INLINE real minimum_##name(real x, real limit) { return x > limit ? limit : x; }                             \
    FASTACT_INLINE real maximum_##name(real x, real limit) { return x < limit ? limit : x; }                             \
    FASTACT_INLINE real fma_##name(real a, real b, real c) { return c_fma(a, b, c); }                                     \
    FASTACT_INLINE real biased_power_##name(real shifted)                                                                \
    {                                                                                                                    \
        integer bits;                                                                                                    \
        real power;                                                                                                      \
        memcpy(&bits, &shifted, sizeof bits);                                                                            \
        bits = (bits << mantissa) + ((integer)(bias + POWER_BIAS_##name) << mantissa);                                   \
        memcpy(&power, &bits, sizeof power);                                                                             \
        return power;                                                                                                    \
    }

/* As language.POWER_BIAS. */
#define POWER_BIAS_float32 40
#define POWER_BIAS_float64 100

#ifdef FASTACT_FMA
#define FASTACT_SQUARE_REST(name, real, splitter)                                                                        \
    FASTACT_INLINE real square_rest_##name(real a, real square) { return fma_##name(a, a, -square); }
#else
#define FASTACT_SQUARE_REST(name, real, splitter)                                                                        \
    FASTACT_INLINE real square_rest_##name(real a, real square)                                                          \
    {                                                                                                                    \
        real split = a * (real)splitter, high = split - (split - a), low = a - high;                                     \
        return ((high * high - square) + (real)2 * high * low) + low * low;                                              \
    }
#endif

#ifdef FASTACT_FMA
FASTACT_INTRINSICS(float32, float, uint32_t, 23, 127, fabsf, sqrtf, copysignf, fmaf)
FASTACT_INTRINSICS(float64, double, uint64_t, 52, 1023, fabs, sqrt, copysign, fma)
#else
#define FASTACT_TWICE(a, b, c) ((a) * (b) + (c))
FASTACT_INTRINSICS(float32, float, uint32_t, 23, 127, fabsf, sqrtf, copysignf, FASTACT_TWICE)
FASTACT_INTRINSICS(float64, double, uint64_t, 52, 1023, fabs, sqrt, copysign, FASTACT_TWICE)
#endif
/* language.SPLITTER */
FASTACT_SQUARE_REST(float32, float, 4097.0)
FASTACT_SQUARE_REST(float64, double, 134217729.0)

#endif
