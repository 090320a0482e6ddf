"""Formulas as straight-line NumPy code: what `numpy.py` runs on blocks.

A formula is read into a graph, which keeps what the mode wants and computes what is common once; each node becomes a ufunc call into a
buffer. The arithmetic has the data's precision, with two roundings for a ``fma`` (in float64 one in `mills`, which lives off it); NumPy's
own exp, expm1 and tanh take the place of the primitives. Where a formula takes exp in parts, it counts every digit: there float32 is
computed in float64, which has room for the whole exp, and float64 has two programs: one for blocks in which exp is a normal number, and
one for all.
"""

import ast
import math

import numpy as np

from .. import catalog, elementary, formulas, language, primitives, translate

# --- The graph -----------------------------------------------------------------------------------------------------------


class _Node:
    """One operation. Its kind: ``const``, ``scalar`` (known per call), ``real`` or ``bool`` (blocks)."""

    __slots__ = ("args", "graph", "kind", "op", "value")

    def __init__(self, graph, op, args, kind, value=None):
        self.graph, self.op, self.args, self.kind, self.value = graph, op, args, kind, value

    def __mul__(self, other):
        return self.graph.multiply(self, other)

    def __add__(self, other):
        return self.graph.add(self, other)


_BOOLEAN = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "bitwise_and", "bitwise_or", "flip", "keep"}
_OPERATORS = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.BitAnd: "bitwise_and",
    ast.BitOr: "bitwise_or",
}
_COMPARISONS = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal", ast.NotEq: "not_equal",
}  # fmt: skip


_NORMAL = -600.0  # exp of this, times a few digits, is a normal float64


