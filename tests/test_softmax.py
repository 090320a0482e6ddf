"""The functions along an axis, against their definitions in more precision, in all layouts, and what they say of wrong arguments."""

import copy
import functools
import inspect
import pickle
import re

import hypothesis
import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
import support

import fastact
import fastact.axis
from fastact import catalog, stubs
from fastact.backends import cython

BOUND = 4  # ULP; of softmax and log_softmax as their docstrings promise
BOUNDS = {"logsumexp": 3}  # of the others
NAMES = ["gumbel_softmax", "hardmax", "log_softmax", "logsumexp", "maxout", "softmax", "softmin", "sparsemax"]
FORWARD = [fastact.softmax, fastact.softmin, fastact.log_softmax, fastact.logsumexp]
LENGTHS = [1, 2, 7, 16, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257, 300, 1000]
by_function = pytest.mark.parametrize("function", FORWARD, ids=lambda f: f.__name__)
by_dtype = pytest.mark.parametrize("dtype", support.DTYPES)


@pytest.fixture(autouse=True, params=["compiled", "numpy"])
def route(request):
    """The compiled kernels, and NumPy."""
    if request.param == "numpy":
        fastact.set_backend("numpy")
    elif cython.rows() is None:
        pytest.skip("no extension")
    return request.param


def exact(function, row, temperature=1.0):
    """One row's result, as mpf numbers."""
    with mpmath.workprec(300):
        numbers = [mpmath.mpf(float(v)) / mpmath.mpf(temperature) * (-1 if function is fastact.softmin else 1) for v in row]
        top = max(numbers)
        terms = [mpmath.exp(v - top) for v in numbers]
        total = mpmath.fsum(terms)
        if function is fastact.logsumexp:
            return [top + mpmath.log(total)]
        if function is fastact.log_softmax:
            first = numbers.index(top)
            rest = mpmath.log1p(mpmath.fsum(t for i, t in enumerate(terms) if i != first))
            return [v - top - rest for v in numbers]
        return [t / total for t in terms]


def check(function, x, y, bound=BOUND, temperature=1.0):
    """Compare rows, the last axis, with the exact results."""
    limits = np.finfo(x.dtype)
    worst = 0.0
    for row, got in zip(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1] if y.ndim == x.ndim else 1), strict=True):
        size = float(np.abs(row).max()) if function is fastact.logsumexp else 0.0
        for right, value in zip(exact(function, row, temperature), got, strict=True):
            unit = float(np.spacing(np.maximum(np.abs(np.array(float(right), x.dtype)), np.array(size, x.dtype))))
            error = abs(float((mpmath.mpf(float(value)) - right) / mpmath.mpf(max(unit, float(limits.smallest_subnormal)))))
            worst = max(worst, error)
    assert worst <= bound, f"{worst} ULP"


@by_function
@by_dtype
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0, 300.0, 1e5])
def test_accuracy(function, dtype, scale):
    """Within the promised bound, for numbers of any size."""
    rng = np.random.default_rng(int(scale))
    for n in (1, 2, 5, 17, 40, 70, 300):
        x = (rng.normal(size=(3, n)) * scale).astype(dtype)
        check(function, x, function(x), BOUNDS.get(function.__name__, BOUND))


@pytest.mark.parametrize("function", [fastact.softmax, fastact.log_softmax], ids=lambda f: f.__name__)
@by_dtype
@pytest.mark.parametrize("temperature", [0.1, 0.7, 3.0, 1e3])
def test_temperature(function, dtype, temperature):
    """As accurate with a temperature; without fma a product's rounding is not known."""
    x = (np.random.default_rng(5).normal(size=(2, 50)) * 30 * temperature).astype(dtype)
    bound = BOUND if support.LEVELS[:1] != ["v2"] else 200
    check(function, x, function(x, temperature=temperature), bound, temperature)


