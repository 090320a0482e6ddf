"""The formula language: the small part of Python in which every activation is written.

A formula or primitive is a pure scalar function: a docstring, assignments, one ``return``.
Expressions are arithmetic, comparisons (joined by ``&`` and ``|``), and calls of *intrinsics* (below), primitives and other
formulas. There is no branch and no loop, so a compiler can turn a loop over it into SIMD code.

Run as it stands, a formula computes in float64 on NumPy arrays; `translate.py` reads it and writes it for the backends.
"""

import numpy as np

PRECISIONS = ("float32", "float64")
# What else kernels are made for: results that have fewer digits than the type they are computed in. "half" is float32 arithmetic for results
# in half precision, "single" float64 arithmetic for float32 ones: shorter polynomials do, and what a rounding lost is not missed.
REDUCED = {"half": "float32", "single": "float64"}


def type_of(precision):
    """The type that a precision is computed in."""
    return REDUCED.get(precision, precision)


# --- What a formula may say about itself ---------------------------------------------------------------------------------


def activation(
    *, definition, numpy, numpy_grad="", ulp, kinks=(), aliases=(), paper="", like=None, also=None,
    value_zero=None, derivative_zero=None, domain=None, reach=None,
):  # fmt: skip
    """Mark a formula as a catalog entry.

    Parameters
    ----------
    definition : str
        The mathematics, in mpmath's names (``exp``, ``erfc``, ``sign`` ...): what tests and docs hold the formula against.
        Another form than the formula's own.
    numpy : str
        The way it is usually written in NumPy: what benchmarks compare with.
    numpy_grad : str
        The same for the derivative; it may use the value, ``y``, and whatever `numpy` names by ``:=``.
    ulp : tuple of float
        The promised largest error of value and derivative, in ULP, wherever the result is normal.
    kinks : tuple of float or str
        Where the derivative jumps (a convention holds there); as text where that depends on parameters: ``"-lambd"``.
    aliases : tuple of str
        Other names by which `fastact.get` finds it, beside those that libraries have for it.
    paper : str
        Where it comes from.
    like : dict
        By library, the name that it has there, or a list of them; by `named` where the library has other defaults or another
        convention at a kink.
    also : dict
        Arguments that other libraries have, by name: the default, and by each value that may be given the name of the activation that
        it stands for. None in place of such a table: any number may be given, and it does nothing.
    value_zero, derivative_zero : tuple of float or str, optional
        ``(x0, term)``: there is a zero at ``x0`` where terms of about this size cancel. Near it the error counts in ULP of that term.
        Text as for `kinks`; None for x0: there are zeros everywhere.
    domain : tuple of float, optional
        Outside of it, value and derivative are NaN.
    reach : constant, optional
        From there on neighbouring numbers are too far apart for the derivative to say anything.
    """

    def mark(formula):
        formula.entry = {
            "definition": definition,
            "numpy": numpy,
            "numpy_grad": numpy_grad,
            "ulp": tuple(ulp),
            "kinks": tuple(kinks),
            "aliases": tuple(aliases),
            "paper": paper,
            "like": {
                k: [named(v) if isinstance(v, str) else v for v in (v if isinstance(v, list) else [v])] for k, v in (like or {}).items()
            },
            "also": also or {},
            "value_zero": value_zero,
            "derivative_zero": derivative_zero,
            "domain": domain,
            "reach": reach,
        }
        return formula

    return mark


def named(name, **defaults):
    """The name that an activation has in a library, and what the defaults and conventions are there where they are others."""
    return name, defaults


def at_defaults(formula):
    """Mark a second formula, of ``x`` alone: what `formula` is while all parameters have their defaults, to the bit, but faster."""

    def mark(function):
        formula.at_defaults = function
        return function

    return mark


def in_reduced_precision(formula, *precisions):
    """Mark a second formula, of the same arguments, for reduced precisions alone: they have digits to spare, and it may lose some.

    `formula` itself, where it is good near its zeros in them too.
    """

    def mark(function):
        formula.reduced = dict.fromkeys(precisions, function)
        return function

    return mark


def from_output(formula, *, nonnegative=()):
    """Mark a second formula: the derivative of `formula` as a function of its output.

    `nonnegative` names the parameters for which it holds only while they are not negative.
    """

    def mark(function):
        formula.from_output = function
        function.nonnegative = tuple(nonnegative)
        return function

    return mark


