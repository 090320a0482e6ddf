"""Every activation: one function each, ``x, *parameters -> (value, derivative)``.

Start reading here. The language is that of `language.py`; what is imported from `primitives` is written in it too. A compiler drops
what a mode does not need and keeps what value and derivative share. Where the derivative can be had from the output, a second
function says so. Parameters behind ``*`` are conventions: what the derivative is at a kink. ``like`` says what libraries call it, and
where their defaults and conventions are others.

A new activation needs its function here and nothing anywhere else.
"""

import math

from . import coefficients
from .coefficients import EXPM1, LOG1P, TANH_REST
from .language import (
    ROUNDING_MAGIC,
    activation,
    at_defaults,
    constant,
    copysign,
    fission,
    fission_of,
    fma,
    from_output,
    in_reduced_precision,
    lost,
    maximum,
    minimum,
    named,
    parameter_gradients,
    polynomial,
    product_rest,
    select,
    sqrt,
)
from .primitives import (
    ALL_EXPM1,
    ERFC_REACH,
    EXP_REACH,
    FAR,
    GAUSS_REACH,
    HAZARD_REACH,
    INFINITY,
    LARGEST,
    NAN,
    NEAR,
    PHI0,
    PI,
    PI_LOW,
    ROOT_ABOVE_0,
    SIGMOID_REACH,
    SIGMOID_UNBIAS,
    SINE_REACH,
    SMALLEST_SUBNORMAL,
    SQUARE_REACH,
    TWO_OVER_SQRT_PI,
    UNBIAS,
    biased_exp,
    biased_exp_and_1,
    biased_exp_times,
    biased_minus_expm1,
    biased_sigmoid,
    erf_slope_parts,
    erfc_parts,
    exp,
    exp_expm1_parts,
    exp_parts,
    exp_parts_less,
    exp_whole,
    expm1_whole,
    gauss_parts,
    hazard,
    log1p_or_log,
    log1p_whole,
    log_quotient,
    mills_far_parts,
    mills_parts,
    mills_ratio,
    one_minus_erfcx,
    phi_near_rest,
    power,
    quotient_less_product,
    ratio_rest,
    reduced,
    reduced_erf,
    reduced_gelu_parts,
    reduced_mills_parts,
    reduced_reciprocal,
    reduced_rsqrt,
    scale,
    sine_parts,
    sine_square,
    small_log1p,
    square_exp_expm1_parts,
    tail_log1p,
    times_exp,
    whole_exp,
    whole_expm1,
)

SELU_SCALE = constant(**coefficients.SELU_SCALE)
SELU_BELOW, SELU_BELOW_LOW = constant(**coefficients.SELU_BELOW), constant(**coefficients.SELU_BELOW_LOW)
SQUARE_FAR = constant(float32=2.0**75, float64=2.0**538)  # one over its square is 0, and
SQUARE_DOWN = constant(float32=2.0**-20, float64=2.0**-200)  # its square is finite, times this
QUICK, QUICK_LOW = constant(**coefficients.QUICK), constant(**coefficients.QUICK_LOW)
GELU_LINEAR, GELU_LINEAR_LOW = constant(**coefficients.GELU_LINEAR), constant(**coefficients.GELU_LINEAR_LOW)
GELU_CUBIC, GELU_CUBIC_LOW = constant(**coefficients.GELU_CUBIC), constant(**coefficients.GELU_CUBIC_LOW)
LOGIT_SMALL, LOGIT_SCALE, LOGIT_SHIFT = 2.0**-60, 2.0**100, 100 * math.log(2)  # so that log gets a normal number
THIRD_LOW = constant(**coefficients.THIRD_LOW)
EXPM1_REACH = -0.34  # from here to 0 expm1 is its polynomial
MISH_ABOVE_0 = constant(float32=2.0**-42, float64=2.0**-340)  # twice its third power is a normal number
TANH_REACH = constant(float32=11.115, float64=21.854, single=13.571)  # x times gelu_tanh's sigmoid is 0 from here on

# --- Piecewise linear ----------------------------------------------------------------------------------------------------


def inside(x, low, high):
    """1 between low and high, else 0; NaN for NaN."""
    return select((x > low) & (x < high), 1, select(x == x, 0, x))


def within(x, reach):
    """The same between -reach and reach, by one comparison."""
    return select(abs(x) < reach, 1, select(x == x, 0, x))


@activation(
    definition="x", numpy="x.copy()", numpy_grad="np.ones_like(x)", ulp=(0, 0), aliases=("linear",),
    like={"torch": "identity", "jax": "identity", "keras": "linear", "onnx": "Identity", "transformers": "linear"},
)
def identity(x):
    """Identity: x itself."""
    return x, select(x == x, 1, x)


@from_output(identity)
def identity_from_output(y):
    return select(y == y, 1, y)


@activation(
    definition="(x + abs(x)) / 2", numpy="np.maximum(x, 0)", numpy_grad="(x > 0).astype(x.dtype)", ulp=(0, 0), kinks=(0,), aliases=("rectifier",),
    paper="Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010",
    like={"torch": "relu", "jax": "relu", "keras": "relu", "tensorflow": "relu", "onnx": "Relu", "thinc": "relu", "transformers": "relu"},
)
def relu(x):
    """Rectified linear unit: x where it is positive, else 0."""
    return select(x <= 0, 0, x), select(x > 0, 1, select(x <= 0, 0, x))


@from_output(relu)
def relu_from_output(y):
    return select(y > 0, 1, select(y <= 0, 0, y))


@activation(
    definition="min(max(x, 0), 6)", numpy="np.clip(x, 0, 6)", numpy_grad="((x > 0) & (x < 6)).astype(x.dtype)", ulp=(0, 0), kinks=(0, 6),
    like={"torch": "relu6", "jax": "relu6", "keras": "relu6", "tensorflow": "relu6", "thinc": "relu_k", "transformers": "relu6"},
    paper="Krizhevsky, Convolutional deep belief networks on CIFAR-10, 2010",
)
def relu6(x):
    """Rectified linear unit that ends at 6."""
    return select(x <= 0, 0, minimum(x, 6)), inside(x, 0, 6)


@from_output(relu6)
def relu6_from_output(y):
    return inside(y, 0, 6)


def sloped(x, slope):
    """x where it is positive, else slope * x; and what x is multiplied by."""
    floor = select(slope == 0, -LARGEST, -INFINITY)  # 0 * -inf would be NaN
    factor = select(x > 0, 1, slope)
    return factor * maximum(x, floor), factor


@activation(
    definition="x * (1 + negative_slope + sign(x) * (1 - negative_slope)) / 2",
    numpy="np.where(x > 0, x, negative_slope * x)", numpy_grad="np.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope))", ulp=(1, 1), kinks=(0,),
    paper="Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, ICML 2013",
    like={
        "torch": named("leaky_relu", negative_slope=0.01, at_zero=math.nan), "jax": named("leaky_relu", negative_slope=0.01, at_zero=1),
        "keras": named("leaky_relu", negative_slope=0.2, at_zero=math.nan), "tensorflow": named("leaky_relu", negative_slope=0.2, at_zero=math.nan),
        "onnx": named("LeakyRelu", negative_slope=0.01), "transformers": named("leaky_relu", negative_slope=0.01, at_zero=math.nan),
    },
)
def leaky_relu(x, negative_slope=0.1, *, at_zero=0.0):
    """Leaky rectified linear unit: x where it is positive, else negative_slope * x. With an at_zero of NaN the derivative at 0 is negative_slope."""
    y, factor = sloped(x, negative_slope)
    return y, select(abs(x) > 0, factor, select(at_zero == at_zero, at_zero, negative_slope) + x)


@at_defaults(leaky_relu)
def leaky_relu_at_defaults(x):
    factor = select(x > 0, 1, 0.1)
    return factor * x, select(abs(x) > 0, factor, 0 + x)


@from_output(leaky_relu, nonnegative=("negative_slope",))
def leaky_relu_from_output(y, negative_slope=0.1, *, at_zero=0.0):
    return select(y > 0, 1, select(y < 0, negative_slope, select(at_zero == at_zero, at_zero, negative_slope) + y))


@parameter_gradients(leaky_relu)
def leaky_relu_parameters(x, negative_slope=0.1):
    return minimum(x, 0)


