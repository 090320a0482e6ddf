/* What a pipeline does to blocks around a kernel: cheap loops over contiguous memory, compiled for each instruction-set level.

   A stage reads n numbers of each input and writes n of each output; no output is an input. `c` are the call's constants, in the order
   of `pipeline.CONSTANTS`. If bit k of `uniform` is set, input k is one number for all. */
#ifndef FASTACT_STAGES_H
#define FASTACT_STAGES_H

#include <stdint.h>

typedef void (*fastact_stage)(const void *const *in, void *const *out, const double *c, intptr_t n, unsigned uniform);
typedef void (*fastact_sum)(const void *t, double *s, double *rest, intptr_t n);

#ifndef FASTACT_RESTRICT
#if defined(_MSC_VER)
#define FASTACT_RESTRICT __restrict
#else
#define FASTACT_RESTRICT __restrict__
#endif
#endif
#define FASTACT_SUM_LANES 32 /* sums in so many lanes at any level, so that the order, and so the bits, are the same */

#define FASTACT_STAGE(name, real)                                                                                             \
    static inline void name##_##real(const void *const *in, void *const *out, const double *c, intptr_t n, unsigned uniform)
#define FASTACT_IN(real, k) const real *FASTACT_RESTRICT x##k = (const real *)in[k]
#define FASTACT_OUT(real, k) real *FASTACT_RESTRICT y##k = (real *)out[k]
#define FASTACT_LOOP for (intptr_t i = 0; i < n; i++)
#define FASTACT_UNUSED (void)c, (void)uniform

#define FASTACT_STAGES(real)                                                                                                  \
    FASTACT_STAGE(copy, real)                                                                                                 \
    {                                                                                                                         \
        FASTACT_IN(real, 0); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                                            \
        FASTACT_LOOP y0[i] = x0[i];                                                                                           \
    }                                                                                                                         \
    FASTACT_STAGE(multiply, real)                                                                                             \
    {                                                                                                                         \
        FASTACT_IN(real, 0); FASTACT_IN(real, 1); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                       \
        FASTACT_LOOP y0[i] = x0[i] * x1[i];                                                                                   \
    }                                                                                                                         \
    FASTACT_STAGE(add, real)                                                                                                  \
    {                                                                                                                         \
        FASTACT_IN(real, 0); FASTACT_IN(real, 1); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                       \
        if (uniform & 2) {                                                                                                    \
            const real b = x1[0];                                                                                             \
            FASTACT_LOOP y0[i] = x0[i] + b;                                                                                   \
        } else {                                                                                                              \
            FASTACT_LOOP y0[i] = x0[i] + x1[i];                                                                               \
        }                                                                                                                     \
    }                                                                                                                         \
    FASTACT_STAGE(scaled, real)                                                                                               \
    {                                                                                                                         \
        const real scale = (real)c[2];                                                                                        \
        FASTACT_IN(real, 0); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                                            \
        FASTACT_LOOP y0[i] = x0[i] * scale;                                                                                   \
    }                                                                                                                         \
    FASTACT_STAGE(dropped, real)                                                                                              \
    {                                                                                                                         \
        const real scale = (real)c[2];                                                                                        \
        const uint8_t *FASTACT_RESTRICT mask = (const uint8_t *)in[1];                                                        \
        FASTACT_IN(real, 0); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                                            \
        FASTACT_LOOP {                                                                                                        \
            const real value = x0[i] * scale;                                                                                 \
            y0[i] = mask[i] ? value : (real)0;                                                                                \
        }                                                                                                                     \
    }                                                                                                                         \
    FASTACT_STAGE(limited_gate, real)                                                                                         \
    {                                                                                                                         \
        const real limit = (real)c[0];                                                                                        \
        FASTACT_IN(real, 0); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                                            \
        FASTACT_LOOP y0[i] = x0[i] > limit ? limit : x0[i];                                                                   \
    }                                                                                                                         \
    FASTACT_STAGE(limited_value, real)                                                                                        \
    {                                                                                                                         \
        const real limit = (real)c[0], offset = (real)c[1];                                                                   \
        FASTACT_IN(real, 0); FASTACT_OUT(real, 0); FASTACT_UNUSED;                                                            \
        FASTACT_LOOP {                                                                                                        \
            const real low = x0[i] < -limit ? -limit : x0[i];                                                                 \
            y0[i] = (low > limit ? limit : low) + offset;                                                                     \
        }                                                                                                                     \
    }                                                                                                                         \
    FASTACT_STAGE(gated_backward, real) /* of the gradient, value, act(gate), act'(gate) */                                   \
    {                                                                                                                         \
        FASTACT_IN(real, 0); FASTACT_IN(real, 1); FASTACT_IN(real, 2); FASTACT_IN(real, 3);                                   \
        FASTACT_OUT(real, 0); FASTACT_OUT(real, 1); FASTACT_UNUSED;                                                           \
        FASTACT_LOOP {                                                                                                        \
            const real g = x0[i];                                                                                             \
            y0[i] = g * x2[i];                                                                                                \
            y1[i] = (g * x1[i]) * x3[i];                                                                                      \
        }                                                                                                                     \
    }                                                                                                                         \
    FASTACT_STAGE(within_limits, real) /* gradients of value and gate, then value and gate: 0 where these were cut off */     \
    {                                                                                                                         \
        const real limit = (real)c[0];                                                                                        \
        FASTACT_IN(real, 0); FASTACT_IN(real, 1); FASTACT_IN(real, 2); FASTACT_IN(real, 3);                                   \
        FASTACT_OUT(real, 0); FASTACT_OUT(real, 1); FASTACT_UNUSED;                                                           \
        FASTACT_LOOP {                                                                                                        \
            const real value = x2[i] > limit ? (real)0 : x0[i];                                                               \
            y0[i] = x2[i] < -limit ? (real)0 : value;                                                                         \
            y1[i] = x3[i] > limit ? (real)0 : x1[i];                                                                          \
        }                                                                                                                     \
    }

