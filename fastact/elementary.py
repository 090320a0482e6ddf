"""Elementary functions over their whole range, in the formula language: what a user's own activation is made of.

`primitives` holds what the catalog's formulas need, for the range in which they need it. These take every number: they overflow to
infinity, underflow to 0, give NaN for NaN and the limits at infinities. Their errors are below 2 ULP; sin and cos are 0, their mean, from `SINE_REACH` on, and where there is no
`fma` lose digits from about |x| = 1e4 (float64: 1e6) on.
"""

import math

from . import coefficients
from .coefficients import ATAN, COSINE, SINE
from .language import ROUNDING_MAGIC, constant, copysign, exponent, fma, mantissa, maximum, minimum, polynomial, select, sqrt
from .primitives import INFINITY, LARGEST, LN2_HIGH, LN2_LOW, SINE_REACH, exp_parts, log1p_finite, power, scale, small_log1p

SMALLEST = constant(float32=2.0**-126, float64=2.0**-1022)  # normal number
RAISE = constant(float32=2.0**32, float64=2.0**64)  # makes every subnormal number a normal one
RAISED = constant(float32=32.0, float64=64.0)
PI_HALF_0 = constant(**coefficients.PI_HALF_0)
PI_HALF_1 = constant(**coefficients.PI_HALF_1)
PI_HALF_2 = constant(**coefficients.PI_HALF_2)
PI_HALF_3 = constant(  # what three parts lack in float32; those of float64 have all the digits that SINE_REACH asks for
    float32=math.fsum([PI_HALF_0.float64, PI_HALF_1.float64, -PI_HALF_0.float32, -PI_HALF_1.float32, -PI_HALF_2.float32]), float64=0.0
)
TWO_OVER_PI = constant(**coefficients.TWO_OVER_PI)
PI_QUARTER = constant(**coefficients.PI_QUARTER)
PI_QUARTER_LOW = constant(**coefficients.PI_QUARTER_LOW)
HYPOT_REACH = constant(float32=2.0**13, float64=2.0**28)  # sqrt(1 + x * x) is |x| from here on
TAN_PI_8 = 0.41421356237309503
MODERATE = constant(float32=60.0, float64=600.0)  # up to here `biased_power` holds exp's power of two
EXP_END = constant(float32=-87.0, float64=-708.0)  # exp is the smallest normal number a little below
EXPM1_END = constant(float32=-20.0, float64=-40.0)  # expm1 is -1 from here down; further down its power of two would be subnormal, and slow


def exp_moderate(x):
    """exp(x), x <= MODERATE: two thirds of what `primitives.exp_whole` does; 0 where that is no normal number, for those are slow."""
    q, n = exp_parts(maximum(x, EXP_END))
    return select(x < EXP_END, 0, scale(1 + q, n))


def expm1_moderate(x):
    """expm1(x), x <= MODERATE."""
    q, n = exp_parts(maximum(x, EXPM1_END))
    p = power(n)
    return fma(p, q, p - 1)


def log1p_positive(x):
    """log1p(x), x >= 0."""
    y = log1p_finite(minimum(x, LARGEST))
    return select(x < INFINITY, y, x)


def log(x):
    """Natural logarithm; NaN below 0."""
    low = x < SMALLEST
    y = select(low, x * RAISE, x)
    n = exponent(y) - select(low, RAISED, 0)
    value = fma(n, LN2_HIGH, fma(n, LN2_LOW, small_log1p(mantissa(y) - 1)))
    return select(x > LARGEST, x, select(x > 0, value, select(x == 0, -INFINITY, sqrt(x))))


def circle_parts(x):
    """Return k, s, c: sin(x) and cos(x) are those of r + k pi / 2, with s, c the sine and cosine of r; k from -2 to 2, |x| < SINE_REACH."""
    q = fma(x, TWO_OVER_PI, ROUNDING_MAGIC) - ROUNDING_MAGIC
    r = fma(q, -PI_HALF_3, fma(q, -PI_HALF_2, fma(q, -PI_HALF_1, fma(q, -PI_HALF_0, x))))
    quarter = fma(q, 0.25, ROUNDING_MAGIC) - ROUNDING_MAGIC
    w = r * r
    return fma(quarter, -4, q), fma(r * w, polynomial(w, SINE), r), fma(w * w, polynomial(w, COSINE), fma(-0.5, w, 1))


def sin(x):
    """Sine; 0 from SINE_REACH on, NaN at infinities."""
    k, s, c = circle_parts(x)
    value = select(abs(k) == 1, copysign(1, k) * c, select(k == 0, s, -s))
    return select(abs(x) < SINE_REACH, value, x - x)


def cos(x):
    """Cosine; 0 from SINE_REACH on, NaN at infinities."""
    k, s, c = circle_parts(x)
    value = select(abs(k) == 1, -copysign(1, k) * s, select(k == 0, c, -c))
    return select(abs(x) < SINE_REACH, value, x - x)


def atan(x):
    """Inverse tangent."""
    a = abs(x)
    t = select(a > 1, 1 / a, a)
    far = t > TAN_PI_8
    v = select(far, (t - 1) / (t + 1), t)
    w = v * v
    part = fma(v * w, polynomial(w, ATAN), v)
    inner = select(far, PI_QUARTER + (part + PI_QUARTER_LOW), part)
    outer = PI_QUARTER + (PI_QUARTER - (inner - 2 * PI_QUARTER_LOW))
    return copysign(select(a > 1, outer, inner), x)


def hypot1(x):
    """sqrt(1 + x * x), which does not overflow."""
    a = abs(x)
    return select(a > HYPOT_REACH, a, sqrt(fma(x, x, 1)))
