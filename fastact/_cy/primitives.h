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

/* A limit that is the same for all elements, as what gcc cannot know: only then it takes the processor's minimum and maximum, one instruction
   where compare and blend are two. The zero is defined behind its back, and subtracted once, before a loop: -0 stays what it is. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ELF__)
extern const double fastact_zero __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata, \"a\"\n.balign 8\nfastact_zero: .zero 8\n.popsection");
#define FASTACT_LIMIT(real, limit) (__builtin_constant_p(limit) ? (limit) - (real)fastact_zero : (limit))
#else
#define FASTACT_LIMIT(real, limit) (limit)
#endif

/* A call of the C library's fma would cost a hundred times the multiplication: only where it is one instruction. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__) || defined(_M_ARM64) || (defined(_MSC_VER) && defined(__AVX2__))
#define FASTACT_FMA 1
#endif

#define FASTACT_INTRINSICS(name, real, integer, mantissa, bias, c_abs, c_sqrt, c_copysign, c_fma)                     \
    FASTACT_INLINE real abs_##name(real x) { return c_abs(x); }                                                           \
    FASTACT_INLINE real sqrt_##name(real x) { return c_sqrt(x); }                                                         \
    FASTACT_INLINE real copysign_##name(real x, real s) { return c_copysign(x, s); }                                      \
    FASTACT_INLINE real select_##name(int c, real a, real b) { return c ? a : b; }                                       \
    FASTACT_INLINE real minimum_##name(real x, real limit)                                                               \
    {                                                                                                                    \
        limit = FASTACT_LIMIT(real, limit);                                                                              \
        return x > limit ? limit : x;                                                                                    \
    }                                                                                                                    \
    FASTACT_INLINE real maximum_##name(real x, real limit)                                                               \
    {                                                                                                                    \
        limit = FASTACT_LIMIT(real, limit);                                                                              \
        return x < limit ? limit : x;                                                                                    \
    }                                                                                                                    \
    FASTACT_INLINE real fma_##name(real a, real b, real c) { return c_fma(a, b, c); }                                     \
    /* Both: to the bits of x, what is between those of sqrt(1/2) and 1 is added, and the exponent is that of x * sqrt(2). */ \
    FASTACT_INLINE real exponent_##name(real x)                                                                          \
    {                                                                                                                    \
        const integer magic = ((integer)(bias + mantissa) << mantissa) + ((integer)1 << (mantissa - 1));                 \
        integer bits;                                                                                                    \
        real shifted; /* 1.5 * 2**mantissa + the biased exponent: so integers become reals by SIMD on every level */     \
        memcpy(&bits, &x, sizeof bits);                                                                                  \
        bits = magic + ((bits + (((integer)bias << mantissa) - SQRT_HALF_##name)) >> mantissa);                          \
        memcpy(&shifted, &bits, sizeof shifted);                                                                         \
        return shifted - ((real)1.5 * (real)((integer)1 << mantissa) + (real)bias);                                      \
    }                                                                                                                    \
    FASTACT_INLINE real mantissa_##name(real x)                                                                          \
    {                                                                                                                    \
        integer bits;                                                                                                    \
        memcpy(&bits, &x, sizeof bits);                                                                                  \
        bits += ((integer)bias << mantissa) - SQRT_HALF_##name;                                                          \
        bits = (bits & (((integer)1 << mantissa) - 1)) + SQRT_HALF_##name;                                               \
        memcpy(&x, &bits, sizeof x);                                                                                     \
        return x;                                                                                                        \
    } \
    /* The exponent is in the last bits, biased: language.POWER_MAGIC. */                                                \
    FASTACT_INLINE real biased_power_##name(real shifted)                                                                \
    {                                                                                                                    \
        integer bits;                                                                                                    \
        memcpy(&bits, &shifted, sizeof bits);                                                                            \
        bits <<= mantissa;                                                                                               \
        memcpy(&shifted, &bits, sizeof shifted);                                                                         \
        return shifted;                                                                                                  \
    }                                                                                                                    \
    FASTACT_INLINE real rough_reciprocal_##name(real x)                                                                  \
    {                                                                                                                    \
        integer bits;                                                                                                    \
        memcpy(&bits, &x, sizeof bits);                                                                                  \
        bits = RECIPROCAL_BITS_##name - bits;                                                                            \
        memcpy(&x, &bits, sizeof x);                                                                                     \
        return x;                                                                                                        \
    }                                                                                                                    \
    FASTACT_INLINE real rough_rsqrt_##name(real x)                                                                       \
    {                                                                                                                    \
        integer bits;                                                                                                    \
        memcpy(&bits, &x, sizeof bits);                                                                                  \
        bits = RSQRT_BITS_##name - (bits >> 1);                                                                          \
        memcpy(&x, &bits, sizeof x);                                                                                     \
        return x;                                                                                                        \
    }

/* language.RECIPROCAL_BITS and RSQRT_BITS. */
#define RECIPROCAL_BITS_float32 ((uint32_t)0x7ef311c2)
#define RECIPROCAL_BITS_float64 ((uint64_t)0x7fde62384ffd9800)
#define RSQRT_BITS_float32 ((uint32_t)0x5f3746f9)
#define RSQRT_BITS_float64 ((uint64_t)0x5fe6e8eadf318400)

/* The bits of sqrt(1/2). */
#define SQRT_HALF_float32 ((uint32_t)0x3f3504f3)
#define SQRT_HALF_float64 ((uint64_t)0x3fe6a09e667f3bcd)

#ifdef FASTACT_FMA
#define FASTACT_PRODUCT_REST(name, real, splitter)                                                                       \
    FASTACT_INLINE real product_rest_##name(real a, real b, real product) { return fma_##name(a, b, -product); }         \
    FASTACT_INLINE real product_sum_##name(real a, real b, real c) { return fma_##name(a, b, c); }
#else
#define FASTACT_PRODUCT_REST(name, real, splitter)                                                                       \
    FASTACT_INLINE real product_rest_##name(real a, real b, real product)                                                \
    {                                                                                                                    \
        real split_a = a * (real)splitter, high_a = split_a - (split_a - a), low_a = a - high_a;                         \
        real split_b = b * (real)splitter, high_b = split_b - (split_b - b), low_b = b - high_b;                         \
        real rest = (((high_a * high_b - product) + high_a * low_b) + low_a * high_b) + low_a * low_b;                   \
        return rest == rest ? rest : (real)0; /* too large to be parted */                                               \
    }                                                                                                                    \
    FASTACT_INLINE real product_sum_##name(real a, real b, real c)                                                       \
    {                                                                                                                    \
        real product = a * b;                                                                                            \
        return (product + c) + product_rest_##name(a, b, product);                                                       \
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
FASTACT_PRODUCT_REST(float32, float, 4097.0)
FASTACT_PRODUCT_REST(float64, double, 134217729.0)

#endif
