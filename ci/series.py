"""The reference of `verify.py`: a definition as a table of Taylor polynomials, made by mpmath, fast enough for all 2**32 inputs.

A record's `definition` is evaluated on power series in multiple precision, so the derivative comes from its mathematics, with no code
for a particular function. The floats are cut into segments; each has the series at its middle (at zero, or at a zero of the
function, where it lies there, so that the relative accuracy stays). A segment counts only if the polynomial agrees with the definition,
evaluated at its ends and between, and if each branch (abs, min, if ...) goes one way in it; else it is cut in two. In float64 the
polynomial's own error is about 1e-15 of the result: some 1e-8 ULP of float32. `verify.py --check-reference` measures it.
"""

import ast
import hashlib
import operator
import struct

import mpmath
import numpy as np
import reference
from mpmath import mp, mpf

DEGREE = 14
PRECISION = 700  # bits: x - tanh(x) at 2**-149 needs 450
TOLERANCE = mpf(2) ** -47  # of the result, or
NOTHING = mpf(2) ** -190  # what no float32 can see
TOO_LARGE = mpf(2) ** 200  # all that is larger overflows alike
PER_BINADE = 400  # segments; a binade that needs more is a hole, for which there is no table (a sine far out)
TOP = 0x7F7FFFFF  # the bits of the largest float32


class Branched(Exception):
    """A series starts at a point where a branch, or a function, has no one way to go on."""


_trace = []  # which way the branches went


class Series:
    """A truncated power series in t; t has the sign `side` where the constant term says nothing."""

    side = 1

    def __init__(self, terms):
        self.terms = terms

    def like(self, number):
        return Series([mpf(number)] + [mpf(0)] * (len(self.terms) - 1))

    def sign(self):
        for k, term in enumerate(self.terms):
            if term:
                found = (1 if term > 0 else -1) * (Series.side if k % 2 else 1)
                break
        else:
            found = 0
        _trace.append(found)
        return found

    def __add__(self, other):
        return Series([a + b for a, b in zip(self.terms, _series(other, self).terms, strict=True)])

    def __sub__(self, other):
        return Series([a - b for a, b in zip(self.terms, _series(other, self).terms, strict=True)])

    def __rsub__(self, other):
        return _series(other, self) - self

    def __neg__(self):
        return Series([-a for a in self.terms])

    def __pos__(self):
        return self

    def __mul__(self, other):
        if not isinstance(other, Series):
            return Series([a * other for a in self.terms])
        a, b = self.terms, other.terms
        return Series([mpmath.fdot(a[: k + 1], b[k::-1]) if k else a[0] * b[0] for k in range(len(a))])

    def __truediv__(self, other):
        if not isinstance(other, Series):
            return Series([a / other for a in self.terms])
        a, b = self.terms, other.terms
        if not b[0]:
            raise Branched
        found = []
        for k in range(len(a)):
            found.append((a[k] - mpmath.fdot(found, b[k:0:-1])) / b[0])
        return Series(found)

    def __rtruediv__(self, other):
        return _series(other, self) / self

    def __pow__(self, exponent):
        if isinstance(exponent, Series) or exponent != int(exponent) or exponent < 0:
            raise ValueError(f"a definition has a power of {exponent}; this takes whole ones that are not negative")
        found = self.like(1)
        for _ in range(int(exponent)):
            found = found * self
        return found

    def __abs__(self):
        return self * self.sign()

    def _compare(self, other, how):
        return how((self - other).sign(), 0)

    def __lt__(self, other):
        return self._compare(other, operator.lt)

    def __le__(self, other):
        return self._compare(other, operator.le)

    def __gt__(self, other):
        return self._compare(other, operator.gt)

    def __ge__(self, other):
        return self._compare(other, operator.ge)

    __radd__, __rmul__ = __add__, __mul__


def _series(value, like):
    return value if isinstance(value, Series) else like.like(value)


def _by_derivative(first, a, derivative):
    """The series with this constant term whose derivative is a' times the series `derivative`, which may be made as its terms come."""
    found = [first]
    for k in range(1, len(a.terms)):
        found.append(sum((j * a.terms[j] * derivative(found, k - j) for j in range(1, k + 1)), mpf(0)) / k)
    return found


