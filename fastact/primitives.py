"""Primitives: the branch-free scalar functions that formulas are made of, in the formula language.

Relative accuracy is the rule, also where a result is tiny. So exp comes in parts: a formula multiplies what it has to before the
power of two is applied, and the result is rounded once where it is subnormal.
"""

import math

from . import coefficients
from .coefficients import (
    COSINE,
    ERF_D,
    ERF_EXPONENT,
    ERF_N,
    ERFC_RATIO_D,
    EXPM1,
    EXPM1_OF_HALF,
    GELU_D,
    GELU_N,
    GELU_SLOPE,
    HAZARD,
    LOG1P,
    MILLS,
    PHI_FAR_N,
    SINE,
    SINE_SQUARE,
)
from .language import (
    POWER_BIAS,
    POWER_MAGIC,
    ROUNDING_MAGIC,
    biased_power,
    constant,
    exponent,
    fma,
    lost,
    mantissa,
    maximum,
    minimum,
    polynomial,
    product_rest,
    product_sum,
    rough_reciprocal,
    rough_rsqrt,
    select,
)

LOG2E = constant(**coefficients.LOG2E)
LN2_HIGH = constant(**coefficients.LN2_HIGH)  # with trailing zeros: n * LN2_HIGH is exact even without fma
LN2_LOW = constant(**coefficients.LN2_LOW)
HALF_LOG2E = constant(float32=LOG2E.float32 / 2, float64=LOG2E / 2)
TWICE_LN2_HIGH = constant(**{p: c * 2 for p, c in coefficients.LN2_HIGH.items()})
ERF_SLOPE_C, ERF_SLOPE_MAGIC = constant(**coefficients.ERF_SLOPE_C), constant(**coefficients.ERF_SLOPE_MAGIC)
# The first coefficients apart: added last, they leave the smallest rounding errors.
_APART = (coefficients.ERF_SLOPE, coefficients.ERFC_RATIO_N, coefficients.PHI_FAR_D, GELU_D)
ERF_SLOPE_0, ERFC_RATIO_0, PHI_FAR_D_0, GELU_D_0 = (constant(**{p: terms[0] for p, terms in table.items()}) for table in _APART)
ERF_SLOPE_REST, ERFC_RATIO_REST, PHI_FAR_D_REST, GELU_D_REST = ({p: terms[1:] for p, terms in table.items()} for table in _APART)
PHI_NEAR_REST = {p: terms[1:] for p, terms in coefficients.PHI_NEAR.items()}  # the first one is PHI0
SQRT_2PI = constant(**coefficients.SQRT_2PI)
NEAR = constant(**coefficients.NEAR)
LN2_RATIO = constant(**{p: low / coefficients.LN2_HIGH[p] for p, low in coefficients.LN2_LOW.items()})
INFINITY = float("inf")
NAN = float("nan")
ABOVE_0 = constant(float32=2.0**-31, float64=2.0**-255)  # its fourth power is a normal number, and 1 + its square is 1
ROOT_ABOVE_0 = constant(float32=2.0**-15, float64=2.0**-127)  # half its square is ABOVE_0
LARGEST = constant(float32=(2 - 2**-23) * 2.0**127, float64=(2 - 2**-52) * 2.0**1023)
SMALLEST_SUBNORMAL = constant(float32=2.0**-149, float64=2.0**-1074)
UNBIAS = constant(float32=2.0**-POWER_BIAS.float32, float64=2.0**-POWER_BIAS.float64, single=2.0**-POWER_BIAS.single)
PHI0 = constant(**coefficients.PHI0)  # the normal density at 0
# The first two coefficients apart: added last, they leave the smallest rounding error.
MILLS_0, MILLS_1 = (constant(**{precision: terms[i] for precision, terms in MILLS.items()}) for i in (0, 1))
MILLS_REST = {precision: terms[2:] for precision, terms in MILLS.items()}
MILLS_K = constant(**coefficients.MILLS_K)
MILLS_R0 = constant(**coefficients.MILLS_R0)
# From a reach on `biased_power` is 0, and nothing that is multiplied by it underflows, which costs an Intel processor some 150 cycles.
SIGMOID_UNBIAS = constant(float32=0.25 * UNBIAS.float32, float64=0.25 * UNBIAS.float64, single=1.0)  # 1 / (1 + exp(EXP_REACH)) over it is normal
SIGMOID_MAGIC = constant(  # that of SIGMOID_UNBIAS times a power of two
    float32=POWER_MAGIC.float32 - 2 * POWER_BIAS.float32 - 2, float64=POWER_MAGIC.float64 - 2 * POWER_BIAS.float64 - 2, single=POWER_MAGIC.single
)  # fmt: skip
SIGMOID_REACH = constant(float32=115.67, float64=779.5, single=199.9)  # below EXP_REACH, by more than a product is rounded by
EXP_REACH = constant(float32=115.7, float64=779.6, single=200.0)  # x * exp(-x) is 0 from here on; in float64 for float32 so is any float32 times it
SQUARE_REACH = constant(float32=2.0**62, float64=2.0**510)  # the square of this is finite, and what is added to it is lost
ERFC_REACH = constant(float32=10.77, float64=27.9285, single=10.6)  # erfc is 0 from here on
HAZARD_REACH = constant(float32=14.0, float64=38.0, single=14.0)  # from here on the asymptotic series is as good as it can be
SINE_REACH = constant(float32=2.0**22, float64=2.0**51)  # from here on, numbers are too far apart for a sine to mean anything
HALF_PI = constant(**coefficients.HALF_PI)
HALF_PI_LOW = constant(**coefficients.HALF_PI_LOW)
TWO_OVER_PI = 2 / math.pi
TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
ERF_SLOPE_LESS_1 = constant(**coefficients.ERF_SLOPE_LESS_1)
PI, PI_LOW = constant(**coefficients.PI), constant(**coefficients.PI_LOW)
GELU_FLAT, GELU_FLAT_LOW = constant(**coefficients.GELU_FLAT), constant(**coefficients.GELU_FLAT_LOW)
ALL_EXPM1 = EXPM1 | {"single": EXPM1["float64"]}  # for where a result has a zero
FAR = 2.0**200  # beyond float32, and the square of it is finite in float64
GAUSS_REACH = constant(float32=15.212, float64=39.491, single=15.0)  # x * exp(-x * x / 2) is 0 from here on