FASTACT_STAGES(float)
FASTACT_STAGES(double)

/* Knuth's: *rest takes what the rounding of the sum loses. */
#define FASTACT_TWO_SUM(s, rest, t)                                                                                           \
    do {                                                                                                                      \
        const double fastact_sum_ = (s) + (t), fastact_part = fastact_sum_ - (s);                                             \
        (rest) += ((s) - (fastact_sum_ - fastact_part)) + ((t) - fastact_part);                                               \
        (s) = fastact_sum_;                                                                                                   \
    } while (0)
/* float32 numbers in a float64 sum need no more: it has room for 2**29 of them. */
#define FASTACT_PLAIN_SUM(s, rest, t) ((s) += (t))

#define FASTACT_SUMS(real, ADD)                                                                                               \
    /* s[j] += t[j] */                                                                                                        \
    static inline void sum_columns_##real(const void *t, double *s, double *rest, intptr_t n)                                        \
    {                                                                                                                         \
        const real *FASTACT_RESTRICT x = (const real *)t;                                                                     \
        double *FASTACT_RESTRICT a = s, *FASTACT_RESTRICT b = rest;                                                           \
        (void)b;                                                                                                              \
        FASTACT_LOOP ADD(a[i], b[i], (double)x[i]);                                                                           \
    }                                                                                                                         \
    /* s[0] += the sum of all t */                                                                                            \
    static inline void sum_all_##real(const void *t, double *s, double *rest, intptr_t n)                                            \
    {                                                                                                                         \
        const real *FASTACT_RESTRICT x = (const real *)t;                                                                     \
        double a[FASTACT_SUM_LANES] = {0}, b[FASTACT_SUM_LANES] = {0};                                                                \
        int k, half;                                                                                                          \
        for (; n >= FASTACT_SUM_LANES; n -= FASTACT_SUM_LANES, x += FASTACT_SUM_LANES)                                                    \
            for (k = 0; k < FASTACT_SUM_LANES; k++) ADD(a[k], b[k], (double)x[k]);                                                \
        for (k = 0; k < n; k++) ADD(a[k], b[k], (double)x[k]);                                                                \
        for (half = FASTACT_SUM_LANES / 2; half; half /= 2)                                                                       \
            for (k = 0; k < half; k++) {                                                                                      \
                ADD(a[k], b[k], a[k + half]);                                                                                 \
                b[k] += b[k + half];                                                                                          \
            }                                                                                                                 \
        FASTACT_TWO_SUM(s[0], rest[0], a[0]);                                                                                 \
        rest[0] += b[0];                                                                                                      \
    }

FASTACT_SUMS(float, FASTACT_PLAIN_SUM)
FASTACT_SUMS(double, FASTACT_TWO_SUM)

#endif
