"""Primitives: the branch-free scalar functions that formulas are made of, in the formula language.

Relative accuracy is the rule, also where a result is tiny. So exp comes in parts: a formula multiplies what it has to before the
power of two is applied, and the result is rounded once where it is subnormal.
"""

from . import coefficients
from .coefficients import EXPM1, EXPM1_OF_HALF, MILLS
from .language import POWER_BIAS, ROUNDING_MAGIC, biased_power, constant, fma, polynomial, square_rest

LOG2E = constant(**coefficients.LOG2E)
LN2_HIGH = constant(**coefficients.LN2_HIGH)  # with trailing zeros: n * LN2_HIGH is exact even without fma
LN2_LOW = constant(**coefficients.LN2_LOW)
HALF_LOG2E = constant(float32=LOG2E.float32 / 2, float64=LOG2E / 2)
TWICE_LN2_HIGH = constant(float32=LN2_HIGH.float32 * 2, float64=LN2_HIGH * 2)
TWICE_LN2_LOW = constant(float32=LN2_LOW.float32 * 2, float64=LN2_LOW * 2)
INFINITY = float("inf")
LARGEST = constant(float32=(2 - 2**-23) * 2.0**127, float64=(2 - 2**-52) * 2.0**1023)
UNBIAS = constant(float32=2.0**-POWER_BIAS.float32, float64=2.0**-POWER_BIAS.float64)
PHI0 = constant(**coefficients.PHI0)  # the normal density at 0
PHI0_LOW = constant(**coefficients.PHI0_LOW)
# The first coefficients of the two have a part of their own in gelu's derivative.
PHI_NEAR_REST, PHI_FAR_REST = ({p: terms[1:] for p, terms in table.items()} for table in (coefficients.PHI_NEAR, coefficients.PHI_FAR_N))
PHI_FAR_0 = constant(**{p: terms[0] for p, terms in coefficients.PHI_FAR_N.items()})
# Smaller by as much as `biased_power` is larger than the power.
PHI_FAR_D = {p: tuple(c * float(getattr(UNBIAS, p)) for c in terms) for p, terms in coefficients.PHI_FAR_D.items()}
BIASED_SQRT_2PI = constant(**{p: c / float(getattr(UNBIAS, p)) for p, c in coefficients.SQRT_2PI.items()})
NEAR = constant(**coefficients.NEAR)
# The first two coefficients apart: added last, they leave the smallest rounding error.
MILLS_0, MILLS_1 = (constant(**{precision: terms[i] for precision, terms in MILLS.items()}) for i in (0, 1))
MILLS_REST = {precision: terms[2:] for precision, terms in MILLS.items()}
MILLS_K = constant(**coefficients.MILLS_K)
MILLS_R0 = constant(**coefficients.MILLS_R0)
EXP_REACH = constant(float32=110.0, float64=760.0)  # x * exp(-x) is 0 from here on
GAUSS_REACH = constant(float32=15.0, float64=39.0)  # x * exp(-x * x / 2) is 0 from here on


def scale(x, n):
    """x * 2**n, rounded once, also where the result is subnormal; n as `exp_parts` returns it."""
    return x * biased_power(n) * UNBIAS


def power(n):
    """2**n; 0 below the smallest subnormal number."""
    return biased_power(n) * UNBIAS


def reduced(x):
    """Return r, n with x = r + n log 2, |r| <= log(2) / 2; n with ROUNDING_MAGIC added, as `biased_power` takes it."""
    n = fma(x, LOG2E, ROUNDING_MAGIC)
    whole = n - ROUNDING_MAGIC
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
    p = power(n)
    return q, n, fma(p, q, p - 1)


def exp(x):
    """exp(x), |x| <= EXP_REACH."""
    q, n = exp_parts(x)
    return (1 + q) * power(n)


def gauss_parts(a):
    """Return q, n with exp(-a * a / 2) = 2**n * (1 + q); 0 <= a <= GAUSS_REACH."""
    # a * a has twice the digits there are, and exp turns a lost one into an error of a * a / 2 times as much.
    square = a * a
    n = fma(square, -HALF_LOG2E, ROUNDING_MAGIC)
    whole = n - ROUNDING_MAGIC
    r = fma(whole, -TWICE_LN2_LOW, fma(whole, -TWICE_LN2_HIGH, -square)) - square_rest(a, square)
    return r * polynomial(r, EXPM1_OF_HALF), n


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
    error = fma(-r, a, fma(-r, MILLS_K, 1))  # of d and r; what it does to the ratio follows from the ratio's derivative
    return high, fma(-(d * error), fma(a, high, -PHI0), fma(r, f, -high)), r * fma(v, fma(h, v, MILLS_1 - g), fma(g, v, MILLS_0 - f))
