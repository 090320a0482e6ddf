"""accuracy="high": float32 is computed in float64, in as many digits as it takes, and rounded once, in every mode, layout and backend; and how it is chosen."""

import json
import threading

import numpy as np
import pytest
import reference
import support

import fastact
from fastact import catalog, cli

ROWS = pytest.mark.parametrize("record, mode", support.rows(records=support.FEW))


def points(record):
    return np.concatenate([reference.points32(record, 524_309), support.specials(np.float32), np.array([np.nan, -np.nan], np.float32)])


def high(record, mode, arrays, **given):
    return support.outputs(record, mode, arrays, accuracy="high", **given)


def expected_of(record, mode, arrays, **given):
    """What they give in one piece of memory."""
    with support.quiet():
        return support.same_elsewhere(record, mode, arrays, accuracy="high", **given)


def float64_of(record, mode, arrays, **given):
    """What float64 gives, rounded: that, but for what two approximations of nearly the middle of two numbers become."""
    with support.quiet():
        return [r.astype(np.float32) for r in support.outputs(record, mode, [a.astype(np.float64) for a in arrays], **given)]


@ROWS
def test_is_float64_rounded(record, mode, backend):
    arrays = support.inputs(record, mode, points(record))
    for found, expected in zip(high(record, mode, arrays), float64_of(record, mode, arrays), strict=True):
        support.near(found, expected, f"{record.name} {mode} {backend}")


@pytest.mark.parametrize("which", [0, 1], ids=["value", "derivative"])
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_bound(record, which, backend):
    # 0.51 ULP, and 4 within 1e-5 of an interior zero.
    with support.quiet():
        x = np.unique(reference.points64(record).astype(np.float32))
    x = support.in_domain(record, x[np.isfinite(x) & ~np.isin(x, np.float32(record.kinks))][::7])
    x = x[support.resolved(record, which, x)]
    near, rest = reference.exact(record, which, x)
    error = reference.ulps(support.compute(record, which, x, accuracy="high"), near, rest)
    bound = np.full(x.shape, 0.51)
    zero = record.derivative_zero if which else record.value_zero
    if zero:
        bound[np.abs(x - (x if zero[0] is None else zero[0])) < 1e-5] = 4
    worst = np.argmax(error - bound)
    assert error[worst] <= bound[worst], f"{record.name} {backend}: {error[worst]:.3f} ULP at {x[worst]!r}"


@pytest.mark.parametrize("layout", support.LAYOUTS)
@ROWS
def test_layouts(record, mode, layout):
    arrays = support.inputs(record, mode, support.sample(5 * 7 * 40, np.float32).reshape(5, 7, 40))
    expected = expected_of(record, mode, arrays)
    laid_out = [support.LAYOUTS[layout](a) for a in arrays]
    support.all_same_bits([support.plain(r) for r in high(record, mode, laid_out)], expected, layout)
    results = [support.LAYOUTS[layout](np.zeros_like(e)) for e in expected]
    high(record, mode, laid_out, out=support.outs(tuple(results)))
    support.all_same_bits([support.plain(r) for r in results], expected, f"out: {layout}")


@ROWS
def test_sizes_and_in_place(record, mode, backend, many_threads):
    for shape in ((), (0,), (1,), (17,), (127,), (129,), (513,), (20_003,)):
        arrays = support.inputs(record, mode, support.sample(int(np.prod(shape)), np.float32).reshape(shape))
        expected = expected_of(record, mode, arrays)
        support.all_same_bits(high(record, mode, arrays), expected, str(shape))
        support.all_same_bits(high(record, mode, arrays, where=True), expected, f"{shape}, by the ufunc")
        for i in range(len(arrays)):
            copies = [support.plain(a) for a in arrays]
            results = (copies[i], *[np.zeros_like(e) for e in expected[1:]])
            high(record, mode, copies, out=support.outs(results))
            support.all_same_bits(results, expected, f"onto input {i}, {shape}")


@pytest.mark.parametrize("record, mode", support.rows(lambda r, m: r.given("value")))
def test_parameters(record, mode, backend):
    arrays = support.inputs(record, mode, support.sample(480, np.float32).reshape(40, 12))
    given = {p.name: 0.1 + i for i, p in enumerate(record.given(mode))}
    expected = expected_of(record, mode, arrays, **given)
    for found, exact in zip(expected, float64_of(record, mode, arrays, **given), strict=True):
        support.near(found, exact, "scalars, with all digits")
    support.all_same_bits(high(record, mode, arrays, **given), expected, "scalars")
    support.all_same_bits(high(record, mode, arrays, where=True, **given), expected, "scalars, by the ufunc")
    given = {p.name: np.linspace(0.3, 2, 12, dtype=np.float32) + i for i, p in enumerate(record.given(mode))}
    wide = {k: v.astype(np.float64) for k, v in given.items()}
    for found, exact in zip(high(record, mode, arrays, **given), float64_of(record, mode, arrays, **wide), strict=True):
        support.near(found, exact, "arrays")
    assert all(r.dtype == np.float64 for r in high(record, mode, arrays, **wide))


@ROWS
def test_other_dtypes_are_as_they_were(record, mode, backend):
    for dtype in (np.float64, np.float16, np.int32):
        arrays = support.inputs(record, mode, np.random.default_rng(0).normal(0, 6, 300).astype(dtype))
        support.all_same_bits(high(record, mode, arrays), support.outputs(record, mode, arrays), str(dtype))


