"""Kernels by NumPy: each formula compiled to ufunc calls over blocks (`numpy_code.py`). Always there."""

import functools

import numpy as np

from .. import catalog, executor

name = "numpy"
BLOCK = 16_384  # elements: the buffers stay in the second-level cache, and a ufunc's call costs less than its loop
_PAD = 192  # bytes between buffers: loads and stores a multiple of 4096 apart wait for each other
_arenas = []  # memory that no call is using


def available():
    """Always."""
    return True


class _Arena:
    """Memory for one call at a time, and the views into it that programs used last."""

    def __init__(self, size):
        self.memory = np.empty(size, np.uint8)
        self.views = {}


class _Program:
    """The compiled code of one kernel, and where its buffers lie in an arena."""

    def __init__(self, run, buffers):
        self.run = run
        self.places, self.size = [], 0  # offset and dtype of each view
        for dtypes in buffers:
            self.places += [(self.size, np.dtype(dtype)) for dtype in dtypes]
            self.size += BLOCK * np.dtype(dtypes[0]).itemsize + _PAD

    def views(self, arena, n):
        found = arena.views.get(self)
        if found is None or found[0] != n:
            found = arena.views[self] = n, [np.ndarray(n, dtype, arena.memory, offset) for offset, dtype in self.places]
        return found[1]


@functools.cache
def kernel(record, mode, precision):
    """A kernel for the pure-Python executor: ``kernel(x, y, z, parameters)`` on contiguous or one-dimensional arrays."""
    compiled, outputs = {}, catalog.OUTPUTS.get(mode, 1)  # training: all gradients in one
    defaults = [p.default for p in record.parameters]
    real = np.dtype(precision).type

    def kind_of(p, default):
        return "real" if isinstance(p, np.ndarray) else "default" if p == default else "scalar"

    def programs(kinds):
        from . import numpy_code

        compiled[kinds] = [_Program(*made) for made in numpy_code.compiled(record, mode, precision, kinds)]
        return compiled[kinds]

    def kernel(x, y, z, parameters):
        if not x.size:
            return
        kinds = tuple([kind_of(p, default) for p, default in zip(parameters, defaults, strict=True)])
        steps = compiled.get(kinds) or programs(kinds)
        if kinds:
            with np.errstate(over="ignore"):
                parameters = [p if kind == "real" else real(p) for p, kind in zip(parameters, kinds, strict=True)]
        try:
            arena = _arenas.pop()
        except IndexError:
            arena = _Arena(0)
        size = max([step.size for step in steps])
        if arena.memory.size < size:
            arena = _Arena(size)
        n = x.size
        if x.ndim != 1:
            x, y, z = x.reshape(-1), y.reshape(-1), z if z is None else z.reshape(-1)
        with np.errstate(all="ignore"):
            if n <= BLOCK:
                _run(steps, arena, n, x, y, z, parameters, outputs)
            else:
                varying = "real" in kinds
                for start in range(0, n, BLOCK):
                    part = slice(start, start + BLOCK)
                    values = [p[part] if isinstance(p, np.ndarray) else p for p in parameters] if varying else parameters
                    _run(steps, arena, min(BLOCK, n - start), x[part], y[part], None if z is None else z[part], values, outputs)
        _arenas.append(arena)

    return kernel


def _run(steps, arena, n, x, y, z, parameters, outputs):
    # In one piece, and apart: backwards in memory, or over its input, NumPy's exp and the like give other last bits.
    arrays = [a if a is None or a.flags.c_contiguous else np.ascontiguousarray(a) for a in (x, y, z)]
    if any(a is not None and not executor.apart(arrays[0], a) for a in arrays[1:]):
        arrays[0] = arrays[0].copy()
    for step in steps:
        if not step.run(*arrays, parameters, step.views(arena, n)):
            break
    for a, whole in zip((y, z)[:outputs], arrays[1:], strict=False):  # where there is one, z is a gradient that was read
        if whole is not a:
            a[...] = whole
