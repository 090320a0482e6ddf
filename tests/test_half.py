"""Half precision: float16 and bfloat16 are computed in float32, in as many digits as it takes, and rounded once, in every mode, layout and mixture.

bfloat16 is ml_dtypes', which fastact neither needs nor imports.
"""

import ctypes
import importlib
import itertools

import numpy as np
import pytest
import reference
import support

import fastact
from fastact import catalog

bfloat16 = pytest.importorskip("ml_dtypes").bfloat16

HALVES = [np.dtype(np.float16), np.dtype(bfloat16)]
EACH_HALF = pytest.mark.parametrize("half", HALVES, ids=str)
ROWS = pytest.mark.parametrize("record, mode", support.rows(records=support.FEW))
PATTERNS = np.arange(2**16, dtype=np.uint16)


def rounded(exact, half):
    """Numbers in half precision, by NumPy or ml_dtypes."""
    with support.quiet():
        return np.asarray(exact).astype(half)


def same(actual, expected, what=""):
    """`same_bits`, but one NaN is as good as another."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    lost = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), lost, what)
    support.same_bits(np.where(lost, 0, actual).astype(actual.dtype), np.where(lost, 0, expected).astype(expected.dtype), what)


def all_same(actual, expected, what=""):
    for a, e in zip(actual, expected, strict=True):
        same(a, e, what)


def arrays_of(record, mode, x):
    """Inputs of a mode, of the dtype of x."""
    if len(catalog.INPUTS[mode]) == 1:
        return (x,)
    gradient = np.random.default_rng(x.size).uniform(-3, 3, x.shape).astype(x.dtype)
    return gradient, rounded(fastact.get(record.name)(x.astype(np.float32)), x.dtype) if mode == "backward_from_output" else x


def sample(shape, half, seed=0):
    return rounded(support.sample(int(np.prod(shape)), np.float64, seed), half).reshape(shape)


def wide(arrays):
    return [a.astype(np.float32) for a in arrays]


def expected_of(record, mode, arrays, half, **given):
    """What they give in one piece of memory."""
    return support.same_elsewhere(record, mode, arrays, **given)


def float32_of(record, mode, arrays, half, **given):
    """What float32 gives, rounded: that, but for what two approximations of nearly the middle of two numbers become."""
    return [rounded(r, half) for r in support.outputs(record, mode, wide(arrays), **given)]


def all_near(actual, expected, what=""):
    for a, e in zip(actual, expected, strict=True):
        support.near(a, e, what)


# --- Conversion ----------------------------------------------------------------------------------------------------------


def converter(level, held, back):
    module = importlib.import_module(f"fastact._cy.kernels_{level}")
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)(module.converters()[held][back])


def convert(function, values, dtype):
    result = np.full(values.size + 8, 7, dtype)
    function(values.ctypes.data, result.ctypes.data, values.size)
    assert (result[values.size :] == 7).all(), "written beyond the end"
    return result[: values.size]


@pytest.mark.skipif(not support.LEVELS, reason="there is no extension")
@pytest.mark.parametrize("level", support.LEVELS or ["none"])
def test_converters(level):
    singles = np.concatenate([np.arange(0, 2**32, 8191, np.uint64).astype(np.uint32), 0x10000 * np.arange(65536, dtype=np.uint32) + 0x8000])
    edges = np.arange(0x38000000 - 40_000, 0x38000000 + 40_000, 7, np.uint32)  # where half precision becomes subnormal
    singles = np.concatenate([singles, edges, np.arange(0x477FE000, 0x47802000, 3, np.uint32)]).view(np.float32)
    for half in HALVES:
        widen, narrow = (converter(level, half.name, back) for back in (0, 1))
        every = PATTERNS.view(half)
        same(convert(widen, every, np.float32), every.astype(np.float32), f"{level} {half} widened")
        same(convert(narrow, singles, half), rounded(singles, half), f"{level} {half} narrowed")
        for n in range(70):
            same(convert(widen, every[20_000 : 20_000 + n].copy(), np.float32), every[20_000 : 20_000 + n].astype(np.float32), f"{n}")
            same(convert(narrow, singles[99 : 99 + n].copy(), half), rounded(singles[99 : 99 + n], half), f"{n}")
    widen, narrow = (converter(level, "float32", back) for back in (0, 1))
    with support.quiet():
        same(convert(widen, singles, np.float64), singles.astype(np.float64), f"{level} float32 widened")
        doubles = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64).view(np.float64)
        doubles = np.concatenate([doubles, np.float64(singles[:20_000]) * (1 + 2.0**-24)])
        same(convert(narrow, doubles, np.float32), doubles.astype(np.float32), f"{level} float32 narrowed")


@pytest.mark.skipif(len(support.LEVELS) < 2, reason=support.too_few("two levels"))
def test_levels_convert_to_the_same_bits():
    special = np.concatenate([np.arange(0x7F800000, 0x7F900000, 4093, np.uint32), np.arange(0, 2**31, 99991, np.uint32)])
    special = np.concatenate([special, special | np.uint32(2**31)]).view(np.float32)  # NaN with all kinds of payloads
    for half in HALVES:
        found = [convert(converter(level, half.name, 1), special, half) for level in support.LEVELS]
        for level, other in zip(support.LEVELS[1:], found[1:], strict=True):
            support.same_bits(other, found[0], f"{half}, {level}")


@pytest.mark.skipif("v4" not in support.LEVELS, reason=support.too_few("AVX-512"))
def test_with_and_without_the_instruction():
    """Where the processor rounds to bfloat16 by itself, both ways are the same to the bit."""
    module, half = importlib.import_module("fastact._cy.kernels_v4"), np.dtype(bfloat16)
    rng = np.random.default_rng(4)
    singles = np.concatenate([rng.integers(0, 2**32, 200_000), np.arange(0, 2**32, 99_991)]).astype(np.uint32)
    singles[::97] &= np.uint32(0x807FFFFF)  # subnormal
    orders = PATTERNS, rng.permutation(PATTERNS)  # one tile in one range, or of all kinds
    found = []
    try:
        for wanted in (True, False):
            assert wanted or not module.use_bfloat16(wanted)
            found.append([convert(converter("v4", half.name, 1), singles.view(np.float32), half)])
            for record, mode, order in itertools.product(support.FEW, catalog.MODES[:4], orders):
                found[-1] += support.outputs(record, mode, (order.view(half),) * len(catalog.INPUTS[mode]))
    finally:
        module.use_bfloat16(True)
    support.all_same_bits(*found)
    same(found[0][0], rounded(singles.view(np.float32), half))


# --- All inputs ----------------------------------------------------------------------------------------------------------


@ROWS
def test_all_inputs(record, mode, backend):
    for half in HALVES:
        x = PATTERNS.view(half)
        arrays = (x,)
        if len(catalog.INPUTS[mode]) == 2:
            arrays = np.random.default_rng(1).permutation(PATTERNS).view(half), x
        found = support.outputs(record, mode, arrays)
        assert all(r.dtype == half for r in found)
        with support.quiet():
            all_near(found, float32_of(record, mode, arrays, half), f"{record.name} {mode} {half} {backend}")


@pytest.mark.parametrize("which", [0, 1], ids=["value", "derivative"])
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_half_an_ulp(record, which, backend):
    # Against float64: what the kernel's own error, some 0.001 ULP, can move is a rounding of what lies almost in the middle.
    for half in HALVES:
        x = PATTERNS.view(half)
        with support.quiet():
            x = support.in_domain(record, x[np.isfinite(x)])
            x = x[support.resolved(record, which, x.astype(np.float32))]
        found = support.compute(record, which, x)
        near = support.compute(record, which, x.astype(np.float64), **reference.as_rounded(record, "float32"))
        zero = record.derivative_zero if which else record.value_zero
        slack = np.abs(near) * (2.0**-20 if half == np.float16 else 2.0**-17) + (2.0**-22 * max(1, zero[1]) if zero else 0) + 2.0**-147
        with support.quiet():
            low, high = (rounded(np.where(np.isinf(near), near, near + s), half) for s in (-slack, slack))
        wrong = ~((low <= found) & (found <= high))
        assert not wrong.any(), f"{record.name} {half}: at {x[wrong][0]} {found[wrong][0]}, not {near[wrong][0]}; {wrong.sum()} are wrong"


@pytest.mark.parametrize("record, mode", support.rows())
@pytest.mark.skipif(not support.LEVELS or not fastact.dispatch.numba.available(), reason="needs the extension, and Numba")
def test_numba_as_cython(record, mode):
    for half in HALVES:
        x = PATTERNS.view(half)
        arrays = (x,) if len(catalog.INPUTS[mode]) == 1 else (np.random.default_rng(1).permutation(PATTERNS).view(half), x)
        found = {}
        for backend in ("cython", "numba"):
            with fastact.use_backend(backend), support.quiet():
                found[backend] = support.outputs(record, mode, arrays)
        all_same(found["numba"], found["cython"], f"{record.name} {mode} {half}")


# --- Layouts, sizes, out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", support.LAYOUTS)
@EACH_HALF
@ROWS
def test_layouts(record, mode, half, layout):
    arrays = arrays_of(record, mode, sample((5, 7, 40), half))
    expected = expected_of(record, mode, arrays, half)
    laid_out = [support.LAYOUTS[layout](a) for a in arrays]
    all_same(support.outputs(record, mode, laid_out), expected, layout)
    results = [support.LAYOUTS[layout](np.zeros_like(e)) for e in expected]
    support.call(record, mode, laid_out, out=support.outs(tuple(results)))
    all_same(results, expected, f"out: {layout}")


@EACH_HALF
@ROWS
def test_sizes(record, mode, half, backend, many_threads):
    for shape in ((), (0,), (1,), (3, 0, 2), (15,), (16,), (17,), (255,), (256,), (257,), (1023,), (1025,), (40_003,)):
        arrays = arrays_of(record, mode, sample(shape, half))
        expected = expected_of(record, mode, arrays, half)
        found = support.outputs(record, mode, arrays)
        all_same(found, expected, str(shape))
        assert all(isinstance(r, half.type) for r in found) or shape
        results = tuple(np.zeros_like(e) for e in expected)
        support.call(record, mode, arrays, out=support.outs(results))
        all_same(results, expected, f"out, {shape}")


@EACH_HALF
@ROWS
def test_in_place(record, mode, half, backend):
    for n in (10, 1000, 3001):
        for i in range(len(catalog.INPUTS[mode])):
            for step in (1, 2, -1):
                arrays = [support.plain(a) for a in arrays_of(record, mode, sample((n,), half))]
                expected = expected_of(record, mode, arrays, half)
                holder = np.zeros(abs(step) * n, half)
                view = holder[:: abs(step)][:: 1 if step > 0 else -1]
                view[...] = arrays[i]
                arrays[i] = view
                other = [np.zeros_like(e) for e in expected[1:]]
                support.call(record, mode, arrays, out=support.outs((view, *other)))
                all_same((view, *other), expected, f"onto input {i}, {n}, {step}")


@EACH_HALF
@pytest.mark.parametrize("shift", [1, -1, 300])
@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_overlap(record, half, shift, backend):
    for n in (900, 5000):
        memory = sample((n,), half)
        x, out = (memory[shift:], memory[:-shift]) if shift > 0 else (memory[:shift], memory[-shift:])
        expected = fastact.get(record.name)(x.copy())
        fastact.get(record.name)(x, out=out)
        same(out, expected)


@EACH_HALF
@ROWS
def test_streamed(record, mode, half, many_threads):
    frontend = fastact.dispatch.cython.frontend
    if frontend is not None:
        frontend.set_stream_bytes(64)
    arrays = arrays_of(record, mode, sample((20_011,), half))
    expected = expected_of(record, mode, arrays, half)
    results = tuple(np.zeros(e.size + 1, half)[1:] for e in expected)  # off the lines of the cache
    support.call(record, mode, arrays, out=support.outs(results))
    all_same(results, expected)


@EACH_HALF
@ROWS
def test_where_and_broadcasting(record, mode, half, backend):
    x = sample((30, 20), half)
    arrays = arrays_of(record, mode, x)
    mask = np.random.default_rng(0).random(x.shape) < 0.5
    expected = expected_of(record, mode, arrays, half)
    results = [np.full_like(e, 5) for e in expected]
    support.call(record, mode, arrays, out=support.outs(tuple(results)), where=mask)
    all_same(results, [np.where(mask, e, np.array(5, half)) for e in expected], "where")
    rows = [np.broadcast_to(a[0], x.shape) for a in arrays]
    all_same(support.outputs(record, mode, rows), expected_of(record, mode, [a.copy() for a in rows], half), "broadcast")
    if len(arrays) == 2:
        found = support.outputs(record, mode, (arrays[0][:, :1], arrays[1][0]))
        outer = [a.copy() for a in np.broadcast_arrays(arrays[0][:, :1], arrays[1][0])]
        all_same(found, expected_of(record, mode, outer, half), "outer")


def test_read_only_out(backend):
    for half in HALVES:
        x = sample((10,), half)
        out = np.zeros_like(x)
        out.flags.writeable = False
        with pytest.raises(ValueError, match="out"):
            fastact.relu(x, out=out)
        assert not out.any()
        with pytest.raises(ValueError, match="shape"):
            fastact.relu(x, out=np.zeros(9, half))


@pytest.mark.parametrize("layout", ["plain", "strided", "byte-swapped"])
def test_each_half_into_the_other(layout, backend):
    """Each may be the other's output, everywhere, and gets what was computed, rounded once."""
    unit = fastact.bias("silu")
    for half, other in (HALVES, HALVES[::-1]):
        x, g = sample((30, 16), half), sample((30, 16), half, 1)
        x, g = (np.where(np.isfinite(a), np.clip(a.astype(np.float32), -9, 9), 1).astype(half) for a in (x, g))
        b = x[0].copy()
        calls = [
            (lambda a, out: fastact.gelu(a[0], out=out), 1),
            (lambda a, out: fastact.gelu.value_and_grad(a[0], out=out), 2),
            (lambda a, out: fastact.gelu.backward(a[1], a[0], out=out, where=True), 1),
            (lambda a, out: fastact.swiglu(a[1], a[0], out=out), 1),
            (lambda a, out: fastact.swiglu.backward(a[1], a[0], a[0], out=out), 2),
            (lambda a, out: unit(a[0], a[2], out=out), 1),
            (lambda a, out: unit.backward(a[1], a[0], a[2], out=(out, None))[0], 1),
            (lambda a, out: fastact.leaky_relu.backward(a[1], a[0], a[2], parameters=True, out=out)[0], 1),
            (lambda a, out: fastact.softmax(a[0], out=out), 1),
            (lambda a, out: fastact.log_softmax(a[0], out=out), 1),
            (lambda a, out: fastact.sparsemax(a[0], out=out), 1),
            (lambda a, out: fastact.hardmax(a[0], out=out), 1),
            (lambda a, out: fastact.softmax.backward(a[1], a[0], out=out), 1),
            (lambda a, out: fastact.sparsemax.backward(a[1], a[0], out=out), 1),
        ]
        for i, (call, count) in enumerate(calls):
            outs = [support.LAYOUTS[layout](np.zeros(x.shape, other)) for _ in range(count)]
            mixed = [support.LAYOUTS[layout](np.zeros(x.shape, kind)) for kind in (half, other)][:count]
            singles = [np.zeros(x.shape, np.float32) for _ in range(count)]
            for out in (outs, singles, mixed):
                with np.errstate(all="raise"):
                    call((x, g, b), support.outs(tuple(out)))
            all_near(map(support.plain, outs), [rounded(a, other) for a in singles], f"{i}, {half} to {other}")
            for a, single in zip(mixed, singles, strict=True):
                support.near(support.plain(a), rounded(single, a.dtype.newbyteorder("=")), f"{i}, mixed")
        db = np.zeros(16, other)
        assert unit.backward(g, x, b, out=(None, db))[1] is db and db.any()