class _Graph:
    """Formulas as a graph.

    Parameters
    ----------
    precision : {"float32", "float64"}
        Of the data and of the formula's constants.
    exponential : {"whole", "factors", "parts"}
        What becomes of exp in parts: one number, two factors, or what the language says.
    wide : bool
        Compute in float64.
    """

    def __init__(self, precision, exponential, wide=False):
        self.precision, self.exponential, self.wide = precision, exponential, wide
        self.type = np.float64 if wide else np.dtype(precision).type
        self.integer = np.int64 if self.type is np.float64 else np.int32
        self.exact = False
        self.exponents = []  # what exp in parts was taken of
        self.nodes = {}
        self.nothing = _Node(self, "nothing", (), "const", self.type(0))  # a correction that is not needed: it vanishes from sums
        self.one = _Node(self, "one", (), "const", self.type(1))  # the second factor of exp, where exp is whole
        self.one_less = _Node(self, "one_less", (), "const", self.type(0))
        self.one_more = _Node(self, "one_more", (), "const", self.type(2))

    # Reading

    def call(self, function, arguments):
        """The results of a function of the language."""
        own = _OWN.get(function)
        results = own and own(self, *arguments)
        return results or self.inline(function, arguments)

    def inline(self, function, arguments):
        read = translate.source(function)
        scope = dict(zip(read.arguments, arguments, strict=True))
        for statement in read.body:
            value, target = self.expression(read, statement.value, scope), statement.targets[0]
            if isinstance(target, ast.Tuple):
                scope.update(zip((n.id for n in target.elts), value, strict=True))
            else:
                scope[target.id] = value
        results = tuple(self.expression(read, value, scope) for value in read.results)
        return results[0] if isinstance(results[0], tuple) else results

    def expression(self, read, node, scope):
        def value(child):
            return self.expression(read, child, scope)

        if isinstance(node, ast.Name):
            return scope[node.id] if node.id in scope else self.const(read.resolve(node.id))
        if isinstance(node, ast.Constant):
            return self.const(node.value)
        if isinstance(node, ast.UnaryOp):
            return self.negative(value(node.operand)) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.BinOp):
            return getattr(self, _OPERATORS[type(node.op)])(value(node.left), value(node.right))
        if isinstance(node, ast.Compare):
            return self.make(_COMPARISONS[type(node.ops[0])], value(node.left), value(node.comparators[0]))
        called = node.func.id
        if not read.is_intrinsic(called):
            results = self.call(read.resolve(called), [value(a) for a in read.bind(node)])
            return results[0] if len(results) == 1 else results
        if called in language.TABLES:
            arguments = [self.table(read, a) if i in language.TABLES[called] else value(a) for i, a in enumerate(node.args)]
            return getattr(self, called)(*arguments)
        arguments = [value(a) for a in node.args]
        return getattr(self, called)(*arguments) if hasattr(self, called) else self.call(language.INTRINSICS[called], arguments)[0]

    def table(self, read, node):
        return [self.const(c) for c in read.resolve(node.id)[self.precision]]

    # Operations, with what is known about them

    def make(self, op, *args):
        if all(a.kind == "const" for a in args) and op not in ("q", "n"):  # what those are is decided later
            with np.errstate(all="ignore"):
                return self.const(_scalar(op)(*[a.value for a in args]))
        found = self.nodes.get((op, *args))
        if found is None:
            kind = "scalar" if all(a.kind in ("const", "scalar") for a in args) else "bool" if op in _BOOLEAN else "real"
            found = self.nodes[(op, *args)] = _Node(self, op, args, kind)
        return found

    def input(self, name, kind="real"):
        node = self.nodes.setdefault(name, _Node(self, name, (), kind))
        return self.make("widen", node) if self.wide and kind == "real" else node

    def const(self, value):
        if value is primitives.SIGMOID_UNBIAS and self.exponential == "whole":
            value = 1  # there is room for all
        value = np.bool_(value) if isinstance(value, (bool, np.bool_)) else self.type(getattr(value, self.precision, value))
        return self.nodes.setdefault((type(value), value.tobytes()), _Node(self, "const", (), "const", value))

    def negative(self, a):
        if a.op == "negative":
            return a.args[0]
        return self.make("sign_on", a.args[0]) if a.op == "absolute" and a.args[0].kind == "real" else self.make("negative", a)

    def add(self, a, b):
        for one, other in ((a, b), (b, a)):
            if one is self.nothing:
                return other
            if one is self.one and other is self.const(1):
                return self.one_more
            if one.op == "negative":
                return self.subtract(other, one.args[0])
            if one.op == "q" and other is self.const(1):
                return self.factor(*one.args)
            if one.op == "multiply" and one.args[1].op == "q":
                v, q = one.args
                if other is v:
                    return self.multiply(v, self.factor(*q.args))
                if v is self.other_factor(*q.args) and other is self.add(v, self.const(1)):
                    return self.add(self.multiply(v, self.factor(*q.args)), self.const(1))
                if v is self.other_factor(*q.args) and other is self.subtract(v, self.const(1)):
                    e = self.expm1(q.args[0])
                    return e if len(q.args) == 1 else self.add(e, self.multiply(q.args[1], self.factor(q.args[0])))
                if (
                    other.op == "subtract"
                    and len(q.args) == 1
                    and other.args[0] is v is self.multiply(other.args[1], self.other_factor(*q.args))
                ):
                    return self.multiply(other.args[1], self.expm1(q.args[0]))
                if other.op == "subtract" and other.args == (v, self.multiply(v, self.factor(*q.args))):
                    return self.nothing  # what the rounding of the product lost: there is no such product here
        return self.make("add", a, b)

    def subtract(self, a, b):
        if b.op == "negative":
            return self.add(a, b.args[0])
        if a is self.one and b is self.const(1):
            return self.one_less
        return a if b is self.nothing else self.make("subtract", a, b)

    def multiply(self, a, b):
        if self.nothing in (a, b):
            return self.nothing
        if a.kind == "const" or a.op == "q":
            a, b = b, a
        if b is self.one and a.op == "q":
            return self.make("multiply", b, a)
        if b in (self.one, self.const(1)):
            return a
        if b is self.const(-1):
            return self.negative(a)
        if a.op == "negative":
            return self.multiply(a.args[0], self.const(-b.value)) if b.kind == "const" else self.negative(self.multiply(a.args[0], b))
        if b.op == "negative":
            return self.negative(self.multiply(a, b.args[0]))
        return self.make("multiply", a, b)

    def divide(self, a, b):
        if None not in (plain := (self.unbiased(a), self.unbiased(b))):
            a, b = plain
        return self.make("divide", a, b)

    def rounded_fma(self, a, b, c):
        return self.add(self.multiply(a, b), c)

    def exact_fma(self, a, b, c):
        """Rounded nearly once: the product and what its rounding lost, by Dekker's and Veltkamp's sums."""
        product = self.multiply(a, b)
        (a_high, a_low), (b_high, b_low) = (self.halves(v) for v in (a, b))
        rest = self.subtract(self.multiply(a_high, b_high), product)
        for u, v in ((a_high, b_low), (a_low, b_high), (a_low, b_low)):
            rest = self.add(rest, self.multiply(u, v))
        total = self.add(product, c)
        shift = self.subtract(total, product)
        lost = self.add(self.subtract(product, self.subtract(total, shift)), self.subtract(c, shift))
        return self.add(total, self.add(lost, rest))

    def halves(self, a):
        split = self.multiply(a, self.const(language.SPLITTER))
        high = self.subtract(split, self.subtract(split, a))
        return high, self.subtract(a, high)

    def fma(self, a, b, c):
        if self.exact:
            return self.exact_fma(a, b, c)
        if c.op == "negative" and c.args[0] is self.multiply(a, b):
            return self.nothing  # what the rounding of the product lost is lost
        return self.add(self.multiply(a, b), c)

    def bitwise_and(self, a, b):
        for one, other in ((a, b), (b, a)):
            if one.kind == "const":
                return other if one.value else one
        return self.make("bitwise_and", a, b)

    def bitwise_or(self, a, b):
        for one, other in ((a, b), (b, a)):
            if one.kind == "const":
                return one if one.value else other
        return self.make("bitwise_or", a, b)

    def polynomial(self, x, terms):
        return language.paired(x, terms, self.rounded_fma, self.const(1))

    def abs(self, a):
        return self.make("absolute", a)

    def sqrt(self, a):
        return self.make("sqrt", a)

    def copysign(self, a, b):
        return self.make("copysign", a, b)

    def minimum(self, a, limit):
        # NumPy's own may return either zero.
        return self.select(self.make("greater", a, limit), limit, a) if _is_zero(limit) else self.make("minimum", a, limit)

    def maximum(self, a, limit):
        return self.select(self.make("less", a, limit), limit, a) if _is_zero(limit) else self.make("maximum", a, limit)

    def select(self, condition, yes, no):
        """A blend of bits: np.where branches, and a branch that nobody can predict costs more than all of this."""
        if condition.kind == "const":
            return yes if condition.value else no
        if self.nothing in (yes, no) and self.const(0) in (yes, no):
            return self.nothing
        if condition.kind == "scalar" or yes is no:
            return yes if yes is no else self.make("where", condition, yes, no)
        if None not in (plain := (self.unbiased(yes), self.unbiased(no))):
            return self.multiply(self.select(condition, *plain), self.bias)
        zero = self.const(0.0)
        if yes is zero:
            return self.make("bits_and", no, self.make("mask", self.make("flip", condition)))
        mask = self.make("mask", self.make("keep", condition))
        if no is zero:
            return self.make("bits_and", yes, mask)
        return self.make("bits_xor", no, self.make("bits_and", self.make("bits_xor", yes, no), mask))

    def biased_power(self, shifted):
        n = self.subtract(shifted, self.const(language.POWER_MAGIC))
        return self.make("exp2", self.add(n, self.const(language.POWER_BIAS)))

    # exp

    def _unclamped(self, x):
        # A limit from which on exp is 0 is none that exp needs.
        def reaches(limit, factor=1.0):
            return limit.kind == "const" and self.type(math.exp(-abs(factor * float(limit.value)))) == 0

        if x.op == "maximum" and reaches(x.args[1]) and x.args[1].value < 0:
            return x.args[0]
        if x.op == "negative" and x.args[0].op == "minimum" and reaches(x.args[0].args[1]) and x.args[0].args[1].value > 0:
            return self.negative(x.args[0].args[0])
        if x.op == "multiply" and x.args[0].op == "minimum" and x.args[1].kind == "const" and x.args[1].value < 0:
            limit = x.args[0].args[1]
            if reaches(limit, float(x.args[1].value)) and limit.value > 0:
                return self.multiply(x.args[0].args[0], x.args[1])
        return x

    def exp(self, x):
        return self.make("exp", self._unclamped(x))

    def expm1(self, x):
        return self.make("expm1", self._unclamped(x))

    def factor(self, x, low=None):
        """One of two factors of exp(x + low), neither of them subnormal; the other is 1 as long as exp(x) is normal."""
        if self.exponential == "factors":
            return self.corrected(self.make("exp", self.make("maximum", x, self.const(_NORMAL))), low)
        self.exponents.append(self.make("exp", self._unclamped(x)))
        return self.corrected(self.exponents[-1], low)

    def corrected(self, e, low):
        return e if low is None else self.fma(e, low, e)  # low is no larger than a rounding error of x

    def other_factor(self, x, low=None):
        if self.exponential == "factors":
            return self.make("exp", self.minimum(self.make("subtract", x, self.const(_NORMAL)), self.const(0)))
        return self.one

    def exp_parts(self, x, low=None):
        """As `primitives.exp_parts`, of x + low; what q and n are is decided where they are used."""
        if self.exponential == "parts":
            return None
        known = (x,) if low is None else (x, low)
        return self.make("q", *known), self.make("n", *known)

    def exp_expm1_parts(self, x):
        return None if self.exponential == "parts" else (*self.exp_parts(x), self.expm1(x))

    def whole_exp(self, x, q, n):
        return self._whole("exp", *q.args) if q.op == "q" else None

    def whole_expm1(self, x, q, n):
        return self._whole("expm1", *q.args) if q.op == "q" else None

    def _whole(self, op, x, low=None):
        e = self.make(op, x)
        if low is None:
            return (e,)
        # Infinity times 0 would be NaN, and so its difference to itself.
        largest = self.const(math.log(float(np.finfo(self.type).max)) - 0.5)
        return (self.fma(self.make("exp", self.make("minimum", x, largest)), low, e),)

    def erf_slope_parts(self, a):
        square, number = self.multiply(a, a), self.const(math.log(math.pi) / 2 - math.log(2))
        x = self.negative(square)
        y = self.subtract(x, number)
        rest = None if self.wide else self.subtract(self.subtract(self.subtract(x, y), number), self.product_rest(a, a, square))
        return self.exp_parts(y, rest)

    @property
    def bias(self):
        return self.make("divide", self.const(1), self.const(primitives.UNBIAS))

    def unbiased(self, a):
        """What was multiplied by the bias, or None."""
        return self.const(1) if a is self.bias else a.args[0] if a.op == "multiply" and a.args[1] is self.bias else None

    def biased_exp(self, q, n):
        return self.biased_exp_times(self.const(1), q, n)

    def biased_exp_times(self, y, q, n):
        if n.op != "n":
            return None
        factor, other = self.factor(*n.args), self.other_factor(*n.args)
        if other is self.one:
            return (self.multiply(self.multiply(y, factor), self.bias),)
        return (self.multiply(y, self.multiply(self.multiply(factor, self.bias), other)),)

    def biased_exp_and_1(self, q, n):
        if n.op != "n":
            return None
        e = self.multiply(self.factor(*n.args), self.other_factor(*n.args))
        return (self.multiply(self.add(e, self.const(1)), self.bias),)

    def biased_sigmoid(self, v, low):
        """exp(-v) / (1 + exp(-v)): exp(v) might be infinite."""
        parts = self.exp_parts(self.negative(v), None if low in (self.const(0), self.nothing) else self.negative(low))
        if parts is None:
            return None
        factor, other = self.factor(*parts[1].args), self.other_factor(*parts[1].args)
        ratio = self.divide(factor, self.add(self.multiply(factor, other), self.const(1)))
        if self.wide or other is not self.one:  # else exp(-v) is a normal number, or the other program's
            ratio = self.select(self.make("less", v, self.const(primitives.SIGMOID_REACH)), ratio, self.const(0.0))
        return (self.multiply(ratio, self.multiply(other, self.make("divide", self.const(1), self.const(primitives.SIGMOID_UNBIAS)))),)

    def biased_minus_expm1(self, q, n):
        if n.op != "n":
            return None
        e = self.expm1(n.args[0])
        e = e if len(n.args) == 1 else self.add(e, self.multiply(n.args[1], self.factor(n.args[0])))
        return (self.multiply(self.negative(e), self.bias),)

    def gauss_parts(self, a):
        return self.exp_parts(*self.half_square(a))

    def square_exp_expm1_parts(self, a):
        x, low = self.minus_square(a)
        parts = self.exp_parts(x, low)
        return None if parts is None else (*parts, self.expm1(x))

    def minus_square(self, a, factor=1):
        """-a * a times a power of two, and what that is rounded by."""
        factor, square = self.const(-factor), self.multiply(a, a)
        return self.multiply(factor, square), None if self.wide else self.multiply(factor, self.product_rest(a, a, square))

    def half_square(self, a):
        return self.minus_square(a, 0.5)

    def product_rest(self, a, b, product):
        """Nothing where the product is exact: by one, and of two float32 numbers in float64."""
        if self.wide or self.const(1) in (a, b):
            return self.nothing
        return self.call(language.INTRINSICS["product_rest"], [a, b, product])[0]

    def tanh_parts(self, x):
        return (self.abs(self.make("tanh", x)), *self.inline(formulas.tanh_parts, [x])[1:])

    def log_quotient(self, x, y, v):
        near = self.make("less", self.multiply(v, v), self.const(1 / 9))
        return (self.select(near, self.inline(primitives.twice_atanh, [v])[0], self.make("log", self.divide(x, y))),)

    def log1p_or_log(self, side, z, x, low):
        chosen = self.make(_COMPARISONS[ast.Gt], side, self.const(0))
        return (self.add(self.select(chosen, self.make("log1p", z), self.make("log", x)), low),)

    def mills(self, a):
        self.exact = not self.wide  # its corrections are made of what roundings lose
        results = self.inline(primitives.mills, [a])
        self.exact = False
        return (results[0], *[self.nothing] * (len(results) - 1)) if self.wide else results  # the rest are float32's roundings