def scale(x, n):
    """x * 2**n, rounded once, also where the result is subnormal; n as `exp_parts` returns it."""
    return x * biased_power(n) * UNBIAS


def power(n):
    """2**n; 0 below the smallest subnormal number."""
    return biased_power(n) * UNBIAS


def reduced(x):
    """Return r, n with x = r + n log 2, |r| <= log(2) / 2; n with POWER_MAGIC added, as `biased_power` takes it."""
    n = fma(x, LOG2E, POWER_MAGIC)
    whole = n - POWER_MAGIC
    return fma(whole, -LN2_LOW, fma(whole, -LN2_HIGH, x)), n


def small_expm1(r):
    """expm1(r), |r| <= log(2) / 2."""
    return fma(r * r, polynomial(r, EXPM1), r)


def exp_parts(x):
    """Return q, n with exp(x) = 2**n * (1 + q), |x| <= EXP_REACH; n as `reduced` returns it."""
    r, n = reduced(x)
    return small_expm1(r), n


def exp_expm1_parts(x):
    """Return q, n as `exp_parts` does, and expm1(x); -EXP_REACH <= x <= 0."""
    q, n = exp_parts(x)
    return q, n, parts_expm1(q, n)


def parts_expm1(q, n):
    """expm1(x) for q, n of `exp_parts`, x <= 0."""
    p = power(n)
    return fma(p, q, p - 1)


def biased_exp(q, n):
    """exp(x) / UNBIAS for q, n of `exp_parts`: a normal number with all its digits also where exp(x) is none."""
    p = biased_power(n)
    return fma(p, q, p)


def biased_exp_times(y, q, n):
    """y * exp(x) / UNBIAS for q, n of `exp_parts`, rounded once."""
    p = y * biased_power(n)
    return fma(p, q, p)


def biased_exp_and_1(q, n):
    """(1 + exp(x)) / UNBIAS for q, n of `exp_parts`, x <= 0, rounded once; what is divided by it must have the same bias, which then is gone."""
    p = biased_power(n)
    return fma(p, q, p + 1 / UNBIAS)


def biased_minus_expm1(q, n):
    """(1 - exp(x)) / UNBIAS for q, n of `exp_parts`, x <= 0."""
    p = biased_power(n)
    return fma(-p, q, 1 / UNBIAS - p)


def times_exp(q, high, low):
    """(1 + q) * (high + low), all but rounded once."""
    return high + fma(q, high + low, low)


