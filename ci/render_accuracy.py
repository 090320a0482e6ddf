"""Render docs/accuracy.md and its plots from docs/data/accuracy.json (`verify.py --store` writes it) and docs/data/peers-accuracy.json.

`python ci/verify.py --render` calls this.
"""

import json
from pathlib import Path

import numpy as np
import series
import verify

import fastact
from fastact import catalog

FOLDER = verify.ROOT / "docs"
PLOTS = FOLDER / "accuracy"
PEERS = FOLDER / "data" / "peers-accuracy.json"
PLOTTED = (("gelu", 0), ("silu", 0), ("sigmoid", 1), ("tanh", 1))
PEER_NAMES = {"torch": "PyTorch", "jax": "JAX", "ort": "ONNX Runtime", "scipy": "SciPy", "numpy": "NumPy's way", "numexpr": "NumExpr"}
KINDS = ("value", "derivative")

INTRODUCTION = """# Accuracy

<!-- Made by `python ci/verify.py --render`. Do not edit. -->

Errors are in ULP, units in the last place of the dtype of the result: the distance of its floating-point numbers at the exact result. Where the
exact result is a subnormal number they are in units of the smallest one.

What fastact promises, and tests:

- **default**: the bounds in the tables, wherever the result is a normal number, tails included; at most 4 units where it is subnormal. Where a
  derivative goes through zero because two terms cancel, 1 ULP of the larger term.
- **`accuracy="high"`**: float32 is computed in float64 and rounded once: at most 0.51 ULP, and 4 within 1e-5 of an interior zero of a derivative.
- **float16 and bfloat16**: computed in float32 and rounded once: at most 0.502 ULP.
- One scan stands for all compiled kernels with FMA (Cython's from the instruction-set level v3, AVX2, on, and Numba's): their results are the same, in every bit.
- **The same bits**, but for the sign of NaN, at any position, stride, offset, length and number of threads; in Numba's and Cython's kernels; at each instruction-set level
  with FMA; value and derivative alone or in one pass. Plain NumPy and the level v2, without FMA, may add {extra} ULP to a bound, and have bits of their own.

The reference is no other float library. It is each activation's definition, in multiple precision by mpmath; its derivative is the
coefficient of its power series. For float32 that becomes tables of Taylor polynomials, whose error is below 1e-4 ULP of float32
(`python ci/verify.py --check-reference`), so that all 2^32 inputs can be compared. Points of
float64 are decided by ball arithmetic, which bounds its own error, where python-flint is installed. At kinks the derivative is a convention, which is not compared.
"""

BACKWARD = """`backward` was compared with `grad_output` times the derivative, rounded once, to the bit: its error is the derivative's, and that rounding's.
Here it is counted in units of the product, which may be half as large as those of the derivative, and then it is twice as many: hence the largest
derivative error of float32 beside a bound of 4.
"""


def rows_of(results, **wanted):
    """(record, mode, result) of the stored results with these parts of the key, in the catalog's order."""
    found = []
    for record in catalog.records().values():
        for mode in record.modes:
            for key, result in results.items():
                name, its_mode, dtype, target, accuracy = key.split("/")
                parts = {"dtype": dtype, "target": target, "accuracy": accuracy}
                if (name, its_mode) == (record.name, mode) and all(parts[k] == v for k, v in wanted.items()):
                    found.append((record, mode, result))
    return found


def ulp_text(spot):
    if spot is None:
        return "", ""
    return (f"{spot['ulp']:.3f}" if spot["ulp"] < 100 else f"{spot['ulp']:.3g}"), f"{spot['x']:.9g}"