# --- Parameters ----------------------------------------------------------------------------------------------------------


@EACH_HALF
@pytest.mark.parametrize("record, mode", support.rows(lambda r, m: r.given("value")))
def test_parameters(record, mode, half, backend):
    x = sample((40, 12), half)
    arrays = arrays_of(record, mode, x)
    names = [p.name for p in record.given(mode)]
    # A scalar keeps its digits: it is not rounded to half precision.
    given = {name: 0.1 + 0.3 * i for i, name in enumerate(names)}
    expected = expected_of(record, mode, arrays, half, **given)
    all_same(support.outputs(record, mode, arrays, **given), expected, "scalars")
    all_near(expected, float32_of(record, mode, arrays, half, **given), "scalars, with all digits")
    all_same(support.outputs(record, mode, [a[:, ::2] for a in arrays], **given), [e[:, ::2] for e in expected], "scalars, strided")
    all_same(support.outputs(record, mode, arrays, where=True, **given), expected, "scalars, by the ufunc")
    # An array of half precision broadcasts; a wider one widens the result, as it does with any ufunc.
    given = {name: rounded(np.linspace(0.25, 2, 12) + i, half) for i, name in enumerate(names)}
    expected = support.outputs(record, mode, wide(arrays), **{k: v.astype(np.float32) for k, v in given.items()})
    found = support.outputs(record, mode, arrays, **given)
    all_near(found, [rounded(e, half) for e in expected], "arrays")
    for dtype in support.DTYPES:
        found = support.outputs(record, mode, arrays, **{k: v.astype(dtype) for k, v in given.items()})
        assert all(r.dtype == dtype for r in found)
        if dtype == "float32":
            all_same(found, expected, "arrays of float32")


