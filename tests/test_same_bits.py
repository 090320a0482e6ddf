"""The same bits wherever an element sits, whoever computes it and with what else; and the bits that are stored."""

import json

import hashes
import numpy as np
import pytest
import support

import fastact
from fastact.backends import cython

ROWS = pytest.mark.parametrize("record, mode", support.rows(lambda r, m: m in support.VALUE_MODES or r in support.REPRESENTATIVES))
DTYPES = pytest.mark.parametrize("dtype", support.DTYPES)
COMPILED = [b for b in ("cython", "numba") if b in support.AVAILABLE]
FMA = [level for level in support.LEVELS if level != "v2"]


KINDS = pytest.mark.parametrize("record, mode", support.rows(lambda record, mode: record in support.REPRESENTATIVES))


def inputs(record, mode, dtype, n=1500):
    x = np.concatenate([support.specials(dtype), support.sample(n, dtype)])
    return support.inputs(record, mode, x)


def compute(record, mode, arrays, **options):
    with support.quiet():
        return [y.copy() for y in support.outputs(record, mode, arrays, **options)]


@DTYPES
@ROWS
@pytest.mark.parametrize("backend", COMPILED or ["numpy"], indirect=True)
def test_position(record, mode, dtype, backend):
    # Permuted, split, at each offset from 0 to 64, with strides, backwards, in other layouts, and one by one.
    arrays = [a[: a.size // 30 * 30] for a in inputs(record, mode, dtype)]
    expected = compute(record, mode, arrays)
    n = arrays[0].size
    what = f"{record.name} {mode} {dtype} {backend}"
    for name, arrange in support.ways(30):
        arranged = [np.ascontiguousarray(arrange(e), e.dtype) for e in expected]
        support.all_same_bits(compute(record, mode, [arrange(a) for a in arrays]), arranged, f"{what}, {name}")
    for cut in (1, 7, 16, n // 2, n - 3):
        parts = [compute(record, mode, [a[part] for a in arrays]) for part in (slice(0, cut), slice(cut, n))]
        support.all_same_bits([np.concatenate(p) for p in zip(*parts, strict=True)], expected, f"{what}, split at {cut}")
    few = 90
    for offset in range(65):
        part = slice(offset, offset + few + offset % 17)
        support.all_same_bits(compute(record, mode, [a[part] for a in arrays]), [e[part] for e in expected], f"{what}, offset {offset}")
    for i in range(0, n, 97):
        support.all_same_bits(compute(record, mode, [a[i : i + 1] for a in arrays]), [e[i : i + 1] for e in expected], f"{what}, alone")


@DTYPES
@KINDS
def test_threads_and_blocks(record, mode, dtype, backend, many_threads):
    arrays = inputs(record, mode, dtype, 40_000)
    fastact.set_num_threads(1)
    expected = compute(record, mode, arrays)
    for threads in (2, 3, 4):
        fastact.set_num_threads(threads)
        support.all_same_bits(compute(record, mode, arrays), expected, f"{record.name} {mode} {dtype} {backend}, {threads} threads")
        every_other = [a[::2] for a in arrays]
        support.all_same_bits(
            compute(record, mode, every_other), [e[::2] for e in expected], f"{record.name} {mode} {dtype}, {threads} threads, strided"
        )
    if cython.frontend is not None:  # streamed in blocks, as only large results are otherwise
        cython.frontend.set_stream_bytes(1)
        support.all_same_bits(compute(record, mode, arrays), expected, f"{record.name} {mode} {dtype}, streamed")


@DTYPES
@KINDS
def test_kept_out_of_each_others_way(record, mode, dtype, backend):
    # Into other memory, in place, and at each alignment of the result.
    arrays = inputs(record, mode, dtype, 300)
    expected = compute(record, mode, arrays)
    for shift in range(1, 17, 3):
        outs = tuple(np.empty(arrays[0].size + 17, dtype)[shift : shift + arrays[0].size] for _ in expected)
        support.all_same_bits(compute(record, mode, arrays, out=support.outs(outs)), expected, f"out, {shift} further")
    copies = [a.copy() for a in arrays]
    outs = (copies[-1], *[np.empty_like(copies[-1]) for _ in expected[1:]])
    support.all_same_bits(compute(record, mode, copies, out=support.outs(outs)), expected, "in place")


@DTYPES
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
@pytest.mark.parametrize("backend", COMPILED, indirect=True)  # NumPy's programs share other things when they are fused
def test_alone_or_fused(record, dtype, backend):
    x = np.concatenate([support.specials(dtype), support.sample(20_000, dtype)])
    (y,), (dy,) = compute(record, "value", (x,)), compute(record, "grad", (x,))
    support.all_same_bits(compute(record, "value_and_grad", (x,)), [y, dy], f"{record.name} {dtype} {backend}")
    with support.quiet():
        gradient = support.sample(x.size, dtype, seed=3)
        (product,) = compute(record, "backward", (gradient, x))
        numbers = ~np.isnan(gradient * dy)
        support.same_bits(product[numbers], (gradient * dy)[numbers], f"{record.name} {dtype} {backend}: backward")


@DTYPES
@ROWS
@pytest.mark.skipif(len(COMPILED) < 2 or support.LEVELS[:1] == ["v2"], reason="needs the extension with fma, and Numba")
def test_numba_as_cython(record, mode, dtype):
    arrays = inputs(record, mode, dtype, 30_000)
    results = {}
    for backend in COMPILED:
        fastact.set_backend(backend)
        results[backend] = compute(record, mode, arrays)
    support.all_same_bits(results["numba"], results["cython"], f"{record.name} {mode} {dtype}")


LEVEL = """
import hashlib, json
import numpy as np
import support
import fastact
from fastact import catalog
fastact.set_backend("cython")
found = {}
for record in catalog.records().values():
    for mode in record.modes:
        for dtype in catalog.DTYPES:
            x = np.concatenate([support.specials(dtype), support.sample(20_000, dtype)])
            with support.quiet():
                results = support.outputs(record, mode, support.inputs(record, mode, x))
            results = [np.where(np.isnan(y), np.array(np.nan, y.dtype), y) for y in results]
            found[f"{record.name} {mode} {dtype}"] = [hashlib.sha256(y.tobytes()).hexdigest() for y in results]
from fastact.backends import cython
print(json.dumps([cython.level(), found]))
"""


@pytest.mark.skipif(len(FMA) < 2, reason=support.too_few("two levels with fma"))
def test_levels():
    runs = [json.loads(support.isolated(LEVEL, FASTACT_LEVEL=level).stdout) for level in FMA]
    assert [level for level, _ in runs] == FMA
    for level, found in runs[1:]:
        wrong = [name for name in found if found[name] != runs[0][1][name]]
        assert not wrong, f"{level} and {runs[0][0]} differ in {', '.join(wrong)}"


# --- The bits that are stored --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_stored_hashes(record, backend):
    # With fma: one hash for all compiled kernels. NumPy has its own, and v2 has none: bounds only (test_accuracy.py).
    if backend == "cython" and not hashes.has_fma():
        pytest.skip("kernels without fma have no stored hashes")
    family = "numpy" if backend == "numpy" else "fma"
    stored = hashes.load()[family]
    for mode in record.modes:
        for dtype in hashes.KEPT[family]:
            name = hashes.key(record, mode, dtype)
            assert name in stored, hashes.missing(name)
            assert hashes.of(record, mode, dtype, whole=False)["part"] == stored[name]["part"], (
                f"{name}, {backend}: not the bits that are stored. If the formula was meant to change: {hashes.HOW.replace('NAME', record.name)}"
            )
