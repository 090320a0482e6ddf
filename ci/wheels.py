"""Build the wheels of this platform for all Pythons, each tested, into dist/; what is built stands in pyproject.toml.

    python3 ci/wheels.py [option of cibuildwheel ...]

On Linux this needs Docker or Podman. `python3 ci/wheels.py --print-build-identifiers` lists what would be built.
"""

import sys

from environment import ROOT, Environment, run, say


def main():
    venv = Environment(ROOT / ".venv-wheels")
    say("Installing build and cibuildwheel")
    venv.pip("install", "--quiet", "--upgrade", "build", "cibuildwheel>=3")
    if not sys.argv[1:]:
        say("The source distribution")
        run(venv.python, "-m", "build", "--sdist", ROOT)
    say("The wheels")
    run(venv.python, "-m", "cibuildwheel", "--output-dir", ROOT / "dist", *sys.argv[1:], cwd=ROOT)


if __name__ == "__main__":
    main()
