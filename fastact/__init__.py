"""fastact: activation functions on NumPy arrays, value and derivative in one pass.

>>> import numpy as np
>>> import fastact
>>> x = np.linspace(-2, 2, 5)
>>> y, dy = fastact.silu.value_and_grad(x)

Every activation is a callable with four modes: ``f(x)``, ``f.grad(x)``, ``f.value_and_grad(x)`` and ``f.backward(grad_output, x)``. All
take ``out=`` and whatever else a NumPy ufunc takes. `names` lists the activations, `explain` says which kernel serves a call.
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

_FRONT_END = ("get", "names", "rrelu_training", "warmup")

__all__ = [
    "explain", "get_accuracy", "get_backend", "get_num_threads", "set_accuracy", "set_backend", "set_num_threads", "use_accuracy",
    "use_backend", *_FRONT_END, *_catalog.records(),
]  # fmt: skip


def __getattr__(name):
    # Made when first asked for, then an ordinary attribute: an import pays for none of them.
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _FRONT_END:
        if name == "rrelu_training":
            from .training import rrelu_training as found
        else:
            from . import activation

            found = getattr(activation, name)
    else:
        try:
            record = _catalog.attribute(name)
        except LookupError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {str(error).removeprefix('name: ')}") from None
        from .activation import get

        found = get(record.name)
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *__all__})


if "threadpoolctl" in _sys.modules:
    from .interop import threadpoolctl as _threadpoolctl

    _threadpoolctl.register()
