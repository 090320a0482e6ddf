"""What a call costs beside the work: 16 float32, where the work is a few nanoseconds."""

import numpy as np
import pytest

import fastact
from fastact import catalog
from fastact.bench import sample

X = sample(16, "float32")
Y, DY = np.empty_like(X), np.empty_like(X)


@pytest.mark.benchmark(group="overhead, out= given")
@pytest.mark.parametrize("name", list(catalog.records()))
def test_out(benchmark, name):
    """Time a call into a given array."""
    benchmark(fastact.get(name), X, out=Y)


@pytest.mark.benchmark(group="overhead, out= given")
def test_numpy_out(benchmark):
    """Time NumPy's cheapest transcendental function for comparison."""
    benchmark(np.tanh, X, out=Y)


@pytest.mark.benchmark(group="overhead, new array")
@pytest.mark.parametrize("name", list(catalog.records()))
def test_new_array(benchmark, name):
    """Time a call that allocates its result."""
    benchmark(fastact.get(name), X)


@pytest.mark.benchmark(group="overhead, new array")
def test_numpy_new_array(benchmark):
    """Time NumPy for comparison."""
    benchmark(np.tanh, X)


@pytest.mark.benchmark(group="overhead, value and derivative")
@pytest.mark.parametrize("name", list(catalog.records()))
def test_value_and_grad(benchmark, name):
    """Time both results at once, into given arrays."""
    benchmark(fastact.get(name).value_and_grad, X, out=(Y, DY))
