"""The scalar parts of the functions along an axis, in the formula language: `_cy/generate_rows.py` writes loops around them.

exp(x - m), with m the largest number of a row, is not computed from x - m: its rounding would cost x - m its last digits, and exp some 50 ULP.
Instead `anchor` finds a number c for which x - c is exact wherever exp is not 0, and a power of two 2**k, so that
exp(x - c) * 2**-k is between 0.7 and 1.5 at the largest x.
"""

from .coefficients import LOG1P
from .language import POWER_MAGIC, ROUNDING_MAGIC, biased_power, constant, fma, maximum, minimum, polynomial, select
from .primitives import EXP_REACH, LARGEST, LN2_HIGH, LN2_LOW, LOG2E, UNBIAS, exp, reduced, small_expm1

# `biased_power` makes a zero of 2**-BOTTOM.
BOTTOM = constant(**{p: getattr(POWER_MAGIC, p) - getattr(ROUNDING_MAGIC, p) for p in ("float32", "float64")})
LN2 = 0.6931471805599453


def anchor(m, inverse, temperature):
    """Return c, k and the least x - c that is worth computing, for the largest number m of a row."""
    floor = -BOTTOM * LN2
    # Beyond this, a number within reach of m is at least m / 2 and at most 2 * m, hence x - m exact.
    reach = minimum(-2 * floor * temperature, LARGEST)
    k = fma(select(abs(m) <= reach, m * inverse, 0), LOG2E, ROUNDING_MAGIC) - ROUNDING_MAGIC
    return select(abs(m) <= reach, 0, m), k, maximum(fma(k, LN2, floor) * temperature, -LARGEST)


def term(x, c, k, floor):
    """exp(x - c) * 2**(POWER_BIAS - k); exactly 0 where a softmax is."""
    r, n = reduced(maximum(x - c, floor))
    p = biased_power(n - k)
    return fma(p, small_expm1(r), p)


def scaled_term(x, c, k, floor, inverse, inverse_low):
    """`term` of (x - c) * (inverse + inverse_low)."""
    d = maximum(x - c, floor)
    z = d * inverse
    r, n = reduced(z)
    p = biased_power(n - k)
    return fma(p, small_expm1(r + fma(d, inverse_low, fma(d, inverse, -z))), p)


def share(y):
    """exp(y), y a logarithm of a probability."""
    return exp(maximum(y, -EXP_REACH))


def log1p_small(z):
    """log(1 + z), -0.3 <= z <= 1."""
    v = z / (2 + z)
    w = v * v
    return fma(v, fma(w, polynomial(w, LOG1P), -z), z)


def log1p_parts(z, exponent):
    """log(1 + z), z >= 0; `exponent` is that of 1 + z."""
    p = biased_power(POWER_MAGIC - exponent) * UNBIAS
    return fma(exponent, LN2_HIGH, fma(exponent, LN2_LOW, log1p_small(fma(z, p, p - 1))))


FUNCTIONS = (anchor, term, scaled_term, share, log1p_parts)
