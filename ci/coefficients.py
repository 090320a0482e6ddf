"""Compute `fastact/coefficients.py`: the polynomials behind the primitives.

    python ci/coefficients.py            rewrite fastact/coefficients.py
    python ci/coefficients.py --check    fail if the file is not what this script makes

Each polynomial is a weighted minimax fit, found on a dense Chebyshev grid by the exchange algorithm in multiple
precision. Then its coefficients are rounded to the target precision one by one, lowest order first, and the others are
fitted anew after each. All decisions are taken in multiple precision or by integer-like float operations, so that the
output does not depend on the machine. Needs mpmath only; takes about a minute.
"""

import functools
import sys
from pathlib import Path

import mpmath
from mpmath import mp, mpf

mp.prec = 220
TARGET = Path(__file__).resolve().parent.parent / "fastact" / "coefficients.py"
SIGNIFICANT = {"float32": 24, "float64": 53, "half": 24, "single": 53}  # as language.PRECISIONS and language.REDUCED
TYPES, REDUCED = ("float32", "float64"), ("half", "single")


def rounded(value, precision):
    """The nearest number of that precision, as a double."""
    with mpmath.workprec(SIGNIFICANT[precision]):
        return float(+value)


def fewer_digits(value, digits):
    """The nearest number of so many binary digits, as a double."""
    with mpmath.workprec(digits):
        return float(+value)


def chebyshev_grid(low, high, count):
    middle, half = (mpf(low) + mpf(high)) / 2, (mpf(high) - mpf(low)) / 2
    return [middle - half * mpmath.cospi(mpf(j) / (count - 1)) for j in range(count)]


def solve(rows, right):
    """Gauss elimination with row pivoting (lists of mpf)."""
    n = len(rows)
    m = [list(row) + [b] for row, b in zip(rows, right)]
    for i in range(n):
        p = max(range(i, n), key=lambda k: abs(m[k][i]))
        m[i], m[p] = m[p], m[i]
        inverse = 1 / m[i][i]
        for k in range(i + 1, n):
            if m[k][i]:
                f = m[k][i] * inverse
                m[k] = [x if j <= i else x - f * y for j, (x, y) in enumerate(zip(m[k], m[i]))]
    out = [mpf(0)] * n
    for i in reversed(range(n)):
        out[i] = (m[i][n] - sum(m[i][j] * out[j] for j in range(i + 1, n))) / m[i][i]
    return out


def transpose(rows):
    return [list(column) for column in zip(*rows)]


def minimax(rows, right, reference=None):
    """The c that minimises max |right - rows c| over all rows: (c, level, reference).

    Stiefel's exchange: a reference of one row more than there are unknowns is levelled, then the row with the largest
    residual enters and the ratio test says which one leaves. Needs no Haar condition. On a grid it is Remez's algorithm.
    """
    n, count = len(rows[0]), len(rows)
    if reference is None:
        reference = [round((2 * k + 1) * (count - 1) / (2 * n + 2)) for k in range(n + 1)]
    reference = list(reference)
    for _ in range(400):
        # The annihilator of the reference: sum of dual[k] * rows[reference[k]] is zero.
        chosen = transpose([rows[k] for k in reference])
        dual = [*solve([r[:-1] for r in chosen], [-r[-1] for r in chosen]), mpf(1)]
        signs = [1 if d >= 0 else -1 for d in dual]
        *c, level = solve([[*rows[k], mpf(s)] for k, s in zip(reference, signs)], [right[k] for k in reference])
        if level < 0:
            level, signs, dual = -level, [-s for s in signs], [-d for d in dual]
        residual = [b - sum(x * y for x, y in zip(row, c)) for row, b in zip(rows, right)]
        worst = max(range(count), key=lambda k: abs(residual[k]))
        if abs(residual[worst]) <= level * (1 + mpf(2) ** -20) or worst in reference:
            break
        s = 1 if residual[worst] > 0 else -1
        # rows[worst] = sum of share[k] * rows[reference[k]], and the ratio test keeps the signs of the rest.
        share = [*solve([r[:-1] for r in chosen], rows[worst]), mpf(0)]
        leave = max(range(n + 1), key=lambda k: s * share[k] / dual[k])
        reference[leave] = worst
    return c, max(abs(x) for x in residual), reference


