"""Functions as graphs: a Python function is called once with a stand-in for ``x`` that writes down what is done with it.

The graph of a function can be differentiated, evaluated, and written as a formula of the formula language. That works for functions whose
source nobody has: lambdas, those of the interpreter's prompt, and those that a program made. A condition that Python's own ``if`` asks
for is answered both ways, and the two results become one `select`.
"""

import builtins
import collections
import difflib
import dis
import functools
import inspect
import math
import numbers
import os
import sys
import sysconfig
import types

import numpy as np

from . import catalog, elementary, formulas, language, primitives
from .errors import UnsupportedOperationError

MAX_PATHS = 200
MAX_TREE = 500  # nodes that are written, or given to sympy, as one expression
MAX_LINES = 20
ELEMENTARY = ("exp", "expm1", "log", "log1p", "sin", "cos", "atan", "hypot1")
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
_SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_ORDERS = ("lt", "le", "gt", "ge")
CONDITIONS = (*COMPARISONS, "and", "or", "not")
USE = "use exp, log, log1p, expm1, tanh, sigmoid, erf, sqrt, sin, cos, arctan, abs, where, maximum, minimum, sign and arithmetic"
WHOLE = "normalise before it or after it; fastact.softmax is there for what softmax does"
_REDUCTIONS = (
    "sum", "mean", "average", "max", "min", "amax", "amin", "std", "var", "prod", "median", "cumsum", "cumprod", "dot", "vdot", "inner", "matmul",
    "norm", "ptp", "argmax", "argmin", "sort", "any", "all", "softmax", "log_softmax", "logsumexp",
)  # fmt: skip


class _Unknown(BaseException):  # not an Exception: the traced function must not catch it
    """A condition nobody has decided yet."""

    def __init__(self, condition):
        self.condition = condition


class _NoAttribute(UnsupportedOperationError, AttributeError):
    pass


def unsupported(what, instead=""):
    return UnsupportedOperationError(f"{what} can't be part of an activation" + (f"; {instead}" if instead else f"; {USE}"))


def _whole_array(what):
    return f"{what} is of a whole array, and an activation is a function of one number: it can't be part of one; {WHOLE}"


# --- The graph -----------------------------------------------------------------------------------------------------------


