"""How speed grows with threads: ``python bench/threads.py [names ...] [--sizes 1e6 16e6] [--threads 1 2 4 8]``.

For each activation, mode and size the numbers of threads take turns; the figure is the median. PyTorch's fastest way to the value (into
`out=` where it has one), on the same threads, stands beside it if it is installed. Speed-ups end where memory does: of `copy`, which
computes nothing, they show how far that is.
"""

import argparse
import json
import os
import platform
import statistics

import fastact
import peers
from fastact import catalog
from fastact.bench import alternate

NAMES = ("relu", "sigmoid", "silu", "gelu", "softplus", "mish")


def ways(name, size):
    """The ways to time, by what they are called."""
    record = catalog.records().get(fastact.get(name).__name__)
    value, both = (peers.Case(record, mode, "float32", size) for mode in ("value", "value_and_grad"))
    found = {name: peers.fastact_way(value), f"{name}, with derivative": peers.fastact_way(both)}
    torch = peers.torch_way(value) if "torch" in peers.installed() else None
    return found | ({f"{name}, torch": torch} if torch else {})


def on_threads(way, n):
    """The same contender, by n threads."""
    libraries = {"fastact": fastact} | ({"torch": way.names["torch"]} if "torch" in way.names else {})
    return way._replace(names=way.names | libraries, setup="\n".join(f"{library}.set_num_threads({n})" for library in libraries))


def measure(names, size, threads, rounds):
    """Medians in seconds, by contender and number of threads."""
    found = {"copy": peers.fastact_way(peers.Case(catalog.records()["identity"], "value", "float32", size))}
    for name in names:
        found |= ways(name, size)
    samples = alternate({(way, n): on_threads(contender, n) for way, contender in found.items() for n in threads}, rounds)
    return {way: {n: statistics.median(samples[way, n]) for n in threads} for way in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 16e6])
    parser.add_argument("--threads", nargs="+", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="write the medians to this file")
    options = parser.parse_args()
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = options.threads or [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= most]
    print(f"{most} processors, {platform.machine()}; microseconds, and how many times as fast as one thread")
    found = {}
    for size in map(int, options.sizes):
        found[size] = measure(options.names, size, threads, options.rounds)
        print(f"\n{size:,} float32{'':14}" + "".join(f"{n:>18}" for n in threads))
        for way, times in found[size].items():
            print(f"{way:30}" + "".join(f"{times[n] * 1e6:11.0f} {times[threads[0]] / times[n]:6.2f}" for n in threads))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