def fit(target, weight, grid, powers, precision, fixed=()):
    """Fit sum of c[i] x^powers[i] to `target` with `weight`, then round: (coefficients, largest weighted error, before rounding).

    `fixed` gives the first coefficients, exactly. Coefficients are doubles holding numbers of that precision.
    """
    grid = [x for x in grid if x != 0]
    scale = [weight(x) for x in grid]
    right = [w * target(x) for w, x in zip(scale, grid)]
    columns = [[w * x**p for w, x in zip(scale, grid)] for p in powers]
    done, reference, first = [], None, None
    for i, column in enumerate(columns):
        if i < len(fixed):
            c = mpf(fixed[i])
        else:
            solution, level, reference = minimax(transpose(columns[i:]), right, reference)
            first = level if first is None else first
            c = mpf(rounded(solution[0], precision))
            reference = None
        done.append(float(c))
        right = [b - c * x for b, x in zip(right, column)]
    return done, max(abs(x) for x in right), first


def mills(a):
    """Phi(-a) exp(a^2 / 2)."""
    return mpmath.erfc(a / mpmath.sqrt(2)) * mpmath.exp(a * a / 2) / 2


def atanh_ratio(w):
    """2 atanh(sqrt w) / sqrt w."""
    v = mpmath.sqrt(w)
    return 2 * mpmath.atanh(v) / v


def in_bits(error):
    return f"2^{float(mpmath.log(error, 2)):.1f}"


def expm1(precision):
    degree = {"float32": 4, "float64": 9, "half": 3, "single": 5}[precision]
    bound = mpmath.log(2) / 2 * mpf("1.01")
    grid = [r for r in chebyshev_grid(-bound, bound, 14 * (degree + 2)) if r]
    exact = [mpmath.expm1(r) for r in grid]

    def weight(r):
        return r * r * max(mpmath.exp(-r), mpf(0.5 if precision in REDUCED else 0.25) / abs(mpmath.expm1(r)))

    c, _, _ = fit(
        lambda r: (mpmath.expm1(r) - r) / r**2, weight, grid, range(degree + 1), precision, () if precision in REDUCED else (0.5,)
    )
    errors = [abs(r + r * r * mpmath.polyval(c[::-1], r) - e) for r, e in zip(grid, exact)]
    of_exp, of_expm1 = (max(e / abs(x + d) for e, x in zip(errors, exact)) for d in (1, 0))
    return c, f"degree {degree}, {in_bits(of_exp)} of exp(r), {in_bits(of_expm1)} of expm1(r)"


def atanh(precision, largest, degree):
    grid = chebyshev_grid(0, largest, 14 * (degree + 2))
    c, error, _ = fit(lambda w: (atanh_ratio(w) - 2) / w, lambda w: w / atanh_ratio(w), grid, range(degree + 1), precision)
    return c, f"degree {degree}, {in_bits(error)}"


def log1p(precision):
    return atanh(precision, mpf(1) / 9, {"float32": 3, "float64": 9, "half": 2, "single": 4}[precision])


def plain(function, largest, degrees, precision, offset=0):
    """`function(w)`, less an offset, as a polynomial in w, 0 <= w <= largest; the error is relative to the function."""
    degree = degrees[precision]
    grid = chebyshev_grid(0, mpf(largest), 14 * (degree + 2))[1:]
    values = {w: function(w) for w in grid}
    c, error, _ = fit(lambda w: values[w] - offset, lambda w: 1 / values[w], grid, range(degree + 1), precision)
    return c, f"degree {degree}, {in_bits(error)}"


def hazard_series(count):
    """One over the asymptotic series of a Phi(-a) / phi(a), which is 1 - 1/a^2 + 3/a^4 - 15/a^6 ..., in powers of 1/a^2."""
    terms = [mpf(1)]
    for k in range(1, count):
        terms.append(-terms[-1] * (2 * k - 1))
    found = [mpf(1)]
    for k in range(1, count):
        found.append(-sum(terms[j] * found[k - j] for j in range(1, k + 1)))
    return [float(c) for c in found]


def tanh_rest_ratio(w):
    return (mpmath.sqrt(w) - mpmath.tanh(mpmath.sqrt(w))) / (w * mpmath.sqrt(w))


def third_low(precision):
    """What a third is rounded by."""
    return mpf(0) if precision in REDUCED else mpf(rounded(mpf(1) / 3 - mpf(rounded(mpf(1) / 3, precision)), precision))


