"""A definition and its derivative at points, by ball arithmetic: each result comes with a bound of its own error.

Ten to forty times as fast as mpmath, and needs python-flint. A point that it leaves open (where an exponential is beyond even its
range, say) is None, and is mpmath's to decide.
"""

import fractions
import operator

import mpmath
from flint import arb, ctx, fmpq

PRECISIONS = (128, 320, 700, 1500, 3600)  # bits; the last resolves sigmoid's derivative to the end of float64
ENOUGH = 75  # bits of a result that are certain
NOTHING = arb(2) ** -1300  # what no float64 can see


class Undecided(Exception):
    """The ball is too wide, at this precision, to say which way a branch goes."""


class Dual:
    """A number and its derivative, both balls."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        value, slope = _parts(other)
        return Dual(self.value + value, self.slope + slope)

    def __sub__(self, other):
        value, slope = _parts(other)
        return Dual(self.value - value, self.slope - slope)

    def __rsub__(self, other):
        return Dual(other - self.value, -self.slope)

    def __neg__(self):
        return Dual(-self.value, -self.slope)

    def __mul__(self, other):
        value, slope = _parts(other)
        return Dual(self.value * value, self.slope * value + self.value * slope)

    def __truediv__(self, other):
        value, slope = _parts(other)
        ratio = self.value / value
        return Dual(ratio, (self.slope - ratio * slope) / value)

    def __rtruediv__(self, other):
        return Dual(arb(other), arb(0)) / self

    def __pow__(self, exponent):
        return Dual(self.value**exponent, exponent * self.value ** (exponent - 1) * self.slope)

    def __abs__(self):
        return -self if self < 0 else self

    def _compare(self, other, how, opposite):
        value, _ = _parts(other)
        if how(self.value, value):
            return True
        if opposite(self.value, value):
            return False
        raise Undecided

    def __lt__(self, other):
        return self._compare(other, operator.lt, operator.ge)

    def __le__(self, other):
        return self._compare(other, operator.le, operator.gt)

    def __gt__(self, other):
        return self._compare(other, operator.gt, operator.le)

    def __ge__(self, other):
        return self._compare(other, operator.ge, operator.lt)

    __radd__, __rmul__ = __add__, __mul__


def _parts(other):
    return (other.value, other.slope) if isinstance(other, Dual) else (arb(other), arb(0))


def _lift(function, derivative):
    """A function of a Dual, or of a constant; its derivative is given x and f(x)."""

    def lifted(x):
        if not isinstance(x, Dual):
            return function(arb(x))
        value = function(x.value)
        return Dual(value, derivative(x.value, value) * x.slope)

    return lifted


def _normal(x):
    return (-x * x).exp() * 2 / arb.pi().sqrt()


def _sign(x):
    return 1 if x > 0 else -1 if x < 0 else 0


_NAMES = {
    "exp": _lift(arb.exp, lambda x, y: y),
    "expm1": _lift(arb.expm1, lambda x, y: x.exp()),
    "log": _lift(arb.log, lambda x, y: 1 / x),
    "log1p": _lift(arb.log1p, lambda x, y: 1 / (1 + x)),
    "sqrt": _lift(arb.sqrt, lambda x, y: 1 / (2 * y)),
    "sin": _lift(arb.sin, lambda x, y: x.cos()),
    "cos": _lift(arb.cos, lambda x, y: -x.sin()),
    "sinh": _lift(arb.sinh, lambda x, y: x.cosh()),
    "cosh": _lift(arb.cosh, lambda x, y: x.sinh()),
    "tanh": _lift(arb.tanh, lambda x, y: x.sech() ** 2),
    "erf": _lift(arb.erf, lambda x, y: _normal(x)),
    "erfc": _lift(arb.erfc, lambda x, y: -_normal(x)),
    "sign": _sign,
    "abs": abs,
    "min": min,
    "max": max,
    "mpf": arb,
}


def _as_given(number):
    """A parameter of a `series.Definition`: float64 but for thirds and sixths."""
    near = float(number)
    if mpmath.mpf(near) == number:
        return arb(near)
    exact = fractions.Fraction(near).limit_denominator(6)
    return arb(fmpq(exact.numerator, exact.denominator))


class Definition:
    """A `series.Definition`, to be evaluated at points."""

    def __init__(self, definition):
        self._code, self._given = definition._code, definition.parameters
        self._names = {}

    def at(self, x):
        """Value and derivative at x as mpf, each None where it is left open."""
        found, before = [None, None], ctx.prec
        try:
            for ctx.prec in PRECISIONS:
                balls = self._balls(x)
                for which, ball in enumerate(balls):
                    if found[which] is None and ball.is_finite() and (ball.rel_accuracy_bits() >= ENOUGH or abs(ball) < NOTHING):
                        with mpmath.workprec(ctx.prec):
                            found[which] = mpmath.mpf(ball.mid()._mpf_)
                if None not in found:
                    break
        finally:
            ctx.prec = before
        return found

    def _balls(self, x):
        if ctx.prec not in self._names:
            self._names[ctx.prec] = _NAMES | {"pi": arb.pi()} | {name: _as_given(p) for name, p in self._given.items()}
        try:
            return _parts(eval(self._code, self._names[ctx.prec] | {"x": Dual(arb(x), arb(1))}))
        except (Undecided, ZeroDivisionError):
            return ()