@pytest.mark.parametrize("n", [2, 3, 8, 16, 31, 64, 65, 100, 256, 1000, 8192, 20_000])
def test_hardest_rows(n):
    """Where one number outweighs the others, each addition may lose half a digit of it; so may numbers that are all alike."""
    rng = np.random.default_rng(n)
    shape = (max(4, 40_000 // n), n)
    one = rng.normal(size=shape) * 0.1 - rng.uniform(5, 20, size=(shape[0], 1))
    one[np.arange(shape[0]), rng.integers(0, n, shape[0])] = rng.uniform(0, 1, shape[0])
    tiny = np.zeros(shape) - rng.uniform(16, 17.5, size=(shape[0], 1))
    tiny[:, 0] = rng.uniform(0, 0.7, shape[0])
    for x in (one, tiny, np.tile(rng.normal(size=(shape[0], 1)) * 3, n)):
        x = x.astype(np.float32)
        distance = x.astype(np.longdouble) - x.max(axis=1, keepdims=True)
        terms = np.exp(distance)
        first = np.arange(shape[0]), distance.argmax(axis=1)
        others = terms.copy()
        others[first] = 0
        right = distance - np.log1p(others.sum(axis=1, keepdims=True))
        for function, exactly in ((fastact.softmax, terms / terms.sum(axis=1, keepdims=True)), (fastact.log_softmax, right)):
            unit = np.spacing(np.maximum(np.abs(exactly), np.finfo(np.float32).tiny).astype(np.float32))
            assert np.max(np.abs(function(x) - exactly) / unit) <= BOUND


@by_dtype
def test_long_rows(dtype):
    """The error does not grow with the row, nor with numbers that are all alike."""
    for x in (np.random.default_rng(1).normal(size=1_000_000), np.full(1_000_000, 0.3)):
        x = x.astype(dtype)
        wide = x.astype(np.longdouble)
        total = np.exp(wide - wide.max()).sum()
        right = np.exp(wide - wide.max()) / total
        assert np.max(np.abs(fastact.softmax(x) - right) / np.spacing(right.astype(dtype))) <= BOUND
        right = wide - wide.max() - np.log(total)
        assert np.max(np.abs(fastact.log_softmax(x) - right) / np.spacing(np.abs(right).astype(dtype))) <= BOUND
        right = wide.max() + np.log(total)
        size = np.maximum(np.abs(right), np.abs(x).max()).astype(dtype)
        assert abs(fastact.logsumexp(x) - right) / np.spacing(size) <= BOUNDS["logsumexp"]
        p, g = fastact.softmax(x), np.random.default_rng(2).normal(size=x.size).astype(dtype)
        wide_p, wide_g = p.astype(np.longdouble), g.astype(np.longdouble)
        mean = (wide_p * wide_g).sum()
        largest = wide_p * np.maximum(np.abs(wide_g), abs(mean))
        assert np.max(np.abs(fastact.softmax.backward(g, p) - wide_p * (wide_g - mean)) / np.spacing(largest.astype(dtype))) <= BOUND


def test_log_softmax_near_zero():
    """Where one number dominates, its logarithm keeps its digits."""
    x = np.array([0.0, -20.0, -25.0])
    assert fastact.log_softmax(x)[0] == pytest.approx(-(np.exp(-20) + np.exp(-25)), rel=1e-8)
    assert fastact.log_softmax(np.array([0, -80], np.float32))[0] == pytest.approx(-np.exp(-80.0), rel=1e-6)


def naive(x, axis):
    """The softmax as written down, in float64."""
    with np.errstate(all="ignore"):
        e = np.exp(x.astype(np.float64) - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
        return e / e.sum(axis=axis, keepdims=True)


@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.data())
def test_against_naive(data):
    """Any shape, any axes, any numbers."""
    numbers = st.floats(-60, 60, width=32)
    x = data.draw(arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9), elements=numbers))
    axis = data.draw(st.one_of(st.none(), st.integers(-x.ndim, x.ndim - 1), st.sets(st.integers(0, x.ndim - 1), min_size=1).map(tuple)))
    y = fastact.softmax(x, axis)
    np.testing.assert_allclose(y, naive(x, axis), rtol=1e-5, atol=1e-40)
    np.testing.assert_allclose(np.exp(fastact.log_softmax(x, axis).astype(float)), y, rtol=1e-4, atol=1e-40)
    if x.size:
        lse = fastact.logsumexp(x, axis, keepdims=True)
        top = x.max(axis=axis, keepdims=True)
        np.testing.assert_allclose(lse, np.log(np.exp(x.astype(float) - top).sum(axis=axis, keepdims=True)) + top, rtol=1e-5, atol=1e-5)


@by_function
@by_dtype
def test_same_bits_everywhere(function, dtype, route):
    """A row's result does not depend on how it lies in memory, or on its neighbours."""
    rng = np.random.default_rng(2)
    for n in LENGTHS:
        x = (rng.normal(size=(5, 9, n)) * 5).astype(dtype)
        y = function(x)
        one = np.stack([[function(row) for row in plane] for plane in x])
        support.same_bits(one, y, f"{n}, one by one")
        for name, lay in support.LAYOUTS.items():
            support.same_bits(support.plain(function(lay(x))), y, f"{n}, {name}")
        for axis in (0, 1):
            moved = np.moveaxis(x, 2, axis)
            other = function(np.ascontiguousarray(moved), axis)
            support.same_bits(
                support.plain(other if function is fastact.logsumexp else np.moveaxis(other, axis, 2)), y, f"{n}, axis {axis}"
            )


@by_dtype
@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_quick_calls(dtype, name):
    """Plain arrays skip most checks: many rows, few, one, none, of all lengths, give what the general path gives, row by row too."""
    function, rng = getattr(fastact, name), np.random.default_rng(18)
    for shape in (
        (1100, 16),
        (9, 16),
        (1, 16),
        (0, 16),
        (3, 0),
        (70, 3),
        (45, 63),
        (33, 64),
        (300, 65),
        (5, 2050),
        (2, 9000),
        (2, 3, 40),
        (17,),
    ):
        x, g = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        y = function(x)
        support.same_bits(function(x, temperature=1), y)
        back = function.backward(g, y)
        support.same_bits(function.backward(g, y, temperature=1), back)
        if x.ndim == 2:
            support.same_bits(np.array([function(row, temperature=1) for row in x], dtype).reshape(shape), y)
            rows = [function.backward(a, b, temperature=1) for a, b in zip(g, y, strict=True)]
            support.same_bits(np.array(rows, dtype).reshape(shape), back)
        for out in (np.empty_like(x), x.copy()):
            given = out if out.size and (out == x).all() else x
            assert function(given, out=out) is out
            support.same_bits(out, y)
        read_only = x.copy()
        read_only.flags.writeable = False
        support.same_bits(function(read_only), y)
        with pytest.raises(ValueError, match=f"^{name}: out"):
            function(x, out=read_only)
        support.same_bits(function(x.astype(x.dtype.newbyteorder())), y)
    room = np.zeros((8, 16), dtype)
    room[:-1] = x = rng.normal(size=(7, 16)).astype(dtype)
    support.same_bits(function(room[:-1], out=room[1:]), function(x))