def _is_zero(node):
    return node.kind == "const" and node.value == 0


_BITWISE = {"bits_and": "bitwise_and", "bits_xor": "bitwise_xor", "sign_on": "bitwise_or"}
# In float64 also for float32: NumPy's float32 ones are 2.5 ULP off.
_WIDE = ("exp", "expm1", "exp2", "log", "log1p", "sin", "cos", "arctan")


def _scalar(op):
    """An operation on scalars of one precision."""
    function = getattr(np, _BITWISE.get(op, op))
    if op in _BITWISE:
        return lambda a, b: function(a.view(f"i{a.itemsize}"), b.view(f"i{b.itemsize}")).view(a.dtype)
    return (lambda a: a.dtype.type(function(np.float64(a)))) if op in _WIDE else function


# What NumPy has itself, in place of a function of the language: called with the graph and the arguments, it returns the results, or None.
_OWN = {
    primitives.exp: lambda g, x: (g.exp(x),),
    primitives.exp_whole: lambda g, x: (g.make("exp", x),),
    primitives.expm1_whole: lambda g, x: (g.make("expm1", x),),
    primitives.log1p_whole: lambda g, x: (g.make("log1p", x),),
    primitives.log1p_or_log: _Graph.log1p_or_log,
    primitives.log_quotient: _Graph.log_quotient,
    primitives.small_log1p: lambda g, z: (g.make("log1p", z),),
    primitives.tail_log1p: lambda g, z: (g.make("log1p", z),),
    elementary.log: lambda g, x: (g.make("log", x),),
    elementary.log1p_positive: lambda g, x: (g.make("log1p", x),),
    elementary.sin: lambda g, x: (g.make("sin", x),),
    elementary.cos: lambda g, x: (g.make("cos", x),),
    elementary.atan: lambda g, x: (g.make("arctan", x),),
    primitives.exp_parts: _Graph.exp_parts,
    primitives.exp_parts_less: lambda g, x, low: g.exp_parts(x, None if low in (g.const(0), g.nothing) else g.negative(low)),
    primitives.whole_exp: _Graph.whole_exp,
    primitives.whole_expm1: _Graph.whole_expm1,
    primitives.erf_slope_parts: _Graph.erf_slope_parts,
    primitives.exp_expm1_parts: _Graph.exp_expm1_parts,
    primitives.biased_exp: _Graph.biased_exp,
    primitives.biased_exp_times: _Graph.biased_exp_times,
    primitives.biased_exp_and_1: _Graph.biased_exp_and_1,
    primitives.biased_sigmoid: _Graph.biased_sigmoid,
    primitives.biased_minus_expm1: _Graph.biased_minus_expm1,
    primitives.quotient_parts: lambda g, x, y: (g.divide(x, y), g.nothing),  # there is no fma to tell what is lost
    primitives.quotient_less_product: lambda g, x, y, low, a, b: (g.subtract(g.divide(x, y), g.multiply(a, b)),),
    primitives.times_exp: lambda g, q, high, low: (g.multiply(g.add(high, low), g.factor(*q.args)),) if q.op == "q" else None,
    primitives.gauss_parts: _Graph.gauss_parts,
    primitives.square_exp_expm1_parts: _Graph.square_exp_expm1_parts,
    primitives.mills: _Graph.mills,
    primitives.power: lambda g, n: (g.other_factor(*n.args),) if n.op == "n" else None,
    primitives.scale: lambda g, x, n: (g.multiply(x, g.other_factor(*n.args)),) if n.op == "n" else None,
    formulas.tanh_parts: _Graph.tanh_parts,
    formulas.tanh: lambda g, x: (g.make("tanh", x), g.inline(formulas.tanh, [x])[1]),
}


