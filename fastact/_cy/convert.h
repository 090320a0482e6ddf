/* Between what memory holds and what a kernel computes in: float16 and bfloat16 to float32, float32 to float64, and back.

   Contiguous and aligned, `from` and `to` apart. To the narrower type each number is rounded once, to nearest even: beyond the
   largest it becomes infinite, subnormals are kept, and NaN stays NaN, with its sign and the upper part of its payload. Every
   instruction-set level gives the same bits. Included where kernels are compiled, so once for each level. */
#ifndef FASTACT_CONVERT_H
#define FASTACT_CONVERT_H

#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define FASTACT_RESTRICT __restrict
#define FASTACT_CONVERT static __forceinline
#else
#define FASTACT_RESTRICT __restrict__
#define FASTACT_CONVERT static inline __attribute__((always_inline))
#endif

#if defined(__GNUC__)
#define FASTACT_SELDOM(condition) __builtin_expect((condition) != 0, 0)
#else
#define FASTACT_SELDOM(condition) (condition)
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>
#define FASTACT_LANES 16
#elif defined(__AVX2__) && (defined(__F16C__) || defined(_MSC_VER))
#include <immintrin.h>
#define FASTACT_LANES 8
#endif

/* AVX512_BF16 rounds two vectors to bfloat16 at once, as fastact_to_bfloat16 does, but takes subnormal numbers for 0. It is asked for when the
   kernels are loaded: x86-64-v4 doesn't promise it. In assembler, since its intrinsic would have the compiler use it wherever it likes. */
#if FASTACT_LANES == 16 && defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 10)
#include "cpu.h"
static int fastact_has_bfloat16;
__attribute__((constructor)) static void fastact_look_for_bfloat16(void) { fastact_has_bfloat16 = fastact_cpu_bfloat16(); }
static inline int fastact_use_bfloat16(int wanted) { return fastact_has_bfloat16 = wanted && fastact_cpu_bfloat16(); }

/* Whether the instruction may take these: there is one, and none of them is subnormal. The answer must not be known before the loop, or
   there would be two loops of everything; nor may the compiler begin with what is done otherwise, before it knows. */
FASTACT_CONVERT int fastact_by_bfloat16(__m512 *first, __m512 *last)
{
    int has = fastact_has_bfloat16;
    __asm__ volatile("" : "+r"(has));
    if (has && _kortestz_mask16_u8(_mm512_fpclass_ps_mask(*first, 0x20), _mm512_fpclass_ps_mask(*last, 0x20))) return 1;
    __asm__ volatile("" : "+v"(*first), "+v"(*last));
    return 0;
}
FASTACT_CONVERT __m512i fastact_pack_bfloat16(__m512 first, __m512 last)
{
    __m512i packed;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(packed) : "v"(last), "v"(first));
    return packed;
}
#else
static inline int fastact_use_bfloat16(int wanted) { (void)wanted; return 0; }
#if FASTACT_LANES == 16
FASTACT_CONVERT int fastact_by_bfloat16(__m512 *first, __m512 *last) { (void)first, (void)last; return 0; }
FASTACT_CONVERT __m512i fastact_pack_bfloat16(__m512 first, __m512 last) { (void)last; return _mm512_castps_si512(first); }
#endif
#endif

FASTACT_CONVERT uint32_t fastact_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

FASTACT_CONVERT float fastact_number(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* One number, without branches and for any processor. Comparisons are signed, because SSE and AVX2 have no others. */

FASTACT_CONVERT float fastact_from_float16(uint16_t half)
{
    const int32_t magnitude = half & 0x7fff;
    const uint32_t moved = (uint32_t)magnitude << 13;
    const uint32_t normal = moved + (112u << 23);
    const uint32_t small = fastact_bits(fastact_number(moved + (113u << 23)) - 6.103515625e-05f); /* 2**-14: the digits as a fraction */
    const uint32_t special = moved | (magnitude > 0x7c00 ? 0x7fc00000u : 0x7f800000u);
    const uint32_t bits = magnitude < 0x0400 ? small : magnitude >= 0x7c00 ? special : normal;
    return fastact_number(bits | (uint32_t)(half & 0x8000) << 16);
}

FASTACT_CONVERT uint16_t fastact_to_float16(float number)
{
    const uint32_t bits = fastact_bits(number), magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude - (112u << 23) + 0x0fffu + (magnitude >> 13 & 1)) >> 13;
    const uint32_t small = fastact_bits(fastact_number(magnitude) + 0.5f) - 0x3f000000u; /* the addition rounds at half's last digit */
    const uint32_t special = (int32_t)magnitude > 0x7f800000 ? 0x7e00u | (magnitude >> 13 & 0x03ffu) : 0x7c00u;
    const uint32_t found = (int32_t)magnitude < 113 << 23 ? small : (int32_t)magnitude >= 143 << 23 ? special : normal;
    return (uint16_t)(found | (bits >> 16 & 0x8000u));
}