def parameter_gradients(formula):
    """Mark a third formula: the derivatives of `formula` by its parameters (not by conventions), in their order."""

    def mark(function):
        formula.parameter_gradients = function
        return function

    return mark


COMPUTED = {(0,): "value", (1,): "derivative", (0, 1): "both"}  # what a mode has a formula compute, by which of its results that is

LEVELS = ("v2", "v3", "v4")  # of instruction sets, that kernels are compiled for


def fission(*computed, float32=None, float64=None, level=None):
    """Mark a formula whose compiled loop is two, which take turns over some hundred elements (loop fission): the first does this share of the work.

    A processor looks ahead a number of instructions: the fewer an element takes, the more elements are under way at once. It pays where a formula
    is one chain of operations that wait for each other, not where several chains run side by side, and best where little is to be kept between the
    loops. Measure it, and say where it pays: a share for each precision, where only the "value", only the "derivative" or "both" are computed, or,
    with none of these words, everywhere. Marks add up. With a `level` they hold there, instead of those without: processors that load "v3" look
    ahead and divide otherwise than those that load "v4". Bits do not change.
    """
    shares = {precision: share for precision, share in (("float32", float32), ("float64", float64)) if share is not None}
    for precision, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{precision} is {share!r}; the share must lie between 0 and 1")
    if not shares:
        raise ValueError("fission was given no share; give float32=, float64= or both")
    if level not in (None, *LEVELS):
        raise ValueError(f"level is {level!r}; it may be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    if not set(computed) <= set(COMPUTED.values()):
        raise ValueError(f"computed is {computed!r}; it may have 'value', 'derivative' and 'both' in it")

    def mark(formula):
        new = {(what, precision, level): share for what in computed or COMPUTED.values() for precision, share in shares.items()}
        formula.fission = getattr(formula, "fission", {}) | new
        return formula

    return mark


def fission_of(formula):
    """Mark a formula whose loop is two wherever that of another one is, with the same shares."""

    def mark(function):
        function.fission = formula.fission
        return function

    return mark


class constant(float):
    """A number that differs by precision; as a float it is the float64 one. `half` and `single` are those of their types unless given."""

    def __new__(cls, *, float32, float64, half=None, single=None):
        self = super().__new__(cls, float64)
        self.float32, self.float64 = float(float32), float(float64)
        self.half, self.single = float(float32 if half is None else half), float(float64 if single is None else single)
        return self


ROUNDING_MAGIC = constant(float32=1.5 * 2**23, float64=1.5 * 2**52)  # a sum with it has no room for a fraction
SPLITTER = constant(float32=2**12 + 1, float64=2**27 + 1)  # Veltkamp's: a product with it parts the digits in the middle
HORNER = (2, 4, 6)  # numbers of terms for which Horner's scheme is the faster one; with 5, which exp has, it is slower
SQRT_HALF = 2**-0.5
POWER_BIAS = constant(float32=40, float64=102, single=0)  # the powers of two that a float32 has are normal numbers of float64
# The last bits of a sum with it are those of an exponent, biased as `biased_power` wants it.
POWER_MAGIC = constant(float32=1.5 * 2**23 + 127 + 40, float64=1.5 * 2**52 + 1023 + 102, single=1.5 * 2**52 + 1023)
# What bits are taken from, for the least error of all.
RECIPROCAL_BITS = {"float32": 0x7EF311C2, "float64": 0x7FDE62384FFD9800}
RSQRT_BITS = {"float32": 0x5F3746F9, "float64": 0x5FE6E8EADF318400}


# --- Intrinsics: what a backend must bring along. Here they are for NumPy, in float64 ------------------------------------


def select(condition, yes, no):
    """``yes if condition else no``, both computed: a blend, not a branch."""
    return np.where(condition, yes, no)


def minimum(x, limit):
    """The smaller one; NaN if ``x`` is NaN."""
    return np.where(x > limit, limit, x)


def maximum(x, limit):
    """The larger one; NaN if ``x`` is NaN."""
    return np.where(x < limit, limit, x)


def fma(a, b, c):
    """``a * b + c``, rounded once where the processor can. A formula must also hold if it is rounded twice.

    Where a zero may come out, multiply by a negative number instead of negating: gcc makes one instruction of ``-fma(a, b, c)``,
    ``-a * b - c``, whose zero has the other sign.
    """
    return a * b + c


def lost(rest):
    """`rest`, a sum of what roundings lost; 0 in the reduced precisions, where nobody misses it."""
    return rest


def product_rest(a, b, product):
    """What the rounding of ``product = a * b`` lost, exactly: ``a * b - product``; also where there is no fma. `lost` by itself.

    Without fma it is 0 where a number is too large to be parted, which only its last digits show.
    """
    split_a = a * SPLITTER
    split_b = b * SPLITTER
    high_a = split_a - (split_a - a)  # the upper half of the digits
    high_b = split_b - (split_b - b)
    low_a = a - high_a
    low_b = b - high_b
    rest = (((high_a * high_b - product) + high_a * low_b) + low_a * high_b) + low_a * low_b
    return select(rest == rest, rest, 0)


def product_sum(a, b, c):
    """``a * b + c``, all but rounded once also where there is no fma, as long as it is no larger than ``c`` is."""
    product = a * b
    return (product + c) + product_rest(a, b, product)


def copysign(magnitude, sign):
    """`magnitude` with the sign of `sign`."""
    return np.copysign(magnitude, sign)


def sqrt(x):
    """Square root, correctly rounded."""
    return np.sqrt(x)


def biased_power(shifted):
    """``2**(n + POWER_BIAS)`` for a whole n given as ``n + POWER_MAGIC``.

    So the last bits of `shifted` become an exponent by one shift. The bias keeps the power a normal number where 2**n is not.
    """
    n = np.asarray(shifted - POWER_MAGIC)
    return np.ldexp(1.0, np.where(n == n, n, 0).astype(np.int32) + int(POWER_BIAS.float64))


def exponent(x):
    """The whole n that brings ``x * 2**-n`` into [1/sqrt(2), sqrt(2)); x is positive, and a normal number."""
    fraction, n = np.frexp(x)
    return n - 1.0 * (fraction < SQRT_HALF)


def mantissa(x):
    """``x * 2**-exponent(x)``, exactly."""
    fraction, n = np.frexp(x)
    return np.where(fraction < SQRT_HALF, 2 * fraction, fraction)


def rough_reciprocal(x):
    """1 / x within 5.1%, x positive and not near the ends of the range: the bits of a number are nearly its logarithm."""
    return _of_bits(RECIPROCAL_BITS["float64"] - _bits(x))


def rough_rsqrt(x):
    """1 / sqrt(x) within 3.5%, x as `rough_reciprocal` takes it."""
    return _of_bits(RSQRT_BITS["float64"] - (_bits(x) >> np.uint64(1)))


def _bits(x):
    return np.asarray(x, np.float64).view(np.uint64)


def _of_bits(bits):
    return np.asarray(bits, np.uint64).view(np.float64)


def polynomial(x, coefficients):
    """The polynomial with these coefficients, lowest order first."""
    return paired(x, coefficients["float64"], fma)


_INTRINSICS = (
    abs, select, minimum, maximum, fma, lost, product_rest, product_sum, copysign, sqrt, biased_power, exponent, mantissa, rough_reciprocal,
    rough_rsqrt, polynomial,
)  # fmt: skip
INTRINSICS = {f.__name__: f for f in _INTRINSICS}
TABLES = {"polynomial": (1,)}  # which arguments are tables of coefficients


def paired(x, terms, fma, one=None):
    """The polynomial with these terms, by `fma`; of numbers or of text. `one`: what needs no multiplication as the last term.

    Long ones by pairs of terms, then Horner's scheme in the square: half the chain of dependent operations for one multiplication more.
    """
    pairs, step = list(terms), x
    if len(terms) not in HORNER:
        pairs = [fma(high, x, low) for low, high in zip(terms[::2], terms[1::2], strict=False)] + pairs[len(terms) // 2 * 2 :]
        step = _product(x, x)
    value = pairs.pop()
    if pairs and one is not None and value == one:
        value = _sum(step, pairs.pop())
    for pair in reversed(pairs):
        value = fma(value, step, pair)
    return value


def _product(a, b):
    return f"({a} * {b})" if isinstance(a, str) else a * b


def _sum(a, b):
    return f"({a} + {b})" if isinstance(a, str) else a + b