@by_function
@by_dtype
def test_rows_one_number_apart(function, dtype):
    """Rows that begin one number before the last one, and windows that share numbers, in the input, the output and the gradient."""
    numbers = np.random.default_rng(8).normal(size=24).astype(dtype)
    for n in (1, 2, 3, 17):
        windows = np.lib.stride_tricks.sliding_window_view(numbers, n)
        for x in (windows, windows[::-1], windows[::-2], windows.reshape(-1, 1, n)[::-1]):
            y = function(x.copy())
            support.same_bits(function(x), y)
            out = np.empty_like(y)[::-1]
            assert function(x, out=out) is out
            support.same_bits(out, y)
            g = numbers[: y.size].reshape(y.shape) if y.ndim < x.ndim else x
            second = y if function is not fastact.logsumexp else x
            back = function.backward(g.copy(), second.copy())
            support.same_bits(function.backward(g, second), back)
            support.same_bits(function.backward(g[::-1], second[::-1])[::-1], back)


@by_function
def test_same_bits_with_threads(function):
    """Nor on the number of threads: few long rows are shared out too."""
    x = np.random.default_rng(3).normal(size=(3, 70_000)).astype(np.float32)
    fastact.set_num_threads(1)
    alone = function(x)
    fastact.set_num_threads(4)
    if cython.frontend is not None:
        cython.frontend.set_thresholds_ns(1.0, 1.0)
    for _ in range(3):
        support.same_bits(function(x), alone)
    support.same_bits(function(x[:, :400]), np.stack([function(row) for row in x[:, :400]]))


@pytest.mark.parametrize("level", support.LEVELS)
def test_same_bits_by_level(level):
    """Every level with FMA gives the same bits."""
    if level == "v2" or len(support.LEVELS) < 2:
        return
    code = (
        "import numpy as np, fastact, hashlib\n"
        "x = np.random.default_rng(4).normal(size=(40, 333)) * 9\n"
        "for d in 'fd':\n"
        "    z = x.astype(d)\n"
        "    for y in (fastact.softmax(z), fastact.log_softmax(z, temperature=0.3), fastact.logsumexp(z, 0), fastact.softmax(z[:, :20]),\n"
        "              fastact.log_softmax.backward(z, -abs(z)), fastact.softmax.backward(z, z)):\n"
        "        print(hashlib.sha256(y.tobytes()).hexdigest())\n"
    )
    assert support.isolated(code, FASTACT_LEVEL=level).stdout == support.isolated(code).stdout


# --- What is special -----------------------------------------------------------------------------------------------------


@by_dtype
@pytest.mark.parametrize("n", [4, 40, 100, 10_000])
def test_infinities_and_nan(dtype, n):
    """+inf takes all, several share it; -inf gets nothing; NaN spoils its row and no other."""
    x = np.zeros((9, n), dtype)
    x[1, 2] = np.inf
    x[2, 1:3] = np.inf
    x[3, 1] = -np.inf
    x[4] = -np.inf
    x[5, n - 1] = np.nan
    x[6, 0], x[6, 1] = np.nan, np.inf
    x[7] = np.nan
    with np.errstate(all="raise"):
        y, log, lse = fastact.softmax(x), fastact.log_softmax(x), fastact.logsumexp(x)
        turned, down = fastact.softmax(np.ascontiguousarray(x.T), 0).T, fastact.softmin(-x)
    np.testing.assert_array_equal(turned, y)
    np.testing.assert_array_equal(down, y)
    assert y[1, 2] == 1 and y[1].sum() == 1 and (log[1] == np.where(np.arange(n) == 2, 0, -np.inf)).all()
    assert (y[2, 1:3] == 0.5).all() and y[2].sum() == 1 and log[2, 1] == pytest.approx(-np.log(2), rel=1e-6) and log[2, 0] == -np.inf
    assert y[3, 1] == 0 and log[3, 1] == -np.inf and y[3, 0] == pytest.approx(1 / (n - 1), rel=1e-6)
    assert np.isnan(y[4]).all() and np.isnan(log[4]).all()
    for row in (5, 6, 7):
        assert np.isnan(y[row]).all() and np.isnan(log[row]).all() and np.isnan(lse[row])
    assert lse[1] == np.inf and lse[2] == np.inf and lse[4] == -np.inf
    assert y[8, 0] == pytest.approx(1 / n, rel=1e-6)


@by_function
@by_dtype
def test_no_flags(function, dtype):
    """Nothing finite overflows, and nothing raises, though exp underflows."""
    big = np.finfo(dtype).max
    for row in ([big, -big, 0], [big, big], [-big, -big], [1e4, 1e4 - 50, -1e4], [np.finfo(dtype).tiny, 0]):
        x = np.array([row * 40], dtype)
        with np.errstate(all="raise"):
            y = function(x)
        assert not np.isnan(y).any()
        if function in (fastact.softmax, fastact.softmin):
            assert y.sum(dtype=np.float64) == pytest.approx(1, rel=1e-5)


def test_subnormal_results():
    """The tail is kept down to the smallest subnormal, and then is 0."""
    x = np.array([0, -87, -95, -103, -104, -200], np.float32)
    np.testing.assert_allclose(fastact.softmax(x), np.exp(x.astype(float)), rtol=1e-6, atol=0.6 * 2.0**-149)


def test_empty():
    """No rows and empty rows."""
    assert fastact.softmax(np.empty((3, 0), np.float32)).shape == (3, 0)
    assert fastact.log_softmax(np.empty((0, 5)), 0).shape == (0, 5)
    assert fastact.softmax(np.empty((0, 5))).shape == (0, 5)
    assert (fastact.logsumexp(np.empty((3, 0))) == -np.inf).all()
    assert fastact.logsumexp(np.empty((0, 3)), 1).shape == (0,)
    assert fastact.sparsemax(np.empty((0, 3))).shape == (0, 3)