FASTACT_CONVERT float fastact_from_bfloat16(uint16_t upper) { return fastact_number((uint32_t)upper << 16); }

FASTACT_CONVERT uint16_t fastact_to_bfloat16(float number)
{
    const uint32_t bits = fastact_bits(number);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((int32_t)(bits & 0x7fffffffu) > 0x7f800000 ? bits >> 16 | 0x0040u : rounded);
}

/* Many numbers. `widen`: from memory; `narrow`: to memory. */

FASTACT_CONVERT void fastact_widen_float16(const void *from, void *to, intptr_t n)
{
    const uint16_t *FASTACT_RESTRICT a = (const uint16_t *)from;
    float *FASTACT_RESTRICT b = (float *)to;
    intptr_t i = 0;
#if FASTACT_LANES == 16
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(b + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(a + i))));
#elif FASTACT_LANES == 8
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(b + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(a + i))));
#endif
    for (; i < n; i++) b[i] = fastact_from_float16(a[i]);
}

FASTACT_CONVERT void fastact_narrow_float16(const void *from, void *to, intptr_t n)
{
    const float *FASTACT_RESTRICT a = (const float *)from;
    uint16_t *FASTACT_RESTRICT b = (uint16_t *)to;
    intptr_t i = 0;
#if FASTACT_LANES == 16
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(b + i), _mm512_cvtps_ph(_mm512_loadu_ps(a + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif FASTACT_LANES == 8
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(b + i), _mm256_cvtps_ph(_mm256_loadu_ps(a + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++) b[i] = fastact_to_float16(a[i]);
}

FASTACT_CONVERT void fastact_widen_bfloat16(const void *from, void *to, intptr_t n)
{
    const uint16_t *FASTACT_RESTRICT a = (const uint16_t *)from;
    float *FASTACT_RESTRICT b = (float *)to;
    for (intptr_t i = 0; i < n; i++) b[i] = fastact_from_bfloat16(a[i]);
}

/* fastact_to_bfloat16 of a vector, in the upper halves. Whether there is a NaN is asked for two vectors at once: that costs less than to be
   ready for it (0.029 ns a number against 0.038). */
#if FASTACT_LANES == 16
FASTACT_CONVERT __m512i fastact_round_bfloat16(__m512 numbers)
{
    const __m512i bits = _mm512_castps_si512(numbers), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}
FASTACT_CONVERT __m512i fastact_keep_nan(__m512 numbers, __m512i rounded)
{
    const __mmask16 lost = _mm512_cmp_ps_mask(numbers, numbers, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(rounded, lost, _mm512_castps_si512(numbers), _mm512_set1_epi32(0x400000));
}
#elif FASTACT_LANES == 8
FASTACT_CONVERT __m256i fastact_round_bfloat16(__m256 numbers)
{
    const __m256i bits = _mm256_castps_si256(numbers), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
}
FASTACT_CONVERT __m256i fastact_keep_nan(__m256 numbers, __m256i rounded)
{
    const __m256 lost = _mm256_cmp_ps(numbers, numbers, _CMP_UNORD_Q), quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x400000));
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_or_ps(numbers, quiet), lost));
}
#endif

FASTACT_CONVERT void fastact_narrow_bfloat16(const void *from, void *to, intptr_t n)
{
    const float *FASTACT_RESTRICT a = (const float *)from;
    uint16_t *FASTACT_RESTRICT b = (uint16_t *)to;
    intptr_t i = 0;
#if FASTACT_LANES == 16
    const __m512i upper = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15,
                                           13, 11, 9, 7, 5, 3, 1); /* of each number, of two vectors: half the work of _mm512_cvtepi32_epi16 */
    for (; i + 32 <= n; i += 32) {
        __m512 low = _mm512_loadu_ps(a + i), high = _mm512_loadu_ps(a + i + 16);
        if (fastact_by_bfloat16(&low, &high)) {
            _mm512_storeu_si512(b + i, fastact_pack_bfloat16(low, high));
            continue;
        }
        __m512i first = fastact_round_bfloat16(low), last = fastact_round_bfloat16(high);
        if (FASTACT_SELDOM(_mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q)))
            first = fastact_keep_nan(low, first), last = fastact_keep_nan(high, last);
        _mm512_storeu_si512(b + i, _mm512_permutex2var_epi16(first, upper, last));
    }