class Graph:
    """Nodes, each once: what is written twice is computed once."""

    def __init__(self, argument="x"):
        self.nodes, self.path, self.paths, self.defaults = {}, {}, 0, {}
        self.x = self.leaf("x", argument)
        self.zero, self.one = self.const(0.0), self.const(1.0)

    def leaf(self, op, value):
        return self.nodes.setdefault((op, value), Node(self, op, (), value))

    def const(self, value):
        value = float(value)
        key = ("const", value.hex())
        return self.nodes.setdefault(key, Node(self, "const", (), value))

    def param(self, name):
        return self.leaf("param", name)

    def raw(self, op, *args, value=None):
        key = (op, value, *map(id, args))
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = Node(self, op, args, value)
        return found

    def number(self, value):
        """Anything a function may compute with, as a node."""
        if isinstance(value, Node):
            if value.graph is not self:
                raise unsupported("a number kept from another call", "compute with x and the parameters only")
            return self.select(value, self.one, self.zero) if value.op in CONDITIONS else value
        if isinstance(value, (bool, np.bool_, numbers.Real)):
            return self.const(value)
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
            return self.const(value.item())
        if value is None:
            raise UnsupportedOperationError("None was computed with: does a function that is called return nothing?")
        if isinstance(value, np.ndarray):
            raise unsupported(
                f"an array of shape {value.shape}",
                "an activation is a function of one number; make it a parameter and give the array in the call",
            )
        if isinstance(value, numbers.Complex):
            raise unsupported(f"the complex number {value!r}", "an activation is a function of a real number")
        raise unsupported(f"{type(value).__name__} {value!r}")

    def condition(self, value):
        if isinstance(value, Node):
            return value if value.op in CONDITIONS else self.compare("ne", value, self.zero)
        return self.raw("ne", self.one, self.zero) if value else self.raw("eq", self.one, self.zero)

    def truth(self, node):
        """True or False where a condition is the same for every x, else None."""
        if node.op in COMPARISONS and all(a.op == "const" for a in node.args):
            return bool(COMPARE[node.op](*[a.value for a in node.args]))
        return None

    # Operations, with what is known about them. What would round differently is left as it was written.

    def add(self, a, b):
        if a.op == b.op == "const":
            return self.const(a.value + b.value)
        if b.op == "const":
            a, b = b, a
        if a is self.zero:
            return b
        if b.op == "neg":
            return self.sub(a, b.args[0])
        if a is self.one:  # what loses digits as it stands
            if b.op == "formula" and b.value == ("erf", 0):
                return self.formula("erfc", self.neg(b.args[0]))
            if b.op == "formula" and b.value == ("tanh", 0):
                return self.mul(self.const(2), self.formula("sigmoid", self.mul(self.const(2), b.args[0])))
        if a.op == "neg":
            return self.sub(b, a.args[0])
        if a.op == "const" and b.op == "add" and b.args[0].op == "const":
            return self.add(self.const(a.value + b.args[0].value), b.args[1])
        return self.raw("add", *sorted((a, b), key=_numbers_first))

    def sub(self, a, b):
        if a.op == b.op == "const":
            return self.const(a.value - b.value)
        if a is b:
            return self.zero
        if b is self.zero:
            return a
        if a is self.zero:
            return self.neg(b)
        if b.op == "neg":
            return self.add(a, b.args[0])
        if a is self.one:
            if b.op == "exp":
                return self.neg(self.call("expm1", b.args[0]))
            if b.op == "formula" and b.value == ("erf", 0):
                return self.formula("erfc", b.args[0])
            if b.op == "formula" and b.value == ("sigmoid", 0):
                return self.formula("sigmoid", self.neg(b.args[0]))
            if b.op == "formula" and b.value == ("tanh", 0):
                return self.mul(self.const(2), self.formula("sigmoid", self.mul(self.const(-2), b.args[0])))
        if b is self.one and a.op == "exp":
            return self.call("expm1", a.args[0])
        return self.raw("sub", a, b)

    def mul(self, a, b):
        if a.op == b.op == "const":
            return self.const(a.value * b.value)
        if b.op == "const":
            a, b = b, a
        if a is self.zero:
            return self.zero
        if a is self.one:
            return b
        if a.op == "const" and a.value == -1:
            return self.neg(b)
        if b.op == "neg":
            return self.neg(self.mul(a, b.args[0])) if a.op != "const" else self.mul(self.const(-a.value), b.args[0])
        if a.op == "neg":
            return self.neg(self.mul(a.args[0], b))
        if a.op == "const" and b.op == "mul" and b.args[0].op == "const":
            return self.mul(self.const(a.value * b.args[0].value), b.args[1])
        for one, other in ((a, b), (b, a)):
            if one.op == "select" and one.args[2] is self.zero and one.args[1] is self.one:  # (x > 0) * y
                return self.select(one.args[0], other, self.zero)
            if one.op == "div" and one.args[0] is self.one:
                return self.div(other, one.args[1])
            if one.op == "formula" and one.value == ("erfc", 0) and _is_root_of_two(one.args[0], other):
                return self.mul(self.const(2), self.formula("gelu", other))
            if one.op == "formula" and one.value == ("tanh", 0) and "mish" in catalog.records():
                inner = one.args[0]
                if inner.op == "formula" and inner.value == ("softplus", 0) and [a is other for a in inner.args] == [True]:
                    return self.formula("mish", other)
            if one.op == "formula" and one.value == ("ndtr", 0) and other is one.args[0]:
                return self.formula("gelu", other)
            if one.op == "formula" and one.value == ("sigmoid", 0) and other is one.args[0]:
                return self.formula("silu", other)
            if one.op in ("exp", "expm1", "formula") and (joined := self.joined(one, other)) is not None:
                return joined
        if a.op != "const" and b.op == "mul" and b.args[0].op == "const":  # numbers come first, where they meet
            a, b = b, a
        if a.op == "mul" and a.args[0].op == "const":
            return self.mul(a.args[0], self.mul(a.args[1], b))
        return self.raw("mul", *sorted((a, b), key=_numbers_first))

    def joined(self, one, other):
        """The product where an exp(u) meets a sigmoid(-u) in it, which is sigmoid(u), else None: the two by themselves overflow and vanish."""
        if other.op == "mul":
            for first, second in (other.args, other.args[::-1]):
                if (found := self.joined(one, first)) is not None:
                    return self.mul(found, second)
            return None
        growing, falling = (one, other) if one.op in ("exp", "expm1") else (other, one)
        if growing.op not in ("exp", "expm1") or falling.op != "formula" or falling.value != ("sigmoid", 0):
            return None
        (a, u), (b, v) = _multiple(growing.args[0]), _multiple(falling.args[0])
        if u is not v or a * b >= 0:
            return None
        if growing.op == "expm1":
            return self.formula("tanh", self.mul(self.const(a / 2), u)) if a == -b else None
        if abs(a) < abs(b):
            return None
        rising = self.formula("sigmoid", self.mul(self.const(-b), u))
        return rising if a == -b else self.mul(self.call("exp", self.mul(self.const(a + b), u)), rising)

    def without(self, product, factor):
        """What a factor is multiplied with to make the product, or None where it is none of its factors."""
        if product is factor:
            return self.one
        if product.op != "mul":
            return None
        for first, second in (product.args, product.args[::-1]):
            if (rest := self.without(first, factor)) is not None:
                return self.mul(rest, second)
        return None

    def div(self, a, b):
        if b.op == "const":
            if a.op == "const" and b.value:
                return self.const(a.value / b.value)
            if b.value and math.frexp(b.value)[0] in (0.5, -0.5):
                return self.mul(self.const(1 / b.value), a)  # exact
        if a is self.zero:
            return self.zero
        if b.op == "add" and b.args[0] is self.one and b.args[1].op == "exp":  # 1 / (1 + exp(-x)) overflows where its parts do
            return self.mul(a, self.formula("sigmoid", self.neg(b.args[1].args[0])))
        if b.op == "add" and b.args[0].op == "const" and b.args[1].op == "exp" and (rest := self.without(a, b.args[1])) is not None:
            return self.div(rest, self.add(self.one, self.mul(b.args[0], self.call("exp", self.neg(b.args[1].args[0])))))
        if b.op == "mul" and any(n.op == "add" and n.args[0] is self.one and n.args[1].op == "exp" for n in _factors(b)):
            return self.div(self.div(a, b.args[0]), b.args[1])
        if a.op == "sub" and b.op == "add" and set(a.args) == set(b.args) and all(n.op == "exp" for n in a.args):
            first, second = (n.args[0] for n in a.args)
            if second is self.neg(first):
                return self.formula("tanh", first)
        if a.op == "neg":
            return self.neg(self.div(a.args[0], b))
        return self.raw("div", a, b)

    def neg(self, a):
        if a.op == "const":
            return self.const(-a.value)
        if a.op == "neg":
            return a.args[0]
        if a.op == "sub":
            return self.raw("sub", a.args[1], a.args[0])
        if a.op == "mul" and a.args[0].op == "const":
            return self.mul(self.const(-a.args[0].value), a.args[1])
        return self.raw("neg", a)

    def abs(self, a):
        if a.op == "const":
            return self.const(abs(a.value))
        return a if a.op in ("abs", "exp", "sqrt") else self.raw("abs", a.args[0] if a.op == "neg" else a)

    def sqrt(self, a):
        if a.op == "const" and a.value >= 0:
            return self.const(math.sqrt(a.value))
        if a.op == "add" and a.args[0] is self.one and a.args[1].op == "mul" and a.args[1].args[0] is a.args[1].args[1]:
            return self.call("hypot1", a.args[1].args[0])
        return self.abs(a.args[0]) if a.op == "mul" and a.args[0] is a.args[1] else self.raw("sqrt", a)

    def call(self, name, a):
        """One of the elementary functions."""
        if a.op == "const":
            with np.errstate(all="ignore"):
                return self.const(_NUMPY[name](np.float64(a.value)))
        if name == "log":
            if a.op == "add" and a.args[0] is self.one:
                return self.call("log1p", a.args[1])
            if a.op == "formula" and a.value == ("sigmoid", 0):
                return self.neg(self.formula("softplus", self.neg(a.args[0])))
            if a.op == "sub" and a.args[0].op == "const" and a.args[0].value == 2 and a.args[1].op == "exp":
                return self.call("log1p", self.neg(self.call("expm1", a.args[1].args[0])))
        if name == "log1p" and a.op == "exp":
            return self.formula("softplus", a.args[0])
        if name in ("sin", "atan") and a.op == "neg":
            return self.neg(self.call(name, a.args[0]))
        return self.raw(name, a)

    def formula(self, name, a, *parameters, which=0, conventions=()):
        """The value (0) or derivative (1) of an activation of the catalog; conventions at its kinks as pairs, if others than its own."""
        if name in ("tanh", "erf") and which == 0 and a.op == "neg":
            return self.neg(self.formula(name, a.args[0]))
        usual = [p.default for p in catalog.records()[name].given("value")]
        if [p.value if p.op == "const" else None for p in parameters] == usual:
            parameters = ()  # not written: what a formula has at its defaults may be faster
        return self.raw("formula", a, *parameters, value=(name, which, conventions) if conventions else (name, which))

    def power(self, a, b):
        if a.op == b.op == "const":
            return self.const(_power_of_numbers(a.value, b.value))
        if b.op == "const":
            n = b.value
            if math.isinf(n) or n != n:
                raise unsupported(f"a power of {n}")
            if n == int(n) and abs(n) <= _WHOLE_POWERS:
                return self.whole_power(a, int(n))
            if n == 0.5:
                return self.sqrt(a)
        if a.op == "const" and a.value > 0:
            return self.call("exp", self.mul(self.const(math.log(a.value)), b))
        if depends(b):
            return self.call("exp", self.mul(b, self.call("log", a)))
        return self.computed_power(a, b) if self.least(a) > 0 else self.raw("power", a, b)  # which `lowered` computes

    def least(self, a):
        """What a node is not below; above 0 also where parameters of the signs of their defaults are needed for that."""
        low, signed = (min(ranges([a], precision, signs)[a][0] for precision in language.PRECISIONS) for signs in ({}, self.defaults))
        return signed if signed > 0 else low

    def computed_power(self, a, b):
        """NumPy's power in other operations: of a negative number, the sign is that of a whole exponent's parity; NaN for another."""
        n = b.value if b.op == "const" else None
        if n is not None and 2 * n == int(2 * n) and abs(n) <= 16:
            product = self.mul(self.whole_power(a, int(abs(n))), self.sqrt(a))
            return product if n > 0 else self.div(self.one, product)
        low = self.least(a)
        size = self.call("exp", self.mul(b, self.call("log", a if low >= 0 or (n is not None and n != int(n)) else self.abs(a))))
        if n is not None:  # 0 to a positive power: exp(-inf)
            return size if low >= 0 or n != int(n) or n % 2 == 0 else self.select(self.compare("lt", a, self.zero), self.neg(size), size)
        if low <= 0:
            size = self.select(self.compare("eq", b, self.zero), self.one, size)  # not 0 * inf
        if low >= 0:
            return size
        magic = self.raw("named", value=("ROUNDING_MAGIC", language.ROUNDING_MAGIC))
        whole, half = (self.raw("sub", self.raw("add", n, magic), magic) for n in (b, self.mul(self.const(0.5), b)))
        odd = self.select(self.compare("eq", b, whole), self.neg(size), self.raw("named", value=("NAN", _NAN)))
        return self.select(
            self.compare("lt", a, self.zero), self.select(self.compare("eq", b, self.mul(self.const(2), half)), size, odd), size
        )

    def whole_power(self, a, n):
        if n < 0:
            return self.div(self.one, self.whole_power(a, -n))
        if n == 0:
            return self.one
        half = self.whole_power(a, n // 2) if n > 1 else self.one
        square = self.mul(half, half)
        return self.mul(a, square) if n % 2 else square

    def compare(self, op, a, b):
        if a.op == "const" and b.op != "const":
            a, b, op = b, a, _SWAPPED[op]
        return self.raw(op, a, b)

    def combine(self, op, a, b):
        for one, other in ((a, b), (b, a)):
            known = self.truth(one)
            if known is not None:
                return other if known is (op == "and") else one
        return a if a is b else self.raw(op, a, b)

    def exclusive(self, a, b):
        return self.combine("or", self.combine("and", a, self.negation(b)), self.combine("and", self.negation(a), b))

    def negation(self, a):
        if a.op in _OPPOSITE:
            return self.raw(_OPPOSITE[a.op], *a.args)
        if a.op == "not":
            return a.args[0]
        return self.raw("or" if a.op == "and" else "and", *map(self.negation, a.args))

    def select(self, condition, yes, no):
        known = self.truth(condition)
        if known is not None:
            return yes if known else no
        return yes if yes is no else self.raw("select", condition, yes, no)

    def extreme(self, op, a, b):
        if a.op == b.op == "const":
            return self.const(max(a.value, b.value) if op == "max" else min(a.value, b.value))
        if a.op == "const":
            a, b = b, a
        return a if a is b else self.raw(op, a, b)

    def sign(self, a):
        return self.select(
            self.compare("gt", a, self.zero),
            self.one,
            self.select(self.compare("lt", a, self.zero), self.const(-1), self.mul(a, a) if a.op == "const" else a),
        )

    def decide(self, condition):
        """The answer to a condition on the path that is being traced."""
        known = self.truth(condition)
        if known is not None:
            return known
        opposite = self.negation(condition)
        if condition in self.path:
            return self.path[condition]
        if opposite in self.path:
            return not self.path[opposite]
        raise _Unknown(condition)


_FLAT = "it is flat between its jumps, so its derivative is 0"
_JUMPS = "it jumps; sin and cos are the periodic functions to use"


def _numbers_first(node):
    return node.op != "const", node.order


def _factors(node):
    """The nodes that products make a node of, each once."""
    found = [node]
    for n in found:  # which grows
        found += [a for a in n.args if n.op == "mul" and not any(a is b for b in found)]
    return [n for n in found if n.op != "mul"]


def _multiple(node):
    """A node as a number times another node."""
    if node.op == "neg":
        return -1.0, node.args[0]
    return (node.args[0].value, node.args[1]) if node.op == "mul" and node.args[0].op == "const" else (1.0, node)


def _is_root_of_two(a, u):
    """Whether a is -u / sqrt(2), however it is written."""
    if a.op == "neg" and a.args[0].op == "div" and a.args[0].args[0] is u and a.args[0].args[1].op == "const":
        return math.isclose(a.args[0].args[1].value, 2**0.5)
    return a.op == "mul" and a.args[1] is u and a.args[0].op == "const" and math.isclose(a.args[0].value, -(0.5**0.5))


_WHOLE_POWERS = 4096  # by multiplication, up to this one
_NAN = language.constant(float32=primitives.NAN, float64=primitives.NAN)


def _power_of_numbers(a, b):
    with np.errstate(all="ignore"):
        return float(np.power(np.float64(a), np.float64(b)))


class Node:
    """A number that is not known yet: what a traced function gets for x, and computes with."""

    __slots__ = ("args", "graph", "op", "order", "value")

    def __init__(self, graph, op, args, value=None):
        for name, given in (("graph", graph), ("op", op), ("args", args), ("value", value), ("order", len(graph.nodes))):
            object.__setattr__(self, name, given)

    def __setattr__(self, name, value):
        raise unsupported(f"x.{name} = ...", "x stands for one number, which nothing can be kept in")

    __hash__ = object.__hash__

    def _arithmetic(name, swapped=False):
        def operation(self, other):
            pair = self.graph.number(self), self.graph.number(other)
            return getattr(self.graph, name)(*(pair[::-1] if swapped else pair))

        return operation

    __add__, __radd__ = _arithmetic("add"), _arithmetic("add", True)
    __sub__, __rsub__ = _arithmetic("sub"), _arithmetic("sub", True)
    __mul__, __rmul__ = _arithmetic("mul"), _arithmetic("mul", True)
    __truediv__, __rtruediv__ = _arithmetic("div"), _arithmetic("div", True)
    __pow__, __rpow__ = _arithmetic("power"), _arithmetic("power", True)

    def _comparison(op):
        def operation(self, other):
            return self.graph.compare(op, self.graph.number(self), self.graph.number(other))

        return operation

    __lt__, __le__, __gt__, __ge__, __eq__, __ne__ = map(_comparison, ("lt", "le", "gt", "ge", "eq", "ne"))
    del _arithmetic, _comparison

    def __neg__(self):
        return self.graph.neg(self.graph.number(self))

    def __pos__(self):
        return self

    def __abs__(self):
        return self.graph.abs(self.graph.number(self))

    def __and__(self, other):
        return self.graph.combine("and", self.graph.condition(self), self.graph.condition(other))

    def __or__(self, other):
        return self.graph.combine("or", self.graph.condition(self), self.graph.condition(other))

    def __xor__(self, other):
        return self.graph.exclusive(self.graph.condition(self), self.graph.condition(other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self):
        if self.op not in CONDITIONS:
            raise unsupported("~x")
        return self.graph.negation(self)

    def __bool__(self):
        return self.graph.decide(self.graph.condition(self))

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        name = ufunc.__name__
        shown = f"np.{name}" if getattr(np, name, None) is ufunc else name
        if method != "__call__":
            raise UnsupportedOperationError(_whole_array(f"{shown}.{method}"))
        if any(v is not None for v in options.values()):
            raise unsupported(f"{shown} with {', '.join(options)}=", "leave that out; where(condition, a, b) chooses")
        ours = str(getattr(ufunc, "__module__", "")).startswith(f"{__package__}.")  # only NumPy 2.2 and newer know
        if ours and name.rpartition("_")[2] in catalog.LIBRARIES:  # of a preset
            record = catalog.find(name)
            values = dict(zip([p.name for p in record.given("value")], inputs[1:], strict=False))
            values = {p.name: self.graph.number(values.get(p.name, p.default)) for p in record.parameters}
            return _of_catalog(self.graph, record, "value", self.graph.number(inputs[0]), values)
        if ours and name not in catalog.records() and not name.endswith(_DERIVATIVES):
            raise unsupported(
                f"{name}, an activation of one's own that is no variable of the function or its module,",
                f"give it a name of its own there, such as inner = {name}, or call the Python function that it was made from",
            )
        return apply(self.graph, name, inputs, shown)

    def __array_function__(self, function, kinds, args, kwargs):
        name = function.__name__
        if name in ("zeros_like", "ones_like", "full_like"):
            return self.graph.number(args[1] if name == "full_like" else float(name == "ones_like"))
        if name == "select":
            names = dict(zip(("condlist", "choicelist", "default"), args, strict=False)) | kwargs
            result = names.get("default", 0)
            for condition, choice in reversed(list(zip(names["condlist"], names["choicelist"], strict=True))):
                result = apply(self.graph, "where", (condition, choice, result))
            return result
        if name == "clip":
            names = dict(zip(("a", "a_min", "a_max"), args, strict=False)) | kwargs
            clipped = self.graph.number(names["a"])  # which need not be what NumPy asked: a bound can be that
            return clipped.clip(names.get("a_min", names.get("min")), names.get("a_max", names.get("max")))
        if name == "where" and not kwargs:
            if len(args) != 3:
                raise unsupported(
                    f"np.where with {len(args)} argument{'s' * (len(args) > 1)}", "where(condition, a, b) chooses between two numbers"
                )
            return apply(self.graph, "where", args)
        if name == "piecewise" and not kwargs and len(args) == 3:
            conditions, choices = ([v] if isinstance(v, Node) or not np.iterable(v) else list(v) for v in args[1:])
            choices = [choice(self) if callable(choice) else choice for choice in choices]
            result = choices.pop() if len(choices) > len(conditions) else 0
            for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
                result = apply(self.graph, "where", (condition, choice, result))
            return result
        if name == "sinc":
            angle = math.pi * self
            return self.graph.select(
                self.graph.compare("eq", self, self.graph.zero), self.graph.one, apply(self.graph, "sin", (angle,)) / angle
            )
        if name in _REDUCTIONS:
            raise UnsupportedOperationError(_whole_array(f"np.{name}"))
        if name in _STEPS:
            raise unsupported(f"np.{name}", _FLAT)
        raise unsupported(f"np.{name}")

    def clip(self, min=None, max=None, **names):
        low, high = names.get("a_min", min), names.get("a_max", max)
        result = self if low is None else apply(self.graph, "maximum", (self, low))
        return result if high is None else apply(self.graph, "minimum", (result, high))

    def astype(self, dtype, **options):
        if np.dtype(dtype).kind != "f":
            raise unsupported(
                f"x.astype({np.dtype(dtype).name})", "an activation computes with real numbers; a result of whole numbers has no slope"
            )
        return self.graph.number(self)

    def copy(self):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _REDUCTIONS:
            raise _NoAttribute(_whole_array(f"x.{name}"))
        raise _NoAttribute(f"x.{name} can't be part of an activation: x stands for one number, not for an array; {USE}")

    def _refuse(what, instead):
        def operation(self, *args):
            raise unsupported(what, instead)

        return operation

    def __float__(self):
        if self.op == "param":
            raise unsupported(
                f"float() or int() of the parameter {self.value!r}, as range() and list indices want it,",
                "calls may change a parameter, so it is not known yet; write the number itself, and make an activation for each",
            )
        raise unsupported(
            f"float() or int() of {text(self)}, or a function that wants it as a plain number,",
            "use the functions of fastact.math, or NumPy's: they can be followed",
        )

    __int__ = __index__ = __complex__ = __float__

    def __format__(self, form):
        if form:
            raise unsupported(f"x in the format {form!r}", "x stands for a number that is not known yet; leave the printing out")
        return text(self)

    __array__ = _refuse(
        "an array made of x, as by np.array, np.float32 or a function of SciPy,",
        f"x is one number, and float32 stays float32 without it; {USE}",
    )
    __floor__ = __ceil__ = __trunc__ = __round__ = _refuse("rounding x", _FLAT)
    __floordiv__ = __rfloordiv__ = _refuse("x // y", _FLAT)
    __mod__ = __rmod__ = __divmod__ = _refuse("x % y", _JUMPS)
    __iter__ = _refuse("going through x item by item", "x stands for one number, not for an array")
    __len__ = _refuse("len(x)", "x stands for one number, not for an array")
    __getitem__ = _refuse("x[...]", "x stands for one number; where(x < 0, a, b) chooses between two")
    __setitem__ = _refuse("assigning to x[...]", "write where(x < 0, a, x) instead of x[x < 0] = a")
    __matmul__ = __rmatmul__ = _refuse("x @ y", "an activation is a function of one number")
    del _refuse

    def __repr__(self):
        return text(self)


# --- Functions by name: NumPy's ufuncs, math's and fastact.math's --------------------------------------------------------

COMPARE = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}  # fmt: skip


def _unary(function):
    return lambda g, a: function(g, g.number(a))


def _binary(name):
    return lambda g, a, b: getattr(g, name)(g.number(a), g.number(b))


def _sinh(g, a):
    return g.mul(g.const(0.5), g.sub(g.call("expm1", a), g.call("expm1", g.neg(a))))


def _cosh(g, a):
    return g.mul(g.const(0.5), g.add(g.call("exp", a), g.call("exp", g.neg(a))))


def _asinh(g, a):
    b = g.abs(a)
    near = g.call("log1p", g.add(b, g.div(g.mul(b, b), g.add(g.one, g.sqrt(g.add(g.one, g.mul(b, b)))))))
    far = g.add(g.const(math.log(2)), g.call("log", b))
    value = g.select(g.compare("gt", b, g.const(1e8)), far, near)
    return g.select(g.compare("lt", a, g.zero), g.neg(value), value)


def _logaddexp(g, a, b):
    a, b = g.number(a), g.number(b)
    return g.formula("softplus", a) if b is g.zero else g.add(a, g.formula("softplus", g.sub(b, a)))


def _heaviside(g, a, at):
    a = g.number(a)
    return g.select(g.compare("lt", a, g.zero), g.zero, g.select(g.compare("gt", a, g.zero), g.one, g.number(at)))


def _where(g, condition, yes, no):
    return g.select(g.condition(condition), g.number(yes), g.number(no))


def _copysign(g, a, b):
    a, b = g.abs(g.number(a)), g.number(b)
    return g.select(g.compare("lt", b, g.zero), g.neg(a), a)


_FUNCTIONS = {
    **{name: _unary(functools.partial(lambda g, a, name: g.call(name, a), name=name)) for name in ELEMENTARY},
    "erf": _unary(lambda g, a: g.formula("erf", a)), "erfc": _unary(lambda g, a: g.formula("erfc", a)),
    "arctan": _unary(lambda g, a: g.call("atan", a)),
    "add": _binary("add"), "subtract": _binary("sub"), "multiply": _binary("mul"), "divide": _binary("div"), "true_divide": _binary("div"),
    "power": _binary("power"), "float_power": _binary("power"), "pow": _binary("power"),
    "negative": _unary(Graph.neg), "positive": _unary(lambda g, a: a), "absolute": _unary(Graph.abs), "fabs": _unary(Graph.abs), "abs": _unary(Graph.abs),
    "sqrt": _unary(Graph.sqrt), "square": _unary(lambda g, a: g.mul(a, a)), "reciprocal": _unary(lambda g, a: g.div(g.one, a)),
    "exp2": _unary(lambda g, a: g.call("exp", g.mul(g.const(math.log(2)), a))),
    "log2": _unary(lambda g, a: g.mul(g.const(1 / math.log(2)), g.call("log", a))),
    "log10": _unary(lambda g, a: g.mul(g.const(1 / math.log(10)), g.call("log", a))),
    "tan": _unary(lambda g, a: g.div(g.call("sin", a), g.call("cos", a))),
    "sinh": _unary(_sinh), "cosh": _unary(_cosh), "arcsinh": _unary(_asinh), "asinh": _unary(_asinh),
    "sign": _unary(Graph.sign), "heaviside": _heaviside, "copysign": _copysign, "logaddexp": _logaddexp, "where": _where,
    "maximum": lambda g, a, b: g.extreme("max", g.number(a), g.number(b)), "minimum": lambda g, a, b: g.extreme("min", g.number(a), g.number(b)),
    "expit": _unary(lambda g, a: g.formula("sigmoid", a)),
    "log_expit": _unary(lambda g, a: g.neg(g.formula("softplus", g.neg(a)))),
    "ndtr": _unary(lambda g, a: g.mul(g.const(0.5), g.formula("erfc", g.mul(g.const(-(0.5**0.5)), a)))),
    "less": lambda g, a, b: g.compare("lt", g.number(a), g.number(b)), "less_equal": lambda g, a, b: g.compare("le", g.number(a), g.number(b)),
    "greater": lambda g, a, b: g.compare("gt", g.number(a), g.number(b)), "greater_equal": lambda g, a, b: g.compare("ge", g.number(a), g.number(b)),
    "equal": lambda g, a, b: g.compare("eq", g.number(a), g.number(b)), "not_equal": lambda g, a, b: g.compare("ne", g.number(a), g.number(b)),
    "logical_and": lambda g, a, b: g.combine("and", g.condition(a), g.condition(b)),
    "logical_or": lambda g, a, b: g.combine("or", g.condition(a), g.condition(b)),
    "logical_xor": lambda g, a, b: g.exclusive(g.condition(a), g.condition(b)),
    "logical_not": lambda g, a: g.negation(g.condition(a)),
    "hypot": lambda g, a, b: g.sqrt(g.add(*(g.mul(n, n) for n in (g.number(b), g.number(a))))),
    "deg2rad": _unary(lambda g, a: g.mul(g.const(math.pi / 180), a)), "rad2deg": _unary(lambda g, a: g.mul(g.const(180 / math.pi), a)),
}  # fmt: skip
_FUNCTIONS |= {
    "bitwise_xor": _FUNCTIONS["logical_xor"],
    "radians": _FUNCTIONS["deg2rad"],
    "degrees": _FUNCTIONS["rad2deg"],
    "fmax": _FUNCTIONS["maximum"],
    "fmin": _FUNCTIONS["minimum"],
    "bitwise_and": _FUNCTIONS["logical_and"],
    "bitwise_or": _FUNCTIONS["logical_or"],
    "invert": _FUNCTIONS["logical_not"],
}
_STEPS = ("floor", "ceil", "trunc", "rint", "round", "around", "fix", "floor_divide", "spacing", "nextafter")
_DERIVATIVES = ("_grad", "_backward")
_PERIODIC = ("remainder", "mod", "fmod", "divmod", "modf")


def apply(graph, name, inputs, shown=None):
    """A function by NumPy's name, or an activation of the catalog, on nodes and numbers; `shown`: what the user called it."""
    shown = shown or name
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](graph, *inputs)
    if name in _STEPS:
        raise unsupported(shown, _FLAT)
    if name in _PERIODIC:
        raise unsupported(shown, _JUMPS)
    if name in _REDUCTIONS:
        raise UnsupportedOperationError(_whole_array(shown))
    if name.endswith(_DERIVATIVES):
        raise unsupported(shown, "it is a derivative already, and its own derivative is not known; write it out")
    record = catalog.records().get(name)
    if record is None:
        raise unsupported(shown)
    a, *given = [graph.number(v) for v in inputs]
    given = (given + [graph.const(p.default) for p in record.given("value")[len(given) :]])[: len(record.given("value"))]
    if any(depends(p) for p in given):
        raise unsupported(f"{name} with a parameter that depends on x")
    return graph.formula(name, a, *given)


