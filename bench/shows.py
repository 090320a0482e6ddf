"""What fastact claims about its speed, measured in one run: ``python bench/shows.py``.

The contenders of a claim take turns in many short batches, and the figure is the median of the ratios within the rounds. Peers that are
not installed leave their claims "not measured". torch's time is that of all threads or of one thread, whichever median is shorter. A claim
is "unsteady" when a contender lost its processor in half of the rounds: run it again on a quieter machine. The exit code is 1 when a claim
does not hold.

Before each batch the process rests until none of its threads works: torch's OpenMP threads spin for 6 to 9 ms after a call, and whoever came
next had one processor less. With a fixed rest of 4 ms fastact's two threads looked slower beside torch than its one thread alone.
"""

import argparse
import concurrent.futures
import functools
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # not the checkout: its fastact/ need not be compiled

import numpy as np  # noqa: E402

import fastact  # noqa: E402
import peers  # noqa: E402
from fastact import catalog, dispatch  # noqa: E402
from fastact.backends import cython, numba  # noqa: E402
from fastact.bench import Contender, alternate, duration, environment, is_one_ufunc, plain_table, quartiles, sample  # noqa: E402

MIDDLE = (32_768, 1_048_576)
LARGE = 64 * 2**20
SCIPY = importlib.util.find_spec("scipy") is not None
MORE = 3  # times that a close claim is measured again
REST = 0.004  # at least


class Show:
    """All claims, and what was measured of them.

    Parameters
    ----------
    rounds : int
        How many batches of each contender.
    only : str
        Measure the claims whose text contains this.
    """

    def __init__(self, rounds, only=""):
        self.rounds, self.only, self.rows = rounds, only, []
        self.torch = "torch" in peers.installed()

    def wants(self, claim):
        """Tell whether a claim is to be measured."""
        return self.only in claim

    def add(self, claim, wanted, samples=None, one="", other="", why="", most=None, least=None, again=None):
        """Note one ratio, of `one` to `other`: at most or at least so much.

        Where the limit lies between the quartiles, `again` gives more samples, and all of them together decide.
        """
        row = {"claim": claim, "wanted": wanted}
        if samples is None:
            row |= {"measured": why, "verdict": "not measured"}
        else:
            limit = least if most is None else most
            low, middle, high = quartiles(samples, one, other)
            for _ in range(MORE if again is not None else 0):
                if not low < limit < high:
                    break
                more = again()
                samples = {name: samples[name] + more[name] for name in samples}
                low, middle, high = quartiles(samples, one, other)
            holds = middle <= limit if least is None else middle >= limit
            # Whoever has lost its processor in half of the rounds proves nothing for the other.
            steady = all(statistics.median(samples[name]) < 3 * min(samples[name]) for name in (one, other))
            row |= {
                "measured": f"{middle:.2f}",
                "ratio": middle,
                "quartiles": [low, high],
                "seconds": {name: statistics.median(samples[name]) for name in samples},
                "compared": [one, other],
                "rounds": len(samples[one]),
                "verdict": ("pass" if holds else "FAIL") if steady else "unsteady",
            }
        self.rows.append(row)
        print(_line(row), flush=True)

    def alternate(self, contenders, rounds=None, seconds=0.002):
        """Time contenders in turn (see `fastact.bench.alternate`)."""
        return alternate(contenders, rounds or self.rounds, seconds, REST)


def _line(row):
    text = f"{row['verdict']:13}{row['claim']}: {row['measured']} (wanted: {row['wanted']})"
    if "seconds" in row:
        one, other = row["compared"]
        low, high = row["quartiles"]
        text += f" [{one} {duration(row['seconds'][one])}, {other} {duration(row['seconds'][other])}; quartiles {low:.2f} to {high:.2f}]"
    return text


# --- Calls and imports ---------------------------------------------------------------------------------------------------