@activation(
    definition="x * (1 + weight + sign(x) * (1 - weight)) / 2", numpy="np.where(x > 0, x, weight * x)",
    numpy_grad="np.where(x > 0, x.dtype.type(1), x.dtype.type(weight))", ulp=(1, 1), kinks=(0,),
    like={"torch": "prelu", "keras": named("PReLU", weight=0), "onnx": "PRelu", "transformers": "prelu"},
    paper="He, Zhang, Ren and Sun, Delving deep into rectifiers, arXiv:1502.01852",
)
def prelu(x, weight=0.25):
    """Parametric rectified linear unit: x where it is positive, else weight * x, with a weight that is learned."""
    y, factor = sloped(x, weight)
    return y, select(x == x, factor, x)


@parameter_gradients(prelu)
def prelu_parameters(x, weight=0.25):
    return minimum(x, 0)


@activation(
    definition="x * (1 + (lower + upper) / 2 + sign(x) * (1 - (lower + upper) / 2)) / 2",
    numpy="np.where(x > 0, x, 0.5 * (lower + upper) * x)", numpy_grad="np.where(x > 0, x.dtype.type(1), x.dtype.type(0.5 * (lower + upper)))",
    ulp=(2, 2), kinks=(0,), like={"torch": "rrelu"},
    paper="Xu, Wang, Chen and Li, Empirical evaluation of rectified activations in convolution network, arXiv:1505.00853",
)
def rrelu(x, lower=1 / 8, upper=1 / 3):
    """Randomized leaky rectified linear unit, as in evaluation: with the mean of the slopes that training draws."""
    return prelu(x, 0.5 * (lower + upper))


@activation(
    definition="x if x > threshold else value", numpy="np.where(x > threshold, x, x.dtype.type(value))",
    numpy_grad="(x > threshold).astype(x.dtype)", ulp=(0, 0), kinks=("threshold",), like={"torch": "threshold", "keras": "threshold"},
)
def threshold(x, threshold=0.0, value=0.0):
    """Threshold: x where it is above the threshold, else the value."""
    neither = x + threshold  # NaN
    return select(x > threshold, x, select(x <= threshold, value, neither)), select(x > threshold, 1, select(x <= threshold, 0, neither))


@activation(
    definition="x if x > alpha else 0", numpy="np.where(x > alpha, x, 0)", numpy_grad="(x > alpha).astype(x.dtype)", ulp=(0, 0),
    kinks=("alpha",), like={"onnx": "ThresholdedRelu"}, paper="Konda, Memisevic and Krueger, Zero-bias autoencoders, arXiv:1402.3337",
)
def thresholded_relu(x, alpha=1.0):
    """Thresholded rectified linear unit: x where it is above alpha, else 0."""
    return threshold(x, alpha, 0)


@from_output(thresholded_relu, nonnegative=("alpha",))
def thresholded_relu_from_output(y, alpha=1.0):
    return select(y > alpha, 1, select(y <= alpha, 0, y + alpha))


@activation(
    definition="max(x, 0)**2", numpy="(r := np.maximum(x, 0)) * r", numpy_grad="2 * r", ulp=(1, 0), kinks=(0,), aliases=("squared_relu",),
    like={"transformers": "relu2"}, paper="So et al., Primer: searching for efficient transformers, arXiv:2109.08668",
)
def relu_squared(x):
    """Square of the rectified linear unit."""
    r = select(x <= 0, 0, x)
    return r * r, 2 * r


@from_output(relu_squared)
def relu_squared_from_output(y):
    return 2 * sqrt(y)


@activation(
    definition="min(max(x, min_val), max_val)", numpy="np.clip(x, min_val, max_val)",
    numpy_grad="((x > min_val) & (x < max_val)).astype(x.dtype)", ulp=(0, 0), kinks=("min_val", "max_val"),
    like={
        "torch": "hardtanh", "jax": named("hard_tanh", at_limits=1), "keras": named("hard_tanh", at_limits=1), "thinc": "hard_tanh",
    },
    paper="Collobert, Large scale machine learning, PhD thesis, Universite Paris VI, 2004",
)
def hard_tanh(x, min_val=-1.0, max_val=1.0, *, at_limits=0.0):
    """Hard tanh: x, but never below one limit nor above the other."""
    slope = select((x == min_val) | (x == max_val), at_limits, inside(x, min_val, max_val))
    return minimum(maximum(x, min_val), max_val), slope


@at_defaults(hard_tanh)
def hard_tanh_at_defaults(x):
    return minimum(maximum(x, -1), 1), within(x, 1)


@activation(
    definition="min(max(slope * x + offset, min_val), max_val)", numpy="np.clip(slope * x + offset, min_val, max_val)",
    numpy_grad="np.where((y > min_val) & (y < max_val), x.dtype.type(slope), 0)", ulp=(1, 0),
    kinks=("(min_val - offset) / slope", "(max_val - offset) / slope"), like={"onnx": named("Clip", min_val=-math.inf, max_val=math.inf), "thinc": "clipped_linear"},
)
def clipped_linear(x, slope=1.0, offset=0.0, min_val=0.0, max_val=1.0):
    """A line between two limits: slope * x + offset, clipped."""
    most = select(slope == 0, LARGEST, INFINITY)  # 0 * inf would be NaN
    t = fma(slope, minimum(maximum(x, -most), most), offset)
    steep = select(slope == 0, 1, slope)
    first = (min_val - offset) / steep
    last = (max_val - offset) / steep
    rise = select(min_val <= max_val, select(offset == offset, slope, offset), 0)
    return minimum(maximum(t, min_val), max_val), rise * inside(x, minimum(first, last), maximum(first, last))


@from_output(clipped_linear)
def clipped_linear_from_output(y, slope=1.0, offset=0.0, min_val=0.0, max_val=1.0):
    return slope * inside(y, min_val, max_val)


@activation(
    definition="min(max(slope * x + offset, 0), 1)", numpy="np.clip(slope * x + offset, 0, 1)",
    numpy_grad="np.where((y > 0) & (y < 1), x.dtype.type(slope), 0)", ulp=(2, 1), kinks=("-offset / slope", "(1 - offset) / slope"), value_zero=("-offset / slope", "offset"),
    like={
        "torch": "hardsigmoid", "jax": "hard_sigmoid", "keras": "hard_sigmoid", "onnx": named("HardSigmoid", slope=0.2),
        "thinc": named("hard_sigmoid", slope=0.2),
    },
    paper="Courbariaux, Bengio and David, BinaryConnect, arXiv:1511.00363",
)
def hard_sigmoid(x, slope=1 / 6, offset=0.5):
    """Hard sigmoid: slope * x + offset, but never below 0 nor above 1; by default relu6(x + 3) / 6."""
    shift = select(slope == 0, 0, offset / slope)  # 3, where slope is 1/6 up to its rounding: so all digits near -3 are right
    upper = (1 - offset) / slope
    t = fma(slope, minimum(maximum(x, -LARGEST), LARGEST) + shift, select(slope == 0, offset, 0))  # 0 * inf would be NaN
    return minimum(maximum(t, 0), 1), slope * inside(x, minimum(-shift, upper), maximum(-shift, upper))


@at_defaults(hard_sigmoid)
def hard_sigmoid_at_defaults(x):
    slope = 1 / 6
    shift = 0.5 / slope
    return minimum(maximum(slope * (x + shift), 0), 1), slope * within(x, shift)


@from_output(hard_sigmoid)
def hard_sigmoid_from_output(y, slope=1 / 6, offset=0.5):
    return slope * inside(y, 0, 1)


@activation(
    definition="x * min(max(slope * x + offset, 0), 1)", numpy="x * (h := np.clip(slope * x + offset, 0, 1))",
    numpy_grad="h + x * np.where((h > 0) & (h < 1), x.dtype.type(slope), 0)", ulp=(3, 2),
    kinks=("-offset / slope", "(1 - offset) / slope"), value_zero=("-offset / slope", "offset * offset / slope"), derivative_zero=("-0.5 * offset / slope", "offset"),
    like={
        "torch": "hardswish", "jax": ["hard_silu", "hard_swish"], "keras": ["hard_silu", "hard_swish"], "onnx": "HardSwish", "transformers": "hardswish",
        "thinc": [named("hard_swish", slope=0.2, at_lower=-0.5, at_upper=1.5), named("hard_swish_mobilenet", at_lower=-0.5, at_upper=1.5)],
    },
    paper="Howard et al., Searching for MobileNetV3, arXiv:1905.02244",
)
def hard_swish(x, slope=1 / 6, offset=0.5, *, at_lower=0.0, at_upper=1.0):
    """Hard swish: x * hard_sigmoid(x)."""
    sign = copysign(1, slope)  # where the line falls, its ends are the other way round
    steep = select(slope == 0, 1, slope)  # and a flat one has none
    level = select(slope == 0, minimum(maximum(offset, 0), 1), 0)
    shift = select(slope == 0, 0, offset / steep)
    lower = select(slope == 0, select(offset <= 0, INFINITY, NAN), -sign * shift)
    upper = select(slope == 0, NAN, sign * ((1 - offset) / steep))
    t = sign * x
    a = select(slope == 0, 0, x)
    bend = select(t == lower, at_lower, select(t == upper, at_upper, fma(slope, 2 * a + shift, level)))
    line = select(t <= lower, -0.0 * sign, x * fma(slope, a + shift, level))
    return select(t >= upper, x, line), select(t > upper, 1, select(t < lower, 0, select(x == x, bend, x)))