def exp(x):
    """exp(x), |x| <= EXP_REACH."""
    q, n = exp_parts(x)
    p = power(n)
    return fma(p, q, p)


def exp_parts_less(x, low):
    """Return q, n as `exp_parts` does for x - low, where low is no larger than some rounding errors of x."""
    r, n = reduced(x)
    return small_expm1(r - low), n


def biased_sigmoid(v, low):
    """1 / (1 + exp(v + low)) / SIGMOID_UNBIAS, with all its digits also where it is no normal number without the bias; 0 from SIGMOID_REACH on.

    0 <= v <= EXP_REACH, and low is no larger than some rounding errors of v.
    """
    n = fma(v, LOG2E, SIGMOID_MAGIC)
    whole = n - SIGMOID_MAGIC
    q = small_expm1(fma(whole, -LN2_LOW, fma(whole, -LN2_HIGH, v)) + low)
    p = biased_power(n)
    return select(v < SIGMOID_REACH, 1, 0) / (p + fma(p, q, SIGMOID_UNBIAS))


def whole_exp(x, q, n):
    """exp(x) for q, n of `exp_parts`, also where it is infinite."""
    p = biased_power(n - select(x > 0, 2 * POWER_BIAS, 0))  # where it is large, it is made small first and large last
    return fma(p, q, p) * select(x > 0, 1 / UNBIAS, UNBIAS)


def exp_whole(x):
    """exp(x) of any x; infinite where it is too large."""
    q, n = exp_parts(maximum(minimum(x, EXP_REACH), -EXP_REACH))
    return whole_exp(x, q, n)


def whole_expm1(x, q, n):
    """expm1(x) for q, n of `exp_parts`, also where it is infinite."""
    p = biased_power(n - select(x > 1, 2 * POWER_BIAS, 0))
    return fma(p, q, p - select(x > 1, UNBIAS, 1 / UNBIAS)) * select(x > 1, 1 / UNBIAS, UNBIAS)


def expm1_whole(x):
    """expm1(x) of any x; infinite where it is too large."""
    q, n = exp_parts(maximum(minimum(x, EXP_REACH), -EXP_REACH))
    return whole_expm1(x, q, n)


def small_log1p(z):
    """log1p(z), -0.5 <= z <= 1."""
    v = z / (2 + z)
    return log1p_by(z, v, v)


def tail_log1p(z):
    """log1p(z), 0 <= z <= 1, for a z that may be tiny: nothing underflows on the way."""
    v = z / (2 + z)
    return log1p_by(z, v, maximum(v, ABOVE_0))


def log1p_by(z, v, u):
    """log1p(z) for v = z / (2 + z) and u, which is v unless that is negligible."""
    w = u * u
    return fma(v, fma(w, polynomial(w, LOG1P), -z), z)


def small_log1p_more(z, low):
    """log1p(z) + low, -0.5 <= z <= 1, where low is no larger than some rounding errors of z."""
    v = z / (2 + z)
    u = maximum(abs(v), ABOVE_0)
    w = u * u
    return z + fma(v, fma(w, polynomial(w, LOG1P), -z), low)


def twice_atanh(v):
    """2 * atanh(v), that is log((1 + v) / (1 - v)); v * v <= 1/9."""
    w = v * v
    return fma(v, w * polynomial(w, LOG1P), 2 * v)


def log_quotient(x, y, v):
    """log(x / y) of a normal x and 2/3 <= y <= 1, x <= y / 2; but 2 * atanh(v) where v * v < 1/9."""
    square = v * v
    m = mantissa(x)
    n = select(square < 1 / 9, 0, exponent(x))
    return fma(n, LN2_HIGH, fma(n, LN2_LOW, twice_atanh(select(square < 1 / 9, v, (m - y) / (m + y)))))


def log1p_or_log(side, z, x, low):
    """log1p(z) + low where side > 0, else log(x) + low: z and low as `small_log1p_more` takes them, x positive and normal."""
    n = exponent(x)
    y = small_log1p_more(select(side > 0, z, mantissa(x) - 1), low)
    return select(side > 0, y, fma(n, LN2_HIGH, fma(n, LN2_LOW, y)))


def log1p_finite(x):
    """log1p(x), -1 < x <= LARGEST."""
    u = 1 + x
    v = u - 1
    rest = (1 - (u - v)) + (x - v)  # what the rounding of u lost
    n = exponent(u)
    z = fma(rest * biased_power(POWER_MAGIC - n), UNBIAS, mantissa(u) - 1)  # rest * power(...) would underflow where u is large
    return fma(n, LN2_HIGH, fma(n, LN2_LOW, small_log1p(z)))


