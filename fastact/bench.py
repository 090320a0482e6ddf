"""Measuring: contenders take turns in short batches, and every figure is a median.

A neighbour that takes a core for a moment slows one batch, and the next round pairs the contenders anew; so what is compared is the ratio
within each round, never the total of one contender against the total of another.
"""

import ast
import datetime
import functools
import importlib.metadata
import itertools
import platform
import random
import statistics
import textwrap
import time
import timeit
import typing

import numpy as np

from . import catalog, dispatch, executor
from .backends import cython
from .callables import get

SIZES = (16, 32_768, 1_048_576)
MODES = ("value", "value_and_grad")
ROUNDS = 7
BATCH_SECONDS = 0.005
REST_SECONDS = 0.001  # the threads of the contender before go to sleep meanwhile
WARM_CALLS = 3  # before anything is timed, at least: the third finds the memory that the first has given back
LEAST_CALLS = 2  # of a batch
STALLED, RETRIES = 3, 2  # a batch that takes so many times the best one lost its processor: it is repeated, so often at most


class Contender(typing.NamedTuple):
    """One way to compute something: a statement, the names it uses, and what is done before each batch."""

    statement: str
    names: dict
    setup: str = "pass"

    def function(self):
        """The statement as a function without arguments."""
        scope = {}
        # Defaults instead of globals: locals are what a function in somebody's program would use.
        source = f"def contender({', '.join(f'{n}={n}' for n in self.names)}):\n" + textwrap.indent(self.statement, "    ")
        exec(source, dict(self.names), scope)
        return scope["contender"]


# --- NumPy's way ---------------------------------------------------------------------------------------------------------


def _shared(expression):
    """What an expression names by ``:=``, as statements by name, and the expression without."""
    statements = {}

    class Lift(ast.NodeTransformer):
        def visit_NamedExpr(self, node):
            self.generic_visit(node)
            statements[node.target.id] = f"{node.target.id} = {ast.unparse(node.value)}"
            return ast.Name(node.target.id)

    return statements, ast.unparse(Lift().visit(ast.parse(expression, mode="eval")))


def numpy_way(record, mode, x, grad_output=None):
    """NumPy's way to write one mode of an activation, parameters at their defaults.

    Parameters
    ----------
    record : Record
        From the catalog; its ``numpy`` is the value, its ``numpy_grad`` the derivative.
    mode : str
    x, grad_output : ndarray

    Returns
    -------
    Contender or None
        None where nobody wrote it down, or where it needs a package that is not installed.
    """
    if mode != "value" and not record.numpy_grad:
        return None
    shared, value = _shared(record.numpy)
    grad_names = {node.id for node in ast.walk(ast.parse(record.numpy_grad)) if isinstance(node, ast.Name)}
    lines = [line for name, line in shared.items() if mode in ("value", "value_and_grad") or name in grad_names]
    if mode in ("value", "value_and_grad") or "y" in grad_names:
        lines.append(f"y = {value}")
    if mode != "value":
        lines.append(f"dx = grad_output * ({record.numpy_grad})" if mode == "backward" else f"dy = {record.numpy_grad}")
    names = {"np": np, "x": x, "grad_output": grad_output} | {p.name: p.default for p in record.parameters if not p.convention}
    if any("scipy" in line for line in lines):
        try:
            import scipy.special
        except ImportError:
            return None
        names["scipy"] = scipy
    used = {node.id for line in lines for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)}
    return Contender("\n".join(lines), {name: value for name, value in names.items() if name in used})


def is_one_ufunc(record):
    """Whether NumPy's way is a call of one ufunc, or a copy: then NumPy has one compiled loop for it too. Behind np.clip there is a ufunc."""
    node = ast.parse(record.numpy, mode="eval").body
    plain = isinstance(node, ast.Call) and all(isinstance(a, (ast.Name, ast.Constant)) for a in node.args)
    return (
        plain
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in ("clip", "copy") or isinstance(getattr(np, node.func.attr, None), np.ufunc))
    )


