"""What is right: a record's definition in multiple precision, its derivative by differences of it, and errors in ULP."""

import ast
import contextlib
import fractions
import functools
import hashlib
import os
import pathlib
import re
import tempfile

import mpmath
import numpy as np

from fastact import catalog

_NAMES = {name: getattr(mpmath, name) for name in dir(mpmath) if not name.startswith("_")}
_NAMES.update(abs=abs, min=min, max=max)
PRECISIONS = (300, 700, 1500, 3300)  # bits; the last resolves sigmoid's derivative to the end of float64


class Exactly(ast.NodeTransformer):
    """Decimal fractions are what they say, and not the float64 next to that."""

    def visit_Constant(self, node):
        text = ast.Call(ast.Name("mpf", ast.Load()), [ast.Constant(repr(node.value))], [])
        return ast.fix_missing_locations(ast.copy_location(text, node)) if isinstance(node.value, float) else node


def definition(record, parameters=()):
    """The mathematics of a record as a function of mpf numbers; `parameters` (by name) instead of the defaults."""
    code = compile(Exactly().visit(ast.parse(record.definition, mode="eval")), record.name, "eval")
    values = {p.name: meant(p.default) for p in record.parameters} | {k: mpmath.mpf(v) for k, v in dict(parameters).items()}

    def evaluate(x):
        try:
            return mpmath.re(eval(code, _NAMES | values | {"x": x}))
        except OverflowError:  # mpmath gives up where exp's exponent is itself astronomical; nothing changes from here on
            return mpmath.re(eval(code, _NAMES | values | {"x": mpmath.sign(x) * 100_000}))

    return evaluate


def is_third(number):
    """Whether this is the float64 nearest to a third or a sixth: no number that one can write, so what is meant is the fraction."""
    near = fractions.Fraction(number).limit_denominator(6)
    return near.denominator in (3, 6) and float(near) == number


def meant(number):
    """The number that a default stands for."""
    near = fractions.Fraction(number).limit_denominator(6)
    return mpmath.mpf(near.numerator) / near.denominator if is_third(number) else mpmath.mpf(number)


def with_parameters(record, parameters):
    """The record with its kinks and zeros where they are for these parameters, by name."""
    if not parameters:
        return record
    return record._replace(
        **catalog.places(record.formula, [p._replace(default=parameters.get(p.name, p.default)) for p in record.parameters])
    )


def as_rounded(record, dtype):
    """The parameters by default as kernels of this dtype get them: rounded, but a sixth stays what is meant by it."""
    return {p.name: p.default if is_third(p.default) else float(np.dtype(dtype).type(p.default)) for p in record.given("value")}


def _magnitude(x):
    return abs(int(mpmath.mag(x))) if x else 1100


def value(record, x, parameters=()):
    """f(x) as an mpf, to some 100 digits or more."""
    with mpmath.workprec(400 + 2 * _magnitude(x)):
        return definition(record, parameters)(mpmath.mpf(x))


def derivative(record, x, parameters=()):
    """f'(x) as an mpf by central differences, in growing precision until two agree."""
    f = definition(record, parameters)
    kinks = with_parameters(record, dict(parameters)).kinks
    last = None
    for precision in PRECISIONS:
        with mpmath.workprec(precision + 3 * _magnitude(x)):
            at = mpmath.mpf(x)
            near = [abs(at - k) for k in kinks if at != k]
            h = min([mpmath.mpf(1), *near, abs(at) if at else mpmath.mpf(2) ** -610]) * mpmath.mpf(2) ** -90
            found = (f(at + h) - f(at - h)) / (2 * h)
            # Zero may be all that this precision can see of a tiny number.
            if last is not None and abs(found - last) <= abs(found) * mpmath.mpf(2) ** -70 and (found or precision == PRECISIONS[-1]):
                break
            last = found
    return found


def one_sided(record, kink):
    """The derivatives left and right of a kink, as floats."""
    with mpmath.workprec(400):
        return tuple(float(derivative(record, mpmath.mpf(kink) + s * mpmath.mpf(2) ** -60)) for s in (-1, 1))


def limit(record, sign, which):
    """What value (0) or derivative (1) tends to at an infinity, as a float."""
    nearer, found = ((value, derivative)[which](record, sign * x) for x in (1e200, 1e300))
    if abs(found) > 100 and found != nearer:  # it may grow as slowly as a logarithm
        return float(mpmath.sign(found)) * np.inf
    return float(mpmath.sign(found)) * np.inf if abs(found) > 1e100 else float(found) if abs(found) > 1e-100 else 0.0


