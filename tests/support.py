"""What the tests share: the catalog's rows as parameters, calls by mode, ways to lay an array out, comparison to the bit."""

import contextlib
import os
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest

import fastact
from fastact import catalog, dispatch
from fastact.backends import cython, numba

CATALOG = catalog.records()
RECORDS = list(CATALOG.values())
MODES = catalog.MODES
DTYPES = catalog.DTYPES
BACKENDS = list(dispatch.BACKENDS)
AVAILABLE = [name for name, backend in dispatch.BACKENDS.items() if backend.available()]
COMPILED = [name for name in AVAILABLE if name != "numpy"]
HAS_EXTENSION = cython.available()
HAS_NUMBA = numba.available()
PACKAGE = pathlib.Path(fastact.__file__).parent

# With a parameter of each kind there is a test to run; an activation without one has nothing to show there.
PARAMETRIC = [r for r in RECORDS if r.given("value")]
KINKED = [r for r in RECORDS if r.kinks]


def structure(record):
    """What of an activation matters to all code but its formula's."""
    return (
        min(len(record.given("value")), 2),
        len(record.parameters) > len(record.given("value")),
        record.from_output is not None,
        bool(record.nonnegative),
        record.at_defaults("value") is not None,
    )


# The first of each structure, for tests of what does not depend on the mathematics. Where NaN is a result for numbers, bits differ.
REPRESENTATIVES = list({structure(r): r for r in reversed(RECORDS) if not r.domain}.values())[::-1]
FEW = list({structure(r)[0] + 3 * structure(r)[2]: r for r in reversed(REPRESENTATIVES)}.values())[::-1]  # what the executor tells apart
VALUE_MODES = ("value_and_grad", "backward")  # enough for tests of the mathematics: the other modes' loops call the same formula


def _levels():
    """The instruction-set levels whose kernels are there and run on this processor."""
    if not HAS_EXTENSION:
        return []
    found = []
    for level in cython.levels():
        with contextlib.suppress(ImportError):
            __import__(f"fastact._cy.kernels_{level}")
            found.append(level)
    return found


LEVELS = _levels()


def too_few(wanted):
    """Why a test that compares instruction sets is skipped. Only the machine's part excuses it from running in no installation at all."""
    return f"this machine has no {wanted}" if LEVELS else "there is no extension"


def rows(condition=lambda record, mode: True, records=tuple(REPRESENTATIVES)):
    """Every (record, mode) of the representatives as test parameters: for tests of arguments and dispatch; with `FEW`, of memory."""
    return [pytest.param(r, m, id=f"{r.name}-{m}") for r in records for m in r.modes if condition(r, m)]


def value_rows():
    """(record, mode) of all records, in as many modes as matter: for tests of the mathematics."""
    return [pytest.param(r, m, id=f"{r.name}-{m}") for r in RECORDS for m in (r.modes if r in REPRESENTATIVES else VALUE_MODES)]


def compute(record, which, x, **parameters):
    """Value (0) or derivative (1) at x, by one kernel for both."""
    return function(record, "value_and_grad")(x, **parameters)[which]


def in_domain(record, x):
    """Those of x for which the activation is defined."""
    return x if record.domain is None else x[(x > record.domain[0]) & (x < record.domain[1])]


def resolved(record, which, x, scale=1.0):
    """Where a bound holds: derivatives only as far as numbers are close enough together to follow a wave."""
    reach = np.inf if record.reach is None or not which else getattr(record.reach, x.dtype.name)
    return np.abs(x.astype(np.float64)) < reach / scale


def by_name(records):
    """Records as test parameters."""
    return [pytest.param(r, id=r.name) for r in records]


def function(record, mode):
    """The callable of a mode; backward_from_output is a way to call backward."""
    activation = fastact.get(record.name)
    return activation if mode == "value" else activation.backward if mode == "backward_from_output" else getattr(activation, mode)


def call(record, mode, inputs, **kwargs):
    """Call a mode with its inputs in ufunc order."""
    f = function(record, mode)
    if mode == "backward_from_output":
        return f(inputs[0], output=inputs[1], **kwargs)
    return f(*inputs, **kwargs)


def outputs(record, mode, inputs, **kwargs):
    """As `call`; always a tuple."""
    result = call(record, mode, inputs, **kwargs)
    return result if isinstance(result, tuple) else (result,)


def same_elsewhere(record, mode, inputs, **given):
    """`outputs` of arrays of one shape, computed in one piece of memory and in another place of it: what any layout has to give to the bit."""
    n, shape = inputs[0].size, inputs[0].shape
    moved = [np.concatenate([a[::-1][:29], a, a]) for a in (np.asarray(a).reshape(-1) for a in inputs)]
    start = min(n, 29)
    return [r[start : start + n].reshape(shape) for r in outputs(record, mode, moved, **given)]