def sample(n, dtype, seed=0, domain=None):
    """Numbers as they come out of a layer that is not normalised: normal, with a standard deviation of 3; moved into a domain by exp or sigmoid."""
    x = np.random.default_rng(seed).normal(0, 3, n)
    if domain:
        low, high = domain
        x = low + (np.exp(x) if np.isinf(high) else (high - low) / (1 + np.exp(-x)))
    return x.astype(dtype)


# --- The clock -----------------------------------------------------------------------------------------------------------


def alternate(contenders, rounds=ROUNDS, seconds=BATCH_SECONDS, rest=REST_SECONDS):
    """Time contenders in turn.

    Parameters
    ----------
    contenders : dict of str to Contender
    rounds : int
        How many batches of each, in another order each round.
    seconds : float
        About how long a batch is.
    rest : float
        Pause before each batch, repeated while threads of this process still work: those of OpenMP spin for milliseconds after a call
        (torch's for 6 to 9), and would take a processor from who is next. A batch begins with as many calls that are not timed, and
        `WARM_CALLS` at least: behind a pause it takes some 2 ms until a call is as fast as it will be (1 M float16, elu: 0.41 ms, the
        eighth call 0.25), and behind torch longest; and the first results of a loop go into memory that the system has yet to map.

    Returns
    -------
    dict of str to list of float
        Seconds a call, one figure for each round.
    """
    timers, numbers = {}, {}
    with np.errstate(all="ignore"):
        for name, contender in contenders.items():
            timer = _timer(contender, WARM_CALLS)
            number, spent = 1, timer(1)
            while spent < seconds / 4 and number < 10_000_000:
                number *= 4
                spent = timer(number)
            numbers[name] = max(LEAST_CALLS, round(number * seconds / spent))
            timers[name] = _timer(contender, max(WARM_CALLS, numbers[name]))
        samples = {name: [] for name in contenders}
        order, generator = list(contenders), random.Random(0)
        for _ in range(rounds):
            generator.shuffle(order)  # not turned: then the same one would always follow the same
            for name in order:
                _rest(rest)
                spent = timers[name](numbers[name])
                for _ in range(RETRIES):
                    if not samples[name] or spent < STALLED * min(samples[name]) * numbers[name]:
                        break
                    spent = min(spent, timers[name](numbers[name]))
                samples[name].append(spent / numbers[name])
    return samples


def _timer(contender, warm):
    """The seconds of a number of calls, after `warm` others in the same scope: results that are held, and memory given back, are then as in a loop."""
    first = f"{contender.setup}\nfor _ in range({warm}):\n{textwrap.indent(contender.statement, '    ')}"
    return timeit.Timer(contender.statement, first, globals=contender.names).timeit


def _rest(seconds):
    """Sleep, and on until the process is idle; not forever, since some thread may always work."""
    for _ in range(25):
        busy = time.process_time()
        time.sleep(seconds)
        if time.process_time() - busy < seconds / 8:
            return


def ratio(samples, one, other):
    """The median over the rounds of one contender's time over the other's."""
    return statistics.median(a / b for a, b in zip(samples[one], samples[other], strict=True))


def quartiles(samples, one, other):
    """The quartiles over the rounds of one contender's time over the other's."""
    if len(samples[one]) == 1:
        return (samples[one][0] / samples[other][0],) * 3
    low, middle, high = statistics.quantiles([a / b for a, b in zip(samples[one], samples[other], strict=True)], n=4, method="inclusive")
    return low, middle, high


# --- The machine ---------------------------------------------------------------------------------------------------------


@functools.cache
def processor():
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    """Versions of what takes part, without importing any of it; None where it is not installed."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "numba", "scipy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    from . import __version__

    return {"fastact": __version__} | found


def environment():
    """What a reader of figures must know about the machine; no paths and no names of hosts or users."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors_usable": executor.default_num_threads(),
        "instruction_set": cython.level() and (f"x86-64-{cython.level()}" if cython.level() != "base" else "base"),
        "extension": cython.available(),
        "threads": dispatch.get_num_threads(),
        "backend": dispatch.get_backend(),
        "versions": versions(),
    }


# --- The short benchmark -------------------------------------------------------------------------------------------------