@EACH_HALF
@pytest.mark.parametrize("record", support.by_name(r for r in support.RECORDS if any(p.convention for p in r.parameters)))
def test_conventions(record, half, backend):
    x = np.array([*record.kinks, -1, 1], half)
    for p in record.parameters:
        if p.convention:
            for f, arrays in ((record, (x,)),):
                found = support.call(f, "grad", arrays, **{p.name: 0.1})
                support.near(found, float32_of(record, "grad", arrays, half, **{p.name: 0.1})[0], p.name)


# --- Mixtures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["plain", "strided"])
@ROWS
def test_mixed(record, mode, layout, backend):
    kinds = [np.dtype(np.float32), *HALVES]
    n = 700
    outputs = catalog.OUTPUTS[mode]
    for held in itertools.product(kinds, repeat=len(catalog.INPUTS[mode])):
        arrays = [rounded(a, kind) for a, kind in zip(arrays_of(record, mode, sample((n,), HALVES[0])), held, strict=True)]
        exact = support.outputs(record, mode, wide(arrays))
        arrays = [support.LAYOUTS[layout](a) for a in arrays]
        kind = held[0] if len(set(held)) == 1 else np.dtype(np.float32)
        found = support.outputs(record, mode, arrays)
        all_near(found, [rounded(e, kind) for e in exact], f"{held}")
        for into in itertools.product(kinds, repeat=outputs):
            results = tuple(support.LAYOUTS[layout](np.zeros(n, k)) for k in into)
            support.call(record, mode, arrays, out=support.outs(results))
            all_near(results, [rounded(e, k) for e, k in zip(exact, into, strict=True)], f"{held} into {into}")
            support.call(record, mode, arrays, out=support.outs(results), where=np.ones(n, bool))
            all_near(results, [rounded(e, k) for e, k in zip(exact, into, strict=True)], f"{held} into {into} by the ufunc")