def functions():
    """The names of all functions that can be followed."""
    return sorted({*_FUNCTIONS, *catalog.records()})


def graph_of(values):
    """The graph that any of these numbers belongs to, or None."""
    return next((v.graph for v in values if isinstance(v, Node)), None)


# --- Tracing -------------------------------------------------------------------------------------------------------------


class _Names(types.ModuleType):
    """Stands in for the module ``math`` inside a traced function."""

    def __init__(self):
        super().__init__("math")

    def __getattr__(self, name):
        found = getattr(math, name)
        return _followed(found) if callable(found) else found


@functools.cache
def _followed(function):
    """A function of ``math`` or a builtin, for nodes too."""
    name = {"max": "maximum", "min": "minimum", "atan": "arctan", "fabs": "absolute"}.get(function.__name__, function.__name__)

    def call(*args, **kwargs):
        graph = graph_of(args)
        if graph is None or kwargs:
            return function(*args, **kwargs)
        if name in ("maximum", "minimum"):
            return functools.reduce(lambda a, b: apply(graph, name, (a, b)), args)
        if name == "log" and len(args) == 2:
            return apply(graph, "log", args[:1]) / math.log(args[1])
        return apply(graph, name, args, f"math.{function.__name__}")

    return call


class _Package(_Names):
    """Stands in for this package inside a traced function."""

    def __init__(self, package):
        types.ModuleType.__init__(self, package.__name__)
        self.package = package

    def __getattr__(self, name):
        return _standing_in(getattr(self.package, name))