def log1p_whole(x):
    """log1p(x); NaN below -1."""
    y = log1p_finite(minimum(x, LARGEST))
    return select(x > -1, select(x < INFINITY, y, x), select(x < -1, NAN, select(x == -1, -INFINITY, x)))


def ratio_rest(quotient, x, divisor):
    """What the rounding of ``quotient = x / divisor`` lost, times the divisor."""
    return product_sum(-quotient, divisor, x)


def square_reduced(a):
    """Return n with POWER_MAGIC added, n times TWICE_LN2_HIGH, and -a * a less that."""
    # a * a has twice the digits there are, and exp turns a lost one into an error of a * a / 2 times as much.
    n = fma(a * a, -HALF_LOG2E, POWER_MAGIC)
    multiple = (n - POWER_MAGIC) * TWICE_LN2_HIGH  # of 2 log 2, exactly
    return n, multiple, product_sum(-a, a, -multiple)


def gauss_parts(a):
    """Return q, n with exp(-a * a / 2) = 2**n * (1 + q); 0 <= a <= GAUSS_REACH."""
    n, multiple, rest = square_reduced(a)
    r = fma(multiple, -LN2_RATIO, rest)
    return r * polynomial(r, EXPM1_OF_HALF), n


def square_exp_expm1_parts(a):
    """Return q, n with exp(-a * a) = 2**n * (1 + q), and expm1(-a * a); 0 <= a <= ERFC_REACH."""
    n = fma(a * a, -LOG2E, POWER_MAGIC)
    multiple = (n - POWER_MAGIC) * LN2_HIGH
    q = small_expm1(fma(multiple, -LN2_RATIO, product_sum(-a, a, -multiple)))
    return q, n, parts_expm1(q, n)


def one_minus_erfcx(a):
    """1 - exp(a * a) * erfc(a), with all digits near 0; far out good enough for erf, which is exp(-a * a) times that, and 1 - exp(-a * a)."""
    return fma(-a * a, polynomial(a, ERF_N) / polynomial(a, ERF_D), fma(a, ERF_SLOPE_LESS_1, a))


def erf_slope_parts(a):
    """Return q, n with erf'(a) = 2**n * (1 + q); 0 <= a <= ERFC_REACH."""
    n = fma(fma(a, a, ERF_SLOPE_C), -LOG2E, POWER_MAGIC)
    multiple = product_sum(n, LN2_HIGH, -ERF_SLOPE_MAGIC)
    r = fma(multiple, -LN2_RATIO, product_sum(-a, a, -multiple))
    return fma(r, polynomial(r, ERF_SLOPE_REST), ERF_SLOPE_0), n


def phi_near_rest(x):
    """(Phi(x) - 1/2 - x * PHI0) / x**3, |x| <= NEAR, with Phi the normal distribution function."""
    return polynomial(x * x, PHI_NEAR_REST)


def mills_far_parts(a):
    """Return high, low whose sum is Phi(-a) * exp(a * a / 2); NEAR <= a <= GAUSS_REACH."""
    d = fma(a, polynomial(a, PHI_FAR_D_REST), PHI_FAR_D_0)
    product = a * d  # far out what d is rounded by cancels
    return quotient_parts(d, fma(SQRT_2PI, product, fma(SQRT_2PI, product_rest(a, d, product), polynomial(a, PHI_FAR_N))))


def mills_ratio(a):
    """Return d, a * d, high, low: d / (high + low) = Phi(-a) * exp(a * a / 2); 0 <= a <= GAUSS_REACH. What d and a * d are rounded by all but cancels."""
    d = fma(a, polynomial(a, GELU_D_REST), GELU_D_0)
    product = a * d
    rest = fma(2, d, a * polynomial(a, GELU_N))
    high = fma(SQRT_2PI, product, rest)
    return d, product, high, product_sum(SQRT_2PI, product, -high) + rest


def erfc_parts(a):
    """Return high, low whose sum is 2 * erfc(a) / erf'(a); 0 <= a <= ERFC_REACH."""
    d = polynomial(a, ERFC_RATIO_D)
    return quotient_parts(d, fma(a, d, fma(a, polynomial(a, ERFC_RATIO_REST), ERFC_RATIO_0)))  # far out what d is rounded by cancels