#elif FASTACT_LANES == 8
    for (; i + 16 <= n; i += 16) {
        const __m256 low = _mm256_loadu_ps(a + i), high = _mm256_loadu_ps(a + i + 8);
        __m256i first = fastact_round_bfloat16(low), last = fastact_round_bfloat16(high);
        if (FASTACT_SELDOM(_mm256_movemask_ps(_mm256_cmp_ps(low, high, _CMP_UNORD_Q))))
            first = fastact_keep_nan(low, first), last = fastact_keep_nan(high, last);
        const __m256i both = _mm256_packus_epi32(_mm256_srli_epi32(first, 16), _mm256_srli_epi32(last, 16));
        _mm256_storeu_si256((__m256i *)(b + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
#endif
    for (; i < n; i++) b[i] = fastact_to_bfloat16(a[i]);
}

FASTACT_CONVERT void fastact_widen_float32(const void *from, void *to, intptr_t n)
{
    const float *FASTACT_RESTRICT a = (const float *)from;
    double *FASTACT_RESTRICT b = (double *)to;
    intptr_t i = 0;
    /* A compiler would load twice as many, take them apart, and put halves together behind the kernel. */
#if FASTACT_LANES == 16
    for (; i + 8 <= n; i += 8) _mm512_storeu_pd(b + i, _mm512_cvtps_pd(_mm256_loadu_ps(a + i)));
#elif FASTACT_LANES == 8
    for (; i + 4 <= n; i += 4) _mm256_storeu_pd(b + i, _mm256_cvtps_pd(_mm_loadu_ps(a + i)));
#endif
    for (; i < n; i++) b[i] = a[i];
}

FASTACT_CONVERT void fastact_narrow_float32(const void *from, void *to, intptr_t n)
{
    const double *FASTACT_RESTRICT a = (const double *)from;
    float *FASTACT_RESTRICT b = (float *)to;
    intptr_t i = 0;
#if FASTACT_LANES == 16
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(b + i, _mm512_cvtpd_ps(_mm512_loadu_pd(a + i)));
#elif FASTACT_LANES == 8
    for (; i + 4 <= n; i += 4) _mm_storeu_ps(b + i, _mm256_cvtpd_ps(_mm256_loadu_pd(a + i)));
#endif
    for (; i < n; i++) b[i] = (float)a[i];
}

/* Tiles: kernels of the reduced precisions convert and compute so many numbers at a time. Four vectors of AVX2: with two, what one instruction
   waits for another is not hidden; with eight, registers do not suffice (high: 1.1 to 1.25 times as slow). `format`, a constant where a kernel
   calls these, so that a tile's numbers stay in registers: 1 float16 (of float) or float32 (of double), 2 bfloat16. */
#ifdef fastact_tiles
#define fastact_tile_half 32
#if FASTACT_LANES == 16
#define fastact_tile_single 32
#else
#define fastact_tile_single 16
#endif

#if defined(_MSC_VER)
#define FASTACT_APART static __declspec(noinline)
#else
#define FASTACT_APART static __attribute__((noinline, unused))
#endif

/* By SIMD a tile of bfloat16 has its numbers in the order 0, 2 ... 14, 1, 3 ... 15, 16, 18 ... (AVX-512: 0, 2 ... 30, 1, 3 ...): the lower halves of 32 bits apart from the
   upper ones, which costs less than to widen them in order and to pack them again (8,192 numbers, relu: 0.09 ns each against 0.17). */
#if FASTACT_LANES == 8
FASTACT_CONVERT void fastact_load_pairs(const void *from, float *tile)
{
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    for (int i = 0; i < fastact_tile_half; i += 16) {
        const __m256i pairs = _mm256_loadu_si256((const __m256i *)((const uint16_t *)from + i));
        _mm256_storeu_ps(tile + i, _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)));
        _mm256_storeu_ps(tile + i + 8, _mm256_castsi256_ps(_mm256_and_si256(pairs, upper)));
    }
}
/* fastact_to_bfloat16 of 16 numbers, in lanes of 16 bits: the upper half of the digits is rounded up unless the lower half, less one where the
   upper is even, lies below 0x8000. `nan`: whether there may be any. */