def _standing_in(value):
    """What takes the place of something of this package inside a traced function."""
    from . import axis, biasing, callables, gating, training

    if isinstance(value, callables.Function):
        return _Activation(value)
    if value is callables.get:
        return lambda *args, **kwargs: _standing_in(value(*args, **kwargs))
    theirs = [module.__name__ for module in (axis, biasing, gating, training)]
    if isinstance(value, (gating.Gated, biasing.Bias)) or (isinstance(value, types.FunctionType) and value.__module__ in theirs):
        return _Whole(value)
    return value


class _Whole:
    """Stands in for what computes with more than one number for each x, and says so."""

    def __init__(self, function):
        self.function = function

    def __getattr__(self, name):
        return _standing_in(getattr(self.function, name))

    def __call__(self, *args, **kwargs):
        if graph_of((*args, *kwargs.values())) is None:
            return _standing_in(self.function(*args, **kwargs))
        name, act = getattr(self.function, "__qualname__", "this"), getattr(self.function, "record", None)
        if act is None:
            raise UnsupportedOperationError(_whole_array(name))
        form = f"x * {act.name}(x)" if not name.startswith("bias") else f"{act.name}(x + b)"
        raise unsupported(
            f"{name}, a function of two arrays,", f"an activation is one of a single number x; write what it computes, such as {form}"
        )


