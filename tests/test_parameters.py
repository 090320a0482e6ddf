"""The gradients of an activation's own parameters: right, summed without loss, and one pass with that of the input."""

import math

import mpmath
import numpy as np
import pytest
import reference
import support

import fastact
from fastact import catalog, translate

TRAINABLE = [r for r in support.RECORDS if r.parameter_gradients is not None]
OTHERS = [r for r in support.RECORDS if r.parameter_gradients is None]
EACH = pytest.mark.parametrize("record", support.by_name(TRAINABLE))

# Its own error and the product's, in ULP; what a level without FMA adds; near a zero of it, in units of the largest of its terms.
ULP = 4.5


def names(record):
    return [p.name for p in record.given("backward")]


def exact(record, name, x, values):
    """The derivative by one parameter at x, by central differences in high precision."""
    with mpmath.workprec(600):
        h = mpmath.mpf(2) ** -150

        def at(step):
            return reference.definition(record, values | {name: mpmath.mpf(values[name]) + step})(mpmath.mpf(x))

        return (at(h) - at(-h)) / (2 * h)


@EACH
def test_shape_of_the_formula(record):
    read = translate.source(record.parameter_gradients)
    assert read.arguments == ["x", *names(record)], "x, then the parameters, without conventions"
    assert len(read.results) == len(names(record))


@EACH
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_derivatives(record, dtype, backend):
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(0, 2, 60), rng.uniform(-40, 40, 40), rng.normal(0, 1e-4, 20)]).astype(dtype)
    for factor in (1.0, 0.7, 1.9):
        values = {name: float(dtype_of(dtype)(p.default * factor)) for name, p in zip(names(record), record.given("backward"), strict=True)}
        arrays = {name: np.full(x.shape, value, dtype) for name, value in values.items()}
        dx, *gradients = fastact.get(record.name).backward(np.ones_like(x), x, **arrays, parameters=True)
        support.same_bits(dx, fastact.get(record.name).grad(x, **arrays), "dx")
        for name, found in zip(names(record), gradients, strict=True):
            near = np.array([float(exact(record, name, float(v), values)) for v in x])
            tiny = float(np.finfo(dtype).tiny)
            error = np.abs(found - near) / np.maximum(reference.unit(near, dtype), tiny)
            # Where it is a difference of larger terms, its error counts in theirs: they are of the size of the input.
            of_input = np.abs(found - near) / reference.unit(np.maximum(np.abs(x.astype(float)), tiny), dtype)
            worst = np.minimum(error, of_input).max()
            assert worst <= ULP + catalog.NO_FMA_ULP, f"{name} = {values[name]}: {worst} ULP at {x[np.argmax(np.minimum(error, of_input))]}"


def dtype_of(dtype):
    return np.dtype(dtype).type


@EACH
def test_nan_and_infinities(record, backend):
    for x in (np.nan, np.inf, -np.inf):
        _, *gradients = fastact.get(record.name).backward(np.ones(3), np.full(3, x), parameters=True)
        assert np.isnan(gradients).all() if x != x else not np.isnan(gradients).any()


@EACH
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_shapes(record, dtype, backend):
    f = fastact.get(record.name)
    rng = np.random.default_rng(4)
    for shape, lesser in [
        ((300,), (300,)),
        ((40, 30), (30,)),
        ((40, 30), (40, 1)),
        ((4, 3, 50), (3, 1)),
        ((4, 3, 50), (4, 1, 50)),
        ((4, 3, 50), (1, 1, 1)),
        ((4, 200), ()),
    ]:
        x, grad_output = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
        given = [rng.uniform(0.1, 1, lesser).astype(dtype)[()] for _ in names(record)]
        full = [np.array(np.broadcast_to(g, shape)) for g in given]
        want_dx, *terms = f.backward(grad_output, x, *full, parameters=True)
        dx, *gradients = f.backward(grad_output, x, *given, parameters=True)
        support.same_bits(dx, want_dx, f"{shape} {lesser}")
        support.same_bits(dx, f.backward(grad_output, x, *given), f"{shape} {lesser}")
        for gradient, term in zip(gradients, terms, strict=True):
            assert gradient.dtype == dtype and np.shape(gradient) == lesser
            wide, axes = (
                term.astype(np.longdouble),
                tuple(d for d in range(len(shape)) if d < len(shape) - len(lesser) or lesser[d - len(shape)] == 1),
            )
            want = wide.sum(axis=axes).reshape(lesser)
            size = np.abs(wide).sum(axis=axes).reshape(lesser)
            assert (np.abs(gradient - want) <= 0.51 * np.spacing(np.abs(gradient)) + size * 2.0**-52).all()