@at_defaults(hard_swish)
def hard_swish_at_defaults(x):
    slope = 1 / 6
    shift = 0.5 / slope
    y = x * (slope * (x + shift))
    dy = slope * (2 * x + shift)
    return select(x >= shift, x, select(x <= -shift, -0.0, y)), select(x >= shift, 1, select(x <= -shift, 0, dy))


@activation(
    definition="x if abs(x) > lambd else 0", numpy="np.where(np.abs(x) > lambd, x, 0)", numpy_grad="(np.abs(x) > lambd).astype(x.dtype)",
    ulp=(0, 0), kinks=("-lambd", "lambd"), like={"torch": "hardshrink", "keras": "hard_shrink"},
    paper="Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 81, 1994",
)
def hard_shrink(x, lambd=0.5):
    """Hard shrinkage: x where its magnitude is above lambd, else 0."""
    return select(abs(x) <= lambd, 0, x), select(abs(x) <= lambd, 0, select(x == x, 1, x))


@activation(
    definition="x - min(max(x, -lambd), lambd)", numpy="x - np.clip(x, -lambd, lambd)", numpy_grad="(np.abs(x) > lambd).astype(x.dtype)",
    ulp=(1, 0), kinks=("-lambd", "lambd"), like={"torch": "softshrink", "keras": "soft_shrink"},
    paper="Donoho, De-noising by soft-thresholding, IEEE Transactions on Information Theory 41, 1995",
)
def soft_shrink(x, lambd=0.5):
    """Soft shrinkage: x moved towards 0 by lambd, 0 where it would pass it."""
    return x - minimum(maximum(x, -lambd), lambd), select(abs(x) <= lambd, 0, select(x == x, 1, x))


@from_output(soft_shrink)
def soft_shrink_from_output(y, lambd=0.5):
    return select(abs(y) > 0, 1, abs(y))


@activation(
    definition="x - sign(x) * bias if abs(x) > lambd else 0", numpy="np.where(np.abs(x) > lambd, x - np.copysign(bias, x), 0)",
    numpy_grad="(np.abs(x) > lambd).astype(x.dtype)", ulp=(1, 0), kinks=("-lambd", "lambd"), like={"onnx": "Shrink"},
)
def shrink(x, lambd=0.5, bias=0.0):
    """Shrinkage: x moved towards 0 by bias where its magnitude is above lambd, else 0."""
    return select(abs(x) <= lambd, 0, x - copysign(1, x) * bias), select(abs(x) <= lambd, 0, select(x == x, 1, x))


@activation(
    definition="x if x >= 1 else 0 if x <= -1 else (x + 1)**2 / 4", numpy="np.where(x >= 1, x, (h := 0.5 * np.clip(x + 1, 0, 2)) * h)",
    numpy_grad="h", ulp=(2, 1), kinks=(-1, 1), like={"jax": "sparse_plus", "keras": "sparse_plus"},
    paper="Martins and Astudillo, From softmax to sparsemax, arXiv:1602.02068",
)
def sparse_plus(x):
    """Sparse plus: 0 up to -1, x from 1 on, a parabola between."""
    h = minimum(maximum(0.5 * x + 0.5, 0), 1)
    return select(x >= 1, x, h * h), h


@from_output(sparse_plus)
def sparse_plus_from_output(y):
    return minimum(sqrt(y), 1)


@activation(
    definition="min(max((x + 1) / 2, 0), 1)", numpy="np.clip(0.5 * x + 0.5, 0, 1)", numpy_grad="np.where(np.abs(x) < 1, x.dtype.type(0.5), 0)",
    ulp=(1, 0), kinks=(-1, 1), like={"jax": named("sparse_sigmoid", at_limits=0.25), "keras": "sparse_sigmoid"},
)
def sparse_sigmoid(x, *, at_limits=0.0):
    """Sparse sigmoid: (x + 1) / 2, but never below 0 nor above 1; the derivative of sparse_plus."""
    return minimum(maximum(0.5 * x + 0.5, 0), 1), select(abs(x) == 1, at_limits, 0.5 * within(x, 1))


@at_defaults(sparse_sigmoid)
def sparse_sigmoid_at_defaults(x):
    return minimum(maximum(0.5 * x + 0.5, 0), 1), 0.5 * within(x, 1)


# --- Exponential ---------------------------------------------------------------------------------------------------------


@activation(
    definition="(x + abs(x)) / 2 + alpha * expm1((x - abs(x)) / 2)", numpy="np.where(x > 0, x, (e := alpha * np.expm1(x)))",
    numpy_grad="np.where(x > 0, x.dtype.type(1), e + alpha)", ulp=(3, 4), kinks=(0,),
    paper="Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, arXiv:1511.07289",
    like={"torch": "elu", "jax": "elu", "keras": "elu", "tensorflow": "elu", "onnx": "Elu"},
)
@fission("value", "derivative", float32=0.25)
@fission(float64=0.15)
@fission("both", float32=0.3, level="v3")
def elu(x, alpha=1.0):
    """Exponential linear unit: x where it is positive, else alpha * (exp(x) - 1)."""
    q, n = exp_parts(maximum(minimum(x, 0), -EXP_REACH))
    p = power(n)
    return select(x >= 0, x, alpha * fma(p, q, p - 1)), select(x > 0, 1, alpha * fma(p, q, p))


@from_output(elu, nonnegative=("alpha",))
def elu_from_output(y, alpha=1.0):
    return select(y > 0, 1, y + alpha)


@parameter_gradients(elu)
def elu_parameters(x, alpha=1.0):
    q, n, e = exp_expm1_parts(maximum(minimum(x, 0), -EXP_REACH))
    return e


