"""Check that without a compiler the package installs, says so, and works.

    python3 ci/nocompiler.py

Not for Windows: there the compiler is not chosen by CC.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import environment
from environment import Environment, run, say

WORKS = """
import numpy as np
import fastact
x = np.linspace(0.1, 0.9, 7, dtype=np.float32)  # where all of them are defined
for name in fastact.names():
    y, dy = fastact.get(name).value_and_grad(x)
    assert y.dtype == dy.dtype == np.float32 and np.isfinite(y + dy).all(), name
print(fastact.explain("gelu", x))
"""


def main():
    broken = shutil.which("false")
    if broken is None:
        sys.exit("There is no command `false` to put in the place of the compiler.")
    with tempfile.TemporaryDirectory(prefix="fastact-") as folder:
        sources = environment.copy_sources(Path(folder, "sources"))
        venv = Environment(Path(folder, "venv"))
        say(f"Installing with CC={broken}")
        without = environment.clean(CC=broken, CXX=broken)
        said = venv.pip("install", "--verbose", sources, env=without, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        lines = [line.strip() for line in said.splitlines() if "fastact: " in line and "without" in line]
        print(*[line.partition(" (")[0] for line in lines], sep="\n")  # the command of the compiler left out
        if not lines:
            sys.exit("The build did not say that nothing was compiled.")
        if "no extension" not in venv.where():
            sys.exit("There is an extension all the same.")
        run(venv.python, "-P", "-c", WORKS, cwd=folder)
        info = run(venv.python, "-P", "-m", "fastact", "info", cwd=folder, stdout=subprocess.PIPE, text=True).stdout
        print(*[line for line in info.splitlines() if line.startswith("extension")], sep="\n")


if __name__ == "__main__":
    main()
