"""Activations of one's own: right ones work like built-in ones, wrong ones are stopped with a message that says what to do."""

import functools
import inspect
import math
import os
import pathlib
import pickle
import random
import re
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
import reference
import support

import fastact
from fastact import catalog, cli, custom, elementary, executor, formulas, language, primitives, tracing, translate
from fastact.backends import numpy_code
from fastact.math import abs as fabs
from fastact.math import erf, exp, log1p, sigmoid, sqrt, tanh, where

mpmath = pytest.importorskip("mpmath")


# --- Right ones: activations from papers that are not in the catalog, a line each -----------------------------------------
# name: (the function, its definition in mpmath, whether it has limits at infinity)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "examples"))
from from_papers import PAPERS  # noqa: E402

DEFINITIONS = {
    "eswish": "1.25 * x / (1 + exp(-x))",
    "bsilu": "(x + mpf(1.67)) / (1 + exp(-x)) - mpf(1.67) / 2",
    "elish": "(x if x > 0 else expm1(x)) / (1 + exp(-x))",
    "lisht": "x * tanh(x)",
    "penalized_tanh": "tanh(x) * (1 if x > 0 else 0.25)",
    "serlu": "1.07862 * (x if x > 0 else 2.90427 * x * exp(x))",
    "pelu": "x if x > 0 else expm1(x)",
    "isru": "x / sqrt(1 + x * x)",
    "isrlu": "x if x > 0 else x / sqrt(1 + x * x)",
    "elliott": "x / (1 + abs(x)) / 2 + 0.5",
    "gcu": "x * cos(x)",
    "sinlu": "(x + sin(x)) / (1 + exp(-x))",
    "sqnl": "1 if x > 2 else x - x**2 / 4 if x > 0 else x + x**2 / 4 if x > -2 else -1",
    "star_relu": "0.8944 * (x + abs(x))**2 / 4 - 0.4472",
    "nlrelu": "log1p((x + abs(x)) / 2)",
    "bent_identity": "(sqrt(x * x + 1) - 1) / 2 + x",
    "arctan_unit": "2 / pi * atan(pi / 2 * x)",
    "aranda": "-expm1(-log1p(2 * exp(x)) / 2)",
    "serf": "x * erf(log1p(exp(x)))",
    "smish": "x * tanh(log1p(1 / (1 + exp(-x))))",
    "phish": "x * tanh(x * erfc(-x / sqrt(2)) / 2)",
    "tanhexp": "x * tanh(exp(x))",
    "loglogish": "-x * expm1(-exp(x))",
    "logish": "x * log1p(1 / (1 + exp(-x)))",
    "gish": "x * log1p(-expm1(-exp(x)))",
}
RIGHT = {name: (function, DEFINITIONS[name], name not in ("gcu", "sinlu", "star_relu")) for name, (function, _) in PAPERS.items()} | {
    "snake_alt": (lambda x, a=1.0: x + np.sin(a * x) ** 2 / a, "x + sin(x) ** 2", False),
    "scaled_silu": (lambda x, beta=1.5: x / (1 + math.exp(-beta * x)), "x / (1 + exp(-1.5 * x))", True),
}
MADE = {}


def made(name):
    if name not in MADE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastact.ActivationWarning)
            MADE[name] = fastact.activation(RIGHT[name][0], name=name)
    return MADE[name]


EACH = pytest.mark.parametrize("name", RIGHT)


def exact(definition, x):
    names = {**{n: getattr(mpmath, n) for n in dir(mpmath) if not n.startswith("_")}, "abs": abs, "x": x}
    return eval(definition, names)


@EACH
def test_value_and_derivative(name, backend):
    f, definition = made(name), RIGHT[name][1]
    x = np.concatenate([np.linspace(-30, 30, 41) + 0.03, np.random.default_rng(0).normal(0, 2, 40)])
    single = x.astype(np.float32)
    value, slope = f.value_and_grad(single)
    assert value.dtype == slope.dtype == np.float32
    double = f.value_and_grad(x)
    for which in (0, 1):
        for got, at, eps in ((value, single, 2.0**-23), (slope, single, 2.0**-23), (*double[:1], x, 2.0**-52)):
            if (got is slope) != (which == 1):
                continue
            with mpmath.workprec(160):
                right = [mpmath.diff(lambda t: exact(definition, t), mpmath.mpf(float(v)), which) for v in at]
            right = np.array([float(r) for r in right])
            size = np.abs(right) + (0.1 if which or not RIGHT[name][2] else 1e-12)  # near zeros an error counts in what cancels there
            if not RIGHT[name][2]:
                size = size + np.abs(x) / 4
            error = np.abs(got.astype(float) - right) / size / eps
            assert error.max() < 12, f"{error.max():.1f} units in the last place at {at[error.argmax()]!r}"


@EACH
def test_all_modes_agree(name):
    f = made(name)
    x = support.sample(500, np.float32).clip(-50, 50)
    gradient = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    y, dy = f.value_and_grad(x)
    if support.HAS_NUMBA:
        support.same_bits(f(x), y)
        support.same_bits(f.grad(x), dy)
    else:  # NumPy's own functions round in their own ways
        np.testing.assert_allclose(f(x), y, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(f.grad(x), dy, rtol=1e-5, atol=1e-6)
        y, dy = f(x), f.grad(x)
    if support.HAS_NUMBA:
        support.same_bits(f.backward(gradient, x), gradient * dy)
    else:
        np.testing.assert_allclose(f.backward(gradient, x), gradient * dy, rtol=1e-5, atol=1e-6)
    same = support.same_bits if support.HAS_NUMBA else functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-30)
    same(f.ufunc(x, *[p.default for p in f.record.parameters]), y)
    same(f(x.reshape(20, 25)[:, ::2]), np.ascontiguousarray(y.reshape(20, 25)[:, ::2]))
    out = x.copy()
    assert f(out, out=out) is out
    same(out, y)


@EACH
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_extremes(name, dtype):
    f, tame = made(name), RIGHT[name][2]
    far = support.specials(dtype)
    with np.errstate(all="raise"):
        y, dy = f.value_and_grad(far)
    if tame:
        assert not np.isnan(y).any() and not np.isnan(dy).any()
        assert np.isfinite(dy).all()
    assert np.isnan(f.value_and_grad(np.array([np.nan], dtype))).all()


@EACH
def test_export_is_a_formula(name, tmp_path):
    text = fastact.export(made(name))
    lines = [line for line in text.splitlines() if not line.startswith("from .")]
    scope = {
        **vars(language),
        **vars(formulas),
        **vars(primitives),
        **vars(elementary),
        "LARGEST": elementary.LARGEST,
        "INFINITY": math.inf,
    }
    path = tmp_path / "exported.py"
    path.write_text("\n".join(lines))
    exec(compile(path.read_text(), str(path), "exec"), scope)
    translate.check(scope[name])
    record = catalog.record_of(name, scope[name])
    assert record.kinks == made(name).record.kinks
    # What the catalog's tests would hold it against.
    names = {n: getattr(mpmath, n) for n in custom._MPMATH if hasattr(mpmath, n)} | {p.name: p.default for p in record.parameters}
    with mpmath.workprec(100):
        for at in (-1.7, 0.3, 2.6):
            assert abs(float(eval(record.definition, names | {"x": mpmath.mpf(at)})) - made(name)(at)) < 1e-13
    x = np.linspace(-3, 3, 13)
    with support.quiet():
        assert np.allclose(scope[name](x)[0], made(name)(x), rtol=1e-12, atol=1e-15)