def _wanted(record, mode, precision, kinds, exponential, wide=False):
    """The graph's roots, which are what a kernel of this mode writes, and all the nodes they need, operands first."""
    graph = _Graph(precision, exponential, wide)
    inputs = [
        graph.const(np.dtype(precision).type(p.default)) if kind == "default" else graph.input(f"p{i}", kind)
        for i, (p, kind) in enumerate(zip(record.parameters, kinds, strict=True))
    ]
    function, rest = record.function(mode), inputs
    if inputs and set(kinds) == {"default"} and record.at_defaults(mode):
        function, rest = record.at_defaults(mode), []
    results = graph.call(function, [graph.input("x"), *rest])
    if mode == catalog.TRAINING:
        given = inputs[: len(record.given(mode))]
        results = (results[1], *graph.call(record.parameter_gradients, [graph.input("x"), *given]))
        roots = [graph.multiply(graph.input("z"), result) for result in results]
    elif mode == "backward_from_output":
        roots = [graph.multiply(graph.input("z"), results[0])]
    elif mode == "backward":
        roots = [graph.multiply(graph.input("z"), results[1])]
    else:
        roots = {"value": [results[0]], "grad": [results[1]], "value_and_grad": list(results)}[mode]
    return graph, roots, _order(roots)


def _order(roots):
    """The nodes that the roots need, operands first."""
    seen = {}

    def visit(node):
        if node not in seen:
            for a in node.args:
                visit(a)
            seen[node] = None

    for root in roots:
        visit(root)
    return list(seen)


