"""Gated units, bias and gradients of parameters against torch, unfused where it has nothing fused, and against NumPy's way.

``pytest bench/test_gated.py``; with ``--large`` for 16 M elements too. Threads as fastact has them, results into given arrays where
a contender takes them.
"""

import functools
import importlib.util

import numpy as np
import pytest

import fastact
from conftest import SIZES

CHANNELS = 1024
TORCH = importlib.util.find_spec("torch") is not None


@functools.cache
def arrays(size):
    rng = np.random.default_rng(0)
    shape = (size // CHANNELS, CHANNELS)
    value, gate, grad = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    return {
        "value": value, "gate": gate, "grad": grad, "x": np.concatenate([value, gate], -1), "b": rng.normal(size=CHANNELS).astype(np.float32),
        "w": np.full(CHANNELS, 0.25, np.float32), "y": np.ones_like(value), "dy": np.ones_like(value), "dx": np.ones((shape[0], 2 * CHANNELS), np.float32), "db": np.ones(CHANNELS, np.float32),
        "mask": rng.random(shape) < 0.9,
    }  # fmt: skip


# By case: fastact's way, torch's, and NumPy's.
CASES = {
    "swiglu": ("f.swiglu(value, gate, out=y)", "F.silu(gate) * value", "gate / (1 + np.exp(-gate)) * value"),
    "swiglu of halves": ("f.swiglu(x, out=y)", "F.silu(x[:, 1024:]) * x[:, :1024]", "x[:, 1024:] / (1 + np.exp(-x[:, 1024:])) * x[:, :1024]"),
    "swiglu backward": (
        "f.swiglu.backward(grad, value, gate, out=(y, dy))",
        "grad * F.silu(gate), a.silu_backward(grad * value, gate)",
        "s = 1 / (1 + np.exp(-gate)); grad * gate * s, grad * value * (s + gate * s * (1 - s))",
    ),
    "geglu": ("f.geglu(value, gate, out=y)", "F.gelu(gate) * value", "gate * (0.5 * (1 + erf(gate / 2**0.5))) * value"),
    "geglu backward": (
        "f.geglu.backward(grad, value, gate, out=(y, dy))",
        "grad * F.gelu(gate), a.gelu_backward(grad * value, gate)",
        "p = 0.5 * (1 + erf(gate / 2**0.5)); grad * gate * p, grad * value * (p + gate * np.exp(-0.5 * gate * gate) * 0.3989423)",
    ),
    "glu": ("f.glu(x, out=y)", "F.glu(x, -1)", "x[:, :1024] / (1 + np.exp(-x[:, 1024:]))"),
    "glu backward": (
        "f.glu.backward(grad, x, out=dx)",
        "a.glu_backward(grad, x, -1)",
        "s = 1 / (1 + np.exp(-x[:, 1024:])); np.concatenate([grad * s, grad * x[:, :1024] * s * (1 - s)], -1)",
    ),
    "bias gelu": ("f.bias('gelu')(value, b, out=y)", "F.gelu(value + b)", "t = value + b; t * (0.5 * (1 + erf(t / 2**0.5)))"),
    "bias gelu backward": (
        "f.bias('gelu').backward(grad, value, b, out=(y, db))",
        "d = a.gelu_backward(grad, value + b); d, d.sum(0)",
        "t = value + b; d = grad * (0.5 * (1 + erf(t / 2**0.5)) + t * np.exp(-0.5 * t * t) * 0.3989423); d, d.sum(0)",
    ),
    "bias relu dropout": (
        "f.bias('relu')(value, b, mask=mask, scale=1.1, out=y)",
        "F.relu(value + b) * mask * 1.1",
        "np.maximum(value + b, 0) * mask * np.float32(1.1)",
    ),
    "prelu parameters": (
        "f.prelu.backward(grad, value, w, parameters=True, out=(y, db))",
        "dx, dw = a._prelu_kernel_backward(grad, value, w); dx, dw.sum(0)",
        "np.where(value > 0, grad, w * grad), np.where(value > 0, 0, value * grad).sum(0)",
    ),
}  # fmt: skip


def pytest_generate_tests(metafunc):
    """Every case, size and contender."""
    sizes = [n for n in metafunc.config.stash[SIZES] if n >= 32_768]
    contenders = ["fastact", *(["torch"] if TORCH else []), "numpy"]
    metafunc.parametrize(("case", "size", "contender"), [(c, n, who) for c in CASES for n in sizes for who in contenders])


def made(case, size, contender):
    """A function without arguments that does it once."""
    code = dict(zip(("fastact", "torch", "numpy"), CASES[case], strict=True))[contender]
    scope = dict(arrays(size))
    if contender == "fastact":
        scope["f"] = fastact
    elif contender == "torch":
        import torch

        torch.set_num_threads(fastact.get_num_threads())
        scope = {name: torch.from_numpy(a) for name, a in scope.items()} | {"F": torch.nn.functional, "a": torch.ops.aten}
    else:
        erf = pytest.importorskip("scipy.special").erf if "erf" in code else None
        scope |= {"np": np, "erf": erf}
    *first, last = code.split("; ")
    body = "".join(f"    {line}\n" for line in first) + f"    return {last}\n"
    exec(f"def once({', '.join(f'{name}={name}' for name in scope)}):\n{body}", scope)
    return scope["once"]


def test_pass(benchmark, case, size, contender):
    """Time one contender, after it has agreed with fastact."""
    once = made(case, size, contender)
    results, expected = once(), made(case, size, "fastact")()
    pairs = zip(results, expected, strict=True) if isinstance(expected, tuple) else [(results, expected)]
    for result, right in pairs:
        np.testing.assert_allclose(np.asarray(result), right, rtol=2e-3, atol=2e-3 * np.sqrt(size / CHANNELS))
    benchmark.group = f"{case}, {size:,} float32"
    with np.errstate(all="ignore"):
        benchmark(once)