def test_a_rebuilt_one_is_the_built_in_one():
    x = support.sample(1000, np.float32)
    for function, name in (
        (lambda x: x / (1 + np.exp(-x)), "silu"),
        (lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), "gelu"),
        (lambda x: 1 / (1 + np.exp(-x)), "sigmoid"),
        (lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)), "tanh"),
        (lambda x: np.log(1 + np.exp(x)), "softplus"),
        (lambda x: x if x > 0 else 0 * x, "relu"),
    ):
        f = fastact.activation(function, name="rebuilt")
        with fastact.use_backend("numba" if support.HAS_NUMBA else "numpy"):
            assert np.array_equal(f(x), fastact.get(name)(x)), name
            assert np.array_equal(f.grad(x), fastact.get(name).grad(x)), name


# --- What a function may look like ---------------------------------------------------------------------------------------


def test_decorator_with_parameters_and_docstring():
    @fastact.activation
    def pelu(x, a=1.0, b=2.0):
        """Parametric exponential linear unit."""
        return where(x > 0, a / b * x, a * (exp(x / b) - 1))

    x = np.array([-2.0, -1e-9, 0.5], np.float32)
    assert list(inspect.signature(pelu).parameters)[:3] == ["x", "a", "b"]
    assert "Parametric exponential" in pelu.__doc__ and "a : array_like, default 1" in pelu.__doc__
    assert np.allclose(pelu(x), [np.expm1(-1), -5e-10, 0.25])
    assert np.allclose(pelu(x, b=1), [np.expm1(-2), -1e-9, 0.5])
    assert np.allclose(pelu(x, a=np.array([1.0, 2.0, 3.0])), [np.expm1(-1), -1e-9, 0.75])
    assert pelu.record.kinks == ()

    @fastact.activation(name="steeper", kinks=(0,), paper="Nobody, Nowhere")
    def other(v):
        return np.where(v < 0, v, 2 * v)

    assert other.name == "steeper" and other.record.kinks == (0.0,) and "Nobody" in other.__doc__


def test_python_conditions():
    def by_if(x, low=-1.0):
        if x < low:
            return low
        if low <= x <= 1 and not x > 5:
            return x
        return max(1, min(x, 1)) + 0 * x

    f = fastact.activation(by_if)
    x = np.linspace(-3, 3, 25, dtype=np.float32)
    assert np.array_equal(f(x), np.clip(x, -1, 1)) and f.record.kinks == (-1.0, 1.0)


HALF = np.float32(0.5)


def test_other_ways_to_write():
    x = np.linspace(-3, 3, 25)
    for function, right in (
        (lambda x: np.select([x < -1, x < 1], [-1, x], 1), np.clip(x, -1, 1)),
        (lambda x: np.clip(x, -1, 1), np.clip(x, -1, 1)),
        (lambda x: (x > 0) * x, np.maximum(x, 0)),
        (lambda x: x * np.heaviside(x, 0.5), np.maximum(x, 0)),
        (lambda x: np.copysign(fabs(x), x) * np.fabs(x), x * abs(x)),
        (lambda x: np.sinh(x) / np.cosh(x) * np.ones_like(x), np.tanh(x)),
        (lambda x: np.arcsinh(x), np.arcsinh(x)),
        (lambda x: np.sign(x) * np.log1p(np.abs(x)), np.sign(x) * np.log1p(abs(x))),
        (lambda x: np.logaddexp(x, 0), np.logaddexp(x, 0)),
        (lambda x: np.square(x) ** 0.5 * 2.0**x, abs(x) * 2**x),
        (lambda x: fastact.leaky_relu(x, 0.3), np.where(x > 0, x, 0.3 * x)),
        (
            lambda x: np.piecewise(x, [x < -1, x > 1], [-1, lambda t: 2 * t - 1, lambda t: t]),
            np.where(x < -1, -1, np.where(x > 1, 2 * x - 1, x)),
        ),
        (lambda x: math.hypot(x, 1) + np.hypot(3 * x, 4 * x), np.hypot(x, 1) + 5 * abs(x)),
        (lambda x: np.where((x > 0) ^ (x > 1), x, np.where(x > 0, 1, 0)), np.clip(x, 0, 1)),
        (lambda x, a=HALF: x * np.tanh(a * x), x * np.tanh(0.5 * x)),
        (functools.partial(lambda x, a: x * math.tanh(a * x), a=2.0), x * np.tanh(2 * x)),
        (Bend().by, x * abs(x)),
        (Bend(), np.where(x < 0, np.expm1(x), x)),
        (lambda x: print(f"at {x}") or x * Fraction(1, 4) * x, x * x / 4),
        (lambda x: np.sinc(x) * x, np.sin(np.pi * x) / np.pi),
    ):
        assert np.allclose(fastact.activation(function, name="written", check=False)(x), right, rtol=1e-12, atol=1e-14)


class Bend:
    """Methods, and objects that can be called."""

    def by(self, x, a=1.0):
        return a * x * abs(x)

    def __call__(self, x):
        return x if x > 0 else math.exp(x) - 1


def test_parameters_of_methods_and_partials():
    f = fastact.activation(Bend().by, name="method")
    assert f(3.0, a=2.0) == 18 and [p.name for p in f.record.parameters] == ["a"]
    g = fastact.activation(functools.partial(lambda x, a, b=1.0: b * x * abs(a * x), a=2.0), name="partial")
    assert g(1.0) == 2 and g(1.0, a=3.0, b=2.0) == 6


def test_ranges_decide_which_functions_are_called():
    # What takes every number costs more than what takes the numbers that can occur.
    for function, called in (
        (lambda x: exp(-x * x), {"exp_moderate"}),
        (lambda x: x * log1p(sigmoid(x)), {"small_log1p"}),
        (lambda x: log1p(fabs(x)), {"log1p_positive"}),
        (lambda x: x + exp(x), {"exp_whole"}),
        (lambda x: np.expm1(-fabs(x)) * x, {"expm1_moderate", "exp_moderate"}),
        (lambda x, a=1.0: x * log1p(a * exp(-fabs(x))), {"log1p_whole", "exp_whole"}),  # the derivative has exp(|x|)
    ):
        calls = set(fastact.activation(function, name="ranged", check=False).record.formula.custom.calls)
        assert called <= calls and not {"exp_whole", "expm1_whole", "log1p_whole"} & calls - called, calls
    assert "silu" not in "".join(made("elish").record.formula.custom.calls), "its sigmoid is there anyway"
    # No hold where a sine only happens to be the same at a few points.
    f = fastact.activation(lambda x: np.sin(math.pi * x) + x * x / 100, name="waves", check=False)
    assert abs(f(83.25) - (np.sin(math.pi * 83.25) + 83.25**2 / 100)) < 1e-9


def helper(x):
    return math.exp(-x * x)


def test_helpers_and_functions_without_source():
    f = fastact.activation(lambda x: x * helper(x) + math.sqrt(2) * x)
    assert f.name == "custom" and np.allclose(f(1.0), math.exp(-1) + math.sqrt(2))
    scope = {}
    exec("def typed(x, k=2.0):\n    return x * (k + abs(x))", scope)
    assert np.allclose(fastact.activation(scope["typed"])(-3.0), -15)
    assert np.allclose(fastact.activation(np.tanh, name="mine")(0.5), np.tanh(0.5))


def test_a_given_derivative_is_taken():
    with pytest.warns(fastact.ActivationWarning, match="derivative loses"):  # as it is written, not as it would be derived
        f = fastact.activation(lambda x, a=2.0: a * tanh(x), name="given", derivative=lambda x, a=2.0: a * (1 - tanh(x) ** 2))
    assert np.allclose(f.grad(0.3, a=3.0), 3 * (1 - np.tanh(0.3) ** 2))
    g = fastact.activation(lambda x: tanh(x) + x, name="given", derivative=lambda x: 2 - tanh(x) ** 2)
    assert np.allclose(g.grad(0.3), 2 - np.tanh(0.3) ** 2)


