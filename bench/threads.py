"""How speed grows with threads: ``python bench/threads.py [names ...] [--sizes 1e6 16e6] [--threads 1 2 4 8]``.

For each activation, mode and size the numbers of threads take turns, into `out=`; the figure is the median. PyTorch's value, on the same
threads and into `out=` where it can, stands beside it if it is installed. Speed-ups end where memory does: of `copy`, which computes
nothing, they show how far that is.
"""

import argparse
import json
import os
import platform
import statistics
import time

import numpy as np

import fastact

try:
    import torch
except ImportError:
    torch = None

NAMES = ("relu", "sigmoid", "silu", "gelu", "softplus", "mish")


def contenders(name, x, y, dy):
    """The ways to time, by what they are called."""
    f = fastact.get(name)
    yield name, lambda: f(x, out=y)
    yield f"{name}, with derivative", lambda: f.value_and_grad(x, out=(y, dy))
    if torch is not None:
        given, made = torch.from_numpy(x), torch.from_numpy(y)
        own = {
            "relu": lambda: torch.clamp_min(given, 0, out=made), "sigmoid": lambda: torch.sigmoid(given, out=made),
        }  # fmt: skip
        if name in own:
            yield f"{name}, torch", own[name]
        elif hasattr(torch.nn.functional, name):
            function = getattr(torch.nn.functional, name)
            yield f"{name}, torch, new array", lambda: function(given)


def seconds(call, rounds):
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def measure(names, size, threads, repeats):
    """Medians in seconds, by contender and number of threads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(size, dtype=np.float32)
    y, dy = np.empty_like(x), np.empty_like(x)
    y.fill(0), dy.fill(0)
    ways = {"copy": lambda: fastact.identity(x, out=y)}
    for name in names:
        ways |= contenders(name, x, y, dy)
    samples = {(way, n): [] for way in ways for n in threads}
    for _ in range(repeats):
        for n in threads:
            fastact.set_num_threads(n)
            if torch is not None:
                torch.set_num_threads(n)
            for way, call in ways.items():
                seconds(call, 20)  # wakes the threads
                samples[way, n].append(seconds(call, 20))
                time.sleep(0.02 if "torch" in way else 0)  # its threads spin for a while
    return {way: {n: statistics.median(samples[way, n]) for n in threads} for way in ways}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 16e6])
    parser.add_argument("--threads", nargs="+", type=int)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", help="write the medians to this file")
    options = parser.parse_args()
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = options.threads or [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= most]
    print(f"{most} processors, {platform.machine()}; microseconds, and how many times as fast as one thread")
    found = {}
    for size in map(int, options.sizes):
        found[size] = measure(options.names, size, threads, options.repeats)
        print(f"\n{size:,} float32{'':14}" + "".join(f"{n:>18}" for n in threads))
        for way, times in found[size].items():
            print(f"{way:30}" + "".join(f"{times[n] * 1e6:11.0f} {times[threads[0]] / times[n]:6.2f}" for n in threads))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
