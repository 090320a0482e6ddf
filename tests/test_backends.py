"""Backends and instruction-set levels are interchangeable: the same bits wherever there is fma, within the bound elsewhere."""

import importlib
import itertools
import types

import numpy as np
import pytest
import reference
import support

import fastact
from fastact import callables, catalog, dispatch
from fastact.backends import cython, numba

ROWS = pytest.mark.parametrize("record, mode", support.rows())
LEVEL = pytest.mark.parametrize(
    "level", support.LEVELS or [pytest.param(None, marks=pytest.mark.skip(reason="levels are the extension's"))]
)


def x_for(dtype):
    rng = np.random.default_rng(11)
    unsigned = {4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    patterns = rng.integers(0, np.iinfo(unsigned).max, 60_000, unsigned).view(dtype)
    return np.concatenate([patterns, support.sample(60_000, dtype), support.specials(dtype), np.array([np.nan], dtype)])


def serve(record, mode, arrays, backend, **kwargs):
    fastact.set_backend(backend)
    return support.outputs(record, mode, arrays, **kwargs)


def same_or_nan(actual, expected, what):
    """Same bits, but for NaN: its sign and payload mean nothing."""
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        support.same_bits(np.where(np.isnan(a), 0, a), np.where(np.isnan(b), 0, b), what)


@pytest.mark.skipif(len(support.COMPILED) < 2, reason="there is but one compiled backend to compare")
@ROWS
def test_compiled_backends_give_the_same_bits(record, mode):
    for dtype in support.DTYPES:
        x = x_for(dtype)
        with support.quiet():
            arrays = support.inputs(record, mode, x)
        varying = {p.name: np.linspace(0.1, 2, x.size).astype(dtype) for p in record.given(mode)}
        for given in ({}, varying):
            ours, theirs = (serve(record, mode, arrays, backend, **given) for backend in ("numba", "cython"))
            same_or_nan(ours, theirs, f"Numba against Cython, {dtype}, {'varying' if given else 'default'} parameters")


def level_runner(record, mode, level):
    """A compiled callable of one mode over the kernels of one level."""
    module = importlib.import_module(f"fastact._cy.kernels_{level}")
    table = module.kernels()
    runner = callables.Runner()
    callables.set_up(runner, record, mode, None)
    for index, precision in enumerate(support.DTYPES):
        varying = table[record.name, mode, precision, True] if record.parameters else 0
        runner.set_kernel(index, table[record.name, mode, precision, False], varying, dispatch.UNMEASURED_NS)
    return runner


@LEVEL
@pytest.mark.parametrize("record, mode", support.value_rows())
def test_levels(record, mode, level):
    for dtype in support.DTYPES:
        x = x_for(dtype)
        fastact.set_backend("cython")
        with support.quiet():
            arrays = support.inputs(record, mode, x)
        expected = support.outputs(record, mode, arrays)
        actual = level_runner(record, mode, level)(*arrays)
        actual = actual if isinstance(actual, tuple) else (actual,)
        if level != "v2":
            same_or_nan(actual, expected, f"{level} {dtype}")
        else:  # no fma: other roundings
            for a, e in zip(actual, expected, strict=True):
                np.testing.assert_array_equal(np.isnan(a), np.isnan(e))
                with support.quiet():
                    np.testing.assert_array_equal(np.isinf(a), np.isinf(e))


@LEVEL
@pytest.mark.parametrize("which", [0, 1], ids=["value", "derivative"])
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_accuracy_of_levels(record, which, level):
    runner = level_runner(record, ("value", "grad")[which], level)
    extra = catalog.NO_FMA_ULP if level == "v2" else 0
    x = support.in_domain(record, reference.points64(record))
    x = x[support.resolved(record, which, x)]
    near, rest = reference.exact(record, which, x)
    reference.check(record, which, x, runner(x), near, rest, what=f"{record.name} float64 {level}", extra=extra)
    x = support.in_domain(record, reference.points32(record, 65537))
    x = x[support.resolved(record, which, x)]
    fastact.set_backend("cython")
    near = support.compute(record, which, x.astype(np.float64), **reference.as_rounded(record, "float32"))
    reference.check(record, which, x, runner(x), near, what=f"{record.name} float32 {level}", extra=extra)


@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_every_kernel_is_there(record, backend):
    for mode, precision in itertools.product(record.modes, support.DTYPES):
        support.call(record, mode, [np.ones(2, precision)] * len(catalog.INPUTS[mode]))
        assert dispatch.ready(record, mode, precision, backend), f"{mode} {precision} is not ready after a call"


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="the extension's kernels")
def test_every_compiled_kernel_is_there():
    for record in support.RECORDS:
        for mode, precision, varying in itertools.product(record.modes, support.DTYPES, {False, bool(record.parameters)}):
            assert cython.kernel(record, mode, precision, varying) != 0


def test_kernels_of_what_is_not_there():
    stranger = types.SimpleNamespace(name="stranger", kernel_name="stranger")
    if support.HAS_EXTENSION:
        assert cython.kernel(stranger, "value", "float32") == 0
        assert not dispatch.ready(stranger, "value", "float32", "cython")
        assert dispatch.choose(stranger, "value", "float32", "cython").backend in ("numba", "numpy")
    else:
        assert cython.level() is None
        assert not cython.available()


def test_availability():
    assert dispatch.BACKENDS["numpy"].available()
    assert numba.available() == support.HAS_NUMBA
    if cython.available():
        assert cython.level() == support.LEVELS[0]


@ROWS
def test_however_a_backend_is_asked_for(record, mode, backend):
    for dtype, path in itertools.product(support.DTYPES, ("set", "use", "general")):
        arrays = support.inputs(record, mode, support.sample(100, dtype))
        expected = serve(record, mode, arrays, backend)
        fastact.set_backend("auto")
        if path == "use":
            with fastact.use_backend(backend):
                actual = support.outputs(record, mode, arrays)
        else:
            fastact.set_backend(backend)
            actual = support.outputs(record, mode, arrays, **({"order": "K"} if path == "general" else {}))
        support.all_same_bits(actual, expected, f"{dtype} {path}")


@pytest.mark.skipif(not numba.available(), reason="Numba is not installed")
@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_vectorized_inside_compiled_code(record):
    import numba as compiler

    function = support.function(record, "grad")
    inner = function.vectorized
    defaults = tuple(p.default for p in record.given("grad"))

    @compiler.njit
    def by_element(x, out, parameters):
        for i in range(x.size):
            out[i] = inner(x[i], *parameters)

    x = support.sample(1000, "float64")
    out = np.empty_like(x)
    by_element(x, out, defaults)
    with fastact.use_backend("numba"):
        support.same_bits(out, function(x))
    with pytest.raises(AttributeError, match="one output"):
        _ = support.function(record, "value_and_grad").vectorized
