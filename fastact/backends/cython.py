"""Kernels compiled ahead of time: the module of the highest instruction-set level that this processor supports is loaded."""

import functools
import importlib

from .. import language, settings

name = "cython"

try:
    from .._cy import frontend
except ImportError as error:  # not compiled, or for another Python or NumPy
    frontend, missing = None, str(error)
else:
    missing = ""


def available():
    """Whether the extension is there."""
    return frontend is not None and _table() is not None


def levels():
    """The levels this processor supports, best first; FASTACT_LEVEL may cap them."""
    best = frontend.cpu_level()
    cap = settings.variable("FASTACT_LEVEL")
    if cap is not None:
        if cap not in language.LEVELS:
            raise ValueError(f"FASTACT_LEVEL: {cap!r} is not a level; give one of {', '.join(language.LEVELS)}")
        best = min(best, int(cap[1]))
    return [f"v{n}" for n in range(best, 1, -1)] or ["base"]


@functools.cache
def _table():
    for level in levels():
        try:
            module = importlib.import_module(f".._cy.kernels_{level}", __package__)
        except ImportError:
            continue
        for held, converters in module.converters().items():
            frontend.set_converters(held, *converters)
        return level, module.kernels(), module.stages()
    return None


def level():
    """The instruction-set level of the loaded kernels, or None."""
    return _table()[0] if available() else None


@functools.cache
def loaded_and_lower():
    """The level of the loaded kernels, and those below it."""
    supported = levels()
    return supported[supported.index(level()) :]


def kernel(record, mode, precision, varying=False):
    """The address of a kernel, or 0 where there is none (a user's own activation); for a reduced precision that of its type, if need be."""
    found, name = _table()[1], record.kernel_name
    return found.get((name, mode, precision, varying)) or found.get((name, mode, language.type_of(precision), varying), 0)


def converts(record, mode, precision):
    """Whether `kernel` gives one that reads and writes what memory holds: those of the reduced precisions do."""
    return precision in language.REDUCED and (record.kernel_name, mode, precision, False) in _table()[1]


@functools.cache
def rows():
    """The addresses of the row kernels and converters, as `_cy/generate_rows.py` has them; None where they are missing."""
    if not available():
        return None
    try:
        return importlib.import_module(f".._cy.rows_{level()}", __package__).kernels()
    except ImportError:
        return None


def stages():
    """The addresses of the loops that pipelines put around kernels, by (name, dtype)."""
    return _table()[2]