def test_pickle_and_warmup():
    f = made("sinlu")
    x = np.linspace(-5, 5, 7, dtype=np.float32)
    for g in (pickle.loads(pickle.dumps(f)), pickle.loads(pickle.dumps(f.grad))):
        same = f if g.mode == "value" else f.grad
        support.same_bits(g(x, 2.0), same(x, 2.0))
    with pytest.raises(pickle.PicklingError):  # pickle looks a ufunc up by its name, and nothing else
        pickle.dumps(f.ufunc)
    assert fastact.warmup(f, dtype="float32", mode="value") in (0, 1)
    assert fastact.explain(f, x).activation == "sinlu"


def test_two_of_one_name_are_two():
    f = fastact.activation(lambda x: x * tanh(x), name="twin")
    g = fastact.activation(lambda x: x * abs(x), name="twin")
    x = np.array([-2.0, 3.0], np.float32)
    assert np.allclose(f(x), x * np.tanh(x)) and np.allclose(g(x), x * abs(x))


# --- Wrong ones: each is stopped, and the message says what is wrong and what to do ---------------------------------------


def returns_nothing(x):
    x * tanh(x)


def assigns(x):
    x[x < 0] = 0
    return x


def wiggles(x):
    return x * random.random()


def needs_two(x, y):
    return x * y


def loops(x):
    while x > 0:
        x = x - 0.1
    return x


COUNT = 0


def counts(x):
    global COUNT
    COUNT += 1
    return COUNT * x * abs(x)


def checks(x, a=1.0):
    assert a > 0, f"a must be positive, got {a}"
    return a * x * abs(x)


def forgets_a_branch(x):  # noqa: RET503
    if x > 0:
        return x


def keeps(x):
    x.cache = 1
    return x


WRONG = {
    "linear": (lambda x: 2 * x + 1, fastact.LinearActivationError, ["linear", "2 * x + 1", "x * sigmoid(x)"]),
    "linear in disguise": (
        lambda x: np.log(np.exp(x)) + where(x > 0, x, x),
        fastact.LinearActivationError,
        ["is 2 * x", "one linear layer"],
    ),
    "linear, hidden": (lambda x: (x * x - 1) / (x + 1) if x != -1 else x - 1, fastact.LinearActivationError, ["is x - 1 for every x"]),
    "constant": (lambda x: 3.0, fastact.LinearActivationError, ["constant"]),
    "step": (lambda x: np.where(x > 0, 1.0, 0.0) * (1 + 0 * x), fastact.DerivativeError, ["jumps at x = 0", "from 0 to 1", "sigmoid"]),
    "jump": (lambda x: where(x > 1, x * x, 0.5 * x), fastact.DerivativeError, ["jumps at x = 1", "from 0.5 to 1", "meet at that point"]),
    "jump of a root": (lambda x: where(x > 0, 0.01 + sqrt(fabs(x)), 0), fastact.DerivativeError, ["jumps at x = 0"]),
    "lone point at 0": (lambda x: np.where(x == 0, 0, 1.0 + x * x), fastact.DerivativeError, ["is 0 at x = 0 alone, and 1 beside it"]),
    "lone point of a root": (lambda x: where(x == 0, 0.1, fabs(x) ** 0.3), fastact.DerivativeError, ["is 0.1 at x = 0 alone"]),
    "lone point": (lambda x: where(x == 2, 0, x * x), fastact.DerivativeError, ["at x = 2 alone"]),
    "rounding": (lambda x: np.floor(x) + x, fastact.UnsupportedOperationError, ["floor", "flat"]),
    "unknown function": (lambda x: np.i0(x) * x, fastact.UnsupportedOperationError, ["np.i0", "use exp"]),
    "unknown math function": (lambda x: math.gamma(x), fastact.UnsupportedOperationError, ["math.gamma"]),
    "plain number": (lambda x: x * float(x), fastact.UnsupportedOperationError, ["float()", "fastact.math"]),
    "reduction": (lambda x: x / np.sum(x), fastact.UnsupportedOperationError, ["np.sum"]),
    "method": (lambda x: x - x.mean(), fastact.UnsupportedOperationError, ["x.mean", "one number"]),
    "assignment": (assigns, fastact.UnsupportedOperationError, ["where(x < 0, a, x)"]),
    "random": (wiggles, fastact.UnsupportedOperationError, ["random numbers"]),
    "nothing returned": (returns_nothing, fastact.UnsupportedOperationError, ["returns None", "return"]),
    "a pair": (lambda x: (x * x, 2 * x), fastact.UnsupportedOperationError, ["2 values", "derivative="]),
    "two inputs": (needs_two, fastact.ActivationError, ["'y'", "no default", "y=1.0"]),
    "no input": (lambda: 1.0, fastact.ActivationError, ["must take x"]),
    "whole numbers": (lambda x: x.astype(int) * x, fastact.UnsupportedOperationError, ["astype", "whole numbers"]),
    "endless loop": (loops, fastact.UnsupportedOperationError, ["ways through", "where"]),
    "text": (lambda x: x + "1", fastact.ActivationError, ["str"]),
    "array": (lambda x: x * np.array([1.0, 2.0]), fastact.UnsupportedOperationError, ["array of shape (2,)", "parameter"]),
    "NaN everywhere": (lambda x: sqrt(-1 - x * x), fastact.DerivativeError, ["NaN", "logarithm"]),
    "second derivative": (lambda x: x * fastact.gelu.grad(x), fastact.UnsupportedOperationError, ["gelu.grad", "write it out"]),
    "default": (eval("lambda x, a=None: x"), fastact.ActivationError, ["default of 'a'", "finite number"]),
    "choice": (eval("lambda x, leaky=True: x * x"), fastact.ActivationError, ["'leaky'", "make two activations"]),
    "a changed global": (counts, fastact.UnsupportedOperationError, ["'COUNT'", "outside of the function"]),
    "a check": (
        checks,
        fastact.UnsupportedOperationError,
        ["AssertionError: a must be positive", "where a <= 0", "leave such a check out"],
    ),
    "a branch without return": (forgets_a_branch, fastact.UnsupportedOperationError, ["None where x <= 0", "each way"]),
    "an attribute": (keeps, fastact.UnsupportedOperationError, ["x.cache"]),
    "misspelt": (lambda x: np.tnah(x), fastact.UnsupportedOperationError, ["tnah", "did you mean tanh?"]),
    "undefined": (lambda x: x * undefined, fastact.UnsupportedOperationError, ["NameError", "undefined"]),  # noqa: F821
    "complex": (lambda x: (1j * x).real, fastact.UnsupportedOperationError, ["1j", "real number"]),
    "modulo": (lambda x: np.mod(x, 2) * x, fastact.UnsupportedOperationError, ["np.remainder", "sin and cos"]),
    "whole division": (lambda x: x // 2, fastact.UnsupportedOperationError, ["x // y", "flat"]),
    "softmax": (lambda x: np.exp(x) / np.exp(x).sum(), fastact.UnsupportedOperationError, ["x.sum", "whole array", "fastact.softmax"]),
    "conversion": (lambda x: np.float32(x) * x, fastact.UnsupportedOperationError, ["np.float32", "float32 stays float32"]),
    "loop by a parameter": (lambda x, n=3: sum(x**i for i in range(n)), fastact.UnsupportedOperationError, ["parameter 'n'", "range()"]),
    "format": (lambda x: print(f"{x:.3f}") or x * x, fastact.UnsupportedOperationError, ["'.3f'", "leave the printing out"]),
    "one-armed where": (lambda x: x[np.where(x > 0)], fastact.UnsupportedOperationError, ["1 argument", "where(condition, a, b)"]),
    "a string": (lambda x: "relu", fastact.UnsupportedOperationError, ["'relu'", "not a number"]),
    "a generator": (lambda x: (v for v in [x]), fastact.UnsupportedOperationError, ["yields"]),
    "division by 0": (lambda x: x / 0, fastact.DerivativeError, ["divides by 0"]),
    "infinity": (lambda x: x * math.inf, fastact.DerivativeError, ["the number inf is in it"]),
}


@pytest.mark.parametrize("function, error, words", WRONG.values(), ids=WRONG)
def test_wrong_ones_are_stopped(function, error, words):
    with pytest.raises(error) as caught:
        fastact.activation(function, name="wrong")
    assert isinstance(caught.value, fastact.ActivationError) and isinstance(caught.value, ValueError)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


@pytest.mark.parametrize(
    "derivative, cause",
    [
        (lambda x: -2 * x * exp(x * x / -4), "sign"),
        (lambda x: x * exp(-x * x / 4) / 3, "factor"),
        (lambda x: -2 * exp(-x * x / 4), "function itself"),
        (lambda x: where(x > 0, x * exp(-x * x / 4), 0), "negative x"),
        (lambda x: x * exp(-x * x / 4) + 1, "a term -1 is missing"),
        (lambda x: x * exp(-x * x / 3), "leave derivative= out"),
    ],
)
def test_a_wrong_derivative_is_stopped(derivative, cause):
    with pytest.raises(fastact.DerivativeError, match=cause.replace("=", "=")) as caught:
        scale = -2 if cause != "sign" else -4
        fastact.activation(lambda x: scale * exp(-x * x / 4), name="wrong", derivative=derivative)
    x, (given, right) = caught.value.x, caught.value.numbers
    assert f"{given:.6g}" in str(caught.value) and f"{right:.6g}" in str(caught.value)
    assert abs(right - (-scale / 2) * x * math.exp(-x * x / 4)) < 1e-6


def test_a_given_derivative_is_compared_at_other_parameters():
    def bell(x, b=1.0):
        return x * exp(-b * x * x)

    with pytest.raises(fastact.DerivativeError, match=r"was given is .* at x = 1.0123 with b = 1.5, but"):
        fastact.activation(bell, derivative=lambda x: (1 - 2 * x * x) * exp(-x * x))
    with pytest.raises(fastact.DerivativeError, match="with shift = 0.5"):
        fastact.activation(lambda x, shift=0.0: (x + shift) ** 3, name="cubic", derivative=lambda x: 3 * x**2)
    f = fastact.activation(bell, derivative=lambda x, b=1.0: (1 - 2 * b * x * x) * exp(-b * x * x))
    assert np.allclose(f.grad(0.5, b=2.0), 0)
    # Where it has kinks and ends, they may move with the parameter.
    fastact.activation(
        lambda x, lambd=1.0: where(x > lambd, x - lambd, 0), name="shrunk", derivative=lambda x, lambd=1.0: where(x > lambd, 1, 0)
    )


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x**5 / (1 + x**4), "NaN from about x = 1e"),
        (lambda x: exp(x), "grows beyond float32 from x = (8|9)"),
        (lambda x: np.log(x) * x, "NaN from x = 0 down .*negative number"),
        (lambda x: 1 / x + x * x, "infinite at x = 0"),
        (lambda x: sqrt(x * x + 100) - fabs(x), "loses"),
        (lambda x: x * np.sin(x), "NaN at x = inf"),
    ],
)
def test_tails_are_warned_about(function, words):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastact.activation(function, name="edgy")
    assert all(issubclass(w.category, fastact.ActivationWarning) and str(w.message).startswith("edgy: the ") for w in caught)
    assert any(re.search(words, str(w.message)) for w in caught), [str(w.message) for w in caught]
    assert caught[0].filename == __file__


