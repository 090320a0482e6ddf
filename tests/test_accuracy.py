"""Values and derivatives in ULP: float64 against multiple precision, float32 against the float64 kernel, by the bound in the record.

The observed largest errors are printed (pytest -rP)."""

import functools

import mpmath
import numpy as np
import pytest
import reference
import support

import fastact
from fastact import catalog

EACH = support.by_name(support.RECORDS)
WHICH = pytest.mark.parametrize("which", [0, 1], ids=["value", "derivative"])


@functools.cache
def sample32(record, step):
    return support.in_domain(record, reference.points32(record, step))


def step_for(backend):
    # Primes, so that every binade has all kinds of patterns. A million; NumPy's kernels are slow and only checked.
    return 8209 if backend in ("cython", "numba") else 65537


def slack(backend):
    """What the bounds of a backend may add: NumPy has no fma."""
    return catalog.NO_FMA_ULP if backend == "numpy" else 0.0


@WHICH
@pytest.mark.parametrize("record", EACH)
def test_float64(record, which, backend):
    x = support.in_domain(record, reference.points64(record))
    x = x[support.resolved(record, which, x)]
    near, rest = reference.exact(record, which, x)
    reference.check(
        record, which, x, support.compute(record, which, x), near, rest, what=f"{record.name} float64 {backend}", extra=slack(backend)
    )


@WHICH
@pytest.mark.parametrize("record", EACH)
def test_float32(record, which, backend):
    x = sample32(record, step_for(backend))
    x = x[support.resolved(record, which, x)]
    near = support.compute(record, which, x.astype(np.float64), **reference.as_rounded(record, "float32"))
    reference.check(
        record, which, x, support.compute(record, which, x), near, what=f"{record.name} float32 {backend}", extra=slack(backend)
    )


@WHICH
@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize("record", support.by_name(support.PARAMETRIC))
def test_other_parameters(record, dtype, which, backend):
    # Numbers that float32 has exactly, so that it is the formula that is measured.
    for factor in (0.125, 3.0):
        given = {p.name: float(np.float32(factor * (p.default or 1))) for p in record.given("value")}
        x = reference.points64(record)[::4]
        x = x[np.abs(x) <= np.finfo(dtype).max].astype(dtype)
        x = x[support.resolved(record, 1, x, max(factor, 1))]
        near, rest = reference.exact(record, which, x, given)
        moved = reference.with_parameters(record, given)
        actual = support.compute(record, which, x, **given)
        reference.check(moved, which, x, actual, near, rest, what=f"{record.name} {dtype} {backend} {given}", extra=slack(backend))


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize("record", EACH)
def test_backward(record, dtype, backend):
    x = sample32(record, 10 * step_for(backend)).astype(dtype)
    gradient = np.ldexp(np.random.default_rng(7).uniform(-2, 2, x.size), np.arange(x.size) % 20 - 10).astype(dtype)
    actual = support.call(record, "backward", (gradient, x))
    with support.quiet():
        if dtype == "float64" or backend != "numpy":  # the derivative's own bits, times the gradient: nothing but one rounding more
            support.same_bits(actual, gradient * support.compute(record, 1, x), f"{record.name} {dtype} {backend}")
        else:
            x, actual, gradient = (a[support.resolved(record, 1, x)] for a in (x, actual, gradient))
            derivative = support.compute(record, 1, x.astype(np.float64), **reference.as_rounded(record, dtype))
            product = gradient.astype(np.float64) * derivative
            use = (np.abs(derivative) >= np.finfo(dtype).tiny) & (np.abs(derivative) <= np.finfo(dtype).max)
            what = f"{record.name} {dtype} {backend} backward"
            reference.check(
                record, 1, x[use], actual[use], product[use], what=what, extra=0.5 + slack(backend), factor=gradient[use].astype(np.float64)
            )


def by_output(record, x):
    """(y, exact derivative as a function of y): y is f(x) in float64, and x is moved to where f is exactly y."""
    with mpmath.workprec(3300):
        f = reference.definition(record)
        y = reference.Exact([reference.value(record, x)]).near[0]
        at, last = mpmath.mpf(x), None
        for _ in range(8):
            slope = reference.derivative(record, at)
            if abs(slope) < mpmath.mpf(2) ** -1000:
                return None  # flat: no x to be found
            move = (mpmath.mpf(float(y)) - f(at)) / slope
            if abs(move) > 0.1 * (1 + abs(at)) or any((at - k) * (at + move - k) <= 0 for k in record.kinks):
                return None  # y is rounded to where f never is, or over a kink
            at, last = at + move, move
            if abs(last) <= abs(at) * mpmath.mpf(2) ** -150:
                return y, reference.derivative(record, at)
    return None


@reference.kept
def exact_by_output(record):
    x = np.unique(np.concatenate([np.linspace(-12, 12, 31), np.ldexp(1.37, np.arange(-40, 7, 5)), -np.ldexp(1.37, np.arange(-40, 7, 5))]))
    found = [pair for pair in (by_output(record, float(v)) for v in support.in_domain(record, x)) if pair is not None]
    exact = reference.Exact(d for _, d in found)
    return np.stack([[y for y, _ in found], exact.near, exact.rest])


@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if r.from_output is not None))
def test_from_output_float64(record, backend):
    y, near, rest = exact_by_output(record)
    assert y.size > 5
    actual = fastact.get(record.name).backward(np.ones_like(y), output=y)
    error = reference.ulps(actual, near, rest)
    worst = np.argmax(error)
    print(f"{record.name} from output, {backend}: at most {error[worst]:.3f} ULP, at y = {y[worst]!r}")
    assert error[worst] <= record.ulp[1] + 0.5


@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if r.from_output is not None))
def test_from_output_float32(record, backend):
    x = sample32(record, 10 * step_for(backend))
    backward, y = fastact.get(record.name).backward, fastact.get(record.name)(x)
    y = y[np.isfinite(y)]
    actual = backward(np.ones_like(y), output=y)
    near = backward(np.ones(y.shape), output=y.astype(np.float64), **reference.as_rounded(record, "float32"))
    error = reference.ulps(actual, near)
    error[np.abs(near) < np.finfo(np.float32).tiny] /= max(1, 4 / (record.ulp[1] + 0.5))
    worst = np.argmax(error)
    print(f"{record.name} from output, float32, {backend}: at most {error[worst]:.3f} ULP, at y = {y[worst]!r}")
    assert error[worst] <= record.ulp[1] + 0.5


@pytest.mark.parametrize("record", EACH)
def test_modes_agree(record, backend):
    # The derivative from the output is the derivative at the input, as far as the output still tells.
    x = support.in_domain(record, support.sample(20_000, np.float64))
    f = fastact.get(record.name)
    y, dy = f.value_and_grad(x)
    if backend != "numba" or record in support.REPRESENTATIVES:  # each mode that Numba compiles takes a second
        support.same_bits(y, f(x), f"{record.name} value")
        support.same_bits(dy, f.grad(x), f"{record.name} derivative")
    if record.from_output is not None:
        again = f.backward(np.ones_like(x), output=y)
        use = (np.abs(x) < 8) & ~np.isin(x, record.kinks)
        np.testing.assert_allclose(again[use], dy[use], rtol=1e-9, atol=1e-12)
