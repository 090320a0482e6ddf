"""Gated units: their parts' results, to the bit, in both forms, and both gradients."""

import copy
import doctest
import itertools
import pickle

import numpy as np
import pytest
import support
from numpy.lib.stride_tricks import as_strided

import fastact
from fastact import catalog
from fastact.backends import cython

UNITS = list(catalog.gated_units())
EACH = pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))


def arrays(shape, dtype, count=3):
    return [support.sample(int(np.prod(shape)), dtype, seed).reshape(shape) for seed in range(count)]


def expected(record, value, gate, grad_output=None, bound=np.inf, added=0.0, **parameters):
    """By NumPy, from the activation's own results: the unit, or both gradients."""
    act = fastact.get(record.name)
    with support.quiet():
        real = value.dtype.type
        bounded = np.where(value < -bound, -real(bound), np.where(value > bound, real(bound), value)) + real(added)
        gate_ = np.where(gate > bound, real(bound), gate)
        if grad_output is None:
            return act(gate_, **parameters) * bounded
        y, dy = act.value_and_grad(gate_, **parameters)
        dvalue = np.where(abs(value) > bound, real(0), grad_output * y)
        return dvalue, np.where(gate > bound, real(0), (grad_output * bounded) * dy)


def joined(value, gate, axis, which):
    return np.concatenate([gate, value] if which == "first" else [value, gate], axis)


@EACH
def test_two_arrays(record, backend):
    unit = fastact.gated(record.name)
    for dtype, shape in itertools.product(support.DTYPES, [(67,), (3, 4, 150), (2, 3000), (0, 3)]):
        value, gate, grad_output = arrays(shape, dtype)
        support.same_bits(unit(value, gate), expected(record, value, gate), f"{dtype} {shape}")
        support.all_same_bits(
            unit.backward(grad_output, value, gate), expected(record, value, gate, grad_output), f"{dtype} {shape} backward"
        )


@EACH
def test_one_array(record, backend):
    unit = fastact.gated(record.name)
    for dtype, axis, which in itertools.product(support.DTYPES, (-1, 0, 1), ("first", "second")):
        value, gate, grad_output = arrays((4, 6, 70), dtype)
        x = joined(value, gate, axis, which)
        dvalue, dgate = unit.backward(grad_output, value, gate)
        support.same_bits(unit(x, which, axis=axis), unit(value, gate), f"axis {axis}, gate {which}")
        support.same_bits(unit.backward(grad_output, x, which, axis=axis), joined(dvalue, dgate, axis, which), f"axis {axis}, gate {which}")


def test_the_gate_is_the_second_half_of_the_last_axis():
    x = np.array([[1.0, 2.0, -3.0, 4.0]])
    np.testing.assert_array_equal(fastact.reglu(x), [[0.0, 8.0]])
    np.testing.assert_array_equal(fastact.reglu(x, gate="first"), [[-3.0, 8.0]])
    np.testing.assert_array_equal(fastact.reglu(x, axis=1), [[0.0, 8.0]])


@pytest.mark.parametrize("limit, offset", [(1.5, 0.0), (7.0, 1.0), (None, 1.0), (np.inf, -0.5)])
def test_limit_and_offset(backend, limit, offset):
    record = support.CATALOG["silu"]
    unit, bound = fastact.swiglu, np.inf if limit is None else limit
    for dtype in support.DTYPES:
        value, gate, grad_output = arrays((5, 333), dtype)
        value[0, :8] = [bound, -bound, np.nextafter(dtype_of(value)(bound), dtype_of(value)(9e9)), np.nan, np.inf, -np.inf, 0, -0.0]
        gate[0, 8:12] = [bound, np.nan, np.inf, -np.inf]
        for given in ({}, {"out": np.empty_like(value)}):
            support.same_bits(
                unit(value, gate, limit=limit, value_offset=offset, **given), expected(record, value, gate, None, bound, offset)
            )
        got = unit.backward(grad_output, value, gate, limit=limit, value_offset=offset)
        want = expected(record, value, gate, grad_output, bound, offset)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def dtype_of(a):
    return a.dtype.type


@pytest.mark.parametrize("record", support.by_name([r for r in support.REPRESENTATIVES if r.given("value")]))
def test_parameters(record, backend):
    unit = fastact.gated(record.name)
    value, gate, grad_output = arrays((4, 150), np.float32)
    names = [p.name for p in record.given("value")]
    rng = np.random.default_rng(1)
    for kind in (
        lambda: 0.4,
        lambda: np.float32(0.7),
        lambda: rng.uniform(0.1, 1, 150).astype(np.float32),
        lambda: rng.uniform(0.1, 1, (4, 1)).astype(np.float32),
    ):
        given = {name: kind() for name in names}
        support.same_bits(unit(value, gate, **given), expected(record, value, gate, **given))
        support.all_same_bits(unit.backward(grad_output, value, gate, **given), expected(record, value, gate, grad_output, **given))


