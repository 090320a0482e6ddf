"""Options of the benchmark suite: run it with ``pytest bench``, choose with ``-k "gelu and float32 and value"``."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # not the checkout: its fastact/ need not be compiled


def pytest_addoption(parser):
    """Add the options that say how much to run."""
    parser.addoption("--large", action="store_true", help="16 M and 64 M elements too (some gigabytes of memory)")
    parser.addoption("--peers", default="all", help="comma-separated: torch,jax,onnxruntime,numexpr,scipy; all that are installed, or none")


def pytest_configure(config):
    """Make a benchmark short unless somebody says otherwise: there are thousands."""
    if getattr(config.option, "benchmark_max_time", None) == 1.0:
        config.option.benchmark_max_time = 0.1
        config.option.benchmark_warmup = True
        config.option.benchmark_warmup_iterations = 3
    sizes = [1, 16, 1024, 32_768, 1_048_576] + [16 * 2**20, 64 * 2**20] * config.option.large
    config.stash[SIZES] = sizes


SIZES = pytest.StashKey()
