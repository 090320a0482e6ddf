"""Fixtures. Everything that says what there is to test comes from the catalog, by `support`."""

import os
import pathlib
import zlib

# Before fastact is imported: a setting of the shell or a tuning table of the user is not what is tested here.
for _name in ("FASTACT_BACKEND", "FASTACT_ACCURACY", "FASTACT_NUM_THREADS", "FASTACT_SPIN_US"):
    os.environ.pop(_name, None)
if "FASTACT_TUNING" not in os.environ:
    import importlib.util

    os.environ["FASTACT_TUNING"] = str(pathlib.Path(importlib.util.find_spec("fastact").origin).with_name("tuning.json"))

import pytest  # noqa: E402
import support  # noqa: E402

import fastact  # noqa: E402
from fastact.backends import cython  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--share", metavar="I/N", help="of the rows of parametrized tests every Nth, beginning with the Ith")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--share"):
        i, n = map(int, config.getoption("--share").split("/"))
        mine = [not hasattr(item, "callspec") or zlib.crc32(item.nodeid.encode()) % n == i - 1 for item in items]
        config.hook.pytest_deselected(items=[item for item, keep in zip(items, mine, strict=True) if not keep])
        items[:] = [item for item, keep in zip(items, mine, strict=True) if keep]


def pytest_report_header(config):
    kernels = f"extension ({', '.join(support.LEVELS)})" if support.HAS_EXTENSION else "no extension"
    return f"fastact {fastact.__version__}: {kernels}, {'Numba' if support.HAS_NUMBA else 'no Numba'}"


@pytest.fixture(autouse=True)
def settings():
    """Put back what a test sets."""
    threads = fastact.get_num_threads()
    frontend = cython.frontend
    knobs = None if frontend is None else (frontend.get_thresholds_ns(), frontend.get_stream_bytes())
    yield
    if fastact.get_backend() != "auto":
        fastact.set_backend("auto")
    if fastact.get_accuracy() != "default":
        fastact.set_accuracy("default")
    fastact.set_num_threads(threads)
    if knobs is not None:
        frontend.set_thresholds_ns(*knobs[0])
        frontend.set_stream_bytes(knobs[1])


@pytest.fixture(params=support.BACKENDS)
def backend(request):
    """Each backend in turn, set for all calls; one that is not installed is a skip."""
    if request.param not in support.AVAILABLE:
        pytest.skip(f"{request.param} is not installed")
    fastact.set_backend(request.param)
    return request.param


@pytest.fixture(params=[r.name for r in support.REPRESENTATIVES])
def record(request):
    """Each representative of the catalog in turn."""
    return support.CATALOG[request.param]


@pytest.fixture
def many_threads():
    """Threads even for small arrays, as far as the installation lets one choose."""
    fastact.set_num_threads(4)
    if cython.frontend is not None:
        cython.frontend.set_thresholds_ns(1.0, 1.0)