def quotient_parts(x, y):
    """x / y, and nearly what that is rounded by; x and y are positive."""
    quotient = x / y
    return quotient, lost(fma(-quotient, y, x) * rough_reciprocal(y))


def quotient_less_product(x, y, low, a, b):
    """x / (y + low) - a * b, all but rounded once where they cancel; low is no larger than some rounding errors of y, which is positive."""
    quotient = x / y
    r = rough_reciprocal(y)
    return fma(-a, b, quotient) + fma(fma(-quotient, y, x), r, quotient * (-low * r))


def mills(a):
    """Return high, low, rest whose sum is Phi(-a) * exp(a * a / 2), with Phi the normal distribution function; 0 <= a <= GAUSS_REACH.

    `rest` is only worth adding where high is about to cancel.
    """
    d = a + MILLS_K
    r = 1 / d
    v = r - MILLS_R0
    h = polynomial(v, MILLS_REST)
    g = fma(h, v, MILLS_1)
    f = fma(g, v, MILLS_0)
    high = r * f
    error = lost(fma(-r, a, fma(-r, MILLS_K, 1)))  # of d and r; what it does to the ratio follows from the ratio's derivative
    low = fma(-(d * error), fma(a, high, -PHI0), lost(fma(r, fma(g, v, MILLS_0 - f), fma(r, f, -high))))
    return high, low, lost(r * v * fma(h, v, MILLS_1 - g))


def mills_parts(a):
    """Phi(-a) * exp(a * a / 2), rounded, and what that is rounded by; 0 <= a <= GAUSS_REACH."""
    high, low, rest = mills(a)
    m = high + low
    return m, ((high - m) + low) + rest


def hazard(a):
    """phi(a) / Phi(-a) of the normal distribution; a >= HAZARD_REACH."""
    r = 1 / a
    return a * polynomial(r * r, HAZARD)


def sine_parts(u, low):
    """Return s, v, odd: sine, and 1 - cosine, of u + low less the nearest multiple of pi / 2, and if that is odd; |u| < SINE_REACH."""
    n = fma(u, TWO_OVER_PI, ROUNDING_MAGIC) - ROUNDING_MAGIC
    p = n * HALF_PI
    r = (u - p) + fma(-n, HALF_PI_LOW, low - product_rest(n, HALF_PI, p))
    w = r * r
    half = fma(n, 0.5, ROUNDING_MAGIC) - ROUNDING_MAGIC
    return fma(r * w, polynomial(w, SINE), r), fma(-w * w, polynomial(w, COSINE), 0.5 * w), abs(fma(-2, half, n))


# --- For reduced precisions alone, where nobody misses what a rounding loses ----------------------------------------------


def reduced_reciprocal(x):
    """1 / x, x >= 0, but not near the largest number: a processor with AVX-512 divides for as long as it does 29 multiplications."""
    r = rough_reciprocal(x)
    e = fma(-x, r, 1)
    s = fma(r, fma(e, e, e), r)
    f = fma(-x, s, 1)
    return fma(s, fma(f, f, f), s)


def reduced_rsqrt(x):
    """1 / sqrt(x), x as `reduced_reciprocal` takes it; NaN where x is negative."""
    r = select(x < 0, NAN, rough_rsqrt(x))
    e = fma(-x * r, r, 1)
    s = fma(r * e, fma(e, 0.375, 0.5), r)
    f = fma(-x * s, s, 1)
    return fma(s * f, fma(f, 0.375, 0.5), s)


def reduced_erf(a):
    """-erf(a), a >= 0; beyond 4 that of 4, which rounds to 1."""
    b = minimum(a, 4)
    q, n, e = exp_expm1_parts(-b * polynomial(b, ERF_EXPONENT))
    return e


def reduced_mills_parts(a):
    """Phi(-a) * exp(a * a / 2), a >= 0, and what MILLS and GELU_SLOPE are polynomials in."""
    r = 1 / (a + MILLS_K)
    v = r - MILLS_R0
    return r * polynomial(v, MILLS), v


def reduced_gelu_parts(a):
    """gelu and its derivative at -a, a >= 0."""
    m, v = reduced_mills_parts(a)
    e = exp(-0.5 * a * a)
    return -a * m * e, ((GELU_FLAT - a) + GELU_FLAT_LOW) * polynomial(v, GELU_SLOPE) * e


def sine_square(r):
    """sin(r) * sin(r), |r| <= pi / 2."""
    w = r * r
    return w * polynomial(w, SINE_SQUARE)