def test_mixed(backend):
    x = support.sample(500, np.float32)
    half = np.random.default_rng(0).normal(0, 6, 500).astype(np.float16)
    exact = fastact.silu(x.astype(np.float64))
    with fastact.use_accuracy("high"):
        with support.quiet():
            expected = exact.astype(np.float32).astype(np.float16)
        support.same_bits(fastact.silu(x, out=np.zeros(500, np.float16)), expected)
        single = fastact.silu.backward(x, half)
        support.same_bits(fastact.silu(half, out=np.zeros(500, np.float32)), fastact.silu(half.astype(np.float32)))
    support.same_bits(single, fastact.silu.backward(x, half.astype(np.float32), accuracy="high"))


# --- Choosing ------------------------------------------------------------------------------------------------------------


def which(x, **options):
    """Which accuracy a call had, by its bits."""
    y = fastact.softsign(x, **options)
    found = [name for name in catalog.ACCURACIES if np.array_equal(y, fastact.softsign(x, accuracy=name))]
    assert len(found) == 1
    return found[0]


X = np.linspace(-9, 9, 3001, dtype=np.float32)


def test_setting(backend):
    for x in (X, X[::2], np.asfortranarray(X[:3000].reshape(30, 100))):
        assert fastact.get_accuracy() == which(x) == which(x, accuracy=None) == which(x, where=True) == "default"
        fastact.set_accuracy("high")
        assert fastact.get_accuracy() == which(x) == which(x, accuracy=None) == which(x, where=True) == "high"
        assert which(x, accuracy="default") == "default"
        with fastact.use_accuracy("default"):
            assert fastact.get_accuracy() == which(x) == "default"
            with fastact.use_accuracy("high"), fastact.use_backend(backend):
                assert fastact.get_accuracy() == which(x) == "high"
                assert which(x, accuracy="default") == "default"
            assert which(x) == "default"
        assert which(x) == "high"
        fastact.set_accuracy("default")
        assert which(x) == which(x, accuracy="def" + "ault") == "default"
        assert which(x, accuracy="".join(["hi", "gh"])) == "high"


def test_use_accuracy_is_this_threads():
    found = []
    with fastact.use_accuracy("high"):
        thread = threading.Thread(target=lambda: found.append((fastact.get_accuracy(), which(X))))
        thread.start()
        thread.join()
        assert which(X) == "high"
    assert found == [("default", "default")]
    with pytest.raises(RuntimeError, match="inside"), fastact.use_accuracy("high"):
        raise RuntimeError("inside")
    assert which(X) == "default"


@ROWS
def test_every_mode_takes_it(record, mode):
    arrays = support.inputs(record, mode, support.sample(30, np.float32))
    with fastact.use_accuracy("high"):
        expected = support.outputs(record, mode, arrays)
    support.all_same_bits(high(record, mode, arrays), expected)
    with pytest.raises(ValueError, match="accuracy.*'low'.*default, high"):
        support.call(record, mode, arrays, accuracy="low")


def test_what_is_no_accuracy():
    for bad in ("low", "", None, 1, "HIGH", np.ones(2)):
        with pytest.raises(ValueError, match="accuracy"):
            fastact.set_accuracy(bad)
        with pytest.raises(ValueError, match="accuracy"), fastact.use_accuracy(bad):
            pass
    assert fastact.get_accuracy() == "default"
    with pytest.raises(ValueError, match="accuracy"):
        fastact.silu(X, accuracy=["high"])
    with pytest.raises(ValueError, match="accuracy"):
        fastact.silu(X, accuracy=np.ones(2))


def test_ufuncs_are_the_default():
    fastact.set_accuracy("high")
    y = fastact.gelu.ufunc(X)
    fastact.set_accuracy("default")
    support.same_bits(y, fastact.gelu(X))


def test_environment():
    code = "import fastact, numpy as np; x = np.ones(3, 'f'); fastact.silu(x); print(fastact.get_accuracy(), fastact.explain('silu', x).computed)"
    assert support.isolated(code, FASTACT_ACCURACY="high").stdout == "high float64\n"
    done = support.isolated("import fastact", FASTACT_ACCURACY="low", check=False)
    assert done.returncode and "FASTACT_ACCURACY" in done.stderr and "default, high" in done.stderr


def test_explain():
    found = fastact.explain("gelu", X, accuracy="high")
    assert (found.dtype, found.computed, found.accuracy) == ("float32", "float64", "high")
    assert "accuracy high" in str(found) and "float64" in str(found)
    assert fastact.explain("gelu", X).computed == "float32"
    with fastact.use_accuracy("high"):
        assert fastact.explain("gelu", X).computed == "float64"
        assert fastact.explain("gelu", X, accuracy="default").computed == "float32"
    with pytest.raises(ValueError, match="accuracy"):
        fastact.explain("gelu", X, accuracy="low")


def test_explain_as_a_command(capsys):
    assert cli.main(["explain", "gelu", "--accuracy", "high", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == "float64"
    assert cli.main(["explain", "gelu", "--dtype", "float16"]) == 0
    assert "computed in float32" in capsys.readouterr().out
