"""Every activation: one function each, ``x, *parameters -> (value, derivative)``.

Start reading here. The language is that of `language.py`; what is imported from `primitives` is written in it too. A compiler drops
what a mode does not need and keeps what value and derivative share. Where the derivative can be had from the output, a second
function says so. Parameters behind ``*`` are conventions: what the derivative is at a kink.

A new activation needs its function here and nothing anywhere else.
"""

from .coefficients import LOG1P
from .language import (
    abs_at_most,
    activation,
    biased_power,
    copysign,
    either_polynomial,
    fma,
    from_output,
    maximum,
    minimum,
    polynomial,
    select,
)
from .primitives import (
    BIASED_SQRT_2PI,
    EXP_REACH,
    GAUSS_REACH,
    INFINITY,
    LARGEST,
    NEAR,
    PHI0,
    PHI0_LOW,
    PHI_FAR_0,
    PHI_FAR_D,
    PHI_FAR_REST,
    PHI_NEAR_REST,
    UNBIAS,
    exp,
    exp_expm1_parts,
    exp_parts,
    gauss_parts,
    power,
    scale,
)


@activation(
    definition="(x + abs(x)) / 2", numpy="np.maximum(x, 0)", numpy_grad="(x > 0).astype(x.dtype)", ulp=(0, 0), kinks=(0,), aliases=("rectifier",),
    paper="Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010",
)
def relu(x):
    """Rectified linear unit: x where it is positive, else 0."""
    return select(x <= 0, 0, x), select(x > 0, 1, select(x <= 0, 0, x))


@from_output(relu)
def relu_from_output(y):
    return select(y > 0, 1, select(y <= 0, 0, y))


@activation(
    definition="x * (1 + negative_slope + sign(x) * (1 - negative_slope)) / 2",
    numpy="np.where(x > 0, x, negative_slope * x)", numpy_grad="np.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope))", ulp=(1, 1), kinks=(0,),
    paper="Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, ICML 2013",
)
def leaky_relu(x, negative_slope=0.1, *, at_zero=0.0):
    """Leaky rectified linear unit: x where it is positive, else negative_slope * x."""
    floor = select(negative_slope == 0, -LARGEST, -INFINITY)  # 0 * -inf would be NaN
    return select(x > 0, x, negative_slope * maximum(x, floor)), select(x > 0, 1, select(x < 0, negative_slope, at_zero + x))


@from_output(leaky_relu, nonnegative=("negative_slope",))
def leaky_relu_from_output(y, negative_slope=0.1, *, at_zero=0.0):
    return select(y > 0, 1, select(y < 0, negative_slope, at_zero + y))


@activation(
    definition="1 / (1 + exp(-x))", numpy="1 / (1 + np.exp(-x))", numpy_grad="y * (1 - y)", ulp=(3, 4), aliases=("logistic", "expit"),
    paper="Verhulst, Recherches mathematiques sur la loi d'accroissement de la population, 1845",
)
def sigmoid(x):
    """Logistic sigmoid: 1 / (1 + exp(-x)), from 0 to 1."""
    z = exp(-minimum(abs(x), EXP_REACH))
    r = 1 / (1 + z)
    low = fma(-z, z * r, z)  # the value at -|x|: z / (1 + z) with half the rounding errors
    return select(x < 0, low, r), fma(-low, low, low)


@from_output(sigmoid)
def sigmoid_from_output(y):
    return y * (1 - y)


@activation(
    definition="sinh(x) / cosh(x)", numpy="np.tanh(x)", numpy_grad="1 - y * y", ulp=(3, 4),
    paper="LeCun, Bottou, Orr and Mueller, Efficient backprop, 1998",
)
def tanh(x):
    """Hyperbolic tangent, from -1 to 1."""
    q, n, e = exp_expm1_parts(-2 * minimum(abs(x), EXP_REACH / 2))
    half = -0.5 * e
    r = 1 / (1 - half)
    w = (1 + q) * r * power(n)  # 1 - abs(tanh x)
    return copysign(fma(half, half * r, half), x), fma(-w, w, w + w)


@from_output(tanh)
def tanh_from_output(y):
    return (1 - y) * (1 + y)


