"""NaN, infinities, zeros, subnormals, kinks, and the floating-point flags."""

import ctypes
import importlib
import itertools
import platform
import sys

import numpy as np
import pytest
import reference
import support

import fastact

ROWS = pytest.mark.parametrize("record, mode", support.value_rows())
DTYPE = pytest.mark.parametrize("dtype", support.DTYPES)


@ROWS
def test_nan_gives_nan(record, mode, backend):
    low, high = record.domain or (-3, 3)
    for dtype, n in itertools.product(support.DTYPES, (1, 5, 67)):
        x = np.linspace(low, min(high, 3), n + 2)[1:-1].astype(dtype)
        x[n // 2] = np.nan
        given = (np.ones_like(x), x) if mode.startswith("backward") else (x,)
        for result in support.outputs(record, mode, given):
            np.testing.assert_array_equal(np.isnan(result), np.isnan(x))


@DTYPE
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_nan_gradient_gives_nan(record, dtype, backend):
    x = np.linspace(0.25, 0.75, 7).astype(dtype)
    gradient = np.array([1, np.nan] * 4, dtype)[:7]
    np.testing.assert_array_equal(np.isnan(fastact.get(record.name).backward(gradient, x)), np.isnan(gradient))


@pytest.mark.parametrize("record", support.by_name(support.PARAMETRIC))
def test_nan_parameter(record, backend):
    # A parameter that is NaN matters where it is computed with, not where it is compared with; and must not crash.
    x = np.linspace(-3, 3, 8)
    p = record.given("value")[0]
    results = support.outputs(record, "value_and_grad", (x,), **{p.name: np.nan})
    compared = any(isinstance(kink, str) and p.name in kink for kink in record.formula.entry["kinks"])
    assert compared or any(np.isnan(r).any() for r in results)


@pytest.mark.parametrize("which", [0, 1], ids=["value", "derivative"])
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_infinities_give_the_limits(record, which, backend):
    low, high = record.domain or (-np.inf, np.inf)
    signs = [sign for sign in (-1, 1) if low <= sign * np.inf <= high]
    expected = [1.0 if which and record.reach else reference.limit(record, sign, which) for sign in signs]  # of a wave, the mean
    for dtype, n in itertools.product(support.DTYPES, (1, 37)):
        x = np.repeat(np.array([sign * np.inf for sign in signs], dtype), n)
        result = support.compute(record, which, x)
        np.testing.assert_array_equal(result, np.repeat(np.array(expected, dtype), n))


@DTYPE
@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if r.domain))
def test_ends_of_the_domain(record, dtype, backend):
    f, (low, high) = fastact.get(record.name), record.domain
    outside = [end for end in (low - 1, low - 1e-3, -np.inf, high + 1e-3, high + 1, np.inf) if not low <= end <= high]
    x = np.array(outside * 5, dtype)
    with np.errstate(all="raise"):
        for result in f.value_and_grad(x):
            assert np.isnan(result).all()
        at_ends = f(np.array([low, high], dtype))
    assert np.isinf(at_ends).all() and at_ends[0] < at_ends[1]


@DTYPE
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_huge_numbers(record, dtype, backend):
    limits = np.finfo(dtype)
    x = support.in_domain(record, np.array([-limits.max, -limits.max / 3, limits.max / 3, limits.max], dtype))
    for which in (0, 1):
        use = x[support.resolved(record, which, x)]
        near, rest = reference.exact(record, which, use, reference.as_rounded(record, dtype))
        reference.check(record, which, use, support.compute(record, which, use), near, rest, what=f"{record.name} {dtype} huge")


@DTYPE
@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if not r.domain or r.domain[0] < 0))
def test_signed_zeros(record, dtype, backend):
    zeros = np.array([0.0, -0.0] * 9, dtype)
    result = support.compute(record, 0, zeros)
    at_zero = float(reference.value(record, 0.0, tuple(reference.as_rounded(record, dtype).items())))
    np.testing.assert_allclose(result, at_zero, rtol=np.finfo(dtype).eps * 4)
    if at_zero == 0:
        assert not np.signbit(result[0::2]).any(), "0 gives 0, not -0"
        if reference.one_sided(record, 0)[0] > 0:  # it goes through 0 from below
            assert np.signbit(result[1::2]).all(), "-0 gives -0"


