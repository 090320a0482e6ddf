"""However the data lies in memory, however long it is, and however many threads take part: the same bits."""

import itertools

import numpy as np
import pytest
import support
from numpy.lib.stride_tricks import as_strided

import fastact
from fastact import catalog, executor

EACH = pytest.mark.parametrize("record", support.by_name(support.FEW))
ROWS = pytest.mark.parametrize("record, mode", support.rows(records=support.FEW))
PARAMETRIC_ROWS = pytest.mark.parametrize("record, mode", support.rows(lambda r, m: r.given(m)))


def expect(record, mode, arrays, **kwargs):
    """The result over plain contiguous copies."""
    return support.outputs(record, mode, [support.plain(a) for a in arrays], **kwargs)


def compare(record, mode, arrays, what, **kwargs):
    """The call itself and the general path, against the plain result."""
    expected = expect(record, mode, arrays, **kwargs)
    support.all_same_bits(support.outputs(record, mode, arrays, **kwargs), expected, what)
    support.all_same_bits(support.outputs(record, mode, arrays, casting="same_kind", **kwargs), expected, f"{what}, general path")


@ROWS
def test_inputs(record, mode, backend):
    for dtype, shape in itertools.product(support.DTYPES, [(67,), (5, 33), (3, 4, 150)]):
        arrays = support.inputs(record, mode, support.sample(np.prod(shape), dtype).reshape(shape))
        for name, layout in support.LAYOUTS.items():
            compare(record, mode, [layout(a) for a in arrays], f"{name} {dtype} {shape}")
            if len(arrays) == 2:
                compare(record, mode, [layout(arrays[0]), arrays[1]], f"{name} {dtype} {shape}, only the first")
                compare(record, mode, [arrays[0], layout(arrays[1])], f"{name} {dtype} {shape}, only the second")


@ROWS
def test_outputs(record, mode, backend):
    for dtype, shape in itertools.product(support.DTYPES, [(67,), (3, 4, 150)]):
        arrays = support.inputs(record, mode, support.sample(np.prod(shape), dtype).reshape(shape))
        expected = expect(record, mode, arrays)
        for name, layout in support.LAYOUTS.items():
            for kind in (np.array, layout):  # inputs plain, then laid out as the output is
                results = [layout(np.full(shape, 5, dtype)) for _ in expected]
                returned = support.call(record, mode, [kind(a) for a in arrays], out=support.outs(tuple(results)))
                assert all(a is b for a, b in zip(returned if len(results) > 1 else [returned], results, strict=True))
                support.all_same_bits(results, expected, f"{name} {dtype} {shape}")