# --- The code ------------------------------------------------------------------------------------------------------------

_VIEWS = {"r": "ri", "w": "w", "b": "bc"}  # buffers by kind, and the views of one: reals and their bits; wide; booleans and their bytes


class _Code:
    """Python code for a graph: about one ufunc a node, its buffer handed on as soon as nobody needs it."""

    def __init__(self, graph, roots, order, outputs, tested=()):
        self.graph = graph
        self.scope = {"np": np, "copyto": np.copyto, "real": graph.type, "bits": graph.integer, "wide": np.float64}
        self.start, self.lines, self.viewed = {}, [], set()
        self.free, self.count = {k: [] for k in _VIEWS}, dict.fromkeys(_VIEWS, 0)
        self.place = {}
        self.tested = tested
        self.uses = {}
        for a in [*(a for node in order for a in node.args), *roots]:
            self.uses[a] = self.uses.get(a, 0) + 1
        # An output may be an input: it is written where nothing is read from inputs any more.
        first, last = roots[0], roots[-1]
        direct = {
            root: name for root, name in zip(roots, outputs, strict=False)
            if outputs == "yz" and root.kind == "real" and root.args and self.uses[root] == 1 and not graph.wide
        }  # fmt: skip
        if first is not last and any(not a.args and a.kind == "real" for a in (last, *last.args)):
            direct.pop(first, None)
        if first is not last and not first.args:
            direct.pop(last, None)
        for node in tested:
            if not node.args:
                self.test(node)
        for node in sorted((n for n in order if n.args), key=lambda n: (n in direct, n in direct and n is last)):
            self.emit(node, direct.get(node))
        for root, name in zip(roots, outputs, strict=False):
            if root not in direct:
                self.lines.append(f"copyto({name}, {self.text(root)})")
        names = [f"{view}{i}" for kind, n in self.count.items() for i in range(n) for view in _VIEWS[kind]]
        body = [f"({', '.join(names)},) = views"] if names else []
        body += [f"{name} = {text}" for name, text in self.start.items()] + self.lines
        self.source = "def program(x, y, z, p, views):\n" + "".join(f"    {line}\n" for line in body)

    # Operands

    def take(self, kind):
        if self.free[kind]:
            return self.free[kind].pop()
        self.count[kind] += 1
        return self.count[kind] - 1

    def bound(self, value):
        name = f"k{len(self.scope)}"
        self.scope[name] = value
        return name

    def bits_of(self, name):
        if name[0] == "s":  # a scalar that is computed on the way
            self.lines += [] if name in self.viewed else [f"{name}_bits = {name}.view(bits)"]
            self.viewed.add(name)
            return f"{name}_bits"
        return self.start.setdefault(f"{name}_bits", f"{name}.view(bits)") and f"{name}_bits"

    def text(self, node, view="r"):
        """A node as an operand; `view`: ``r`` as it is, ``i`` its bits, ``c`` a boolean's bytes."""
        if node.kind == "const":
            if (node, view) not in self.place:
                value = np.array(node.value)  # of no dimension: NumPy converts nothing at each call
                self.place[node, view] = self.bound(value.view(self.graph.integer) if view == "i" else value)
            return self.place[node, view]
        if not node.args:
            name = f"p{node.op[1:]}" if node.op[0] == "p" else node.op
            if name[0] == "p":
                self.start[name] = f"p[{name[1:]}]" if node.kind == "real" else f"real(p[{name[1:]}])"
        elif node.kind == "scalar":
            name = self.place[node]
        elif node.kind == "bool":
            return f"{'c' if view == 'c' or node.op in ('keep', 'flip') else 'b'}{self.place[node]}"
        else:
            return f"{view}{self.place[node]}"
        return self.bits_of(name) if view == "i" else name

    # Statements

    def ufunc(self, op, *args):
        """A call whose last argument is the output."""
        function = self.scope.setdefault(op, getattr(np, op)) and op
        self.lines.append(f"{function}({', '.join(args[:-1])}, out={args[-1]})")

    def emit(self, node, target):
        op = node.op
        if node.kind == "scalar":
            name = self.place[node] = f"s{len(self.place)}"
            function = self.scope.setdefault(f"{op}_scalar", _scalar(op)) and f"{op}_scalar"
            self.lines.append(f"{name} = {function}({', '.join(self.text(a) for a in node.args)})")
            return
        bits = op in _BITWISE
        view = "i" if bits else "c" if op in ("keep", "flip", "mask") else "r"
        args = [self.text(a, view) for a in node.args]
        borrowed = []
        if op in ("minimum", "maximum"):  # with an array they are SIMD, with a number not
            for i, a in enumerate(node.args):
                if a.kind in ("const", "scalar"):
                    borrowed.append(("r", self.take("r")))
                    self.lines.append(f"copyto(r{borrowed[-1][1]}, {args[i]})")
                    args[i] = f"r{borrowed[-1][1]}"
        for a in node.args:
            self.uses[a] -= 1
            if not self.uses[a] and a.args and a.kind in ("real", "bool"):
                self.free["b" if a.kind == "bool" else "r"].append(self.place[a])
        self.free["r"] += [i for kind, i in borrowed]
        if target is None:
            kind = "b" if node.kind == "bool" else "r"
            self.place[node] = self.take(kind)
            out = f"{'i' if bits or op == 'mask' else 'c' if op in ('keep', 'flip') else kind}{self.place[node]}"
        else:
            out = self.bits_of(target) if bits else target
        if op in ("keep", "flip"):  # a byte of ones where true, or where false
            self.ufunc("negative", *args, out) if op == "keep" else self.ufunc("subtract", *args, self.text_of_one(), out)
        elif op == "mask":
            self.lines.append(f"copyto({out}, {args[0]})")
        elif op == "where":  # on a scalar
            self.lines.append(f"copyto({out}, {args[1]} if {args[0]} else {args[2]})")
        elif op == "widen":
            self.lines.append(f"copyto({out}, {args[0]})")
        elif op in _WIDE and self.graph.type is np.float32:
            wide = self.take("w")
            self.lines.append(f"copyto(w{wide}, {args[0]})")
            self.ufunc(op, f"w{wide}", f"w{wide}")
            self.lines.append(f"copyto({out}, w{wide})")
            self.free["w"].append(wide)
        elif op == "sign_on":
            self.ufunc("bitwise_or", args[0], self.text(self.graph.const(-0.0), "i"), out)
        else:
            self.ufunc(_BITWISE.get(op, op), *args, out)
        if node in self.tested:
            self.test(node)

    def test(self, node):
        self.scope["least"] = np.minimum.reduce
        self.lines.append(f"if not least({self.text(node)}) > {_NORMAL}: return True")  # also for NaN

    def text_of_one(self):
        self.scope["one"] = np.array(1, np.int8)
        return "one"