def overhead(show):
    """Measure what a call of 16 float32 costs."""
    if not show.wants("overhead"):
        return
    x = sample(16, "float32")
    contenders = {"np.tanh out=": Contender("f(x, out=y)", {"f": np.tanh, "x": x, "y": np.empty_like(x)})}
    contenders["np.tanh new"] = Contender("f(x)", contenders["np.tanh out="].names)
    for name in catalog.records():
        names = {"f": fastact.get(name), "x": x, "y": np.empty_like(x)}
        contenders[f"{name} out="] = Contender("f(x, out=y)", names)
        contenders[f"{name} new"] = Contender("f(x)", names)
    samples = show.alternate(contenders, seconds=0.001)
    again = functools.partial(show.alternate, contenders, seconds=0.001)
    for kind, most in (("out=", 0.3), ("new", 0.5)):
        worst = max(catalog.records(), key=lambda name: statistics.median(samples[f"{name} {kind}"]))
        claim = f"call overhead, 16 float32, {kind}, slowest: {worst}"
        show.add(claim, f"<= {most} np.tanh(x, out=)", samples, f"{worst} {kind}", "np.tanh out=", most=most, again=again)


def imports(show):
    """Measure what ``import fastact`` adds to ``import numpy``, and that no call waits for a compiler."""
    if not show.wants("import"):
        return
    clock = "import time; a = time.perf_counter(); import numpy; b = time.perf_counter(); import fastact; c = time.perf_counter()"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        environ = {**_environ(), "FASTACT_CACHE_DIR": folder}
        for _ in range(max(11, show.rounds)):
            found.append([float(part) for part in _output(f"{clock}; print(b - a, c - b)", environ).split()])
        numpys, ours = (statistics.median(column) for column in zip(*found, strict=True))
        row = {"claim": "import fastact, beyond import numpy", "wanted": "<= 20 ms"}
        row["measured"] = f"{ours * 1e3:.1f} ms"
        row["seconds"], row["compared"] = {"fastact": ours, "numpy": numpys}, ["fastact", "numpy"]
        row["quartiles"] = statistics.quantiles([b for _, b in found], n=4)[::2]
        row["verdict"] = "pass" if ours <= 0.020 else "FAIL"
        show.rows.append(row)
        print(_line(row), flush=True)
        code = (
            "import sys, numpy as np, fastact\n"
            "for name in fastact.names():\n"
            "    f = fastact.get(name)\n"
            "    for dtype in 'fd':\n"
            "        x = np.ones(5, dtype); f(x); f.grad(x); f.value_and_grad(x); f.backward(x, x); f(x[::2]); f(x, out=x)\n"
            "print('numba' in sys.modules)"
        )
        compiled = _output(code, environ).strip() == "True"
    row = {"claim": "no first call imports the compiler", "wanted": "none", "measured": "some do" if compiled else "none"}
    if not cython.available():
        row["measured"], row["verdict"] = "no extension", "not measured"
    else:
        row["verdict"] = "FAIL" if compiled else "pass"
    show.rows.append(row)
    print(_line(row), flush=True)


def _output(code, environ):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ, cwd=HERE).stdout


def _environ():
    # What is measured here: the checkout may not be compiled.
    return {**os.environ, "PYTHONPATH": str(pathlib.Path(fastact.__file__).parents[1])}


# --- Throughput ----------------------------------------------------------------------------------------------------------