FASTACT_CONVERT __m256i fastact_join_pairs(const float *tile, int nan)
{
    const __m256 even = _mm256_loadu_ps(tile), odd = _mm256_loadu_ps(tile + 8);
    const __m256i low = _mm256_castps_si256(even), high = _mm256_castps_si256(odd);
    const __m256i upper = _mm256_blend_epi16(_mm256_srli_epi32(low, 16), high, 0xaa);
    const __m256i lower = _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
    const __m256i rest = _mm256_subs_epu16(lower, _mm256_andnot_si256(upper, _mm256_set1_epi16(1)));
    const __m256i rounded = _mm256_sub_epi16(upper, _mm256_cmpgt_epi16(_mm256_setzero_si256(), rest));
    if (!nan) return rounded;
    const __m256i first = _mm256_castps_si256(_mm256_cmp_ps(even, even, _CMP_UNORD_Q));
    const __m256i second = _mm256_castps_si256(_mm256_cmp_ps(odd, odd, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi16(0x40)), _mm256_blend_epi16(first, second, 0xaa));
}
FASTACT_CONVERT void fastact_store_pairs(const float *tile, void *to)
{
    uint16_t *b = (uint16_t *)to;
    __m256 lost = _mm256_setzero_ps();
    for (int i = 0; i < fastact_tile_half; i += 16)
        lost = _mm256_or_ps(lost, _mm256_cmp_ps(_mm256_loadu_ps(tile + i), _mm256_loadu_ps(tile + i + 8), _CMP_UNORD_Q));
    if (FASTACT_SELDOM(_mm256_movemask_ps(lost)))
        for (int i = 0; i < fastact_tile_half; i += 16) _mm256_storeu_si256((__m256i *)(b + i), fastact_join_pairs(tile + i, 1));
    else
        for (int i = 0; i < fastact_tile_half; i += 16) _mm256_storeu_si256((__m256i *)(b + i), fastact_join_pairs(tile + i, 0));
}
FASTACT_CONVERT void fastact_order_pairs(const float *from, float *tile)
{
    for (int i = 0; i < fastact_tile_half; i += 16)
        for (int j = 0; j < 8; j++) tile[i + j] = from[i + 2 * j], tile[i + 8 + j] = from[i + 2 * j + 1];
}
#elif FASTACT_LANES == 16
FASTACT_CONVERT void fastact_load_pairs(const void *from, float *tile)
{
    const __m512i pairs = _mm512_loadu_si512(from);
    _mm512_storeu_ps(tile, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
    _mm512_storeu_ps(tile + 16, _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000))));
}
FASTACT_CONVERT void fastact_store_pairs(const float *tile, void *to)
{
    __m512 even = _mm512_loadu_ps(tile), odd = _mm512_loadu_ps(tile + 16);
    if (fastact_by_bfloat16(&even, &odd)) {
        const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2,
                                               17, 1, 16, 0);
        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, fastact_pack_bfloat16(even, odd)));
        return;
    }
    const __m512i low = _mm512_castps_si512(even), high = _mm512_castps_si512(odd);
    const int or_of_and = 0xf8; /* a | (b & c) */
    const __m512i upper = _mm512_ternarylogic_epi32(_mm512_srli_epi32(low, 16), high, _mm512_set1_epi32((int)0xffff0000), or_of_and);
    const __m512i lower = _mm512_ternarylogic_epi32(_mm512_slli_epi32(high, 16), low, _mm512_set1_epi32(0xffff), or_of_and);
    const __m512i rest = _mm512_subs_epu16(lower, _mm512_andnot_si512(upper, _mm512_set1_epi16(1)));
    __m512i rounded = _mm512_mask_sub_epi16(upper, _mm512_movepi16_mask(rest), upper, _mm512_set1_epi16(-1));
    if (FASTACT_SELDOM(_mm512_cmp_ps_mask(even, odd, _CMP_UNORD_Q))) {
        const __m512i first = fastact_keep_nan(even, fastact_round_bfloat16(even)), last = fastact_keep_nan(odd, fastact_round_bfloat16(odd));
        rounded = _mm512_ternarylogic_epi32(_mm512_srli_epi32(first, 16), last, _mm512_set1_epi32((int)0xffff0000), or_of_and);
    }
    _mm512_storeu_si512(to, rounded);
}
FASTACT_CONVERT void fastact_order_pairs(const float *from, float *tile)
{
    for (int j = 0; j < 16; j++) tile[j] = from[2 * j], tile[16 + j] = from[2 * j + 1];
}
#else
FASTACT_CONVERT void fastact_load_pairs(const void *from, float *tile) { fastact_widen_bfloat16(from, tile, fastact_tile_half); }
FASTACT_CONVERT void fastact_store_pairs(const float *tile, void *to) { fastact_narrow_bfloat16(tile, to, fastact_tile_half); }
FASTACT_CONVERT void fastact_order_pairs(const float *from, float *tile) { memcpy(tile, from, fastact_tile_half * sizeof *tile); }
#endif