class Exact:
    """Exact results of float64 precision and beyond: the nearest float64, and what is left in units of its spacing."""

    def __init__(self, numbers):
        numbers = list(numbers)
        self.near = np.empty(len(numbers))
        self.rest = np.empty(len(numbers))
        with mpmath.workprec(400):
            for i, number in enumerate(numbers):
                near = _nearest(number)
                self.near[i] = near
                self.rest[i] = float((number - mpmath.mpf(near)) / mpmath.mpf(float(unit(near, np.float64)))) if np.isfinite(near) else 0


def kept(maker):
    """Keep arrays that take long to compute on disk, by all that they depend on: processes and installations share them."""

    @functools.cache
    def made(*key):
        text = repr((maker.__name__, mpmath.__version__, [k if not isinstance(k, catalog.Record) else k[:1] + k[4:] for k in key]))
        text = re.sub(r" at 0x[0-9a-f]+", "", text) + _SOURCE
        path = _FOLDER / (hashlib.sha256(text.encode()).hexdigest() + ".npy")
        with contextlib.suppress(OSError, ValueError):
            return np.load(path)
        found = maker(*key)
        with contextlib.suppress(OSError):
            _FOLDER.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            with open(part, "wb") as file:
                np.save(file, found)
            part.replace(path)
        return found

    return made


_FOLDER = pathlib.Path(tempfile.gettempdir(), "fastact-references")
_SOURCE = pathlib.Path(__file__).read_text(encoding="utf-8")


@kept
def _exact(record, which, x, parameters):
    found = Exact((value, derivative)[which](record, float(v), parameters) for v in np.frombuffer(x))
    return np.stack([found.near, found.rest])


def exact(record, which, x, parameters=None):
    """The exact results at x: (nearest float64, what is left in units of its spacing)."""
    with np.errstate(all="ignore"):
        return _exact(record, which, np.asarray(x, np.float64).tobytes(), tuple((parameters or {}).items()))


def _nearest(number):
    """The float64 nearest to an mpf. (float() of a subnormal one rounds twice.)"""
    if not number:
        return 0.0
    if mpmath.mag(number) > 2000:
        return float(mpmath.sign(number)) * np.inf
    exponent = max(int(mpmath.mag(number)) - 53, -1074)
    whole = int(mpmath.nint(mpmath.ldexp(number, -exponent)))
    if abs(whole) >= 2**53 and exponent >= 971:
        return float(mpmath.sign(number)) * np.inf
    return float(np.ldexp(float(whole), exponent))


def unit(exact, dtype):
    """One ULP of this dtype at exact results: the distance of its floats there, the smallest subnormal at least."""
    limits = np.finfo(dtype)
    exponent = np.where(exact == 0, -2000, np.frexp(exact)[1])
    return np.ldexp(1.0, np.maximum(exponent - limits.nmant - 1, limits.minexp - limits.nmant))


def ulps(actual, near, rest=0.0):
    """Errors of results in ULP of their dtype; the exact results are the float64 numbers `near`, and `rest` of their spacing more."""
    one = unit(near, actual.dtype)
    with np.errstate(all="ignore"):
        error = np.abs((actual.astype(np.float64) - near) / one - rest * (unit(near, np.float64) / one))
    # What is too large for the dtype, or for float64, is infinite.
    right = (np.abs(near) > float(np.finfo(actual.dtype).max)) & np.isinf(actual) & (np.sign(actual) == np.sign(near))
    return np.where(right, 0.0, np.where(np.isnan(error), np.inf, error))


def allowed(record, which, x, near, dtype, extra=0.0, factor=1.0):
    """The error that is allowed at each point, in ULP; `factor` is what the derivative was multiplied by."""
    limits = np.finfo(dtype)
    bound = np.full(x.shape, float(record.ulp[which]) + extra)
    bound[np.abs(near) < float(limits.tiny)] = 4
    zero = record.derivative_zero if which else record.value_zero
    if zero is not None:
        x0, term = zero
        with np.errstate(over="ignore"):
            of_term = unit(np.float64(term) * np.abs(factor), dtype) / unit(near, dtype)
            bound = np.where(np.abs(x - (x if x0 is None else x0)) < 1, np.maximum(bound, of_term * max(1.0, extra) + extra), bound)
    return bound


