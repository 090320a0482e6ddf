"""Measure errors in ULP against the mathematics, and keep what was found: in docs/data/accuracy.json and docs/accuracy.md.

    python ci/verify.py                                   a stratified scan of all activations: float32, value and derivative
    python ci/verify.py gelu silu --exhaustive            all 2**32 float32 inputs
    python ci/verify.py --exhaustive --mode all --store   for every activation and mode; what is stored already is not done again
    python ci/verify.py tanh --level all --sample 4e6     the levels v2, v3 and v4, each in a process of its own
    python ci/verify.py --backend numba --step 97         each 97th bit pattern
    python ci/verify.py --dtype float64 --points 100000   against balls, or mpmath; float16 and bfloat16: all 65,536 inputs
    python ci/verify.py --accuracy high --exhaustive      float32 by way of float64
    python ci/verify.py --check-reference                 the reference itself against mpmath
    python ci/verify.py --hashes --check                  results to the bit against tests/data/hashes.json; --write makes it anew
    python ci/verify.py --same-bits                       the same bits over layouts, threads, backends and levels
    python ci/verify.py --render                          docs/accuracy.md and its plots, from the JSON

float32 is measured against tables made by mpmath from the definitions (`series.py`), whose error is some 1e-8 ULP; so are the half
precisions. The exit status is 1 if an error is beyond its bound. Stop it whenever you like: what is done is stored (--store).
Needs numba and mpmath; python-flint for many points of float64 (`balls.py`), rich for the progress bar, matplotlib for the plots.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "ci"), str(ROOT / "tests")]
sys.path.append(str(ROOT))  # an installed fastact comes first, if there is one

import hashes  # noqa: E402
import mpmath  # noqa: E402
import numpy as np  # noqa: E402
import reference  # noqa: E402
import scan  # noqa: E402
import series  # noqa: E402

try:
    import balls
except ImportError:  # no python-flint: mpmath does all
    balls = None

import fastact  # noqa: E402
from fastact import catalog, dispatch, language, settings  # noqa: E402
from fastact.backends import cython, numba_source  # noqa: E402

PACKAGE = Path(fastact.__file__).parent
DATA = ROOT / "docs" / "data" / "accuracy.json"
CHUNK = 1 << 15  # inputs that are in a core's cache with all that is computed of them
SPAN = 1 << 23  # what one thread does at a time
ALL = 2**32
QUANTITIES = {"value": (0,), "grad": (1,), "value_and_grad": (0, 1), "backward": (1,), "backward_from_output": (1,)}
FROM_OUTPUT = 3000  # points of float64 where the derivative is taken from the output: each is an equation for mpmath to solve
NEAR = 1.0  # how far from a derivative's zero errors may count in units of the term that cancels, as in tests/reference.py
FORMATS = {"float16": (-14, 10, 65504.0), "bfloat16": (-126, 7, 3.3895313892515355e38), "float32": (-126, 23, 3.4028234663852886e38)}


# --- What is measured ----------------------------------------------------------------------------------------------------


class Task:
    """One mode of one activation, for one dtype and accuracy, in this process's backend and level."""

    def __init__(self, record, mode, dtype, accuracy, backend):
        self.record, self.mode, self.dtype, self.accuracy, self.backend = record, mode, dtype, accuracy, backend
        self.computed = catalog.computed_in(dtype, accuracy)
        self.level = cython.level() if backend == "cython" else None

    @property
    def kernels(self):
        """Whose results these are: all compiled kernels with fma give the same bits (`--same-bits`), so one of them stands for all."""
        has_fma = self.backend == "numba" or hashes.has_fma()
        return "numpy" if self.backend == "numpy" else "fma" if has_fma else f"{self.backend}-{self.level}"

    @property
    def key(self):
        return "/".join([self.record.name, self.mode, self.dtype, self.kernels, self.accuracy])

    @property
    def extra(self):
        """What may be added to the bounds where there is no fma."""
        return 0.0 if self.kernels == "fma" else catalog.NO_FMA_ULP

    def fingerprint(self):
        """A hash of the kernel as generated, and of the intrinsics that it uses: as long as it is the same, so are the results.

        Comments, and what other functions consist of, are no part of it.
        """
        wanted = catalog.precision_for(self.dtype, self.accuracy)
        precision = self.computed if self.backend == "numpy" else self.record.precision(self.mode, wanted)
        return fingerprint(self.record, self.mode, precision, self.kernels)

    def call(self, x, gradient, out):
        """Compute; `out` has an array for each output."""
        f = fastact.get(self.record.name)
        out = out[0] if len(out) == 1 else tuple(out)
        options = {"out": out} if self.accuracy == "default" else {"out": out, "accuracy": self.accuracy}
        if self.mode == "value":
            f(x, **options)
        elif self.mode == "backward":
            f.backward(gradient, x, **options)
        elif self.mode == "backward_from_output":
            f.backward(gradient, output=x, **options)
        else:
            getattr(f, self.mode)(x, **options)

    def zero(self, which):
        """(x0, term) where a value or derivative is zero because terms cancel, or None."""
        return self.record.derivative_zero if which else self.record.value_zero

    def bounds(self, which):
        """The bound, that of subnormal results, and (x0, reach, unit of the term, what is added), as `scan.compare` takes them."""
        record, extra = self.record, self.extra
        zero = self.zero(which) if self.mode != "backward_from_output" else None
        x0, term = zero or (0.0, 0.0)
        everywhere = x0 is None
        x0, reach = (0.0, np.inf) if everywhere else (x0, NEAR if zero else -1.0)
        unit = float(np.ldexp(1.0, int(np.frexp(term)[1]) - 24)) if zero else 0.0
        bound = record.ulp[which] + (0.5 if self.mode == "backward_from_output" else 0.0)
        if self.accuracy == "high" and self.dtype == "float32":
            return 0.51, 0.51, (x0, 1e-5 if zero and not everywhere else reach, -unit * 2.0**-26, 4.0)
        if self.dtype in catalog.HALF:  # computed in float32, perhaps in fewer digits, and rounded
            digits = FORMATS[self.dtype][1]
            if record.precision(self.mode, "half") == "half":
                return 0.502, 0.502, (x0, reach, unit, 0.5)
            return 0.5 + (bound + extra) * 2.0 ** (digits - 23), 0.5 + (4 + extra) * 2.0 ** (digits - 23), (x0, reach, unit, 0.5)
        return bound + extra, max(4.0, bound if self.mode == "backward_from_output" else 0), (x0, reach, unit * max(1.0, extra), extra)


