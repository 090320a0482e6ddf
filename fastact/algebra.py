"""Graphs as sympy's expressions and back: proofs, and better forms of a derivative. Only where sympy is installed; nothing needs it."""

from . import tracing

_FAILURES = (NotImplementedError, TypeError, ValueError, KeyError, AttributeError, RecursionError, ZeroDivisionError, OverflowError)
_LARGE = 60  # nodes: sympy's simplify may take minutes beyond
_LARGE_TREE = 300  # the same, each as often as it is used: sympy's expressions are trees


def _sympy():
    try:
        import sympy
    except ImportError:
        return None
    return sympy


def _large(root):
    return len(tracing.ordered([root])) > _LARGE or tracing.tree_size(root) > _LARGE_TREE


def is_linear(value, parameters):
    """Whether sympy finds that the second derivative is 0."""
    sympy = _sympy()
    if sympy is None or _large(value):
        return False
    x = sympy.Symbol("x", real=True)
    try:
        return (
            sympy.simplify(sympy.diff(_to(value, x, sympy, {p: sympy.nsimplify(v, rational=True) for p, v in parameters.items()}), x, 2))
            == 0
        )
    except _FAILURES:
        return False


def forms(root, parameters):
    """Other forms of a graph, as graphs."""
    sympy = _sympy()
    if sympy is None or _large(root):
        return
    x = sympy.Symbol("x", real=True)
    symbols = {p: sympy.Symbol(p, real=True) for p in parameters}
    try:
        given = _to(root, x, sympy, symbols)
    except _FAILURES:
        return
    for transform in (sympy.simplify, sympy.factor, lambda e: sympy.factor(sympy.together(e)), lambda e: sympy.cancel(sympy.together(e))):
        try:
            yield _from(transform(given), root.graph, sympy)
        except _FAILURES:
            continue


def _to(root, x, sympy, symbols):
    names = {
        "abs": sympy.Abs, "sqrt": sympy.sqrt, "exp": sympy.exp, "expm1": lambda a: sympy.exp(a) - 1, "log": sympy.log,
        "log1p": lambda a: sympy.log(1 + a), "erf": sympy.erf, "erfc": sympy.erfc, "sin": sympy.sin, "cos": sympy.cos, "atan": sympy.atan,
        "max": sympy.Max, "min": sympy.Min, "hypot1": lambda a: sympy.sqrt(1 + a**2),
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "neg": lambda a: -a, "power": lambda a, b: a**b,
        "lt": sympy.Lt, "le": sympy.Le, "gt": sympy.Gt, "ge": sympy.Ge, "eq": sympy.Eq, "ne": sympy.Ne, "and": sympy.And, "or": sympy.Or,
        "select": lambda c, a, b: sympy.Piecewise((a, c), (b, True)),
    }  # fmt: skip

    def logistic(a):
        return 1 / (1 + sympy.exp(-a))

    formulas = {
        ("tanh", 0): sympy.tanh, ("tanh", 1): lambda a: 1 - sympy.tanh(a) ** 2, ("sigmoid", 0): logistic, ("softplus", 1): logistic,
        ("sigmoid", 1): lambda a: logistic(a) * logistic(-a), ("softplus", 0): lambda a: sympy.log(1 + sympy.exp(a)),
        ("erf", 0): sympy.erf, ("erfc", 0): sympy.erfc, ("silu", 0): lambda a: a * logistic(a),
    }  # fmt: skip
    made = {}
    for node in tracing.ordered([root]):
        args = [made[a] for a in node.args]
        if node.op == "x":
            made[node] = x
        elif node.op == "const":
            made[node] = sympy.nsimplify(node.value, rational=True)
        elif node.op == "param":
            made[node] = symbols[node.value]
        elif node.op == "formula":
            made[node] = formulas[node.value](*args)
        else:
            made[node] = names[node.op](*args)
    return made[root]


def _from(expression, graph, sympy):
    """An expression of sympy as a node."""
    names = {sympy.exp: "exp", sympy.log: "log", sympy.sin: "sin", sympy.cos: "cos", sympy.atan: "atan"}
    relations = {
        sympy.StrictLessThan: "lt", sympy.LessThan: "le", sympy.StrictGreaterThan: "gt", sympy.GreaterThan: "ge", sympy.Equality: "eq",
        sympy.Unequality: "ne",
    }  # fmt: skip

    def read(e):
        if e.is_Symbol:
            return graph.x if e.name == "x" else graph.param(e.name)
        if e.is_number:
            return graph.const(float(e))
        kind = type(e)
        if kind in relations:
            return graph.compare(relations[kind], read(e.args[0]), read(e.args[1]))
        if e.is_Piecewise:
            *pairs, (last, _) = e.args
            result = read(last)
            for value, condition in reversed(pairs):
                result = graph.select(read(condition), read(value), result)
            return result
        args = [read(a) for a in e.args]
        if e.is_Add or e.is_Mul:
            if e.is_Mul:  # one division, not many
                below = [a for a in e.args if a.is_Pow and a.exp.is_number and a.exp < 0]
                above = [read(a) for a in e.args if a not in below]
                below = [read(1 / a) for a in below]
                top = _fold(graph.mul, above, graph.one)
                return graph.div(top, _fold(graph.mul, below, graph.one)) if below else top
            return _fold(graph.add, args, graph.zero)
        if e.is_Pow:
            return graph.power(*args)
        if kind in names:
            return graph.call(names[kind], args[0])
        if kind is sympy.tanh:
            return graph.formula("tanh", args[0])
        if kind in (sympy.erf, sympy.erfc):
            return graph.formula(kind.__name__, args[0])
        if kind is sympy.Abs:
            return graph.abs(args[0])
        if kind is sympy.sign:
            return graph.sign(args[0])
        if kind in (sympy.sinh, sympy.cosh):
            return tracing.apply(graph, kind.__name__, args)
        raise NotImplementedError(kind)

    return read(expression)


def _fold(operation, nodes, start):
    for node in nodes:
        start = operation(start, node)
    return start
