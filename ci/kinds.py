"""Run the tests in the four kinds of installation: with the extension or without it, with Numba or without it.

    python3 ci/kinds.py [--keep FOLDER] [--share] [option of pytest ...]

All four must pass, and a test that every kind skips is a failure: nobody would notice what it no longer checks. (One that the machine
cannot run, such as the comparison of two instruction sets where the processor has one, says so: its reason begins with "this machine".)
The wheels are built from the source distribution, so that is checked too.

    python3 ci/kinds.py --keep FOLDER --but-one --share
    python3 ci/run.py --fresh test --junit-xml=FOLDER/extension-and-Numba.xml
    python3 ci/kinds.py --keep FOLDER --compare

does so with the installation that the README's command makes as the first kind, and with a third of the rows of parametrized tests in each of
the others, another one in each; tests without parameters run in all of them.
"""

import argparse
import collections
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

import environment
from environment import ROOT, Environment, run, say

KINDS = {
    "extension and Numba": (True, True),
    "extension only": (True, False),
    "Numba only": (False, True),
    "neither": (False, False),
}


def build(folder):
    """The wheels without and with the extension."""
    venv = Environment(folder / "builder")
    say("Building the source distribution")
    venv.pip("install", "--quiet", "build")
    sources = environment.copy_sources(folder / "sources")
    run(venv.python, "-m", "build", "--sdist", "--outdir", folder, sources, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (sdist,) = folder.glob("*.tar.gz")
    wheels = {}
    for extension in (False, True):
        say(f"Building the wheel {'with' if extension else 'without'} the extension from {sdist.name}")
        to = folder / f"wheel-{extension}"
        variables = environment.clean(FASTACT_BUILD_EXTENSION=str(int(extension)))
        venv.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", to, sdist, env=variables)
        (wheels[extension],) = to.glob("*.whl")
    return wheels


def outcomes(report):
    """What became of each test, from a report in JUnit's format."""
    found = {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        skips = [s.get("message", "") for s in case.iter("skipped") if s.get("type") != "pytest.xfail"]
        bad = [*case.iter("failure"), *case.iter("error")]
        skipped = "impossible" if any(reason.startswith("this machine") for reason in skips) else "skipped"
        found[case.get("classname"), case.get("name")] = "failed" if bad else skipped if skips else "passed"
    return found


def never_run(reports):
    """The tests that no kind runs.

    Rows of a parametrized test differ from kind to kind: one that is in every kind must run in one of them, and of each test some
    row must run somewhere.
    """
    rows, functions = collections.defaultdict(list), collections.defaultdict(list)
    for found in reports:
        for (module, name), outcome in found.items():
            rows[module, name].append(outcome)
            functions[module, name.partition("[")[0]].append(outcome)
    silent = {row for row, seen in rows.items() if len(seen) == len(reports) and set(seen) == {"skipped"}}
    return sorted(silent | {f for f, seen in functions.items() if set(seen) == {"skipped"}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="an empty or new folder to work in, which stays")
    parser.add_argument("--but-one", action="store_true", help="leave out the first kind")
    parser.add_argument("--share", action="store_true", help="in each kind other rows of parametrized tests, not all of them")
    parser.add_argument("--compare", action="store_true", help="only say which tests no kind ran, by the reports in the folder")
    options, rest = parser.parse_known_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastact-")))
        folder.mkdir(parents=True, exist_ok=True)
        if options.compare:
            sys.exit(compare([outcomes(_report(folder, kind)) for kind in KINDS]))
        sys.exit(check(folder.resolve(), list(KINDS)[options.but_one :], options.share, rest))


def compare(reports):
    """Say which tests no kind runs; 1 if there are any."""
    silent = never_run(reports)
    for module, name in silent:
        print(f"skipped in every kind: {module}::{name}")
    return int(bool(silent))


def _report(folder, kind):
    return folder / f"{kind.replace(' ', '-')}.xml"


def check(folder, kinds, share, rest):
    import tomllib  # not above: an old Python is to hear from `environment` that it is one

    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]["test"]
    wheels = build(folder)
    suite = folder / "suite"  # the tests without the sources beside them
    for part in ("tests", "examples"):  # the tests take activations from the examples
        shutil.copytree(ROOT / part, suite / part, ignore=environment.REMAINS)
    for file in ("pyproject.toml", "CONTRIBUTING.md"):  # a test reads what the latter says of imports
        shutil.copy(ROOT / file, suite)
    reports, lines, codes = [], [], []
    for number, kind in enumerate(kinds, 1):
        extension, numba = KINDS[kind]
        say(f"Installing: {kind}")
        venv = Environment(folder / kind.replace(" ", "-"))
        venv.pip("install", "--quiet", wheels[extension], *needed)
        if not numba:  # a declared dependency that is absent all the same
            run(venv.python, "-m", "pip", "uninstall", "--quiet", "--yes", "numba", "llvmlite")
        there = venv.where()
        if ("no extension" not in there, "no Numba" not in there) != (extension, numba):
            sys.exit(f"This is not the installation that was to be: {kind}")
        report, start = _report(folder, kind), time.monotonic()
        command = [venv.python, "-m", "pytest", "-n", "auto", "-q", "-r", "fE", f"--junit-xml={report}", *rest]
        command += [f"--share={number}/{len(kinds)}"] * share
        variables = environment.clean(PYTHONSAFEPATH="1", FASTACT_CACHE_DIR=str(folder / "cache" / venv.folder.name))
        codes.append(subprocess.run([str(c) for c in command], check=False, cwd=suite, env=variables).returncode)
        reports.append(outcomes(report) if report.exists() else {})
        count = collections.Counter(reports[-1].values())
        seconds = time.monotonic() - start
        lines.append(
            f"{kind:20} {count['passed']:8,} passed {count['failed']:5,} failed {count['skipped'] + count['impossible']:5,} skipped {seconds:6.0f} s"
        )
    say("The kinds")
    print(*lines, sep="\n")
    wrong = any(codes) or (len(kinds) == len(KINDS) and compare(reports))
    print("Something is wrong." if wrong else "All is well.", flush=True)
    return int(wrong)


if __name__ == "__main__":
    main()