@functools.cache
def fingerprint(record, mode, precision, kernels):
    text = numba_source.kernel(record, mode, precision, False)
    text = text[text.index("@compiled") :]
    if kernels == "numpy":
        text += _without_comments(PACKAGE / "backends" / "numpy_code.py")
    else:
        known = _intrinsics()
        used, todo = set(), set(re.findall(r"[a-z_]+(?=_float)", text)) & known.keys()
        while todo:
            used |= todo
            todo = {name for u in todo for name in re.findall(r"\w+", known[u])} & known.keys() - used
        text += "".join(known[name] for name in sorted(used))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_comments(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@functools.cache
def _intrinsics():
    """The source of each intrinsic of Numba, and of what that uses, by name, without comments; those in C give the same bits, as tests see to."""
    known = {}
    for node in ast.parse(_without_comments(PACKAGE / "backends" / "numba_intrinsics.py")).body:
        names = [node.value.args[0].value] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else []
        names += [node.name] if isinstance(node, ast.FunctionDef) else []
        names += [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        for name in names:
            known[name] = known.get(name, "") + ast.unparse(node)
    return known


@functools.cache
def definition_of(record, mode, dtype):
    kind = series.Inverse if mode == "backward_from_output" else series.Definition
    return kind(record, dtype)


def table_path(definition, which):
    return settings.cache_folder() / "verify" / f"{definition.record.name}_{which}_{definition.key()}.npz"


@functools.lru_cache(maxsize=8)
def table(name, mode, which, computed="float32"):
    """The reference table, from the cache folder or made now; `computed`: what parameters are rounded to."""
    definition = definition_of(catalog.find(name), mode, computed)
    which = 0 if mode == "backward_from_output" else which
    path = table_path(definition, which)
    with contextlib.suppress(OSError, ValueError, KeyError):
        return series.Table.load(path)
    made = series.Builder(definition, which).build()
    with contextlib.suppress(OSError):
        made.save(path)
    return made


def build_table(*key):
    """`table` in another process, for what it leaves on disk."""
    table.__wrapped__(*key)


@functools.cache
def left_out(name, mode):
    """Kinks, where the derivative is a convention; of outputs also what f only tends to."""
    record = catalog.find(name)
    if mode != "backward_from_output":
        return record.kinks
    inverse = series.Inverse(record)
    return (*inverse.kinks, *(y for y in inverse.domain if np.isfinite(y)))


def gradients(bits, dtype):
    """A gradient for each input, of all signs and some sizes, that depends on the input alone."""
    mixed = (bits * np.uint32(2654435761)) ^ (bits >> np.uint32(7))
    exponent = np.uint32(119) + ((mixed >> np.uint32(23)) & np.uint32(15))
    return ((mixed & np.uint32(0x807FFFFF)) | (exponent << np.uint32(23))).view(np.float32).astype(dtype, copy=False)


# --- float32 and half precision: patterns against tables -----------------------------------------------------------------


def numpy_dtype(name):
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


class Inputs:
    """Ascending bit patterns of float32 in chunks: all of them, each step-th, or a stratified sample."""

    def __init__(self, kind, count, task):
        self.task = task
        self.chosen = None
        if task.dtype in catalog.HALF:
            with np.errstate(invalid="ignore"):
                every = np.arange(2**16, dtype=np.uint16).view(numpy_dtype(task.dtype)).astype(np.float32)
            self.chosen, self.what = np.sort(every.view(np.uint32)), "all 65,536 inputs"
        elif kind == "step" and count == 1:
            self.step, self.what = 1, "all 2^32 inputs"
        elif kind == "step":
            self.step, self.what = count, f"each {count:,}th of the 2^32 inputs"
        else:
            self.chosen = stratified(task.record.name, count)
            self.what = f"a stratified sample of {count:,}"
        self.size = self.chosen.size if self.chosen is not None else -(-ALL // self.step)

    def chunk(self, start, stop, room):
        """The patterns from `start` to `stop`, at most CHUNK of them."""
        if self.chosen is not None:
            return self.chosen[start:stop]
        if self.step == 1:
            return np.add(room.all[: stop - start], np.uint32(start), out=room.bits[: stop - start])
        return np.arange(start * self.step, stop * self.step, self.step, dtype=np.uint64).astype(np.uint32)[: stop - start]


@functools.lru_cache(maxsize=2)
def stratified(name, count):
    """Ascending bit patterns: half through all binades evenly, a quarter in [-20, 20], and every float around kinks, zeros, joints and edges."""
    record = catalog.find(name)
    step = max(ALL // (count // 2), 1) | 1
    dense = np.linspace(-20, 20, count // 4, dtype=np.float32)
    centres = [*record.kinks, *[z[0] for z in (record.derivative_zero, record.value_zero) if z and z[0] is not None]]
    edges = reference.interesting(record, np.float32)
    joints = [float(c.float32) for c in _constants() if 2**-14 < abs(c.float32) < 2**10]
    spots = np.concatenate([centres, *[[c, -c] for c in joints]]).astype(np.float32)
    patterns = np.concatenate([spots, edges]).view(np.uint32).astype(np.int64)
    width = np.concatenate([np.full(len(centres), 4096), np.full(spots.size - len(centres), 256), np.full(edges.size, 16)])
    around = [np.arange(p - w, p + w) for p, w in zip(patterns, width, strict=True)]
    return np.unique(np.concatenate([np.arange(0, ALL, step), dense.view(np.uint32), *around]).clip(0, ALL - 1)).astype(np.uint32)


@functools.cache
def _constants():
    """The numbers of the formulas that differ by precision: joints of polynomials and ends of ranges are among them."""
    from fastact import language, primitives

    return tuple(v for v in vars(primitives).values() if isinstance(v, language.constant))


class Room:
    """The arrays of one thread, used again for each chunk: fresh ones would cost more than what is computed in them."""

    def __init__(self, task):
        held = numpy_dtype(task.dtype)
        self.all = np.arange(CHUNK, dtype=np.uint32)
        self.bits = np.empty(CHUNK, np.uint32)
        self.near = np.empty(CHUNK)
        self.out = [np.empty(CHUNK, held) for _ in QUANTITIES[task.mode]]
        self.other = np.empty(CHUNK, held)
        self.product = np.empty(CHUNK, held)


def measure_span(task, inputs, start, stop, others=()):
    """What the inputs from `start` on give: (a `scan.Measure` for each output, how many NaN went wrong, what differs by mode, how many inputs).

    `others` are modes whose results are to be the bits of this one's.
    """
    room, totals, wrong, differ = Room(task), [scan.Measure() for _ in QUANTITIES[task.mode]], 0, {mode: [0, None] for mode in others}
    for at in range(start, stop, CHUNK):
        wrong += _measure_chunk(task, inputs.chunk(at, min(at + CHUNK, stop), room), room, totals, differ)
    return totals, wrong, differ, stop - start


def _measure_chunk(task, bits, room, totals, differ):
    size, held = bits.size, numpy_dtype(task.dtype)
    x = bits.view(np.float32)
    out, near, gradient = [y[:size] for y in room.out], room.near[:size], np.empty(0, np.float32)
    with np.errstate(all="ignore"):
        given = x if held == np.float32 else x.astype(held)
        if task.mode == "backward":
            gradient = gradients(bits, held)
        elif task.mode == "backward_from_output":
            gradient = np.ones(size, held)
        task.call(given, gradient, out)
        for mode, found in differ.items():
            _compare_bits(task, mode, given, bits, out, room, found)
        out = [y if held == np.float32 else y.astype(np.float32) for y in out]
        gradient = gradient.astype(np.float32) if task.mode == "backward" else gradient[:0].astype(np.float32)
    wrong = 0
    if (bits[-1] & 0x7FFFFFFF) > 0x7F800000:  # they ascend, so those that are NaN come last
        wrong = sum(int(np.count_nonzero(~np.isnan(y[np.isnan(x)]))) for y in out)
    record, ends = task.record, sorted((float(x[0]), float(x[-1]))) if np.isfinite(x[0]) and np.isfinite(x[-1]) else (-np.inf, np.inf)
    kinks = [k for k in np.asarray(left_out(record.name, task.mode), np.float32) if ends[0] <= k <= ends[1]]
    for which, y, measure in zip(QUANTITIES[task.mode], out, totals, strict=True):
        made = table(record.name, task.mode, which, task.computed)
        measure.covered += scan.evaluate(bits, x, *[getattr(made, name) for name in series.Table.FIELDS], near)
        for kink in kinks:
            near[x == kink] = np.nan
        if which and record.reach and max(map(abs, ends)) >= record.reach.float32:  # a sine whose argument says nothing
            near[np.abs(x) >= record.reach.float32] = np.nan
        bound, subnormal, zero = task.bounds(which)
        limits = tuple(float(v) for v in FORMATS[task.dtype])
        if task.mode == "backward":
            near[np.abs(near) > limits[2]] = np.nan  # where the derivative is infinite, so is its product
        scan.compare(bits, x, y, near, gradient, limits, bound, subnormal, tuple(map(float, zero)), *_fields(measure))
    if (
        record.domain
        and task.mode in ("value", "grad", "value_and_grad")
        and not (record.domain[0] <= ends[0] and ends[1] <= record.domain[1])
    ):
        outside = (x < record.domain[0]) | (x > record.domain[1])
        wrong += sum(int(np.count_nonzero(~np.isnan(y[outside]))) for y in out)
    return wrong


def _compare_bits(task, mode, x, bits, out, room, found):
    """Whether a mode gives the bits of `value_and_grad`; of backward, those of the derivative times the gradient, rounded once."""
    other, expected, gradient = room.other[: x.size], out[mode != "value"], None
    if mode == "backward":
        gradient = gradients(bits, x.dtype)
        expected = np.multiply(gradient, expected, out=room.product[: x.size])
    Task(task.record, mode, task.dtype, task.accuracy, task.backend).call(x, gradient, [other])
    count, where = scan.differing(other.view(np.uint32), expected.view(np.uint32))
    if count:
        found[0] += count
        found[1] = float(x[where]) if found[1] is None else found[1]


def _fields(measure):
    return measure.largest, measure.where, measure.histogram, measure.beyond, measure.worst_beyond


def measure_holes(task, which, measure):
    """Sampled points where the table has none, against mpmath. Returns the ranges as text."""
    if task.mode == "backward_from_output":
        return []
    made, definition = table(task.record.name, task.mode, which, task.computed), definition_of(task.record, task.mode, task.computed)
    inside = definition.domain or (-np.inf, np.inf)
    found = []
    for first, last in made.holes():
        low, high = sorted((series.value_of(first), series.value_of(last)))
        if high <= inside[0] or low >= inside[1] or first == last:
            continue
        found.append(f"[{low:.4g}, {high:.4g}]")
        bits = np.unique(np.linspace(first, last, 60 + 10 * ((last - first) >> 23)).astype(np.uint32))
        held = numpy_dtype(task.dtype)
        with np.errstate(all="ignore"), mpmath.workprec(series.PRECISION):
            x = np.unique(bits.view(np.float32).astype(held)).astype(np.float32)
            x = x[np.isfinite(x)]
            bits = x.view(np.uint32)
            near = np.array([definition.nearly(float(v), which) for v in x])
            out = [np.empty(x.size, held) for _ in QUANTITIES[task.mode]]
            gradient = gradients(bits, held)
            task.call(x.astype(held), gradient, out)
        if which and task.record.reach:
            near[np.abs(x) >= task.record.reach.float32] = np.nan
        bound, subnormal, zero = task.bounds(which)
        gradient = gradient.astype(np.float32) if task.mode == "backward" else np.empty(0, np.float32)
        y = out[QUANTITIES[task.mode].index(which)].astype(np.float32)
        limits = tuple(float(v) for v in FORMATS[task.dtype])
        scan.compare(bits, x, y, near, gradient, limits, bound, subnormal, tuple(map(float, zero)), *_fields(measure))
    return found


def measure_task(task, inputs, pool, advance, others=()):
    """The whole scan: what goes into the JSON, for this mode and for `others`, which must have its bits."""
    totals = [scan.Measure() for _ in QUANTITIES[task.mode]]
    start_time, wrong_nan, differ = time.perf_counter(), 0, dict.fromkeys(others, (0, None))
    left_out(task.record.name, task.mode)  # mpmath is not for threads
    for which in QUANTITIES[task.mode]:
        table(task.record.name, task.mode, which, task.computed)
    waiting = {pool.submit(measure_span, task, inputs, at, min(at + SPAN, inputs.size), others) for at in range(0, inputs.size, SPAN)}
    try:
        for done in concurrent.futures.as_completed(waiting):
            found, wrong, differing, count = done.result()
            wrong_nan += wrong
            for total, part in zip(totals, found, strict=True):
                total.add(part)
            for mode, (number, x) in differing.items():
                differ[mode] = differ[mode][0] + number, x if differ[mode][1] is None else differ[mode][1]
            advance(count)
    except BaseException:
        for future in waiting:
            future.cancel()
        raise
    holes = {h for which, total in zip(QUANTITIES[task.mode], totals, strict=True) for h in measure_holes(task, which, total)}
    result = {"scan": inputs.what, "inputs": inputs.size, "wrong_nan": wrong_nan, "seconds": round(time.perf_counter() - start_time, 1)}
    if holes:
        result["sampled"] = sorted(holes)
    for which, total in zip(QUANTITIES[task.mode], totals, strict=True):
        result[("value", "derivative")[which]] = _summary(task, which, total)
    compared = {
        mode: {"scan": inputs.what, "inputs": inputs.size, "same_bits_as": task.mode, "differ": number}
        | ({"first": _written(x)} if number else {})
        for mode, (number, x) in differ.items()
    }
    return result, compared


def _summary(task, which, measure):
    def spot(kind):
        if measure.largest[kind] < 0:
            return None
        error = float(measure.largest[kind])
        return {"ulp": round(error, 5) if error < 1e6 else float(f"{error:.3g}"), "x": _written(series.value_of(int(measure.where[kind])))}

    counts = {f"{i / scan.WIDTH:g}": int(n) for i, n in enumerate(measure.histogram) if n}
    found = {
        "bound": task.bounds(which)[0],
        "normal": spot(scan.NORMAL),
        "subnormal": spot(scan.SUBNORMAL),
        "near_zero": spot(scan.NEAR_ZERO),
    }
    found |= {"beyond": int(measure.beyond[0]), "histogram": counts, "compared": int(measure.covered)}
    if measure.beyond[0]:
        found["worst_beyond"] = _written(series.value_of(int(measure.worst_beyond[1])))
    return found


def _written(x):
    return float(f"{x:.9g}")


# --- float64: points against balls or mpmath -----------------------------------------------------------------------------


def points64(record, count):
    """Points over all binades and both signs, dense where activations bend, and floats next to where errors hide."""
    rng = np.random.default_rng(64)
    wide = np.ldexp(rng.uniform(1, 2, count * 4 // 10), np.arange(count * 4 // 10) % 2098 - 1074)
    middle = np.concatenate([rng.uniform(-20, 20, count * 3 // 10), rng.uniform(-760, 760, count // 10), rng.normal(0, 1, count // 10)])
    spots = [*record.kinks, *[z[0] for z in (record.derivative_zero, record.value_zero) if z and z[0] is not None]]
    spots += [s * float(c) for c in _constants() if 2**-14 < abs(c) < 2**10 for s in (-1, 1)]
    steps = np.ldexp(rng.uniform(-1, 1, count // 10), -rng.integers(0, 52, count // 10))
    around = np.asarray(spots)[np.arange(count // 10) % len(spots)] + steps
    x = np.concatenate(
        [wide * rng.choice([-1.0, 1.0], wide.size), middle, around, reference.interesting(record, np.float64), tails64(record, count // 10)]
    )
    x = x[np.isfinite(x)]
    domain = record.domain
    if domain:
        x = np.concatenate([x[(x > domain[0]) & (x < domain[1])], rng.uniform(*np.clip(domain, -20, 20), count // 2)])
    if record.reach:
        x = x[np.abs(x) < float(record.reach)]
    return np.unique(x)


def tails64(record, count):
    """Up to `count` points where value or derivative is about to underflow or to overflow: a narrow range, and the last one of many formulas."""
    x = np.linspace(-800, 800, 2_000_001)
    with np.errstate(all="ignore"):
        results = [np.abs(y) for y in fastact.get(record.name).value_and_grad(x)]
    at_end = np.logical_or.reduce([((y < 2.0**-980) & (y > 0)) | ((y > 2.0**980) & np.isfinite(y)) for y in results])
    return x[at_end][:: max(np.count_nonzero(at_end) // max(count, 1), 1)]


def exact64(name, mode, x):
    """The exact results at x, for each output: nearest float64 and what is left; NaN where a branch goes two ways."""
    definition = definition_of(catalog.find(name), mode, "float64")
    at_once = balls.Definition(definition) if balls and mode != "backward_from_output" else None
    results = []
    for v in map(float, x):
        found = at_once.at(v) if at_once else (None, None)
        results.append([by_mpmath(definition, mode, which, v) if found[which] is None else found[which] for which in QUANTITIES[mode]])
    return [nearest64(numbers) for numbers in zip(*results, strict=True)]


def nearest64(numbers):
    """The nearest float64 and what is left, in units of its spacing."""
    there = [not mpmath.isnan(n) for n in numbers]
    near, rest = np.full(len(numbers), np.nan), np.zeros(len(numbers))
    exact = reference.Exact([n for n in numbers if not mpmath.isnan(n)])
    near[there], rest[there] = exact.near, exact.rest
    return near, rest


def by_mpmath(definition, mode, which, x):
    """The result at one point, in precisions that grow until two agree."""
    last = None
    for precision in (300, 640, 1500, 3600) if mode != "backward_from_output" else (definition.precision,) * 2:
        with mpmath.workprec(precision):
            try:
                found = definition.at(x, 0 if mode == "backward_from_output" else which)
            except series.Branched:
                found = mpmath.nan
            # 0 may be all that it sees
            if last is not None and abs(found - last) <= abs(found) * mpmath.mpf(2) ** -80 and (found or precision == 3600):
                break
            last = found
    return found


def measure64(task, count, processes, advance):
    record, held = task.record, np.dtype("float64")
    x = points64(record, count)
    if task.mode == "backward_from_output":
        with np.errstate(all="ignore"):
            x = np.unique(fastact.get(record.name)(x[:: max(x.size // FROM_OUTPUT, 1)]))
        x = x[np.isfinite(x)]
    x = x[~np.isin(x, left_out(record.name, task.mode))]
    parts = np.array_split(x, max(len(x) // 200, 1))
    out = [np.empty(x.size, held) for _ in QUANTITIES[task.mode]]
    task.call(x, np.ones(x.size), out)
    by = "ball arithmetic" if balls and task.mode != "backward_from_output" else "mpmath"
    result = {"scan": f"{x.size:,} points, {by}", "inputs": int(x.size)}
    exact = []
    for part, found in zip(parts, processes.map(exact64, *[[v] * len(parts) for v in (record.name, task.mode)], parts), strict=True):
        exact.append(found)
        advance(part.size)
    for i, (which, y) in enumerate(zip(QUANTITIES[task.mode], out, strict=True)):
        near, rest = (np.concatenate([found[i][k] for found in exact]) for k in (0, 1))
        there = ~np.isnan(near)
        at, y, near, rest = x[there], y[there], near[there], rest[there]
        half = 0.5 if task.mode == "backward_from_output" else 0.0
        plain = record.ulp[which] + task.extra + half
        bound = reference.allowed(record, which, at, near, held, task.extra) + half
        if half:
            bound = np.where(np.abs(near) < np.finfo(held).tiny, max(4, plain), plain)
        error = reference.ulps(y, near, rest)
        normal, tight = np.abs(near) >= np.finfo(held).tiny, bound <= plain
        zero = task.zero(which)
        of_term = error * reference.unit(near, held) / reference.unit(np.float64(zero[1] if zero else 1), held)
        summary = {"bound": plain, "beyond": int(np.count_nonzero(error > bound))}
        for kind, use, size in (("normal", normal & tight, error), ("subnormal", ~normal, error), ("near_zero", normal & ~tight, of_term)):
            i = int(np.argmax(np.where(use, size, -1)))
            summary[kind] = {"ulp": round(float(size[i]), 4), "x": float(at[i])} if use.any() else None
        if summary["beyond"]:
            summary["worst_beyond"] = float(at[np.argmax(error / np.maximum(bound, 1e-3))])
        counts = np.bincount(np.minimum(error[normal & tight] * scan.WIDTH, scan.BINS - 1).astype(int))
        summary["histogram"] = {f"{i / scan.WIDTH:g}": int(n) for i, n in enumerate(counts) if n}
        summary["compared"] = int(at.size)
        result[("value", "derivative")[which]] = summary
    return result


# --- The reference's own error -------------------------------------------------------------------------------------------


def check_reference(records, modes, count):
    """Tables against mpmath at random inputs; prints the largest difference in ULP of float32. Returns whether all are small."""
    good = True
    for record in records:
        for mode in modes:
            if mode not in record.modes or mode in ("value_and_grad", "backward"):
                continue
            which = QUANTITIES[mode][0]
            made, definition = table(record.name, mode, which), definition_of(record, mode, "float32")
            rng = np.random.default_rng(5)
            bits = np.concatenate([rng.integers(0, ALL, count), rng.uniform(-20, 20, count).astype(np.float32).view(np.uint32)])
            zero = record.derivative_zero if which else None
            if zero and zero[0] is not None and mode != "backward_from_output":
                bits = np.concatenate([bits, int(np.float32(zero[0]).view(np.uint32)) + np.arange(-40, 40)])
            bits = np.unique(bits).astype(np.uint32)
            x = bits.view(np.float32)
            near = np.empty(x.size)
            scan.evaluate(bits, x, *[getattr(made, name) for name in series.Table.FIELDS], near)
            use = np.isfinite(x) & np.isfinite(near) & ~np.isin(x, record.kinks)
            errors = np.zeros(x.size)
            with mpmath.workprec(series.PRECISION * 2):
                for i in np.nonzero(use)[0]:
                    exact = series.Builder._bounded(definition.at(float(x[i]), 0 if mode == "backward_from_output" else which))
                    errors[i] = abs(float((near[i] - exact) / float(reference.unit(near[i], np.float32))))
            if mode != "backward_from_output":  # some in another way: derivatives by differences, as the tests take them
                given = {name: definition.parameters[name] for name in [p.name for p in record.given(mode)]}
                for i in rng.choice(np.nonzero(use & (np.abs(near) < 1e60))[0], 20):
                    exact = (reference.value, reference.derivative)[which](record, float(x[i]), given)
                    errors[i] = max(errors[i], abs(float((near[i] - exact) / float(reference.unit(near[i], np.float32)))))
            i = int(np.argmax(errors))
            good &= errors[i] < 1e-4
            print(
                f"{record.name:18} {mode:22} {np.count_nonzero(use):7,} points: at most {errors[i]:.2e} ULP of float32, at {float(x[i]):.9g}",
                flush=True,
            )
    return good


# --- The JSON ------------------------------------------------------------------------------------------------------------


def load():
    with contextlib.suppress(OSError):
        return json.loads(DATA.read_text(encoding="utf-8"))
    return {"results": {}}


def store(key, result):
    data = load()
    data["results"][key] = result
    data["results"] = dict(sorted(data["results"].items()))
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in data["results"].items()]
    DATA.parent.mkdir(parents=True, exist_ok=True)
    part = DATA.with_suffix(".part")
    part.write_text('{"results": {\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    part.replace(DATA)


def versions():
    return {"fastact": fastact.__version__, "numpy": np.__version__, "mpmath": mpmath.__version__, "machine": platform.machine()}


# --- Saying how far it is ------------------------------------------------------------------------------------------------


class Plain:
    """A line for each task."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def task(self, name, total):
        return lambda count: None

    def line(self, text):
        print(text, flush=True)


class Bars(Plain):
    """A bar for the task at hand, and one for all."""

    def __init__(self, total):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(TextColumn("{task.description:44}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.whole = self.progress.add_task("all", total=total)
        self.now = self.progress.add_task("")

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def task(self, name, total):
        self.progress.reset(self.now, total=total, description=name)

        def advance(count):
            self.progress.advance(self.now, count)
            self.progress.advance(self.whole, count)

        return advance

    def line(self, text):
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


def display(total):
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            return Bars(total)
    return Plain()


def described(key, result):
    """One line for a result."""
    parts = []
    if "same_bits_as" in result:
        first = f", first at {result['first']:.9g}" if result["differ"] else ""
        parts.append(f"{result['differ']:,} of {result['inputs']:,} are not the bits of {result['same_bits_as']}{first}")
    for kind in ("value", "derivative"):
        found = result.get(kind)
        if found is None:
            continue
        spots = [
            f"{what} {found[k]['ulp']:.4g} at {found[k]['x']:.9g}"
            for k, what in (("normal", ""), ("subnormal", "subnormal"), ("near_zero", "near its zero"))
            if found[k]
        ]
        parts.append(
            f"{kind}{', '.join(' ' + s.strip() for s in spots)}"
            + (f"; BEYOND its bound: {found['beyond']:,}, first {found['worst_beyond']:.9g}" if found["beyond"] else "")
        )
    nan = f"; {result['wrong_nan']} NaN LOST" if result.get("wrong_nan") else ""
    return f"{key:52} {'; '.join(parts)}{nan}"


def failed(result):
    return bool(result.get("wrong_nan") or result.get("differ") or any(result[k]["beyond"] for k in ("value", "derivative") if k in result))


# --- The command ---------------------------------------------------------------------------------------------------------


def listed(text, known, what):
    names = known if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"{what}: there is no {name!r}; give some of {', '.join(known)}, or all")
    return list(names)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="activation", help="all of them if none is named")
    parser.add_argument("--mode", default="value_and_grad", help=f"some of {', '.join(catalog.MODES)}, or all (default: value_and_grad)")
    parser.add_argument("--dtype", default="float32", help=f"some of {', '.join(catalog.HELD)}, or all")
    parser.add_argument("--accuracy", default="default", help="default, high, or all")
    parser.add_argument("--backend", default="cython", choices=list(dispatch.BACKENDS))
    parser.add_argument("--level", help="some of v2, v3, v4, or all: each in a process of its own")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--exhaustive", action="store_true", help="all 2**32 float32 inputs")
    how.add_argument("--step", type=int, help="each step-th bit pattern (take a prime)")
    how.add_argument("--sample", type=float, default=1e6, help="that many, stratified (default: 1e6)")
    parser.add_argument("--points", type=int, default=2000, help="for float64 (default: 2000)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--store", action="store_true", help="write results into docs/data/accuracy.json; skip what is there for the same kernel"
    )
    parser.add_argument("--again", action="store_true", help="with --store: skip nothing")
    parser.add_argument("--check-reference", action="store_true")
    parser.add_argument("--hashes", action="store_true")
    parser.add_argument("--write", action="store_true", help="with --hashes")
    parser.add_argument("--check", action="store_true", help="with --hashes (the default)")
    parser.add_argument("--same-bits", action="store_true", help="compare results to the bit: layouts, threads, backends, levels")
    parser.add_argument("--elements", type=float, default=1e8, help="with --same-bits: how many results at least (default: 1e8)")
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args(arguments)
    for name in options.names:
        try:
            catalog.find(name)
        except LookupError as error:
            parser.error(str(error))
    if options.step is not None and options.step < 1:
        parser.error("--step: give 1 or more")
    if not 16 <= options.sample <= ALL:
        parser.error("--sample: give a number from 16 to 2**32")
    if options.points < 100:
        parser.error("--points: give 100 or more")
    if options.threads < 1:
        parser.error("--threads: give 1 or more")
    return options


def by_level(options, arguments):
    """Run once for each level. The exit status is the worst."""
    rest, skip = [], False
    for word in arguments:
        if not skip and not word.startswith("--level"):
            rest.append(word)
        skip = word == "--level"
    worst = 0
    for level in listed(options.level, language.LEVELS, "--level"):
        print(f"--- {level}", flush=True)
        done = subprocess.run([sys.executable, __file__, *rest], check=False, env={**os.environ, "FASTACT_LEVEL": level})
        worst = max(worst, done.returncode)
    return worst


def scans(options):
    """All tasks with their inputs that are to be done now."""
    records = [catalog.find(name) for name in options.names] or list(catalog.records().values())
    modes = listed(options.mode, catalog.MODES, "--mode")
    dtypes = listed(options.dtype, catalog.HELD, "--dtype")
    accuracies = listed(options.accuracy, catalog.ACCURACIES, "--accuracy")
    kind, count = ("step", 1) if options.exhaustive else ("step", options.step) if options.step else ("sample", int(options.sample))
    known = load()["results"] if options.store and not options.again else {}
    todo = []
    for record in records:
        for dtype in dtypes:
            for accuracy in accuracies:
                if accuracy == "high" and dtype != "float32":
                    continue
                wanted = [mode for mode in modes if mode in record.modes]
                # One scan against the mathematics, of value_and_grad; that the others have its bits is seen by comparing them. Not so
                # for NumPy, which rounds otherwise when it fuses. (float64: tests/test_same_bits.py, and --same-bits.)
                compared = ["value", "grad", "backward"] if "value_and_grad" in wanted and options.backend != "numpy" else []
                compared = compared[:2] if accuracy == "high" else compared  # whose backward multiplies what is not rounded yet
                for mode in [m for m in wanted if m not in compared]:
                    task = Task(record, mode, dtype, accuracy, options.backend)
                    others = [m for m in wanted if m in compared] if mode == "value_and_grad" and dtype == "float32" else []
                    if mode == "backward" and dtype == "float64":
                        continue
                    inputs = None if dtype == "float64" else functools.partial(Inputs, kind, count, task)
                    what = f"{options.points:,}" if inputs is None else inputs_text(kind, count, dtype)
                    if not all(_is_known(known, Task(record, m, dtype, accuracy, options.backend), what) for m in [mode, *others]):
                        todo.append((task, inputs, what, others))
    return todo


def _is_known(known, task, what):
    before = known.get(task.key)
    return bool(before) and before["kernel"] == task.fingerprint() and before.get("asked") == what


def inputs_text(kind, count, dtype):
    return "all" if dtype in catalog.HALF else f"{kind} {count}"


def run(options):
    fastact.set_backend(options.backend)
    fastact.set_num_threads(1)
    if options.backend == "cython" and os.environ.get("FASTACT_LEVEL") not in (None, cython.level()):
        print(f"level {os.environ['FASTACT_LEVEL']}: this processor, or this build, has no such kernels; skipped")
        return 0
    todo = scans(options)
    if not todo:
        print("Nothing to do: all of it is stored, for the same kernels (--again does it all the same).")
        return 0
    worst = 0
    start = time.perf_counter()
    with (
        concurrent.futures.ProcessPoolExecutor(options.threads) as processes,
        concurrent.futures.ThreadPoolExecutor(options.threads) as pool,
    ):
        try:
            missing = []
            for task, inputs, *_ in todo:
                mode = task.mode if task.mode == "backward_from_output" else "value"
                definition = definition_of(task.record, mode, task.computed) if inputs else None
                for which in QUANTITIES[task.mode] if inputs else ():
                    wanted = (task.record.name, mode, which, task.computed)
                    if wanted not in missing and not table_path(definition, 0 if mode != "value" else which).exists():
                        missing.append(wanted)
            if missing:
                print(f"{len(missing)} reference tables are to be made first", flush=True)
                list(processes.map(build_table, *zip(*missing, strict=True)))
            sizes = [inputs().size if inputs else options.points for _, inputs, *_ in todo] if len(todo) < 400 else [1] * len(todo)
            with display(sum(sizes)) as shown:
                for (task, inputs, what, others), size in zip(todo, sizes, strict=True):
                    advance = shown.task(task.key, size)
                    if inputs is None:
                        found = {task.mode: measure64(task, options.points, processes, advance)}
                    else:
                        result, compared = measure_task(task, inputs(), pool, advance, others)
                        found = {task.mode: result} | compared
                    for mode, result in found.items():
                        its = Task(task.record, mode, task.dtype, task.accuracy, task.backend)
                        result |= {
                            "kernel": its.fingerprint(),
                            "asked": what,
                            "by": "-".join(filter(None, (its.backend, its.level))),
                            "versions": versions(),
                        }
                        shown.line(described(its.key, result))
                        worst |= failed(result)
                        if options.store:
                            store(its.key, result)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.shutdown(wait=False, cancel_futures=True)
            print("Stopped." + (" What was done is stored; the same command goes on from there." if options.store else ""))
            return 130
    print(
        f"{len(todo)} scans in {time.perf_counter() - start:.0f} s: "
        + ("SOME ERRORS ARE BEYOND THEIR BOUNDS" if worst else "all within their bounds")
    )
    return int(worst)


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    if options.render:
        import render_accuracy

        return render_accuracy.main()
    if options.same_bits:
        import same_bits

        return same_bits.main(options.names, int(options.elements))
    if options.hashes:
        return hashes.main(options.names, write=options.write)
    if options.level:
        return by_level(options, arguments)
    if options.check_reference:
        records = [catalog.find(name) for name in options.names] or list(catalog.records().values())
        return 0 if check_reference(records, listed(options.mode, catalog.MODES, "--mode"), max(options.points // 2, 50)) else 1
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