INFINITE = math.inf
LIMITS = [  # the function, its limits at -inf and inf, and those of its derivative
    (lambda x: x / np.sqrt(1 + x * x), (-1, 1), (0, 0)),
    (lambda x: (np.sqrt(x * x + 1) - 1) / 2 + x, (-INFINITE, INFINITE), (0.5, 1.5)),
    (lambda x: x - np.arcsinh(x), (-INFINITE, INFINITE), (1, 1)),
    (lambda x: x + 2 * np.sqrt(x * x + 1), (INFINITE, INFINITE), (-1, 3)),
    (lambda x: (1 + x * x) ** -2, (0, 0), (0, 0)),
    (lambda x: x / (1 + np.abs(x)), (-1, 1), (0, 0)),
    (lambda x: np.maximum(x, 0.1 * x), (-INFINITE, INFINITE), (0.1, 1)),
    (lambda x, a=3.0: x / np.sqrt(1 + a * x * x), (-(3**-0.5), 3**-0.5), (0, 0)),
    (lambda x: x * x / (1 + x * x), (1, 1), (0, 0)),
    (lambda x: x / (1 + np.exp(-x)) ** 2, (0, INFINITE), (0, 1)),
    (lambda x: x / (2 + np.exp(-x)), (0, INFINITE), (0, 0.5)),
    (lambda x: 2 / (np.exp(x) + np.exp(-x)), (0, 0), (0, 0)),
    (lambda x: x * np.exp(x) / (1 + np.exp(x)) ** 2, (0, 0), (0, 0)),
    (np.arcsinh, (-INFINITE, INFINITE), (0, 0)),
]


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize("function, value, slope", LIMITS, ids=range(len(LIMITS)))
def test_limits(function, value, slope, dtype, backend):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = fastact.activation(function, name="limited")
    ends = np.array([-math.inf, math.inf], dtype)
    info = np.finfo(dtype)
    for at in (ends, info.max * np.sign(ends)):
        for got, right in zip(f.value_and_grad(at), (value, slope), strict=True):
            right = np.where(np.isinf(right) & np.isfinite(at), got, right)
            np.testing.assert_allclose(got, right, rtol=4 * info.eps, atol=info.tiny)
            assert np.array_equal(np.sign(got) * (np.abs(got) > info.tiny), np.sign(right))


@pytest.mark.parametrize("dtype, reach", [(np.float32, 2.0**22), (np.float64, 2.0**51)])
def test_sines_far_out(dtype, reach, backend):
    f = fastact.activation(lambda x: np.sin(x) * x, name="wave", check=False)
    rng, eps = np.random.default_rng(0), np.finfo(dtype).eps
    near_zeros = [float(mpmath.pi * int(k)) for k in reach ** rng.uniform(0.1, 0.99, 50) / 4]
    x = np.concatenate([rng.choice([-1, 1], 100) * reach ** rng.uniform(0.3, 1, 100), near_zeros, [1e6, -reach * (1 - eps)]]).astype(dtype)
    x = x[np.abs(x) < reach]
    y, slope = f.value_and_grad(x)
    with mpmath.workprec(200):
        s, c = ([float(g(mpmath.mpf(float(v)))) for v in x] for g in (mpmath.sin, mpmath.cos))
    np.testing.assert_allclose(y, s * x.astype(float), rtol=4 * eps)
    np.testing.assert_allclose(slope, s + c * x.astype(float), rtol=8 * eps, atol=8 * eps)
    if backend == "numba":
        assert np.array_equal(f(np.array([reach, -reach, 1e30], dtype)), [0, 0, 0])
    assert np.isnan(f(np.array([np.inf, -np.inf, np.nan], dtype))).all()