def _exp(a, first=mpmath.exp, shift=0):
    start = mpmath.exp(a.terms[0])
    found = _by_derivative(start, a, lambda terms, k: terms[k])
    return Series([first(a.terms[0]), *found[1:]])


def _log(a, first=mpmath.log, shift=0):
    below = [a.terms[0] + shift, *a.terms[1:]]
    if below[0] <= 0:
        raise Branched
    found = [first(a.terms[0])]
    for k in range(1, len(below)):
        found.append((below[k] - sum((j * found[j] * below[k - j] for j in range(1, k)), mpf(0)) / k) / below[0])
    return Series(found)


def _sqrt(a):
    if a.terms[0] <= 0:
        raise Branched
    found = [mpmath.sqrt(a.terms[0])]
    for k in range(1, len(a.terms)):
        found.append((a.terms[k] - sum((found[j] * found[k - j] for j in range(1, k)), mpf(0))) / (2 * found[0]))
    return Series(found)


def _pair(a, first, second, sign):
    """(s, c) with s' = a' c and c' = sign a' s."""
    s, c = [first(a.terms[0])], [second(a.terms[0])]
    for k in range(1, len(a.terms)):
        ds, dc = (sum((j * a.terms[j] * other[k - j] for j in range(1, k + 1)), mpf(0)) / k for other in (c, s))
        s.append(ds)
        c.append(sign * dc)
    return Series(s), Series(c)


def _tanh(a):
    t = mpmath.tanh(a.terms[0])
    slope = [mpmath.sech(a.terms[0]) ** 2]  # 1 - t**2
    found = [t]
    for k in range(1, len(a.terms)):
        found.append(sum((j * a.terms[j] * slope[k - j] for j in range(1, k + 1)), mpf(0)) / k)
        slope.append(-sum((found[j] * found[k - j] for j in range(k + 1)), mpf(0)))
    return Series(found)


def _erf(a, first=mpmath.erf, factor=1):
    slope = _exp(-(a * a)) * (factor * 2 / mpmath.sqrt(mpmath.pi))
    return Series(_by_derivative(first(a.terms[0]), a, lambda terms, k: slope.terms[k]))


def _erfc(x):
    try:
        return mpmath.erfc(x)
    except OverflowError:  # far beyond where it is nothing to float64
        return mpf(0)


def _atan(a):
    slope = 1 / (1 + a * a)
    return Series(_by_derivative(mpmath.atan(a.terms[0]), a, lambda terms, k: slope.terms[k]))


_FUNCTIONS = {
    "exp": _exp,
    "expm1": lambda a: _exp(a, mpmath.expm1),
    "log": _log,
    "log1p": lambda a: _log(a, mpmath.log1p, 1),
    "sqrt": _sqrt,
    "sin": lambda a: _pair(a, mpmath.sin, mpmath.cos, -1)[0],
    "cos": lambda a: _pair(a, mpmath.sin, mpmath.cos, -1)[1],
    "sinh": lambda a: _pair(a, mpmath.sinh, mpmath.cosh, 1)[0],
    "cosh": lambda a: _pair(a, mpmath.sinh, mpmath.cosh, 1)[1],
    "tanh": _tanh,
    "erf": _erf,
    "erfc": lambda a: _erf(a, _erfc, -1),
    "atan": _atan,
    "sign": lambda a: a.like(a.sign()),
}


def _either(name):
    def function(a):
        return _FUNCTIONS[name](a) if isinstance(a, Series) else getattr(mpmath, name)(a)  # a constant, such as sqrt(2)

    return function


_NAMES = {name: _either(name) for name in _FUNCTIONS} | {"abs": abs, "min": min, "max": max, "mpf": mpf}


def as_given(number, dtype):
    """The number that a parameter by default stands for, as kernels of this dtype get it: rounded, but a sixth is a sixth."""
    return reference.meant(number) if reference.is_third(number) else mpf(float(np.dtype(dtype).type(number)))


