"""Names and presets: what each library calls an activation, and gets from it. The numbers are the libraries' own (float64)."""

import contextlib
import importlib
import itertools
import pickle

import numpy as np
import pytest
import support

import fastact
from fastact import catalog

PRESETS = [(library, name) for r in support.RECORDS for library, names in r.like.items() for name, _ in names]

# (name, library, x, value, derivative); None: not what the libraries differ in, or one without derivatives.
OWN = [
    ("leaky_relu", "torch", -1.0, -0.01, 0.01),
    ("leaky_relu", "torch", 0.0, 0.0, 0.01),
    ("leaky_relu", "jax", -1.0, -0.01, 0.01),
    ("leaky_relu", "jax", 0.0, 0.0, 1.0),
    ("leaky_relu", "keras", -1.0, -0.2, 0.2),
    ("leaky_relu", "keras", 0.0, 0.0, 0.2),
    ("leaky_relu", "tensorflow", -1.0, -0.2, 0.2),
    ("leaky_relu", "tensorflow", 0.0, 0.0, 0.2),
    ("LeakyRelu", "onnx", -1.0, -0.01, None),
    ("leaky_relu", "transformers", -1.0, -0.01, 0.01),
    ("prelu", "torch", -1.0, -0.25, 0.25),
    ("prelu", "torch", 0.0, 0.0, 0.25),
    ("PReLU", "keras", -1.0, 0.0, 0.0),
    ("rrelu", "torch", -1.0, -0.22916666666666666, 0.22916666666666666),
    ("relu", "torch", 0.0, 0.0, 0.0),
    ("relu6", "torch", 6.0, 6.0, 0.0),
    ("relu_k", "thinc", 6.0, 6.0, 0.0),
    ("hardtanh", "torch", 1.0, 1.0, 0.0),
    ("hard_tanh", "thinc", -1.0, -1.0, 0.0),
    ("hard_tanh", "jax", 1.0, 1.0, 1.0),
    ("hard_tanh", "keras", -1.0, -1.0, 1.0),
    ("clipped_linear", "thinc", 1.0, 1.0, 0.0),
    ("hardsigmoid", "torch", 1.0, 0.6666666666666666, 0.16666666666666666),
    ("hardsigmoid", "torch", 3.0, 1.0, 0.0),
    ("hard_sigmoid", "keras", 1.0, 0.6666666666666666, 0.16666666666666666),
    ("HardSigmoid", "onnx", 1.0, 0.7, None),
    ("hard_sigmoid", "thinc", 1.0, 0.7, 0.2),
    ("hard_sigmoid", "thinc", 2.5, 1.0, 0.0),
    ("hardswish", "torch", 1.0, 0.6666666666666666, 0.8333333333333334),
    ("hardswish", "torch", -3.0, 0.0, 0.0),
    ("hard_silu", "jax", 3.0, 3.0, 1.0),
    ("HardSwish", "onnx", 1.0, 0.6666666666666666, None),
    ("hard_swish", "thinc", 1.0, 0.7, 0.9),
    ("hard_swish", "thinc", -2.5, 0.0, -0.5),
    ("hard_swish", "thinc", 2.5, 2.5, 1.5),
    ("hard_swish_mobilenet", "thinc", 1.0, 0.6666666666666666, 0.8333333333333334),
    ("hard_swish_mobilenet", "thinc", -3.0, 0.0, -0.5),
    ("hard_swish_mobilenet", "thinc", 3.0, 3.0, 1.5),
    ("hardshrink", "torch", 0.5, 0.0, 0.0),
    ("softshrink", "torch", 0.5, 0.0, 0.0),
    ("threshold", "torch", 0.0, 0.0, 0.0),
    ("ThresholdedRelu", "onnx", 1.0, 0.0, None),
    ("sparse_plus", "jax", 1.0, 1.0, 1.0),
    ("sparse_sigmoid", "jax", 1.0, 1.0, 0.25),
    ("sparse_sigmoid", "keras", -1.0, 0.0, 0.0),
    ("elu", "torch", 0.0, 0.0, 1.0),
    ("celu", "torch", 0.0, 0.0, 1.0),
    ("selu", "torch", 0.0, 0.0, 1.7580993408473766),
    ("selu", "jax", 0.0, 0.0, 1.7580993408473766),
    ("selu", "tensorflow", 0.0, 0.0, 1.0507009873554805),
    ("softplus", "torch", 0.0, 0.6931471805599453, 0.5),
    ("sqrtsoftplus", "transformers", 0.0, 0.8325546111576977, 0.3002806021966278),
    ("gelu", "torch", 1.0, 0.8413447460685429, 1.0833154705876862),
    ("gelu", "jax", 1.0, 0.8411919906082768, 1.0829640838457826),
    ("gelu", "keras", 1.0, 0.8413447460685429, 1.0833154705876862),
    ("gelu_new", "transformers", 1.0, 0.8411919906082768, 1.0829640838457826),
    ("gelu_approx", "thinc", 1.0, 0.8411919906082768, None),
    ("gelu_10", "transformers", 10.0, 10.0, 1.0),
    ("gelu_10", "transformers", 11.0, 10.0, 0.0),
    ("quick_gelu", "transformers", 1.0, 0.8457957659328212, 1.067779606556334),
    ("laplace", "transformers", 0.707107, 0.5, 1.4142125184828966),
    ("tanh", "onnx", 0.0, 0.0, 1.0),
    ("expit", "scipy", 0.0, 0.5, 0.25),
]