def test_the_reach_of_sines_is_said():
    f = fastact.activation(lambda x: x + np.sin(x) ** 2, name="wave", check=False)
    assert "of 4.19e+06 or more (float64: 2.25e+15) is 0, its mean" in f.__doc__ and "2.25e+15" in fastact.check(f).special
    assert "its mean" not in fastact.activation(lambda x: x * tanh(x), name="mine").__doc__


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize(
    "function, definition",
    [
        (lambda x: x / (1 + np.exp(-x)) ** 2, "x / (1 + exp(-x)) ** 2"),
        (lambda x: x / (1 + np.exp(-x)) ** 3, "x / (1 + exp(-x)) ** 3"),
        (lambda x: x / (2 + np.exp(-x)) ** 2, "x / (2 + exp(-x)) ** 2"),
        (lambda x: 1 / (2 + np.exp(x)), "1 / (2 + exp(x))"),
        (lambda x: x / np.cosh(x), "x / cosh(x)"),
        (lambda x: x * np.exp(x) / (1 + np.exp(x)) ** 2, "x * exp(x) / (1 + exp(x)) ** 2"),
    ],
)  # fmt: skip
def test_tails_that_vanish(function, definition, dtype, backend):
    """Where an exponential no longer fits, the function goes on to 0, and is there too early by numbers that are hardly normal."""
    f = fastact.activation(function, name="vanishing")
    info = np.finfo(dtype)
    far = np.array([30, 40, 43, 45, 60, 80, 86, 88, 90, 100, 300, 340, 360, 600, 700, 708, 712, 750, 1e4, 1e30], dtype)
    x = np.concatenate([-far[::-1], far])
    got = f.value_and_grad(x)
    for which in (0, 1):
        for v, y in zip(x, got[which], strict=True):
            with mpmath.workprec(3000):
                right = mpmath.diff(lambda t: exact(definition, t), mpmath.mpf(float(v)), which)
            if abs(right) < info.max:
                assert abs(y - right) <= 30 * info.eps * abs(right) + 1000 * abs(v) * info.tiny, (v, y, right)


