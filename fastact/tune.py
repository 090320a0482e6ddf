"""Measuring the tuning table anew: what an element costs in each kernel, and from which sizes threads and streaming stores pay."""

import importlib
import itertools
import json
import statistics
import time
import timeit

import numpy as np

from . import bench, catalog, dispatch
from .backends import cython, numba
from .callables import Runner, get, set_up, warm

BLOCK_BYTES = 16_384  # of each operand: all of them together stay in the first-level cache
REPEATS = 7
BATCH_SECONDS = 0.001


def levels():
    """The kernels of every level this processor can run: a dict of level to a dict of addresses."""
    found = {}
    for level in cython.levels() if cython.available() else ():
        try:
            found[level] = importlib.import_module(f".._cy.kernels_{level}", cython.__package__).kernels()
        except ImportError:
            continue
    return found


def _runner(record, mode, precision, address):
    """A callable over one kernel that never uses threads."""
    runner = Runner()
    set_up(runner, record, mode, None)
    runner.set_kernel(catalog.DTYPES.index(precision), address, 0, 1e-9)  # as good as free, so that no size is worth a second thread
    return runner


def _arguments(record, mode, precision, n):
    x = bench.sample(n, precision)
    inputs = [bench.sample(n, precision, seed=1), x][2 - len(catalog.INPUTS[mode]) :]
    outs = tuple(np.empty_like(x) for _ in range(catalog.OUTPUTS[mode]))
    if mode == "backward_from_output":
        # The output of some call, with the parameters' defaults.
        inputs[1] = get(record.name)(x)
    return inputs, outs if len(outs) == 2 else outs[0]


def nanoseconds(record, mode, precision, addresses):
    """What an element costs in each of some kernels of one activation, mode and dtype.

    Parameters
    ----------
    addresses : dict of str to int
        Kernels by any key.

    Returns
    -------
    dict of str to float
        Nanoseconds an element, one thread, data in the first-level cache: the fastest of several batches that take turns, because whatever
        disturbs a batch makes it slower.
    """
    n = BLOCK_BYTES // np.dtype(precision).itemsize
    inputs, out = _arguments(record, mode, precision, n)
    timers, numbers, best = {}, {}, {}
    for key, address in addresses.items():
        names = {"f": _runner(record, mode, precision, address), "a": inputs[0], "b": inputs[-1], "out": out}
        timers[key] = timeit.Timer("f(a, b, out=out)" if len(inputs) == 2 else "f(a, out=out)", globals=names).timeit
        timers[key](3)
        numbers[key] = max(3, round(BATCH_SECONDS / (timers[key](10) / 10)))
        best[key] = float("inf")
    for _ in range(REPEATS):
        for key, timer in timers.items():
            best[key] = min(best[key], timer(numbers[key]) / numbers[key])
    return {key: float(f"{seconds / n * 1e9:.3g}") for key, seconds in best.items()}


# --- Threads and streaming stores ----------------------------------------------------------------------------------------


def _once(function):
    start = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - start


def _from_which_on(pays):
    """The first of (value, whether it pays) from which on it always pays; None if it does not at the end."""
    found = None
    for value, good in pays:
        found = (value if found is None else found) if good else None
    return found