def erf_exponent(precision):
    """-log(erfc(a)) / a; the error is relative to erf(a) = 1 - exp(-a P(a))."""
    largest, degree = ERF_LARGEST[precision], {"half": 6}[precision]
    grid = chebyshev_grid(0, largest, 14 * (degree + 2))[1:]
    values = {a: -mpmath.log(mpmath.erfc(a)) / a for a in grid}
    c, error, _ = fit(values.get, lambda a: a / mpmath.expm1(a * values[a]), grid, range(degree + 1), precision)
    return c, f"0 <= a <= {largest}, degree {degree}, {in_bits(error)}"


def sine_square_ratio(w):
    return mpmath.sin(mpmath.sqrt(w)) ** 2 / w


def sine_rest_ratio(w):
    return (mpmath.sin(mpmath.sqrt(w)) / mpmath.sqrt(w) - 1) / w


def cosine_rest_ratio(w):
    return (mpmath.cos(mpmath.sqrt(w)) - 1 + w / 2) / w**2


def atan(precision):
    """atan(v) / v, less 1, in v * v."""
    largest, degree = mpf("0.1716"), {"float32": 5, "float64": 11}[precision]
    grid = [w for w in chebyshev_grid(0, largest, 12 * (degree + 2)) if w]
    values = {w: mpmath.atan(mpmath.sqrt(w)) / mpmath.sqrt(w) for w in grid}
    c, error, _ = fit(lambda w: (values[w] - 1) / w, lambda w: w / values[w], grid, range(degree + 1), precision)
    return c, f"degree {degree}, {in_bits(error)}"


MILLS = {  # largest a, k, r0, degree
    "float32": (14.5, 3.359375, 0.10546875, 9),
    "float64": (39, 5.5, 0.0625, 21),
    "half": (14.5, 3.359375, 0.10546875, 7),
    "single": (14.5, 3.359375, 0.10546875, 12),
}


def in_reciprocal(function, parameters, precision):
    """`function(a, r)` as a polynomial in r - r0, r = 1 / (a + k)."""
    largest, k, r0, degree = parameters[precision]
    k, r0 = mpf(k), mpf(r0)
    grid = chebyshev_grid(1 / (largest + k) - r0, 1 / k - r0, 10 * (degree + 2))
    values = {v: function(1 / (v + r0) - k, v + r0) for v in grid}
    c, error, _ = fit(values.get, lambda v: 1 / values[v], grid, range(degree + 1), precision)
    return c, f"0 <= a <= {largest}, degree {degree}, {in_bits(error)}"


def mills_polynomial(precision):
    return in_reciprocal(lambda a, r: mills(a) / r, MILLS, precision)


GELU_FLAT = mpmath.findroot(lambda a: mills(a) - a / mpmath.sqrt(2 * mpmath.pi), mpf("0.75"))  # gelu'(-a) = 0


def gelu_slope(precision):
    """gelu'(-a) exp(a^2 / 2) / (GELU_FLAT - a)."""
    return in_reciprocal(
        lambda a, r: (mills(a) - a / mpmath.sqrt(2 * mpmath.pi)) / (GELU_FLAT - a),
        {p: (*MILLS[p][:3], degree) for p, degree in (("half", 7), ("single", 11))},
        precision,
    )


def expm1_of_half(precision):
    degree = {"float32": 5, "float64": 10, "half": 4, "single": 6}[precision]
    bound = mpmath.log(2) * mpf("1.01")
    grid = [r for r in chebyshev_grid(-bound, bound, 14 * (degree + 2)) if r]
    c, error, _ = fit(
        lambda r: mpmath.expm1(r / 2) / r, lambda r: abs(r) * mpmath.exp(-r / 2), grid, range(degree + 1), precision, (0.5, 0.125)
    )
    return c, f"degree {degree}, {in_bits(error)} of exp(r / 2)"


SELU_SCALE = mpf("1.0507009873554805")
ERF_LARGEST = {"float32": 4, "float64": 6, "half": 4, "single": 4}  # beyond, erf rounds to 1
ERF_DEGREES = {"float32": (2, 3), "float64": (6, 7), "half": (2, 2), "single": (3, 4)}
POWERS = {"float32": 127 + 40, "float64": 1023 + 102, "half": 127 + 40, "single": 1023}  # what POWER_MAGIC has more than ROUNDING_MAGIC
ERFC_DEGREES = {"float32": (4, 5), "float64": (9, 10), "half": (3, 4), "single": (5, 6)}
ERFC_LARGEST = {"float32": 10.75, "float64": 27.95, "half": 10.75, "single": 10.75}
ERFC_SCALE = {"float32": 1.43359375}  # of both polynomials: of several tried, their roundings add up to the least