FAR = [  # the function, and itself and its derivative far out in mpmath
    (lambda x: x * exp(x) / (1 + exp(x)), "x / (1 + exp(-x))"),
    (lambda x: x * exp(2 * x) / (1 + exp(2 * x)), "x / (1 + exp(-2 * x))"),
    (lambda x: x * exp(2 * x) / (1 + exp(x)) ** 2, "x / (1 + exp(-x)) ** 2"),
    (lambda x: x * (exp(x) - 1) / (exp(x) + 1), "x * tanh(x / 2)"),
    (lambda x: x * exp(x) / (2 + exp(x)), "x / (1 + 2 * exp(-x))"),
    (lambda x: (x * x / (1 + x * x)) * (1 / (1 + x * x)) + 0.25 * np.maximum(x, 0), "x * x / (1 + x * x) ** 2 + (x / 4 if x > 0 else 0)"),
    (lambda x: sigmoid(x) * (x * x / (1 + x * x)) + 0.25 * abs(x), "x * x / (1 + x * x) / (1 + exp(-x)) + abs(x) / 4"),
    (lambda x: log1p(abs(x)) + 0.25 * (x * x / (1 + x * x)), "log1p(abs(x)) + x * x / (1 + x * x) / 4"),
    (lambda x: (1 - tanh(x) ** 2) * (x * x / (1 + x * x)) + 0.25 * np.arcsinh(x), "sech(x) ** 2 * x * x / (1 + x * x) + asinh(x) / 4"),
    (lambda x: np.maximum(x, 0.25 * (log1p(exp(x)) / (1 + log1p(exp(x))))), "x if x > 0 else log1p(exp(x)) / (1 + log1p(exp(x))) / 4"),
    (lambda x: np.maximum(x, x / (1 + abs(x))), "x if x > 0 else x / (1 + abs(x))"),
    (lambda x: x * fastact.ndtr(x), "x * erfc(-x / sqrt(2)) / 2 if abs(x) < 1e3 else max(x, 0)"),
    (lambda x: x * (sigmoid(x) * (1 - sigmoid(x))) * (x / sqrt(1 + x * x)), "x * sech(x / 2) ** 2 / 4 * x / sqrt(1 + x * x)"),
]


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize("function, definition", FAR, ids=range(len(FAR)))
def test_far_out(function, definition, dtype, backend):
    """What is bounded goes on beside what grows, what grows beside what falls, and 0 is reached at infinity."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = fastact.activation(function, name="distant")
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    far = np.array([3, 20, 44, 60, 89, 90, 100, 400, 1e4, 1e15, 1e19, 1e30, *([1e160, 1e300] if tiny < 1e-100 else [])], dtype)
    x = np.concatenate([-far[::-1], far])
    got = f.value_and_grad(x)
    for which in (0, 1):
        for v, y in zip(x.tolist(), got[which].tolist(), strict=True):
            with mpmath.workdps(700):
                t = mpmath.mpf(v)
                if which == 0:
                    right = exact(definition, t)
                else:
                    step = abs(t) * mpmath.mpf(10) ** -50
                    right = (exact(definition, t + step) - exact(definition, t - step)) / (2 * step)
            assert abs(y - right) <= 60 * eps * abs(right) + 1e3 * abs(v) * tiny + 4 * eps * which, (which, v, y, right)
    ends = f.value_and_grad(np.array([-math.inf, math.inf], dtype))
    last = f.value_and_grad(np.array([-1e30, 1e30], dtype))
    for which in (0, 1):
        for end, y in zip(ends[which], last[which], strict=True):
            grows = which == 0 and abs(y) > 10
            assert end == (math.copysign(math.inf, y) if grows else 0 if abs(y) < 1e-15 else pytest.approx(y, rel=1e-6)), (which, end, y)


def test_a_wrong_limit_is_warned_about(monkeypatch):
    monkeypatch.setattr(custom, "_HOLDS", ())
    with pytest.warns(fastact.ActivationWarning, match="the derivative is 0.1 at x = inf, although it goes to 1 at the largest numbers"):
        f = fastact.activation(lambda x: np.maximum(x, 0.1 * x), name="odd")
    assert any("at x = inf, although" in text for text in fastact.check(f).warnings)


@pytest.mark.parametrize("name", ["relu", "ReLU", "swish", "not a name", "1st", "lambda", 3])
def test_names(name):
    with pytest.raises(fastact.ActivationError, match="name"):
        fastact.activation(lambda x: x * tanh(x), name=name)


@pytest.mark.parametrize("parameter", ["out", "dtype", "select", "exp", "where", "parameters"])
def test_parameter_names(parameter):
    with pytest.raises(fastact.ActivationError, match=parameter):
        fastact.activation(eval(f"lambda x, {parameter}=1.0: x * x * {parameter}"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [exp, tanh, sigmoid, fastact.elu, fastact.gelu, np.sinh], ids=lambda f: getattr(f, "__name__", "f"))
def test_functions_of_a_parameter(f, dtype):
    """At its default it is a number that is known, which NumPy's programs compute once."""
    x = np.linspace(-3, 3, 7, dtype=dtype)
    act = fastact.activation(lambda x, a=0.6: f(a) * sigmoid(x) + tanh(a), name="mine", check=False)
    with fastact.use_backend("numpy"):
        want = [r.astype(dtype) for r in act.value_and_grad(x, np.full(7, 0.6))]
        for result, right in zip(act.value_and_grad(x), want, strict=True):
            np.testing.assert_allclose(result, right, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_a_clipped_number():
    """Where only a bound depends on what is not known yet."""
    x = np.linspace(-2, 2, 9)
    for function in (
        lambda x: np.tanh(x) * np.clip(0.25, -1.0, x), lambda x: np.tanh(x) * np.clip(0.25, x, 1.0), lambda x: np.tanh(x) * np.clip(0.25, None, x),
    ):  # fmt: skip
        act = fastact.activation(function, name="mine", check=False)
        np.testing.assert_allclose(act(x), function(x), rtol=1e-12)
    scaled = fastact.activation(lambda x, a=0.6: x * np.tanh(x) - np.clip(0.5, -0.5, a), name="mine", check=False)
    np.testing.assert_allclose(scaled(x, a=0.3), x * np.tanh(x) - 0.3, rtol=1e-12)
    np.testing.assert_allclose(scaled(x), x * np.tanh(x) - 0.5, rtol=1e-12)


def test_what_is_nearly_mish_is_no_condition():
    """Whether a product is mish is looked up, and not compared: that would be a condition of the function."""
    softplus, x = fastact.softplus, np.array([0.5, 0.7])
    twice = fastact.activation(lambda x: x * tanh(softplus(2 * x)), name="mine")
    assert twice.record.definition == "x * tanh(softplus(2 * x))"
    scaled = fastact.activation(lambda x, a=0.5: a * tanh(softplus(x)), name="mine")
    np.testing.assert_allclose(scaled.grad(x), 0.5 * fastact.tanh.grad(softplus(x)) * sigmoid(x))
    known = fastact.activation(lambda x, a=0.5: a * tanh(softplus(0.25)) * x * x, name="mine")
    np.testing.assert_allclose(known(x), 0.5 * np.tanh(softplus(0.25)) * x * x)
    assert fastact.activation(lambda x: x * tanh(softplus(x)), name="mine").record.definition == "mish(x)"


def test_what_goes_wrong_in_a_loop_is_raised(monkeypatch):
    """NumPy does not ask whether a loop failed, and the result would be whatever was in the memory."""

    def broken(*arguments):
        raise RuntimeError("no program today")

    monkeypatch.setattr(numpy_code, "compiled", broken)
    act = fastact.activation(lambda x: x * tanh(exp(x)), name="mine", check=False)
    with fastact.use_backend("numpy"):
        for given in (np.ones(3), np.ones((3, 2))[:, 0], [1.0], 1.0):
            with pytest.raises(RuntimeError, match="no program today"):
                act(given)
    assert executor.failures.error is None


def test_too_deep():
    """Not a RecursionError, which says nothing of what to do."""
    with pytest.raises(fastact.UnsupportedOperationError, match="deep has too many steps"):
        fastact.activation(lambda x: functools.reduce(lambda a, _: np.tanh(a) + x, range(1000), x), name="deep")


@pytest.mark.parametrize("step", [lambda x: x + np.sin(x) * 0.01, lambda x: np.where(x > 1, x, 0.9 * x + 0.1 * x * x)])
def test_what_is_used_again_and_again_is_written_once(step):
    """As one expression, each use written out, it would be 2**100 steps long."""

    def deep(x):
        return functools.reduce(lambda a, _: step(a), range(100), x)

    f = fastact.activation(deep, check=False)
    x = np.linspace(0.1, 1.9, 8)
    with fastact.use_backend("numpy"):
        np.testing.assert_allclose(f(x), deep(x), rtol=1e-13)
        np.testing.assert_allclose(f.grad(x), (deep(x + 1e-6) - deep(x - 1e-6)) / 2e-6, rtol=1e-6)
    assert f.record.definition.startswith("v1 = ") and "; ...; " in f.record.definition and len(f.record.definition) < 2000
    with pytest.raises(fastact.ActivationError, match="deep is too long for an export"):
        fastact.export(f)
    assert tracing.tree_size(f.record.formula.custom.value) > 2**100


def test_whole_powers_of_negative_numbers():
    x = np.array([-1.0, -0.99, 0.99, 1.0])
    for n in (65, 100, 1001):
        f = fastact.activation(_power(n), name="power", check=False)
        np.testing.assert_allclose(f(x), x**n, rtol=1e-12)
        np.testing.assert_allclose(f.grad(x), n * x ** (n - 1), rtol=1e-12)


def _power(n):
    return lambda x: x**n


@pytest.mark.parametrize(
    "function, slope",
    [
        (lambda x: np.maximum(x, 0) ** 1.5, lambda x: 1.5 * np.sqrt(x)),
        (lambda x: np.maximum(x, 0) ** 2.5, lambda x: 2.5 * x**1.5),
        (lambda x: np.maximum(x, 0) ** 1.3, lambda x: 1.3 * x**0.3),
        (lambda x: np.maximum(x, 0) * sqrt(np.maximum(x, 0)), lambda x: 1.5 * np.sqrt(x)),
        (lambda x, n=1.5: np.maximum(x, 0) ** n, lambda x: 1.5 * np.sqrt(x)),
    ],
)
def test_powers_of_what_is_0_on_one_side(function, slope):
    f = fastact.activation(function, name="half")
    x = np.array([-3.0, -0.5, 0.0, 0.25, 4.0])
    np.testing.assert_allclose(f(x), function(x), rtol=1e-12)
    np.testing.assert_allclose(f.grad(x), slope(np.maximum(x, 0)), rtol=1e-12)
    assert np.isnan(f.grad(np.nan)) and f.record.kinks == ()


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize(
    "function, slope",
    [
        (lambda x: sqrt(1 + abs(x - tanh(x))), lambda x: np.sign(x) * np.tanh(x) ** 2 / 2 / np.sqrt(1 + abs(x - np.tanh(x)))),
        (lambda x, b=1.5: sqrt(1 + abs(x / b)), lambda x: np.sign(x) / 3 / np.sqrt(1 + abs(x / 1.5))),
    ],
)
def test_roots_of_a_sum_with_abs(function, slope, dtype, backend):
    x = np.array([-20, -3, -0.5, 0, 1, 7], dtype)
    np.testing.assert_allclose(fastact.activation(function).grad(x), slope(x.astype(float)), rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "function, x0, at",
    [
        (lambda x: sqrt(np.maximum(x, 0)), 0, 0), (lambda x: np.maximum(x, 0) ** 0.1, 0, 0), (lambda x: sqrt(fabs(x)), 0, 0),
        (lambda x: fabs(x) ** 0.3, 0, 0), (lambda x: fabs(x) ** 0.03, 0, 0), (lambda x: log1p(sqrt(fabs(x))), 0, 0),
        (lambda x: x - sqrt(fabs(x)), 0, 1), (lambda x: np.sign(x) * sqrt(fabs(x)), 0, 0), (lambda x: sqrt(fabs(x - 2.3)), 2.3, 0),
    ],
)  # fmt: skip
def test_infinite_slopes_are_warned_about(function, x0, at):
    """It is continuous there, and both sides are right."""
    said = f"steep: the derivative grows without bound towards x = {x0}, where it is taken as {at}"
    with pytest.warns(fastact.ActivationWarning, match=re.escape(said)):
        f = fastact.activation(function, name="steep")
    x = np.array([x0 - 0.7, x0 + 0.7])
    np.testing.assert_allclose(f.grad(x), (function(x + 1e-6) - function(x - 1e-6)) / 2e-6, rtol=1e-6)
    assert f.record.kinks == (x0,) and f(float(x0)) == function(x0) and f.grad(float(x0)) == at
    assert fastact.check(f).warnings == [said.removeprefix("steep: ")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_parameter_as_exponent(dtype):
    """As NumPy has it: whole exponents of negative numbers, 0 to the 0."""
    f = fastact.activation(lambda x, n=2.0: x**n, name="raised")
    x = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0], dtype)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5 if dtype == np.float32 else 1e-13)
    with np.errstate(all="ignore"):
        for n in (-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 20.0):
            close(f(x, n), x**n)
            close(f(x, np.full(7, n)), x**n)
            close(f.grad(x, n), n * x ** (n - 1) if n else 0 * x)
    assert f(-3.0) == pytest.approx(9) and np.isnan(f.value_and_grad(np.nan)).all() and f.record.kinks == ()
    assert f.record.definition == "x ** n" and fastact.check(f).passed and "import NAN" in fastact.export(f)
    assert pickle.loads(pickle.dumps(f))(-3.0, 3.0) == pytest.approx(-27)


