/* Rows to columns, and memory ahead of time. A level with AVX turns 8 rows of 8 float32 in registers. */
#ifndef FASTACT_TURN_H
#define FASTACT_TURN_H

#include <stdint.h>

/* What will be read or written soon is asked for: passes over a batch, which read and then write, would else wait for memory by turns. */
#if defined(__GNUC__)
#define FASTACT_SOON_READ(p) __builtin_prefetch(p, 0, 2)
#define FASTACT_SOON_WRITTEN(p) __builtin_prefetch(p, 1, 3)
#elif defined(_M_X64)
#include <xmmintrin.h>
#define FASTACT_SOON_READ(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)
#define FASTACT_SOON_WRITTEN(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#else
#define FASTACT_SOON_READ(p)
#define FASTACT_SOON_WRITTEN(p)
#endif

static inline void soon_read(const void *memory, intptr_t bytes)
{
    const char *at = (const char *)memory, *end = at + bytes;
    for (; at < end; at += 64) FASTACT_SOON_READ(at);
}

static inline void soon_written(const void *memory, intptr_t bytes)
{
    const char *at = (const char *)memory, *end = at + bytes;
    for (; at < end; at += 64) FASTACT_SOON_WRITTEN(at);
}

#if defined(__AVX__)
#include <immintrin.h>

static inline void turn_float32(const float *from, intptr_t from_step, float *to, intptr_t to_step)
{
    /* No loops: not all would be unrolled, and arrays would then be in memory. */
    const __m256 a = _mm256_loadu_ps(from), b = _mm256_loadu_ps(from + from_step);
    const __m256 c = _mm256_loadu_ps(from + 2 * from_step), d = _mm256_loadu_ps(from + 3 * from_step);
    const __m256 e = _mm256_loadu_ps(from + 4 * from_step), f = _mm256_loadu_ps(from + 5 * from_step);
    const __m256 g = _mm256_loadu_ps(from + 6 * from_step), h = _mm256_loadu_ps(from + 7 * from_step);
    const __m256 ab = _mm256_unpacklo_ps(a, b), AB = _mm256_unpackhi_ps(a, b), cd = _mm256_unpacklo_ps(c, d), CD = _mm256_unpackhi_ps(c, d);
    const __m256 ef = _mm256_unpacklo_ps(e, f), EF = _mm256_unpackhi_ps(e, f), gh = _mm256_unpacklo_ps(g, h), GH = _mm256_unpackhi_ps(g, h);
    const __m256 ad0 = _mm256_shuffle_ps(ab, cd, 0x44), ad1 = _mm256_shuffle_ps(ab, cd, 0xee);
    const __m256 ad2 = _mm256_shuffle_ps(AB, CD, 0x44), ad3 = _mm256_shuffle_ps(AB, CD, 0xee);
    const __m256 eh0 = _mm256_shuffle_ps(ef, gh, 0x44), eh1 = _mm256_shuffle_ps(ef, gh, 0xee);
    const __m256 eh2 = _mm256_shuffle_ps(EF, GH, 0x44), eh3 = _mm256_shuffle_ps(EF, GH, 0xee);
    _mm256_storeu_ps(to, _mm256_permute2f128_ps(ad0, eh0, 0x20));
    _mm256_storeu_ps(to + to_step, _mm256_permute2f128_ps(ad1, eh1, 0x20));
    _mm256_storeu_ps(to + 2 * to_step, _mm256_permute2f128_ps(ad2, eh2, 0x20));
    _mm256_storeu_ps(to + 3 * to_step, _mm256_permute2f128_ps(ad3, eh3, 0x20));
    _mm256_storeu_ps(to + 4 * to_step, _mm256_permute2f128_ps(ad0, eh0, 0x31));
    _mm256_storeu_ps(to + 5 * to_step, _mm256_permute2f128_ps(ad1, eh1, 0x31));
    _mm256_storeu_ps(to + 6 * to_step, _mm256_permute2f128_ps(ad2, eh2, 0x31));
    _mm256_storeu_ps(to + 7 * to_step, _mm256_permute2f128_ps(ad3, eh3, 0x31));
}

/* 16 numbers to 4: number i and number i + 8, then number i and number i + 4. Left to gcc, it becomes 12 additions of one number each. */
static inline void add_quarters_float64(const double *from, double *to)
{
#if defined(__AVX512F__)
    const __m512d eight = _mm512_add_pd(_mm512_loadu_pd(from), _mm512_loadu_pd(from + 8));
    _mm256_storeu_pd(to, _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1)));