class _Activation:
    """Stands in for an activation inside a traced function: what one of a user's own was made from is followed too."""

    def __init__(self, function):
        self.function = function

    def __getattr__(self, name):
        return _standing_in(getattr(self.function, name))

    def __call__(self, x, *given, **named):
        graph = graph_of((x, *given, *named.values()))
        if graph is None:
            return self.function(x, *given, **named)
        function = self.function
        if not function.record.also.keys().isdisjoint(named):
            function = function._meant(named)
        record, mode = function.record, function.mode
        what = record.name if mode == "value" else f"{record.name}.{mode}"
        if mode not in ("value", "grad"):
            raise unsupported(what, f"{record.name} and {record.name}.grad can")
        known, accepted = record.given(mode), {p.name: p for p in record.accepted(mode)}
        if len(given) > len(known) or named.keys() - (accepted.keys() - {p.name for p in known[: len(given)]}):
            takes = ", ".join(["x", *(f"{p.name}={p.default:g}" for p in accepted.values())])
            raise unsupported(f"{what} with these arguments", f"inside one, it takes ({takes})")
        values = {p.name: p.default for p in record.parameters} | {p.name: v for p, v in zip(known, given, strict=False)} | named
        x, values = graph.number(x), {n: graph.number(v) for n, v in values.items()}
        definition = getattr(record.formula, "custom", None)
        if definition is None:
            return _of_catalog(graph, record, mode, x, values)
        if definition.value is None:
            raise unsupported(f"{what}, which was unpickled,", "call the Python function that it was made from")
        return inlined(definition.value if mode == "value" else definition.derivative, x, values)


def _of_catalog(graph, record, mode, x, values):
    """An activation of the catalog, or a preset of one, as a node."""
    given = [values[p.name] for p in record.given(mode)]
    if any(depends(p) for p in given):
        raise unsupported(f"{record.name} with a parameter that depends on x", "a parameter is a number; write the formula out")
    conventions = []
    for p, usual in zip(record.parameters, record.base.parameters, strict=True):
        if p.convention and values[p.name].op != "const":
            raise unsupported(f"{record.name} with a {p.name} that is no number that is known")
        if p.convention and not np.array_equal(values[p.name].value, usual.default, equal_nan=True):
            conventions.append((p.name, values[p.name].value))
    return graph.formula(record.kernel_name, x, *given, which=int(mode == "grad"), conventions=tuple(conventions))


def _substituted(function, done):
    """The function with what it can't be followed through, math's functions and max and min, replaced by what can."""
    if function in done:
        return done[function]
    for step in dis.get_instructions(function.__code__):
        if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_DEREF" and step.argval in function.__code__.co_freevars):
            raise unsupported(
                f"changing {step.argval!r}, a variable outside of the function,", "it is a function of x and its parameters alone"
            )
    scope = dict(function.__globals__)
    done[function] = function  # should a cell hold the function itself
    done[function] = made = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, _cells(function, done))
    made.__kwdefaults__ = function.__kwdefaults__
    for name in set(function.__code__.co_names) | {
        n for c in function.__code__.co_consts if isinstance(c, types.CodeType) for n in c.co_names
    }:
        if name in scope:
            scope[name] = _replaced(scope[name], function, done)
        elif name in ("max", "min"):
            scope[name] = _followed(getattr(builtins, name))
    return made