def test_bases_that_are_positive_take_no_sign():
    for function in (lambda x, n=2.0: fabs(x) ** n * x, lambda x, n=2.0, c=1.0: (1 + c * exp(x)) ** n, lambda x: np.maximum(x, 0) ** 1.3):
        source = fastact.activation(function, name="raised", check=False).record.formula.custom.source
        assert "ROUNDING_MAGIC" not in source, source


INNER = fastact.activation(lambda x, b=1.0: x * tanh(b * x), name="inner")


def test_linear_ones_are_wrong_unless_they_are_meant_to_be(capsys):
    report = fastact.check(fastact.activation(lambda x: 2 * x, name="line", check=False))
    assert report.linear and not report.passed and report.problems == ["it is linear: 2 * x"]
    assert fastact.check("identity").linear and cli.main(["check", "identity"]) == 0
    assert "identity: passed" in capsys.readouterr().out


def test_activations_of_ones_own_inside_one():
    x = np.linspace(-3, 3, 7)
    t = np.tanh(2 * x)
    outer = fastact.activation(lambda x: x * INNER(x), name="outer")
    assert outer.record.definition == "x * x * tanh(x)" and np.allclose(outer(x), x * x * np.tanh(x))
    given = fastact.activation(lambda x, c=2.0: INNER(x, b=c) + INNER(x, 0.5) + INNER(2.0), name="given")
    assert np.allclose(given(x), x * t + x * np.tanh(0.5 * x) + 2 * np.tanh(2))
    power = fastact.activation(lambda x, n=3.0: x**n, name="raised")
    slope = fastact.activation(lambda x: power.grad(x) * power(x, n=2.0), name="slope")
    assert np.allclose(slope(x), 3 * x**4) and np.allclose(slope.grad(x), 12 * x**3)


def test_activations_of_ones_own_that_are_not_followed():
    held, read = [INNER], pickle.loads(pickle.dumps(INNER))
    for function, words in (
        (lambda x: x * held[0](x), "inner, an activation of one's own .*call the Python function"),
        (lambda x: x * read(x), "inner, which was unpickled, .*call the Python function"),
        (lambda x: x * INNER(x, c=2), r"inner with these arguments .*takes \(x, b=1\)"),
        (lambda x: INNER.backward(x, x), "inner.backward"),
    ):
        with pytest.raises(fastact.UnsupportedOperationError, match=words):
            fastact.activation(function, name="outer")


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: fastact.softmax(x), "softmax is of a whole array"), (lambda x: fastact.logsumexp(x) * x, "logsumexp is of a whole array"),
        (lambda x: fastact.sparsemax.backward(x, x), "sparsemax.backward is of a whole array"), (lambda x: fastact.maxout(x)[0], "maxout is of a whole array"),
        (lambda x: BIASED(x, 1.0), r"bias\(gelu\), a function of two arrays, .* such as gelu\(x \+ b\)"),
        (lambda x: fastact.swiglu(x, x), r"swiglu, a function of two arrays, .* such as x \* silu\(x\)"),
        (lambda x: fastact.bias("gelu")(x, x), r"bias\(gelu\), a function of two arrays"),
        (lambda x: fastact.rrelu_training(x, np.random.default_rng(0))[0], "rrelu_training is of a whole array"),
        (lambda x: ARRAYS[0](x), "an array made of x"),
    ],
)  # fmt: skip
def test_what_is_of_arrays_says_so(function, words):
    """The error is of the function that is made, not of the argument of the one that it calls."""
    with pytest.raises(fastact.UnsupportedOperationError, match="^mine: " + words):
        fastact.activation(function, name="mine")


BIASED, ARRAYS, PRESET = fastact.bias("gelu"), [fastact.softmax], fastact.leaky_relu_keras
HELD_PRESETS = [fastact.get("hard_sigmoid", like="onnx")]


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize(
    "function, at, slope",
    [
        (
            lambda x, s=0.3: fastact.leaky_relu(x, negative_slope=s) + np.tanh(x),
            {-2.0: -0.6 - np.tanh(2), 3.0: 3 + np.tanh(3)},
            0.3 + 1 / np.cosh(2) ** 2,
        ),
        (lambda x, s=0.3: fastact.leaky_relu(x, s) * x, {-2.0: 1.2, 3.0: 9}, -1.2),
        (lambda x, s=0.3: fastact.elu(x, alpha=2 * s), {-2.0: 0.6 * np.expm1(-2), 3.0: 3}, 0.6 * np.exp(-2)),
        (lambda x, s=0.5: fastact.hard_tanh(x, -s, s) + x * x, {-2.0: 3.5, 0.25: 0.3125}, -4),
        (lambda x, s=0.5: fastact.silu(x, s) * 2, {-2.0: -4 / (1 + np.e)}, 2 / (1 + np.e) - 2 * np.e / (1 + np.e) ** 2),
        (lambda x: x * PRESET(x), {-2.0: 0.8, 3.0: 9}, -0.8),
        (lambda x, s=0.3: x + PRESET(x, s), {-2.0: -2.6, 3.0: 6}, 1.3),
        (lambda x: x * fastact.get("relu", like="torch")(x), {-2.0: 0, 3.0: 9}, 0),
        (lambda x: x * HELD_PRESETS[0](x), {-2.0: -0.2, 3.0: 3}, -0.3),
        (lambda x: fastact.leaky_relu_keras(x) ** 2, {-2.0: 0.16, 3.0: 9}, -0.16),
    ],
)
def test_parameters_and_presets_of_activations_inside_one(function, at, slope, dtype, backend):
    f = fastact.activation(function, name="outer")
    eps = np.finfo(dtype).eps
    x = np.array([*at], dtype)
    np.testing.assert_allclose(f(x), [*at.values()], rtol=8 * eps)
    np.testing.assert_allclose(f.value_and_grad(x)[1][0], slope, rtol=8 * eps, atol=eps)
    assert fastact.check(f).passed


def test_a_parameter_of_an_activation_inside_one_is_one_of_the_call():
    f = fastact.activation(lambda x, s=0.3: fastact.leaky_relu(x, negative_slope=s) * x, name="outer")
    assert (
        f(-2.0) == pytest.approx(1.2) and f(-2.0, s=0.5) == 2 and np.array_equal(f(np.array([-2.0, -2.0]), s=np.array([1.0, 2.0])), [4, 8])
    )
    assert f(-2.0, s=0.5) == pickle.loads(pickle.dumps(f))(-2.0, s=0.5)
    with pytest.raises(fastact.UnsupportedOperationError, match="elu with a parameter that depends on x .*write the formula out"):
        fastact.activation(lambda x: fastact.elu(x, x), name="outer")
    with pytest.raises(fastact.UnsupportedOperationError, match=r"silu with these arguments .* it takes \(x, beta=1\)"):
        fastact.activation(lambda x: fastact.silu(x, c=x), name="outer")


def test_conventions_of_presets_inside_one(backend):
    """A library's derivative at the kink is that of the preset."""
    for name in ("keras", "onnx", "torch"):
        own = fastact.get("leaky_relu", like=name)
        f = fastact.activation(_with_tanh(own), name=f"of_{name}")
        assert f.grad(0.0) == own.grad(0.0) + 1 and f.value_and_grad(np.float32([0]))[1] == own.grad(np.float32(0)) + 1


def _with_tanh(own):
    return lambda x: own(x) + np.tanh(x)