def test_mixed_overlap(backend):
    # An output in the memory of an input of another dtype is for NumPy to sort out.
    memory = np.zeros(4000, np.float16)
    x = memory[:2000]
    x[...] = sample((2000,), np.float16)
    out = memory.view(np.float32)[100:]
    expected = fastact.silu(x.astype(np.float32))[:1900]
    fastact.silu(x[:1900], out=out)
    same(out, expected)


def test_with_float64_and_integers(backend):
    for half in HALVES:
        x, d = sample((50,), half), support.sample(50, np.float64)
        same(fastact.silu(x, out=np.zeros(50)), fastact.silu(x.astype(np.float32)).astype(np.float64))
        same(fastact.silu(d, out=np.zeros(50, half)), rounded(fastact.silu(d), half))
        assert fastact.silu.backward(d, x).dtype == np.float64
        assert fastact.silu.backward(np.arange(50), x).dtype == np.float64
        assert fastact.silu.backward(np.arange(50, dtype=np.int8), x).dtype == np.float32
        assert fastact.silu.backward(1.0, x).dtype == half
        assert fastact.silu(x, dtype=np.float32).dtype == np.float32
        same(fastact.silu(x, dtype=np.float32), fastact.silu(x.astype(np.float32)))
        with pytest.raises(TypeError, match="out"):
            fastact.silu(x, out=np.zeros(50, int))
    for small in (np.int8, np.uint8, np.bool_):
        assert fastact.silu(np.ones(3, small)).dtype == np.float32
    assert fastact.silu(np.ones(3, int), out=np.zeros(3, np.float16)).dtype == np.float16