@pytest.mark.parametrize("layout", support.LAYOUTS)
def test_layouts(layout, backend):
    unit, lay = fastact.swiglu, support.LAYOUTS[layout]
    for dtype, shape in itertools.product(support.DTYPES, [(67,), (5, 33), (3, 4, 150)]):
        value, gate, grad_output = arrays(shape, dtype)
        want = unit(value, gate), *unit.backward(grad_output, value, gate)
        got = unit(lay(value), lay(gate)), *unit.backward(lay(grad_output), lay(value), gate)
        support.all_same_bits(got, want, layout)
        outs = [lay(np.full(shape, 5, dtype)) for _ in range(3)]
        assert unit(lay(value), gate, out=outs[0]) is outs[0]
        results = unit.backward(grad_output, value, lay(gate), out=(outs[1], outs[2]))
        assert results[0] is outs[1] and results[1] is outs[2]
        support.all_same_bits(outs, want, f"{layout}, out")


def test_interleaved_pairs(backend):
    x = support.sample(3 * 400, np.float32).reshape(3, 400)
    want = fastact.swiglu(x[:, 1::2].copy(), x[:, ::2].copy())
    support.same_bits(fastact.swiglu(x[:, 1::2], x[:, ::2]), want)


def test_in_place_and_overlap(backend):
    unit = fastact.geglu
    for dtype in support.DTYPES:
        value, gate, grad_output = arrays((40, 150), dtype)
        y, (dvalue, dgate) = unit(value, gate), unit.backward(grad_output, value, gate)
        for target in (0, 1):
            parts = [value.copy(), gate.copy()]
            support.same_bits(unit(*parts, out=parts[target]), y, f"out is input {target}")
        for order in itertools.permutations(range(3), 2):
            parts = [grad_output.copy(), value.copy(), gate.copy()]
            unit.backward(*parts, out=(parts[order[0]], parts[order[1]]))
            support.all_same_bits([parts[i] for i in order], [dvalue, dgate], f"backward into inputs {order}")
        x = np.concatenate([value, gate], -1)
        support.same_bits(unit(x, out=x[:, :150]), y)
        x = np.concatenate([value, gate], -1)
        unit.backward(grad_output, x, out=x)
        support.same_bits(x, np.concatenate([dvalue, dgate], -1))
        memory = np.zeros(40 * 150 + 7, dtype)
        moved = memory[7:].reshape(40, 150)
        moved[...] = value
        support.same_bits(unit(moved, gate, out=memory[:-7].reshape(40, 150)), y, "overlapping")


def test_large_results_around_the_cache(many_threads):
    if not support.HAS_EXTENSION:
        pytest.skip("streaming stores are the extension's")
    value, gate, grad_output = arrays((70_001,), np.float32)
    y, (dvalue, dgate) = fastact.swiglu(value, gate), fastact.swiglu.backward(grad_output, value, gate)
    cython.frontend.set_stream_bytes(1)
    for shift in (0, 1, 5, 15):
        outs = [np.full(70_001 + 40, 5, np.float32) for _ in range(3)]
        parts = [a[shift + 3 * i : shift + 3 * i + 70_001] for i, a in enumerate(outs)]
        fastact.swiglu(value, gate, out=parts[0])
        fastact.swiglu.backward(grad_output, value, gate, out=(parts[1], parts[2]))
        support.all_same_bits(parts, [y, dvalue, dgate], f"shifted by {shift}")
        for part in parts:
            part[...] = 5
        assert all((a == 5).all() for a in outs), "memory beside the result was written to"


def test_threads(backend):
    n = 20_003 if backend == "numpy" else 200_003
    value, gate, grad_output = arrays((n,), np.float32)
    fastact.set_num_threads(1)
    want = fastact.swiglu(value, gate), *fastact.swiglu.backward(grad_output, value, gate)
    fastact.set_num_threads(4)
    support.all_same_bits((fastact.swiglu(value, gate), *fastact.swiglu.backward(grad_output, value, gate)), want)


def test_every_length(backend, many_threads):
    value, gate = arrays((5000,), np.float32, 2)
    whole = fastact.swiglu(value, gate)
    for n in [*range(40), 1023, 1024, 1025, 2047, 4099]:
        support.same_bits(fastact.swiglu(value[7 : 7 + n], gate[7 : 7 + n]), whole[7 : 7 + n], f"{n} elements")