def test_scalars():
    """A number is a row of one."""
    assert fastact.softmax(3.0) == 1 and isinstance(fastact.softmax(3.0), np.float64)
    assert fastact.log_softmax(np.float32(3)) == 0 and fastact.log_softmax(np.float32(3)).dtype == np.float32
    assert fastact.logsumexp([1.0, 2.0], None) == pytest.approx(np.logaddexp(1, 2))
    assert fastact.hardmax(2.0) == 1 and fastact.sparsemax(-2.0, None) == 1


# --- Masks, ragged rows, memory, dtypes ----------------------------------------------------------------------------------


@by_dtype
@pytest.mark.parametrize("n", [5, 50, 300])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_where(dtype, n, axis):
    """A masked row is the row of what is left; nothing left is nothing, not NaN."""
    rng = np.random.default_rng(n)
    x = (rng.normal(size=(4, 10, n)) * 4).astype(dtype)
    mask = rng.random((4, 10, n)) < 0.6
    x = np.moveaxis(x, 2, axis).copy()
    mask = np.moveaxis(mask, 2, axis).copy()
    np.moveaxis(mask, axis, 0)[:, 0, 0] = False
    x[~mask] = np.nan
    y, log, lse = (f(x, axis, where=mask) for f in (fastact.softmax, fastact.log_softmax, fastact.logsumexp))
    hidden = np.where(mask, x, -np.inf)
    with np.errstate(all="ignore"):
        right = np.where(mask, naive(hidden, axis), 0)
    np.testing.assert_allclose(y, right, rtol=2e-5, atol=1e-45)
    assert (y[~mask] == 0).all() and (log[~mask] == -np.inf).all()
    np.testing.assert_allclose(np.exp(log[mask].astype(float)), y[mask], rtol=1e-4)
    assert np.moveaxis(np.expand_dims(lse, axis), axis, 0)[0, 0, 0] == -np.inf
    g = np.where(mask, rng.normal(size=x.shape), np.nan).astype(dtype)
    dx = fastact.softmax.backward(g, y, axis, where=mask)
    clean = np.where(mask, g, 0).astype(float)
    np.testing.assert_allclose(dx, y * (clean - (clean * y).sum(axis=axis, keepdims=True)), rtol=1e-3, atol=1e-5)
    assert (fastact.log_softmax.backward(g, log, axis, where=mask)[~mask] == 0).all()


def test_where_broadcasts():
    """As in NumPy."""
    y = fastact.softmax(np.zeros((3, 4), np.float32), where=[True, False, True, True])
    assert (y == np.array([1, 0, 1, 1], np.float32) / np.float32(3)).all()
    y = fastact.softmin(np.arange(12.0).reshape(3, 4), where=np.array([[True], [False], [True]]))
    assert (y[1] == 0).all() and y[0].sum() == pytest.approx(1)
    assert (fastact.softmax(np.ones(3), where=True) == fastact.softmax(np.ones(3))).all()


@by_function
@pytest.mark.parametrize("shape", [(60,), (60, 3), (60, 40)])
def test_lengths(function, shape):
    """Ragged rows are as good as rows by themselves."""
    x = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    lengths = [5, 0, 40, 1, 14]
    y = function(x, lengths=lengths)
    parts = np.split(x, np.cumsum(lengths)[:-1])
    right = [function(part, 0) for part in parts]
    support.same_bits(y, np.stack(right) if function is fastact.logsumexp else np.concatenate(right))
    if function is not fastact.logsumexp:
        g = np.random.default_rng(8).normal(size=shape).astype(np.float32)
        back = function.backward(g, y, lengths=lengths)
        gs, ys = (np.split(a, np.cumsum(lengths)[:-1]) for a in (g, y))
        support.same_bits(back, np.concatenate([function.backward(a, b, 0) for a, b in zip(gs, ys, strict=True)]))
    else:
        g = np.arange(5 * int(np.prod(shape[1:]))).reshape(5, *shape[1:]).astype(np.float32)
        np.testing.assert_allclose(
            function.backward(g, x, lengths=lengths), fastact.softmax(x, lengths=lengths) * np.repeat(g, lengths, axis=0), rtol=1e-6
        )


@pytest.mark.parametrize("function", [fastact.softmax, fastact.log_softmax, fastact.softmin, fastact.sparsemax, fastact.hardmax])
@pytest.mark.parametrize("shape", [(3, 5), (40, 70), (40, 7), (2, 30_000)])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_out(function, shape, axis):
    """Into given memory, which may be the input's, or overlap it."""
    x = np.random.default_rng(9).normal(size=shape)
    x[0, :2] = np.inf
    right = function(x, axis)
    for out in (np.empty(shape), np.empty(shape, order="F"), np.empty((shape[0], 2 * shape[1]))[:, ::2]):
        assert function(x, axis, out=out) is out
        np.testing.assert_array_equal(out, right)
    single = np.empty(shape, np.float32)
    np.testing.assert_allclose(function(x, axis, out=(single,)), right, rtol=1e-6, atol=1e-45)
    same = x.copy()
    assert function(same, axis, out=same) is same
    np.testing.assert_array_equal(same, right)
    room = np.zeros((shape[0] + 1, shape[1]))
    room[:-1] = x
    np.testing.assert_array_equal(function(room[:-1], axis, out=room[1:]), right)
    back = np.zeros(shape)[::-1]
    np.testing.assert_array_equal(function(x, axis, out=back), right)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(20, 9), (3, 100), (2, 9000)])