def test_beyond_the_largest(backend):
    # Infinite, and no warning: those are errors here.
    x = np.array([1e6, -1e6, 1e38, np.inf, -np.inf, np.nan], np.float32)
    out = np.zeros(6, np.float16)
    for options in ({}, {"where": True}):
        same(fastact.leaky_relu(x, 1.0, out=out, **options), rounded(x, np.float16))
        same(fastact.leaky_relu(x[::-1], 1.0, out=out[::-1], **options)[::-1], rounded(x, np.float16))
    same(fastact.leaky_relu(x.astype(np.float64), 1.0, out=out), rounded(x, np.float16))
    steep = fastact.leaky_relu(-sample((100,), np.float16), 1e9)
    assert not np.isfinite(steep).all()
    assert fastact.leaky_relu(np.array([-1], bfloat16), 1e38)[0] == bfloat16(-1e38)


# --- Ufuncs --------------------------------------------------------------------------------------------------------------


@ROWS
def test_ufuncs(record, mode, backend):
    ufunc = fastact.get(record.name).mode_ufunc(mode)
    given = len(record.given(mode))
    assert f"{'e' * len(catalog.INPUTS[mode])}{'f' * given}->{'e' * catalog.OUTPUTS[mode]}" == ufunc.types[0]
    assert [t[0] for t in ufunc.types][:3] == ["e", "f", "d"]
    for half in HALVES:
        arrays = arrays_of(record, mode, sample((300,), half))
        expected = expected_of(record, mode, arrays, half)
        fastact.set_backend("auto")
        found = ufunc(*arrays, *[p.default for p in record.given(mode)])
        found = found if isinstance(found, tuple) else (found,)
        assert all(r.dtype == half for r in found)
        fastact.set_backend(backend)
        if backend != "numpy":  # the public ufunc is no backend's
            all_same(found, expected, f"{half}")