@DTYPE
@pytest.mark.parametrize("name", ["gelu", "gelu_10", "gelu_tanh", "quick_gelu", "silu", "mish"])
def test_what_underflows_keeps_its_sign(name, dtype, backend):
    with support.quiet():
        y = fastact.get(name)(np.append(np.linspace(-900, -1, 9000), -np.inf).astype(dtype))
    assert np.signbit(y).all()


@DTYPE
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_subnormals_are_not_flushed(record, dtype, backend):
    limits = np.finfo(dtype)
    small = np.array([1, 2, 5, 39]) * limits.smallest_subnormal
    x = support.in_domain(record, np.concatenate([small, -small, limits.tiny - small, -(limits.tiny - small)]).astype(dtype))
    for which in (0, 1):
        use = x[support.resolved(record, which, x)]
        near, rest = reference.exact(record, which, use, reference.as_rounded(record, dtype))
        reference.check(record, which, use, support.compute(record, which, use), near, rest, what=f"{record.name} {dtype} tiny")


def convention_at(record, kink):
    """The parameter that says what the derivative is there: one for each kink, or one for all."""
    conventions = [p for p in record.parameters if p.convention]
    return conventions and conventions[record.kinks.index(kink) if len(conventions) > 1 else 0]


@DTYPE
@pytest.mark.parametrize("record, kink", [pytest.param(r, k, id=f"{r.name}-{k:g}") for r in support.KINKED for k in r.kinks])
def test_derivative_at_a_kink(record, kink, dtype, backend):
    f = fastact.get(record.name)
    convention = convention_at(record, kink)
    sides = reference.one_sided(record, kink)
    for n in (1, 41):
        for x in (np.full(n, kink, dtype), -np.full(n, -kink, dtype)):
            at = f.value_and_grad(x)[1]
            assert len(set(at.tolist())) == 1
            if convention:
                assert at[0] == np.dtype(dtype).type(convention.default)
            else:
                assert np.isclose(at[0], sides, rtol=1e-6).any(), f"{at[0]} is on neither side of the kink: {sides}"
            support.same_bits(f.backward(np.ones_like(x), x), at, "backward")
            if record.from_output is not None:
                support.same_bits(f.backward(np.ones_like(x), output=f(x)), at, "from the output")


@DTYPE
@pytest.mark.parametrize(
    "record, name", [pytest.param(r, p.name, id=f"{r.name}-{p.name}") for r in support.RECORDS for p in r.parameters if p.convention]
)
def test_convention_is_settable(record, name, dtype, backend):
    f = fastact.get(record.name)
    x = np.concatenate([[k - 1, k, k + 1] for k in record.kinks]).astype(dtype)
    mine = [k for k in record.kinks if convention_at(record, k).name == name]
    for value in (0.25, 1.0, -2.0, 1, np.float32(0.5)):
        expected = f.grad(x)
        expected[np.isin(x, mine)] = value
        options = {name: value}
        support.same_bits(f.grad(x, **options), expected, f"grad {options}")
        support.same_bits(f.value_and_grad(x, **options)[1], expected, f"value_and_grad {options}")
        support.same_bits(f.backward(np.ones_like(x), x, **options), expected, f"backward {options}")
        support.same_bits(f.grad(x, casting="same_kind", **options), expected, f"general path {options}")
        if record.from_output is not None:
            found = f.backward(np.ones_like(x), output=f(x), **options)
            support.same_bits(found[np.isin(x, mine)], expected[np.isin(x, mine)], f"from the output {options}")
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(TypeError, match=name):
        f(x, **{name: 1.0})


def test_conventions_of_the_specification(backend):
    # These two the catalog can't know: they are what was asked for.
    assert fastact.relu.grad(np.zeros(3)).tolist() == [0, 0, 0]
    assert fastact.leaky_relu.grad(np.zeros(3)).tolist() == [0, 0, 0]
    assert fastact.leaky_relu(np.array([-1.0]))[0] == -0.1