def test_clip_of_onnx_has_no_limits_of_its_own(backend):
    clip = fastact.get("Clip", like="onnx")
    for dtype in support.DTYPES:
        x = np.array([-1e30, -3.0, 0.0, 0.5, 2.0, 1e30], dtype)
        np.testing.assert_array_equal(clip(x), x)
        np.testing.assert_array_equal(clip.grad(x), np.ones_like(x))
        np.testing.assert_array_equal(clip(x, min_val=-1.0, max_val=1.0), np.clip(x, -1, 1))
    assert clip.record.kinks == () and fastact.get("Clip").record.name == "clipped_linear"


@pytest.mark.parametrize("name, library, x, value, derivative", OWN)
def test_as_the_library_has_it(name, library, x, value, derivative):
    f = fastact.get(name, like=library)
    y, dy = f.value_and_grad(np.array([x]))
    np.testing.assert_allclose(y, value, rtol=1e-12)
    if derivative is not None:
        np.testing.assert_allclose(dy, derivative, rtol=1e-9)


@pytest.mark.parametrize(
    "name, x, value, derivative",
    [  # NaN in PyTorch, JAX and TensorFlow; in `xielu` of transformers a jump: -8e-7 and -0.3
        ("silu", -np.inf, 0.0, 0.0),
        ("gelu", -np.inf, 0.0, 0.0),
        ("mish", -np.inf, 0.0, 0.0),
        ("hard_swish", -np.inf, 0.0, 0.0),
        ("softsign", np.inf, 1.0, 0.0),
        ("squareplus", -np.inf, 0.0, 0.0),
        ("sqrtsoftplus", -1000.0, 7.124576406741286e-218, 3.562288203370643e-218),
        ("sigmoid", -700.0, 9.859676543759770e-305, 9.859676543759770e-305),
        ("xielu", 0.0, 0.0, 0.5),
    ],
)
def test_right_where_libraries_are_not(name, x, value, derivative):
    for like in (None, *catalog.records()[name].like):
        y, dy = fastact.get(name, like=like).value_and_grad(np.array([x]))
        np.testing.assert_allclose(y, value, rtol=1e-12)
        np.testing.assert_allclose(dy, derivative, rtol=1e-12)


@pytest.mark.parametrize("library, name", PRESETS)
def test_a_preset_is_an_activation(library, name):
    f = fastact.get(name, like=library)
    record = f.record.base
    own = {p.name: p.default for p in f.record.parameters}
    given = {p.name: own[p.name] for p in record.given("value")}
    x = support.in_domain(record, np.linspace(-7, 7, 57))
    y, dy = f.value_and_grad(x)
    expected = fastact.get(record.name).value_and_grad(x, **own)
    support.all_same_bits((y, dy), expected, f.name)
    support.same_bits(f(x), fastact.get(record.name)(x, **given), f.name)
    support.same_bits(f.grad(x, casting="same_kind"), dy, "the general path")
    support.same_bits(f.backward(np.ones_like(x), x, out=np.empty_like(x)), dy, "backward")
    support.same_bits(f.grad_ufunc(x, *given.values()), dy, "the ufunc")
    with fastact.use_backend("numpy"):
        np.testing.assert_allclose(f(x), y, rtol=1e-14, atol=1e-300)
    assert f.name in repr(f) and library in f.name and all(f"={v}" in repr(f) for v in given.values())
    assert f"conventions of {library}" in f.__doc__
    assert pickle.loads(pickle.dumps(f)) is f is (getattr(fastact, f.name) if f.name.isidentifier() else f)
    assert pickle.loads(pickle.dumps(f.grad)) is f.grad and pickle.loads(pickle.dumps(f.grad_ufunc)) is f.grad_ufunc
    assert fastact.get(name, like=library) is f