def erf_slope(precision, ln2_high, ln2_low):
    """A number c near log(sqrt(pi) / 2) such that POWER_MAGIC * LN2_HIGH - c is a number too, that one, and the polynomial."""
    exact = (3 * mpf(2) ** (SIGNIFICANT[precision] - 2) + POWERS[precision]) * mpf(ln2_high)
    magic = rounded(exact - mpmath.log(mpmath.sqrt(mpmath.pi) / 2), precision)
    c, ratio = exact - mpf(magic), mpf(rounded(mpf(ln2_low) / mpf(ln2_high), precision))
    extra = mpmath.exp(c + ratio * c) * 2 / mpmath.sqrt(mpmath.pi)
    degree = {"float32": 6, "float64": 11, "half": 5, "single": 7}[precision]
    bound = mpmath.log(2) / 2 * mpf("1.01")
    grid = chebyshev_grid(-bound, bound, 14 * (degree + 2))
    values = {r: extra * mpmath.exp(r) for r in grid}
    terms, error, _ = fit(lambda r: values[r] - 1, lambda r: 1 / values[r], grid, range(degree + 1), precision)
    return rounded(c, precision), magic, terms, f"degree {degree}, {in_bits(error)}"


def erfc_ratio(a):
    """sqrt(pi) exp(a^2) erfc(a)."""
    return mpmath.sqrt(mpmath.pi) * mpmath.exp(a * a) * mpmath.erfc(a)


def of_exact_product(value, factor, precision):
    """Of the 100 numbers from `value` on the one whose product with the factor is nearest to a number of this precision."""
    step = mpf(2) ** (mpmath.frexp(value)[1] - SIGNIFICANT[precision])
    return float(min((mpf(value) + i * step for i in range(100)), key=lambda v: abs(rounded(v * factor, precision) / (v * factor) - 1)))


def erfc_rational(precision):
    (over, under), largest = ERFC_DEGREES[precision], ERFC_LARGEST[precision]
    grid = reciprocal_grid(0, largest, 12 * (over + under))
    rest = {a: 1 / erfc_ratio(a) - a for a in grid}
    weight = {a: 1 / (a + rest[a]) for a in grid}
    denominator = [c * mpf(ERFC_SCALE.get(precision, 1)) for c in rational_denominator(rest, weight, over, under)]
    denominator = [rounded(c, precision) for c in denominator]
    denominator[0] = of_exact_product(denominator[0], 1 / mpmath.sqrt(mpmath.pi), precision)
    return *rational(rest, weight, over, denominator, precision), f"0 <= a <= {largest}, degrees {over} and {under}"


def erf_rational(precision):
    """(1 + b - s(a) / a) / a for s = 1 - exp(a^2) erfc(a); the error is relative to erf(a) = s + expm1(-a^2) (s - 1)."""
    (over, under), largest = ERF_DEGREES[precision], ERF_LARGEST[precision]
    slope, b = 2 / mpmath.sqrt(mpmath.pi), mpf(rounded(2 / mpmath.sqrt(mpmath.pi) - 1, precision))
    grid = reciprocal_grid(0, largest, 12 * (over + under))[:-1]  # without 0
    rest = {a: (slope - (1 - mpmath.exp(a * a) * mpmath.erfc(a)) / a) / a for a in grid}
    weight = {a: a * a * mpmath.exp(-a * a) / mpmath.erf(a) for a in grid}
    denominator = [rounded(c, precision) for c in rational_denominator(rest, weight, over, under)]
    rest = {a: t + (1 + b - slope) / a for a, t in rest.items()}
    return *rational(rest, weight, over, denominator, precision), f"0 <= a <= {largest}, degrees {over} and {under}"


def reciprocal_grid(low, high, count):
    """A Chebyshev grid in 1 / (a + 2), of which a ratio of Mills's kind is nearly a polynomial."""
    return [1 / r - 2 for r in chebyshev_grid(1 / (mpf(high) + 2), 1 / (mpf(low) + 2), count)]


def rational_denominator(rest, weight, over, under):
    """Of N(a) / D(a), which is nearly `rest`, both by a, and D's last coefficient is 1."""
    below = [mpf(1) for _ in rest]
    for _ in range(7):  # each time the denominator of the last one in the weight
        scale = [weight[a] / d for a, d in zip(rest, below)]
        rows = [[*(w * a**j for j in range(over + 1)), *(-w * t * a**j for j in range(under))] for (a, t), w in zip(rest.items(), scale)]
        solution, *_ = minimax(rows, [w * t * a**under for (a, t), w in zip(rest.items(), scale)])
        denominator = [*solution[over + 1 :], mpf(1)]
        below = [polynomial_at(denominator, a) for a in rest]
    return denominator


