"""The functions that an activation of one's own is written with: on numbers, on arrays, and inside `fastact.activation`.

NumPy's functions of the same names do as well, and those of Python's ``math``.

>>> from fastact.math import exp, where
>>> where(2.0 > 0, 2.0, exp(2.0) - 1)
array(2.)
"""

import math as _math

import numpy as _np

from . import tracing as _tracing

pi, e, inf = _math.pi, _math.e, _math.inf


def _sigmoid(x):
    from .callables import get

    return get("sigmoid")(x)


def _softplus(x):
    from .callables import get

    return get("softplus")(x)


_OWN = {
    "sigmoid": _sigmoid, "softplus": _softplus,
    "erf": _np.vectorize(_math.erf, otypes=[float]), "erfc": _np.vectorize(_math.erfc, otypes=[float]),
}  # fmt: skip


def _make(name, words):
    plain = _OWN.get(name) or getattr(_np, name)

    def function(*args):
        graph = _tracing.graph_of(args)
        return plain(*args) if graph is None else _tracing.apply(graph, name, args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = words
    return function


abs = _make("abs", "Absolute value.")
arctan = _make("arctan", "Inverse tangent.")
arcsinh = _make("arcsinh", "Inverse hyperbolic sine.")
cos = _make("cos", "Cosine.")
cosh = _make("cosh", "Hyperbolic cosine.")
erf = _make("erf", "Error function.")
erfc = _make("erfc", "1 - erf(x), with all digits where that is small.")
exp = _make("exp", "Exponential function.")
expm1 = _make("expm1", "exp(x) - 1, with all digits near 0.")
log = _make("log", "Natural logarithm.")
log1p = _make("log1p", "log(1 + x), with all digits near 0.")
maximum = _make("maximum", "The larger of two numbers.")
minimum = _make("minimum", "The smaller of two numbers.")
sigmoid = _make("sigmoid", "Logistic sigmoid, 1 / (1 + exp(-x)).")
sign = _make("sign", "-1, 0 or 1.")
sin = _make("sin", "Sine.")
sinh = _make("sinh", "Hyperbolic sine.")
softplus = _make("softplus", "log(1 + exp(x)).")
sqrt = _make("sqrt", "Square root.")
square = _make("square", "x * x.")
tan = _make("tan", "Tangent.")
tanh = _make("tanh", "Hyperbolic tangent.")
where = _make("where", "where(condition, a, b): a where the condition holds, else b.")

__all__ = [
    "abs", "arctan", "arcsinh", "cos", "cosh", "erf", "erfc", "exp", "expm1", "log", "log1p", "maximum", "minimum", "sigmoid", "sign", "sin",
    "sinh", "softplus", "sqrt", "square", "tan", "tanh", "where", "pi", "e", "inf",
]  # fmt: skip