def test_ten_million_terms():
    rng = np.random.default_rng(5)
    x = -rng.exponential(size=10_000_000).astype(np.float32)
    grad_output = rng.normal(size=x.size).astype(np.float32)
    dx, dw = fastact.leaky_relu.backward(grad_output, x, 0.25, parameters=True)
    exact = math.fsum(value for part in np.split(grad_output * x, 100) for value in part.tolist())
    assert abs(float(dw) - exact) <= 0.5001 * np.spacing(np.float32(abs(exact)))
    support.same_bits(dx[:1000], grad_output[:1000] * np.float32(0.25))


def test_one_of_a_number_is_a_number(backend):
    for parameter in (0.2, np.float32(0.2), np.array(0.2)):
        dx, dw = fastact.leaky_relu.backward(np.ones(3, np.float32), np.array([-1, -2, 3], np.float32), parameter, parameters=True)
        assert dx.dtype == np.float32 and dw == -3 and isinstance(dw, np.float32)
    dx, dw = fastact.elu.backward(np.ones(3), np.array([-1.0, 0.0, 3.0]), alpha=np.ones(1), parameters=True)
    assert dw.shape == (1,)


def test_out(backend):
    x, grad_output, w = (
        support.sample(600, np.float32).reshape(20, 30),
        support.sample(600, np.float32, 1).reshape(20, 30),
        np.full(30, 0.3, np.float32),
    )
    dx, dw = fastact.leaky_relu.backward(grad_output, x, w, parameters=True)
    a, b = np.empty_like(x), np.empty_like(w)
    results = fastact.leaky_relu.backward(grad_output, x, w, parameters=True, out=(a, b))
    assert results[0] is a and results[1] is b
    support.all_same_bits(results, (dx, dw))
    results = fastact.leaky_relu.backward(grad_output, x, w, parameters=True, out=a)
    assert results[0] is a
    inplace = grad_output.copy()
    support.all_same_bits(fastact.leaky_relu.backward(inplace, x, w, parameters=True, out=inplace), (dx, dw))
    support.same_bits(fastact.leaky_relu.backward(grad_output, x, w, parameters=False), dx)


def test_conventions(backend):
    x = np.zeros(4)
    dx, dw = fastact.leaky_relu.backward(np.ones(4), x, 0.1, at_zero=0.5, parameters=True)
    assert (dx == 0.5).all() and dw == 0


@pytest.mark.parametrize("record", support.by_name(OTHERS))
def test_those_without_say_so(record):
    named = ", ".join(p.name for p in record.given("backward"))
    why = f"no gradients by {named}, which no library trains" if named else "no parameters"
    with pytest.raises(TypeError, match=f"{record.name} has {why}; leave it out"):
        fastact.get(record.name).backward(np.ones(2), np.ones(2), parameters=True)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda f, x: f(x, parameters=True), TypeError, "x is missing"),
        (lambda f, x: f(x, x, accuracy="high", parameters=True), ValueError, "accuracy: 'high' is not to be had"),
        (lambda f, x: f(x, output=x, parameters=True), TypeError, "an output does not do"),
        (lambda f, x: f(x, x, 0.1, negative_slope=0.2, parameters=True), TypeError, "given twice"),
        (lambda f, x: f(x, x, parameters=np.ones(2)), TypeError, "parameters: expected True or False"),
        (lambda f, x: f(x, x, 0.1, 0.2, parameters=True), TypeError, "4 positional arguments"),
        (lambda f, x: f(x, x, slope=0.2, parameters=True), TypeError, "no argument 'slope'"),
        (lambda f, x: f(x, x, np.ones(7), parameters=True), ValueError, "negative_slope has shape"),
        (lambda f, x: f(x, x, np.ones((2, 3)), parameters=True), ValueError, "negative_slope has shape"),
        (lambda f, x: f(x, x, "x", parameters=True), TypeError, "negative_slope: expected a real number"),
        (lambda f, x: f(np.ones(2), x, parameters=True), ValueError, "grad_output has shape"),
        (lambda f, x: f(x, x, parameters=True, out=(None,) * 3), TypeError, r"expected a tuple \(dx, negative_slope\)"),
    ],
)  # fmt: skip
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call(fastact.leaky_relu.backward, np.ones(3))


