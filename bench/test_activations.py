"""Every activation of the catalog: function x mode x dtype x size x contender, grouped by all but the contender."""

import numpy as np
import pytest

import fastact
import peers
from conftest import SIZES
from fastact import catalog, dispatch

BACKENDS = [name for name in ("cython", "numba", "numpy") if dispatch.BACKENDS[name].available()]


def pytest_generate_tests(metafunc):
    """Make the cases: only those that exist, so nothing is skipped."""
    wanted = metafunc.config.option.peers
    theirs = peers.installed() if wanted == "all" else [] if wanted == "none" else wanted.split(",")
    cases, ids = [], []
    for record in catalog.records().values():
        for mode in (m for m in record.modes if m != "backward_from_output"):
            for dtype in catalog.DTYPES:
                contenders = [f"fastact-{backend}" for backend in BACKENDS]
                contenders += ["numpy"] * (peers.numpy_contender(peers.Case(record, mode, dtype, 1)) is not None)
                contenders += [peer for peer in theirs if peers.has(peer, record, mode, dtype)]
                for size in metafunc.config.stash[SIZES]:
                    for contender in contenders:
                        cases.append((record, mode, dtype, size, contender))
                        ids.append(f"{record.name}-{mode}-{dtype}-{size}-{contender}")
    metafunc.parametrize(("record", "mode", "dtype", "size", "contender"), cases, ids=ids)


@pytest.fixture
def contender_of():
    """Give a function that makes a contender ready to be timed, and sets the backend back afterwards."""
    before = fastact.get_backend()

    def make(case, contender):
        if not contender.startswith("fastact-"):
            return peers.numpy_contender(case) if contender == "numpy" else peers.PEERS[contender](case)
        backend = contender.removeprefix("fastact-")
        fastact.set_backend(backend)
        if backend == "numba":
            fastact.warmup(case.record.name, dtype=case.dtype, mode=case.mode, backend="numba")
        return peers.fastact_way(case)

    yield make
    fastact.set_backend(before)


def test_activation(benchmark, contender_of, record, mode, dtype, size, contender):
    """Time one contender."""
    case = peers.Case(record, mode, dtype, size)
    benchmark.group = case.group
    benchmark.extra_info.update(activation=record.name, mode=mode, dtype=dtype, size=size, contender=contender)
    with np.errstate(all="ignore"):
        benchmark(contender_of(case, contender).function())