def test_a_derivative_of_the_catalog_is_one_of_a_given_derivative():
    f = fastact.activation(lambda x, s=0.5: fastact.silu(s * x), name="slower", derivative=lambda x, s=0.5: s * fastact.silu.grad(s * x))
    np.testing.assert_allclose(f.grad(3.0), 0.5 * fastact.silu.grad(1.5), rtol=1e-14)
    with pytest.raises(fastact.UnsupportedOperationError, match="the derivative of silu.grad .*derivative="):
        fastact.activation(lambda x: x * fastact.silu.grad(x), name="slower")


def test_what_is_no_function():
    with pytest.raises(TypeError, match="function of x"):
        fastact.activation("relu")
    with pytest.raises(TypeError, match="not the class Bend"):
        fastact.activation(Bend)
    with pytest.raises(TypeError, match=r"fastact\.activation"):
        fastact.export(fastact.relu)
    with pytest.raises(fastact.ActivationError, match="'b'"):
        fastact.activation(lambda x: x * x, name="f", derivative=lambda x, b=1.0: 2 * x)


def test_kinks_are_found():
    assert fastact.activation(lambda x: fabs(x - 1.5) * x, name="f").record.kinks == (1.5,)
    assert fastact.activation(lambda x: np.maximum(0.1 * x, np.minimum(x, 3)), name="f").record.kinks == (0.0, 3.0, 30.0)[:3]
    assert fastact.activation(lambda x: np.maximum(x, 0) ** 2, name="f").record.kinks == ()


@pytest.mark.parametrize(
    "function, slopes",
    [
        (np.arcsinh, {0: 1}),
        (lambda x: np.sign(x) * np.log1p(np.abs(x)), {0: 1}),
        (lambda x: np.copysign(np.log1p(np.abs(x)), x), {0: 1}),
        (lambda x: np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1), {0: 0.5}),
        (lambda x: np.sign(x) * np.abs(x) + np.tanh(x), {0: 2}),
        (lambda x: np.maximum(x, 0) + np.minimum(np.expm1(x), 0), {0: 1}),
        (lambda x, a=1.5: np.maximum(x, 0) + np.minimum(a * np.expm1(x / a), 0), {0: 1}),
        (lambda x: np.sign(x - 1.5) * np.log1p(np.abs(x - 1.5)), {1.5: 1}),
        (lambda x: np.tanh(x) + np.maximum(x - 1, 0) + np.minimum(x - 1, 0), {1: 1 + 1 / np.cosh(1) ** 2}),
        (lambda x: np.sign(x) * np.log1p(np.abs(x)) + np.sign(x - 2) * np.log1p(np.abs(x - 2)) ** 2, {0: 1 + math.log(9) / 3, 2: 1 / 3}),
        (lambda x: np.abs(np.abs(x)) * x + np.sin(x) + np.maximum(-1, np.minimum(x, 1)) - np.clip(x, -1, 1), {0: 1}),
    ],
)
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_slopes_where_smooth_pieces_meet(function, slopes, dtype, backend):
    """Each piece has a bend there, and together they have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = fastact.activation(function, name="joined")
    assert f.record.kinks == () and fastact.check(f).passed
    eps = np.finfo(dtype).eps
    for x0, slope in slopes.items():
        x = np.array([x0, x0 - 2 * eps, x0 + 2 * eps], dtype)
        np.testing.assert_allclose(f.value_and_grad(x)[1], slope, rtol=20 * eps)


@pytest.mark.parametrize(
    "function, at",
    [
        (lambda x: np.maximum(x, 0), 0), (lambda x: np.minimum(x, 0) - 2 * np.maximum(-x, 0), 0), (np.abs, 0), (lambda x: where(x > 0, x, 0.1 * x), 0.1),
        (lambda x: np.clip(x, 0, 6), 0), (lambda x: np.maximum(x, 0.1 * x), 0.1), (lambda x: fastact.leaky_relu(x) + x * x, 0),
        (lambda x, a=0.5: np.maximum(x, 0) + a * np.minimum(np.expm1(x), 0), 0.5), (lambda x: np.arcsinh(x) + np.maximum(x, 0), 1),
    ],
)  # fmt: skip
def test_conventions_at_kinks(function, at):
    """0 where one side is 0, or that of the left."""
    f = fastact.activation(function, name="bent")
    assert 0 in f.record.kinks and f.grad(0.0) == at and fastact.check(f).passed


@pytest.mark.parametrize(
    "function, slope, words",
    [
        (lambda x: x * x * x + x, lambda x: where(x == 0, 0, 3 * x * x + 1), "at x = 0 is 0, and 1 on both sides"),
        (lambda x: x * x * x + x, lambda x: where(x > 0, 3 * x * x + 1, 1 + 3 * x * x), None),
        (lambda x: where(x == 0, 0, np.tanh(x) * np.tanh(x) / where(x == 0, 1, x)), None, "at x = 0 is 0, and 1 on both sides"),
        (lambda x: fastact.relu(x) - fastact.relu(-x) + np.tanh(x), None, "at x = 0 is 1, and 2 on both sides"),
    ],
)
def test_a_slope_that_is_another_one_at_one_point_is_warned_about(function, slope, words):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f = fastact.activation(function, name="pointed", derivative=slope)
    said = [str(w.message) for w in caught if "both sides" in str(w.message)]
    assert bool(said) == bool(words) and all(words in message for message in said)
    report = fastact.check(f)
    assert report.passed == (not words) and all(words in problem for problem in report.problems)


def test_the_cache_serves_the_next_process(tmp_path):
    if not support.HAS_NUMBA:
        pytest.skip("Numba is not installed")
    code = (
        "import sys, numpy as np, fastact\n"
        "f = fastact.activation(lambda x: x * np.tanh(x), name='cached')\n"
        "fastact.warmup(f, dtype='float32', mode='value')\n"
        "print(f(np.array([2.0], np.float32)))"
    )
    for _ in range(2):
        done = support.isolated(code, FASTACT_CACHE_DIR=tmp_path)
        assert "1.928" in done.stdout
    assert len(list((tmp_path / "numba").glob("cached_value_float32_*.py"))) == 1
    assert os.path.exists(tmp_path / "numba" / "__pycache__")


# --- The elementary functions --------------------------------------------------------------------------------------------

FUNCTIONS = tracing.ELEMENTARY


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_elementary_functions(name, dtype, backend):
    # As an activation, so that each backend compiles it.
    f = fastact.activation(
        lambda x: tracing.apply(x.graph, name, (x,)) if name in tracing._FUNCTIONS else sqrt(1 + x * x), name="one", check=False
    )
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-20, 20, 150), np.ldexp(rng.uniform(1, 2, 150), rng.integers(-30, 6, 150)) * rng.choice([-1, 1], 150)])
    x = np.abs(x) if name == "log" else x[x > -1] if name == "log1p" else x
    x = x.astype(dtype)
    y = f(x).astype(float if dtype == "float32" else np.longdouble)
    with mpmath.workprec(160):
        exactly = (lambda v: mpmath.sqrt(1 + v * v)) if name == "hypot1" else getattr(mpmath, name)
        right = [exactly(mpmath.mpf(float(v))) for v in x]
        near = np.array([float(r) for r in right])
        error = np.array([abs(float(mpmath.mpf(float(a)) - r)) for a, r in zip(y, right, strict=True)])
    unit = reference.unit(near, dtype)
    if name in ("sin", "cos"):
        unit = np.maximum(unit, np.finfo(dtype).eps / 8)
    assert (error / unit).max() < 4.5, x[(error / unit).argmax()]


def test_a_definition_survives_pickle():
    definition = pickle.loads(pickle.dumps(made("serf").record.formula.custom))
    assert isinstance(definition, custom.Definition) and definition.source == made("serf").record.formula.custom.source
