"""The command line: ``python -m fastact COMMAND``.

What a command finds goes to standard output, as text or with ``--json`` as JSON; progress goes to standard error. rich draws both where it
is installed and somebody is watching; nothing needs it.
"""

import argparse
import contextlib
import difflib
import json
import os
import pathlib
import sys
import time

import numpy as np

from . import __version__, callables, catalog, dispatch, settings
from .backends import cython, numba

PROGRAM = f"python -m {__package__}"  # a vendored copy has another name
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Failure(Exception):
    """Something went wrong that the message explains to a person; the exit code says what kind it is."""

    def __init__(self, message, code=FAILED):
        super().__init__(message)
        self.code = code


# --- What a terminal shows -----------------------------------------------------------------------------------------------


def _rich(stream):
    """The package rich, where it is installed and `stream` is a terminal; else None."""
    if not stream.isatty():
        return None
    try:
        import rich
    except ImportError:
        return None
    return rich


@contextlib.contextmanager
def progress(title):
    """Show progress on standard error; gives a function ``(done, total, what="")``."""
    if _rich(sys.stderr):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        words, what = TextColumn("{task.description}"), TextColumn("{task.fields[what]}")
        with Progress(
            words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), what, console=Console(stderr=True), transient=True
        ) as bar:
            task = bar.add_task(title, total=None, what="")
            yield lambda done, total, what="": bar.update(task, completed=done, total=total, what=what)
    else:
        last = [time.monotonic()]

        def show(done, total, what=""):
            # A line now and then: in a log, nobody wants hundreds.
            if time.monotonic() - last[0] > 10:
                last[0] = time.monotonic()
                print(f"{title}: {done} of {total} {what}".rstrip(), file=sys.stderr, flush=True)

        yield show


def show_table(header, rows, title=""):
    """Print a table."""
    from . import bench

    if _rich(sys.stdout):
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(*header, box=box.SIMPLE_HEAD, padding=0, show_edge=False, title=title or None, title_justify="left", title_style="")
        for column, name in zip(table.columns, header, strict=True):
            column.no_wrap = len(name) < 15  # prose may wrap, names and figures may not
            if name[:1].isdigit():
                column.justify = "right"
        for row in rows:
            table.add_row(*map(str, row))
        Console().print(table)
    else:
        if title:
            print(title)
        print(bench.plain_table(header, rows))


def show_json(value):
    print(json.dumps(value, indent=1, ensure_ascii=False))


def show_pairs(pairs):
    width = max(map(len, pairs))
    for name, value in pairs.items():
        print(f"{name.ljust(width)}  {value}")


def writable(path):
    """The path of a file that is to be written; says before anything is computed that it can't be."""
    path = pathlib.Path(path)
    folder = path.parent
    if path.is_dir():
        raise Failure(f"{path} can't be written: it is a folder")
    if not folder.is_dir():
        raise Failure(f"{path} can't be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise Failure(f"{path} can't be written: permission denied")
    return path


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} can't be made: {error.strerror or error}") from None


def write(path, text):
    try:
        pathlib.Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{path} can't be written: {error.strerror or error}") from None


# --- Commands ------------------------------------------------------------------------------------------------------------


def demo(options):
    """Train a network NumPy's way and fastact's, run the short benchmark, and write the report page."""
    from . import bench, report
    from . import demo as network

    _choose_files(options)
    try:
        with progress("training") as show:
            comparison = network.compare(epochs=options.epochs, progress=show)
    except ImportError as error:
        raise Failure(str(error)) from None
    if not options.json:
        print(comparison, end="\n\n", flush=True)
    with progress("benchmark") as show:
        found = bench.run(network.MEASURED, rounds=options.rounds, progress=show)
    found["training"] = report.training_record(comparison)
    _publish(options, found)


_TABLE_TITLE = "Time of a call of fastact, by number of elements, and how many times as fast that is as NumPy's way:"


def bench_command(options):
    """Measure every activation against NumPy's way: a table, a JSON file and an HTML page."""
    from . import bench

    _choose_files(options)
    with progress("benchmark") as show:
        found = bench.run(_known(options.names), rounds=options.rounds, progress=show)
    _publish(options, found)


