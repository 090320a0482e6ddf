"""What compiling costs: Numba's kernels, cold and from the cache on disk. Kept apart from run times, which never include it."""

import os
import subprocess
import sys

import pytest

from fastact import catalog
from fastact.backends import numba

pytestmark = pytest.mark.skipif(not numba.available(), reason="Numba is not installed")

WARMUP = "import fastact; fastact.warmup({!r}, dtype='float32', mode='value', backend='numba')"


def run(code, folder):
    """Run Python code in a new process with a cache folder of its own."""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"FASTACT_CACHE_DIR": str(folder)})


@pytest.mark.benchmark(group="compile, cold")
@pytest.mark.parametrize("name", list(catalog.records()))
def test_cold(benchmark, tmp_path_factory, name):
    """Time a new process with an empty cache: Numba's import and the compiler."""
    benchmark.pedantic(run, setup=lambda: ((WARMUP.format(name), tmp_path_factory.mktemp("cold")), {}), rounds=3)


@pytest.mark.benchmark(group="compile, cached")
@pytest.mark.parametrize("name", list(catalog.records()))
def test_cached(benchmark, tmp_path, name):
    """Time a new process whose kernel is on disk: Numba's import and a load."""
    run(WARMUP.format(name), tmp_path)
    benchmark.pedantic(run, (WARMUP.format(name), tmp_path), rounds=3)


@pytest.mark.benchmark(group="compile, cached")
def test_import_of_numba(benchmark, tmp_path):
    """Time Numba's import alone: the floor of the two others."""
    benchmark.pedantic(run, ("import numba", tmp_path), rounds=3)