def _cells(function, done):
    if function.__closure__ is None:
        return None

    def contents(cell):
        try:
            return types.CellType(_replaced(cell.cell_contents, function, done))
        except ValueError:  # empty
            return cell

    return tuple(contents(cell) for cell in function.__closure__)


def _replaced(value, function, done):
    if value is math:
        return _Names()
    if isinstance(value, types.BuiltinFunctionType) and (value.__module__ == "math" or value in (max, min)):
        return _followed(value)
    if isinstance(value, types.FunctionType) and value is not function and _users(value):
        return _substituted(value, done)
    if isinstance(value, types.MethodType) and isinstance(value.__func__, types.FunctionType) and _users(value.__func__):
        return types.MethodType(_substituted(value.__func__, done), value.__self__)
    if value is sys.modules[__package__]:
        return _Package(value)
    if isinstance(value, functools.partial):
        return functools.partial(_replaced(value.func, function, done), *value.args, **value.keywords)
    return _standing_in(value)


_INSTALLED = tuple(dict.fromkeys(os.path.join(sysconfig.get_path(kind), "") for kind in ("stdlib", "platstdlib", "purelib", "platlib")))


def _users(function):
    """Whether this is code of the user's own, and not of an installed package: only that is worth looking into."""
    return (
        not function.__code__.co_filename.startswith(_INSTALLED)
        and (function.__module__ or "").partition(".")[0] != __package__.partition(".")[0]
    )


def trace(function, graph, parameters):
    """What the function computes, as a node of the graph."""
    followed = _substituted(function, {})
    graph.defaults |= parameters

    def explore(path):
        graph.path = path
        graph.paths += 1
        if graph.paths > MAX_PATHS:
            raise unsupported(
                f"more than {MAX_PATHS} ways through the function (a loop whose end depends on x?)", "use where(condition, a, b)"
            )
        try:
            result = followed(graph.x, **{name: graph.param(name) for name in parameters})
        except _Unknown as unknown:
            condition = unknown.condition
        except (UnsupportedOperationError, RecursionError):
            raise
        except Exception as error:
            raise UnsupportedOperationError(_failure(error, _where(path))) from error
        else:
            return _result(graph, result, _where(path))
        return graph.select(condition, explore({**path, condition: True}), explore({**path, condition: False}))

    return explore({})


def _where(path):
    """The conditions on the way that was followed, in words."""
    conditions = [condition if holds else condition.graph.negation(condition) for condition, holds in path.items()]
    return " where " + " and ".join(map(text, conditions)) if conditions else ""


def _failure(error, where):
    """What to say of an error in the user's own code."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    said = said.replace("'Node'", "'x'").replace("Node", "x")
    if isinstance(error, AttributeError) and isinstance(error.obj, types.ModuleType):
        near = difflib.get_close_matches(error.name, [n for n in dir(error.obj) if not n.startswith("_")], 1)
        return f"the function raises {said}" + (f"; did you mean {near[0]}?" if near else f"; {USE}")
    if isinstance(error, NameError):
        return f"the function raises {said}"
    if where:
        return f"the function raises {said},{where}; an activation gives a number for every x and every parameter: leave such a check out, or return a number there"
    if isinstance(error, (TypeError, ValueError, AttributeError)):
        return f"the function fails when it is called with a stand-in for x: {said}; {USE}, from fastact.math, NumPy or math, and leave checks of x out"
    return f"the function raises {said}"


def _result(graph, value, where):
    if value is None:
        raise UnsupportedOperationError(f"the function returns None{where}; end {'each way through it' if where else 'it'} with return")
    if isinstance(value, (tuple, list)):
        what = f"{len(value)} values" if len(value) != 1 else f"a {type(value).__name__}"
        raise UnsupportedOperationError(
            f"the function returns {what}; return the value alone (its derivative is derived, or given by derivative=)"
        )
    if isinstance(value, types.GeneratorType) or inspect.iscoroutine(value):
        raise UnsupportedOperationError("the function yields or awaits; write a plain function that ends with return")
    if isinstance(value, str) or callable(value):
        raise UnsupportedOperationError(f"the function returns {value!r}{where}, which is not a number")
    return graph.number(value)


# --- What a graph says ---------------------------------------------------------------------------------------------------


def ordered(roots):
    """All nodes that the roots need, operands first."""
    seen, stack = {}, [(r, False) for r in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            seen.setdefault(node)
        elif node not in seen:
            stack.append((node, True))
            stack += [(a, False) for a in reversed(node.args)]
    return list(seen)


def depends(node):
    """Whether x is in it."""
    return any(n.op == "x" for n in ordered([node]))


LINEAR = ("add", "sub", "mul", "div", "neg", "select")
ARITHMETIC = (*LINEAR, "abs", "sqrt", "hypot1", "max", "min", "copysign")  # what leaves large numbers large


def substitute(roots, old, new, within=None):
    """The roots with one node in place of another; `within`: only where no other operation than these, or a hold, is above it."""
    graph, made = old.graph, {old: new}
    for node in ordered(roots):
        if (
            within
            and node.args
            and node.op not in within
            and not any(a.op == "named" or (a.op == "neg" and a.args[0].op == "named") for a in node.args)
        ):
            made[node] = node
        elif node not in made:
            args = [made[a] for a in node.args]
            made[node] = node if all(a is b for a, b in zip(args, node.args, strict=True)) else graph.raw(node.op, *args, value=node.value)
    return [made[r] for r in roots]


def lowered(roots):
    """The roots with powers in terms of what the formula language has."""
    made = {}
    for node in ordered(roots):
        args = [made[a] for a in node.args]
        if node.op == "power":
            made[node] = node.graph.computed_power(*args)
        else:
            made[node] = (
                node if all(a is b for a, b in zip(args, node.args, strict=True)) else node.graph.raw(node.op, *args, value=node.value)
            )
    return [made[r] for r in roots]


def inlined(root, x, given):
    """The root of another graph with this node for x, and these for its parameters."""
    g, made = x.graph, {}
    for node in ordered([root]):
        op, args = node.op, [made[a] for a in node.args]
        if op in ("x", "param"):
            made[node] = x if op == "x" else given[node.value]
        elif op == "const":
            made[node] = g.const(node.value)
        elif op in COMPARISONS:
            made[node] = g.compare(op, *args)
        elif op in ("and", "or"):
            made[node] = g.combine(op, *args)
        elif op in ("max", "min"):
            made[node] = g.extreme(op, *args)
        elif op == "formula":
            if any(depends(p) for p in args[1:]):
                raise unsupported(f"{node.value[0]} with a parameter that depends on x")
            name, which, *conventions = node.value
            made[node] = g.formula(name, *args, which=which, conventions=(*conventions, ())[0])
        elif op in ELEMENTARY:
            made[node] = g.call(op, *args)
        else:
            made[node] = getattr(g, "negation" if op == "not" else op)(*args)
    return made[root]


def derivative(root):
    """The derivative with respect to x, by the chain rule; the rule at a kink is that of the catalog, 0 where one side is 0.

    Each kink is taken by itself: where several make up for one another, `custom` mends what comes out.
    """
    g, made = root.graph, {}
    for node in ordered([root]):
        if node.op not in CONDITIONS:
            made[node] = _rule(g, node, [made.get(a) for a in node.args])
    return made[root]


def beside(root, x0, step, parameters):
    """The root where two numbers that are equal at x0 compare as they do a step away from it."""
    nodes = ordered([root])
    compared = list({a for node in nodes if node.op in _ORDERS for a in node.args})
    there = dict(zip(compared, evaluate(compared, [x0, x0 + step], parameters), strict=True))
    made = {}
    for node in nodes:
        args = [made[a] for a in node.args]
        op = node.op
        if op in _ORDERS:
            (at, near), (at_other, near_other) = (there[a] for a in node.args)
            if at == at_other and near != near_other:
                op = ("ge" if near > near_other else "gt") if op in ("gt", "ge") else ("lt" if near > near_other else "le")
        same = op == node.op and all(a is b for a, b in zip(args, node.args, strict=True))
        made[node] = node if same else node.graph.raw(op, *args, value=node.value)
    return made[root]


def _rule(g, node, inner):
    op, args = node.op, node.args
    if op == "x":
        return g.one
    if op in ("const", "param", "named") or all(d is None or d is g.zero for d in inner):
        return g.zero
    if op == "add":
        return g.add(*inner)
    if op == "sub":
        return g.sub(*inner)
    if op == "neg":
        return g.neg(inner[0])
    if op == "mul":
        if args[0] is args[1]:
            return g.mul(g.mul(g.const(2), args[0]), inner[0])
        return g.add(g.mul(inner[0], args[1]), g.mul(args[0], inner[1]))
    if op == "div":
        return g.div(inner[0] if inner[1] is g.zero else g.sub(inner[0], g.mul(node, inner[1])), args[1])
    if op == "select":
        return g.select(args[0], inner[1], inner[2])
    if op in ("max", "min"):
        a, b, da, db = *args, *inner
        if da is g.zero and db is not g.zero:
            a, b, da, db = b, a, db, da
        return g.select(g.compare("gt" if op == "max" else "lt", a, b), da, db)
    a, da = args[0], inner[0]
    if op == "power":
        b = args[1]
        slope = g.mul(g.mul(b, g.power(a, g.sub(b, g.one))), da)
        if b.op == "const":
            return slope if b.value > 1 else _where_flat(g, a, da, slope)
        return g.select(g.compare("eq", b, g.zero), g.zero, _where_flat(g, a, da, slope))
    if op == "abs":
        return g.select(g.compare("gt", a, g.zero), da, g.select(g.compare("lt", a, g.zero), g.neg(da), g.zero))
    if op == "formula":
        name, which, *conventions = node.value
        if which:
            raise unsupported(f"the derivative of {name}.grad", "write it out, or give derivative=")
        return g.mul(g.formula(name, *args, which=1, conventions=(*conventions, ())[0]), da)
    return _chain(g, op, node, a, da)


def _where_flat(g, a, da, slope):
    """A slope that is infinite where a is 0: times an inner derivative of 0, as of max(x, 0), it is 0."""
    flat = any(n.op == "select" and any(a is g.zero for a in n.args[1:]) for n in ordered([da]))  # not `in`: == of nodes is a node
    if not flat or g.least(a) > 0:
        return slope
    return g.select(g.combine("and", g.compare("eq", a, g.zero), g.compare("eq", da, g.zero)), g.zero, slope)


def _chain(g, op, node, a, da):
    if op == "exp":
        return g.mul(node, da)
    if op == "expm1":
        return g.mul(g.call("exp", a), da)
    if op == "log":
        return g.div(da, a)
    if op == "log1p":
        if a.op == "mul" and a.args[1].op == "exp" and not depends(a.args[0]):  # c exp(u) / (1 + c exp(u)), which would overflow
            u, c = a.args[1].args[0], a.args[0]
            return g.div(derivative(u), g.add(g.one, g.div(g.call("exp", g.neg(u)), c)))
        return g.div(da, g.add(g.one, a))
    if op == "sqrt":
        return _where_flat(g, a, da, g.div(g.mul(g.const(0.5), da), node))
    if op == "hypot1":
        return g.mul(g.div(a, node), da)
    if op == "sin":
        return g.mul(g.call("cos", a), da)
    if op == "cos":
        return g.neg(g.mul(g.call("sin", a), da))
    if op == "atan":
        return g.div(da, g.add(g.one, g.mul(a, a)))
    raise unsupported(f"the derivative of {op}", "give derivative=")


# --- Evaluating ----------------------------------------------------------------------------------------------------------


def _wide(function):
    """NumPy's function in float64, rounded once."""
    return lambda a: np.asarray(function(np.asarray(a, np.float64))).astype(np.asarray(a).dtype)