@EACH
def test_surroundings_of_out_are_not_touched(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        x = support.sample(66, dtype)
        arrays = support.inputs(record, mode, x)
        expected = expect(record, mode, arrays)
        for step in (1, 3, -2):
            holders = [np.full(3 * 66 + 40, 5, dtype) for _ in expected]
            views = [h[20 : 20 + 66 * step : step] if step > 0 else h[20 + 66 * 2 : 20 : step] for h in holders]
            support.call(record, mode, arrays, out=support.outs(tuple(views)))
            support.all_same_bits(views, expected, f"step {step}")
            for view in views:
                view[...] = 5
            assert all((h == 5).all() for h in holders)


@ROWS
def test_every_length_and_position(record, mode, backend):
    for dtype in support.DTYPES:
        arrays = support.inputs(record, mode, support.sample(4200, dtype))
        whole = expect(record, mode, arrays)
        for n in [*range(1, 71), 127, 129, 1000, 1025, 4099]:
            first = 4200 - n if n > 70 else (7 * n) % 100
            part = slice(first, first + n)
            support.all_same_bits(
                support.outputs(record, mode, [a[part] for a in arrays]), [w[part] for w in whole], f"{dtype}, {n} elements"
            )


@ROWS
def test_threads_and_blocks(record, mode, backend):
    n = 20_003 if backend == "numpy" else 100_003
    for dtype in support.DTYPES:
        arrays = support.inputs(record, mode, support.sample(n, dtype))
        fastact.set_num_threads(1)
        expected = expect(record, mode, arrays)
        pieces = [
            np.concatenate(part)
            for part in zip(*[expect(record, mode, [a[i : i + 999] for a in arrays]) for i in range(0, n, 999)], strict=True)
        ]
        support.all_same_bits(expected, pieces, f"{dtype} in pieces")
        for threads in (2, 4):
            fastact.set_num_threads(threads)
            support.all_same_bits(support.outputs(record, mode, arrays), expected, f"{dtype}, {threads} threads")
            spread = [support.LAYOUTS["strided"](a) for a in arrays]
            support.all_same_bits(support.outputs(record, mode, spread), expected, f"{dtype}, {threads} threads, strided")


@pytest.mark.parametrize("mode", ["value", "value_and_grad", "backward"])
@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_a_million(record, mode, backend):
    # Beyond all thresholds of the executors, for each mode's number of streams.
    n = executor.PARALLEL + 1_003 if backend == "numpy" else 1_000_003
    fastact.set_num_threads(1)
    arrays = support.inputs(record, mode, support.sample(n, np.float32))
    expected = support.outputs(record, mode, arrays)
    fastact.set_num_threads(4)
    support.all_same_bits(support.outputs(record, mode, arrays), expected, "4 threads")
    at = [0, 1, 15, 16, 17, n // 2, n - 2, n - 1]
    for i in at:
        support.all_same_bits(
            support.outputs(record, mode, [a[i : i + 1] for a in arrays]), [e[i : i + 1] for e in expected], f"element {i}"
        )


@ROWS
def test_small_work_shared_by_threads(record, mode, backend, many_threads):
    for dtype in support.DTYPES:
        for shape in [(1,), (17,), (1003,), (7, 13, 11), (40, 1, 130)]:
            arrays = support.inputs(record, mode, support.sample(np.prod(shape), dtype).reshape(shape))
            fastact.set_num_threads(1)
            expected = expect(record, mode, arrays)
            fastact.set_num_threads(4)
            support.all_same_bits(support.outputs(record, mode, arrays), expected, f"{dtype} {shape}")
            for name in ("sparse", "swapped axes", "misaligned", "mirrored"):
                odd = [support.LAYOUTS[name](a) for a in arrays]
                results = [support.LAYOUTS[name](np.zeros_like(e)) for e in expected]
                support.all_same_bits(support.outputs(record, mode, odd), expected, f"{dtype} {shape} {name}")
                support.call(record, mode, odd, out=support.outs(tuple(results)))
                support.all_same_bits(results, expected, f"{dtype} {shape} {name}, out=")


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="streaming stores are the extension's")
@ROWS
def test_streaming_stores(record, mode, many_threads):
    from fastact.backends import cython

    for dtype in support.DTYPES:
        arrays = support.inputs(record, mode, support.sample(30_011, dtype))
        cython.frontend.set_stream_bytes(0)
        expected = expect(record, mode, arrays)
        cython.frontend.set_stream_bytes(1000)
        for threads in (1, 4):
            fastact.set_num_threads(threads)
            for offset in (0, 1, 5):
                cut = [a[offset:] for a in arrays]
                results = [np.full(30_011 + 20, 5, dtype) for _ in expected]
                views = [r[offset : offset + 30_011 - offset] for r in results]
                support.call(record, mode, cut, out=support.outs(tuple(views)))
                support.all_same_bits(views, [e[offset:] for e in expected], f"{dtype}, from {offset}, {threads} threads")
                assert all((r[30_011:] == 5).all() for r in results)
            support.all_same_bits(support.outputs(record, mode, arrays), expected, f"{dtype}, fresh, {threads} threads")
            if len(arrays) == 2:
                arrays_in_place = [a.copy() for a in arrays]
                support.call(record, mode, arrays_in_place, out=arrays_in_place[0])
                same = [arrays_in_place[0]]
                support.all_same_bits(same, expected, f"{dtype}, in place, {threads} threads")


@EACH
def test_no_dimensions(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        kind = np.dtype(dtype).type
        arrays = support.inputs(record, mode, np.array([0.7], dtype))
        expected = expect(record, mode, arrays)
        for given in ([a[0] for a in arrays], [a.reshape(()) for a in arrays]):
            results = support.outputs(record, mode, given)
            assert all(type(r) is kind for r in results)
            support.all_same_bits(results, [e[0] for e in expected], dtype)
        holders = [np.empty((), dtype) for _ in expected]
        returned = support.call(record, mode, [a.reshape(()) for a in arrays], out=support.outs(tuple(holders)))
        assert returned is holders[0] if len(holders) == 1 else all(a is b for a, b in zip(returned, holders, strict=True))
        support.all_same_bits(holders, [e[0] for e in expected], dtype)


@EACH
def test_empty(record, backend):
    for mode, dtype, shape in itertools.product(record.modes, support.DTYPES, [(0,), (0, 3), (3, 0), (2, 0, 2)]):
        x = np.empty(shape, dtype)
        given = (x, x) if len(catalog.INPUTS[mode]) == 2 else (x,)
        holders = [np.empty(shape, dtype) for _ in range(catalog.OUTPUTS[mode])]
        for results in (support.outputs(record, mode, given), support.outputs(record, mode, given, out=support.outs(tuple(holders)))):
            assert all(r.shape == shape and r.dtype == dtype for r in results)


@EACH
def test_broadcast_inputs(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        x = support.sample(12, dtype).reshape(3, 4)
        arrays = support.inputs(record, mode, x)
        stretched = [np.broadcast_to(a[:, None, :1], (3, 5, 4)) for a in arrays]
        compare(record, mode, stretched, "zero strides")
        compare(record, mode, [np.broadcast_to(a[0, 0], (200,)) for a in arrays], "one element")
        if len(arrays) == 2:
            against = [arrays[0][:, None, :], arrays[1][None, :, :1]]
            expected = expect(record, mode, np.broadcast_arrays(*against))
            support.all_same_bits(support.outputs(record, mode, against), expected, "shapes that differ")
            scalar = [arrays[0][0, 0], arrays[1]]
            expected = expect(record, mode, np.broadcast_arrays(*scalar))
            support.all_same_bits(support.outputs(record, mode, scalar), expected, "a scalar gradient")


@EACH
def test_inputs_that_overlap_themselves(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        buffer = support.sample(300, dtype)
        size = buffer.itemsize
        arrays = support.inputs(record, mode, as_strided(buffer, (100, 8), (size, size), writeable=False))
        compare(record, mode, arrays, f"windows {dtype}")


# --- Overlap of inputs and outputs ---------------------------------------------------------------------------------------


@ROWS
def test_in_place(record, mode, backend):
    for dtype, layout in itertools.product(support.DTYPES, ["plain", "strided", "mirrored", "fortran", "misaligned"]):
        x = support.sample(4 * 300, dtype).reshape(4, 300)
        expected = expect(record, mode, support.inputs(record, mode, x))
        for i in range(len(catalog.INPUTS[mode])):
            for j in range(len(expected)):
                arrays = [support.LAYOUTS[layout](a) for a in support.inputs(record, mode, x)]
                results = [np.empty_like(e) for e in expected]
                results[j] = arrays[i]
                support.call(record, mode, arrays, out=support.outs(tuple(results)))
                support.all_same_bits(results, expected, f"{layout} {dtype}: output {j} is input {i}")


@ROWS
def test_inputs_of_several_layouts(record, mode, backend):
    """Each input in a layout of its own, and one of them the output: none but the output is written."""
    for dtype in support.DTYPES:
        x = support.sample(4 * 300, dtype).reshape(4, 300)
        plain = support.inputs(record, mode, x)
        expected = expect(record, mode, plain)
        for layouts in itertools.product(["plain", "strided", "fortran", "read only"], repeat=len(plain)):
            arrays = [_laid_out(layout, a) for layout, a in zip(layouts, plain, strict=True)]
            support.all_same_bits(support.outputs(record, mode, arrays), expected, f"{dtype} {layouts}")
            support.all_same_bits([support.plain(a) for a in arrays], plain, f"{dtype} {layouts}: inputs")
            for i in [i for i, a in enumerate(arrays) if a.flags.writeable]:
                results = [np.empty_like(e) for e in expected]
                results[0] = arrays[i]
                support.call(record, mode, arrays, out=support.outs(tuple(results)))
                support.all_same_bits([support.plain(r) for r in results], expected, f"{dtype} {layouts}, into input {i}")
                arrays[i] = _laid_out(layouts[i], plain[i])


def _laid_out(layout, a):
    if layout != "read only":
        return support.LAYOUTS[layout](a)
    a = support.LAYOUTS["strided"](a)
    a.flags.writeable = False
    return a


@ROWS
def test_partial_overlap(record, mode, backend, many_threads):
    for dtype in support.DTYPES:
        for n in (6, 70, 5000):
            for shift in (1, 3, -1, -4):
                for i in range(len(catalog.INPUTS[mode])):
                    for j in range(catalog.OUTPUTS[mode]):
                        x = support.sample(n, dtype)
                        arrays = [support.plain(a) for a in support.inputs(record, mode, x)]
                        low, high = slice(None, -abs(shift)), slice(abs(shift), None)
                        source, target = (low, high) if shift > 0 else (high, low)
                        given = [a[source] for a in arrays]
                        expected = expect(record, mode, given)
                        results = [np.empty_like(e) for e in expected]
                        results[j] = arrays[i][target]
                        support.call(record, mode, given, out=support.outs(tuple(results)))
                        support.all_same_bits(results, expected, f"{dtype}, {n} elements, shift {shift}: output {j} over input {i}")


@EACH
def test_overlap_with_threads(record, backend, many_threads):
    # NumPy lets a loop run over an output that lags behind its input, which is right only in one piece.
    n = executor.PARALLEL + 40_003
    for shift, threads in itertools.product((1, 5, -1), (1, 4)):
        fastact.set_num_threads(threads)
        x = support.sample(n, np.float32)
        source, target = (slice(shift, None), slice(None, -shift)) if shift > 0 else (slice(None, shift), slice(-shift, None))
        expected = expect(record, "value", (x[source],))
        results = (x[target],)
        support.call(record, "value", (x[source],), out=results[0])
        support.all_same_bits(results, expected, f"shift {shift}, {threads} threads")


@EACH
def test_crossing_overlap(record, backend):
    crossings = {"backwards": lambda a: a[::-1, ::-1], "transposed": lambda a: a.T}
    for mode, dtype, (what, cross) in itertools.product(record.modes, support.DTYPES, crossings.items()):
        arrays = [support.plain(a) for a in support.inputs(record, mode, support.sample(41 * 41, dtype).reshape(41, 41))]
        expected = expect(record, mode, arrays)
        results = [np.empty_like(e) for e in expected]
        results[0] = cross(arrays[-1])
        support.call(record, mode, arrays, out=support.outs(tuple(results)))
        support.all_same_bits(results, expected, f"{dtype}: {what} over the input")


# --- What a ufunc takes (NumPy's machinery, whatever the backend: one will do) ---------------------------------------------


@EACH
def test_where(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        x = support.sample(60, dtype).reshape(3, 20)
        arrays = support.inputs(record, mode, x)
        expected = expect(record, mode, arrays)
        for mask in (np.arange(60).reshape(3, 20) % 3 == 0, np.arange(20) < 7, np.array(True), np.array(False)):
            results = [np.full(x.shape, 5, dtype) for _ in expected]
            support.call(record, mode, arrays, out=support.outs(tuple(results)), where=mask)
            support.all_same_bits(results, [np.where(mask, e, np.array(5, dtype)) for e in expected], f"{dtype} {mask.shape}")


@ROWS
def test_dtype_and_casting(record, mode):
    x = support.sample(50, np.float32)
    arrays = support.inputs(record, mode, x)
    wide = expect(record, mode, [a.astype(np.float64) for a in arrays])
    support.all_same_bits(support.outputs(record, mode, arrays, dtype=np.float64), wide, "dtype=float64")
    results = [np.empty(50) for _ in wide]  # a wider out takes the narrow result
    support.call(record, mode, arrays, out=support.outs(tuple(results)))
    support.all_same_bits(results, [e.astype(np.float64) for e in expect(record, mode, arrays)], "out of float64")
    with pytest.raises(TypeError):
        support.call(record, mode, [a.astype(np.float64) for a in arrays], dtype=np.float32, casting="safe")
    narrow = support.outputs(record, mode, [a.astype(np.float64) for a in arrays], dtype=np.float32, casting="same_kind")
    support.all_same_bits(narrow, expect(record, mode, arrays), "dtype=float32")
    for dtype, accuracy in ((np.float16, "default"), (np.float16, "high"), (np.float32, "high")):
        with np.errstate(over="ignore"):  # NumPy's own, of a cast to float16
            found = support.outputs(record, mode, arrays, dtype=dtype, accuracy=accuracy)
            wide = support.outputs(record, mode, [a.astype(np.float64) for a in arrays], dtype=dtype, accuracy=accuracy)
            same = support.outputs(record, mode, [a.astype(dtype) for a in arrays], accuracy=accuracy)
        support.all_same_bits(wide, found, f"dtype={dtype}")
        support.all_same_bits(found, same, f"dtype={dtype}, which is that of the arrays")
    with pytest.raises(TypeError):
        support.call(record, mode, arrays, dtype=np.int32)


@ROWS
def test_order(record, mode):
    x = support.sample(60, np.float32).reshape(3, 4, 5)
    arrays = support.inputs(record, mode, x)
    fortran = [np.asfortranarray(a) for a in arrays]
    for result in support.outputs(record, mode, arrays, order="F"):
        assert result.flags.f_contiguous
    for result in support.outputs(record, mode, fortran, order="C"):
        assert result.flags.c_contiguous
    for options in ({}, {"order": "K"}):
        for result in support.outputs(record, mode, fortran, **options):
            assert result.flags.f_contiguous
        swapped = [a.transpose(1, 2, 0) for a in arrays]
        for result in support.outputs(record, mode, swapped, **options):
            assert result.strides == np.positive(swapped[0]).strides
        row = np.broadcast_to(x[0, 0], (3, 4, 5))
        for result in support.outputs(record, mode, support.inputs(record, mode, row), **options):
            assert result.strides == np.positive(row).strides
        if len(arrays) == 2:
            for given in ([arrays[0], fortran[1]], [fortran[0], arrays[1]], [swapped[0], np.ascontiguousarray(swapped[1])]):
                for result in support.outputs(record, mode, given, **options):
                    assert result.strides == np.add(*given).strides


class Tagged(np.ndarray):
    """A subclass that passes a tag on."""

    def __array_finalize__(self, other):
        self.tag = getattr(other, "tag", None)


@ROWS
def test_subclass(record, mode):
    x = support.sample(30, np.float32)
    arrays = support.inputs(record, mode, x)
    expected = expect(record, mode, arrays)
    tagged = [a.view(Tagged) for a in arrays]
    for a in tagged:
        a.tag = "mine"
    for result in support.outputs(record, mode, tagged):
        assert type(result) is Tagged and result.tag == "mine"
    support.all_same_bits(support.outputs(record, mode, tagged), expected, "subclass")
    assert all(type(r) is np.ndarray for r in support.outputs(record, mode, tagged, subok=False))
    results = [np.empty_like(x).view(Tagged) for _ in expected]
    support.call(record, mode, arrays, out=support.outs(tuple(results)))
    support.all_same_bits(results, expected, "into a subclass")


@ROWS
def test_masked_array(record, mode):
    x = np.ma.masked_array(support.sample(30, np.float64), np.arange(30) % 4 == 0)
    arrays = [np.ma.masked_array(a, x.mask) for a in support.inputs(record, mode, x.data)]
    expected = expect(record, mode, [a.data for a in arrays])
    for result, e in zip(support.outputs(record, mode, arrays), expected, strict=True):
        assert isinstance(result, np.ma.MaskedArray)
        np.testing.assert_array_equal(result.mask, x.mask)
        support.same_bits(result.data[~x.mask], e[~x.mask], "unmasked")


class Duck:
    """Not an array, but a guest at every ufunc: as Dask's and xarray's arrays are."""

    def __init__(self, data):
        self.data = data

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        kwargs["out"] = tuple(getattr(o, "data", o) if isinstance(o, Duck) else o for o in kwargs.get("out", ())) or None
        result = getattr(ufunc, method)(
            *[i.data if isinstance(i, Duck) else i for i in inputs], **{k: v for k, v in kwargs.items() if v is not None}
        )
        return tuple(Duck(r) for r in result) if isinstance(result, tuple) else Duck(result)


@ROWS
def test_array_ufunc(record, mode):
    arrays = support.inputs(record, mode, support.sample(30, np.float32))
    expected = expect(record, mode, arrays)
    for i in range(len(arrays)):
        given = [Duck(a) if j >= i else a for j, a in enumerate(arrays)]
        results = support.outputs(record, mode, given)
        assert all(isinstance(r, Duck) for r in results)
        support.all_same_bits([r.data for r in results], expected, "duck")


def test_array_ufunc_that_declines(backend, record):
    class Declining:
        __array_ufunc__ = None

    with pytest.raises(TypeError):
        fastact.get(record.name)(Declining())


class Guest:
    """What NumPy leaves a ufunc to; `answer` says what comes of it."""

    def __init__(self, answer):
        self.answer = answer

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return self.answer()


class NoGuest:
    __array_ufunc__ = None


def places(record, mode):
    """A call of a mode for each argument by which a guest may come."""
    arrays = support.inputs(record, mode, support.sample(3, np.float64))
    count = catalog.OUTPUTS[mode]
    for i in range(len(arrays)):
        yield lambda guest, i=i: support.call(record, mode, [guest if j == i else a for j, a in enumerate(arrays)])
    for p in record.given(mode):
        yield lambda guest, p=p: support.call(record, mode, arrays, **{p.name: guest})
    yield lambda guest: support.call(record, mode, arrays, out=support.outs((guest,) + (None,) * (count - 1)))
    yield lambda guest: support.call(record, mode, arrays, where=guest, out=support.outs(tuple(np.zeros(3) for _ in range(count))))


@ROWS
def test_guests_of_ufuncs(record, mode, backend):
    """What an object that overrides ufuncs gives or raises is its own, wherever it comes; so is what NumPy says of one that declines."""

    def refuse():
        raise TypeError("units do not match")

    for call in places(record, mode):
        assert call(Guest(lambda: "taken over")) == "taken over"
        with pytest.raises(TypeError, match="^units do not match$"):
            call(Guest(refuse))
        with pytest.raises(TypeError, match="^operand type.s. all returned NotImplemented"):
            call(Guest(lambda: NotImplemented))
        with pytest.raises(TypeError, match="^operand 'NoGuest' does not support ufuncs"):
            call(NoGuest())


def test_guests_with_a_dtype_of_their_own(record, backend):
    """Series of pandas' nullable and Arrow dtypes: of the kind of integers, but no dtype of NumPy's."""

    class Dtype:
        kind = "i"

    class Series:
        dtype = Dtype()

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return ufunc(*[np.array([1.0, 0.0]) if isinstance(a, Series) else a for a in inputs], **kwargs)

        def astype(self, dtype):
            raise AssertionError(f"converted to {dtype}")

    f = fastact.get(record.name)
    support.same_bits(f(Series()), f(np.array([1.0, 0.0])))
    for p in record.given("value"):
        support.same_bits(f(np.ones(2), **{p.name: Series()}), f(np.ones(2), **{p.name: np.array([1.0, 0.0])}))


@ROWS
def test_where_without_out(record, mode, backend):
    """It warns of the caller's line; an out of None says that it is meant."""
    x = support.sample(30, np.float64)
    arrays, where = support.inputs(record, mode, x), x > 0
    expected = expect(record, mode, arrays)
    for out in (None, (None,) * catalog.OUTPUTS[mode]):
        found = support.outputs(record, mode, arrays, where=where, out=out)
        support.all_same_bits([r[where] for r in found], [e[where] for e in expected], "where")
    f = support.function(record, mode)
    names = ["grad_output", "output"] if mode == "backward_from_output" else catalog.INPUTS[mode]
    with pytest.warns(UserWarning, match="^'where' used without 'out'") as caught:
        f(**dict(zip(names, arrays, strict=True)), where=where)
    assert [w.filename for w in caught] == [__file__]


@ROWS
def test_casting_of_integers(record, mode, backend):
    """Converted where `casting` lets them be."""
    for x in (np.arange(1, 4), np.ones(2, bool), np.ones(2, np.int8), [1, 2]):
        given = [np.asarray(x)] * len(catalog.INPUTS[mode])
        expected = support.outputs(record, mode, given)
        for casting in ("safe", "same_kind", "unsafe"):
            support.all_same_bits(support.outputs(record, mode, given, casting=casting), expected, casting)
        for casting in ("no", "equiv"):
            with pytest.raises(TypeError, match=f"casting rule '{casting}'"):
                support.call(record, mode, given, casting=casting)


def test_a_result_too_large_for_its_place_is_infinite(backend):
    """And no news, in all functions."""
    x = np.array([300.0, 1e300])
    calls = [
        lambda dtype: fastact.exponential(x, out=np.zeros(2, dtype)),
        lambda dtype: fastact.relu(x, dtype=dtype),
        lambda dtype: fastact.relu.value_and_grad(x, out=(np.zeros(2, dtype), np.zeros(2)))[0],
        lambda dtype: fastact.relu.backward(x, 1.0, out=np.zeros(2, dtype), where=True),
        lambda dtype: fastact.reglu(x, x, out=np.zeros(2, dtype)),
        lambda dtype: fastact.bias("relu")(x[None], x, out=np.zeros((1, 2), dtype)),
        lambda dtype: fastact.bias("relu").backward(x[None], x[None], x, out=(None, np.zeros(2, dtype)))[1],
        lambda dtype: fastact.logsumexp(x, out=np.zeros((), dtype)),
        lambda dtype: fastact.logsumexp(x, dtype=dtype),
        lambda dtype: fastact.logsumexp.backward(1e300, x, dtype=dtype),
        lambda dtype: fastact.maxout(x, dtype=dtype)[0],
        lambda dtype: fastact.maxout(x, out=np.zeros((), dtype))[0],
        lambda dtype: fastact.maxout.backward(x, [0, 0], 2, dtype=dtype),
    ]
    for i, call in enumerate(calls):
        for dtype in (np.float32, np.float16):
            with np.errstate(all="raise"):
                assert np.isinf(call(dtype)).any(), i
    with np.errstate(all="raise"):
        assert fastact.relu.backward(1e300, np.ones(2, np.float32)).tolist() == [np.inf] * 2


# --- Parameters ----------------------------------------------------------------------------------------------------------


def parameter_values(record, mode, shape, dtype):
    rng = np.random.default_rng(5)
    return {p.name: rng.uniform(0.05, 2, shape).astype(dtype) for p in record.given(mode)}


@PARAMETRIC_ROWS
def test_array_parameters(record, mode, backend):
    for dtype in support.DTYPES:
        x = support.sample(6 * 35, dtype).reshape(6, 5, 7)
        arrays = support.inputs(record, mode, x)
        for shape in [(7,), (6, 1, 1), (5, 1), (6, 5, 7), (1,), (2, 1, 1, 1)]:
            given = parameter_values(record, mode, shape, dtype)
            results = support.outputs(record, mode, arrays, **given)
            whole = np.broadcast_shapes(shape, x.shape)
            for i in np.ndindex(whole):
                if sum(i) % 5:
                    continue
                scalars = {k: float(np.broadcast_to(v, whole)[i]) for k, v in given.items()}
                one = [np.broadcast_to(a, whole)[i].reshape(1) for a in arrays]
                support.all_same_bits(
                    [r[i].reshape(1) for r in results], support.outputs(record, mode, one, **scalars), f"{dtype} {shape} at {i}"
                )


@PARAMETRIC_ROWS
def test_array_parameters_with_threads(record, mode, backend, many_threads):
    n = 20_000 if backend == "numpy" else 60_000
    for dtype in support.DTYPES:
        x = support.sample(n, dtype).reshape(n // 100, 100)
        arrays = support.inputs(record, mode, x)
        for shape in [(100,), (n // 100, 1), x.shape]:
            given = parameter_values(record, mode, shape, dtype)
            fastact.set_num_threads(1)
            expected = expect(record, mode, arrays, **given)
            fastact.set_num_threads(4)
            support.all_same_bits(support.outputs(record, mode, arrays, **given), expected, f"{dtype} {shape}")
            spread = [support.LAYOUTS["strided"](a) for a in arrays]
            support.all_same_bits(support.outputs(record, mode, spread, **given), expected, f"{dtype} {shape}, strided")


@PARAMETRIC_ROWS
def test_array_parameter_in_place(record, mode, backend):
    for dtype in support.DTYPES:
        for n in (5, 700):
            x = support.sample(n, dtype)
            arrays = support.inputs(record, mode, x)
            for name in parameter_values(record, mode, (n,), dtype):
                given = parameter_values(record, mode, (n,), dtype)
                expected = expect(record, mode, arrays, **given)
                results = [np.empty_like(e) for e in expected]
                results[-1] = given[name]
                support.call(record, mode, arrays, out=support.outs(tuple(results)), **given)
                support.all_same_bits(results, expected, f"{dtype}: the output is {name}")


@PARAMETRIC_ROWS
def test_parameter_dtypes(record, mode, backend):
    x = support.sample(40, np.float32)
    arrays = support.inputs(record, mode, x)
    names = [p.name for p in record.given(mode)]
    expected = expect(record, mode, arrays, **dict.fromkeys(names, 0.25))
    for scalar in (np.float32(0.25), np.float64(0.25), np.float16(0.25), np.array(0.25)):
        support.all_same_bits(support.outputs(record, mode, arrays, **dict.fromkeys(names, scalar)), expected, repr(scalar))
    support.all_same_bits(
        support.outputs(record, mode, arrays, **dict.fromkeys(names, 1)),
        expect(record, mode, arrays, **dict.fromkeys(names, 1.0)),
        "integer",
    )
    assert all(r.dtype == np.float32 for r in support.outputs(record, mode, arrays, **dict.fromkeys(names, np.full(40, 0.25, np.float32))))
    assert all(r.dtype == np.float64 for r in support.outputs(record, mode, arrays, **dict.fromkeys(names, np.full(40, 0.25))))
    by_position = (
        support.function(record, mode)(*arrays, *[0.25] * len(names)) if mode != "backward_from_output" else support.outs(expected)
    )
    support.all_same_bits(by_position if isinstance(by_position, tuple) else (by_position,), expected, "by position")


# --- What is refused, and leaves the output alone ------------------------------------------------------------------------


def refused(record, mode, arrays, out, error, match, **kwargs):
    holders = out if isinstance(out, tuple) else (out,)
    before = [np.array(o) if isinstance(o, np.ndarray) else o for o in holders]
    with pytest.raises(error, match=match):
        support.call(record, mode, arrays, out=out, **kwargs)
    for a, b in zip(holders, before, strict=True):
        if isinstance(a, np.ndarray):
            support.same_bits(a, b, "out was written to")


@ROWS
def test_out_that_does_not_do(record, mode, backend):
    x = support.sample(12, np.float32).reshape(3, 4)
    arrays = support.inputs(record, mode, x)
    count = catalog.OUTPUTS[mode]

    def sentinel(shape=(3, 4), dtype=np.float32):
        return np.full(shape, 7, dtype)

    read_only = sentinel()
    read_only.flags.writeable = False
    for bad, error in [
        (read_only, ValueError),
        (sentinel((4, 3)), ValueError),
        (sentinel((12,)), ValueError),
        (sentinel((1, 4)), ValueError),
        (sentinel((3,)), ValueError),
        (sentinel(()), ValueError),
        (sentinel(dtype=np.int32), TypeError),
        (sentinel(dtype=bool), TypeError),
        ([[7.0] * 4] * 3, TypeError),
        ("out", TypeError),
    ]:
        for j in range(count):
            holders = [sentinel() for _ in range(count)]
            holders[j] = bad
            refused(record, mode, arrays, support.outs(tuple(holders)), error, "out")
    for wrong in (tuple(sentinel() for _ in range(count + 1)), ()):
        refused(record, mode, arrays, wrong, (TypeError, ValueError), "out")
    if count == 2:
        refused(record, mode, arrays, sentinel(), TypeError, "out")


@ROWS
def test_inputs_that_do_not_do(record, mode, backend):
    good = np.ones((3, 4), np.float32)
    names = catalog.INPUTS[mode]
    for i, name in enumerate(names):
        for bad, error in [
            (good.astype(complex), TypeError),
            (good.astype(object), TypeError),
            (good.astype(str), TypeError),
            ([[1, 2], [3]], ValueError),
            (None, TypeError),
            ("text", TypeError),
            ({"a": 1}, TypeError),
            (good.astype("M8[s]"), TypeError),
        ]:
            arrays = [good] * len(names)
            arrays[i] = bad
            out = tuple(np.full((3, 4), 7, np.float32) for _ in range(catalog.OUTPUTS[mode]))
            refused(record, mode, arrays, support.outs(out), error, rf"\b{name}\b")
    if len(names) == 2:
        out = np.full((3, 4), 7, np.float32)
        refused(record, mode, [good, np.ones(5, np.float32)], out, ValueError, r"grad_output.*\(3, 4\)")


@pytest.mark.parametrize("record, mode", support.rows(lambda r, m: r.accepted(m)))
def test_parameters_that_do_not_do(record, mode, backend):
    good = np.ones((3, 4), np.float32)
    for p in record.accepted(mode):
        for bad in ("0.1", None, 1j, object(), np.ones(4, complex), {}):
            out = tuple(np.full((3, 4), 7, np.float32) for _ in range(catalog.OUTPUTS[mode]))
            refused(record, mode, [good] * len(catalog.INPUTS[mode]), support.outs(out), TypeError, p.name, **{p.name: bad})
        for bad, error in ((np.ones(2, "m8[s]")[0], TypeError), ([[1.0], [2.0, 3.0]], ValueError)):
            out = tuple(np.full((3, 4), 7, np.float32) for _ in range(catalog.OUTPUTS[mode]))
            refused(record, mode, [good] * len(catalog.INPUTS[mode]), support.outs(out), error, p.name, **{p.name: bad})
        if not p.convention:
            out = tuple(np.full((3, 4), 7, np.float32) for _ in range(catalog.OUTPUTS[mode]))
            given = {p.name: np.ones(5, np.float32)}
            refused(record, mode, [good] * len(catalog.INPUTS[mode]), support.outs(out), ValueError, p.name, **given)


def test_parameters_of_objects_with_array(backend):
    """They are arrays, whatever else they are; of no dimension, numbers."""

    class Number:
        def __array__(self, dtype=None, copy=None):
            return np.array(2.0)

        def __array_wrap__(self, *args):
            raise AssertionError("the result is an array")

    x = np.linspace(-1, 1, 5, dtype=np.float32)
    support.same_bits(fastact.elu(x, alpha=Number()), fastact.elu(x, alpha=2.0), "0-d")
    support.same_bits(fastact.elu(x, alpha=list(range(5))), fastact.elu(x, alpha=np.arange(5)), "a list")


def test_objects_that_refuse_to_be_arrays(backend):
    """As tensors of other libraries do, which have a dtype that is none of NumPy's."""

    class Tensor:
        dtype, shape = "theirs", (3,)

        def __array__(self, dtype=None, copy=None):
            raise TypeError("no such type")

    with pytest.raises(TypeError, match="gelu: x can't be an array .no such type"):
        fastact.gelu(Tensor())
    with pytest.raises(TypeError, match="elu.backward: grad_output can't be an array"):
        fastact.elu.backward(Tensor(), np.ones(3))


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_objects_that_say_why_they_are_no_arrays(error):
    class Far:
        def __array__(self, dtype=None, copy=None):
            raise error("call .get() first")

    one = np.ones(3)
    for call in (
        lambda: fastact.gelu(Far()), lambda: fastact.prelu(one, Far()), lambda: fastact.swiglu(Far()), lambda: fastact.bias("relu")(one, Far()),
        lambda: fastact.rrelu_training(Far(), rng=np.random.default_rng(0)),
    ):  # fmt: skip
        with pytest.raises(error, match="call .get.. first"):
            call()


def test_many_dimensions(backend):
    """More than numpy.broadcast_shapes knows."""
    x = np.ones((1,) * 40 + (2,), np.float32)
    assert fastact.prelu.backward(x, x, x, parameters=True)[0].shape == fastact.swiglu.backward(x[..., :1], x).shape == x.shape
    assert fastact.bias("relu").backward(x, x, np.ones(2, np.float32), mask=x > 0)[0].shape == x.shape
    with pytest.raises(ValueError, match="gelu.backward"):
        fastact.gelu.backward(x, np.ones(3, np.float32))


def test_parameters_beyond_all_floats(backend):
    """An integer that no float holds is infinite, as one that the dtype does not hold is."""
    x = -np.ones(3, np.float32)
    for alpha in (10**400, -(10**400)):
        want = fastact.elu(x, alpha=np.copysign(np.inf, 1 if alpha > 0 else -1))
        support.same_bits(fastact.elu(x, alpha=alpha), want, "elu")
        support.same_bits(fastact.gated("elu")(-x, x, alpha=alpha), want, "gated elu")


@pytest.mark.parametrize("record", support.by_name(r for r in support.REPRESENTATIVES if r.nonnegative))
def test_output_serves_only_nonnegative_parameters(record, backend):
    y = np.ones(3)
    for name in record.nonnegative:
        for bad in (-0.5, -1, np.array([1.0, -1.0, 1.0]), np.nan):
            refused(record, "backward_from_output", [y, y], np.full(3, 7.0), ValueError, name, **{name: bad})


@ROWS
def test_partly_given_out(record, mode):
    if catalog.OUTPUTS[mode] == 1:
        x = support.sample(10, np.float32)
        arrays = support.inputs(record, mode, x)
        support.all_same_bits(support.outputs(record, mode, arrays, out=(None,)), expect(record, mode, arrays), "out=(None,)")
        support.all_same_bits(support.outputs(record, mode, arrays, out=None), expect(record, mode, arrays), "out=None")
        return
    x = support.sample(10, np.float32)
    expected = expect(record, mode, (x,))
    for j in range(2):
        holders = [None, None]
        holders[j] = np.empty_like(x)
        results = support.outputs(record, mode, (x,), out=tuple(holders))
        assert results[j] is holders[j]
        support.all_same_bits(results, expected, f"only output {j} given")
