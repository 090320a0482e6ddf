"""Where does a peer come before fastact? Every cell of activation x mode x dtype x size against each peer: ``python bench/cells.py``.

The contenders of a cell take turns (`fastact.bench.alternate`), and a figure is the median of the ratios within the rounds. torch has the
better of one thread and of all. What looks lost, or nearly, is measured once more with three times as many rounds before it is said.
Compile time is not counted: each contender is called before.
"""

import argparse
import collections
import itertools
import json
import math
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # not the checkout: its fastact/ need not be compiled

import numpy as np  # noqa: E402

import fastact  # noqa: E402
import peers  # noqa: E402
from fastact import catalog  # noqa: E402
from fastact.bench import alternate, environment, plain_table, quartiles  # noqa: E402

SIZES = (1, 1000, 32_768, 1_048_576)
CLOSE = 1.05  # below this a cell is measured once more


def contenders(record, mode, dtype, size, theirs):
    """Give what takes part in a cell, fastact first."""
    case = peers.Case(record, mode, dtype, size)
    found = {"fastact": peers.fastact_way(case)}
    for peer in theirs:
        if not peers.has(peer, record, mode, dtype):
            continue
        way = peers.PEERS[peer](case)
        if way is not None:
            found |= peers.by_threads(way) if peer == "torch" else {peer: way}
    return found


def measure(found, rounds):
    """Give peers' times over fastact's: the median, and what is in the middle half of the rounds."""
    samples = peers.best_torch(alternate(found, rounds, 0.002, 0.002))
    return {name: quartiles(samples, name, "fastact") for name in samples if name != "fastact" and not name.startswith("torch, ")}


def rows(options):
    """Give each cell with its ratios."""
    theirs = peers.installed() if options.peers == "all" else options.peers.split(",")
    records = [fastact.get(name).record for name in options.names] or list(catalog.records().values())
    for record, dtype, mode, size in itertools.product(records, options.dtypes.split(","), options.modes.split(","), options.sizes):
        if mode not in record.modes:
            continue
        with np.errstate(all="ignore"):
            found = contenders(record, mode, dtype, size, theirs)
            if len(found) < 2:
                continue
            ratios = measure(found, options.rounds)
            if min(low for low, _, _ in ratios.values()) < CLOSE:
                ratios = measure(found, 3 * options.rounds)
        yield {"activation": record.name, "mode": mode, "dtype": dtype, "size": size, "times": {peer: r[1] for peer, r in ratios.items()}}


def main():
    """Measure, print, write, and say by the exit code whether fastact comes first everywhere."""
    example = "example: python bench/cells.py gelu --modes value,backward --sizes 1000 1000000 -o cells.json"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=example)
    parser.add_argument("names", nargs="*", metavar="activation", help="all of them if none is named")
    parser.add_argument("--modes", default=",".join(catalog.MODES))
    parser.add_argument("--dtypes", default=",".join(catalog.DTYPES))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--peers", default="all", help="some of " + ", ".join(peers.PEERS))
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("-o", "--output", metavar="FILE", help="write JSON there")
    options = parser.parse_args()
    start, cells = time.perf_counter(), []
    for cell in rows(options):
        cells.append(cell)
        times = ", ".join(f"{peer} {r:.3g}" for peer, r in cell["times"].items())
        behind = "  BEHIND" if min(cell["times"].values()) < 1 else ""
        print(f"{cell['activation']:17} {cell['mode']:21} {cell['dtype']:9} {cell['size']:11,}  {times}{behind}", flush=True)
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps({"environment": environment(), "cells": cells}, indent=1) + "\n")
    print(f"\nHow many times as fast fastact is; {time.perf_counter() - start:.0f} s, {fastact.get_num_threads()} threads\n")
    return summary(cells)


def summary(cells):
    """Print one line for each peer, dtype and size; 1 if a cell is lost."""
    groups = collections.defaultdict(list)
    for cell in cells:
        for peer, times in cell["times"].items():
            groups[peer, cell["dtype"], cell["size"]].append((times, f"{cell['activation']} {cell['mode']}"))
    table = []
    for (peer, dtype, size), found in sorted(groups.items()):
        mean = math.exp(statistics.fmean(math.log(times) for times, _ in found))
        least, where = min(found)
        table.append((peer, dtype, f"{size:,}", str(len(found)), str(sum(t < 1 for t, _ in found)), f"{mean:.3g}", f"{least:.3g}", where))
    print(plain_table(["peer", "dtype", "size", "cells", "behind", "geometric mean", "least", "where"], table))
    return int(any(min(cell["times"].values()) < 1 for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