def _cell(record, mode, dtype, size, rounds):
    x = sample(size, dtype, domain=record.domain)
    activation = get(record.name)
    names = {"f": activation if mode == "value" else getattr(activation, mode), "x": x, "y": np.empty_like(x), "dy": np.empty_like(x)}
    outs = "(y, dy)" if catalog.OUTPUTS[mode] == 2 else "y"
    # Assigned, as NumPy's way is: a result that nobody keeps would give its memory back to the system in each call.
    results = "y, dy" if catalog.OUTPUTS[mode] == 2 else "y"
    contenders = {
        "fastact": Contender(f"{results} = f(x)", {"f": names["f"], "x": x}),
        "fastact_out": Contender(f"f(x, out={outs})", names),
    }
    theirs = numpy_way(record, mode, x)
    if theirs is not None:
        contenders["numpy"] = theirs
    samples = alternate(contenders, rounds)
    row = {"activation": record.name, "mode": mode, "dtype": dtype, "size": size}
    row["seconds"] = {name: _digits(statistics.median(times)) for name, times in samples.items()}
    if theirs is not None:
        row["speedup"] = [_digits(q) for q in quartiles(samples, "numpy", "fastact")]
        row["speedup_out"] = [_digits(q) for q in quartiles(samples, "numpy", "fastact_out")]
    return row


def _digits(value):
    return float(f"{value:.4g}")


def run(names=None, *, modes=MODES, dtypes=catalog.DTYPES, sizes=SIZES, rounds=ROUNDS, progress=None):
    """Measure the activations against NumPy's way.

    Parameters
    ----------
    names : list of str, optional
        Activations; all if not given.
    modes, dtypes, sizes : sequence
        What to measure.
    rounds : int
        How many batches of each contender.
    progress : callable, optional
        Called as ``progress(done, total, what)``.

    Returns
    -------
    dict
        As `python -m fastact bench` writes it: ``made``, ``environment``, ``method`` and ``results``, one row for each activation, mode,
        dtype and size. ``seconds`` are medians a call; ``speedup`` are the quartiles of NumPy's time over fastact's, both returning new
        arrays; ``speedup_out`` is with ``out=`` for fastact.
    """
    records = list(catalog.records().values()) if names is None else [catalog.find(name) for name in names]
    cells = list(itertools.product(records, modes, dtypes, sizes))
    results = []
    for done, (record, mode, dtype, size) in enumerate(cells):
        if progress is not None:
            progress(done, len(cells), f"{record.name} {mode} {dtype} {size:,}")
        results.append(_cell(record, mode, dtype, size, rounds))
    if progress is not None:
        progress(len(cells), len(cells), "done")
    return {
        "format": "fastact-bench-1",
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        "method": {"rounds": rounds, "batch_seconds": BATCH_SECONDS, "input": "normal, mean 0, standard deviation 3"},
        "numpy_way": {r.name: {mode: way.statement for mode in modes if (way := numpy_way(r, mode, np.ones(1)))} for r in records},
        "results": results,
    }


# --- As text -------------------------------------------------------------------------------------------------------------


def duration(seconds):
    """A time with three digits and a unit."""
    seconds = float(f"{seconds:.3g}")  # first: 999.6 µs are 1 ms
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def times(factor):
    """A ratio with two or three digits."""
    return f"{factor:.0f}" if factor >= 9.95 else f"{factor:.1f}" if factor >= 1.95 else f"{factor:.2f}"


def table(report):
    """The rows of a table of a report: a header, then one row for each activation, mode and dtype."""
    sizes = sorted({row["size"] for row in report["results"]})
    header = ["activation", "mode", "dtype", *[f"{size:,}" for size in sizes]]
    rows = {}
    for row in report["results"]:
        cell = duration(row["seconds"]["fastact"])
        if "speedup" in row:
            cell += f" {times(row['speedup'][1]) + 'x':>5}"
        rows.setdefault((row["activation"], row["mode"], row["dtype"]), {})[row["size"]] = cell
    return header, [[*key, *[cells.get(size, "") for size in sizes]] for key, cells in rows.items()]


def plain_table(header, rows):
    """A table as text: words to the left, figures to the right."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    figures = [i for i in range(len(header)) if any(str(row[i])[:1].isdigit() for row in rows)]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [str(cell).rjust(widths[i]) if i in figures else str(cell).ljust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