@activation(
    definition="max(x, 0) + min(0, alpha * expm1(x / alpha))", numpy="np.where(x > 0, x, alpha * (e := np.expm1(x / alpha)))",
    numpy_grad="np.where(x > 0, x.dtype.type(1), e + 1)", ulp=(3, 4), like={"torch": "celu", "jax": "celu", "keras": "celu", "onnx": "Celu"},
    paper="Barron, Continuously differentiable exponential linear units, arXiv:1704.07483",
)
def celu(x, alpha=1.0):
    """Continuously differentiable exponential linear unit: x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    r = 1 / alpha
    m = maximum(minimum(x, 0), -EXP_REACH * abs(alpha))
    u = m * r
    q, n = exp_parts_less(u, -lost(ratio_rest(u, m, alpha)) * r)
    e = whole_expm1(u, q, n)
    return select(x >= 0, x, alpha * e), select(x > 0, 1, whole_exp(u, q, n))


@at_defaults(celu)
@fission("value", "derivative", float32=0.25)
@fission(float64=0.15)
def celu_at_defaults(x):
    return elu(x, 1)


@from_output(celu, nonnegative=("alpha",))
def celu_from_output(y, alpha=1.0):
    return select(y > 0, 1, (y + alpha) / alpha)


@parameter_gradients(celu)
def celu_parameters(x, alpha=1.0):
    u = maximum(minimum(x, 0) / alpha, -EXP_REACH)
    q, n, e = exp_expm1_parts(u)
    h = polynomial(u, EXPM1)
    return select(u > EXPM1_REACH, u * u * (h - fma(u, h, 1)), e - u * (1 + e))


@activation(
    definition="1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * expm1(x))",
    numpy="np.where(x > 0, 1.0507009873554805 * x, (e := 1.7580993408473766 * np.expm1(x)))",
    numpy_grad="np.where(x > 0, x.dtype.type(1.0507009873554805), e + 1.7580993408473766)", ulp=(3, 4), kinks=(0,),
    like={"torch": "selu", "jax": "selu", "keras": "selu", "tensorflow": named("selu", at_zero=float(SELU_SCALE)), "onnx": "Selu"},
    paper="Klambauer, Unterthiner, Mayr and Hochreiter, Self-normalizing neural networks, arXiv:1706.02515",
)
@fission(float32=0.25, float64=0.15)
def selu(x, *, at_zero=SELU_BELOW):
    """Scaled exponential linear unit: 1.0507 * (x where it is positive, else 1.6733 * (exp(x) - 1))."""
    y, dy = elu(x, 1)
    scale_of = select(x >= 0, SELU_SCALE, SELU_BELOW)
    return scale_of * y, select(x == 0, at_zero, scale_of * dy)


@from_output(selu)
def selu_from_output(y, *, at_zero=SELU_BELOW):
    return select(y > 0, SELU_SCALE, select(y == 0, at_zero, (y + SELU_BELOW) + SELU_BELOW_LOW))


@activation(
    definition="exp(x)", numpy="np.exp(x)", numpy_grad="y", ulp=(2, 2), aliases=("exp",),
    like={"torch": "exp", "jax": "exp", "keras": "exponential", "tensorflow": "exp", "onnx": "Exp"},
)
@fission("value", "derivative", float32=0.3)
@fission(float64=0.15)
@fission(float32=0.25, level="v3")
def exponential(x):
    """Exponential function."""
    y = exp_whole(x)
    return y, y


@from_output(exponential)
def exponential_from_output(y):
    return y


@activation(
    definition="expm1(x)", numpy="np.expm1(x)", numpy_grad="y + 1", ulp=(2, 2),
    like={"torch": "expm1", "jax": "expm1", "tensorflow": "expm1", "scipy": "expm1"},
)
@fission("derivative", float32=0.3)
@fission("value", "derivative", float64=0.15)
@fission("value", float32=0.3, float64=0.3, level="v3")
@fission("both", float32=0.5, float64=0.5, level="v3")
def expm1(x):
    """exp(x) - 1, with all digits near 0."""
    return select(x == 0, x, expm1_whole(x)), exp_whole(x)


@activation(
    definition="log1p(x)", numpy="np.log1p(x)", numpy_grad="1 / (1 + x)", ulp=(3, 2), domain=(-1, math.inf),
    like={"torch": "log1p", "jax": "log1p", "tensorflow": "log1p", "scipy": "log1p"},
)
@fission("value", float32=0.3, float64=0.3)
@fission("both", float32=0.4, float64=0.35)
def log1p(x):
    """log(1 + x), with all digits near 0; NaN below -1."""
    return select(x == 0, x, log1p_whole(x)), select(x < -1, NAN, 1 / (1 + x))


# --- Sigmoids ------------------------------------------------------------------------------------------------------------


@activation(
    definition="1 / (1 + exp(-x))", numpy="1 / (1 + np.exp(-x))", numpy_grad="y * (1 - y)", ulp=(3, 4), aliases=("logistic",),
    paper="Verhulst, Recherches mathematiques sur la loi d'accroissement de la population, 1845",
    like={
        "torch": "sigmoid", "jax": "sigmoid", "keras": "sigmoid", "tensorflow": "sigmoid", "onnx": "Sigmoid", "thinc": "sigmoid", "transformers": "sigmoid",
        "scipy": "expit",
    },
)
@fission(float32=0.2)
@fission("both", float64=0.15)
@fission(float32=0.4, float64=0.4, level="v3")
def sigmoid(x):
    """Logistic sigmoid: 1 / (1 + exp(-x)), from 0 to 1."""
    q, n = exp_parts(-minimum(abs(x), EXP_REACH))
    low = biased_exp(q, n) / biased_exp_and_1(q, n)  # the value at -|x|
    return abs(select(x < 0, 0, 1) - low), fma(-low, low, low)


@from_output(sigmoid)
def sigmoid_from_output(y):
    return y * (1 - y)


@activation(
    definition="-log1p(exp(-x))", numpy="-np.logaddexp(-x, 0)", numpy_grad="1 / (1 + np.exp(x))", ulp=(3, 4),
    like={"torch": "logsigmoid", "jax": "log_sigmoid", "keras": "log_sigmoid", "tensorflow": "log_sigmoid", "scipy": "log_expit"},
)
@fission("value", float32=0.55, float64=0.45)
@fission("derivative", "both", float32=0.3)
@fission("both", float64=0.5)
@fission(float32=0.5, float64=0.5, level="v3")
def log_sigmoid(x):
    """Logarithm of the sigmoid: -log(1 + exp(-x))."""
    y, dy = softplus_at_defaults(-x)
    return -y, dy


@from_output(log_sigmoid)
def log_sigmoid_from_output(y):
    q, n, t = exp_expm1_parts(maximum(y, -EXP_REACH))
    return -t


def tanh_parts(x):
    """abs(tanh(x)), and q, n of `exp_parts` for exp(-2 * abs(x))."""
    q, n = exp_parts(-2 * minimum(abs(x), EXP_REACH / 2))
    return biased_minus_expm1(q, n) / biased_exp_and_1(q, n), q, n


def tanh_slope(a, q, n):
    """The derivative of tanh from what `tanh_parts` returns: exp(-2 * abs(x)) * (1 + a)**2, so it takes no division of its own."""
    return biased_exp_times(fma(a, fma(a, UNBIAS, 2 * UNBIAS), UNBIAS), q, n)


def reduced_tanh_slope(q, n):
    """The same for reduced precisions: where the value is not wanted, a division alone is less work."""
    low = biased_exp(q, n) / biased_exp_and_1(q, n)  # half of 1 - abs(tanh x)
    return 4 * fma(-low, low, low)


@activation(
    definition="sinh(x) / cosh(x)", numpy="np.tanh(x)", numpy_grad="1 - y * y", ulp=(3, 4),
    paper="LeCun, Bottou, Orr and Mueller, Efficient backprop, 1998",
    like={"torch": "tanh", "jax": "tanh", "keras": "tanh", "tensorflow": "tanh", "onnx": "Tanh", "transformers": "tanh"},
)
@fission(float32=0.25)
@fission("derivative", "both", float64=0.2)
@fission(float32=0.3, float64=0.3, level="v3")
def tanh(x):
    """Hyperbolic tangent, from -1 to 1."""
    a, q, n = tanh_parts(x)
    return copysign(a, x), tanh_slope(a, q, n)


@in_reduced_precision(tanh, "half")
def tanh_reduced(x):
    a, q, n = tanh_parts(x)
    return copysign(a, x), reduced_tanh_slope(q, n)


@from_output(tanh)
def tanh_from_output(y):
    return (1 - y) * (1 + y)


@activation(
    definition="alpha * tanh(beta * x)", numpy="alpha * (t := np.tanh(beta * x))", numpy_grad="alpha * beta * (1 - t * t)", ulp=(3, 4),
    like={"onnx": "ScaledTanh"}, paper="LeCun, Bottou, Orr and Mueller, Efficient backprop, 1998",
)
@fission("value", float32=0.45, float64=0.4)
@fission("derivative", float64=0.35)
@fission(float32=0.4, float64=0.3)
def scaled_tanh(x, alpha=1.0, beta=1.0):
    """Scaled hyperbolic tangent: alpha * tanh(beta * x)."""
    m = minimum(maximum(x, -LARGEST), LARGEST)  # 0 * inf would be NaN
    u = beta * m
    v = -2 * minimum(abs(u), EXP_REACH / 2)
    q, n = exp_parts_less(v, select(v > -EXP_REACH, 2 * copysign(1, u) * product_rest(beta, m, u), 0))
    a = biased_minus_expm1(q, n) / biased_exp_and_1(q, n)
    return alpha * copysign(a, u), alpha * beta * tanh_slope(a, q, n)


@in_reduced_precision(scaled_tanh, "half")
def scaled_tanh_reduced(x, alpha=1.0, beta=1.0):
    y, dy = tanh_reduced(beta * minimum(maximum(x, -LARGEST), LARGEST))
    return alpha * y, alpha * beta * dy


@activation(
    definition="x - sinh(x) / cosh(x)", numpy="x - (t := np.tanh(x))", numpy_grad="t * t", ulp=(3, 4),
    like={"torch": "tanhshrink", "keras": "tanh_shrink"},
)
@fission("value", "both", float64=0.1)
def tanh_shrink(x):
    """Hyperbolic tangent shrinkage: x - tanh(x)."""
    q, n = exp_parts(-2 * minimum(abs(x), EXP_REACH / 2))
    low = biased_exp(q, n) / biased_exp_and_1(q, n)  # half of 1 - abs(tanh x)
    a = minimum(abs(x), 2)
    square = a * a
    p = polynomial(square, TANH_REST)
    cubic = a * p
    rest = fma(a, THIRD_LOW, product_rest(a, p, cubic))  # what the first coefficient and the product are rounded by; next the square
    near = fma(cubic, square, fma(cubic, product_rest(a, a, square), rest * square))
    t = a - near
    return copysign(select(a < 1.1875, near, fma(2, low, abs(x) - 1)), x), select(a < 1, t * t, fma(-4, fma(-low, low, low), 1))


@activation(
    definition="erf(x)", numpy="scipy.special.erf(x)", numpy_grad="1.1283791670955126 * np.exp(-x * x)", ulp=(3, 4),
    like={"torch": "erf", "jax": "erf", "tensorflow": "erf", "onnx": "Erf", "scipy": "erf"},
)
@fission("derivative", float32=0.4, float64=0.25)
def erf(x):
    """Error function, from -1 to 1."""
    a = minimum(abs(x), ERFC_REACH)
    q, n, e = square_exp_expm1_parts(a)
    s = one_minus_erfcx(a)
    return copysign(fma(e, s - 1, s), x), biased_exp(q, n) * (TWO_OVER_SQRT_PI * UNBIAS)


@in_reduced_precision(erf, "half")
def erf_reduced(x):
    a = abs(x)
    q, n = erf_slope_parts(minimum(a, ERFC_REACH))
    return copysign(reduced_erf(a), x), biased_exp(q, n) * UNBIAS


@activation(
    definition="erfc(x)", numpy="scipy.special.erfc(x)", numpy_grad="-1.1283791670955126 * np.exp(-x * x)", ulp=(3, 4),
    like={"torch": "erfc", "jax": "erfc", "tensorflow": "erfc", "scipy": "erfc"},
)
@fission("derivative", float32=0.4, float64=0.25)
@fission("both", float64=0.7)
def erfc(x):
    """Complementary error function, 1 - erf(x), with all digits of its tail."""
    a = minimum(abs(x), ERFC_REACH)
    q, n = erf_slope_parts(a)
    high, low = erfc_parts(a)
    tail = scale(0.5 * times_exp(q, high, low), n)
    return select(x < 0, 2 - tail, tail), biased_exp(q, n) * -UNBIAS


@activation(
    definition="erfc(-x / sqrt(2)) / 2", numpy="scipy.special.ndtr(x)", numpy_grad="0.3989422804014327 * np.exp(-0.5 * x * x)", ulp=(3, 4),
    like={"torch": "ndtr", "jax": "norm.cdf", "scipy": "ndtr"}, aliases=("normal_cdf",),
)
@fission("derivative", float32=0.4, float64=0.25)
def ndtr(x):
    """Distribution function of the normal distribution, from 0 to 1."""
    a = minimum(abs(x), GAUSS_REACH)
    q, n = gauss_parts(a)
    m, _low = mills_far_parts(a)
    tail = biased_exp_times(m, q, n)
    far = select(x < 0, tail * UNBIAS, fma(tail, -UNBIAS, 1))
    return select(a < NEAR, fma(x, fma(x * x, phi_near_rest(x), PHI0), 0.5), far), biased_exp(q, n) * (PHI0 * UNBIAS)


@in_reduced_precision(ndtr, "half")
def ndtr_reduced(x):
    a = minimum(abs(x), GAUSS_REACH)
    q, n = gauss_parts(a)
    m, _v = reduced_mills_parts(a)
    tail = biased_exp_times(m, q, n)
    return select(x < 0, tail * UNBIAS, fma(tail, -UNBIAS, 1)), biased_exp(q, n) * (PHI0 * UNBIAS)


@activation(
    definition="log1p(-erfc(x / sqrt(2)) / 2) if x > 0 else log(erfc(-x / sqrt(2)) / 2) if x > -1e9 else -x * x / 2 - log(-x * sqrt(2 * pi))",
    numpy="scipy.special.log_ndtr(x)", numpy_grad="0.3989422804014327 * np.exp(-0.5 * x * x - y)", ulp=(3, 4),
    like={"torch": "log_ndtr", "jax": "log_ndtr", "scipy": "log_ndtr"},
)
@fission("derivative", float32=0.3, float64=0.4)
@fission(float32=0.7, float64=0.7)
def log_ndtr(x):
    """Logarithm of the distribution function of the normal distribution."""
    a = abs(x)
    b = minimum(a, GAUSS_REACH)
    q, n = gauss_parts(b)
    m, m_low = mills_parts(b)
    half = fma(q, m, m)  # Phi(-a) less the power of two; what it is rounded by counts where Phi(a) is small too
    tail = scale(half, n)
    tail_low = scale(fma(q, m, m - half) + fma(q, m_low, m_low), n)
    far = hazard(a)
    ratio = select(a < HAZARD_REACH, m, PHI0 / far)
    # What the roundings do to the logarithm: times nearly 1 / (1 - tail), or nearly 1 / m.
    low = select(x > 0, -tail_low * fma(tail, fma(2, tail, 1), 1), m_low * fma(2, b, 2))
    y = log1p_or_log(x, -tail, ratio, low)
    slope = select(x > 0, scale(fma(q, PHI0, PHI0), n), PHI0) / select(x > 0, (1 - tail) - tail_low, m)
    return select(x > 0, y, fma(-0.5 * a, a, y)), select((x > 0) | (a < HAZARD_REACH), slope, far)


@activation(
    definition="erfc((mu - x) / (sigma * sqrt(2))) / 2", numpy="0.5 * (1 + scipy.special.erf((u := (x - mu) / sigma) / 2**0.5))",
    numpy_grad="0.3989422804014327 / sigma * np.exp(-0.5 * u * u)", ulp=(3, 4), like={"transformers": "laplace"},
    paper="Ma et al., Mega: moving average equipped gated attention, arXiv:2209.10655",
)
@fission("value", float32=0.7)
@fission("derivative", float32=0.85)
@fission(float32=0.6, float64=0.5)
def laplace(x, mu=0.707107, sigma=0.282095):
    """Distribution function of a normal distribution with mean mu and deviation sigma: (1 + erf((x - mu) / (sigma * sqrt(2)))) / 2."""
    d = x - mu
    back = d - x
    r = 1 / sigma
    u = d * r
    low = (ratio_rest(u, d, sigma) + ((x - (d - back)) - (mu + back))) * r
    a = minimum(abs(u), GAUSS_REACH)
    rest = select(a < GAUSS_REACH, copysign(1, u) * low, 0)
    q, n = gauss_parts(a)
    m, m_low = mills_far_parts(a)
    tail = scale(times_exp(q, m, fma(rest, -PHI0, m_low)), n)
    far = select(u < 0, tail, 1 - tail)
    near = 0.5 + fma(u, fma(u * u, phi_near_rest(u), PHI0), PHI0 * low)
    slope = r * PHI0
    return select(a < NEAR, near, far), biased_exp_times(fma(slope, -a * rest, slope), q, n) * UNBIAS


@activation(
    definition="x / (1 + abs(x))", numpy="x / (d := 1 + np.abs(x))", numpy_grad="1 / (d * d)", ulp=(2, 4),
    paper="Turian, Bergstra and Bengio, Quadratic features and deep architectures for chunking, NAACL 2009",
    like={"torch": "softsign", "jax": "soft_sign", "keras": "softsign", "tensorflow": "softsign", "onnx": "Softsign"},
)
def softsign(x):
    """Softsign: x / (1 + |x|), from -1 to 1, with slow tails."""
    a = minimum(abs(x), SQUARE_FAR)
    d = 1 + a
    r = 1 / d
    y = a * r
    return copysign(fma(r, fma(-y, d, a), y), x), r * r  # to the digits of a / d, but one division serves both


@in_reduced_precision(softsign, "half", "single")
def softsign_reduced(x):
    a = minimum(abs(x), SQUARE_FAR)
    r = 1 / (1 + a)
    return copysign(a * r, x), r * r


@from_output(softsign)
def softsign_from_output(y):
    return (1 - abs(y)) * (1 - abs(y))


# --- Smooth rectifiers ---------------------------------------------------------------------------------------------------


def log1p_exp(v, low):
    """log1p(z), z and 1 + z for z = exp(-(v + low)); 0 <= v <= EXP_REACH."""
    q, n = exp_parts_less(-v, low)
    p = power(n)
    z = fma(p, q, p)
    return tail_log1p(z), z, fma(p, q, p + 1)


@activation(
    definition="log1p(exp(-abs(beta * x))) / beta + (beta * x + abs(beta * x)) / (2 * beta)", numpy="np.logaddexp(beta * x, 0) / beta",
    numpy_grad="1 / (1 + np.exp(-beta * x))", ulp=(3, 4), also={"threshold": (20.0, None)},
    like={"torch": "softplus", "jax": "softplus", "keras": "softplus", "tensorflow": "softplus", "onnx": "Softplus", "scipy": "softplus"},
    paper="Dugas, Bengio, Belisle, Nadeau and Garcia, Incorporating second-order functional knowledge, NIPS 2000",
)
@fission(float32=0.25)
@fission("value", float64=0.6)
@fission("both", float64=0.5)
@fission(float32=0.5, float64=0.5, level="v3")
def softplus(x, beta=1.0):
    """Smooth rectifier: log(1 + exp(beta * x)) / beta."""
    u = beta * x
    v = minimum(abs(u), EXP_REACH)
    y, z, d = log1p_exp(v, select(v < EXP_REACH, copysign(1, u) * product_rest(beta, x, u), 0))
    return select(u > 0, x, 0) + y / beta, select(u < 0, z, 1) / d


@at_defaults(softplus)
@fission_of(softplus)
def softplus_at_defaults(x):
    y, z, d = log1p_exp(minimum(abs(x), EXP_REACH), 0)
    return maximum(x, 0) + y, select(x < 0, z, 1) / d


@from_output(softplus, nonnegative=("beta",))
def softplus_from_output(y, beta=1.0):
    q, n, t = exp_expm1_parts(-minimum(beta * y, EXP_REACH))
    return -t


@parameter_gradients(softplus)
def softplus_parameters(x, beta=1.0):
    u = beta * x
    v = minimum(abs(u), EXP_REACH)
    y, z, d = log1p_exp(v, select(v < EXP_REACH, copysign(1, u) * product_rest(beta, x, u), 0))
    return -fma(v, z / d, y) / beta / beta


@activation(
    definition="(x + sqrt(x * x + b)) / 2", numpy="0.5 * (x + (s := np.sqrt(x * x + b)))", numpy_grad="0.5 * (1 + x / s)", ulp=(3, 4),
    like={"jax": "squareplus", "keras": "squareplus"}, paper="Barron, Squareplus: a softplus-like algebraic rectifier, arXiv:2112.11687",
)
def squareplus(x, b=4.0):
    """Squareplus: (x + sqrt(x**2 + b)) / 2."""
    a = minimum(abs(x), LARGEST)
    m = minimum(a, SQUARE_REACH)
    square = fma(m, m, b)
    least = select(b < 0, 0, a)  # the square of a small number may be 0
    s = select(a > SQUARE_REACH, a, maximum(sqrt(square), least))
    half = fma(0.5, s, 0.5 * a)
    over = select(a > SQUARE_REACH, 0.25 * b / a, 0.5 * b)
    under = select(a > SQUARE_REACH, a, fma(m, s, square))
    left = 0.25 * b / maximum(half + (abs(x) - a), SMALLEST_SUBNORMAL)
    return select(x < 0, left, fma(0.5, s, 0.5 * x)), select(x < 0, over, half) / maximum(select(x < 0, under, s), SMALLEST_SUBNORMAL)  # b = 0: relu


@at_defaults(squareplus)
def squareplus_at_defaults(x):
    a = minimum(abs(x), LARGEST)
    m = minimum(a, SQUARE_REACH)
    square = fma(m, m, 4)
    s = select(a > SQUARE_REACH, a, sqrt(square))
    half = fma(0.5, s, 0.5 * a)
    far = minimum(a, SQUARE_FAR) * SQUARE_DOWN
    over = select(a > SQUARE_REACH, SQUARE_DOWN * SQUARE_DOWN, 2)
    under = select(a > SQUARE_REACH, far * far, fma(m, s, square))
    return select(x < 0, 1 / (half + (abs(x) - a)), fma(0.5, s, 0.5 * x)), select(x < 0, over, half) / select(x < 0, under, s)


@in_reduced_precision(squareplus, "single")
def squareplus_reduced(x, b=4.0):
    a = minimum(abs(x), SQUARE_REACH)
    square = fma(a, a, select(b == 0, 1e-150, b))  # below all squares of float32
    r = reduced_rsqrt(square)
    twice = fma(square, r, a)
    left = 0.5 * b * reduced_reciprocal(twice)
    return select(x < 0, left, 0.5 * twice), select(x <= 0, left * r, 1 - left * r)


@from_output(squareplus)
def squareplus_from_output(y, b=4.0):
    m = minimum(y, LARGEST)
    return m / (m + 0.25 * b / m)


@activation(
    definition="sqrt(log1p(exp(x)))", numpy="np.sqrt(s := np.logaddexp(x, 0))", numpy_grad="0.5 / (1 + np.exp(-x)) / y", ulp=(3, 4),
    like={"transformers": "sqrtsoftplus"},
)
@fission("both", float32=0.6)
@fission(float32=0.25, float64=0.25, level="v3")
def sqrtsoftplus(x):
    """Square root of softplus: sqrt(log(1 + exp(x)))."""
    h = exp(-0.5 * minimum(abs(x), 2 * EXP_REACH))
    root = maximum(h, ROOT_ABOVE_0)
    z = root * root
    v = z / (2 + z)
    w = v * v
    g = sqrt(fma(w, polynomial(w, LOG1P), 2) / (2 + z))  # sqrt(log1p(z) / z)
    y = sqrt(x + small_log1p(z))
    s = select(x < 0, g, y)
    return select(x < 0, h * g, y), 0.5 * select(x < 0, h, 1) / fma(minimum(s, LARGEST), z, s)  # 0 * inf would be NaN


@in_reduced_precision(sqrtsoftplus, "single")
def sqrtsoftplus_reduced(x):
    y, z, d = log1p_exp(minimum(abs(x), 2 * EXP_REACH), 0)
    s = sqrt(maximum(x, 0) + y)
    return s, 0.5 * select(x < 0, z, 1) / (d * s)


# --- x times a sigmoid ---------------------------------------------------------------------------------------------------


def silu_slope(v, low, s):
    """The derivative of silu at -(v + low), with the bias of s, its `biased_sigmoid`."""
    u = s * SIGMOID_UNBIAS
    rest = select(v < SIGMOID_REACH, low, 0) * s  # where all is 0, as -0
    return fma(s, fma(v, u, 1 - v), rest * (u - 1))


def gated(x, w, left):
    """x * sigmoid(u), u of x's sign, and its derivative, from -w and `left`, what they are at -abs(x), both with the bias of `biased_sigmoid`."""
    return fma(w, -SIGMOID_UNBIAS, maximum(x, -0.0)), select(x < 0, left * SIGMOID_UNBIAS, fma(left, -SIGMOID_UNBIAS, 1))


