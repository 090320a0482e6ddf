"""Bias before an activation, mask behind it: the parts' results, to the bit, and sums that do not lose digits."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import support

import fastact
from fastact.backends import cython

EACH = pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))


def arrays(shape, axis, dtype):
    x, grad_output = (support.sample(int(np.prod(shape)), dtype, seed).reshape(shape) for seed in range(2))
    rng = np.random.default_rng(1)
    return x, rng.normal(size=shape[axis]).astype(dtype), grad_output, rng.random(shape) < 0.7


def spread(b, ndim, axis):
    return b.reshape([-1 if d == axis % ndim else 1 for d in range(ndim)])


def expected(record, x, b, grad_output=None, axis=-1, mask=None, scale=1.0, **parameters):
    act, real = fastact.get(record.name), x.dtype.type
    with support.quiet():
        shifted = x + spread(b, x.ndim, axis)

        def kept(a):
            a = a * real(scale) if scale != 1 else a
            return a if mask is None else np.where(mask, a, real(0))

        if grad_output is None:
            return kept(act(shifted, **parameters))
        return act.backward(kept(np.array(np.broadcast_to(grad_output, x.shape), x.dtype)), shifted, **parameters)


def check_sum(db, dx, axis, what=""):
    """`db` is `dx` summed over all axes but one, rounded once or nearly so."""
    for channel, terms in enumerate(np.moveaxis(dx, axis, 0).reshape(dx.shape[axis], -1)):
        if not np.isfinite(terms).all():
            assert not np.isfinite(db[channel])
            continue
        exact = math.fsum(terms.tolist())
        size = math.fsum(abs(terms.astype(float)).tolist())
        allowed = 0.5001 * np.spacing(dx.dtype.type(abs(exact))) + size * 2.0**-52
        assert abs(float(db[channel]) - exact) <= allowed, f"{what}: channel {channel}: {db[channel]!r}, not {exact!r}"


@EACH
def test_value_and_backward(record, backend):
    act = fastact.bias(record.name)
    for dtype, (shape, axis) in itertools.product(
        support.DTYPES, [((67,), 0), ((5, 33), -1), ((40, 150), 1), ((3, 4, 150), 1), ((6, 5, 4), 0)]
    ):
        x, b, grad_output, mask = arrays(shape, axis, dtype)
        for options in ({}, {"mask": mask}, {"mask": mask, "scale": 1 / 0.7}, {"scale": 0.5}):
            what = f"{dtype} {shape} {axis} {[*options]}"
            support.same_bits(act(x, b, axis, **options), expected(record, x, b, axis=axis, **options), what)
            dx, db = act.backward(grad_output, x, b, axis, **options)
            support.same_bits(dx, expected(record, x, b, grad_output, axis, **options), what)
            check_sum(db, dx, axis, what)


@pytest.mark.parametrize("layout", support.LAYOUTS)
def test_layouts(layout, backend):
    act, lay = fastact.bias("gelu"), support.LAYOUTS[layout]
    for dtype, (shape, axis) in itertools.product(support.DTYPES, [((40, 150), -1), ((3, 4, 70), 1)]):
        x, b, grad_output, mask = arrays(shape, axis, dtype)
        y, (dx, db) = act(x, b, axis, mask=mask), act.backward(grad_output, x, b, axis, mask=mask)
        given = {"mask": mask if layout == "byte-swapped" else lay(mask)}
        support.same_bits(act(lay(x), lay(b), axis, **given), y, layout)
        outs = lay(np.full(shape, 5, dtype)), lay(np.full(b.shape, 5, dtype))
        results = act.backward(lay(grad_output), lay(x), b, axis, **given, out=outs)
        assert results[0] is outs[0] and results[1] is outs[1]
        support.same_bits(outs[0], dx, layout)
        np.testing.assert_allclose(outs[1], db, rtol=1e-6)  # the order of additions is that of memory
        support.same_bits(act(lay(x), b, axis, mask=mask, out=outs[0]), y, layout)


@pytest.mark.parametrize("shape, axis", [((300_003,), None), ((3000, 100), -1), ((20, 3, 5001), 1), ((100_001, 3), -1)])
def test_the_same_bits_from_any_number_of_threads(shape, axis, backend):
    if backend == "numpy":
        shape = (shape[0] // 4, *shape[1:])
    for dtype in support.DTYPES:
        x, b, grad_output, _ = arrays(shape, axis or -1, dtype)
        results = []
        for threads in (1, 2, 4):
            fastact.set_num_threads(threads)
            if cython.frontend is not None:
                cython.frontend.set_thresholds_ns(1.0, 1.0)
            if axis is None:
                results.append(fastact.leaky_relu.backward(grad_output, x, 0.1, parameters=True))
            else:
                results.append(fastact.bias("silu").backward(grad_output, x, b, axis))
        for other in results[1:]:
            support.all_same_bits(other, results[0], f"{dtype}")


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="streaming stores are the extension's")
def test_large_results_around_the_cache(many_threads):
    for shape, axis in [((400, 301), -1), ((30, 5, 777), 1)]:
        x, b, grad_output, mask = arrays(shape, axis, np.float32)
        act = fastact.bias("silu")
        y, (dx, db) = act(x, b, axis, mask=mask), act.backward(grad_output, x, b, axis, mask=mask)
        before = cython.frontend.get_stream_bytes()
        cython.frontend.set_stream_bytes(1)
        for shift in (0, 1, 5):
            holder = np.full(x.size + 40, 5, np.float32)
            out = holder[shift : shift + x.size].reshape(shape)
            support.same_bits(act(x, b, axis, mask=mask, out=out), y, f"shifted by {shift}")
            support.all_same_bits(act.backward(grad_output, x, b, axis, mask=mask, out=(out, None)), (dx, db), f"shifted by {shift}")
            out[...] = 5
            assert (holder == 5).all(), "memory beside the result was written to"
        cython.frontend.set_stream_bytes(before)


def test_the_sum_does_not_lose_digits(backend):
    n = 200_000 if backend == "numpy" else 2_000_000
    rng = np.random.default_rng(0)
    for dtype in support.DTYPES:
        x = np.ones((n // 4, 4), dtype)
        grad_output = (rng.normal(size=x.shape) + 1e3).astype(dtype)
        grad_output[1::2] *= -1  # terms far larger than their sum
        dx, db = fastact.bias("relu").backward(grad_output, x, np.zeros(4, dtype))
        support.same_bits(dx, grad_output)
        check_sum(db, dx, -1)


def test_a_mask_shuts_out_whatever_is_there(backend):
    x = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    mask = np.array([[False, False, False, True]])
    np.testing.assert_array_equal(fastact.bias("relu")(x, np.zeros(4), mask=mask, scale=2.0), [[0, 0, 0, 2]])
    np.testing.assert_array_equal(fastact.bias("relu")(x, np.zeros(4)), [[np.nan, np.inf, 0, 1]])
    broadcast = fastact.bias("relu")(np.ones((2, 3, 4)), np.zeros(3), 1, mask=np.array([[[True]], [[False]]]))
    np.testing.assert_array_equal(broadcast, np.stack([np.ones((3, 4)), np.zeros((3, 4))]))
    support.same_bits(fastact.bias("relu")(x, np.zeros(4), mask=mask.astype(np.uint8)), fastact.bias("relu")(x, np.zeros(4), mask=mask))


def test_infinities_and_nan_reach_the_sum(backend):
    x = np.ones((3, 3))
    grad_output = np.array([[np.inf, np.nan, np.inf], [1, 1, -np.inf], [1, 1, 1]])
    _, db = fastact.bias("relu").backward(grad_output, x, np.zeros(3))
    np.testing.assert_array_equal(db, [np.inf, np.nan, np.nan])


def test_in_place(backend):
    x, b, grad_output, mask = arrays((40, 150), -1, np.float32)
    y, (dx, _) = fastact.bias("gelu")(x, b), fastact.bias("gelu").backward(grad_output, x, b)
    a = x.copy()
    support.same_bits(fastact.bias("gelu")(a, b, out=a), y)
    for i in range(2):
        parts = [grad_output.copy(), x.copy()]
        support.same_bits(fastact.bias("gelu").backward(*parts, b, out=(parts[i], None))[0], dx)


def test_empty_and_half(backend):
    dx, db = fastact.bias("relu").backward(np.ones((0, 3)), np.ones((0, 3)), np.ones(3))
    assert dx.shape == (0, 3) and (db == 0).all()
    assert fastact.bias("relu")(np.ones((2, 0)), np.ones(0)).shape == (2, 0)
    with support.quiet():  # of the conversion of the samples
        x, b, grad_output, _ = arrays((30, 40), -1, np.float16)
    wide = [a.astype(np.float32) for a in (grad_output, x, b)]
    dx, db = fastact.bias("tanh").backward(grad_output, x, b)
    with support.quiet():
        support.same_bits(dx, fastact.bias("tanh").backward(*wide)[0].astype(np.float16), "rounded once")
    assert db.dtype == np.float16


def test_bfloat16(backend):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with support.quiet():  # of the conversion of the samples
        x, b, grad_output, mask = (a if a.dtype == bool else a.astype(bfloat16) for a in arrays((30, 40), -1, np.float32))
        wide = [a.astype(np.float32) for a in (grad_output, x, b)]
        y, (dx, db) = fastact.bias("gelu")(x, b, mask=mask, scale=2.0), fastact.bias("gelu").backward(grad_output, x, b)
        support.same_bits(y, fastact.bias("gelu")(*wide[1:], mask=mask, scale=2.0).astype(bfloat16), "rounded once")
        support.same_bits(dx, fastact.bias("gelu").backward(*wide)[0].astype(bfloat16), "rounded once")
    assert db.dtype == bfloat16


def test_the_short_cut_gives_the_same(backend):
    for shape in ((300, 170), (2, 70, 160), (64, 1), (33,), (1, 5), (0, 3)):
        for dtype in (np.float32, np.float64):
            x, b, grad_output, _ = arrays(shape, -1, dtype)
            want = fastact.bias("gelu").backward(grad_output, x, b, axis=len(shape) - 1)  # not -1: the long way
            support.all_same_bits(fastact.bias("gelu").backward(grad_output, x, b), want, f"{shape}")
            dx, db = np.empty(shape, dtype), np.empty(2 * shape[-1], dtype)[::2]
            result = fastact.bias("gelu").backward(grad_output, x, b, out=(dx, db))
            assert result[0] is dx and result[1] is db
            support.all_same_bits(result, want, f"{shape} into out")
            part = np.empty(shape[-1:], dtype)
            assert fastact.bias("gelu").backward(grad_output, x, b, out=(None, part))[1] is part
            support.same_bits(part, want[1])


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda f: f(np.ones((2, 3)), np.ones(2)), ValueError, "x has 3 channels along axis -1"),
        (lambda f: f(np.ones((2, 3)), np.ones(2), 5), np.exceptions.AxisError, "axis: 5 is out of bounds for an array of 2 dimensions"),
        (lambda f: f(np.ones((2, 3)), 1.0), ValueError, "b has shape"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), mask=np.ones((2, 3))), TypeError, "mask has dtype float64"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), mask=np.ones(4, bool)), ValueError, "mask has shape"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), mask=[[True], [True, False]]), ValueError, "mask is ragged"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), np.array([1, 0])), TypeError, "axis: "),
        (lambda f: f(np.ones((2, 3)), np.ones(3), mask=np.ma.masked_array([True] * 3, [0, 0, 1])), TypeError, "mask has masked"),
        (lambda f: f(np.ma.masked_array(np.ones((2, 3)), np.eye(2, 3)), np.ones(3)), TypeError, "x has masked elements"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), scale="x"), TypeError, "scale: expected a number"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), scale="2"), TypeError, "scale: expected a number"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), scale=np.ones(2)), TypeError, "scale: expected a number"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), scale=np.ones(2, "m8[s]")[0]), TypeError, "scale: expected a number"),
        (lambda f: f(np.ones((2, 3)), np.ones(3), slope=1), TypeError, "no argument 'slope'"),
        (lambda f: f.backward(np.ones(4), np.ones((2, 3)), np.ones(3)), ValueError, "grad_output has shape"),
        (lambda f: f.backward(np.ones(3), np.ones((2, 3)), np.ones(3), out=np.ones((2, 3))), TypeError, r"expected a tuple \(dx, db\)"),
        (lambda f: f.backward(np.ones(3), np.ones((2, 3)), np.ones(3), out=(None, np.ones(2))), ValueError, "for db"),
        (lambda f: fastact.bias(f), TypeError, "act: expected an activation"),
    ],
)  # fmt: skip
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call(fastact.bias("relu"))


def test_identity_of_the_object():
    act = fastact.bias("swish")
    assert act is fastact.bias(fastact.silu) and "silu" in repr(act)
    assert pickle.loads(pickle.dumps(act)) is act and copy.deepcopy(act) is act and copy.copy(act) is act
