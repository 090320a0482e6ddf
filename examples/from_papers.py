"""Activations from papers that fastact does not have, each written in one to three lines, as a user would.

    python examples/from_papers.py

Each becomes a full activation: its derivative is derived, and it runs at the speed of a built-in one of the same arithmetic, which
``bench/shows.py --only own`` measures. Any of the usual ways to write will do: NumPy's functions, those of ``math`` or of `fastact.math`,
Python's own ``if``, parameters with defaults, and the activations of the catalog.
"""

import math
import sys
import warnings

import numpy as np

import fastact
from fastact.math import erf, exp, log1p, sigmoid, sqrt, tanh, where

# By name: the function, and where it is from.
PAPERS = {
    "eswish": (lambda x, beta=1.25: beta * x * sigmoid(x), "Alcaide 2018, arXiv:1801.07145"),
    "bsilu": (lambda x, alpha=1.67: (x + alpha) * sigmoid(x) - alpha / 2, "Horuz et al. 2025, arXiv:2505.22074"),
    "elish": (lambda x: (x if x > 0 else math.expm1(x)) / (1 + math.exp(-x)), "Basirat and Roth 2018, arXiv:1808.00783"),
    "lisht": (lambda x: x * tanh(x), "Roy et al. 2019, arXiv:1901.05894"),
    "penalized_tanh": (lambda x, a=0.25: where(x > 0, tanh(x), a * tanh(x)), "Xu et al. 2016, arXiv:1602.05980"),
    "serlu": (lambda x: 1.07862 * np.where(x > 0, x, 2.90427 * x * np.exp(x)), "Zhang and Li 2018, arXiv:1807.10117"),
    "pelu": (lambda x, a=1.0, b=1.0: a / b * x if x > 0 else a * (math.exp(x / b) - 1), "Trottier et al. 2016, arXiv:1605.09332"),
    "isru": (lambda x, alpha=1.0: x / sqrt(1 + alpha * x * x), "Carlile et al. 2017, arXiv:1710.09967"),
    "isrlu": (lambda x: np.where(x < 0, x / np.sqrt(1 + x**2), x), "Carlile et al. 2017, arXiv:1710.09967"),
    "elliott": (lambda x: 0.5 * x / (1 + abs(x)) + 0.5, "Elliott 1993"),
    "gcu": (lambda x: x * np.cos(x), "Noel et al. 2021, arXiv:2108.12943"),
    "sinlu": (lambda x, a=1.0, b=1.0: (x + a * np.sin(b * x)) * sigmoid(x), "Paul et al. 2022"),
    "sqnl": (lambda x: np.select([x > 2, x >= 0, x >= -2], [1, x - x**2 / 4, x + x**2 / 4], -1), "Wuraola and Patel 2018"),
    "star_relu": (lambda x, s=0.8944, b=-0.4472: s * max(x, 0) ** 2 + b, "Yu et al. 2022, arXiv:2210.13452"),
    "nlrelu": (lambda x, beta=1.0: np.log(beta * np.maximum(x, 0) + 1), "Liu et al. 2019, arXiv:1908.03682"),
    "bent_identity": (lambda x: (sqrt(x**2 + 1) - 1) / 2 + x, ""),
    "arctan_unit": (lambda x: 2 / math.pi * np.arctan(math.pi / 2 * x), ""),
    "aranda": (lambda x, lam=2.0: 1 - (1 + lam * exp(x)) ** (-1 / lam), "Aranda-Ordaz 1981"),
    "serf": (lambda x: x * erf(log1p(exp(x))), "Nag and Bhattacharyya 2021, arXiv:2108.09598"),
    "smish": (lambda x: x * np.tanh(np.log(1 + 1 / (1 + np.exp(-x)))), "Wang et al. 2022"),
    "phish": (lambda x: x * np.tanh(fastact.gelu(x)), "Naveen 2022"),
    "tanhexp": (lambda x: x * math.tanh(math.exp(x)), "Liu and Di 2020, arXiv:2003.09855"),
    "loglogish": (lambda x: x * (1 - exp(-exp(x))), "Zhu et al. 2021"),
    "logish": (lambda x: x * np.log(1 + sigmoid(x)), "Zhu et al. 2021"),
    "gish": (lambda x: x * np.log(2 - np.exp(-np.exp(x))), "Kaytan et al. 2022"),
}


def main():
    """Make them all, and print what they are at two points; returns 1 if a derivative is not that of its function."""
    wrong = 0
    print(f"{'':15} f(-1)    f'(-1)   f(1)     f'(1)    formula")
    for name, (function, paper) in PAPERS.items():
        with warnings.catch_warnings():  # a few oscillate, and have no limit at infinity
            warnings.simplefilter("ignore", fastact.ActivationWarning)
            act = fastact.activation(function, name=name, paper=paper)
        (low, high), (left, right) = act.value_and_grad(np.array([-1.0, 1.0]))
        print(f"{name:15} {low:+.4f}  {left:+.4f}  {high:+.4f}  {right:+.4f}  {act.record.definition}")
        wrong += not fastact.check(act).passed
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
