"""Kernels and ufuncs compiled just in time by Numba, from the formulas as written for Numba, cached on disk.

Each kernel is a source file of its own in the cache folder, named by a hash of its text: Numba keeps its compiled code beside it, and a
changed formula is another file, so nothing stale is ever loaded.
"""

import functools
import sys
import types

from .. import settings

name = "numba"


@functools.cache
def available():
    """Whether Numba is installed (it is not imported for the answer)."""
    import importlib.util

    return importlib.util.find_spec("numba") is not None


def _module(stem, text):
    """The generated module with this text, from the cache folder where that can be written."""
    import hashlib  # not at the top: `import fastact` would pay for it

    digest = hashlib.sha256((text + _fingerprint()).encode()).hexdigest()[:16]
    path = settings.cache_folder() / "numba" / f"{stem}_{digest}.py"
    module = types.ModuleType(f"fastact_generated_{path.stem}")
    sys.modules[module.__name__] = module  # where Numba's cache looks for it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            settings.write_atomically(path, text)
        module.cached = True
    except OSError:
        module.cached = False  # a read-only home: compile anew in each process
    module.__file__ = str(path)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


@functools.cache
def _fingerprint():
    import pkgutil  # it reads from a zip file, too

    return pkgutil.get_data(__package__, "numba_intrinsics.py").decode()


_compiled = set()


def compiled(record, mode, precision):
    """Whether a kernel is compiled in this process."""
    return (record.base, mode, record.base.precision(mode, precision)) in _compiled


@functools.cache
def kernel(record, mode, precision, varying=False):
    """Compile (or load from the cache) one kernel; returns Numba's cfunc, whose ``address`` is the kernel's.

    In a reduced precision, where that pays; otherwise in its type.
    """
    from . import numba_source

    made = record.base, mode, record.base.precision(mode, precision)
    if made != (record, mode, precision):
        return kernel(*made, varying)
    stem = f"{record.name}_{mode}_{precision}" + ("_varying" if varying else "")
    made = _module(stem, numba_source.kernel(record, mode, precision, varying)).kernel
    if not varying:
        _compiled.add((record, mode, precision))
    return made


@functools.cache
def vectorized(record, mode):
    """The function of ``numba.vectorize`` for one mode: for use inside compiled code.

    It has one output, so there is none for `value_and_grad`. The front end has ufuncs of its own: Numba's (0.68) takes its SIMD loop when
    the inputs have unit strides and does not look at the output's, so a strided ``out`` is written beyond its end.
    """
    from . import numba_source

    return getattr(_module(f"{record.name}_{mode}_ufunc", numba_source.vectorized(record, mode)), record.ufunc_name(mode))