def test_a_preset_takes_other_parameters():
    f = fastact.get("leaky_relu", like="keras")
    np.testing.assert_array_equal(f(np.array([-1.0]), 0.5), [-0.5])
    np.testing.assert_array_equal(f.grad(np.zeros(1), at_zero=0.5), [0.5])


def test_presets_that_are_not_there():
    with pytest.raises(LookupError, match="snake; libraries that do: none"):
        fastact.get("snake", like="torch")
    with pytest.raises(LookupError, match="torch has no squareplus; libraries that do: jax, keras"):
        fastact.get("squareplus", like="torch")
    with pytest.raises(ValueError, match="like: 'pytorch' .* torch, jax"):
        fastact.get("relu", like="pytorch")
    with pytest.raises(LookupError, match="did you mean 'relu'"):
        fastact.get("rellu", like="torch")


# --- Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_every_name_finds_it(record):
    f = fastact.get(record.name)
    for name in record.spellings:
        if catalog.known(name) and catalog.find(name) is record:
            assert fastact.get(name) is fastact.get(name.upper()) is fastact.get(name.replace("_", "-")) is f
            assert not name.isidentifier() or getattr(fastact, name) is f
    for library, names in record.like.items():
        for name, _ in names:
            assert fastact.get(name, like=library).record.base is record


@pytest.mark.parametrize(
    "alias, name",
    [
        ("swish", "silu"), ("hardswish", "hard_swish"), ("hard_silu", "hard_swish"), ("logsigmoid", "log_sigmoid"), ("expit", "sigmoid"),
        ("logistic", "sigmoid"), ("linear", "identity"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"), ("gelu_fast", "gelu_tanh"),
        ("FastGelu", "gelu_tanh"), ("relu2", "relu_squared"), ("hardsigmoid", "hard_sigmoid"), ("tanhshrink", "tanh_shrink"), ("exp", "exponential"),
        ("soft_sign", "softsign"), ("Clip", "clipped_linear"), ("gelu_python", "gelu"), ("log_expit", "log_sigmoid"),
    ],
)  # fmt: skip
def test_names_of_others(alias, name):
    assert fastact.get(alias) is getattr(fastact, name)


def test_names_do_not_clash():
    assert not set(catalog.aliases()) & set(fastact.__all__)
    for alias in catalog.aliases():
        assert getattr(fastact, alias) is fastact.get(alias)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'hardswich'; there is no activation .* did you mean 'hardswish'"):
        _ = fastact.hardswich
    for name in ("__wrapped__", "relu_pytorch", "snake_torch", "_relu"):
        assert not hasattr(fastact, name)


# --- Arguments of other libraries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["value", "grad", "value_and_grad", "backward"])
def test_approximate(mode, backend):
    x = np.linspace(-3, 3, 11)
    given = (x, x) if mode == "backward" else (x,)
    both = support.CATALOG["gelu"], support.CATALOG["gelu_tanh"]
    exact, by_tanh = (support.outputs(record, mode, given) for record in both)
    for choice, expected in (("none", exact), ("tanh", by_tanh), (False, exact), (True, by_tanh)):
        support.all_same_bits(support.outputs(both[0], mode, given, approximate=choice), expected, f"{choice}")
    results = tuple(np.empty_like(e) for e in by_tanh)
    support.call(both[0], mode, given, approximate="tanh", out=support.outs(results))
    support.all_same_bits(results, by_tanh, "out")
    for wrong in ("erf", None, 3, [1]):
        with pytest.raises(ValueError, match="gelu.*approximate: expected one of 'none', 'tanh'"):
            support.call(both[0], mode, given, approximate=wrong)


def test_threshold_of_softplus():
    x = np.linspace(-50, 50, 11)
    support.same_bits(fastact.softplus(x, beta=2.0, threshold=1), fastact.softplus(x, 2.0), "it does nothing")
    with pytest.raises(TypeError, match="threshold"):
        fastact.softplus(x, threshold="20")


@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if r.at_defaults("value")))
def test_parameters_at_their_defaults_change_no_bit(record, backend):
    # There a kernel runs another loop.
    for dtype, n in itertools.product(support.DTYPES, (5, 1000)):
        x = support.sample(n, dtype)
        given = {p.name: np.full(n, p.default, dtype) for p in record.given("value")}
        for mode in support.VALUE_MODES:
            arrays = support.inputs(record, mode, x)
            results = support.outputs(record, mode, arrays, **given)
            expected = support.outputs(record, mode, arrays)
            if backend == "numpy":
                for r, e in zip(results, expected, strict=True):
                    np.testing.assert_allclose(r, e, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).smallest_subnormal)
            else:
                support.all_same_bits(results, expected, f"{mode} {dtype}")