@activation(
    definition="x / (1 + exp(-beta * x))", numpy="x / (d := 1 + np.exp(-beta * x))", numpy_grad="(1 + beta * x * (1 - 1 / d)) / d", ulp=(3, 4),
    derivative_zero=("-1.278464543 / beta", 0.278),
    paper="Elfwing, Uchibe and Doya, Sigmoid-weighted linear units for neural network function approximation, arXiv:1702.03118",
    like={
        "torch": "silu", "jax": ["silu", "swish"], "keras": ["silu", "swish"], "tensorflow": ["silu", "swish"], "onnx": "Swish", "thinc": "swish", "transformers": ["silu", "swish"],
    },
)
def silu(x, beta=1.0):
    """Sigmoid linear unit, swish: x * sigmoid(beta * x)."""
    m = minimum(maximum(x, -LARGEST), LARGEST)  # 0 * inf would be NaN
    u = beta * m
    v = minimum(abs(u), EXP_REACH)
    low = select(v < EXP_REACH, copysign(1, u) * product_rest(beta, m, u), 0)
    s = biased_sigmoid(v, low)
    a = abs(m)
    far = a > LARGEST * SIGMOID_UNBIAS  # then its bias would make it infinite
    w = a * select(far, SIGMOID_UNBIAS, 1) * s * select(far, 1, SIGMOID_UNBIAS)
    left = silu_slope(v, low, s)
    return copysign(select(u < 0, w, abs(x) - w), x), select(u < 0, left * SIGMOID_UNBIAS, fma(left, -SIGMOID_UNBIAS, 1))