_NUMPY = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "atan": np.arctan,
    "hypot1": lambda a: np.hypot(1, a),
}  # fmt: skip


def evaluate(roots, x, parameters, dtype="float64", strict=False):
    """The roots at these x by NumPy, each operation in this dtype: a list of arrays; `strict`: NaN in what a maximum is of makes it NaN."""
    operations = _OPERATIONS | {"max": np.maximum, "min": np.minimum} if strict else _OPERATIONS
    real, known = np.dtype(dtype).type, {}
    x = np.asarray(x, dtype)

    def formula(name, which, *conventions, args):
        of_formula = getattr(formulas, name)(*[np.asarray(a, np.float64) for a in args], **dict(*conventions))
        return np.asarray(of_formula[which]).astype(dtype)

    with np.errstate(all="ignore"):
        for node in ordered(roots):
            args = [known[a] for a in node.args]
            op = node.op
            if op == "x":
                made = x
            elif op == "const":
                made = real(node.value)
            elif op == "named":
                made = real(getattr(node.value[1], dtype))
            elif op == "param":
                made = real(parameters[node.value])
            elif op in _NUMPY:
                made = _wide(_NUMPY[op])(args[0])
            elif op == "formula":
                made = formula(*node.value, args=args)
            else:
                made = operations[op](*args)
            known[node] = made
    return [np.broadcast_to(np.asarray(known[r]), x.shape) for r in roots]


_OPERATIONS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt,
    "max": language.maximum, "min": language.minimum, "select": np.where, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "copysign": np.copysign, "power": np.power, **COMPARE,
}  # fmt: skip


# --- Ranges --------------------------------------------------------------------------------------------------------------

_ANY, _POSITIVE = (-math.inf, math.inf), (0.0, math.inf)
_RANGES = {  # of formulas
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "erfc": (0.0, 2.0),
    "softplus": _POSITIVE,
    "relu": _POSITIVE,
}


def ranges(roots, precision, signs=types.MappingProxyType({})):
    """Between which two numbers each node lies, whatever x and the parameters are; NaN apart. `signs`: numbers with those of the parameters."""
    found = {}
    for node in ordered(roots):
        positive = node.op == "param" and signs.get(node.value, 0) > 0
        found[node] = _POSITIVE if positive else _range(node, [found[a] for a in node.args], precision)
    return found


def _range(node, inner, precision):
    op, args = node.op, node.args
    if op == "const":
        return (node.value, node.value) if node.value == node.value else _ANY
    if op == "named":
        return (getattr(node.value[1], precision),) * 2
    if op == "formula":
        return _RANGES.get(node.value[0], _ANY) if node.value[1] == 0 else _ANY
    if op in ("sin", "cos"):
        return -1.0, 1.0
    if op in ("hypot1", "sqrt"):
        return float(op == "hypot1"), math.inf
    if op == "power":
        return _POSITIVE if inner[0][0] >= 0 else _ANY
    if op == "select":
        return min(inner[1][0], inner[2][0]), max(inner[1][1], inner[2][1])
    if op not in ("neg", "abs", "exp", "expm1", "add", "sub", "mul", "div", "max", "min"):
        return _ANY
    (a, b), (c, d) = inner[0], inner[-1]
    if op == "neg":
        return -b, -a
    if op == "abs":
        return max(0.0, a, -b), max(abs(a), abs(b))
    if op in ("exp", "expm1"):
        below = float(op == "expm1")
        return (-below if a < 0 else 1 - below), (1 - below if b <= 0 else math.inf)
    if op in ("max", "min"):
        return (max(a, c), max(b, d)) if op == "max" else (min(a, c), min(b, d))
    if op == "mul" and args[0] is args[1]:
        return _POSITIVE
    if op == "div" and c <= 0:
        return _ANY
    with np.errstate(all="ignore"):
        ends = [float(_OPERATIONS[op](np.float64(u), np.float64(v))) for u in (a, b) for v in (c, d)]
    if op in ("mul", "div"):
        ends = [0.0 if e != e else e for e in ends]  # 0 * inf is no end: numbers near it are anything between the others
    return _ANY if any(e != e for e in ends) else (min(ends), max(ends))