# --- Random slopes -------------------------------------------------------------------------------------------------------


def test_rrelu_in_training():
    x = support.sample(10_000, np.float32)
    y, dy = fastact.rrelu_training(x, np.random.default_rng(5))
    again, _ = fastact.rrelu_training(x, np.random.default_rng(5))
    support.same_bits(y, again, "one seed, one result")
    assert y.dtype == dy.dtype == np.float32
    np.testing.assert_array_equal(y, np.where(x > 0, x, x * dy))
    slopes = dy[x <= 0]
    assert slopes.min() >= 0.125 and slopes.max() <= np.float32(1 / 3) and np.unique(slopes).size > 1000
    assert (dy[x > 0] == 1).all()
    assert abs(slopes.mean() - fastact.rrelu.grad(np.float32(-1))) < 0.01
    assert fastact.rrelu_training([-1.0, 2.0], np.random.default_rng(1), 0.5, 0.5)[0].tolist() == [-0.5, 2.0]
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        fastact.rrelu_training(x, 5)
    with pytest.raises(ValueError, match="lower is 1"):
        fastact.rrelu_training(x, np.random.default_rng(5), 1, 0.5)
    with pytest.raises(TypeError):
        fastact.rrelu_training(np.ones(3, complex), np.random.default_rng(5))
    with pytest.raises(ValueError, match="x is ragged"):
        fastact.rrelu_training([[1.0], [2.0, 3.0]], np.random.default_rng(5))
    for wrong in (None, "1", [0.1], 1j):
        with pytest.raises(TypeError, match="upper: expected a number"):
            fastact.rrelu_training(x, np.random.default_rng(5), 0.1, wrong)
    for lower, upper in ((0, np.inf), (np.nan, 1), (-1e308, 1.7e308)):
        with pytest.raises(ValueError, match="give finite numbers"):
            fastact.rrelu_training(x, np.random.default_rng(5), lower, upper)


def test_rrelu_in_training_has_the_dtypes_of_prelu():
    """bfloat16 stays bfloat16, and integers become the float that they become elsewhere."""
    dtypes = ["f2", "f4", ">f4", "f8", "i1", "i8", "?"]
    with contextlib.suppress(ImportError):
        dtypes.append(np.dtype(importlib.import_module("ml_dtypes").bfloat16))
    for dtype in dtypes:
        x = np.array([1, 0, 2]).astype(dtype)
        for result in fastact.rrelu_training(x, np.random.default_rng(0)):
            assert result.dtype == fastact.prelu(x).dtype, dtype


@pytest.mark.parametrize("library", ["torch", "keras", "tensorflow", "transformers"])
def test_leaky_relu_has_the_slope_at_zero_that_is_given(library, backend):
    f = fastact.get("leaky_relu", like=library)
    x = np.zeros(3, np.float32)
    for slope in (0.3, 1.0, 0.0):
        expected = np.full(3, slope, np.float32)
        np.testing.assert_array_equal(f.grad(x, slope), expected)
        np.testing.assert_array_equal(f.backward(np.ones_like(x), output=x, negative_slope=slope), expected)
    np.testing.assert_array_equal(fastact.leaky_relu.grad(x, 0.3), 0)
    assert np.isnan(f.grad(np.float32(np.nan), 0.3))
