/* Which x86-64 level (2, 3 or 4) this processor and its system support; 0 on other machines. */
#ifndef FASTACT_CPU_H
#define FASTACT_CPU_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
static int fastact_cpu_level(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    __builtin_cpu_init();
    __get_cpuid(1, &a, &b, &c, &d);
    if (!(c & (1u << 29)) || /* F16C, for which there is no name in older compilers */
        !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")))
        return 2;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
        return 3;
    return 4;
}
/* Whether a processor of level 4 rounds to bfloat16 by itself (AVX512_BF16). */
static inline int fastact_cpu_bfloat16(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return fastact_cpu_level() == 4 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
}
#elif defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
static int fastact_cpu_level(void)
{
    int r[4];
    unsigned long long enabled;
    __cpuidex(r, 1, 0);
    if (!(r[2] & (1 << 27)) || !(r[2] & (1 << 12)) || !(r[2] & (1 << 29))) return 2; /* OSXSAVE, FMA, F16C */
    enabled = _xgetbv(0);
    if ((enabled & 6) != 6) return 2;
    __cpuidex(r, 7, 0);
    if ((r[1] & 0x128) != 0x128) return 2; /* BMI1, AVX2, BMI2 */
    if ((enabled & 0xe6) != 0xe6) return 3;
    if (((unsigned)r[1] & 0xd0030000u) != 0xd0030000u) return 3; /* AVX-512 F, DQ, CD, BW, VL */
    return 4;
}
#else
static int fastact_cpu_level(void) { return 0; }
#endif

#endif