def polynomial_at(terms, x):
    """The polynomial with these terms, lowest order first."""
    return mpmath.polyval([mpf(c) for c in terms[::-1]], x)


def rational(rest, weight, over, denominator, precision):
    """The numerator for a rounded denominator, that, and the error."""
    exact = {a: polynomial_at(denominator, a) for a in rest}
    numerator, error, _ = fit(lambda a: rest[a] * exact[a], lambda a: weight[a] / exact[a], rest, range(over + 1), precision)
    return numerator, denominator, in_bits(error)


GELU_DEGREES = {"float32": (3, 4), "float64": (9, 10)}
GELU_LARGEST = {"float32": 13.4, "float64": 39}  # from the last one on gelu's tail is subnormal
GELU_SCALE = {"float32": 0.014686084352433681, "float64": 1}  # of both polynomials
# As many last places more: of 300,000 tried, with the scale, their roundings add up to the least.
GELU_STEPS = {"float32": ((1, 3, -3, 1), (1, 0, 1, -1, 0))}


def gelu_rational(precision):
    (over, under), largest = GELU_DEGREES[precision], GELU_LARGEST[precision]
    b, steps = mpf(rounded(mpmath.sqrt(2 * mpmath.pi), precision)), GELU_STEPS.get(precision, ((0,) * (over + 1), (0,) * (under + 1)))
    grid = reciprocal_grid(0, largest, 14 * (over + under))[:-1]  # without 0
    rest = {a: (1 / mills(a) - 2 - b * a) / a for a in grid}
    weight = {a: a * mills(a) for a in grid}
    denominator = [rounded(c * mpf(GELU_SCALE[precision]), precision) for c in rational_denominator(rest, weight, over, under)]
    denominator = stepped(denominator, steps[1], precision)
    numerator = stepped(rational(rest, weight, over, denominator, precision)[0], steps[0], precision)
    error = max(w * abs(polynomial_at(numerator, a) / polynomial_at(denominator, a) - rest[a]) for a, w in weight.items())
    return numerator, denominator, in_bits(error), f"0 <= a <= {largest}, degrees {over} and {under}"


def stepped(values, steps, precision):
    """The numbers of this precision that come so many steps after these."""
    return [float(mpf(v) + i * mpf(2) ** (mpmath.frexp(v)[1] - SIGNIFICANT[precision])) for v, i in zip(values, steps)]


NEAR = mpf(53) / 64  # below, exp(-a^2 / 2) needs no power of two
NEAR_DEGREE = {"float32": 4, "float64": 8, "half": 3, "single": 5}
FAR_DEGREE = {"float32": (3, 4), "float64": (8, 9), "half": (2, 3), "single": (4, 5)}
# Beyond the reach: of several tried, its roundings add up to the least.
FAR_LARGEST = {"float32": 16, "float64": 39, "half": 16, "single": 16}


def phi_near(precision):
    degree, phi0 = NEAR_DEGREE[precision], rounded(1 / mpmath.sqrt(2 * mpmath.pi), precision)
    grid = chebyshev_grid(mpf(2) ** -40, NEAR**2, 14 * (degree + 2))
    values = {s: mpmath.erf(mpmath.sqrt(s / 2)) / (2 * mpmath.sqrt(s)) for s in grid}
    c, error, _ = fit(values.get, lambda s: 1 / values[s], grid, range(degree + 1), precision, (phi0,))
    return c, f"degree {degree}, {in_bits(error)}"


@functools.cache
def phi_far(precision):
    (over, under), b = FAR_DEGREE[precision], mpf(rounded(mpmath.sqrt(2 * mpmath.pi), precision))
    largest = FAR_LARGEST[precision]
    grid = reciprocal_grid(NEAR, largest, 12 * (over + under))
    rest = {a: 1 / mills(a) - b * a for a in grid}
    weight = {a: 1 / (b * a + rest[a]) for a in grid}
    denominator = [rounded(c, precision) for c in rational_denominator(rest, weight, over, under)]
    return *rational(rest, weight, over, denominator, precision), f"{float(NEAR)} <= a <= {largest}, degrees {over} and {under}"