def _publish(options, found):
    from . import bench

    _write_report(options, found)
    if options.json:
        show_json(found)
        return
    show_table(*bench.table(found), title=_TABLE_TITLE)
    _say_where(options)


def _choose_files(options):
    """Where the page and its figures go."""
    stem = pathlib.Path(options.output)
    if stem.suffix in (".html", ".json"):
        stem = stem.with_suffix("")
    options.files = [writable(stem.with_name(stem.name + suffix)) for suffix in (".html", ".json")]


def _write_report(options, found):
    from . import report

    write(options.files[0], report.page(found))
    write(options.files[1], json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _say_where(options):
    print(f"\nThe report page is {options.files[0].resolve()},\nits figures are in   {options.files[1].resolve()}")


def report_command(options):
    """Draw the report page from the JSON of a benchmark."""
    from . import report

    try:
        found = json.loads(sys.stdin.read() if options.file == "-" else pathlib.Path(options.file).read_text(encoding="utf-8"))
        page = report.page(found)
    except OSError as error:
        raise Failure(f"{options.file} can't be read: {error.strerror or error}") from None
    except ValueError as error:
        raise Failure(f"{options.file} is no JSON ({error})") from None
    except (KeyError, TypeError, AttributeError) as error:
        missing = f": {error} is missing" if isinstance(error, KeyError) else ""
        raise Failure(f"{options.file} is not the JSON of `{PROGRAM} bench`{missing}") from None
    if options.output == "-":
        print(page, end="")
    else:
        write(writable(options.output), page)
        print(f"The report page is {pathlib.Path(options.output).resolve()}")


def tune(options):
    """Measure the tuning table for this machine: takes a minute, and ten where Numba has to compile its kernels first."""
    from . import tune as tuning

    if options.shipped and options.output:
        raise Failure("give --shipped or -o FILE, not both", USAGE)
    shipped = pathlib.Path(__file__).with_name("tuning.json")
    path = shipped if options.shipped else pathlib.Path(options.output or settings.cache_folder() / "tuning.json")
    if str(path) != "-":
        if not options.output and not options.shipped:
            _make_folder(path.parent)
        writable(path)
    try:
        with progress("tuning") as show:
            table = tuning.measure(show, machine=not options.shipped)
    except RuntimeError as error:
        raise Failure(str(error)) from None
    if str(path) == "-":
        print(tuning.dumps(table), end="")
        return
    write(path, tuning.dumps(table))
    if options.json:
        show_json(table)
        return
    print(f"The tuning table is {path.resolve()}")
    if options.output:
        print(f"It is used when FASTACT_TUNING={path} is set.")
    else:
        print("It is used from the next start of Python on.")


def info(options):
    """Say what is installed and set: what a bug report needs."""
    from . import bench

    variables = {name: value for name, value in os.environ.items() if name.startswith("FASTACT_") and value}
    mistakes = {name: str(error) for name, error in dispatch.mistakes().items()}
    build = "FASTACT_" + "BUILD_"  # what setup.py looks at
    mistakes |= {name: _no_variable(name) for name in variables if name not in settings.VARIABLES and not name.startswith(build)}
    for name in mistakes:
        os.environ.pop(name, None)  # for the rest of what is asked here
    there = bench.environment()
    table = dispatch.tuning()
    folder = settings.cache_folder()
    files = [f for f in folder.rglob("*") if f.is_file()] if folder.is_dir() else []
    there |= {
        "levels_supported": cython.levels() if cython.frontend is not None else [],
        "extension_missing": cython.missing,
        "backends": [name for name, backend in dispatch.BACKENDS.items() if backend.available()],
        "activations": len(catalog.records()),
        "cache_folder": str(folder),
        "cache_files": len(files),
        "cache_bytes": sum(f.stat().st_size for f in files),
        "tuning_table": table["source"],
        "tuning_measured_on": table.get("processor"),
        "environment_variables": variables,
        "environment_mistakes": mistakes,
    }
    if cython.frontend is not None:
        there["thread_hot_ns"], there["thread_cold_ns"] = hot, cold = cython.frontend.get_thresholds_ns()
        there["spin_us"], there["stream_bytes"] = cython.frontend.get_spin_us(), cython.frontend.get_stream_bytes()
    if options.json:
        show_json(there)
        return
    versions = there.pop("versions")
    pairs = {name: version or "not installed" for name, version in versions.items()}
    pairs["processor"] = f"{there['processor']}, {there['processors_usable']} usable"
    pairs["system"] = there["system"]
    pairs["extension"] = f"kernels for {there['instruction_set']}" if there["extension"] else f"not there ({there['extension_missing']})"
    if there["levels_supported"]:
        pairs["extension"] += f" (the processor supports {', '.join(there['levels_supported'])})"
    pairs["backends"] = f"{', '.join(there['backends'])}; set: {there['backend']}"
    pairs["threads"] = f"at most {there['threads']}"
    if cython.frontend is not None:
        pairs["threads"] += f"; from {hot / 1e3:.3g} µs of work on, from {cold / 1e3:.3g} µs if a thread must be woken"
        pairs["threads"] += f"; an idle one waits actively for {there['spin_us']:.3g} µs"
        limit = there["stream_bytes"] / 2**20
        pairs["streaming"] = f"outputs above {limit:.4g} MiB go around the cache" if limit else "off"
    measured = f", measured on {there['tuning_measured_on']}" if there["tuning_measured_on"] else ""
    pairs["tuning table"] = there["tuning_table"] + measured
    pairs["cache"] = f"{there['cache_folder']}: {there['cache_files']} files, {there['cache_bytes'] / 1e6:.3g} MB"
    pairs["variables"] = ", ".join(f"{k}={v}" for k, v in variables.items()) or "none of FASTACT_* is set"
    show_pairs(pairs)
    for text in dict.fromkeys(mistakes.values()):
        print(f"wrong: {text}")


def _no_variable(name):
    close = difflib.get_close_matches(name, settings.VARIABLES, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(settings.VARIABLES)}"
    return f"{name}: there is no such variable; {hint}"


def list_command(options):
    """List the activations."""
    rows = [
        {
            "name": r.name,
            "parameters": {p.name: p.default for p in r.parameters},
            "aliases": list(r.aliases),
            "definition": r.definition,
            "summary": r.summary,
        }
        for r in catalog.records().values()
    ]
    if options.json:
        show_json(rows)
        return
    show_table(
        ["name", "parameters", "also known as", "what it computes"],
        [
            (row["name"], ", ".join(f"{k}={v:g}" for k, v in row["parameters"].items()), ", ".join(row["aliases"]), row["summary"])
            for row in rows
        ],
    )


def explain(options):
    """Say which kernel would serve a call, and why."""
    [name] = _known([options.name])
    try:
        x = np.zeros(options.size, _dtype(options.dtype))
    except (ValueError, MemoryError):
        raise Failure(f"argument --size: there is no room for an array of {options.size:,} elements", USAGE) from None
    try:
        found = dispatch.explain(name, x, mode=options.mode, accuracy=options.accuracy)
    except ValueError as error:
        raise Failure(str(error), USAGE) from None
    if options.json:
        show_json(found._asdict())
    else:
        print(found)


def _dtype(name):
    """A dtype by its name; NumPy knows bfloat16 only by ml_dtypes."""
    if name == "bfloat16":
        try:
            import ml_dtypes  # noqa: F401
        except ImportError:
            raise Failure("bfloat16 needs ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(name)


def warmup(options):
    """Compile what a hot loop will need, and cache it on disk."""
    if options.backend and not numba.available():
        raise Failure("Numba is not installed here: pip install numba")
    names = _known(options.names) or list(catalog.records())
    start, ready = time.perf_counter(), 0
    with progress("compiling") as show:
        for done, name in enumerate(names):
            show(done, len(names), name)
            ready += callables.warmup(name, dtype=options.dtype, mode=options.mode, backend=options.backend)
    seconds = time.perf_counter() - start
    if options.json:
        show_json({"kernels": ready, "seconds": round(seconds, 3), "cache_folder": str(settings.cache_folder())})
    elif ready:
        print(f"{ready} kernels are ready after {seconds:.1f} s, and cached in {settings.cache_folder()}")
    else:
        print(f"Nothing was compiled: {_why_nothing()}.")


def _why_nothing():
    setting = dispatch.get_backend()
    if setting == "numpy":
        return "the backend that is set is numpy"
    if cython.available():
        return "every call has a compiled kernel" + (" that is at least as fast" if numba.available() and setting == "auto" else "")
    return "neither the extension nor Numba is installed, so that calls run over NumPy"


def plot(options):
    """Draw activations and their derivatives into a file (png, svg, pdf)."""
    from . import plotting

    names = _known(options.names)
    path = writable(options.output)
    if not path.suffix:
        path = writable(path.with_name(f"{path.name}.png"))  # as matplotlib would name it
    try:
        plotting.needs_matplotlib().switch_backend("agg")
        plotting.plot(*names, span=options.span, derivative=not options.value_only, dark=options.dark, path=path)
    except OSError as error:
        raise Failure(f"{path} can't be written: {error.strerror or error}") from None
    except (ImportError, ValueError) as error:
        raise Failure(str(error)) from None
    print(f"The picture is {path.resolve()}")


def check(options):
    """Look activations over: derivative, kinks, tails, special values, accuracy. Fails if something is wrong."""
    from . import checking

    names = _known(options.names) or list(catalog.records())
    reports = []
    with progress("checking") as show:
        for done, name in enumerate(names):
            show(done, len(names), name)
            reports.append(checking.check(name))
            if not options.json:
                print(reports[-1], flush=True)
    if options.json:
        show_json([report.as_dict() for report in reports])
    failed = [report.name for report in reports if not report.passed]
    if failed:
        raise Failure(f"{', '.join(failed)}: something is wrong")


def vendor(options):
    """Copy the package into another project, under another name if you like; the copy needs NumPy alone, and uses Numba where it is."""
    from . import vendoring

    try:
        found = vendoring.vendor(options.folder, options.name, sources=options.sources, replace=options.replace)
    except ValueError as error:
        raise Failure(str(error), USAGE) from None
    except OSError as error:
        raise Failure(str(error)) from None
    if options.json:
        show_json(found)
        return
    print(
        f"fastact {found['version']} is in {found['folder']}: {len(found['files'])} files, {found['bytes'] / 1e6:.2g} MB, with its licence."
    )
    print(f"Import it from there, as in `from . import {options.name}`. It has no compiled extension: it runs over Numba, or else NumPy.")
    if options.sources:
        print(
            "The extension's sources are in _cy: generate.py and generate_rows.py write what Cython compiles; setup.py of fastact shows how."
        )


def completion(options):
    """Print a script that completes commands, options and names in a shell."""
    from . import completion as made

    print(made.script(options.shell, parser(), [*catalog.records(), *catalog.aliases()]), end="")


def _known(names):
    for name in names or ():
        try:
            catalog.find(name)
        except LookupError as error:
            raise Failure(str(error).replace("fastact.names()", f"`{PROGRAM} list`"), USAGE) from None
    return [catalog.find(name).name for name in names] if names else None


# --- Arguments -----------------------------------------------------------------------------------------------------------


def _size(text):
    plain = text.replace(",", "").replace("_", "")
    try:
        n = float(plain)
        n = int(n) if "e" in plain.lower() and n.is_integer() else int(plain)
    except ValueError:
        n = -1
    if n < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of elements: give an integer, such as 1,000,000 or 1e6")
    return n


def count(text):
    """A number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _width(text):
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0 < width < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a width above 0 and below 1,000,000")
    return width


def parser():
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog=PROGRAM, description="Activation functions on NumPy arrays: measure them, tune them, ask about them.",
        epilog=f"examples:\n  {PROGRAM} info\n  {PROGRAM} explain gelu --size 1,000,000\n  {PROGRAM} bench relu gelu\n\n"
        f"{PROGRAM} COMMAND --help says more about a command.\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"fastact {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modes = [m for m in catalog.MODES if m != "backward_from_output"]

    def command(name, function, *examples, as_json=True):
        made = commands.add_parser(
            name, help=(function.__doc__ or "").split("\n")[0], description=function.__doc__,
            epilog="\n  ".join(["examples:" if len(examples) > 1 else "example:", *[f"{PROGRAM} {example}" for example in examples]]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(function=function)
        if as_json:
            made.add_argument("--json", action="store_true", help="print JSON instead of text")
        return made

    def names(made, what):
        made.add_argument("names", nargs="*", metavar="NAME", help=f"activations to {what}; all if none is given")

    def output(made, default):
        says = f"where the page goes, and beside it the JSON (default: {default})"
        made.add_argument("-o", "--output", metavar="FILE", default=default, help=says)

    def rounds(made, default):
        says = f"how often the contenders take turns (default: {default})"
        made.add_argument("--rounds", type=count, default=default, metavar="N", help=says)

    made = command("demo", demo, "demo -o report.html")
    output(made, "fastact-report.html")
    made.add_argument("--epochs", type=count, default=150, metavar="N", help="how often the network sees each image (default: 150)")
    rounds(made, 5)

    made = command("bench", bench_command, "bench relu gelu -o bench.html", "bench --json")
    names(made, "measure")
    output(made, "fastact-bench.html")
    rounds(made, 7)

    made = command("report", report_command, "report fastact-bench.json -o page.html", as_json=False)
    made.add_argument("file", metavar="FILE", help="the JSON of a benchmark; - reads standard input")
    says = "where the page goes; - prints it (default: fastact-report.html)"
    made.add_argument("-o", "--output", metavar="FILE", default="fastact-report.html", help=says)

    made = command("tune", tune, "tune", "tune -o table.json")
    says = "where the table goes; - prints it (default: tuning.json in the cache folder)"
    made.add_argument("-o", "--output", metavar="FILE", help=says)
    says = "rewrite the table that the package ships, without what belongs to one machine"
    made.add_argument("--shipped", action="store_true", help=says)

    command("info", info, "info", "info --json")
    command("list", list_command, "list", "list --json")

    made = command("explain", explain, "explain gelu --mode value_and_grad --size 1,000,000", "explain relu --dtype float16 --json")
    made.add_argument("name", metavar="NAME", help="an activation")
    made.add_argument("--mode", choices=modes, default="value", help="what is computed (default: value)")
    made.add_argument("--dtype", choices=catalog.HELD, default="float32", help="of the argument (default: float32)")
    made.add_argument("--size", type=_size, default=32_768, metavar="N", help="number of elements (default: 32,768)")
    made.add_argument("--accuracy", choices=catalog.ACCURACIES, help="as the call's argument (default: what is set)")

    made = command("plot", plot, "plot gelu silu -o curves.png", as_json=False)
    made.add_argument("names", nargs="+", metavar="NAME", help="activations to draw")
    made.add_argument(
        "-o", "--output", metavar="FILE", default="fastact-plot.png", help="where the picture goes (default: fastact-plot.png)"
    )
    made.add_argument("--span", type=_width, metavar="X", help="draw from -X to X (default: 6, or what the kinks need)")
    made.add_argument("--value-only", action="store_true", help="leave the derivatives out")
    made.add_argument("--dark", action="store_true", help="draw on black")

    made = command("check", check, "check gelu silu", "check --json")
    names(made, "check")

    made = command("warmup", warmup, "warmup gelu silu --dtype float32", "warmup --backend numba")
    names(made, "compile")
    made.add_argument("--mode", choices=modes, help="only this mode")
    made.add_argument("--dtype", choices=catalog.HELD, help="only this dtype")
    made.add_argument("--backend", choices=["numba"], help="compile for Numba whatever would be chosen")

    made = command("vendor", vendor, "vendor src/project", "vendor src/project --name _activations --replace")
    made.add_argument("folder", metavar="DEST", help="the folder that gets the copy: usually a package of the other project")
    made.add_argument("--name", metavar="MODULE", default="fastact", help="what the copy is called (default: fastact)")
    made.add_argument("--sources", action="store_true", help="copy the extension's sources too, for a project that compiles them itself")
    made.add_argument("--replace", action="store_true", help="replace an earlier copy")

    # What is completed is the installed command: a shell completes no `python -m`.
    made = command("completion", completion, "completion bash", as_json=False)
    made.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish: the script says where it goes")
    return top


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process if not given.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal of few characters gets ? for the others
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    mistakes = dispatch.mistakes()
    if mistakes and options.function is not info:  # which says it among the rest
        for text in dict.fromkeys(map(str, mistakes.values())):
            print(f"{PROGRAM}: {text}", file=sys.stderr)
        return USAGE
    try:
        options.function(options)
    except Failure as failure:
        print(f"{PROGRAM}: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (head, less); nothing may be written at exit either.
        sys.stdout = None
        return OK
    return OK
