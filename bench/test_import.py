"""What ``import fastact`` costs, beside NumPy, which it needs."""

import subprocess
import sys

import pytest


@pytest.mark.benchmark(group="import")
@pytest.mark.parametrize("module", ["numpy", "fastact"])
def test_import(benchmark, module):
    """Time a new process that imports one module."""
    benchmark.pedantic(subprocess.run, ([sys.executable, "-c", f"import {module}"],), {"check": True}, rounds=15, warmup_rounds=2)
