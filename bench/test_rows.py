"""The functions along an axis: function x row length x contender, about a million float32 each, grouped by all but the contender."""

import importlib.util

import numpy as np
import pytest

import fastact

LENGTHS = (16, 64, 1000, 10_000, 100_000)
ELEMENTS = 1_000_000


def numpy_softmax(x):
    """Compute it as usually written."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def numpy_log_softmax(x):
    """Compute it as usually written."""
    d = x - x.max(axis=-1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


def contenders(n):
    """Give, by function and contender, calls without arguments; results go into arrays that are there already where there is a way."""
    x = np.random.default_rng(0).normal(size=(ELEMENTS // n, n)).astype(np.float32)
    g, y = np.random.default_rng(1).normal(size=x.shape).astype(np.float32), np.empty_like(x)
    p, log_p, one = fastact.softmax(x), fastact.log_softmax(x), np.empty(len(x), np.float32)
    found = {
        "softmax": {"fastact": lambda: fastact.softmax(x, out=y), "numpy": lambda: numpy_softmax(x)},
        "log_softmax": {"fastact": lambda: fastact.log_softmax(x, out=y), "numpy": lambda: numpy_log_softmax(x)},
        "logsumexp": {"fastact": lambda: fastact.logsumexp(x, out=one)},
        "softmax.backward": {
            "fastact": lambda: fastact.softmax.backward(g, p, out=y),
            "numpy": lambda: p * (g - (g * p).sum(axis=-1, keepdims=True)),
        },
        "log_softmax.backward": {
            "fastact": lambda: fastact.log_softmax.backward(g, log_p, out=y),
            "numpy": lambda: g - np.exp(log_p) * g.sum(axis=-1, keepdims=True),
        },
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(fastact.get_num_threads())
        aten, kind = torch.ops.aten, torch.float32
        tx, tg, ty, tp, tl, t1 = map(torch.from_numpy, (x, g, y, p, log_p, one))
        found["softmax"]["torch"] = lambda: aten._softmax.out(tx, -1, False, out=ty)
        found["log_softmax"]["torch"] = lambda: aten._log_softmax.out(tx, -1, False, out=ty)
        found["logsumexp"]["torch"] = lambda: torch.logsumexp(tx, -1, out=t1)
        found["softmax.backward"]["torch"] = lambda: aten._softmax_backward_data.out(tg, tp, -1, kind, grad_input=ty)
        found["log_softmax.backward"]["torch"] = lambda: aten._log_softmax_backward_data.out(tg, tl, -1, kind, out=ty)
    return found


_TORCH = ["torch"] * (importlib.util.find_spec("torch") is not None)
CASES = [
    (function, n, contender)
    for function in ("softmax", "log_softmax", "logsumexp", "softmax.backward", "log_softmax.backward")
    for n in LENGTHS
    for contender in ["fastact", *(["numpy"] if function != "logsumexp" else []), *_TORCH]
]


@pytest.mark.parametrize(("function", "n", "contender"), CASES)
def test_rows(benchmark, function, n, contender):
    """Time one contender."""
    benchmark.group = f"{function}, rows of {n:,}"
    benchmark(contenders(n)[function][contender])