# ---- the file ----

HEADER = '''"""Coefficients and constants of the primitives. Made by `python ci/coefficients.py`: do not edit.

Polynomials lowest order first, evaluated by fma. Every number is exactly one of its precision: the float32
ones are the same as a double and as a float32. Errors are relative, of the polynomial with these coefficients in exact arithmetic.
"""
'''

EXPM1_TEXT = """expm1(r) = fma(r * r, P(r), r), |r| <= 1.01 log(2)/2; exp(x) = 2^n (1 + expm1(r)), r = x - n log 2."""
LOG1P_TEXT = """log1p(z) = v (2 + w P(w)) = fma(v, fma(w, P(w), -z), z), the more accurate form; v = z / (2 + z), w = v * v; 0 <= z <= 1, w <= 1/9."""
MILLS_TEXT = """R(a) = Phi(-a) exp(a^2/2) = erfcx(a / sqrt 2) / 2 of the normal distribution = r F, F = P(v), v = r - R0, r = 1 / d, d = a + K.
The rounding of d and r is put right by R' = a R - 1/sqrt(2 pi):
e = fma(-r, a, fma(-r, K, 1)); R = fma(r, F, -(d * e) * fma(a, r * F, -PHI0))."""
EXPM1_OF_HALF_TEXT = """expm1(r / 2) = r P(r), |r| <= 1.01 log(2)."""
ERF_SLOPE_TEXT = """erf'(a) = 2^n (1 + P(r)), r = -(a^2 + C + n log 2), C near log(sqrt(pi) / 2);
n with POWER_MAGIC added times LN2_HIGH, less MAGIC, is n LN2_HIGH + C: so chosen that MAGIC is a number."""
PHI_NEAR_TEXT = """Phi(x) = 1/2 + x P(x^2), |x| <= NEAR."""
PHI_FAR_TEXT = """Phi(-a) exp(a^2 / 2) = 1 / (a b + N(a) / D(a)), b = sqrt(2 pi) rounded."""
GELU_TEXT = """Phi(-a) exp(a^2 / 2) = 1 / (2 + a b + a N(a) / D(a)), b = sqrt(2 pi) rounded."""
ERFC_RATIO_TEXT = """sqrt(pi) exp(a^2) erfc(a) = 1 / (a + N(a) / D(a))."""


HAZARD_TEXT = """phi(a) / Phi(-a) = a P(1 / a^2) of the normal distribution, asymptotically; a >= 14 (float32) or 38 (float64)."""
ERF_TEXT = """erf(a) = s + (s - 1) expm1(-a^2), s = 1 - exp(a^2) erfc(a) = a + ERF_SLOPE_LESS_1 a - a^2 N(a) / D(a); the error is relative to erf(a)."""
ERF_EXPONENT_TEXT = """erf(a) = -expm1(-a P(a))."""
SINE_SQUARE_TEXT = """sin(r)^2 = w P(w), w = r * r, |r| <= 1.01 pi/2."""
GELU_SLOPE_TEXT = """gelu'(-a) exp(a^2/2) = R(a) - a / sqrt(2 pi) = (GELU_FLAT - a) P(v), with R and v as MILLS has them."""
TANH_REST_TEXT = """x - tanh(x) = x**3 (P(x * x) + THIRD_LOW), 0 <= x <= 1.1875."""
SINE_TEXT = """sin(x) = x + x**3 P(x * x), |x| <= 0.9: more than pi / 4, for what rounding adds."""
COSINE_TEXT = """cos(x) = 1 - x * x / 2 + x**4 P(x * x), |x| <= 0.9."""


ATAN_TEXT = """atan(v) = fma(v * w, P(w), v), w = v * v, |v| <= tan(pi/8)."""


def parts_of(value, precision, bits):
    """`value` as a sum of three numbers of this precision; the first two have this many bits, so that small multiples are exact."""
    first = mpmath.floor(value * 2**bits) / mpf(2) ** bits
    second = mpmath.floor((value - first) * 2 ** (2 * bits)) / mpf(2) ** (2 * bits)
    return tuple(rounded(v, precision) for v in (first, second, value - first - second))


def comment(text, *lines):
    return "".join(f"# {line}\n" for line in [*text.splitlines(), *lines])


def literal(c):
    assert float(repr(c)) == c
    return repr(c)


