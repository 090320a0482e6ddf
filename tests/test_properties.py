"""Properties that hold for any array, found out with hypothesis."""

import functools

import numpy as np
import pytest
import reference
import support
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastact

EACH = pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
ROWS = pytest.mark.parametrize("record, mode", support.rows())
# The backend fixture is set once for all examples of a test, which is what is wanted.
SETTINGS = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def arrays(draw, elements=None):
    """Arrays of any shape, dtype, strides and byte order."""
    dtype = draw(st.sampled_from(["<f4", "<f8", ">f4", ">f8"]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    width = 32 if dtype.endswith("4") else 64
    if elements is None:
        elements = st.floats(width=width, allow_nan=True) | st.floats(-30, 30, width=width)
    a = draw(hnp.arrays(dtype, shape, elements=elements))
    if a.ndim:
        a = a.transpose(draw(st.permutations(range(a.ndim))))
        for axis in range(a.ndim):
            step = draw(st.sampled_from([1, 1, 2, -1, -2]))
            a = a[(slice(None),) * axis + (slice(None, None, step),)]
        if draw(st.booleans()):
            a = a[np.newaxis]
        if draw(st.booleans()) and a.size:
            a = np.broadcast_to(a, (2, *a.shape))
    return a


def same_or_nan(actual, expected, what):
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    zero = np.zeros_like(expected)
    support.same_bits(np.where(np.isnan(actual), zero, actual), np.where(np.isnan(expected), zero, expected), what)


@ROWS
@SETTINGS
@given(x=arrays())
def test_layout_does_not_matter(record, mode, backend, x):
    given_ = (x, x) if mode.startswith("backward") else (x,)
    with support.quiet():
        results = support.outputs(record, mode, given_)
        expected = support.outputs(record, mode, [support.plain(g) for g in given_])
    for r, e in zip(results, expected, strict=True):
        same_or_nan(r, e, f"{x.dtype} {x.shape} {x.strides}")


@EACH
@SETTINGS
@given(x=arrays())
def test_value_and_grad_is_value_and_grad(record, backend, x):
    f = fastact.get(record.name)
    y, dy = f.value_and_grad(x)
    if backend == "numpy" and x.dtype == np.float32:  # what it computes in float64, and what not, depends on the mode
        np.testing.assert_array_max_ulp(np.nan_to_num(y), np.nan_to_num(f(x)), 4)
    else:
        same_or_nan(y, f(x), "value")
        same_or_nan(dy, f.grad(x), "derivative")


@EACH
@SETTINGS
@given(x=arrays())
def test_backward_of_one_is_grad(record, backend, x):
    f = fastact.get(record.name)
    same_or_nan(f.backward(np.ones_like(x), x), f.grad(x), "a gradient of ones")
    same_or_nan(f.backward(np.ones((), x.dtype), x), f.grad(x), "a gradient of one, broadcast")
    same_or_nan(f.backward(-np.ones_like(x), x), -f.grad(x), "a gradient of -1")


@ROWS
@SETTINGS
@given(x=arrays())
def test_out_does_not_matter(record, mode, backend, x):
    given_ = (x, x) if mode.startswith("backward") else (x,)
    with support.quiet():
        expected = support.outputs(record, mode, given_)
        results = tuple(np.full_like(e, 3) for e in expected)
        results = tuple(np.asarray(r) for r in results)
        support.call(record, mode, given_, out=support.outs(results))
    for r, e in zip(results, expected, strict=True):
        same_or_nan(r, np.asarray(e), f"{x.dtype} {x.shape} {x.strides}")


@functools.cache
def signs(record):
    """The signs that the exact derivative has."""
    x = support.in_domain(record, np.concatenate([np.linspace(-15, 15, 61), [-1e3, 1e3, -1e-3, 1e-3]]))
    near, _ = reference.exact(record, 1, x[~np.isin(x, record.kinks)])
    return set(np.sign(near).astype(int))


@EACH
@SETTINGS
@given(x=hnp.arrays(np.float64, 40, elements=st.floats(-50, 50)), dtype=st.sampled_from(support.DTYPES))
def test_monotone_functions_are_monotone(record, backend, x, dtype):
    # Up to the promised error: neighbouring results may be off by it in opposite directions.
    if {-1, 1} <= signs(record):
        assert record.derivative_zero is not None or record.kinks, "a derivative that changes its sign has a zero or a jump"
        return
    x = np.sort(support.in_domain(record, x.astype(dtype)))
    upwards = -1 if -1 in signs(record) else 1
    y = upwards * fastact.get(record.name)(x).astype(np.float64)
    slack = 2 * record.ulp[0] * reference.unit(y, dtype)
    assert (y[1:] >= y[:-1] - slack[1:]).all()
    assert (upwards * fastact.get(record.name).grad(x) >= 0).all()


@EACH
@SETTINGS
@given(x=hnp.arrays(np.float64, 20, elements=st.floats(-40, 40)))
def test_finite_differences(record, backend, x):
    h = 1e-4
    # Not around kinks, nor around 0, where a function of |x| may have a second derivative that jumps.
    x = support.in_domain(record, x)
    x = x[[all(abs(v - k) > (2 * h if k in record.kinks or not k else 0.1) for k in (0, *record.kinks, *(record.domain or ()))) for v in x]]
    f = fastact.get(record.name)
    with support.quiet():  # five points: the error is of the order h**4
        found = (f(x - 2 * h) - 8 * f(x - h) + 8 * f(x + h) - f(x + 2 * h)) / (12 * h)
    np.testing.assert_allclose(found, f.grad(x), rtol=1e-9, atol=1e-11 * (1 + np.abs(x).max(initial=1)))


@EACH
@SETTINGS
@given(x=hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=False)))
def test_float32_is_float64_rounded(record, backend, x):
    x = support.in_domain(record, x)
    for which in (0, 1):
        y = support.compute(record, which, x)
        near = support.compute(record, which, x.astype(np.float64), **reference.as_rounded(record, "float32"))
        finite = np.isfinite(x) & support.resolved(record, which, x)
        if finite.any():
            reference.check(record, which, x[finite], y[finite], near[finite], what=f"{record.name} {which}")
        np.testing.assert_array_equal(y[np.isinf(x)], near[np.isinf(x)].astype(np.float32))
        assert y.dtype == np.float32