def compiled(record, mode, precision, kinds):
    """Compile one kernel.

    Parameters
    ----------
    kinds : tuple of {"default", "scalar", "real"}
        Of each parameter: at its default, another number, or an array.

    Returns
    -------
    list of (function, list of tuple)
        ``program(x, y, z, parameters, views)`` for blocks of one length, and what it needs: the dtypes of the views of each buffer.
        A program that returns True could not do it, and the next one can.
    """

    def wanted(*how):
        graph, roots, order = _wanted(record, mode, precision, kinds, *how)
        return (graph, roots, order) if not any(node.op in ("q", "n") for node in order) else None

    def finished(*graph, tested=()):
        outputs = [f"y[{j}]" for j in range(len(graph[1]))] if mode == catalog.TRAINING else "yz"
        code = _Code(*graph, outputs, tested)
        exec(compile(code.source, f"<fastact: {record.name}, {mode}, {precision}, NumPy>", "exec"), code.scope)
        types = {"r": (graph[0].type, graph[0].integer), "w": (np.float64,), "b": (np.bool_, np.int8)}
        return code.scope["program"], [types[kind] for kind, n in code.count.items() for _ in range(n)]

    whole = wanted("whole")
    if whole is None:
        return [finished(*wanted("parts"))]
    tested = [e.args[0] for e in whole[0].exponents if e.args and e in whole[2]]  # not of a number that is known
    if not tested:
        return [finished(*whole)]
    if precision == "float32":
        return [finished(*wanted("whole", True))]
    always = finished(*wanted("factors"))
    return [always] if any(x.kind != "real" for x in tested) else [finished(*whole, tested=tested), always]