@pytest.mark.parametrize("alpha", [-1.5, -0.2, 0.2, 3.0])
def test_celu_below_zero(alpha, backend):
    # For a negative alpha exp(x / alpha) grows without end.
    for dtype in (np.float32, np.float64):
        x = np.array([-1e-3, -0.5, -3.0, -40 * abs(alpha), -1e30], dtype)
        with support.quiet():
            exact = alpha * np.expm1(x.astype(np.float64) / float(dtype(alpha)))
            slope = np.exp(x.astype(np.float64) / float(dtype(alpha)))
            np.testing.assert_allclose(fastact.celu(x, alpha), exact.astype(dtype), rtol=2e-6)
            np.testing.assert_allclose(fastact.celu.grad(x, alpha), slope.astype(dtype), rtol=2e-6)


def test_hard_sigmoid_of_any_slope(backend):
    x = np.linspace(-9, 9, 721)
    for slope in (-0.2, 0.0, 0.3):
        y, dy = fastact.hard_sigmoid.value_and_grad(x, slope, 0.4)
        t = slope * x + 0.4
        np.testing.assert_allclose(y, np.clip(t, 0, 1), atol=1e-15)
        np.testing.assert_array_equal(dy[np.abs(t * (1 - t)) > 1e-9], np.where((t > 0) & (t < 1), slope, 0)[np.abs(t * (1 - t)) > 1e-9])
        ends = {-0.2: [1, 0], 0.0: [0.4, 0.4], 0.3: [0, 1]}[slope]
        np.testing.assert_array_equal(fastact.hard_sigmoid(np.array([-np.inf, np.inf, np.nan]), slope, 0.4), [*ends, np.nan])


@pytest.mark.parametrize("dtype", support.DTYPES)
def test_clipped_linear_without_a_limit(dtype, backend):
    x = np.array([-np.inf, -3, 3, np.inf, np.nan], dtype)
    for slope, low, high, expected in (
        (2.0, -4.0, np.inf, [-4, -4, 7, np.inf, np.nan]),
        (-2.0, -np.inf, 4.0, [4, 4, -5, -np.inf, np.nan]),
        (0.0, -np.inf, np.inf, [1, 1, 1, 1, np.nan]),
    ):
        y, dy = fastact.clipped_linear.value_and_grad(x, slope, 1.0, low, high)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(dy[1:3], np.where((y > low) & (y < high), slope, 0)[1:3])
    for low, high in ((0.0, -1.0), (0.0, -np.inf), (np.inf, 0.0)):  # crossed: a constant
        np.testing.assert_array_equal(fastact.clipped_linear.grad(x, 1.0, 0.0, low, high), [0, 0, 0, 0, np.nan])
    assert np.isnan(fastact.clipped_linear.value_and_grad(np.array([0.5], dtype), 1.0, np.nan)).all()
    near = np.array([-1e-38, 1e-38], dtype)  # where the line is 1, but for the rounding
    np.testing.assert_array_equal(fastact.clipped_linear.grad(near, -2.0, 1.0, 0.0, 1.0), [0, -2])


@pytest.mark.parametrize("dtype", support.DTYPES)
def test_squareplus_of_no_curvature_is_relu(dtype, backend):
    tiny = np.finfo(dtype).smallest_normal
    x = np.array([-np.inf, -1e30, -1, -tiny, -0.0, 0.0, tiny, 1e-30, 1, 1e30, np.inf, np.nan], dtype)
    for accuracy in ("default", "high"):
        y, dy = fastact.squareplus.value_and_grad(x, 0.0, accuracy=accuracy)
        np.testing.assert_array_equal(y, np.maximum(x, 0))
        np.testing.assert_array_equal(dy, np.where(np.isnan(x), x, x > 0))


@pytest.mark.parametrize("dtype", support.DTYPES)
def test_squareplus_of_a_negative_b(dtype, backend):
    x = np.array([3, -3, 1.25, 0.5], dtype)
    for accuracy in ("default", "high"):
        y, dy = fastact.squareplus.value_and_grad(x, -1.0, accuracy=accuracy)
        np.testing.assert_allclose(y, [(3 + 8**0.5) / 2, (8**0.5 - 3) / 2, 1, np.nan], rtol=1e-6)
        np.testing.assert_allclose(dy, [0.5 + 1.5 / 8**0.5, 0.5 - 1.5 / 8**0.5, 0.5 + 0.625 / 0.75, np.nan], rtol=1e-5)