@at_defaults(silu)
@fission(float32=0.3)
@fission("derivative", "both", float64=0.15)
@fission(float32=0.3, float64=0.3, level="v3")
def silu_at_defaults(x):
    a = minimum(abs(x), EXP_REACH)
    s = biased_sigmoid(a, 0)
    return gated(x, a * s, s * fma(a, s * SIGMOID_UNBIAS, 1 - a))


@in_reduced_precision(silu, "single")
def silu_reduced(x, beta=1.0):
    m = minimum(maximum(x, -1e41), 1e41)  # what float32 has not: times exp(-EXP_REACH) it is 0 there
    u = minimum(maximum(beta * m, -EXP_REACH), EXP_REACH)
    r, n = reduced(-u)
    p = power(n)
    s = 1 / fma(p, fma(r * r, polynomial(r, ALL_EXPM1), r), p + 1)
    return m * s, s * fma(u, 1 - s, 1)


@parameter_gradients(silu)
def silu_parameters(x, beta=1.0):
    m = minimum(maximum(x, -LARGEST), LARGEST)
    u = beta * m
    v = minimum(abs(u), EXP_REACH)
    q, n = exp_parts_less(-v, select(v < EXP_REACH, copysign(1, u) * product_rest(beta, m, u), 0))
    w = 1 + q
    c = x / (1 + w * power(n))
    return select(v == EXP_REACH, 0, scale(c * c * w, n))


