"""`verify.py --same-bits`: each result to the bit, wherever its element sits, and whoever computes it.

The reference is one call over contiguous memory, on one thread, by the kernels of the best level. With it are compared the other levels
with FMA and Numba, each in a process of its own, in all layouts and places of `ways`, on one thread and on two, and streamed.
Prints how many results were compared, and how many differ.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import support

import fastact
from fastact import catalog
from fastact.backends import cython

COLUMNS = 48  # of the arrays with two dimensions


def rows(names):
    for record in [catalog.find(name) for name in names] or catalog.records().values():
        for mode in record.modes:
            for dtype in catalog.DTYPES:
                yield record, mode, dtype


def compute(record, mode, arrays):
    with support.quiet():
        return [np.asarray(y) for y in support.outputs(record, mode, arrays)]


def inputs(record, mode, dtype, count):
    x = np.concatenate([support.specials(dtype), support.sample(count, dtype)])[:count]
    return support.inputs(record, mode, x)


def compare(record, mode, arrays, expected):
    """(how many results, how many of them differ, in what the first does) over all ways, threads and blocks."""
    compared, differ, first = 0, 0, None
    for threads, stream in ((1, False), (2, False), (2, True)):
        fastact.set_num_threads(threads)
        if cython.frontend is not None:
            cython.frontend.set_thresholds_ns(1.0, 1.0)  # threads for small arrays too
            cython.frontend.set_stream_bytes(1 if stream else 1 << 60)
        for name, arrange in support.ways(COLUMNS):
            for y, e in zip(compute(record, mode, [arrange(a) for a in arrays]), expected, strict=True):
                e = np.ascontiguousarray(arrange(e), e.dtype)
                wrong = int(np.count_nonzero(support.bits(y) != support.bits(e)))
                compared, differ = compared + y.size, differ + wrong
                first = first or (f"{record.name} {mode} {e.dtype}, {name}, {threads} threads" if wrong else None)
    return compared, differ, first


def part(folder, backend, count, names):
    """One process: what it compared, as JSON."""
    fastact.set_backend(backend)
    compared, differ, first = 0, 0, None
    for i, (record, mode, _) in enumerate(rows(names)):
        with np.load(pathlib.Path(folder, f"{i}.npz")) as kept:
            arrays, expected = ([kept[k] for k in sorted(kept.files) if k.startswith(kind)] for kind in "xy")
        found = compare(record, mode, arrays, expected)
        compared, differ, first = compared + found[0], differ + found[1], first or found[2]
    print(json.dumps([compared, differ, first]))


def main(names, elements):
    levels = [level for level in support.LEVELS if level != "v2"]
    whos = [("cython", level) for level in levels] + ([("numba", "")] if support.HAS_NUMBA else [])
    if not levels:
        print("There are no compiled kernels with FMA here.")
        return 1
    fastact.set_backend("cython")
    fastact.set_num_threads(1)
    each = sum(catalog.OUTPUTS[mode] for _, mode, _ in rows(names)) * 3 * len(list(support.ways(COLUMNS))) * len(whos)
    count = max(-(-elements // each) // COLUMNS + 1, 8) * COLUMNS
    total, wrong = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for i, (record, mode, dtype) in enumerate(rows(names)):
            arrays = inputs(record, mode, dtype, count)
            results = compute(record, mode, arrays)
            arrays = {f"x{j}": a for j, a in enumerate(arrays)} | {f"y{j}": y for j, y in enumerate(results)}
            np.savez(pathlib.Path(folder, f"{i}.npz"), **arrays)
        for backend, level in whos:
            command = [sys.executable, __file__, folder, backend, str(count), *names]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **({"FASTACT_LEVEL": level} if level else {})}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            compared, differ, first = json.loads(done.stdout)
            total, wrong = total + compared, wrong + differ
            print(
                f"{backend} {level}".rstrip() + f": {compared:,} compared, {differ:,} differ" + (f"; first {first}" if first else ""),
                flush=True,
            )
    print(f"{total:,} results compared to the bit, {wrong:,} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    part(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