def copies(case):
    """Give ways to copy an array with as many threads as fastact has: the fastest is the bound of anything that reads and writes."""
    x, y, threads = case.x, case.y, fastact.get_num_threads()
    ways = {"np.copyto": Contender("f(y, x)", {"f": np.copyto, "x": x, "y": y})}
    if threads > 1:
        pool = concurrent.futures.ThreadPoolExecutor(threads - 1)
        parts = [(y[a:b], x[a:b]) for a, b in ((len(x) * i // threads, len(x) * (i + 1) // threads) for i in range(threads))]

        def copy():
            waiting = [pool.submit(np.copyto, *part) for part in parts[1:]]
            np.copyto(*parts[0])
            for job in waiting:
                job.result()

        ways[f"np.copyto, {threads} threads"] = Contender("f()", {"f": copy})
    if "torch" in peers.installed():
        torch = peers._torch()
        ways["torch copy_"] = Contender("y.copy_(x)", {"x": torch.from_numpy(x), "y": torch.from_numpy(y)})
    own = _own_copy()
    if own is not None:
        ways["copy on fastact's threads"] = Contender("f(x, out=y)", {"f": own, "x": x, "y": y})
    return ways


_KEEP = []


@functools.cache
def _own_copy(mode="value"):
    """Make a kernel that copies, run by fastact's own executor: the same threads, the same chunks; None where it can't be compiled.

    In mode value_and_grad it copies to two arrays.
    """
    if cython.frontend is None or not numba.available():
        return None
    import numba as compiler

    from fastact.callables import Runner, set_up

    pointer = compiler.types.CPointer(compiler.types.float32)

    @compiler.cfunc(compiler.types.void(pointer, pointer, pointer, pointer, compiler.types.intp))
    def one(x, y, z, p, n):
        for i in range(n):
            y[i] = x[i]

    @compiler.cfunc(compiler.types.void(pointer, pointer, pointer, pointer, compiler.types.intp))
    def two(x, y, z, p, n):
        for i in range(n):
            y[i] = x[i]
            z[i] = x[i]

    kernel = one if mode == "value" else two

    runner = Runner()
    record = fastact.get("relu").record
    set_up(runner, record, mode, None)
    cost = dispatch.measured(record, mode, "float32", "cython") or dispatch.UNMEASURED_NS
    runner.set_kernel(0, kernel.address, 0, cost)
    _KEEP.append(kernel)
    return runner


def bound_by_memory(show):
    """Measure relu against the fastest parallel copy."""
    for size in MIDDLE:
        claim = f"relu against a parallel copy, float32, {size:,}"
        if not show.wants(claim):
            continue
        case = peers.Case(fastact.get("relu").record, "value", "float32", size)
        contenders = {"relu": peers.fastact_way(case)} | copies(case)
        samples = show.alternate(contenders)
        best = min((name for name in samples if name != "relu"), key=lambda name: statistics.median(samples[name]))
        show.add(claim, "<= 1.10", samples, "relu", best, most=1.10, again=functools.partial(show.alternate, contenders))


def throughput(show):
    """Measure every function against torch, and against NumPy's way where that is not a single ufunc."""
    for dtype in catalog.DTYPES:
        for size in MIDDLE:
            for record in catalog.records().values():
                what = f"{record.name}, {dtype}, {size:,}"
                against_torch, against_numpy = f"{what}: torch's time", f"{what}: NumPy's way"
                if not show.wants(against_torch) and not show.wants(against_numpy):
                    continue
                case = peers.Case(record, "value", dtype, size)
                numpys = None if is_one_ufunc(record) else peers.numpy_contender(case)
                torchs = peers.torch_way(case) if show.wants(against_torch) and show.torch else None
                contenders = {"fastact": peers.fastact_way(case)}
                if torchs is not None:
                    # Beside a busy process OpenMP's barrier stalls for milliseconds: that is not what torch can do.
                    contenders |= peers.by_threads(torchs)
                if numpys is not None and show.wants(against_numpy):
                    contenders |= {"fastact new": peers.fastact_way(case, out=False), "NumPy": numpys}
                measure = functools.partial(_best_torch, show, contenders)
                samples = measure() if len(contenders) > 1 else {}
                if show.wants(against_torch):
                    why = "torch is not installed" if not show.torch else "torch has none"
                    show.add(
                        against_torch, ">= 1", samples if "torch" in samples else None, "torch", "fastact", why, least=1, again=measure
                    )
                if show.wants(against_numpy) and not is_one_ufunc(record):
                    there = samples if "NumPy" in samples else None
                    show.add(against_numpy, ">= 3", there, "NumPy", "fastact new", "SciPy is not installed", least=3, again=measure)


def _best_torch(show, contenders):
    """Time contenders; torch's samples are those of the number of threads that serves it better by the median."""
    return peers.best_torch(show.alternate(contenders))


def fused(show):
    """Measure value and derivative in one pass against the value alone.

    In the cache, what does little but move memory can't beat what it costs to copy to two arrays rather than to one.
    """
    for size, most in ((MIDDLE[0], 1.35), (LARGE, 1.6)):
        for record in catalog.records().values():
            claim = f"{record.name}, float32, {size:,}: value_and_grad's time over value's"
            if not show.wants(claim):
                continue
            cases = {mode: peers.Case(record, mode, "float32", min(size, 1024)) for mode in ("value", "value_and_grad")}
            for case in cases.values():
                case.x, case.y, case.dy = _buffers(size)
            contenders = {mode: peers.fastact_way(case) for mode, case in cases.items()}
            if size != LARGE and _own_copy() is not None:
                names = {"x": case.x, "y": case.y, "dy": case.dy}
                contenders["copy"] = Contender("f(x, out=y)", names | {"f": _own_copy()})
                contenders["two copies"] = Contender("f(x, out=(y, dy))", names | {"f": _own_copy("value_and_grad")})
            measure = functools.partial(show.alternate, contenders, min(show.rounds, 7) if size == LARGE else None)
            samples, wanted, limit = measure(), f"<= {most}", most
            if "copy" in samples and statistics.median(samples["value"]) < 2 * statistics.median(samples["copy"]):
                bound = quartiles(samples, "two copies", "copy")[1]
                wanted, limit = f"<= {most}, or what two copies cost over one: {bound:.2f}", max(most, bound)
            show.add(claim, wanted, samples, "value_and_grad", "value", most=limit, again=measure)


def precisions(show):
    """Measure half precision against float32 and against torch's, and high accuracy against the default, at 1 M elements."""
    size = MIDDLE[1]
    halves = ["float16", *(["bfloat16"] if importlib.util.find_spec("ml_dtypes") else [])]
    for record in catalog.records().values():
        case = None
        for dtype in halves:
            what = f"{record.name}, {dtype}, {size:,}"
            against_single, against_torch = f"{what}: float32's time", f"{what}: torch's time"
            if not show.wants(against_single) and not show.wants(against_torch):
                continue
            case = case or peers.Case(record, "value", "float32", size)
            names, torchs = peers.in_half(case, dtype, show.torch)
            contenders = {dtype: Contender("f(x, out=y)", names), "float32": peers.fastact_way(case)}
            if torchs is not None:
                contenders |= peers.by_threads(torchs)
            measure = functools.partial(_best_torch, show, contenders)
            samples = measure()
            show.add(against_single, ">= 1", samples, "float32", dtype, least=1, again=measure)
            why = "torch has none" if show.torch else "torch is not installed"
            show.add(against_torch, ">= 1", samples if "torch" in samples else None, "torch", dtype, why, least=1, again=measure)
        claim = f"{record.name}, float32, {size:,}, accuracy='high': its speed over the default's"
        if show.wants(claim):
            case = case or peers.Case(record, "value", "float32", size)
            default = peers.fastact_way(case)
            contenders = {"default": default, "high": default._replace(statement="f(x, out=y, accuracy='high')")}
            measure = functools.partial(show.alternate, contenders)
            show.add(claim, ">= 0.35", measure(), "default", "high", least=0.35, again=measure)


def saturated(show):
    """Measure inputs far out, where a function is flat, against ordinary ones: where something underflows on the way, an Intel processor waits."""
    size = MIDDLE[0]
    for record in catalog.records().values():
        claim = f"{record.name}, float32, value_and_grad, {size:,}: the time of saturated units over that of others"
        if record.domain or not show.wants(claim):
            continue
        ordinary = peers.fastact_way(peers.Case(record, "value_and_grad", "float32", size))
        x = np.random.default_rng(0).uniform(240, 1200, size)
        x[::2] *= -1
        far = ordinary._replace(names=ordinary.names | {"x": x.astype(np.float32)})
        measure = functools.partial(show.alternate, {"saturated": far, "others": ordinary})
        show.add(claim, "<= 1.2", measure(), "saturated", "others", most=1.2, again=measure)


def along_an_axis(show):
    """Measure softmax and log_softmax, forward and backward, over rows of several lengths."""
    import test_rows

    for function in ("softmax", "log_softmax", "softmax.backward", "log_softmax.backward"):
        for n in test_rows.LENGTHS:
            what = f"{function}, float32, {test_rows.ELEMENTS:,} in rows of {n:,}"
            against_torch, against_numpy = f"{what}: torch's time", f"{what}: NumPy's way"
            if not show.wants(against_torch) and not show.wants(against_numpy):
                continue
            contenders = {name: Contender("f()", {"f": f}) for name, f in test_rows.contenders(n)[function].items()}
            _torch_and_numpy(show, contenders, against_torch, against_numpy)


def gated(show):
    """Measure gated units and bias with an activation, forward and backward; torch unfused where it has nothing fused."""
    import test_gated

    size = MIDDLE[1]
    for case in ("swiglu", "swiglu backward", "geglu", "geglu backward", "glu", "glu backward", "bias gelu", "bias gelu backward"):
        what = f"in one pass: {case}, float32, {size:,}"
        against_torch, against_numpy = f"{what}: torch's time", f"{what}: NumPy's way"
        if not show.wants(against_torch) and not show.wants(against_numpy):
            continue
        ways = ["fastact", *(["torch"] if show.torch else []), *(["numpy"] if SCIPY or "gelu" not in case and "geglu" not in case else [])]
        contenders = {way: Contender("f()", {"f": test_gated.made(case, size, way)}) for way in ways}
        _torch_and_numpy(show, contenders, against_torch, against_numpy)


def _torch_and_numpy(show, contenders, against_torch, against_numpy):
    """Note two claims: at least torch's speed, at the number of threads that serves torch better, and 5 times that of NumPy's way."""
    if "torch" in contenders:
        torchs = contenders.pop("torch")
        contenders |= peers.by_threads(torchs)
    measure = functools.partial(_best_torch, show, contenders)
    samples = measure()
    there = samples if "torch" in samples else None
    show.add(against_torch, ">= 1", there, "torch", "fastact", "torch is not installed", least=1, again=measure)
    there = samples if "numpy" in samples else None
    show.add(against_numpy, ">= 5", there, "numpy", "fastact", "SciPy is not installed", least=5, again=measure)


def own_activations(show):
    """Measure activations of a user's own against built-in ones of equal arithmetic, on one thread."""
    import own

    size, threads = MIDDLE[1], fastact.get_num_threads()
    x = sample(size, "float32")
    names = {"x": x, "y": np.ones_like(x), "dy": np.ones_like(x)}
    for name, others in own.BUILT_IN.items():
        for mode, call in (("value", "f(x, out=y)"), ("value_and_grad", "f(x, out=(y, dy))")):
            claim = f"own {name}, {mode}, float32, {size:,}: its time over that of {' and '.join(others)}"
            if not show.wants(claim):
                continue
            functions = {name: own.made(name)} | {other: fastact.get(other) for other in others}
            contenders = {
                which: Contender(call, names | {"f": f if mode == "value" else f.value_and_grad}) for which, f in functions.items()
            }

            def measure(contenders=contenders, others=others):
                fastact.set_num_threads(1)
                try:
                    samples = show.alternate(contenders)
                finally:
                    fastact.set_num_threads(threads)
                return samples | {"built in": [sum(times) for times in zip(*(samples[other] for other in others), strict=True)]}

            show.add(claim, "<= 1.3", measure(), name, "built in", most=1.3, again=measure)


_LARGE = []


def _buffers(size):
    """Give one set of buffers, made once: a gigabyte of random numbers takes seconds."""
    if not _LARGE or len(_LARGE[0]) != size:
        block = sample(min(size, 2**20), "float32")
        x = np.resize(block, size)
        _LARGE[:] = [x, np.ones_like(x), np.ones_like(x)]
    return _LARGE


def large(show):
    """Measure relu at 64 M elements, where memory decides."""
    name = "relu"
    into, fresh = f"{name}, float32, {LARGE:,}, out=: torch's time", f"{name}, float32, {LARGE:,}, new array: np.maximum's time"
    if not show.wants(into) and not show.wants(fresh):
        return
    x, y, _ = _buffers(LARGE)
    rounds = max(7, show.rounds // 2)
    if show.wants(into):
        contenders = {"fastact": Contender("f(x, out=y)", {"f": fastact.get(name), "x": x, "y": y})}
        if show.torch:
            torch = peers._torch()
            names = {"torch": torch, "x": torch.from_numpy(x), "y": torch.from_numpy(y)}
            contenders["torch"] = Contender("torch.clamp_min(x, 0, out=y)", names, f"torch.set_num_threads({fastact.get_num_threads()})")
        measure = functools.partial(show.alternate, contenders, rounds)
        show.add(
            into, ">= 1.25", measure() if show.torch else None, "torch", "fastact", "torch is not installed", least=1.25, again=measure
        )
    if show.wants(fresh):
        names = {"f": fastact.get(name), "np": np, "x": x}
        contenders = {"fastact": Contender("r = f(x)", names), "np.maximum": Contender("r = np.maximum(x, 0)", names)}
        measure = functools.partial(show.alternate, contenders, rounds)
        show.add(fresh, ">= 1.5", measure(), "np.maximum", "fastact", least=1.5, again=measure)


def main():
    """Measure, print, write, and say by the exit code whether everything holds."""
    example = "example: python bench/shows.py --only torch -o shows.json"
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=example)
    options.add_argument("--rounds", type=int, default=21, metavar="N", help="how often the contenders take turns (default: 21)")
    options.add_argument("--only", default="", metavar="TEXT", help="only the claims with this in their text")
    options.add_argument("-o", "--output", metavar="FILE", help="write JSON there")
    options = options.parse_args()
    busy = _busy()
    show, start = Show(options.rounds, options.only), time.perf_counter()
    for part in (
        overhead,
        imports,
        bound_by_memory,
        throughput,
        precisions,
        saturated,
        along_an_axis,
        gated,
        fused,
        own_activations,
        large,
    ):
        part(show)
    counts = {verdict: sum(row["verdict"] == verdict for row in show.rows) for verdict in ("pass", "FAIL", "unsteady", "not measured")}
    print()
    print(plain_table(["verdict", "claim", "wanted", "measured", "times"], [_cells(row) for row in show.rows]))
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    print(f"\n{summary}; {time.perf_counter() - start:.0f} s, {fastact.get_num_threads()} threads")
    if busy > 0.2:
        print(f"Other programs kept {busy:.1f} processors busy at the start: figures that need all threads mean little.")
    if options.output:
        report = {"environment": environment(), "processors_busy_before": busy, "rounds": options.rounds, "claims": show.rows}
        pathlib.Path(options.output).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if counts["FAIL"] else 0


def _busy(seconds=1.0):
    """Measure how many processors other programs keep busy; 0 where the system does not say."""
    try:
        before = _jiffies()
        time.sleep(seconds)
        after = _jiffies()
    except OSError:
        return 0.0
    return round((after - before) / os.sysconf("SC_CLK_TCK") / seconds, 2)


def _jiffies():
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()
    return sum(map(int, fields[1:4])) + sum(map(int, fields[6:9]))


def _cells(row):
    spent = ", ".join(f"{name} {duration(row['seconds'][name])}" for name in row["compared"]) if "seconds" in row else ""
    return row["verdict"], row["claim"], row["wanted"], row["measured"], spent


if __name__ == "__main__":
    sys.exit(main())