class Definition:
    """The mathematics of a record, to be evaluated on numbers and on series."""

    precision = PRECISION

    def __init__(self, record, dtype="float32"):
        self.record = record
        self.text, self.kinks, self.domain = record.definition, record.kinks, record.domain
        self._code = compile(reference.Exactly().visit(ast.parse(self.text, mode="eval")), record.name, "eval")
        with mpmath.workprec(PRECISION):
            self.parameters = {p.name: as_given(p.default, dtype) for p in record.parameters}

    def key(self):
        """What the table depends on."""
        text = repr(
            (self.text, {k: str(v) for k, v in self.parameters.items()}, self.kinks, self.domain, type(self).__name__, DEGREE, PER_BINADE)
        )
        with open(__file__, "rb") as file:
            return hashlib.sha256(text.encode() + file.read()).hexdigest()[:24]

    def series(self, centre, radius, side, degree):
        """The series of the definition in t, x = centre + radius * t; and which way its branches went."""
        Series.side = side
        _trace.clear()
        x = Series([mpf(centre), mpf(radius)] + [mpf(0)] * (degree - 1))
        try:
            names = _NAMES | {"pi": +mp.pi} | self.parameters | {"x": x}
            found = _series(eval(self._code, names), x)
        except (ZeroDivisionError, OverflowError) as error:
            raise Branched from error
        except NameError as error:
            raise NameError(f"{self.record.name}: {error}; teach it to _FUNCTIONS of ci/series.py") from None
        if any(isinstance(term, mpmath.mpc) for term in found.terms):
            raise Branched
        return found, tuple(_trace)

    def at(self, x, which):
        """Value (0) or derivative (1) at one point, as an mpf."""
        return self.series(x, 1, 1, 1)[0].terms[which]

    def nearly(self, x, which):
        """The same as a float; NaN where there is none."""
        try:
            return float(Builder._bounded(self.at(x, which)))
        except Branched:
            return float("nan")


class Inverse(Definition):
    """The derivative as a function of the output: the series of f is turned round. For an f that never falls."""

    precision = 300

    def __init__(self, record, dtype="float32"):
        super().__init__(record, dtype)
        with mpmath.workprec(PRECISION):
            far = mpf(2) ** 126
            self.forward = Definition(record, dtype)
            ends = [self.forward.at(x, 0) for x in (-far, far)]
            self.domain = tuple(float(e) if abs(e) < 2**100 else float(mpmath.sign(e)) * np.inf for e in ends)
            self.kinks = tuple(sorted({float(self.forward.at(mpf(k), 0)) for k in record.kinks}))

    def series(self, centre, radius, side, degree):
        x, slope_side = self._solved(mpf(centre), side), side
        f, trace = self.forward.series(x, 1, slope_side, degree + 1)
        if not f.terms[1]:
            raise Branched
        y = Series([mpf(0), mpf(radius)] + [mpf(0)] * degree)
        higher = f.terms[2:]
        moved = y / f.terms[1]
        for _ in range(degree):
            rest = y.like(0)
            for term in reversed(higher):
                rest = (rest + term) * moved
            again = (y - rest * moved) / f.terms[1]
            if all(abs(a - b) <= abs(a) * mpf(2) ** (60 - self.precision) for a, b in zip(again.terms, moved.terms, strict=True)):
                break
            moved = again
        slope = Series([k * term / mpf(radius) for k, term in enumerate(moved.terms)][1:])
        return 1 / slope, trace

    def at(self, y, which=0):
        return self.series(y, 1, 1, 1)[0].terms[0]

    def _solved(self, y, side):
        """Where f is y: the binade of x by halves, then Newton's way, kept between two ends."""

        def f(x):
            return self.forward.series(x, 1, side, 1)[0].terms

        start = f(mpf(0))[0]
        if start == y:
            return mpf(0)
        sign = 1 if y > start else -1
        low, high = -300, 128
        if (y - f(sign * mpf(2) ** high)[0]) * sign > 0:
            raise Branched
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if (y - f(sign * mpf(2) ** middle)[0]) * sign > 0 else (low, middle)
        ends = sorted((sign * (mpf(2) ** low if low > -300 else 0), sign * mpf(2) ** high))
        x = (ends[0] + ends[1]) / 2
        for _ in range(400):
            found, slope = f(x)
            if found > y:
                ends[1] = x
            else:
                ends[0] = x
            if slope:
                moved = x - (found - y) / slope
                if abs(moved - x) <= abs(x) * mpf(2) ** (20 - self.precision):
                    return moved
            if not slope or not ends[0] < moved < ends[1]:
                moved = (ends[0] + ends[1]) / 2
            x = moved
        raise Branched


