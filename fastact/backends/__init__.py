"""Backends: each makes kernels from formulas. `numba` compiles just in time, `cython` was compiled ahead, `numpy` is always there."""