def test_half_precision(name, shape):
    """Computed in float32 and rounded once."""
    half = np.dtype("float16") if name == "float16" else np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    x = np.random.default_rng(10).normal(size=shape).astype(half)
    g = np.random.default_rng(11).normal(size=shape).astype(half)
    wide = x.astype(np.float32)
    for function in FORWARD:
        for axis in (0, 1):
            y = function(x, axis)
            assert y.dtype == half
            support.same_bits(y, function(wide, axis).astype(half))
            out = np.empty(y.shape, np.float32)
            support.same_bits(function(x, axis, out=out), function(wide, axis))
    y = fastact.softmax(x)
    support.same_bits(fastact.softmax.backward(g, y), fastact.softmax.backward(g.astype("f"), y.astype("f")).astype(half))
    support.same_bits(fastact.softmax(x, where=wide > 0), fastact.softmax(wide, where=wide > 0).astype(half))
    assert fastact.sparsemax(x).dtype == half and fastact.hardmax(x).dtype == half


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_a_narrower_dtype_is_computed_in_float32(name, axis):
    """`dtype` says what the result is rounded to, not what x is: as for x in float32, in any byte order, and nothing warns."""
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16) if name == "bfloat16" else np.dtype(name)
    rng = np.random.default_rng(21)
    x, g = rng.normal(size=(5, 70)) * 3 + 1000, rng.normal(size=(5, 70))
    x[0, :3] = 70_000, 70_001, 1e39  # too large for float16, and for float32
    with support.quiet():
        single, single_g = x.astype(np.float32), g.astype(np.float32)
    swapped = x.dtype.newbyteorder()
    for function in FORWARD:
        with support.quiet():
            right = function(single, axis).astype(dtype)
        for given in (x, x.astype(swapped), single, np.asfortranarray(x)):
            with np.errstate(all="raise"):
                support.same_bits(support.plain(function(given, axis, dtype=dtype)), right, f"{function.__name__} of {given.dtype}")
                support.same_bits(function(given, axis, out=np.empty(right.shape, dtype), dtype=dtype), right, "out")
        if function is not fastact.logsumexp:
            y = function(single, axis)
            with support.quiet():
                right = function.backward(single_g, y, axis).astype(dtype)
            for given in (g, g.astype(swapped)):
                with np.errstate(all="raise"):
                    support.same_bits(function.backward(given, y.astype(swapped), axis, dtype=dtype), right, function.__name__)
    with np.errstate(all="raise"):
        fastact.softmax.backward(np.array([1e39, 2.0]), np.array([0.5, 0.5]), dtype=np.float32)
        assert fastact.softmax(np.array([1e39, 2e39]), dtype=np.float32).tolist() == [0.5, 0.5]
        integers = np.array([[2**24, 2**24 + 1]])
        support.same_bits(fastact.softmax(integers, dtype=np.float32), fastact.softmax(integers.astype(np.float32)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "uint64"])
def test_integers(dtype):
    """Converted as NumPy's ufuncs do."""
    x = np.array([[0, 1, 1], [1, 0, 0]], dtype)
    expected = np.result_type(x.dtype, np.float32)
    for function in FORWARD:
        assert function(x).dtype == expected
        np.testing.assert_allclose(function(x), function(x.astype(expected)), rtol=1e-6)
    assert fastact.softmax(x, dtype="float32").dtype == np.float32
    assert fastact.softmax(np.zeros(3, np.float32), dtype=np.float64).dtype == np.float64