@activation(
    definition="x / (1 + exp(-x))", numpy="x / (d := 1 + np.exp(-x))", numpy_grad="(1 + x * (1 - 1 / d)) / d", ulp=(3, 4),
    aliases=("swish",), derivative_zero=(-1.278464543, 0.278),
    paper="Elfwing, Uchibe and Doya, Sigmoid-weighted linear units for neural network function approximation, arXiv:1702.03118",
)
def silu(x):
    """Sigmoid linear unit: x * sigmoid(x)."""
    a = minimum(abs(x), EXP_REACH)
    q, n = exp_parts(-a)
    m = 1 + q
    z = m * power(n)
    r = 1 / (1 + z)
    t = z * r
    low = fma(-m, t, m)  # m / (1 + z): the power of two comes last, so that -91 keeps its digits
    left = scale(low * fma(a, t, 1 - a), n)
    return select(x < 0, scale(low * -a, n), x * r), select(x < 0, left, 1 - left)


@activation(
    definition="x * erfc(-x / sqrt(2)) / 2", numpy="x * (p := 0.5 * (1 + scipy.special.erf(x / 2**0.5)))",
    numpy_grad="p + x * np.exp(-0.5 * x * x) * 0.3989422804014327", ulp=(3, 4),
    derivative_zero=(-0.751791525, 0.5), paper="Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415",
)
def gelu(x):
    """Gaussian error linear unit: x * Phi(x), with Phi the distribution function of the normal distribution."""
    a = abs_at_most(x, GAUSS_REACH)
    square = a * a
    q, n = gauss_parts(a)
    p = biased_power(n)  # larger than the power, and d is as much smaller
    # Far out Phi(-a) = p (1 + q) d / (a b d + over); near 0 Phi = 1/2 + x over and n = 0. NaN is not far and stays what it is.
    far = abs(x) >= NEAR
    rest = either_polynomial(far, a, PHI_FAR_REST, square, PHI_NEAR_REST)
    over = fma(rest, select(far, a, square), select(far, PHI_FAR_0, PHI0))
    d = polynomial(a, PHI_FAR_D)
    ad = a * d
    below = fma(BIASED_SQRT_2PI, ad, over)
    tail = -p * (ad / below)
    value = fma(select(far, q, x), select(far, tail, fma(x, over, 0.5)), select(far, select(x > 0, x, -0.0) + tail, -0.0))
    left = fma(p, q, p) * fma(-a, PHI0 * UNBIAS, d / below)
    middle = fma(x, fma(square, rest, fma(PHI0, q, PHI0_LOW)), fma(x, 2 * PHI0, 0.5))
    return value, select(far, select(x < 0, left, 1 - left), middle)


@activation(
    definition="log1p(exp(-abs(x))) + (x + abs(x)) / 2", numpy="np.logaddexp(x, 0)", numpy_grad="1 / (1 + np.exp(-x))", ulp=(3, 4),
    paper="Dugas, Bengio, Belisle, Nadeau and Garcia, Incorporating second-order functional knowledge, NIPS 2000",
)
def softplus(x):
    """Smooth rectifier: log(1 + exp(x))."""
    z = exp(-minimum(abs(x), EXP_REACH))
    v = z / (2 + z)
    w = v * v
    s, ds = sigmoid(x)
    return maximum(x, 0) + fma(v, fma(w, polynomial(w, LOG1P), -z), z), s


@from_output(softplus)
def softplus_from_output(y):
    q, n, t = exp_expm1_parts(-minimum(y, EXP_REACH))
    return -t


@activation(
    definition="(x + abs(x)) / 2 + alpha * expm1((x - abs(x)) / 2)", numpy="np.where(x > 0, x, (e := alpha * np.expm1(x)))",
    numpy_grad="np.where(x > 0, x.dtype.type(1), e + alpha)", ulp=(3, 4), kinks=(0,),
    paper="Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, arXiv:1511.07289",
)
def elu(x, alpha=1.0):
    """Exponential linear unit: x where it is positive, else alpha * (exp(x) - 1)."""
    q, n = exp_parts(maximum(minimum(x, 0), -EXP_REACH))
    p = power(n)
    return select(x >= 0, x, alpha * fma(p, q, p - 1)), select(x > 0, 1, scale(alpha * (1 + q), n))


@from_output(elu, nonnegative=("alpha",))
def elu_from_output(y, alpha=1.0):
    return select(y > 0, 1, y + alpha)


@activation(
    definition="x / (1 + abs(x))", numpy="x / (d := 1 + np.abs(x))", numpy_grad="1 / (d * d)", ulp=(2, 4),
    paper="Turian, Bergstra and Bengio, Quadratic features and deep architectures for chunking, NAACL 2009",
)
def softsign(x):
    """Softsign: x / (1 + |x|), from -1 to 1, with slow tails."""
    a = minimum(abs(x), LARGEST)
    r = 1 / (1 + a)
    return copysign(a / (1 + a), x), r * r


@from_output(softsign)
def softsign_from_output(y):
    return (1 - abs(y)) * (1 - abs(y))