def thread_thresholds():
    """Measure from which serial time on a second thread pays: one that waits actively, and one that sleeps.

    Returns
    -------
    tuple of float or None
        In nanoseconds; None where threads never pay, or where there is only one.
    """
    frontend = cython.frontend
    if frontend is None or dispatch.get_num_threads() < 2:
        return None
    before = frontend.get_thresholds_ns()
    activation = get(next(iter(catalog.records())))  # a cheap one: memory is soon what counts, as for most
    hot, cold = [], []
    try:
        for n in (int(1000 * 2 ** (k / 2)) for k in range(3, 24)):
            x = bench.sample(n, "float32")
            y = np.empty_like(x)
            alone, many, woken, lone = [], [], [], []
            for shared, kept in itertools.chain.from_iterable([((False, alone), (True, many))] * 7):
                frontend.set_thresholds_ns(*((1.0, 1.0) if shared else (1e18, 1e18)))
                time.sleep(0.0005)
                timer = timeit.Timer("f(x, out=y)", globals={"f": activation, "x": x, "y": y}).timeit
                count = max(5, 200_000 // n)
                timer(count)
                kept.append(timer(count) / count * 1e9)
            for shared, kept in itertools.chain.from_iterable([((False, lone), (True, woken))] * 25):
                frontend.set_thresholds_ns(*((1.0, 1.0) if shared else (1e18, 1e18)))
                time.sleep(0.001)  # long enough for a waiting thread to give up
                kept.append(_once(lambda x=x, y=y: activation(x, out=y)))
            serial = statistics.median(alone)
            hot.append((serial, statistics.median(many) < 0.9 * serial))
            cold.append((serial, statistics.median(woken) < 0.9 * statistics.median(lone)))
    finally:
        frontend.set_thresholds_ns(*before)
    return _from_which_on(hot), _from_which_on(cold)


def stream_bytes():
    """Measure from how many bytes of output on it pays to write around the cache; None where it never does.

    What is timed is a call and one that reads its result, as the next layer does: what is still in the cache then counts too.
    """
    frontend = cython.frontend
    if frontend is None:
        return None
    activation = get(next(iter(catalog.records())))
    before = frontend.get_stream_bytes()
    pays = []
    try:
        for size in (1 << k for k in range(22, 29)):
            x = np.resize(bench.sample(2**20, "float32"), size // 4)
            y = np.ones_like(x)

            def twice(x=x, y=y):
                activation(x, out=y)
                activation(y, out=x)

            plain, streamed = [], []
            for kept, limit in [(plain, 0), (streamed, 1)] * 9:
                frontend.set_stream_bytes(limit)
                twice()
                kept.append(_once(twice))
            pays.append((size, statistics.median(streamed) < 0.97 * statistics.median(plain)))
    finally:
        frontend.set_stream_bytes(before)
    # The setting is a size above which, not from which on.
    return _from_which_on((value - 1, good) for value, good in pays)


# --- The table -----------------------------------------------------------------------------------------------------------


def measure(progress=None, machine=True):
    """Measure the tuning table.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(done, total, what)``.
    machine : bool
        Whether to measure the thresholds for threads and streaming stores too. They belong to one machine; without them the package's own
        apply, which look at the cache's size.

    Returns
    -------
    dict
        As `fastact.dispatch.tuning` reads it.

    Raises
    ------
    RuntimeError
        There is nothing to choose from: the extension is not installed.
    """
    if cython.frontend is None:
        raise RuntimeError("there is nothing to tune: the extension is not installed")
    compiled = levels()
    cells = [(r, mode, precision) for r in catalog.records().values() for mode in r.modes for precision in catalog.DTYPES]
    total = len(cells) + 2 * machine
    table = {}
    for done, (record, mode, precision) in enumerate(cells):
        if progress is not None:
            progress(done, total, f"{record.name} {mode} {precision}")
        key = (record.name, mode, precision, False)
        addresses = {f"cython-{level}": kernels[key] for level, kernels in compiled.items() if key in kernels}
        if numba.available():
            warm(record, mode, [precision])
            addresses["numba"] = numba.kernel(record, mode, precision).address
        row = nanoseconds(record, mode, precision, addresses)
        table.setdefault(record.name, {}).setdefault(mode, {})[precision] = row
    result = {"processor": bench.processor(), "versions": bench.versions(), "ns_per_element": table}
    if machine:
        if progress is not None:
            progress(len(cells), total, "threads")
        thresholds = thread_thresholds()
        if thresholds is not None and thresholds[0]:
            # One that is asleep may never have paid in what was tried; then it takes at least the longest that was.
            hot, cold = thresholds
            result["hot_ns"] = round(max(1000.0, hot))
            result["cold_ns"] = round(max(10_000.0, cold or 0, cython.frontend.get_thresholds_ns()[1] if cold is None else 0))
        if progress is not None:
            progress(len(cells) + 1, total, "streaming stores")
        limit = stream_bytes()
        if limit is not None:
            result["stream_bytes"] = limit
    if progress is not None:
        progress(total, total, "done")
    return result


def dumps(table):
    """The table as JSON with one line for each activation and mode: it is read, and compared, by people."""
    head = {key: value for key, value in table.items() if key != "ns_per_element"}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = []
    for name, modes in table["ns_per_element"].items():
        inner = ",\n".join(f"   {json.dumps(mode)}: {json.dumps(by_dtype)}" for mode, by_dtype in modes.items())
        rows.append(f"  {json.dumps(name)}: {{\n{inner}\n  }}")
    lines.append(' "ns_per_element": {\n' + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"
