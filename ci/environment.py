"""What the scripts of this folder share: virtual environments, and saying what is done.

It is written for old Pythons too, so that it is this file, and no SyntaxError, that says that a Python is too old.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)  # as in pyproject.toml

if sys.version_info < OLDEST:
    sys.exit("fastact needs Python {}.{} or newer; this is Python {}.{} ({}).".format(*OLDEST, *sys.version_info[:2], sys.executable))

# What a build leaves behind, what git ignores: no copy takes it along.
REMAINS = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", ".benchmarks",
    "*.so", "*.pyd", "*.dylib", "kernels_*", "rows_*", "frontend.cpp", "__init__.pyi", "fastact-report*", "generated",
)  # fmt: skip


def say(text):
    """Print a step."""
    print(f"==> {text}", flush=True)


def clean(**changes):
    """This process's environment without what would lead Python elsewhere, and with these changes."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **changes}


def run(*command, **options):
    """Run a command in a clean environment; where it fails, so does the script."""
    options.setdefault("env", clean())
    done = subprocess.run([str(word) for word in command], check=False, **options)
    if done.returncode:
        if options.get("stdout"):
            print(done.stdout)
        sys.exit(f"exit code {done.returncode}: {' '.join(map(str, command))}")
    return done


class Environment:
    """A virtual environment in a folder, made when it is not there."""

    def __init__(self, folder):
        self.folder = Path(folder)
        windows = os.name == "nt"
        self.python = self.folder / ("Scripts/python.exe" if windows else "bin/python")
        self.stamp = self.folder / "fastact-installed.json"
        if self._usable():
            return
        say(f"Making the virtual environment {self.folder}")
        shutil.rmtree(self.folder, ignore_errors=True)
        done = subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=False, env=clean())
        if done.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            sys.exit(f"{sys.executable} -m venv failed. On Debian and Ubuntu the package python3-venv has what it needs.")

    def _usable(self):
        """Whether it is there, works, and is of this Python."""
        if not self.python.exists():
            return False
        done = subprocess.run([str(self.python), "-c", "import sys, pip; print(sys.version)"], check=False, capture_output=True, text=True)
        return done.stdout.strip() == sys.version

    def pip(self, *arguments, **options):
        """Run pip, quietly."""
        start = time.monotonic()
        done = run(self.python, "-m", "pip", *arguments, **options)
        print(f"    {time.monotonic() - start:.0f} s", flush=True)
        return done

    def install_fastact(self, *extras):
        """Install the checkout with these extras, unless just that is installed already."""
        sources = _fingerprint()
        before = json.loads(self.stamp.read_text()) if self.stamp.exists() else {"sources": "", "extras": []}
        if before["sources"] == sources and set(extras) <= set(before["extras"]):
            return
        wanted = sorted({*before["extras"], *extras})
        say(f"Installing fastact with its extras {', '.join(wanted)}: compiling takes some minutes")
        for left in (ROOT / "build").glob("lib*"):  # setuptools would install what an earlier build left there
            shutil.rmtree(left)
        self.pip("install", "--quiet", f"{ROOT}[{','.join(wanted)}]")
        self.stamp.write_text(json.dumps({"sources": sources, "extras": wanted}))

    def where(self):
        """Print which fastact is used, and make sure that it is the installed one, not the sources."""
        code = (
            "import fastact; from fastact.backends import cython, numba; print(fastact.__version__, fastact.__file__, "
            "f'extension: {cython.level()}' if cython.available() else 'no extension', 'Numba' if numba.available() else 'no Numba', sep='|')"
        )
        version, file, *kind = run(self.python, "-P", "-c", code, stdout=subprocess.PIPE, text=True).stdout.strip().split("|")
        say(f"fastact {version} ({', '.join(kind)}) in {Path(file).parent}")
        if self.folder.resolve() not in Path(file).resolve().parents:
            sys.exit("That is not the one in the virtual environment.")
        return kind


def _fingerprint():
    """A hash of all that the installed package is made of."""
    found = hashlib.sha256(sys.version.encode() + os.environ.get("FASTACT_BUILD_EXTENSION", "").encode())
    files = [ROOT / name for name in ("setup.py", "pyproject.toml", "README.md")]
    for folder, folders, names in os.walk(ROOT / "fastact"):
        left_out = REMAINS(folder, folders + names)
        folders[:] = [f for f in folders if f not in left_out]
        files += [Path(folder, name) for name in names if name not in left_out]
    for file in sorted(files):
        found.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return found.hexdigest()


def copy_sources(folder):
    """Copy the checkout without what builds left in it."""
    shutil.copytree(ROOT, folder, ignore=REMAINS)
    return Path(folder)
