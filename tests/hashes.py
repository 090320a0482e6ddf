"""Hashes of results to the bit, which guard them across commits and machines: tests/data/hashes.json.

One hash for each activation, mode and dtype, and of each for a part of the inputs and for all of them: the test suite takes the part,
`python ci/verify.py --hashes` all. They are those of the kernels with fma (Cython at v3 and v4, Numba); `numpy` and the level v2 round
twice where those round once, have other bits in the last places, and so hashes of their own (`numpy`, for float32: in float64 NumPy's
own exp has other last bits with AVX-512 than without; v2 has bounds only, as its compiler may be another).
"""

import functools
import hashlib
import json
import platform
from pathlib import Path

import numpy as np

import fastact
from fastact import catalog
from fastact.backends import cython, numba

PATH = Path(__file__).resolve().parent / "data" / "hashes.json"
SIZES = {"float32": (2**20, 16), "float64": (2**18, 16)}  # how many inputs, and which part of them the suite takes
KEPT = {"fma": tuple(SIZES), "numpy": ("float32",)}
HOW = "python ci/verify.py --hashes --write NAME"


@functools.cache
def inputs(dtype, part=False):
    """A fixed set of inputs: through all binades and both signs evenly, and dense in [-20, 20]; no random generator is asked."""
    count, share = SIZES[dtype]
    bits = np.dtype(dtype).itemsize * 8
    half = count // 2
    step = 2**bits // half
    number = np.arange(half, dtype=np.uint64)
    mixed = (number * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    patterns = (number * np.uint64(step) + mixed % np.uint64(step)).astype(f"u{bits // 8}").view(dtype)
    dense = ((np.arange(half, dtype=np.float64) - half / 2) * (40.0 / half) + 1e-4).astype(dtype)
    x = np.concatenate([patterns, dense])
    x[np.isnan(x)] = np.nan  # one NaN, of one payload
    return x[::share].copy() if part else x


def outputs(record, mode, x):
    """The results of one mode, one after the other; NaN as one pattern."""
    f = fastact.get(record.name)
    gradient = np.ldexp(np.where(np.arange(x.size) % 3, 1.25, -1.75), np.arange(x.size) % 9 - 4).astype(x.dtype)
    with np.errstate(all="ignore"):
        if mode == "value":
            found = (f(x),)
        elif mode == "backward":
            found = (f.backward(gradient, x),)
        elif mode == "backward_from_output":
            found = (f.backward(gradient, output=f(x)),)
        else:
            found = getattr(f, mode)(x)
            found = found if isinstance(found, tuple) else (found,)
    return [np.where(np.isnan(y), np.array(np.nan, y.dtype), y) for y in found]


def digest(record, mode, x):
    found = hashlib.sha256()
    for y in outputs(record, mode, x):
        found.update(y.astype(y.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()[:16]


def key(record, mode, dtype):
    return f"{record.name}/{mode}/{dtype}"


def of(record, mode, dtype, family="fma", whole=True):
    """The entry for one kernel: the part's hash, and the whole's."""
    found = {"part": digest(record, mode, inputs(dtype, part=True))}
    if whole and family == "fma":
        found["whole"] = digest(record, mode, inputs(dtype))
    return found


def load():
    return json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {"fma": {}, "numpy": {}}


def missing(name):
    return f"no hash is stored for {name}; if its results are right (python ci/verify.py), write it: {HOW.replace('NAME', name.partition('/')[0])}"


def family_here():
    """Which kernels this process can hash: {backend: family}."""
    found = {"numpy": "numpy"}
    if has_fma():
        found["cython"] = "fma"
    elif numba.available():
        found["numba"] = "fma"
    return found


def has_fma():
    """Whether the extension is there and its kernels for this processor round a fused product once."""
    return cython.available() and (cython.level() in ("v3", "v4") or platform.machine().lower() in ("arm64", "aarch64"))


def main(names=(), write=False):
    records = [catalog.find(name) for name in names] or list(catalog.records().values())
    stored, wrong = load(), 0
    backends = family_here()
    if write and "fma" not in backends.values():
        print("There are no kernels with fma here; hashes are written where there are.")
        return 1
    before = fastact.get_backend()
    for backend, family in backends.items():
        fastact.set_backend(backend)
        for record in records:
            for mode in record.modes:
                for dtype in KEPT[family]:
                    name = key(record, mode, dtype)
                    found = of(record, mode, dtype, family)
                    if write:
                        stored[family][name] = found
                    elif name not in stored[family]:
                        wrong += 1
                        print(missing(name))
                    elif found != stored[family][name]:
                        wrong += 1
                        print(f"{name}, {backend}: the bits are not those that are stored")
    fastact.set_backend(before)
    if write:
        lines = []
        for family, entries in stored.items():
            known = {key(r, m, d) for r in catalog.records().values() for m in r.modes for d in KEPT[family]}
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(entries.items()) if k in known)
            lines.append(f'"{family}": {{\n{rows}\n}}')
        PATH.parent.mkdir(parents=True, exist_ok=True)
        PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{PATH} is written")
    else:
        print(f"{wrong} hashes are wrong or missing" if wrong else "All bits are as stored.")
    return int(bool(wrong))
