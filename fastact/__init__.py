"""fastact: activation functions on NumPy arrays, value and derivative in one pass.

>>> import numpy as np
>>> import fastact
>>> x = np.linspace(-2, 2, 5)
>>> y, dy = fastact.silu.value_and_grad(x)

Every activation is a callable with four modes: ``f(x)``, ``f.grad(x)``, ``f.value_and_grad(x)`` and ``f.backward(grad_output, x)``. All
take ``out=`` and whatever else a NumPy ufunc takes. `names` lists the activations, `explain` says which kernel serves a call.
`softmax`, `log_softmax` and their family work along an axis.
"""

import importlib as _importlib
import os as _os
import sys as _sys

__version__ = "0.1.0"

# What is imported when first asked for, so that an import pays for none of it, and from where. No module may have the name of a function:
# importing it would hide the function.
_LATER = {
    "explain": "dispatch", "get_accuracy": "dispatch", "get_backend": "dispatch", "get_num_threads": "dispatch", "set_accuracy": "dispatch",
    "set_backend": "dispatch", "set_num_threads": "dispatch", "use_accuracy": "dispatch", "use_backend": "dispatch",
    "get": "callables", "names": "callables", "warmup": "callables", "rrelu_training": "training", "bias": "biasing", "gated": "gating",
    "gumbel_softmax": "axis", "hardmax": "axis", "log_softmax": "axis", "logsumexp": "axis", "maxout": "axis", "softmax": "axis",
    "softmin": "axis", "sparsemax": "axis", "activation": "custom", "export": "custom", "check": "checking", "health": "monitor",
    "watch": "monitor", "plot": "plotting", "ActivationError": "errors", "ActivationWarning": "errors", "DerivativeError": "errors",
    "LinearActivationError": "errors", "UnsupportedOperationError": "errors",
}  # fmt: skip


def __getattr__(name):
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _LATER:
        found = getattr(_importlib.import_module(f".{_LATER[name]}", __name__), name)
    else:
        catalog = _importlib.import_module(".catalog", __name__)  # `from . import` would ask here for it
        if name == "__all__":
            found = [*_LATER, *catalog.gated_units(), *catalog.records()]
        elif name in catalog.gated_units():
            found = _importlib.import_module(".gating", __name__).named(name)
        else:
            try:
                record = catalog.attribute(name)
            except LookupError as error:
                try:
                    return _importlib.import_module(f".{name}", __name__)  # a module, for fastact.math.exp
                except ModuleNotFoundError as missing:
                    if missing.name != f"{__name__}.{name}":
                        raise  # the module is there, what it imports is not
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {str(error).removeprefix('name: ')}") from None
            found = __getattr__("get")(record.name)
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *__getattr__("__all__")})


if any(_os.environ.get(f"FASTACT_{name}") for name in ("ACCURACY", "BACKEND", "NUM_THREADS", "SPIN_US")):
    _importlib.import_module(".dispatch", __name__)  # what is wrong with a setting is said now

if "threadpoolctl" in _sys.modules:
    from .interop import threadpoolctl as _threadpoolctl

    _threadpoolctl.register()