def test_backward_is_the_derivative():
    """Against differences, through every function that has a backward pass."""
    rng = np.random.default_rng(12)
    x, g = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    h = 1e-6
    cases = [
        (
            lambda v: fastact.softmax(v, temperature=0.7),
            lambda: fastact.softmax.backward(g, fastact.softmax(x, temperature=0.7), temperature=0.7),
        ),
        (lambda v: fastact.softmin(v, 0), lambda: fastact.softmin.backward(g, fastact.softmin(x, 0), 0)),
        (lambda v: fastact.log_softmax(v, None), lambda: fastact.log_softmax.backward(g, fastact.log_softmax(x, None), None)),
        (lambda v: fastact.sparsemax(v), lambda: fastact.sparsemax.backward(g, fastact.sparsemax(x))),
    ]
    for f, back in cases:
        numeric = np.zeros_like(x)
        for i in np.ndindex(*x.shape):
            d = np.zeros_like(x)
            d[i] = h
            numeric[i] = (g * (f(x + d) - f(x - d))).sum() / (2 * h)
        np.testing.assert_allclose(back(), numeric, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(fastact.logsumexp.backward(g[:, 0], x), g[:, :1] * fastact.softmax(x), rtol=1e-14)
    np.testing.assert_allclose(fastact.logsumexp.backward(g[:, :1], x, keepdims=True), g[:, :1] * fastact.softmax(x), rtol=1e-14)


@pytest.mark.parametrize("n", [3, 33, 80, 5000])
def test_backward_in_place(n):
    """Onto the gradient or the output; a gradient that broadcasts."""
    rng = np.random.default_rng(n)
    y, g = fastact.softmax(rng.normal(size=(40, n))), rng.normal(size=(40, n))
    for backward in (fastact.softmax.backward, fastact.softmin.backward, fastact.log_softmax.backward):
        right = backward(g, y)
        np.testing.assert_array_equal(backward(g.copy(), y, out=(a := g.copy())), right)
        assert backward(a := g.copy(), y, out=a) is a
        np.testing.assert_array_equal(a, right)
        assert backward(g, a := y.copy(), out=a) is a
        np.testing.assert_array_equal(a, right)
        np.testing.assert_array_equal(backward(g[0], y), backward(np.broadcast_to(g[0], y.shape).copy(), y))


# --- The others ----------------------------------------------------------------------------------------------------------


def test_hardmax():
    """One-hot of the first of the largest."""
    x = np.array([[1, 3, 3], [-np.inf, -np.inf, -np.inf], [0, np.inf, np.inf], [np.nan, 1, 2]])
    np.testing.assert_array_equal(fastact.hardmax(x), [[0, 1, 0], [1, 0, 0], [0, 1, 0], [np.nan] * 3])
    mask = np.array([[True, False, True], [False, True, True], [False] * 3, [False, True, True]])
    np.testing.assert_array_equal(fastact.hardmax(x, where=mask), [[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(fastact.hardmax(x[0], None), [0, 1, 0])


@by_dtype
def test_sparsemax(dtype):
    """The nearest point of the simplex."""
    x = (np.random.default_rng(13).normal(size=(50, 20)) * 2).astype(dtype)
    y = fastact.sparsemax(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    assert (y >= 0).all()
    support_size = (y > 0).sum(axis=1, keepdims=True)
    tau = (np.where(y > 0, x, 0).sum(axis=1, keepdims=True, dtype=float) - 1) / support_size
    np.testing.assert_allclose(y, np.maximum(x - tau, 0), atol=1e-5)
    np.testing.assert_allclose(fastact.sparsemax(x + 100, where=y > 0)[y == 0], 0)
    np.testing.assert_array_equal(fastact.sparsemax([0, np.inf, np.inf]), [0, 0.5, 0.5])
    assert np.isnan(fastact.sparsemax([0, np.nan])).all()
    assert (fastact.sparsemax(np.ones((2, 3)), where=False) == 0).all()


@by_dtype
def test_same_bits_of_the_others(dtype):
    """What is computed by NumPy does not depend on how it lies in memory either."""
    rng = np.random.default_rng(22)
    x, g = (rng.normal(size=(100, 40)).astype(dtype) for _ in range(2))
    y = fastact.sparsemax(x)
    for name, lay in support.LAYOUTS.items():
        support.same_bits(support.plain(fastact.sparsemax(lay(x))), y, name)
        support.same_bits(support.plain(fastact.hardmax(lay(x))), fastact.hardmax(x), name)
        support.same_bits(support.plain(fastact.sparsemax.backward(lay(g), lay(y))), fastact.sparsemax.backward(g, y), name)
        support.same_bits(fastact.maxout(lay(x))[0], fastact.maxout(x)[0], name)


def test_maxout():
    """The largest and where it is; gradients go there."""
    x = np.random.default_rng(14).normal(size=(4, 3, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        y, which = fastact.maxout(x, axis)
        np.testing.assert_array_equal(y, x.max(axis))
        np.testing.assert_array_equal(which, x.argmax(axis))
        dx = fastact.maxout.backward(y, which, x.shape[axis], axis)
        np.testing.assert_array_equal(dx, np.where(x == x.max(axis, keepdims=True), x, 0))
    out = np.empty((4, 3))
    assert fastact.maxout(x, out=out)[0] is out


def test_maxout_of_as_many_dimensions_as_there_are():
    x = np.arange(4.0).reshape((1,) * 63 + (4,))
    y, which = fastact.maxout(x)
    assert y.shape == which.shape == (1,) * 63 and which.item() == 3
    np.testing.assert_array_equal(fastact.maxout.backward(y, which, 4).ravel(), [0, 0, 0, 3])


def test_gumbel_softmax():
    """Draws follow the probabilities."""
    logits = np.log(np.array([0.2, 0.3, 0.5]))
    draws = fastact.gumbel_softmax(np.broadcast_to(logits, (20_000, 3)), hard=True, rng=np.random.default_rng(15))
    np.testing.assert_allclose(draws.mean(axis=0), [0.2, 0.3, 0.5], atol=0.02)
    soft = fastact.gumbel_softmax(logits.astype(np.float32), 0.5, rng=np.random.default_rng(16))
    assert soft.dtype == np.float32 and soft.sum() == pytest.approx(1, rel=1e-6)
    np.testing.assert_array_equal(
        fastact.gumbel_softmax.backward([1, 0, 0], soft, temperature=0.5), fastact.softmax.backward([1, 0, 0], soft, temperature=0.5)
    )


# --- Calls ---------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 3), np.float32)


def test_more_rows_without_a_number_than_anyone_can_count():
    for shape in ((2**60, 0), (0, 2**60)):
        x = np.empty(shape, np.float32)
        for axis in (0, 1):
            for found in (fastact.softmax(x, axis), fastact.log_softmax(x, axis, where=True), fastact.softmax.backward(x, x, axis)):
                assert found.shape == shape


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_longer_than_any_memory(dtype):
    """The bytes of its blocks are more than an integer holds."""
    whole = 2**63 // np.dtype(dtype).itemsize - 1
    for n in (whole, whole // 2 * 2 // 5 * 2 + 1, 2**45):
        x, where = np.broadcast_to(dtype(1), (n,)), np.broadcast_to(True, (n,))
        with pytest.raises((MemoryError, ValueError)):  # NumPy's own say that the array is too big
            fastact.logsumexp(x, where=where)
    x = np.broadcast_to(np.float16(1), (2**62 - 1,))
    with pytest.raises((MemoryError, ValueError)):
        fastact.logsumexp(x, lengths=[2**62 - 1] * 5 + [4])  # the sum of these, modulo 2**64, is right


def windows(shape):
    """Zeros that share memory: each row begins one element after the one before."""
    return np.lib.stride_tricks.as_strided(np.zeros(sum(shape)), shape, (8,) * len(shape))


WRONG = [
    (lambda f: f(X, 2), ValueError, "axis"),
    (lambda f: f(X, (0, 0)), ValueError, "axis"),
    (lambda f: f(X, "x"), TypeError, "axis"),
    (lambda f: f(X, 1.0), TypeError, "axis"),
    (lambda f: f(X, ()), ValueError, "axis"),
    (lambda f: f(X * 1j), TypeError, "x"),
    (lambda f: f(["a"]), TypeError, "x"),
    (lambda f: f([[1], [1, 2]]), ValueError, "x"),
    (lambda f: f(X.astype(object)), TypeError, "x"),
    (lambda f: f(X, where=[True, False]), ValueError, "where"),
    (lambda f: f(X, where=[1, 0, 1]), TypeError, "where"),
    (lambda f: f(X, out=[0]), TypeError, "out"),
    (lambda f: f(X, out=np.empty((3, 3), np.float32)), ValueError, "out"),
    (lambda f: f(X, out=(None, None)), ValueError, "out"),
    (lambda f: f(X, out=np.broadcast_to(np.float32(0), f(X).shape)), ValueError, "out"),
    (lambda f: f(np.stack([X, X]), out=windows(f(np.stack([X, X])).shape)), ValueError, "out"),
    (lambda f: f(X, out=np.empty(f(X).shape, int)), TypeError, "out"),
    (lambda f: f(X, dtype="int32", out=None) and None if False else f(X, dtype="complex64"), TypeError, "dtype"),
]


@pytest.mark.parametrize("function", [*FORWARD, fastact.hardmax, fastact.sparsemax], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", range(len(WRONG)))
def test_errors(function, case):
    """The argument is named, and nothing is written."""
    call, kind, name = WRONG[case]
    with pytest.raises(kind, match=rf"^{function.__name__}: {name}\b"):
        call(function)


@pytest.mark.parametrize("function", FORWARD, ids=lambda f: f.__name__)
def test_errors_of_options(function):
    """Temperature and lengths."""
    if function is not fastact.logsumexp:
        for wrong in (0, -1, np.inf, np.nan, 1e-60):
            with pytest.raises(ValueError, match=f"^{function.__name__}: temperature"):
                function(X, temperature=wrong)
        for wrong in ("warm", np.timedelta64(2), None, np.ones(2)):
            with pytest.raises(TypeError, match=f"^{function.__name__}: temperature"):
                function(X, temperature=wrong)
    for lengths, kind in (([1], ValueError), ([3, -1], ValueError), ([0.5, 1.5], TypeError), (2, TypeError), ([[2]], TypeError)):
        with pytest.raises(kind, match=f"^{function.__name__}: lengths"):
            function(X, lengths=lengths)
    for axis in (1, None, (0, 1), np.array([0, 1])):
        with pytest.raises(ValueError, match=f"^{function.__name__}: axis"):
            function(X, axis, lengths=[2])


OTHERS_WRONG = [
    (lambda: fastact.gumbel_softmax(X, rng=3), TypeError, "gumbel_softmax: rng"),
    (lambda: fastact.gumbel_softmax(X, 0), ValueError, "gumbel_softmax: temperature"),
    (lambda: fastact.gumbel_softmax(X, 0, hard=True), ValueError, "gumbel_softmax: temperature"),
    (lambda: fastact.gumbel_softmax(X, hard=np.array([1, 2])), TypeError, "gumbel_softmax: hard"),
    (lambda: fastact.gumbel_softmax(X, hard=True, axis=5), ValueError, "gumbel_softmax: axis"),
    (lambda: fastact.gumbel_softmax(X, axis=5), ValueError, "gumbel_softmax: axis"),
    (lambda: fastact.gumbel_softmax.backward(np.ones(4), X), ValueError, "gumbel_softmax.backward: grad_output"),
    (lambda: fastact.gumbel_softmax.backward(None, X), TypeError, "gumbel_softmax.backward: grad_output"),
    (lambda: fastact.maxout(np.empty((3, 0))), ValueError, "maxout: x"),
    (lambda: fastact.maxout(X, None), ValueError, "maxout: axis"),
    (lambda: fastact.maxout(X, dtype=int), TypeError, "maxout: dtype"),
    (lambda: fastact.softmax.backward(np.ones(4), X), ValueError, "softmax.backward: grad_output"),
    (lambda: fastact.softmax.backward("a", X), TypeError, "softmax.backward: grad_output"),
    (lambda: fastact.softmax.backward(X, "a"), TypeError, "softmax.backward: output"),
    (lambda: fastact.sparsemax.backward(np.ones(4), X), ValueError, "sparsemax.backward: grad_output"),
    (lambda: fastact.logsumexp.backward(np.ones(4), X), ValueError, "logsumexp.backward: grad_output"),
    (lambda: fastact.logsumexp.backward(1, X, keepdims=np.ones(2)), TypeError, "logsumexp.backward: keepdims"),
    (lambda: fastact.logsumexp(X, keepdims=np.ones(2)), TypeError, "logsumexp: keepdims"),
    (lambda: fastact.maxout.backward([1.0], [2], 2), ValueError, "maxout.backward: pieces"),
    (lambda: fastact.maxout.backward([1.0], [0.5], 2), TypeError, "maxout.backward: which"),
    (lambda: fastact.softmax(10**400), TypeError, "softmax: x has a whole number that is too large"),
]


@pytest.mark.parametrize("case", range(len(OTHERS_WRONG)))
def test_errors_of_the_others(case):
    """Of the functions with arguments of their own."""
    call, kind, words = OTHERS_WRONG[case]
    with pytest.raises(kind, match=f"^{words}"):
        call()


def test_masked_arrays():
    """Their masks would be lost, so masked elements are refused; `where` leaves elements out."""
    x = np.ma.masked_array([[1.0, 2.0, 3.0]] * 2, [[False, False, True]] * 2)
    for f in (*FORWARD, fastact.hardmax, fastact.sparsemax, fastact.maxout, fastact.gumbel_softmax):
        with pytest.raises(TypeError, match=f"^{f.__name__}: x has masked elements"):
            f(x)
    for f in (*FORWARD, fastact.hardmax, fastact.sparsemax):
        with pytest.raises(TypeError, match=f"^{f.__name__}: x has .* x.data and where=~x.mask"):
            f(x)
        support.same_bits(f(x.data, where=~x.mask)[0], f(x.data, where=[True, True, False])[0])
        support.same_bits(f(np.ma.masked_array(x.data)), f(x.data), "nothing is masked")
        with pytest.raises(TypeError, match=f"^{f.__name__}: where has masked elements"):
            f(x.data, where=np.ma.masked_array([True] * 3, [False, False, True]))
    for f in (fastact.softmax, fastact.logsumexp, fastact.sparsemax):
        with pytest.raises(TypeError, match=rf"^{f.__name__}.backward: \w+ has masked elements"):
            f.backward(1.0, x)


@pytest.mark.parametrize("function", [fastact.softmax, fastact.softmin, fastact.log_softmax, fastact.logsumexp, fastact.sparsemax])
def test_a_gradient_that_was_forgotten(function):
    """A backward pass without a gradient is no forward pass."""
    with pytest.raises(TypeError, match=f"^{function.__name__}.backward: grad_output"):
        function.backward(None, np.ones(3))


@pytest.mark.parametrize("function", [fastact.softmax, fastact.log_softmax, fastact.logsumexp, fastact.sparsemax], ids=lambda f: f.__name__)
def test_dtypes_of_a_gradient(function):
    """A number of Python's own takes the dtype of the rest; half precisions of two kinds have float32 in common."""
    x = np.array([0.25, 0.5, 0.25], np.float32)
    for dtype in (np.float16, np.float32, np.float64):
        for number in (2, 2.0):
            found = function.backward(number, x.astype(dtype))
            support.same_bits(found, function.backward(np.asarray(2, dtype), x.astype(dtype)), function.__name__)
    assert function.backward(1e300, x).dtype == np.float32
    with pytest.raises(TypeError, match=f"^{function.__name__}.backward: grad_output"):
        function.backward(10**400, x)
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    assert function.backward(1.0, x.astype(bfloat16)).dtype == bfloat16
    assert function.backward(np.ones((), np.float16), x.astype(bfloat16)).dtype == np.float32


@pytest.mark.parametrize("function", FORWARD, ids=lambda f: f.__name__)
def test_lengths_whose_sum_overflows(function):
    """They add up to the right number only modulo 2**64."""
    for lengths in (np.array([2**62] * 4 + [3]), np.array([2**63, 2**63, 3], np.uint64)):
        with pytest.raises(ValueError, match=f"^{function.__name__}: lengths"):
            function(np.zeros(3), lengths=lengths)


def test_ragged_arguments_are_named():
    for name, wrong in (("where", [[True], [True, False]]), ("lengths", [[1], [1, 2]])):
        with pytest.raises(ValueError, match=f"^softmax: {name}"):
            fastact.softmax(X, **{name: wrong})
    with pytest.raises(ValueError, match="^maxout.backward: which"):
        fastact.maxout.backward([1.0], [[1], [1, 2]], 3)


def test_temperatures_that_are_no_floats():
    for wrong, kind in ((10**400, ValueError), (-(10**400), ValueError), ("2", TypeError)):
        with pytest.raises(kind, match="^softmax: temperature"):
            fastact.softmax(X, temperature=wrong)


def test_booleans_are_numbers():
    x = np.array([[True, False, True], [False, False, False]])
    for function in (*FORWARD, fastact.hardmax, fastact.sparsemax):
        for where in (None, [True, True, False]):
            support.same_bits(function(x, where=where), function(x.astype(np.float32), where=where), function.__name__)


def test_backward_of_logsumexp_as_that_of_the_others():
    """The dtypes that are wanted, and what is masked out has no gradient."""
    x, where = np.arange(4.0), [True, True, False, False]
    for dtype, want in ((">f4", np.float32), ("f2", np.float16)):
        assert fastact.logsumexp.backward(1.5, x, dtype=dtype).dtype == want
    for dtype in (complex, int, bool):
        for f in (fastact.softmax, fastact.logsumexp, functools.partial(fastact.logsumexp.backward, 1.5)):
            with pytest.raises(TypeError, match="^(softmax|logsumexp)(.backward)?: dtype"):
                f(x, dtype=dtype)
    for gradient in (np.inf, np.nan):
        assert (fastact.logsumexp.backward(gradient, x, where=where)[2:] == 0).all()
    out = np.empty(())
    assert fastact.logsumexp.backward(2.0, 3.0, out=out) is out and out == 2


@pytest.mark.parametrize("name", NAMES)
def test_is_a_good_function(name):
    """Name, signature, docstring, pickling, copying; found by the package."""
    function = getattr(fastact, name)
    assert function.__name__ == name and name in fastact.__all__ and name in dir(fastact)
    for f in (function, getattr(function, "backward", function)):
        assert pickle.loads(pickle.dumps(f)) is f and copy.deepcopy(f) is f
        parameters = inspect.signature(f).parameters
        assert not re.search(r"\S\n *(Notes|Raises|Returns|Examples)\n *-", f.__doc__), "a section begins behind an empty line"
        assert "out" in parameters and "Parameters\n" in f.__doc__ and "<" + "arguments>" not in f.__doc__
        for parameter in parameters:
            assert parameter in f.__doc__, parameter


def test_get_knows_what_works_along_an_axis():
    assert set(catalog.AXIS) == {name for name, module in fastact._LATER.items() if module == "axis"} == stubs._ALONG_AXIS.keys()