def value_of(bits):
    """The float32 with these bits, as a float."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def bits_of(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


class Table:
    """Segments of float32 bit patterns, in order of the patterns, each with a polynomial in t = ((x - high) - low) * inverse."""

    FIELDS = ("first", "last", "high", "low", "inverse", "terms")

    def __init__(self, **arrays):
        for name in self.FIELDS:
            setattr(self, name, arrays[name])

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{id(self)}.part")
        with open(part, "wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in self.FIELDS})
        part.replace(path)

    @classmethod
    def load(cls, path):
        with np.load(path) as found:
            return cls(**found)

    def holes(self):
        """Ranges of bit patterns of finite numbers, first and last, that no segment covers."""
        found = []
        for sign in (0, 0x80000000):
            at = sign
            for first, last in zip(self.first.tolist(), self.last.tolist(), strict=True):
                if sign <= first <= sign + TOP:
                    if first > at:
                        found.append((at, first - 1))
                    at = last + 1
            if at <= sign + TOP:
                found.append((at, sign + TOP))
        return found


class Builder:
    """Makes the table of value (0) or derivative (1) of a definition."""

    def __init__(self, definition, which, first=0, last=0xFFFFFFFF):
        self.definition, self.which = definition, which
        self.rows = []
        self.limits = first, last

    def build(self):
        with mpmath.workprec(self.definition.precision):
            inside = self.definition.domain or (-np.inf, np.inf)
            for sign in (0, 0x80000000):
                low, high = sign, sign + TOP
                ends = sorted(abs(k) for k in inside if np.isfinite(k) and (k < 0) == bool(sign) and k)
                if sign and inside[0] >= 0:
                    continue
                if ends:
                    high = sign + bits_of(ends[-1])
                self._cut(low, high, sign)
        self.rows.sort(key=lambda row: row[0])
        columns = list(zip(*self.rows, strict=True))
        kinds = (np.uint32, np.uint32, float, float, float, float)
        return Table(**{name: np.array(column, kind) for name, column, kind in zip(Table.FIELDS, columns, kinds, strict=True)})

    def _cut(self, low, high, sign):
        """From 0 outwards: kinks are segments of their own, and what lies between is tried as a whole first."""
        kinks = sorted({sign + bits_of(abs(np.float32(k))) for k in self.definition.kinks if (k < 0) == bool(sign) or k == 0})
        start = low
        for kink in [k for k in kinks if low <= k <= high] + [high + 1]:
            if kink > start:
                self._divide(start, kink - 1, sign)
            if kink <= high:
                self._point(kink, sign)
            start = kink + 1

    def _divide(self, low, high, sign):
        """Segments for these bit patterns: halves of what cannot be one, by binades first."""
        todo, used, crowded = [(low, high)], {}, set()
        while todo:
            low, high = todo.pop()
            binade = (low >> 23) & 0xFF
            if used.get(binade, 0) > max(PER_BINADE >> len(crowded), 4):  # those farther out will hardly be better
                crowded.add(binade)
            if binade in crowded:
                continue
            if low == high:
                self._point(low, sign)
                continue
            row = self._segment(low, high, sign)
            if row is not None:
                self.rows.append(row)
            elif low >> 23 != high >> 23:
                zero = low <= sign + 1
                middle = max(((low >> 23) + (high >> 23) + 1) // 2, (low >> 23) + 1) << 23
                if zero and high - sign > (120 << 23):  # what is centred at 0 ends somewhere around 1
                    middle = sign + (127 << 23) if high - sign > (130 << 23) else middle
                if zero and high - sign <= (100 << 23):  # no series at 0
                    middle = (high >> 23) << 23
                todo += [(middle, high), (low, middle - 1)]
            else:
                used[binade] = used.get(binade, 0) + 1
                middle = (low + high + 1) // 2
                todo += [(middle, high), (low, middle - 1)]
        self.rows = [
            row
            for row in self.rows
            if (row[0] >> 23) & 0xFF not in crowded or (row[0] >> 23) != (row[1] >> 23) or row[0] >> 31 != sign >> 31
        ]

    def _point(self, bits, sign):
        try:
            found = float(self._bounded(self.definition.at(value_of(bits), self.which)))
        except Branched:
            return
        self.rows.append((bits, bits, value_of(bits), 0.0, 1.0, [found] + [0.0] * DEGREE))

    @staticmethod
    def _bounded(number):
        return min(max(number, -TOO_LARGE), TOO_LARGE)

    def _segment(self, low, high, sign):
        """The row of a segment, or None if it cannot be one."""
        side = -1 if sign else 1
        ends = [mpf(value_of(low)), mpf(value_of(high))]
        try:
            exact = [self._series_terms(x, 1, -side if i and x else side, 1) for i, x in enumerate(ends)]
        except Branched:
            return None
        if exact[0][1] != exact[1][1] and low > sign + 1:
            return None
        numbers = [terms[self.which] for terms, _ in exact]
        smallest = min(map(abs, numbers))
        if smallest > TOO_LARGE and numbers[0] * numbers[1] > 0:
            return low, high, 0.0, 0.0, 1.0, [float(self._bounded(numbers[0]))] + [0.0] * DEGREE
        at_zero = low <= sign + 1
        crossing = not at_zero and numbers[0] * numbers[1] < 0 and min(map(abs, numbers)) > NOTHING
        if at_zero:
            centre = mpf(0)
        elif crossing:
            centre = self._zero(*ends)
        else:
            centre = mpf(float((ends[0] + ends[1]) / 2))
        radius = mpmath.ldexp(1, int(mpmath.mag(max(abs(e - centre) for e in ends))))
        try:
            terms, trace = self._series_terms(centre, radius, side, DEGREE + self.which)
        except Branched:
            return None
        if trace != exact[1][1]:
            return None
        if self.which:
            terms = [k * term / radius for k, term in enumerate(terms)][1:]
        if crossing:
            terms[0] = mpf(0)
        # At the ends, and between them in case a branch hides there.
        inner = [ends[0] + (ends[1] - ends[0]) * w for w in (mpf("0.29"), mpf("0.83"))]
        checks = [(ends[1], exact[1])] if at_zero else list(zip(ends, exact, strict=True))
        try:
            checks += [(x, self._series_terms(x, 1, side, 1)) for x in inner]
        except Branched:
            return None
        if at_zero:
            checks += [(mpf(value_of(max(low + 1, high - (3 << 23)))), None)]
        for x, known in checks:
            if known is None:
                known = self._series_terms(x, 1, side, 1)
            t, right = (x - centre) / radius, known[0][self.which]
            parts = [term * t**k for k, term in enumerate(terms)]
            allowed = max(abs(right) * TOLERANCE, NOTHING)
            if known[1] != trace or abs(sum(parts) - right) > allowed:
                return None
            if sum(map(abs, parts)) > 64 * abs(right) and sum(map(abs, parts)) > NOTHING:
                return None  # what cancels costs digits
        high_part = float(centre)
        rounded = [float(term) for term in terms]
        if not np.all(np.isfinite(rounded)):
            return None
        return low, high, high_part, float(centre - high_part), float(1 / radius), rounded

    def _series_terms(self, centre, radius, side, degree):
        found, trace = self.definition.series(centre, radius, side, degree)
        return found.terms, trace

    def _zero(self, low, high):
        """Where it is zero between two points: the secant's way, kept between them."""
        f = {x: self.definition.at(x, self.which) for x in (low, high)}
        a, b = low, high
        for _ in range(200):
            c = b - f[b] * (b - a) / (f[b] - f[a])
            if not min(low, high) < c < max(low, high):
                c = (low + high) / 2
            f[c] = self.definition.at(c, self.which)
            if not f[c] or abs(c - b) < abs(c) * mpf(2) ** -120:
                return c
            if f[c] * f[low] < 0:
                high = c
            else:
                low = c
            a, b = b, c
            if f[a] == f[b]:
                a = low if b != low else high
        return c