@activation(
    definition="x / (1 + exp(-1.702 * x))", numpy="x / (d := 1 + np.exp(-1.702 * x))", numpy_grad="(1 + 1.702 * x * (1 - 1 / d)) / d",
    ulp=(3, 4), derivative_zero=(-0.751155, 0.278), like={"transformers": "quick_gelu"}, aliases=("approximate_gelu",),
    paper="Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415",
)
@fission("value", float64=0.3)
@fission(float32=0.3, float64=0.2)
@fission(float64=0.4, level="v3")
def quick_gelu(x):
    """Approximation of gelu by a sigmoid: x * sigmoid(1.702 * x)."""
    a = minimum(abs(x), EXP_REACH / QUICK)
    v = QUICK * a
    low = fma(QUICK_LOW, a, product_rest(QUICK, a, v))
    s = biased_sigmoid(v, low)
    return gated(x, a * s, silu_slope(v, low, s))


@in_reduced_precision(quick_gelu, "single")
def quick_gelu_reduced(x):
    return silu_reduced(x, QUICK)


@activation(
    definition="x / (1 + exp(-2 * sqrt(2 / pi) * (x + 0.044715 * x**3)))",
    numpy="0.5 * x * (1 + (t := np.tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x))))",
    numpy_grad="0.5 * (1 + t) + 0.3989422804014327 * x * (1 - t * t) * (1 + 0.134145 * x * x)", ulp=(3, 4),
    derivative_zero=(-0.752461, 0.5), aliases=("fast_gelu",),
    like={
        "torch": 'gelu(approximate="tanh")', "jax": "gelu", "keras": "gelu(approximate=True)", "tensorflow": "gelu(approximate=True)",
        "onnx": 'Gelu(approximate="tanh")', "thinc": "gelu_approx", "transformers": ["gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_python_tanh", "gelu_accurate"],
    },
    paper="Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415",
)
@fission("value", float32=0.5, float64=0.45)
@fission(float32=0.5, float64=0.4)
def gelu_tanh(x):
    """Approximation of gelu by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2."""
    a = minimum(abs(x), TANH_REACH)
    square = a * a
    cubic = GELU_CUBIC * square
    rest = fma(GELU_CUBIC, product_rest(a, a, square), fma(GELU_CUBIC_LOW, square, product_rest(GELU_CUBIC, square, cubic)))
    # GELU_LINEAR has so few digits that its differences are exact.
    k = GELU_LINEAR + cubic
    k_low = (cubic + (GELU_LINEAR - k)) + (GELU_LINEAR_LOW + rest)
    slope = fma(3, cubic, GELU_LINEAR)
    slope_low = fma(3, cubic, GELU_LINEAR - slope) + fma(3, rest, GELU_LINEAR_LOW)
    v = a * k
    s = biased_sigmoid(v, fma(a, k_low, product_rest(a, k, v)))
    right = fma(a, s * SIGMOID_UNBIAS, -a)
    left_low = select(v < SIGMOID_REACH, slope_low, 0) * (s * right)  # where all is 0, as -0
    return gated(x, a * s, fma(s, fma(slope, right, 1), left_low))


@activation(
    definition="x * erfc(-x / sqrt(2)) / 2", numpy="x * (p := 0.5 * (1 + scipy.special.erf(x / 2**0.5)))",
    numpy_grad="p + x * np.exp(-0.5 * x * x) * 0.3989422804014327", ulp=(3, 4),
    derivative_zero=(-0.751791525, 0.5), paper="Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415",
    like={
        "torch": "gelu", "jax": "gelu(approximate=False)", "keras": "gelu", "tensorflow": "gelu", "onnx": "Gelu", "thinc": "gelu", "transformers": ["gelu", "gelu_python"],
    },
    also={"approximate": ("none", {"none": "gelu", "tanh": "gelu_tanh", False: "gelu", True: "gelu_tanh"})},
)
def gelu(x):
    """Gaussian error linear unit: x * Phi(x), with Phi the distribution function of the normal distribution."""
    a = minimum(abs(x), GAUSS_REACH)
    q, n = gauss_parts(a)
    d, ad, below, below_low = mills_ratio(a)
    left = biased_exp_times(quotient_less_product(d, below, below_low, a, PHI0), q, n)
    slope = select(x < 0, left * UNBIAS, fma(left, -UNBIAS, 1))
    return fma(biased_exp_times(ad / below, q, n), -UNBIAS, maximum(x, -0.0)), slope


@in_reduced_precision(gelu, "half", "single")
def gelu_reduced(x):
    left, slope = reduced_gelu_parts(minimum(abs(x), GAUSS_REACH))
    return select(x < 0, left, x + left), select(x < 0, slope, 1 - slope)


@activation(
    definition="min(x * erfc(-x / sqrt(2)) / 2, 10)", numpy="np.clip(x * (p := 0.5 * (1 + scipy.special.erf(x / 2**0.5))), -10, 10)",
    numpy_grad="np.where(y < 10, p + x * np.exp(-0.5 * x * x) * 0.3989422804014327, 0)", ulp=(3, 4),
    kinks=(10,), derivative_zero=(-0.751791525, 0.5), aliases=("clipped_gelu",), like={"transformers": "gelu_10"},
    paper="Wu, Judd, Zhang, Isaev and Micikevicius, Integer quantization for deep learning inference, arXiv:2004.09602",
)
def gelu_10(x):
    """gelu that ends at 10."""
    y, dy = gelu(x)
    return minimum(y, 10), select(x > 10, 0, dy)


@in_reduced_precision(gelu_10, "half", "single")
def gelu_10_reduced(x):
    y, dy = gelu_reduced(x)
    return minimum(y, 10), select(x > 10, 0, dy)


@activation(
    definition="x * tanh(log1p(exp(x)))",
    numpy="x * (t := np.tanh(np.logaddexp(x, 0)))", numpy_grad="t + x * (1 - t * t) / (1 + np.exp(-x))", ulp=(3, 4),
    derivative_zero=(-1.192431215, 0.30), like={"torch": "mish", "jax": "mish", "keras": "mish", "onnx": "Mish", "thinc": "mish", "transformers": "mish"},
    paper="Misra, Mish: a self regularized non-monotonic activation function, arXiv:1908.08681",
)
@fission("derivative", float64=0.3)
@fission(float32=0.2, float64=0.2)
def mish(x):
    """Mish: x * tanh(softplus(x))."""
    a = minimum(abs(x), EXP_REACH)
    q, n = exp_parts(-a)
    m = 1 + q
    z = maximum(m * power(n), MISH_ABOVE_0)  # below that it adds nothing, and products would underflow
    # x < 0: m * (z + 2) over d = z * (z + 2) + 2; else 1 less 2 * z * z over d = z * (2 * z + 2) + 1. What roundings lose is kept
    # where it counts: `rest` of d, `top_low` and `low` of what d and its square divide.
    s = select(x < 0, z, z + z)
    u = s + 2
    u_low = s - (u - 2)
    v = select(x < 0, 2, 1)
    d = fma(z, u, v)
    rest = fma(z, u_low, fma(z, u, v - d))
    r = 1 / d
    top = select(x < 0, m, z) * select(x < 0, u, s)
    top_low = select(x < 0, fma(m, u_low, product_rest(m, u, top)), 0)
    part = top * r
    ratio = fma(r, fma(-d, part, top) + fma(-part, rest, top_low), part)
    inner = fma(z, fma(z, 0.25 * z + 1, 1.5 - a), 1 - a)
    four = 4 * m
    left = four * inner
    right = fma(z * z, fma(4 * z, a + 1, fma(4, a, 6)), fma(4, z, 1))
    over = select(x < 0, left, right)
    low = select(x < 0, product_rest(four, inner, left), 0)
    square = d * d
    rr = r * r
    near = over * rr
    slope = fma(rr, fma(-square, near, over) + fma(-near, fma(rest + rest, d, product_rest(d, d, square)), low), near)
    return select(x < 0, scale(select(x < 0, ratio, 1) * -a, n), fma(-a, ratio, x)), select(x < 0, scale(slope, n), slope)


