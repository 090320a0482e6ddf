"""fastact: activation functions on NumPy arrays, value and derivative in one pass.

>>> import numpy as np
>>> import fastact
>>> x = np.linspace(-2, 2, 5)
>>> y, dy = fastact.silu.value_and_grad(x)

Every activation is a callable with four modes: ``f(x)``, ``f.grad(x)``, ``f.value_and_grad(x)`` and ``f.backward(grad_output, x)``. All
take ``out=`` and whatever else a NumPy ufunc takes. `names` lists the activations, `explain` says which kernel serves a call.
`softmax`, `log_softmax` and their family work along an axis.
"""

import sys as _sys

from . import catalog as _catalog
from . import dispatch as _dispatch
from .dispatch import (
    explain,
    get_accuracy,
    get_backend,
    get_num_threads,
    set_accuracy,
    set_backend,
    set_num_threads,
    use_accuracy,
    use_backend,
)

__version__ = "0.1.0"

_dispatch.start()

# What is imported when first asked for, so that an import pays for none of it, and from where. No module may have the name of a function:
# importing it would hide the function.
_LATER = {
    "get": "callables", "names": "callables", "warmup": "callables", "rrelu_training": "training", "bias": "biasing", "gated": "gating",
    "gumbel_softmax": "axis", "hardmax": "axis", "log_softmax": "axis", "logsumexp": "axis", "maxout": "axis", "softmax": "axis",
    "softmin": "axis", "sparsemax": "axis", "activation": "custom", "export": "custom", "check": "checking", "health": "monitor",
    "watch": "monitor", "plot": "plotting", "ActivationError": "errors", "ActivationWarning": "errors", "DerivativeError": "errors",
    "LinearActivationError": "errors", "UnsupportedOperationError": "errors",
}  # fmt: skip
_GATED = _catalog.gated_units()

__all__ = [
    "explain", "get_accuracy", "get_backend", "get_num_threads", "set_accuracy", "set_backend", "set_num_threads", "use_accuracy",
    "use_backend", *_LATER, *_GATED, *_catalog.records(),
]  # fmt: skip


def __getattr__(name):
    import importlib

    if name == "math":  # a module, for fastact.math.exp
        return importlib.import_module(".math", __name__)
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _LATER:
        found = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    elif name in _GATED:
        found = importlib.import_module(".gating", __name__).named(name)
    else:
        try:
            record = _catalog.attribute(name)
        except LookupError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {str(error).removeprefix('name: ')}") from None
        found = __getattr__("get")(record.name)
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *__all__})


if "threadpoolctl" in _sys.modules:
    from .interop import threadpoolctl as _threadpoolctl

    _threadpoolctl.register()
