"""Check style, types, and that generated files are as their scripts make them.

python3 ci/lint.py
"""

import environment
from environment import ROOT, Environment, run, say


def main():
    venv = Environment(ROOT / ".venv-lint")
    say("Installing the checkers, and fastact for its stubs")
    venv.pip("install", "--quiet", "--upgrade", "ruff<1", "mypy<3", "mpmath")
    venv.pip("install", "--quiet", ROOT, env=environment.clean(FASTACT_BUILD_EXTENSION="0"))
    say("ruff check")
    run(venv.python, "-m", "ruff", "check", ROOT)
    say("ruff format --check")
    run(venv.python, "-m", "ruff", "format", "--check", ROOT)
    say("mypy: the stubs, and a use of the whole API")
    # Not in the checkout: mypy would take the sources there.
    mypy = [venv.python, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--python-executable", venv.python]
    run(*mypy, ROOT / "ci" / "typed.py", cwd=venv.folder)
    run(*mypy, "--follow-imports=silent", ROOT / "fastact" / "__init__.pyi", cwd=venv.folder)
    say("ci/coefficients.py --check")
    run(venv.python, ROOT / "ci" / "coefficients.py", "--check")
    say("ci/docs.py --check")
    run(venv.python, ROOT / "ci" / "docs.py", "--check")


if __name__ == "__main__":
    main()