_LATER = """
import sys
import numpy as np
import fastact

ufunc = fastact.mish.ufunc
fastact.silu(np.ones(3))
assert "ml_dtypes" not in sys.modules
import ml_dtypes

x = np.ones(3, ml_dtypes.bfloat16)
assert fastact.silu.value_and_grad(x[::2])[1].dtype == x.dtype
assert ufunc(x).dtype == fastact.gelu.grad_ufunc(x).dtype == fastact.gelu(x).dtype == x.dtype
with fastact.use_backend("numpy"):
    assert fastact.gelu.backward(x, x).dtype == x.dtype
assert type(fastact.gelu(ml_dtypes.bfloat16(1))) is ml_dtypes.bfloat16
print("done")
"""


def test_bfloat16_is_met_later():
    assert support.isolated(_LATER).stdout == "done\n"


@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_scalars(record, backend):
    for half in HALVES:
        y = fastact.get(record.name)(half.type(0.5))
        assert type(y) is half.type
        support.near(y, rounded(fastact.get(record.name)(np.float32(0.5)), half))


def test_explain():
    for half in HALVES:
        found = fastact.explain("gelu", np.zeros(10, half))
        assert (found.dtype, found.computed) == (half.name, "float32")
        assert "computed in float32" in str(found)
        assert fastact.explain("gelu", dtype=half.name).dtype == half.name
        assert fastact.warmup("relu", dtype=half.name, mode="value") >= 0