@ROWS
def test_no_spurious_flags(record, mode, backend):
    for dtype in support.DTYPES:
        x = support.in_domain(record, support.specials(dtype))
        arrays = (np.ones_like(x), x) if mode.startswith("backward") else (x,)
        if mode == "backward_from_output":
            with support.quiet():
                arrays = (arrays[0], fastact.get(record.name)(x))
        expected = support.outputs(record, mode, arrays)
        assert not any(np.isnan(e).any() for e in expected)
        ufunc = fastact.get(record.name).mode_ufunc(mode)
        defaults = [p.default for p in record.given(mode)]
        for part in (slice(None), slice(None, None, 2), slice(3, 4)):
            given = [a[part] for a in arrays]
            with np.errstate(all="raise"):
                called = support.outputs(record, mode, given)
                general = support.outputs(record, mode, given, casting="same_kind")
                if support.HAS_EXTENSION or not support.HAS_NUMBA:  # numba.vectorize's own loops leave flags behind
                    ufunc(*given, *defaults)
            for result in (called, general):
                support.all_same_bits(result, [e[part] for e in expected], f"{record.name} {mode} {dtype}")


@ROWS
def test_flags_of_others_are_kept(record, mode):
    # A division by zero before or after is the caller's own affair.
    x = np.array([0.25, 0.5, 0.75])
    with np.errstate(divide="raise"):
        support.call(record, mode, support.inputs(record, mode, x))
        with pytest.raises(FloatingPointError):
            np.divide(x, 0)
        support.call(record, mode, support.inputs(record, mode, x))


@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if r.given("value")))
def test_parameters_beyond_float32_are_no_news(record, backend):
    """They are infinite there, on every path, and in every mode."""
    x, f = np.linspace(-3, 3, 20, dtype=np.float32), fastact.get(record.name)
    with np.errstate(all="raise"):
        for p in record.given("value"):
            for large in (1e300, -1e300, np.float64(1e300)):
                for given in (x, x[::2], list(x), x.astype(np.float16)):
                    f(given, **{p.name: large})
                    f.value_and_grad(given, **{p.name: large})
                    f.backward(given, given, **{p.name: large})


def _underflow():
    """The processor's flag for that, or None where nobody knows how to ask for it: functions that clear it and that read it."""
    flags = {"x86_64": 0x10, "aarch64": 0x08}.get(platform.machine())
    if flags is None or sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return lambda: library.feclearexcept(flags), lambda: bool(library.fetestexcept(flags))


@DTYPE
@pytest.mark.parametrize(  # without fma, products are taken apart, and underflow
    "level",
    [n for n in support.LEVELS if n != "v2"] or [pytest.param(None, marks=pytest.mark.skip(reason=support.too_few("level with fma")))],
)
@pytest.mark.skipif(_underflow() is None, reason="this machine has a processor or a system whose underflow flag nobody knows how to read")
def test_nothing_underflows_where_a_function_is_flat(level, dtype):
    """That costs an Intel processor some 150 cycles each time: a network whose units are saturated would run at a tenth of its speed."""
    clear, underflowed = _underflow()
    clear()
    np.multiply(np.float32(1e-30), np.float32(1e-30))
    assert underflowed()
    kernels = importlib.import_module(f"fastact._cy.kernels_{level}").kernels()
    ranges = [(20, 43), (240, 1200)] if dtype == np.float32 else [(22, 26), (300, 350), (1600, 9000)]  # between them results are subnormal
    parts = [np.linspace(*ends, 501) for ends in ranges] + [np.full(67, 1e9)]
    parts += [np.full(67, end) for end in (0, 1, np.nan, np.inf)]
    inputs = np.concatenate([sign * part for part in parts for sign in (1, -1)]).astype(dtype)
    y, z = np.empty_like(inputs), np.empty_like(inputs)
    found = []
    for record in support.RECORDS:
        for mode in ("value", "grad", "value_and_grad"):
            kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_ssize_t)(
                kernels[record.name, mode, np.dtype(dtype).name, False]
            )
            defaults = np.array([p.default for p in record.parameters] or [0], dtype)
            # The derivatives of softsign, squareplus and dish do underflow at infinity, being squares and cubes of what is nearly 0.
            x = inputs if mode == "value" else inputs[~np.isinf(inputs)]
            clear()
            kernel(x.ctypes.data, y.ctypes.data, z.ctypes.data, defaults.ctypes.data, x.size)
            found += [f"{record.name} {mode}"] * underflowed()
    clear()
    assert found == []
