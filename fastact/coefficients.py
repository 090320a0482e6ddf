"""Coefficients and constants of the primitives. Made by `python ci/coefficients.py`: do not edit.

Polynomials lowest order first, evaluated by fma. Every number is exactly one of its precision: the float32
ones are the same as a double and as a float32. Errors are relative, of the polynomial with these coefficients in exact arithmetic.
"""

# n = fma(x, LOG2E, ROUNDING_MAGIC) - ROUNDING_MAGIC; r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x)).
# LN2_HIGH has so few bits that n * LN2_HIGH is exact for every exponent n, with and without fma.
LN2_HIGH = {
    "float32": 0.693145751953125,
    "float64": 0.693147180559663,
}
LN2_LOW = {
    "float32": 1.428606765330187e-06,
    "float64": 2.8235290563031577e-13,
}
LOG2E = {
    "float32": 1.4426950216293335,
    "float64": 1.4426950408889634,
}
# 1/sqrt(2 pi), the normal density at 0: high and low part.
PHI0 = {
    "float32": 0.3989422917366028,
    "float64": 0.3989422804014327,
}
PHI0_LOW = {
    "float32": -1.1335170135851058e-08,
    "float64": -2.49232720227773e-17,
}

# expm1(r) = fma(r * r, P(r), r), |r| <= 1.01 log(2)/2; exp(x) = 2^n (1 + expm1(r)), r = x - n log 2.
# float32: degree 4, 2^-27.8 of exp(r), 2^-25.8 of expm1(r).
# float64: degree 9, 2^-56.9 of exp(r), 2^-54.9 of expm1(r).
EXPM1 = {
    "float32": (
        0.5,
        0.16666539013385773,
        0.04166732355952263,
        0.008367229253053665,
        0.0013857408193871379,
    ),
    "float64": (
        0.5,
        0.1666666666666654,
        0.041666666666612534,
        0.008333333333446161,
        0.0013888888924067334,
        0.00019841269555034862,
        2.4801511329647784e-05,
        2.7557580070719666e-06,
        2.762440172774204e-07,
        2.4993531747475846e-08,
    ),
}

# log1p(z) = v (2 + w P(w)) = fma(v, fma(w, P(w), -z), z), the more accurate form; v = z / (2 + z), w = v * v; 0 <= z <= 1, w <= 1/9.
# float32: degree 3, 2^-27.7.
# float64: degree 9, 2^-59.4.
LOG1P = {
    "float32": (
        0.666664183139801,
        0.40021437406539917,
        0.280030220746994,
        0.28006818890571594,
    ),
    "float64": (
        0.6666666666666631,
        0.4000000000015595,
        0.2857142854800015,
        0.2222222396168626,
        0.1818174417307769,
        0.15386555348275655,
        0.13301024852405582,
        0.12105746126560536,
        0.0834131893920987,
        0.17016787807532263,
    ),
}

# R(a) = Phi(-a) exp(a^2/2) = erfcx(a / sqrt 2) / 2 of the normal distribution = r F, F = P(v), v = r - R0, r = 1 / d, d = a + K.
# The rounding of d and r is put right by R' = a R - 1/sqrt(2 pi):
# e = fma(-r, a, fma(-r, K, 1)); R = fma(r, F, -(d * e) * fma(a, r * F, -PHI0)).
# float32: 0 <= a <= 14.5, degree 9, 2^-27.5.
# float64: 0 <= a <= 39, degree 21, 2^-56.6.
MILLS = {
    "float32": (
        0.6025387048721313,
        2.7157208919525146,
        9.676154136657715,
        24.780818939208984,
        32.55620193481445,
        -43.494014739990234,
        -271.2604675292969,
        -125.02672576904297,
        2653.283935546875,
        -3718.50244140625,
    ),
    "float64": (
        0.6025417395030094,
        4.794716908130878,
        35.24900286103875,
        237.6419626843049,
        1454.2369894397655,
        7957.659970314869,
        38031.44313826017,
        152225.1759943207,
        464921.89175474,
        767838.998710927,
        -1681614.920919128,
        -17014002.129770435,
        -47535738.86910603,
        64597982.79931789,
        967554388.7030813,
        2110719546.0847623,
        -9093401015.590885,
        -73688217258.3477,
        -125307245255.44084,
        3990692570872.1924,
        -15218862886947.703,
        19159420787972.35,
    ),
}

MILLS_K = {
    "float32": 3.359375,
    "float64": 5.5,
}

MILLS_R0 = {
    "float32": 0.10546875,
    "float64": 0.0625,
}