def near(actual, expected, what=""):
    """Check that numbers are the same but for a few neighbours: what is rounded from two good approximations."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    lost = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), lost, what)
    assert actual.dtype == expected.dtype, what
    as_integers = f"i{actual.dtype.itemsize}"
    places = [np.where(lost, 0, a).astype(a.dtype).reshape(-1).view(as_integers).astype(np.int64) for a in (actual, expected)]
    lowest = np.int64(np.iinfo(as_integers).min)
    places = [np.where(p < 0, lowest - p, p) for p in places]
    apart = np.abs(places[0] - places[1])
    assert apart.max(initial=0) <= 1 and np.count_nonzero(apart) <= 2 + 0.01 * apart.size, (
        f"{what}: {apart.max()} places apart, {np.count_nonzero(apart)}"
    )


def outs(arrays):
    """What to give for `out`."""
    return arrays if len(arrays) > 1 else arrays[0]


def inputs(record, mode, x):
    """Inputs of a mode for these x: a gradient before it, or its output in place of it."""
    if len(catalog.INPUTS[mode]) == 1:
        return (x,)
    gradient = np.random.default_rng(x.size).uniform(-3, 3, x.shape).astype(x.dtype)
    return gradient, fastact.get(record.name)(x) if mode == "backward_from_output" else x


def sample(n, dtype, seed=0):
    """`n` numbers: dense where activations bend, and some of every size."""
    rng = np.random.default_rng((seed, n))
    wide = np.ldexp(rng.uniform(-2, 2, n), rng.integers(-60, 60, n))
    return np.where(rng.random(n) < 0.8, rng.normal(0, 6, n), wide).astype(dtype)


def specials(dtype, infinities=True):
    """Zeros, subnormals, extremes, and neighbours of whole numbers, with both signs."""
    limits = np.finfo(dtype)
    one = np.dtype(dtype).type(1)
    small = [0, limits.smallest_subnormal, 3 * limits.smallest_subnormal, limits.tiny / 2, limits.tiny, limits.eps, 1e-3]
    large = [0.5, 1, 1 + limits.eps, 2, 3, 6, 10, 17, 20, 40, 89, 104, 150, 710, 746, 1000, 1e4, 1e10, 1e30, limits.max / 2, limits.max]
    values = np.array([*small, *large, *([np.inf] if infinities else [])], dtype)
    values = np.concatenate([values, np.nextafter(values[np.isfinite(values)][:-1], one * 1e9)])
    return np.concatenate([values, -values])


def bits(a):
    """An array's values as integers, so that NaN equals NaN and 0.0 does not equal -0.0."""
    a = np.asarray(a)
    a = np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape)
    return a.view(f"u{a.dtype.itemsize}")


def same_bits(actual, expected, what=""):
    """Assert that two results agree in dtype, shape and every bit."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype.newbyteorder("=") == expected.dtype.newbyteorder("="), f"{what}: dtype {actual.dtype}, not {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    wrong = np.nonzero((bits(actual) != bits(expected)).ravel())[0]
    if wrong.size:
        i = wrong[0]
        raise AssertionError(
            f"{what}: {wrong.size} of {actual.size} differ; the first at {i}: {actual.ravel()[i]!r}, not {expected.ravel()[i]!r}"
        )


def all_same_bits(actual, expected, what=""):
    """`same_bits` for each output."""
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        same_bits(a, b, f"{what}, output {i}")


# --- Layouts: functions from an array to one with the same values, otherwise laid out ------------------------------------


def _embedded(a, step):
    holder = np.full([n * abs(step) + 3 for n in a.shape], 7, a.dtype)
    view = holder[tuple(slice(1, 1 + n * abs(step), abs(step)) for n in a.shape)]
    view[...] = a
    return view


def _mirrored(a):
    return a[(slice(None, None, -1),) * a.ndim].copy()[(slice(None, None, -1),) * a.ndim]


def _misaligned(a):
    holder = np.empty(a.nbytes + 1, np.uint8)
    view = holder[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _part(a):
    holder = np.full([n + 2 for n in a.shape], 7, a.dtype)
    view = holder[(slice(1, -1),) * a.ndim]
    view[...] = a
    return view


def _field(a):
    holder = np.zeros(a.shape, np.dtype([("flag", "i1"), ("value", a.dtype)]))  # packed: misaligned and strided
    holder["value"] = a
    return holder["value"]


LAYOUTS = {
    "plain": np.array,
    "strided": lambda a: _embedded(a, 2),
    "sparse": lambda a: _embedded(a, 5),
    "mirrored": _mirrored,
    "fortran": lambda a: np.array(a, order="F"),
    "swapped axes": lambda a: a.swapaxes(0, -1).copy().swapaxes(0, -1),
    "last axis first": lambda a: np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1),
    "part": _part,
    "misaligned": _misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "field": _field,
}


def ways(columns):
    """(name, function) of places and layouts for a 1-D array, whose size is a multiple of `columns`: views or copies, all of its values
    or some; what the function makes of inputs goes with what it makes of their results."""
    for step in (1, 2, 3, 5, -1, -2):
        yield f"stride {step}", lambda a, step=step: a[::step]
    for offset in (1, 3, 7, 16, 33, 64):
        yield f"offset {offset}", lambda a, offset=offset: a[offset:]
        yield f"the first {offset} left out at the end", lambda a, offset=offset: a[: a.size - offset]
    for name, layout in LAYOUTS.items():
        yield name, layout
        yield f"2-D, {name}", lambda a, layout=layout: layout(a.reshape(-1, columns))
    yield "permuted", lambda a: a[np.random.default_rng(a.size).permutation(a.size)]
    yield "broadcast", lambda a: np.broadcast_to(a[: a.size // 8], (8, a.size // 8))
    yield "2-D, with gaps", lambda a: a.reshape(-1, columns)[:, 3 : columns - 2]


def plain(a):
    """A fresh C-contiguous native copy."""
    return np.array(a, np.asarray(a).dtype.newbyteorder("="), order="C")


def isolated(code, *arguments, timeout=120, check=True, **environment):
    """Run Python code in a process of its own, with these environment variables, and return what came of it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTACT_") or k in ("FASTACT_CACHE_DIR", "FASTACT_TUNING")}
    clean.update({k: str(v) for k, v in environment.items()})
    clean["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), str(pathlib.Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code, *map(str, arguments)], env=clean, capture_output=True, text=True, timeout=timeout
    )
    if check and done.returncode:
        raise AssertionError(f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextlib.contextmanager
def quiet():
    """NumPy's own arithmetic on extremes, without its warnings."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