def table(name, values):
    out = [f"{name} = {{"]
    for precision, c in values.items():
        if isinstance(c, float):
            out.append(f'    "{precision}": {literal(c)},')
        else:
            out += [f'    "{precision}": (', *(f"        {literal(x)}," for x in c), "    ),"]
    return "\n".join([*out, "}", ""])


def polynomial(name, text, function, precisions=tuple(SIGNIFICANT)):
    both = {p: function(p) for p in precisions}
    notes = [f"{p}: {note}." for p, (*_, note) in both.items()]
    return comment(text, *notes), both


def make():
    parts = [HEADER]
    ln2 = mpmath.log(2)
    high = {"float32": mpmath.floor(ln2 * 2**15) / mpf(2) ** 15, "float64": mpmath.floor(ln2 * 2**41) / mpf(2) ** 41}
    ln2_high = {p: float(h) for p, h in high.items()} | {p: fewer_digits(ln2, SIGNIFICANT[p] - 2) for p in REDUCED}
    ln2_low = {p: rounded(ln2 - mpf(ln2_high[p]), p) for p in TYPES} | dict.fromkeys(REDUCED, 0.0)
    parts.append(
        comment("n = fma(x, LOG2E, ROUNDING_MAGIC) - ROUNDING_MAGIC; r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x)).")
        + comment("LN2_HIGH has so few bits that n * LN2_HIGH is exact for every exponent n, with and without fma.")
        + comment("In the reduced precisions log(2) is one number, with two digits less than there are: ROUNDING_MAGIC times it is exact.")
        + table("LN2_HIGH", ln2_high)
        + table("LN2_LOW", ln2_low)
        + table("LOG2E", {p: rounded(1 / ln2, p) for p in TYPES})
        + comment("1/sqrt(2 pi), the normal density at 0.")
        + table("PHI0", {p: rounded(1 / mpmath.sqrt(2 * mpmath.pi), p) for p in TYPES})
    )
    for name, text, number in (
        ("SELU_SCALE", "selu's number for x > 0", SELU_SCALE),
        ("SELU_BELOW", "selu's number for x < 0", SELU_SCALE * mpf("1.6732632423543772")),
        ("QUICK", "1.702", mpf(1702) / 1000),
        ("GELU_CUBIC", "2 sqrt(2 / pi) * 0.044715", 2 * mpmath.sqrt(2 / mpmath.pi) * 44715 / 1000000),
        ("HALF_PI", "pi / 2", mpmath.pi / 2),
        ("PI", "pi", mpmath.pi),
        ("GELU_FLAT", "where gelu's derivative is 0, less the sign", GELU_FLAT),
    ):
        high = {p: rounded(number, p) for p in TYPES}
        low = {p: rounded(number - mpf(high[p]), p) for p in TYPES}
        if name not in ("PI", "GELU_FLAT"):  # those that the reduced precisions alone have do miss it
            low |= dict.fromkeys(REDUCED, 0.0)
        parts.append(comment(f"{text}, and what that is rounded by.") + table(name, high) + table(f"{name}_LOW", low))
    linear = 2 * mpmath.sqrt(2 / mpmath.pi)
    fewer = {"float32": 4, "float64": 5}  # gelu_tanh adds it to as much as 9 and 34
    high = {p: fewer_digits(linear, SIGNIFICANT[p] - fewer[p]) for p in TYPES} | {p: rounded(linear, p) for p in REDUCED}
    low = {p: rounded(linear - mpf(high[p]), p) for p in TYPES} | dict.fromkeys(REDUCED, 0.0)
    parts.append(
        comment(
            "2 sqrt(2 / pi) with so few digits that its differences to numbers up to 32 (float32) or 64 are exact, and what that is rounded by."
        )
        + table("GELU_LINEAR", high)
        + table("GELU_LINEAR_LOW", low)
    )
    parts.append(comment(HAZARD_TEXT) + table("HAZARD", {p: hazard_series(n) for p, n in {"float32": 6, "float64": 9}.items()}))
    pi_half = {"float32": parts_of(mpmath.pi / 2, "float32", 11), "float64": parts_of(mpmath.pi / 2, "float64", 32)}
    parts.append(
        comment("pi/2 in three parts; the first two have trailing zeros, so that small multiples of them are exact even without fma.")
        + "\n".join(table(f"PI_HALF_{i}", {p: c[i] for p, c in pi_half.items()}) for i in range(3))
        + table("TWO_OVER_PI", {p: rounded(2 / mpmath.pi, p) for p in TYPES})
        + table("PI_QUARTER_LOW", {p: rounded(mpmath.pi / 4 - mpf(rounded(mpmath.pi / 4, p)), p) for p in TYPES})
        + table("PI_QUARTER", {p: rounded(mpmath.pi / 4, p) for p in TYPES})
    )
    for name, text, function in (
        ("EXPM1", EXPM1_TEXT, expm1),
        ("LOG1P", LOG1P_TEXT, log1p),
        (
            "TANH_REST",
            TANH_REST_TEXT,
            lambda p: plain(
                lambda w: tanh_rest_ratio(w) - third_low(p), mpf("1.1875") ** 2, {"float32": 8, "float64": 17, "half": 6, "single": 10}, p
            ),
        ),
        ("SINE", SINE_TEXT, lambda p: plain(sine_rest_ratio, mpf("0.81"), {"float32": 3, "float64": 7}, p)),
        ("COSINE", COSINE_TEXT, lambda p: plain(cosine_rest_ratio, mpf("0.81"), {"float32": 3, "float64": 7}, p)),
        ("MILLS", MILLS_TEXT, mills_polynomial),
        ("ATAN", ATAN_TEXT, atan),
        ("ERF_EXPONENT", ERF_EXPONENT_TEXT, erf_exponent),
        (
            "SINE_SQUARE",
            SINE_SQUARE_TEXT,
            lambda p: plain(sine_square_ratio, (mpmath.pi / 2 * mpf("1.01")) ** 2, {"half": 5, "single": 6}, p),
        ),
        ("GELU_SLOPE", GELU_SLOPE_TEXT, gelu_slope),
    ):
        precisions = (
            {"SINE": TYPES, "COSINE": TYPES, "ATAN": TYPES}
            | dict.fromkeys(("SINE_SQUARE", "GELU_SLOPE"), REDUCED)
            | {"ERF_EXPONENT": ("half",)}
        )
        head, both = polynomial(name, text, function, precisions.get(name, tuple(SIGNIFICANT)))
        parts.append(head + table(name, {p: c for p, (c, _) in both.items()}))
    head, both = polynomial("EXPM1_OF_HALF", EXPM1_OF_HALF_TEXT, expm1_of_half)
    parts.append(head + table("EXPM1_OF_HALF", {p: c for p, (c, _) in both.items()}))
    slopes = {p: erf_slope(p, ln2_high[p], ln2_low[p]) for p in SIGNIFICANT}
    parts.append(
        comment(ERF_SLOPE_TEXT, *(f"{p}: {note}." for p, (*_, note) in slopes.items()))
        + "\n".join(table(f"ERF_SLOPE{n}", {p: f[i] for p, f in slopes.items()}) for i, n in enumerate(("_C", "_MAGIC", "")))
    )
    head, both = polynomial("PHI_NEAR", PHI_NEAR_TEXT, phi_near)
    parts.append(head + table("PHI_NEAR", {p: c for p, (c, _) in both.items()}))
    for name, text, function in (
        ("PHI_FAR", PHI_FAR_TEXT, phi_far),
        ("ERFC_RATIO", ERFC_RATIO_TEXT, erfc_rational),
        ("ERF", ERF_TEXT, erf_rational),
        ("GELU", GELU_TEXT, gelu_rational),
    ):
        ratios = {p: function(p) for p in (TYPES if name == "GELU" else SIGNIFICANT)}
        parts.append(
            comment(text, *(f"{p}: {note}, {error}." for p, (*_, error, note) in ratios.items()))
            + "\n".join(table(f"{name}_{n}", {p: f[i] for p, f in ratios.items()}) for i, n in enumerate("ND"))
        )
    parts.append(table("ERF_SLOPE_LESS_1", {p: rounded(2 / mpmath.sqrt(mpmath.pi) - 1, p) for p in TYPES}))
    parts.append(table("THIRD_LOW", {p: float(third_low(p)) for p in SIGNIFICANT}))
    parts.append(table("NEAR", {p: float(NEAR) for p in TYPES}))
    parts.append(table("SQRT_2PI", {p: rounded(mpmath.sqrt(2 * mpmath.pi), p) for p in TYPES}))
    parts.append(table("MILLS_K", {p: m[1] for p, m in MILLS.items()}))
    parts.append(table("MILLS_R0", {p: m[2] for p, m in MILLS.items()}))
    return "\n".join(parts)


def main():
    text = make()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            sys.exit(f"{TARGET} is not what ci/coefficients.py makes: run it")
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
