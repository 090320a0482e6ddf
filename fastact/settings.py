"""Where fastact keeps files, and what the environment says."""

import contextlib
import os
import sys

VARIABLES = {
    "FASTACT_BACKEND": "auto, cython, numba or numpy",
    "FASTACT_ACCURACY": "default or high",
    "FASTACT_NUM_THREADS": "how many threads a large array may use",
    "FASTACT_LEVEL": "the highest instruction-set level to load kernels for: v2, v3 or v4",
    "FASTACT_SPIN_US": "how long a worker waits actively for the next call, in microseconds",
    "FASTACT_CACHE_DIR": "folder for compiled kernels",
    "FASTACT_TUNING": "a tuning table to use instead of the shipped one",
}


def variable(name):
    """The value of one of `VARIABLES`, or None where it is unset or empty."""
    assert name in VARIABLES
    return os.environ.get(name) or None


def cache_folder():
    """The folder for compiled kernels and tuning tables, a `pathlib.Path`; not created here."""
    import pathlib

    chosen = variable("FASTACT_CACHE_DIR")
    if chosen:
        return pathlib.Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "fastact"


def write_atomically(path, text):
    """Write a file so that another process sees the old one or the whole new one."""
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp's own mode shuts others out
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