def test_hard_swish_of_any_slope(backend):
    x = np.concatenate([np.linspace(-9, 9, 721), [-np.inf, np.inf]])
    for slope in (-0.2, 0.0, 0.3):
        y, dy = fastact.hard_swish.value_and_grad(x, slope, 0.4)
        finite, t = x[:-2], slope * x[:-2] + 0.4
        np.testing.assert_allclose(y[:-2], finite * np.clip(t, 0, 1), atol=1e-14)
        inside = np.abs(t * (1 - t)) > 1e-9
        np.testing.assert_allclose(dy[:-2][inside], np.where(t > 1, 1, np.where(t < 0, 0, t + slope * finite))[inside], atol=1e-14)
        np.testing.assert_array_equal(y[-2:], {-0.2: [-np.inf, 0], 0.0: [-np.inf, np.inf], 0.3: [0, np.inf]}[slope])
        np.testing.assert_array_equal(dy[-2:], {-0.2: [1, 0], 0.0: [0.4, 0.4], 0.3: [0, 1]}[slope])
        assert np.isnan(fastact.hard_swish.value_and_grad(np.nan, slope, 0.4)).all()
    for at, expected in ((2.0, -0.5), (-2.0, 1.5)):  # it is 0 from 2 on, and x up to -2
        assert fastact.hard_swish.grad(at, -0.25, 0.5, at_lower=-0.5, at_upper=1.5) == expected
    np.testing.assert_array_equal(fastact.hard_swish(np.array([-np.inf, np.inf]), 0.0, -0.5), [0, 0])


def test_xielu_that_is_a_line_on_the_right(backend):
    for beta, limit in ((0.5, np.inf), (-1.0, -np.inf)):
        assert fastact.xielu.value_and_grad(np.inf, 0.0, 0.8, beta) == (limit, beta)


def test_high_accuracy_underflows_whatever_the_parameter(backend):
    far = np.array([-1000, -np.inf], np.float32)
    np.testing.assert_array_equal(fastact.elu.grad(far, 1e30, accuracy="high"), 0)
    np.testing.assert_array_equal(fastact.softplus(far[1:], 1e-20, accuracy="high"), 0)
    np.testing.assert_array_equal(fastact.scaled_tanh.grad(-far, 1e20, 1.0, accuracy="high"), 0)


def test_numbers_too_large_to_be_parted(backend):
    """Where there is no fma, what a product's rounding lost comes from halves of the digits, which multiply to more than there is."""
    for dtype, x, beta in ((np.float32, 3e38, 1e-38), (np.float64, 1e308, 1e-308)):
        x = np.array([x, x / 2], dtype)
        u = x.astype(np.float64) * float(dtype(beta))
        rtol = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(fastact.silu(x, beta), x * (1 / (1 + np.exp(-u))), rtol=rtol)
        np.testing.assert_allclose(fastact.silu(-x, beta), -x * (1 / (1 + np.exp(u))), rtol=rtol)
        np.testing.assert_allclose(fastact.softplus(x, beta), np.log1p(np.exp(u)) / float(dtype(beta)), rtol=rtol)
        np.testing.assert_allclose(fastact.scaled_tanh(x, 1.0, beta), np.tanh(u), rtol=rtol)
        ends = np.array([np.inf, -np.inf], dtype)
        np.testing.assert_array_equal(fastact.silu(ends, 0.0), ends)
        np.testing.assert_array_equal(fastact.scaled_tanh(ends, 1.0, 0.0), 0)


@pytest.mark.parametrize("dtype", support.DTYPES)
def test_silu_of_a_negative_beta_is_its_mirror_image(dtype, backend):
    x = np.concatenate([np.linspace(-200, 200, 999), [0.0, -0.0, np.inf, -np.inf]]).astype(dtype)
    for beta in (0.3, 1.0, 2.5):
        (y, dy), (mirrored, slope) = fastact.silu.value_and_grad(x, -beta), fastact.silu.value_and_grad(-x, beta)
        np.testing.assert_array_equal(y, -mirrored)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(x), "silu has the sign of x")
        np.testing.assert_array_equal(dy[x != 0], slope[x != 0])