def table(rows, kinds):
    """A Markdown table of results."""
    lines = [
        "| activation | mode | bound | largest error | at x | subnormal results | near its zero | inputs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record, mode, result in rows:
        for kind in kinds:
            if kind not in result:
                continue
            found = result[kind]
            largest, x = ulp_text(found["normal"])
            beyond = f" **{found['beyond']:,} beyond the bound**" if found["beyond"] else ""
            what = mode if mode != "value_and_grad" else f"{mode}: {kind}"
            scanned = result["scan"] + (f"; sampled in {', '.join(result['sampled'])}" if "sampled" in result else "")
            cells = [
                record.name,
                what,
                f"{found['bound']:g}" if found["bound"] == round(found["bound"], 2) else f"{found['bound']:.4f}",
                largest + beyond,
            ]
            lines.append("| " + " | ".join([*cells, x, ulp_text(found["subnormal"])[0], ulp_text(found["near_zero"])[0], scanned]) + " |")
    return "\n".join(lines) + "\n"


def summary(results):
    """One line for each dtype, backend, level and accuracy: the largest of all errors."""
    groups = {}
    for key, result in results.items():
        name, mode, *group = key.split("/")
        for kind in KINDS:
            if kind in result and result[kind]["normal"]:
                groups.setdefault(tuple(group), []).append((result[kind]["normal"]["ulp"], name, mode, kind, result[kind]["beyond"]))
    lines = [
        "| dtype | kernels | accuracy | scans | largest value error | largest derivative error | beyond a bound |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (dtype, target, accuracy), found in sorted(groups.items()):
        cells = []
        for kind in KINDS:
            worst = max((f for f in found if f[3] == kind), default=None)
            cells.append(f"{worst[0]:.3f} ({worst[1]}{'' if worst[2] in ('value', 'grad') else ', ' + worst[2]})" if worst else "")
        lines.append(f"| {dtype} | {target} | {accuracy} | {len(found)} | {cells[0]} | {cells[1]} | {sum(f[4] for f in found):,} |")
    return "\n".join(lines) + "\n"


def peers(results, which):
    """fastact's largest errors next to those of other libraries."""
    known = json.loads(PEERS.read_text(encoding="utf-8"))[KINDS[which]]
    by_name = {name.replace("_", ""): row for name, row in known.items()}
    mine = {
        record.name: result
        for record, _, result in shown(rows_of(results, dtype="float32", target="fma", accuracy="default"), KINDS[which])
    }
    columns = [p for p in PEER_NAMES if any(p in row for row in known.values())]
    lines = ["| | fastact | " + " | ".join(PEER_NAMES[p] for p in columns) + " |", "| --- |" + " --- |" * (len(columns) + 1)]
    for record in catalog.records().values():
        row = by_name.get(record.name.replace("_", ""))
        if row is None or record.name not in mine:
            continue
        cells = [f"**{ulp_text(mine[record.name][KINDS[which]]['normal'])[0]}**"]
        for peer in columns:
            spot = row.get(peer)
            cells.append("" if spot is None else spot["ulp"] + (f" at {spot['x']:g}" if "x" in spot else ""))
        lines.append(f"| {record.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(rows, kind):
    """Of each activation the scan to show for values or derivatives: that of both in one pass, else the mode's own."""
    found = {}
    for record, mode, result in rows:
        if kind in result and (mode == "value_and_grad" or (mode in ("value", "grad") and record.name not in found)):
            found[record.name] = record, mode, result
    return list(found.values())


def same_bits(rows):
    """A Markdown table of modes whose results were compared to the bit with those of `value_and_grad`."""
    lines = ["| activation | mode | results that differ | inputs |", "| --- | --- | --- | --- |"]
    for record, mode, result in rows:
        if "same_bits_as" in result:
            lines.append(f"| {record.name} | {mode} | {result['differ']:,} | {result['scan']} |")
    return "\n".join(lines) + "\n"


def page(results):
    target = "fma"
    parts = [INTRODUCTION.format(extra=catalog.NO_FMA_ULP), "## All scans in short\n", summary(results), BACKWARD, "## float32\n"]
    rows = rows_of(results, dtype="float32", target=target, accuracy="default")
    parts += [
        "### Values\n",
        table(shown(rows, "value"), ("value",)),
        "### Derivatives\n",
        table(shown(rows, "derivative"), ("derivative",)),
    ]
    compared = [r for r in rows if "same_bits_as" in r[2]]
    if compared:
        parts += [
            "### The other modes\n",
            "Those scans are of `value_and_grad`. `value` and `grad` were compared with it to the bit, and `backward` with `grad_output` times the "
            "derivative, rounded once.\n",
            same_bits(compared),
        ]
    others = [r for r in rows if r[1] == "backward_from_output"]
    if others:
        parts += ["`backward_from_output` is the derivative as a function of the output; x is that.\n", table(others, KINDS)]
    for title, wanted in (
        ('float32, `accuracy="high"`', {"dtype": "float32", "target": target, "accuracy": "high"}),
        ("float64", {"dtype": "float64", "target": target, "accuracy": "default"}),
        ("float16", {"dtype": "float16", "target": target, "accuracy": "default"}),
        ("bfloat16", {"dtype": "bfloat16", "target": target, "accuracy": "default"}),
    ):
        found = rows_of(results, **wanted)
        if found:
            parts += [f"## {title}\n", table(found, KINDS)]
    parts += [
        "## Other libraries\n",
        "The largest errors of float32 over all normal results, on 4 million stratified inputs, counted alike; where, after `at`. About 1.7e7 means that no "
        "bit is left, or that the result is 0.\n",
        "### Values, next to others\n", peers(results, 0), "### Derivatives, next to others\n",
        "fastact's are without the neighbourhood of a zero of the derivative (see the table above for that).\n", peers(results, 1),
    ]  # fmt: skip
    drawn = [
        f"![Error of the {KINDS[which]} of {name} over x](accuracy/{name}-{KINDS[which]}.svg)\n"
        for name, which in PLOTTED
        if (PLOTS / f"{name}-{KINDS[which]}.svg").exists()
    ]
    if drawn:
        parts += [
            "## Errors over x\n",
            "The largest error in each of 300 intervals, in float32: fastact, and the way it is usually written in NumPy.\n",
            *drawn,
        ]
    return "\n".join(parts)


def plot(name, which):
    """Errors over x as an SVG; deterministic, so that it changes only with what it shows."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "fastact", "svg.fonttype": "none"}
    import matplotlib.pyplot as plt
    import reference

    from fastact.bench import numpy_way

    record = catalog.find(name)
    mode = ("value", "grad")[which]
    low, high = (-14, 6) if which == 0 else (-20, 20)
    bins, each = 300, 400
    x = np.unique(np.linspace(low, high, bins * each, dtype=np.float32))
    order = np.argsort(x.view(np.uint32))
    near = np.empty(x.size)
    made = verify.table(name, mode, which)
    ascending = np.empty(x.size)
    verify.scan.evaluate(x.view(np.uint32)[order], x[order], *[getattr(made, f) for f in series.Table.FIELDS], ascending)
    near[order] = ascending
    mine = verify.Task(record, mode, "float32", "default", "cython")
    out = np.empty_like(x)
    mine.call(x, None, [out])
    with np.errstate(all="ignore"):
        way = numpy_way(record, mode, x)
        if way is None:
            raise ImportError(f"NumPy's way of {name} needs SciPy")
        names = dict(way.names)
        exec(way.statement, names)
        theirs = names["dy" if which else "y"]
    figure, axes = plt.subplots(figsize=(7, 2.6))
    place = np.minimum(((x - low) / (high - low) * bins).astype(int), bins - 1)
    for label, y, color in (("NumPy's way", theirs, "#c0504d"), ("fastact", out, "#1f4e79")):
        largest = np.zeros(bins)
        np.maximum.at(largest, place, reference.ulps(np.asarray(y, np.float32), near))
        axes.plot(low + (np.arange(bins) + 0.5) * (high - low) / bins, np.clip(largest, 0.05, 1e8), color=color, lw=1, label=label)
    axes.set(yscale="log", xlabel="x", ylabel="ULP", xlim=(low, high), ylim=(0.05, 2e8), title=f"{name}, {KINDS[which]}, float32")
    axes.axhline(record.ulp[which], color="0.6", lw=0.8, ls="--")
    axes.legend(frameon=False)
    figure.tight_layout()
    PLOTS.mkdir(parents=True, exist_ok=True)
    path = PLOTS / f"{name}-{KINDS[which]}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()) + "\n", encoding="utf-8")


def main():
    results = verify.load()["results"]
    if not results:
        print(f"There is no {verify.DATA}; python ci/verify.py --store writes it.")
        return 1
    fastact.set_backend("cython")
    try:
        for name, which in PLOTTED:
            plot(name, which)
    except ImportError as error:
        print(f"No plots: {error}")
    Path(FOLDER / "accuracy.md").write_text(page(results), encoding="utf-8")
    print(f"{FOLDER / 'accuracy.md'} is written")
    return 0