@activation(
    definition="x * (1 + x / sqrt(1 + x * x)) / 2", numpy="0.5 * x * (1 + x / (s := np.sqrt(1 + x * x)))",
    numpy_grad="0.5 * (1 + x / s * (1 + 1 / (s * s)))", ulp=(3, 4), derivative_zero=(-0.786151, 0.5), like={"thinc": "dish"},
)
def dish(x):
    """Dish: x * (1 + x / sqrt(1 + x**2)) / 2, a swish without exp."""
    a = abs(x)
    m = minimum(a, SQUARE_REACH)
    square = fma(m, m, 1)
    s = sqrt(square)
    far = a > SQUARE_REACH
    near = a < 0.625
    # With k = a / s: near 0 it is q, further out q is h = 1 - k, which is one over s * (s + a), and far out 1 / a, half of whose square h is there.
    q = select(near, a, 1) / select(near, s, select(far, a, fma(m, s, square)))
    half = 0.5 * a
    y = fma(select(near, half, select(far, -0.25, -half)), q, select(near, 0.5 * x, maximum(x, 0)))
    left = select(near, fma(0.5 * q, fma(q, q, -2), 0.5), 0.5 * q * fma(q, 3 - q, -1) * select(far, 0.5 * q, 1))  # the derivative at -a
    return copysign(y, x), select(x < 0, left, 1 - left)


@in_reduced_precision(dish, "single")
def dish_reduced(x):
    a = minimum(abs(x), FAR)
    square = fma(a, a, 1)
    r = reduced_rsqrt(square)
    s = square * r
    h = reduced_reciprocal(fma(a, s, square))  # 1 - a / sqrt(square)
    left = -0.5 * a * h
    root = fma(fma(-s, s, square), 0.5 * r, s)  # near its zero the derivative takes all the digits there are
    g = fma(h, fma(-fma(a, root, square), h, 1), h)
    slope = -0.5 * g * fma(g, g - 3, 1)
    return select(x < 0, left, x + left), select(x < 0, slope, 1 - slope)


def parted_xielu(x, right, alpha_p, alpha_n, beta, c, a, rest):
    """xielu and its derivative; right: x, but finite where that is positive; c * a + rest: (beta - alpha_n) * x."""
    r, n = reduced(maximum(minimum(x, 0), -EXP_REACH))
    square = r * r
    h = polynomial(r, ALL_EXPM1)
    p = power(n)
    far = p != 1  # near 0, exp(x) - 1 - x is square * h: without what cancels
    left = fma(alpha_n, p - 1, fma(select(far, c, beta), a, select(far, rest, 0)))
    value = fma(alpha_n * p, fma(square, h, select(far, r, 0)), left)
    slope = fma(alpha_n * p, fma(square, h, r), fma(alpha_n, p - 1, beta))
    return select(x >= 0, x * fma(alpha_p, right, beta), value), select(x >= 0, fma(2 * alpha_p, right, beta), slope)


@activation(
    definition="alpha_p * x * x + beta * x if x > 0 else alpha_n * (expm1(x) - x) + beta * x",
    numpy="np.where(x > 0, alpha_p * x * x, alpha_n * ((e := np.expm1(np.minimum(x, 0))) - x)) + beta * x",
    numpy_grad="np.where(x > 0, 2 * alpha_p * x, alpha_n * e) + beta", ulp=(3, 4), like={"transformers": "xielu"},
    value_zero=(-2.432484, "2.4 * alpha_n"), derivative_zero=("log((alpha_n - beta) / alpha_n)", "beta"),
    paper="Huang and Schlag, Deriving activation functions using integration, arXiv:2411.13010",
)
def xielu(x, alpha_p=0.8, alpha_n=0.8, beta=0.5):
    """Expanded integral of the exponential linear unit: a parabola where x is positive, else alpha_n * (exp(x) - 1 - x) + beta * x."""
    c = beta - alpha_n
    c_low = (beta - (c + alpha_n)) + ((c + alpha_n) - c - alpha_n)
    a = maximum(x, select(c == 0, -LARGEST, -INFINITY))  # 0 * -inf would be NaN
    return parted_xielu(x, minimum(x, LARGEST), alpha_p, alpha_n, beta, c, a, c_low * maximum(x, -LARGEST))


@at_defaults(xielu)
@fission("both", float32=0.15)
@fission(float32=0.2, float64=0.15)
def xielu_at_defaults(x):
    return parted_xielu(x, x, 0.8, 0.8, 0.5, 0.5 - 0.8, x, 0)


in_reduced_precision(xielu, "single")(xielu)  # ALL_EXPM1: near its zeros too


@parameter_gradients(xielu)
def xielu_parameters(x, alpha_p=0.8, alpha_n=0.8, beta=0.5):
    left = minimum(x, 0)
    right = maximum(x, 0)
    q, n, e = exp_expm1_parts(maximum(left, -EXP_REACH))
    return right * right, select(left > EXPM1_REACH, left * left * polynomial(left, EXPM1), e - left), x


@activation(
    definition="x + sin(alpha * x)**2 / alpha", numpy="x + (s := np.sin(alpha * x)) * s / alpha", numpy_grad="1 + np.sin(2 * alpha * x)",
    ulp=(3, 4), derivative_zero=(None, 1), reach=SINE_REACH, aliases=("snake_beta",),
    paper="Ziyin, Hartwig and Ueda, Neural networks fail to learn periodic functions and how to fix it, arXiv:2006.08195",
)
@fission(float32=0.2, float64=0.2)
def snake(x, alpha=1.0):
    """Snake: x + sin(alpha * x)**2 / alpha; its mean where abs(alpha * x) is 2**22 or more (float64: 2**51), too far for a sine to mean anything."""
    u = alpha * x
    s, v, odd = sine_parts(u, product_rest(alpha, x, u))
    less = v + select(odd == 1, s, -s)
    both = 1 - less
    r = 1 / alpha
    wave = fma(select(odd == 1, -s, s), s * r, x + select(odd == 1, r, 0))  # the square of the sine, or 1 less that of the cosine
    slope = fma(-less, both, both)  # 1 + sin(2 u), the square of 1 - less, which is rounded in one of the two
    return select(abs(u) < SINE_REACH, select(x == 0, x, wave), x + 0.5 * r), select(abs(u) < SINE_REACH, slope, select(x == x, 1, x))


@in_reduced_precision(snake, "half", "single")
def snake_reduced(x, alpha=1.0):
    u = alpha * x
    low = fma(alpha, x, -u)
    n = fma(u, 1 / PI, ROUNDING_MAGIC) - ROUNDING_MAGIC
    # 1 + sin(2 u) is 2 sin(u + pi / 4)**2.
    m = (fma(u, 1 / PI, 0.25) + ROUNDING_MAGIC) - ROUNDING_MAGIC - 0.25
    wave = fma(sine_square(fma(-n, PI, u)), 1 / alpha, x)
    slope = 2 * sine_square(fma(-m, PI, u) + fma(-m, PI_LOW, low))
    return select(abs(u) < SINE_REACH, select(x == 0, x, wave), x + 0.5 / alpha), select(abs(u) < SINE_REACH, slope, select(x == x, 1, x))


@parameter_gradients(snake)
def snake_parameters(x, alpha=1.0):
    u = alpha * x
    s, v, odd = sine_parts(u, product_rest(alpha, x, u))
    c = 1 - v
    r = 1 / alpha
    wave = 2 * select(odd == 1, -s, s) * c * x - select(odd == 1, c * c, s * s) * r
    return r * select(abs(u) < SINE_REACH, wave, select(x == x, -0.5 * r, x))


@activation(
    definition="log(x / (1 - x))", numpy="np.log(x / (1 - x))", numpy_grad="1 / (x * (1 - x))", ulp=(3, 3), domain=(0, 1),
    like={"torch": "logit", "jax": "logit", "scipy": "logit"},
)
@fission("both", float64=0.35)
@fission("value", "both", float32=0.4, float64=0.4, level="v3")
def logit(x):
    """Inverse of the sigmoid, log(x / (1 - x)); NaN outside of 0 to 1."""
    v = fma(2, x, -1)
    other = 1 - x
    p = x * other
    t = minimum(x, other)
    u = maximum(x, other)
    y = log_quotient(select(t < LOGIT_SMALL, LOGIT_SCALE, 1) * t, u, v) - select(t < LOGIT_SMALL, LOGIT_SHIFT, 0)
    return select(t < 0, NAN, copysign(select(t == 0, INFINITY, y), v)), select(p < 0, NAN, 1 / p)
