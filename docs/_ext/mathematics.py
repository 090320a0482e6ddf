"""Definitions of the catalog as mathematics: the formula and its derivative, piece by piece, in LaTeX.

A definition says `abs`, `max` and `sign`, and chooses between expressions. Between two points where that choice changes it is one smooth
expression, which sympy differentiates. Every piece is compared with what fastact computes; a difference stops the build.
"""

import ast
import functools
import math

import mpmath
import numpy as np
import sympy

from fastact import catalog, formulas
from fastact.backends import numpy as backend

X = sympy.Symbol("x", real=True)
_GREEK = {
    "lambd": r"\lambda",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "mu": r"\mu",
    "sigma": r"\sigma",
    "alpha_p": r"\alpha_p",
    "alpha_n": r"\alpha_n",
}


class erfc(sympy.Function):
    """As sympy's, but left as it is written: sympy makes 2 - erfc(x) of erfc(-x)."""

    nargs = 1

    def fdiff(self, argindex=1):
        return -2 * sympy.exp(-(self.args[0] ** 2)) / sympy.sqrt(sympy.pi)

    def _latex(self, printer, exp=None):
        text = rf"\operatorname{{erfc}}\left({printer.doprint(self.args[0])}\right)"
        return text if exp is None else f"{text}^{{{exp}}}"


_CALLS = {
    "exp": sympy.exp, "expm1": lambda u: sympy.exp(u) - 1, "log": sympy.log, "log1p": lambda u: sympy.log(1 + u), "sqrt": sympy.sqrt,
    "erf": sympy.erf, "erfc": erfc, "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "sin": sympy.sin, "cos": sympy.cos,
}  # fmt: skip
_PLAIN = {name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "sinh", "cosh", "tanh", "sin", "cos", "sign")} | {
    "erf": math.erf, "erfc": math.erfc, "abs": abs, "min": min, "max": max, "pi": math.pi,
}  # fmt: skip


def symbols(record):
    """The parameters as symbols."""
    return {p.name: sympy.Symbol(p.name, positive=True) for p in record.parameters}


def latex(expression):
    """LaTeX with the names that papers use, and decimals of seven digits at most."""
    names = {s: _GREEK.get(s.name, rf"\text{{{s.name}}}" if len(s.name) > 1 else s.name) for s in expression.free_symbols}
    short = expression.xreplace({f: sympy.Float(f, 7) for f in expression.atoms(sympy.Float)})
    product = r" \, " if any("text" in name for name in names.values()) else None
    return sympy.latex(short, symbol_names=names, ln_notation=False, full_prec=False, mul_symbol=product)


class _Branch(ast.NodeVisitor):
    """Turns a definition into the one expression that holds at a point, and notes what was chosen."""

    def __init__(self, record, x):
        self.values = {p.name: p.default for p in record.parameters} | {"x": x}
        self.symbols = symbols(record) | {"x": X, "pi": sympy.pi}
        self.choices = []

    def number(self, node):
        with np.errstate(all="ignore"):
            return eval(compile(ast.Expression(node), "definition", "eval"), {"__builtins__": {}, **_PLAIN}, self.values)

    def choose(self, choice):
        self.choices.append(choice)
        return choice

    def visit_Constant(self, node):
        return sympy.Integer(node.value) if isinstance(node.value, int) else sympy.Float(node.value)

    def visit_Name(self, node):
        return self.symbols[node.id]

    def visit_UnaryOp(self, node):
        return -self.visit(node.operand)

    def visit_BinOp(self, node):
        a, b = self.visit(node.left), self.visit(node.right)
        return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b, ast.Pow: a**b if isinstance(node.op, ast.Pow) else None}.get(
            type(node.op), a / b if b != 0 else None
        )

    def visit_IfExp(self, node):
        return self.visit(node.body if self.choose(bool(self.number(node.test))) else node.orelse)

    def visit_Call(self, node):
        name = node.func.id
        if name in ("min", "max"):
            found = [self.number(a) for a in node.args]
            return self.visit(node.args[self.choose(found.index((min if name == "min" else max)(found)))])
        if name in ("abs", "sign"):
            sign = 1 if self.choose(bool(self.number(node.args[0]) >= 0)) else -1
            return sign * self.visit(node.args[0]) if name == "abs" else sympy.Integer(sign)
        return _CALLS[name](*map(self.visit, node.args))


def _at(record, x):
    branch = _Branch(record, x)
    return branch.visit(ast.parse(record.definition, mode="eval").body), tuple(branch.choices)


def _computed(record, x):
    y, dy = np.empty_like(x), np.empty_like(x)
    backend.kernel(record, "value_and_grad", "float64")(x, y, dy, [p.default for p in record.parameters])
    return y, dy