#else
    const __m256d a = _mm256_add_pd(_mm256_loadu_pd(from), _mm256_loadu_pd(from + 8));
    const __m256d b = _mm256_add_pd(_mm256_loadu_pd(from + 4), _mm256_loadu_pd(from + 12));
    _mm256_storeu_pd(to, _mm256_add_pd(a, b));
#endif
}

/* What 8 rows of 4 numbers sum to: number i and number i + 2, then the two sums. */
static inline void add_across_float64(const double *from, double *to)
{
    int r;
    for (r = 0; r < 8; r += 4) {
        const __m256d a = _mm256_loadu_pd(from + 4 * r), b = _mm256_loadu_pd(from + 4 * r + 4);
        const __m256d c = _mm256_loadu_pd(from + 4 * r + 8), d = _mm256_loadu_pd(from + 4 * r + 12);
        const __m256d ac = _mm256_add_pd(_mm256_permute2f128_pd(a, c, 0x20), _mm256_permute2f128_pd(a, c, 0x31));
        const __m256d bd = _mm256_add_pd(_mm256_permute2f128_pd(b, d, 0x20), _mm256_permute2f128_pd(b, d, 0x31));
        _mm256_storeu_pd(to + r, _mm256_add_pd(_mm256_unpacklo_pd(ac, bd), _mm256_unpackhi_pd(ac, bd)));
    }
}
#elif defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>

static inline void turn_float32(const float *from, intptr_t from_step, float *to, intptr_t to_step)
{
    int i, j;
    for (i = 0; i < 8; i += 4)
        for (j = 0; j < 8; j += 4) {
            const float *f = from + i * from_step + j;
            float *t = to + j * to_step + i;
            __m128 a = _mm_loadu_ps(f), b = _mm_loadu_ps(f + from_step), c = _mm_loadu_ps(f + 2 * from_step), d = _mm_loadu_ps(f + 3 * from_step);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(t, a);
            _mm_storeu_ps(t + to_step, b);
            _mm_storeu_ps(t + 2 * to_step, c);
            _mm_storeu_ps(t + 3 * to_step, d);
        }
}
#else
static inline void turn_float32(const float *from, intptr_t from_step, float *to, intptr_t to_step)
{
    int i, j;
    for (i = 0; i < 8; i++)
        for (j = 0; j < 8; j++) to[j * to_step + i] = from[i * from_step + j];
}
#endif

#if !defined(__AVX__)
static inline void add_quarters_float64(const double *from, double *to)
{
    int i;
    for (i = 0; i < 4; i++) to[i] = (from[i] + from[i + 8]) + (from[i + 4] + from[i + 12]);
}

static inline void add_across_float64(const double *from, double *to)
{
    int r;
    for (r = 0; r < 8; r++) to[r] = (from[4 * r] + from[4 * r + 2]) + (from[4 * r + 1] + from[4 * r + 3]);
}
#endif

static inline void turn_float64(const double *from, intptr_t from_step, double *to, intptr_t to_step)
{
    int i, j;
    for (i = 0; i < 8; i++)
        for (j = 0; j < 8; j++) to[j * to_step + i] = from[i * from_step + j];
}

/* Any number of rows of any length: what is left over one by one. */
#define FASTACT_TURN_ALL(name, real)                                                                                              \
    static inline void turn_all_##name(const real *from, intptr_t from_step, real *to, intptr_t to_step, intptr_t rows, intptr_t n) \
    {                                                                                                                             \
        intptr_t r, i, k, l;                                                                                                      \
        for (r = 0; r < rows; r += 8)                                                                                             \
            for (i = 0; i < n; i += 8) {                                                                                          \
                const real *f = from + r * from_step + i;                                                                         \
                real *t = to + i * to_step + r;                                                                                   \
                if (rows - r >= 8 && n - i >= 8) {                                                                                \
                    turn_##name(f, from_step, t, to_step);                                                                        \
                    continue;                                                                                                     \
                }                                                                                                                 \
                for (k = 0; k < 8 && k < rows - r; k++)                                                                           \
                    for (l = 0; l < 8 && l < n - i; l++) t[l * to_step + k] = f[k * from_step + l];                               \
            }                                                                                                                     \
    }

FASTACT_TURN_ALL(float32, float)
FASTACT_TURN_ALL(float64, double)

#endif