def _chosen(roots):
    """By node, the function of the formula language that an elementary node calls."""
    by_precision = [ranges(roots, precision) for precision in language.PRECISIONS]
    found = {}
    for node in next(iter(by_precision)):
        if node.op not in ELEMENTARY:
            continue
        for low, high, function in _BY_RANGE.get(node.op, ((None, None, getattr(elementary, node.op, None)),)):
            within = zip(language.PRECISIONS, [known[node.args[0]] for known in by_precision], strict=True)
            if all((low is None or a >= low) and (high is None or b <= getattr(high, p, high)) for p, (a, b) in within):
                found[node] = function
                break
    return found


# --- Writing -------------------------------------------------------------------------------------------------------------

_LOOSE, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(6)
_INFIX = {"add": ("+", _SUM), "sub": ("-", _SUM), "mul": ("*", _PRODUCT), "div": ("/", _PRODUCT)}
_NAMES = {"max": "maximum", "min": "minimum"}
# What exp, expm1 and log1p are in a formula: whichever first holds for the range of the argument. The last of each takes every number.
_BY_RANGE = {
    "exp": ((None, elementary.MODERATE, elementary.exp_moderate), (None, None, primitives.exp_whole)),
    "expm1": ((None, elementary.MODERATE, elementary.expm1_moderate), (None, None, primitives.expm1_whole)),
    "log1p": ((0.0, 1.0, primitives.small_log1p), (0.0, None, elementary.log1p_positive), (None, None, primitives.log1p_whole)),
}  # fmt: skip


def _literal(value):
    if value != value:
        return "NAN", _ATOM
    if value == math.inf:
        return "INFINITY", _ATOM
    if value == -math.inf:
        return "-INFINITY", _UNARY
    shown = repr(int(value)) if value == int(value) and abs(value) < 1e15 and str(value) != "-0.0" else repr(value)
    return shown, _UNARY if value < 0 else _ATOM


def _expression(node, names, plain=False, functions=types.MappingProxyType({})):
    """A node as text, and how tightly that binds.

    `names`: the nodes that have a variable; `plain`: for people; `functions`: what elementary nodes call in a formula.
    """
    if node in names:
        return names[node], _ATOM

    def at(child, level):
        shown, binds = _expression(child, names, plain, functions)
        return shown if binds >= level else f"({shown})"

    op, args = node.op, node.args
    if op in ("x", "param"):
        return node.value, _ATOM
    if op == "named":
        return node.value[0], _ATOM
    if op == "const":
        if math.isnan(node.value):
            raise unsupported("NaN as a constant", "is there a division 0 / 0 or the logarithm of a negative number?")
        return _literal(node.value)
    if op in _INFIX:
        sign, level = _INFIX[op]
        loose = plain and op in ("add", "mul")  # for compilers, a * (b * c) keeps its parentheses: it rounds and overflows in its own way
        return f"{at(args[0], level)} {sign} {at(args[1], level if loose else level + 1)}", level
    if op == "neg":
        return f"-{at(args[0], _UNARY)}", _UNARY
    if op == "power":
        return f"{at(args[0], _ATOM)} ** {at(args[1], _UNARY)}", _POWER
    if op in COMPARISONS:
        return f"{at(args[0], _SUM)} {COMPARISONS[op]} {at(args[1], _SUM)}", _LOOSE
    if op in ("and", "or"):
        return f" {'&' if op == 'and' else '|'} ".join(f"({_expression(a, names, plain, functions)[0]})" for a in args), _LOOSE
    listed = ", ".join(_expression(a, names, plain, functions)[0] for a in args)
    if op == "formula":
        return f"{node.value[0]}({listed})" + ("'" if node.value[1] else ""), _ATOM
    if op == "hypot1" and plain:
        return f"sqrt(1 + {at(args[0], _ATOM)} ** 2)", _ATOM
    return f"{functions[node].__name__ if node in functions else _NAMES.get(op, op)}({listed})", _ATOM


def text(node):
    """A node as a person would write it: one expression, or where that would be long, with names for what is in it more than once."""
    if tree_size(node) <= MAX_TREE:
        return _expression(node, {}, True)[0]
    nodes = ordered([node])
    uses = collections.Counter(a for n in nodes for a in n.args)
    names, lines = {}, []
    for n in nodes:
        if n.args and uses[n] > 1:
            line = _expression(n, names, True)[0]
            names[n] = f"v{len(lines) + 1}"
            lines.append(f"{names[n]} = {line}")
    lines.append(_expression(node, names, True)[0])
    if len(lines) > MAX_LINES:
        lines[MAX_LINES // 2 : -MAX_LINES // 2] = ["..."]
    return "; ".join(lines)


def tree_size(node):
    """How many nodes an expression has that writes each as often as it is used."""
    sizes = {}
    for n in ordered([node]):
        sizes[n] = 1 + sum(sizes[a] for a in n.args)
    return sizes[node]


def source(name, roots, parameters, summary, reserved=()):
    """The source of a formula that returns the roots, the functions that it calls, and its own constants.

    Returns
    -------
    str, dict, dict
    """
    nodes = ordered(roots)
    functions = _chosen(roots)
    uses = {}
    for a in [*(a for n in nodes for a in n.args), *roots]:
        uses[a] = uses.get(a, 0) + 1
    taken = {"x", *parameters, *reserved}
    names, lines, calls, constants = {}, [], {}, {}

    def fresh(stem):
        count = 1
        while f"{stem}{count}" in taken:
            count += 1
        taken.add(f"{stem}{count}")
        return f"{stem}{count}"

    def shown(node):
        return _expression(node, names, functions=functions)[0]

    for node in nodes:
        if node.op == "named":
            constants[node.value[0]] = node.value[1]
        elif node.op == "formula":
            called = getattr(formulas, node.value[0])
            conventions = node.value[2:]
            if len(node.args) == 1 and not conventions:
                called = getattr(called, "at_defaults", called)
            calls[called.__name__] = called
            if node not in names:
                arguments = ", ".join([*(shown(a) for a in node.args), *(f"{p}={_literal(v)[0]}" for p, v in dict(*conventions).items())])
                if any(map(math.isnan, dict(*conventions).values())):
                    constants["NAN"] = _NAN
                pair = [node.graph.raw("formula", *node.args, value=(node.value[0], which, *conventions)) for which in (0, 1)]
                names[pair[0]] = fresh(node.value[0][0])
                names[pair[1]] = f"d{names[pair[0]]}"
                taken.add(names[pair[1]])
                lines.append(f"{names[pair[0]]}, {names[pair[1]]} = {called.__name__}({arguments})")
        elif node.op in ELEMENTARY:
            calls[functions[node].__name__] = functions[node]
        if node.args and uses[node] > 1 and node not in names and node.op != "formula" and node.op not in CONDITIONS and node.op != "neg":
            line = shown(node)
            names[node] = fresh("v")
            lines.append(f"{names[node]} = {line}")
        elif node.args and node not in names and node.op not in CONDITIONS and len(line := shown(node)) > 90:
            names[node] = fresh("v")
            lines.append(f"{names[node]} = {line}")
    for node in nodes:
        if node.op in ("max", "min", "select", "sqrt", "copysign"):
            called = _NAMES.get(node.op, node.op)
            calls[called] = getattr(language, called)
    listed = ", ".join(["x", *(f"{p}={default!r}" for p, default in parameters.items())])
    results = ", ".join(shown(r) for r in roots)
    body = [f'"""{summary}"""', *lines, f"return {results}"]
    return f"def {name}({listed}):\n" + "".join(f"    {line}\n" for line in body), calls, constants