/* `at`: the first number's index in memory. */
FASTACT_CONVERT void fastact_load_half(float *tile, const void *memory, intptr_t at, int format)
{
    const uint16_t *from = (const uint16_t *)memory + at;
    if (format == 1) fastact_widen_float16(from, tile, fastact_tile_half);
    else fastact_load_pairs(from, tile);
}
FASTACT_CONVERT void fastact_store_half(const float *tile, void *memory, intptr_t at, int format)
{
    uint16_t *to = (uint16_t *)memory + at;
    if (format == 1) fastact_narrow_float16(tile, to, fastact_tile_half);
    else fastact_store_pairs(tile, to);
}
/* Of a parameter that varies, in the tile's order. */
FASTACT_CONVERT void fastact_order_half(float *tile, const float *parameter, int format)
{
    if (format == 1) memcpy(tile, parameter, fastact_tile_half * sizeof *tile);
    else fastact_order_pairs(parameter, tile);
}

FASTACT_CONVERT void fastact_load_single(double *tile, const void *memory, intptr_t at, int format)
{
    (void)format;
    fastact_widen_float32((const float *)memory + at, tile, fastact_tile_single);
}
FASTACT_CONVERT void fastact_store_single(const double *tile, void *memory, intptr_t at, int format)
{
    (void)format;
    fastact_narrow_float32(tile, (float *)memory + at, fastact_tile_single);
}
FASTACT_CONVERT void fastact_order_single(double *tile, const double *parameter, int format)
{
    (void)format;
    memcpy(tile, parameter, fastact_tile_single * sizeof *tile);
}

/* The numbers behind the last whole tile, in a tile of their own. It is filled up with the first of them: any other might raise a flag that
   none of them does. `parameters`: how many vary. */
FASTACT_CONVERT void fastact_fill(void *tile, intptr_t length, const void *memory, intptr_t at, intptr_t count, intptr_t size)
{
    const char *from = (const char *)memory + at * size;
    for (intptr_t i = 0; i < length; i++) memcpy((char *)tile + i * size, from + (i < count ? i : 0) * size, size);
}

#define FASTACT_REST(precision, real)                                                                                    \
    typedef void (*fastact_kernel_##precision)(const void *x, void *y, void *z, const real *p, intptr_t n, int format);  \
    FASTACT_APART void fastact_rest_##precision(fastact_kernel_##precision kernel, const void *x, void *y, void *z,      \
                                                const real *p, intptr_t n, int format, int inputs, int outputs, int parameters) \
    {                                                                                                                    \
        enum { length = fastact_tile_##precision };                                                                      \
        const intptr_t count = n % length, at = n - count, size = sizeof(real) / 2;                                      \
        char x_tile[length * sizeof(real) / 2], y_tile[sizeof x_tile], z_tile[sizeof x_tile];                            \
        real p_tile[8 * length]; /* MAX_PARAMETERS */                                                                    \
        fastact_fill(x_tile, length, x, at, count, sizeof(real) / 2);                                                    \
        if (inputs == 2) fastact_fill(z_tile, length, z, at, count, sizeof(real) / 2);                                   \
        for (int j = 0; j < parameters; j++) fastact_fill(p_tile + j * length, length, p + j * n, at, count, sizeof(real)); \
        kernel(x_tile, y_tile, z_tile, parameters ? p_tile : p, length, format);                                         \
        memcpy((char *)y + at * size, y_tile, count * size);                                                             \
        if (outputs == 2) memcpy((char *)z + at * size, z_tile, count * size);                                           \
    }

FASTACT_REST(half, float)
FASTACT_REST(single, double)
#endif

#endif