def _evaluated(record, expression, x):
    values = {s: p.default for p, s in zip(record.parameters, symbols(record).values(), strict=True)}
    function = sympy.lambdify(X, expression.subs(values), "mpmath")
    with mpmath.workdps(60):  # written as in a book, a formula may cancel
        return np.array([float(mpmath.re(function(mpmath.mpf(float(v))))) for v in x])


def _holds(record, expression, x, derivative=False):
    try:
        found = _evaluated(record, expression, x)
    except (OverflowError, ZeroDivisionError, ValueError, TypeError):
        return False
    return np.allclose(found, _computed(record, x)[derivative], rtol=1e-6, atol=1e-9)


def _exact(record, place):
    """A symbol or a short number for where a piece ends."""
    values = {p.name: p.default for p in record.parameters}
    named = [k for k in getattr(formulas, record.name).entry["kinks"] if isinstance(k, str)]
    for text in named:
        if abs(eval(text, {"log": math.log}, values) - place) < 1e-6:
            return sympy.sympify(text, locals=symbols(record))
    near = round(place, 4)
    return sympy.Integer(round(near)) if abs(near - round(near)) < 1e-6 else sympy.Float(near, 5)


def _shortest(expression):
    if sympy.count_ops(expression) > 40:
        return expression
    shorter = sympy.simplify(expression)
    return shorter if sympy.count_ops(shorter) < 0.7 * sympy.count_ops(expression) else expression


@functools.cache
def pieces(record):
    """``(expression, derivative, low, high)`` for each piece, from the left; ends are None where there is none."""
    low, high = np.clip(record.domain or (-np.inf, np.inf), -12.0, 12.0)
    grid = np.linspace(low, high, 241)[1:-1] + 1e-3 * (high - low) / 24
    cuts, before = [], None
    for x in grid:
        now = _at(record, x)[1]
        if before is not None and now != before[1]:
            a, b = before[0], x
            while b - a > 1e-9:
                middle = (a + b) / 2
                a, b = (middle, b) if _at(record, middle)[1] == before[1] else (a, middle)
            cuts.append(b)
        before = x, now
    ends = [None, *cuts, None]
    found = []
    for a, b in zip(ends, ends[1:], strict=False):
        inside = grid[(grid > (low if a is None else a)) & (grid < (high if b is None else b))]
        sampled = inside[:: max(1, len(inside) // 7)]
        expression = _at(record, sampled[len(sampled) // 2])[0]
        if found and _holds(record, found[-1][0], sampled):
            found[-1] = (found[-1][0], found[-1][1], b, np.append(found[-1][3], sampled))
        elif found and all(_holds(record, expression, f[3]) for f in found):
            found = [(expression, None, b, np.append(found[-1][3], sampled))]
        else:
            found.append((expression, a, b, sampled))
    result = []
    for i, (expression, _, b, sampled) in enumerate(found):
        derivative = _shortest(sympy.diff(expression, X))
        for what, formula in enumerate((expression, derivative)):
            if not _holds(record, formula, sampled, bool(what)):
                raise ValueError(f"{record.name}: {formula} is not what fastact computes")
        start = None if i == 0 else found[i - 1][2]
        result.append((expression, derivative, start if start is None else _exact(record, start), b if b is None else _exact(record, b)))
    return result


def _owns(record, expression, place):
    """Whether a piece holds at its own end."""
    values = {s: p.default for p, s in zip(record.parameters, symbols(record).values(), strict=True)}
    return _holds(record, expression, np.array([float(place.subs(values))]))


def _cases(record, which):
    rows, belongs = [], False  # whether the place where two pieces meet belongs to the left one; a kink's derivative belongs to neither
    for expression, slope, low, high in pieces(record):
        above = "<" if which or belongs else r"\leq"
        belongs = high is not None and _owns(record, expression, high)
        below = r"\leq" if belongs and not which else "<"
        where = f"x {below} {latex(high)}" if low is None and high is not None else ""
        where = f"x {above.replace('<', '>').replace('leq', 'geq')} {latex(low)}" if high is None and low is not None else where
        where = f"{latex(low)} {above} x {below} {latex(high)}" if low is not None and high is not None else where
        rows.append((latex(slope if which else expression), where))
    if len(rows) == 1:
        return rows[0][0]
    return r"\begin{cases}" + r" \\ ".join(rf"{text} & {where}" for text, where in rows) + r"\end{cases}"


def formula(record):
    """The function in LaTeX."""
    return f"f(x) = {_cases(record, 0)}"


def derivative(record):
    """Its derivative in LaTeX, kinks left out."""
    return f"f'(x) = {_cases(record, 1)}"


if __name__ == "__main__":
    for one in catalog.records().values():
        print(one.name, formula(one), derivative(one), sep="\n  ")