def test_half_precision(backend):
    with support.quiet():  # of the conversion of the samples
        value, gate, grad_output = arrays((3, 500), np.float16)
    wide = [a.astype(np.float32) for a in (value, gate, grad_output)]
    with support.quiet():
        want = fastact.swiglu(*wide[:2]).astype(np.float16), *(a.astype(np.float16) for a in fastact.swiglu.backward(wide[2], *wide[:2]))
        got = fastact.swiglu(value, gate), *fastact.swiglu.backward(grad_output, value, gate)
    support.all_same_bits(got, want, "rounded once")


def test_bfloat16(backend):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with support.quiet():  # of the conversion of the samples
        value, gate, grad_output = (a.astype(bfloat16) for a in arrays((3, 500), np.float32))
        wide = [a.astype(np.float32) for a in (value, gate, grad_output)]
        want = fastact.swiglu(*wide[:2]).astype(bfloat16), *(a.astype(bfloat16) for a in fastact.swiglu.backward(wide[2], *wide[:2]))
        got = fastact.swiglu(value, gate), *fastact.swiglu.backward(grad_output, value, gate)
    support.all_same_bits(got, want, "rounded once")


def test_other_dtypes():
    assert fastact.reglu([1, 2], [3, 4]).dtype == np.float64
    assert fastact.reglu(np.ones(2, np.int8), np.ones(2, np.int8)).dtype == np.float32
    assert fastact.reglu(np.ones(2, np.float32), np.ones(2)).dtype == np.float64
    assert fastact.reglu(np.ones(2, ">f4"), np.ones(2, np.float32)).dtype == np.float32
    out = np.empty(2, np.float32)
    assert fastact.reglu(np.ones(2), np.ones(2), out=out) is out and (out == 1).all()
    assert fastact.reglu(2.0, 3.0) == 6 and np.ndim(fastact.reglu(2.0, 3.0)) == 0


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: fastact.glu(np.ones(3)), ValueError, "length 3 along axis -1"),
        (lambda: fastact.glu(np.ones((2, 3)), axis=2), ValueError, "axis: 2"),
        (lambda: fastact.glu(np.ones(2), axis=5), np.exceptions.AxisError, "axis: 5 is out of bounds for an array of 1 dimension"),
        (lambda: fastact.glu(np.ones(2), axis="x"), TypeError, "axis: expected a whole number, not 'x'"),
        (lambda: fastact.glu(np.ones(2), axis=0.0), TypeError, "axis: expected a whole number, not 0.0"),
        (lambda: fastact.glu(np.ones(2), axis=None), TypeError, "axis: expected a whole number, not None"),
        (lambda: fastact.glu(np.float64(1)), np.exceptions.AxisError, "axis: -1 is out of bounds for an array of 0 dimensions"),
        (lambda: fastact.glu(np.ones(2), "third"), ValueError, "gate: 'third' is no half"),
        (lambda: fastact.glu(np.ones(2), np.ones(3)), ValueError, "value has shape"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), axis=0), TypeError, "axis says where"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), limit=-1.0), ValueError, "limit: -1.0 is not positive"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), limit=np.nan), ValueError, "limit: nan is not positive"),
        (lambda: fastact.glu(np.ones(2), axis=slice(None)), TypeError, "axis: expected a whole number, not slice"),
        (lambda: fastact.glu(np.ones(2), axis=np.array([0, 0])), TypeError, "axis: expected a whole number, not array"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), value_offset="x"), TypeError, "value_offset: expected a number"),
        (lambda: fastact.glu(np.ones(2), value_offset=None), TypeError, "value_offset: expected a number"),
        (lambda: fastact.glu(np.ones(2), value_offset=np.zeros(2)), TypeError, "value_offset: expected a number"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), limit=np.timedelta64(3)), TypeError, "limit: expected a number"),
        (lambda: fastact.glu(np.ones(2), np.ones(2), slope=1.0), TypeError, "no argument 'slope'"),
        (lambda: fastact.glu(np.ones(2) * 1j, np.ones(2)), TypeError, "value is complex"),
        (lambda: fastact.glu(["a"], ["b"]), TypeError, "value has dtype"),
        (lambda: fastact.glu([10**400, 1], [1, 1]), TypeError, "value has a whole number that is too large"),
        (lambda: fastact.glu(np.ones(2), np.ma.masked_array([1.0, 2.0], [0, 1])), TypeError, "gate has masked elements"),
        (lambda: fastact.glu([[1], [2, 3]]), ValueError, "value is ragged"),
        (lambda: fastact.glu.backward(np.ones(3), np.ones(2), np.ones(2)), ValueError, r"grad_output has shape \(3,\)"),
        (lambda: fastact.gated("no such thing"), LookupError, "no such thing"),
        (lambda: fastact.gated(3), TypeError, "act: expected an activation"),
    ],
)  # fmt: skip
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_bad_out_is_not_written_to():
    value, gate = np.ones((2, 4)), np.ones((2, 4))
    locked = np.zeros((2, 4))
    locked.flags.writeable = False
    repeated, sliding = as_strided(np.zeros(4), (2, 4), (0, 8)), as_strided(np.zeros(5), (2, 4), (8, 8))
    for out, error, words in [
        (locked, ValueError, "read-only"),
        (np.zeros((4, 2)), ValueError, "out has shape"),
        (np.zeros((2, 4), int), TypeError, "out has dtype"),
        ([0.0], TypeError, "expected an array"),
        ((np.zeros((2, 4)),) * 2, TypeError, "expected one array"),
        (repeated, ValueError, "share memory"),
        (sliding, ValueError, "share memory"),
    ]:
        with pytest.raises(error, match=words):
            fastact.glu(value, gate, out=out)
    same = np.zeros((2, 4))
    for out, words in [
        ((same, same), "share memory"),
        (same, r"expected a tuple \(dvalue, dgate\) of 2 arrays, not ndarray"),
        ([same, same.copy()], r"expected a tuple \(dvalue, dgate\) of 2 arrays, not list"),
        ((same,) * 3, "not a tuple of 3"),
        ((same, np.zeros(3)), "dgate"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words):
            fastact.glu.backward(value, value, gate, out=out)
    assert not locked.any() and not repeated.any() and not sliding.any() and not same.any()


@pytest.mark.parametrize("name", UNITS)
def test_named_units(name):
    unit = getattr(fastact, name)
    assert name in fastact.__all__ and unit.__name__ == name and name in repr(unit)
    assert fastact.gated(catalog.gated_units()[name]) is unit
    for again in (pickle.loads(pickle.dumps(unit)), copy.copy(unit), copy.deepcopy(unit)):
        assert again is unit
    for text in (unit.__doc__, type(unit).backward.__doc__):
        test = doctest.DocTestParser().get_doctest(text, {"fastact": fastact, "np": np}, name, None, 0)
        assert test.examples and doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_gradients_are_those_of_differences():
    rng = np.random.default_rng(3)
    x, weight, h = rng.normal(size=(3, 20)), rng.normal(size=(3, 10)), 1e-6
    dx = fastact.swiglu.backward(weight, x, limit=1.5, value_offset=0.5)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        difference = [(fastact.swiglu(x + s * step, limit=1.5, value_offset=0.5) * weight).sum() for s in (1, -1)]
        assert abs((difference[0] - difference[1]) / (2 * h) - dx[i]) < 1e-7


def test_numbers_of_python_take_the_dtype_of_the_others(backend):
    x = np.array([1.0, -2.0], np.float32)
    for calls in (
        lambda g: fastact.swiglu.backward(g, x, x),
        lambda g: fastact.bias("tanh").backward(g, x, x),
        lambda g: fastact.prelu.backward(g, x, 0.25, parameters=True),
    ):
        support.all_same_bits(calls(2.0), calls(np.float32(2)), "float")
        support.all_same_bits(calls(2), calls(np.float32(2)), "int")
        assert all(result.dtype == np.float32 for result in calls(1e300))
    assert fastact.swiglu(2.0, np.float32(3)).dtype == np.float32 and fastact.swiglu(2, 3).dtype == np.float64


def test_two_half_precisions_have_float32_in_common(backend):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    one, other = np.array([1.0, -2.0], np.float16), np.array([0.5, 3.0], bfloat16)
    support.same_bits(fastact.swiglu(one, other), fastact.swiglu(one.astype(np.float32), other.astype(np.float32)), "swiglu")


def test_parameters_beyond_the_dtype(backend):
    one = np.ones(2, np.float32)
    np.testing.assert_array_equal(fastact.gated("elu")(one, -one, alpha=1e300), [-np.inf, -np.inf])
    assert np.isnan(fastact.gated("elu")(one, -one, alpha=np.nan)).all()


def test_gates_that_are_more_than_arrays(tmp_path):
    value, gate = (np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4) * i for i in (1, 3))
    stored = np.memmap(tmp_path / "gate", np.float32, "w+", shape=gate.shape)
    stored[:] = gate
    for given in (stored, gate.view(np.matrix), np.ma.array(gate)):
        support.same_bits(fastact.swiglu(value, given), fastact.swiglu(value, gate), type(given).__name__)
        support.all_same_bits(
            fastact.swiglu.backward(value, value, given), fastact.swiglu.backward(value, value, gate), type(given).__name__
        )


def test_constants_beyond_float32_are_no_news(backend):
    x = np.array([1, -2], np.float32)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(fastact.swiglu(x, x, limit=1e40), fastact.swiglu(x, x))
        np.testing.assert_array_equal(fastact.bias("relu")(x, abs(x), scale=1e40), [np.inf, np.nan])  # 0 * inf