def check(record, which, x, actual, near, rest=0.0, *, what, extra=0.0, factor=1.0):
    """Assert the bound at all points that are no kinks, and print the largest error where the result is normal."""
    wide = x.astype(np.float64)
    use = ~np.isin(wide, np.asarray(record.kinks, x.dtype))
    if not use.any():
        return
    x, actual, near, wide = x[use], actual[use], near[use], wide[use]
    rest, factor = (v[use] if isinstance(v, np.ndarray) else v for v in (rest, factor))
    error = ulps(actual, near, rest)
    bound = allowed(record, which, wide, near, actual.dtype, extra, factor)
    normal = (np.abs(near) >= float(np.finfo(actual.dtype).tiny)) & (bound <= record.ulp[which] + extra)
    kind = ("value", "derivative")[which]
    if normal.any():
        worst = np.argmax(np.where(normal, error, -1))
        print(f"{what}: {kind} at most {error[worst]:.3f} ULP, at x = {x[worst]!r} (promised {record.ulp[which]:g})")
    excess = np.argmax(error - bound)
    assert error[excess] <= bound[excess], (
        f"{what}: {kind} at x = {x[excess]!r} is {actual[excess]!r}, not {near[excess]!r}: "
        f"{error[excess]:.3f} ULP where {bound[excess]:.3f} are allowed; {np.count_nonzero(error > bound)} of {error.size} are beyond"
    )


# --- Where to look -------------------------------------------------------------------------------------------------------


def neighbours(points, dtype, count=3):
    """These points and some floats next to them, on both sides."""
    kind = np.dtype(dtype).type
    points = np.asarray(points, dtype)
    found = [points]
    for direction in (-np.inf, np.inf):
        at = points
        for _ in range(count):
            at = np.nextafter(at, kind(direction))
            found.append(at)
    return np.concatenate(found)


def interesting(record, dtype):
    """Around kinks, the derivative's zero, whole numbers, and where exp and its like leave the range of the dtype."""
    limits = np.finfo(dtype)
    centres = [*record.kinks, *[zero[0] for zero in (record.value_zero, record.derivative_zero) if zero and zero[0] is not None]]
    edge = np.log([float(limits.max), float(limits.tiny), float(limits.smallest_subnormal)])
    edges = [*edge, *(edge / 2), *np.sqrt(2 * np.abs(edge)), *range(1, 21)]
    with np.errstate(all="ignore"):
        near = neighbours([*centres, *edges, *np.negative(edges)], dtype)
        around = [c + np.linspace(-0.6, 0.6, 41) for c in centres]
        return np.concatenate([near, *around, neighbours([0, limits.tiny, -limits.tiny, limits.max, -limits.max], dtype)]).astype(dtype)


@functools.cache
def points64(record):
    """float64 points: through the bit patterns of all binades and both signs, more where activations bend, dense around 0."""
    rng = np.random.default_rng(64)
    exponents = np.concatenate([np.arange(-1074, 1024, 47), np.arange(-58, 12, 2)])
    binades = np.ldexp(rng.uniform(1, 2, exponents.size), exponents) * rng.choice([-1.0, 1.0], exponents.size)
    tails = np.concatenate([rng.uniform(-760, 760, 20), rng.uniform(-40, 40, 30)])
    special = interesting(record, np.float64)
    if special.size > 120:  # those around 0, kinks and zeros, and some of the rest
        special = np.concatenate([special[:: special.size // 90], special[-15:]])
    places = [*record.kinks, *[zero[0] for zero in (record.value_zero, record.derivative_zero) if zero and zero[0] is not None]]
    x = np.concatenate([binades, np.linspace(-20, 20, 61), rng.uniform(-3, 3, 40), tails, special, neighbours(places, np.float64, 1)])
    x = x[np.isfinite(x)]
    return np.unique(x if record.domain is None else np.concatenate([x, rng.uniform(*np.clip(record.domain, -20, 20), 60)]))


@functools.cache
def points32(record, step):
    """float32 points: every `step`-th of the 2**32 bit patterns (a prime passes through all of them evenly), and dense around 0."""
    patterns = np.arange(0, 2**32, step, np.uint64).astype(np.uint32).view(np.float32)
    dense = np.linspace(-20, 20, 2**32 // step // 4, dtype=np.float32)
    x = np.concatenate([patterns[np.isfinite(patterns)], dense, interesting(record, np.float32)])
    return x[np.isfinite(x)]
