"""From a checkout to the result in one command, set-up included; it can be started from anywhere.

    python3 ci/run.py demo     train a network with NumPy and with fastact, and write the report page
    python3 ci/run.py test     run the tests
    python3 ci/run.py verify   a scan of the errors of all activations, at each instruction-set level (ci/verify.py has more)

The package and what it needs are installed into the virtual environment .venv of the checkout; a second run takes what is there.
What follows the command is passed on: ``python3 ci/run.py test -k gelu``, ``python3 ci/run.py demo --help``. With --fresh before
the command the virtual environment is made anew.
"""

import argparse
import shutil
import subprocess
import sys

import environment
from environment import ROOT, Environment

SCAN = ["--level", "all", "--sample", "5e5"]  # of each activation, at each level


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="make the virtual environment anew")
    parser.add_argument("command", choices=["demo", "test", "verify"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(ROOT / ".venv", ignore_errors=True)
    venv = Environment(ROOT / ".venv")
    venv.install_fastact({"demo": "examples", "test": "test", "verify": "test"}[options.command])
    venv.where()
    # The folder that a Python is started in is not searched for modules, in the tests' subprocesses either: fastact/ in the checkout
    # is not compiled.
    variables = environment.clean(PYTHONSAFEPATH="1")
    if options.command == "demo":
        command, folder = ["-m", "fastact", "demo", *options.rest], None
    elif options.command == "verify":
        command, folder = [str(ROOT / "ci" / "verify.py"), *(options.rest or SCAN)], None
    else:
        command, folder = ["-m", "pytest", "-n", "auto", *options.rest], ROOT
    environment.say(f"python {' '.join(command)}")
    sys.exit(subprocess.run([str(venv.python), *command], check=False, cwd=folder, env=variables).returncode)


if __name__ == "__main__":
    main()
