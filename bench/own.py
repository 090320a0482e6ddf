"""Activations of one's own against built-in ones of equal arithmetic: those of ``examples/from_papers.py``."""

import functools
import pathlib
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "examples"))

from from_papers import PAPERS  # noqa: E402

import fastact  # noqa: E402

# What has the same exponentials, divisions, roots and sines. Where no single one has, the times of several are added: a strict measure
# where they are cheap, a mild one where memory counts.
BUILT_IN = {
    "eswish": ("silu",), "bsilu": ("silu",), "elish": ("sigmoid", "expm1"), "lisht": ("tanh",), "penalized_tanh": ("tanh",), "serlu": ("selu",),
    "pelu": ("celu",), "isru": ("dish",), "isrlu": ("dish",), "elliott": ("softsign",), "gcu": ("snake",), "sinlu": ("sigmoid", "snake"),
    "sqnl": ("sparse_plus",), "star_relu": ("relu_squared",), "nlrelu": ("log1p",), "bent_identity": ("squareplus",), "arctan_unit": ("softplus",),
    "aranda": ("softplus", "expm1"), "serf": ("softplus", "erf"), "smish": ("log_sigmoid", "tanh"), "phish": ("gelu", "tanh"),
    "tanhexp": ("exponential", "tanh"), "loglogish": ("exponential", "expm1"), "logish": ("log_sigmoid",), "gish": ("exponential", "expm1", "softsign"),
}  # fmt: skip


@functools.cache
def made(name):
    """One of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastact.ActivationWarning)
        return fastact.activation(PAPERS[name][0], name=name)
