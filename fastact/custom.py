"""A user's own activation: a plain Python function becomes a formula, and the formula an activation like those of the catalog.

The function is followed (`tracing`), its derivative derived by the chain rule, both are written as one formula of the formula language,
and the record of that formula goes where a record of the catalog goes: all backends, modes and layouts serve it.
"""

import functools
import itertools
import keyword
import linecache
import math
import numbers
import re
import types

import numpy as np

from . import catalog, checking, language, tracing
from .elementary import MODERATE
from .errors import ActivationError, ActivationWarning, LinearActivationError, UnsupportedOperationError, warn
from .primitives import INFINITY, LARGEST

_count = itertools.count(1)

# Beyond these |x| a formula may have lost itself (inf - inf, 0 * inf) although the function has a limit: x is then held there. Largest first.
_HOLDS = (
    ("LARGEST", LARGEST),
    *((f"X_{n}", language.constant(float32=2.0 ** (127 // n), float64=2.0 ** (1023 // n))) for n in (2, 3, 4, 6, 9, 12)),
    # Where a power of exp is as large as it can be, or as x times it and some more can be.
    *(
        (f"E_{3 * n + i - 2}", language.constant(float32=(88 - 4.5 * i) / n, float64=(709 - 7 * i) / n))
        for n in (1, 2, 3, 4)
        for i in (0, 1, 2)
    ),
)


_LARGEST = _HOLDS[0]
_EXP_BOUNDS = ("MODERATE", MODERATE), ("E_1", dict(_HOLDS)["E_1"])  # the first makes a shorter exp do


class Definition:
    """What a user's activation was made of."""

    def __init__(self, source, calls, constants, value=None, derivative=None, given=False):
        self.source, self.calls, self.constants = source, calls, constants  # of the formula
        self.value, self.derivative = value, derivative  # what the user wrote, and its derivative, as graphs
        self.given = given  # the derivative is the user's too

    def __reduce__(self):
        return _definition, (self.source, self.calls, {name: (c.float32, c.float64) for name, c in self.constants.items()})


def _definition(source, calls, constants):
    return Definition(source, calls, {name: language.constant(float32=a, float64=b) for name, (a, b) in constants.items()})


def activation(function=None, *, name=None, derivative=None, kinks=(), paper="", check=True):
    """Make an activation from a function of one number.

    The function is called with a stand-in for `x` that notes what is done with it; so lambdas will do, and functions typed at a prompt.
    It may use arithmetic, ``**``, comparisons, ``if``, and `exp`, `log`, `tanh`, `sigmoid`, `erf`, `sqrt`, `sin`, `where`, `maximum` and
    so on, from `fastact.math`, NumPy or `math`, and activations: `fastact.softplus`, or others made so. Arguments after the first are parameters;
    each has a number as its default.

    Parameters
    ----------
    function : callable
        From `x`, and parameters with defaults, to the value. Without it, the result is a decorator with the other arguments set.
    name : str, optional
        The function's own if not given; a lambda is called ``custom``.
    derivative : callable, optional
        The derivative, of the same arguments. If not given it is derived. It is compared with differences of the function, at the
        parameters' defaults and at other values of each.
    kinks : tuple of float
        Where the derivative jumps, as far as comparisons in the function do not show it.
    paper : str
        Where it comes from, for the docstring.
    check : bool
        Look for mistakes: see `check`.

    Returns
    -------
    activation
        With all modes (``grad``, ``value_and_grad``, ``backward``), ``out=`` and ufuncs, as fast as a built-in one of the same arithmetic.

    Raises
    ------
    LinearActivationError
        The function is a straight line.
    DerivativeError
        The function jumps, or the `derivative` that was given is not its derivative.
    UnsupportedOperationError
        The function does something that can't be followed or has no derivative.

    Notes
    -----
    Where it gives NaN, overflows or loses digits, an `ActivationWarning` says so, and from which `x` on.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> @fastact.activation
    ... def serf(x, beta=1.0):
    ...     return x * fastact.math.erf(beta * fastact.softplus(x))
    >>> serf(np.array([-1.0, 0.0, 2.0])).round(6)
    array([-0.342248,  0.      ,  1.994739])
    >>> tanhshift = fastact.activation(lambda x: x * (1 + np.tanh(x)) / 2, name="tanhshift")
    >>> tanhshift.grad(0.0)
    np.float64(0.5)
    """
    if function is None:
        return lambda f: activation(f, name=name, derivative=derivative, kinks=kinks, paper=paper, check=check)
    if not callable(function):
        raise TypeError(f"function: expected a function of x, such as lambda x: x * fastact.sigmoid(x), not {function!r}")
    function, parameters = _plain(function, "function")
    name = _named(function, name)
    _refuse_names(parameters, name)
    try:
        return _from_function(function, parameters, name, derivative, kinks, paper, check)
    except RecursionError:
        raise UnsupportedOperationError(f"{name} has too many steps inside one another; a hundred will do, or split it in two") from None


def _from_function(function, parameters, name, derivative, kinks, paper, check):
    graph = tracing.Graph()
    value = _followed(function, graph, parameters, name)
    if derivative is None:
        try:
            slope = _joined(value, tracing.derivative(value), parameters)
        except UnsupportedOperationError as error:
            raise UnsupportedOperationError(f"{name}: {error}") from None
    else:
        if not callable(derivative):
            raise TypeError(f"derivative: expected a function of x, not {derivative!r}")
        derived, own = _plain(derivative, "derivative")
        for p in own:
            if p not in parameters:
                raise ActivationError(f"{name}: derivative has a parameter {p!r}, which the function does not have")
        slope = _followed(derived, graph, {p: parameters[p] for p in own}, f"the derivative of {name}")
    kinks = tuple(float(k) for k in kinks)
    if check:
        kinks = checking.checked_kinks(name, value, slope, parameters, kinks, derivative is not None)
    elif not tracing.depends(value):
        raise LinearActivationError(f"{name} is a constant: it does not depend on x")
    roots = _safe(value, slope, parameters)
    if check:
        findings = checking.tails(value, slope, roots, parameters)
        if derivative is None and any(f.startswith("the derivative loses") for f in findings):
            slope, roots, findings = _better(value, slope, roots, findings, parameters)
        findings += checking.at_joints(value, slope, parameters)
        findings += checking.steep(lambda x: tracing.evaluate([slope], x, parameters)[0], kinks, findings)
        for finding in findings:
            warn(f"{name}: {finding}", ActivationWarning)
    summary = ((function.__doc__ or "").strip().splitlines() or [""])[0].replace("\\", "/").replace('"', "'")
    shown = tracing.text(value)
    summary = summary or (f"{shown}." if len(shown) < 100 else "An activation of one's own.")
    text, calls, constants = tracing.source(name, roots, parameters, summary, reserved=set(language.INTRINSICS))
    definition = Definition(text, calls, constants, value, slope, derivative is not None)
    return _activation(definition, name, shown, kinks, paper)


def _activation(definition, name, shown, kinks, paper):
    from . import callables

    formula = _compiled(definition, name)
    formula.entry = {
        "definition": shown, "numpy": shown, "numpy_grad": "", "ulp": None, "kinks": tuple(kinks), "aliases": (), "paper": paper,
        "like": {}, "also": {}, "value_zero": None, "derivative_zero": None, "domain": None, "reach": None,
    }  # fmt: skip
    formula.custom = definition
    return callables.own(catalog.record_of(name, formula))


def _compiled(definition, name):
    """The formula as a function whose source `inspect` finds."""
    file = f"<fastact activation {name} {next(_count)}>"
    scope = {**definition.calls, **definition.constants, "INFINITY": INFINITY, "__name__": f"{__package__}.own"}
    linecache.cache[file] = len(definition.source), None, definition.source.splitlines(True), file
    exec(compile(definition.source, file, "exec"), scope)
    return scope[name]


def restore(definition, name, shown, kinks, paper, mode):
    """Unpickle one mode of a user's activation."""
    made = _activation(definition, name, shown, kinks, paper)
    return made if mode == "value" else getattr(made, mode)


def reduced(record, mode):
    """What pickle keeps of it."""
    return restore, (record.formula.custom, record.name, record.definition, record.kinks, record.paper, mode)


# --- Reading the function ------------------------------------------------------------------------------------------------


def _plain(function, what):
    """A Python function to be followed, and its parameters with their defaults."""
    import inspect

    if isinstance(function, type):
        raise TypeError(f"{what}: expected a function of x, not the class {function.__name__}; give an object of it that can be called")
    if not isinstance(function, types.FunctionType):
        what_is_called = function
        called = function if isinstance(function, (types.MethodType, functools.partial)) else getattr(function, "__call__", function)  # noqa: B004
        written = isinstance(called, (types.MethodType, functools.partial))

        def function(x, **given):
            return called(x, **given)

        named = called.func if isinstance(called, functools.partial) else what_is_called
        function.__name__ = getattr(named, "__name__", "<lambda>")
        if not written:
            return function, {}
        found = list(inspect.signature(called).parameters.values())
    else:
        found = list(inspect.signature(function).parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found) or not found or found[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ActivationError(f"{what}: {function.__name__} must take x, and then parameters with defaults, such as def f(x, beta=1.0)")
    parameters = {}
    for p in found[1:]:
        if p.default is p.empty:
            raise ActivationError(
                f"{what}: the argument {p.name!r} of {function.__name__} has no default; an activation is a function of one number x, and "
                f"all else is a parameter with a default, such as {p.name}=1.0"
            )
        if isinstance(p.default, bool) or not isinstance(p.default, numbers.Real) or not math.isfinite(p.default):
            instead = "put anything else into the function itself"
            if isinstance(p.default, (bool, str)):
                instead = "for a choice between two forms, make two activations"
            raise ActivationError(
                f"{what}: the default of {p.name!r} is {p.default!r}; a parameter is a finite number, which calls may change; {instead}"
            )
        parameters[p.name] = float(p.default)
    return function, parameters


def _named(function, name):
    chosen = name if name is not None else "custom" if function.__name__ == "<lambda>" else function.__name__
    if not isinstance(chosen, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", chosen) or keyword.iskeyword(chosen):
        raise ActivationError(f"name: {chosen!r} is not a name such as 'my_activation'")
    try:
        taken = catalog.find(chosen)
    except LookupError:
        return chosen
    raise ActivationError(f"name: {chosen!r} is fastact.{taken.name} already; give another one, such as name='my_{chosen}'")


def _refuse_names(parameters, name):
    taken = {
        "x", "out", "grad_output", "output", "where", "casting", "order", "dtype", "subok", "signature", "accuracy", "parameters", name,
    }  # fmt: skip
    for p in parameters:
        if p in taken or p in tracing.ELEMENTARY or p in language.INTRINSICS or p in catalog.records():
            raise ActivationError(f"{name}: a parameter can't be called {p!r}, which means something in a call; choose another name")
    if len(parameters) > 8:
        raise ActivationError(f"{name} has {len(parameters)} parameters; there may be 8")


def _followed(function, graph, parameters, name):
    try:
        first = tracing.trace(function, graph, parameters)
        if tracing.trace(function, graph, parameters) is first:
            return first
    except RecursionError:
        raise UnsupportedOperationError(f"{name} calls itself without end for a number that is not known yet") from None
    except UnsupportedOperationError as error:
        raise UnsupportedOperationError(f"{name}: {error}") from error.__cause__
    raise UnsupportedOperationError(
        f"{name} gives another result each time (does it use random numbers, or change a variable?); an activation is a function of x alone"
    )


def _joined(value, slope, parameters):
    """The derivative, with that of one of the sides where pieces meet and the rules give what lies beyond both.

    The rules take each bend by itself: both terms of ``max(x, 0) + min(expm1(x), 0)`` have 0 at 0, where the two together have no bend.
    """

    def off(slope):  # where all parameters are 1, too: a bend at their defaults may be none there
        return [(given, *joint) for given in (parameters, dict.fromkeys(parameters, 1.0)) for joint in checking.joints(value, slope, given)]

    best = off(slope)
    for given, x0, *_ in best:
        for side in (-1, 1):  # the left one first: at a kink it is what is usual
            other = tracing.beside(slope, x0, side * checking.STEP * max(1.0, abs(x0)), given)
            if other is not slope and len(found := off(other)) < len(best):
                slope, best = other, found
    return slope


# --- The tails -----------------------------------------------------------------------------------------------------------


def probes(dtype, side):
    """Numbers of one sign, up to infinity."""
    top = 38 if dtype == "float32" else 308
    steps = np.array([20, 50, 90, 200, 800, *(10.0**n for n in range(3, top, 2)), 10.0**top])
    return side * np.concatenate([steps, [getattr(LARGEST, dtype), math.inf]])


def _lost(roots, parameters, side, truth=None):
    """For each root, whether it is NaN or wrong somewhere far out on this side, or float32 overflows inside: float64 knows better.

    `truth`: the roots as they were before anything was held, which float64 computes farther out than float32.
    """
    # Strict, for NumPy's maximum passes a NaN on, which those of other backends drop.
    narrow, wide = (tracing.evaluate(roots, probes(dtype, side), parameters, dtype, strict=True) for dtype in language.PRECISIONS)
    reference = tracing.evaluate(truth or roots, probes("float32", side), parameters)
    found = []
    with np.errstate(all="ignore"):
        for root, y, z, right in zip(roots, narrow, wide, reference, strict=True):
            ends = checking.breaks_off(lambda x, dtype, root=root: tracing.evaluate([root], x, parameters, dtype, strict=True)[0], side)
            off = (np.abs(right) < 1e38) & ~(np.abs(y - right) <= 0.01 * np.abs(right) + 0.01)
            found.append(bool(np.isnan(y).any() or np.isnan(z).any() or off[:-2].any() or ends))
    return found


def _end(root, parameters, side, hold):
    """How a root behaves on the way to where x is held: ``constant``, ``vanishes``, ``grows``, or neither."""
    found = set()
    for dtype in language.PRECISIONS:
        limit = getattr(hold, dtype)
        # No simple fractions: a sine would be the same at all of them.
        y = tracing.evaluate([root], side * limit * np.array([0.2719, 0.5083, 0.7671, 0.9107, 1.0]), parameters, dtype)[0].astype(float)
        if np.isnan(y).any():
            return ""
        size = np.abs(y)
        with np.errstate(all="ignore"):
            if np.abs(y - y[-1]).max() <= 1e-5 * size[-1] + 1e-5:
                if size[-1] >= np.finfo(dtype).tiny and size[1] > 1.05 * size[-1]:
                    found.add("vanishes")
                elif size[1] > 0:  # what is 0 has vanished, or is constant
                    found.add("constant")
            elif np.all(size[1:] >= size[:-1]) and len(set(np.sign(y))) == 1:
                found.add("grows")
    return found.pop() if len(found) == 1 else "" if found else "constant"


def _safe(value, slope, parameters):
    """Value and derivative as they are computed: infinities give their limits where there are any, and NaN gives NaN."""
    graph, truth = value.graph, _shared(tracing.lowered([value, slope]))
    roots = truth
    if any(_lost(roots, parameters, 1) + _lost(roots, parameters, -1)):
        roots = _bounded(graph, roots, parameters)
    for side in (1, -1):
        lost = _lost(roots, parameters, side, truth)
        if any(lost):
            roots = _mended(graph, roots, lost, parameters, side, truth) or _inside(graph, roots, lost, parameters, side, truth)
    for dtype in language.PRECISIONS:
        at_nan = [bool(np.isnan(y).all()) for y in tracing.evaluate(roots, np.array([math.nan]), parameters, dtype)]
        roots = [
            root if good else graph.raw("select", graph.raw("eq", graph.x, graph.x), root, graph.x)
            for root, good in zip(roots, at_nan, strict=True)
        ]  # fmt: skip
    return roots


def _mended(graph, roots, lost, parameters, side, truth):
    """The roots with x held where that makes them what they should be, or None where no hold of both does."""
    if kept := _finite_factors(graph, roots, lost, parameters, side, truth):
        return kept
    return next((kept for limit in _HOLDS if (kept := _held(graph, roots, lost, parameters, side, limit, truth))), None)


def _inside(graph, roots, lost, parameters, side, truth):
    """The roots with x held in each that is lost by itself, or in the parts that are: a bounded part of a sum that grows needs another hold."""
    kept = []
    for root, was, right in zip(roots, lost, truth, strict=True):
        if was and (made := _mended(graph, [root], [True], parameters, side, [right])):
            kept += made  # value and derivative apart
            continue
        trial, failed = root, set()
        while was and len(failed) < _PARTS:
            parts = [
                n for n in tracing.ordered([trial]) if n.args and n not in failed and n.op not in tracing.CONDITIONS and tracing.depends(n)
            ]
            part = next((n for n, off in zip(parts, _lost(parts, parameters, side), strict=True) if off), None) if parts else None
            if part is None:
                break
            failed.add(part)
            if made := _mended(graph, [part], [True], parameters, side, [part]):
                failed.add(made[0])
                trial = tracing.substitute([trial], part, made[0])[0]
        trial = _tidy(trial)
        kept.append(trial if trial is not root and not any(_lost([trial], parameters, side, [right])) else root)
    return kept


def _tidy(root):
    """The root without a hold of what a tighter one holds already."""
    graph = root.graph

    def bound(node):
        return node.args[1].value[1] if node.op == "min" and node.args[1].op == "named" else None

    for node in tracing.ordered([root]):
        outer, inner = bound(node), node.args[0] if node.args else None
        if outer is None:
            continue
        if inner.op == "max" and inner.args[1].op == "neg" and inner.args[1].args[0].op == "named":
            inner = inner.args[0]
        if (known := bound(inner)) is None:
            continue
        if known.float32 <= outer.float32 and known.float64 <= outer.float64:
            return _tidy(tracing.substitute([root], node, node.args[0])[0])
        if inner is node.args[0]:
            return _tidy(tracing.substitute([root], node, graph.raw("min", inner.args[0], node.args[1]))[0])
    return root


_PARTS = 12


def _shared(roots):
    """The roots with x * sigmoid(x) in place of silu where sigmoid is there too: a function of the catalog is one only where it is alone."""
    graph = roots[0].graph
    nodes = set(tracing.ordered(roots))
    for node in nodes:
        if node.op == "formula" and node.value[0] == "silu" and len(node.args) == 1:
            u = node.args[0]
            s, ds = (graph.raw("formula", u, value=("sigmoid", which)) for which in (0, 1))
            if s in nodes or ds in nodes:
                product = graph.raw("mul", u, s) if node.value[1] == 0 else graph.raw("add", s, graph.raw("mul", u, ds))
                return _shared(tracing.substitute(roots, node, product))
    return roots


def _finite_factors(graph, roots, lost, parameters, side, truth):
    """The roots with x held at a large number where it is a factor or a term, or None where that is not all: 0 * inf would be NaN."""
    for within, limit in itertools.product((tracing.ARITHMETIC, tracing.LINEAR), _HOLDS[:2]):
        bound = graph.raw("named", value=limit)
        held = graph.raw("min", graph.x, bound) if side > 0 else graph.raw("max", graph.x, graph.raw("neg", bound))
        trial = [
            tracing.substitute([root], graph.x, held, within=within)[0] if was else root for root, was in zip(roots, lost, strict=True)
        ]
        trial = [root if was else _alongside(root, held, trial, parameters, side) for root, was in zip(trial, lost, strict=True)]
        if any(_lost(trial, parameters, side, truth)):
            continue
        ends = [_end(root, parameters, side, limit[1]) for root, was in zip(trial, lost, strict=True) if was]
        if all(e in ("constant", "grows") for e in ends) or (
            within is tracing.LINEAR and all(ends) and _go_on(trial, lost, parameters, side)
        ):
            return [_zero_at_infinity(root, parameters, side) if was else root for root, was in zip(trial, lost, strict=True)]
    return None


def _go_on(roots, lost, parameters, side):
    """Whether those of the roots that were lost are 0 or infinite at infinity: the hold is only of a part that does not count there."""
    at = [y[0] for dtype in language.PRECISIONS for y in tracing.evaluate(roots, [side * math.inf], parameters, dtype)]
    return all(not was or y == 0 or np.isinf(y) for was, y in zip(lost * 2, at, strict=True))


def _zero_at_infinity(root, parameters, side):
    """The root, 0 at infinity where it vanishes: the largest number times what exp leaves is 0 only where that is rounded to 0."""
    graph = root.graph
    vanishes = all(tracing.evaluate([root], [side * math.inf], parameters, dtype)[0][0] == 0 for dtype in language.PRECISIONS)
    if not vanishes or not any(n.op in ("exp", "formula") for n in tracing.ordered([root])):
        return root
    at = tracing.evaluate([root], [side * getattr(_HOLDS[1][1], dtype) for dtype in language.PRECISIONS], parameters)[0]
    gone = abs(at[0]) < 2.0**-149 and at[1] == 0  # in float64, whose exp goes on to 0
    largest = graph.raw("named", value=_HOLDS[1] if gone else _LARGEST)
    beyond = graph.raw("gt", graph.x, largest) if side > 0 else graph.raw("lt", graph.x, graph.raw("neg", largest))
    return graph.raw("select", beyond, graph.zero, root)


def _alongside(root, held, roots, parameters, side):
    """The root with what it and these roots have in common, but for x being held in them, computed once, where that changes nothing."""
    there = set(tracing.ordered(roots))
    for node in tracing.ordered([root]):
        if node.op in ("sqrt", "div", *tracing.ELEMENTARY):
            other = tracing.substitute([node], root.graph.x, held, within=tracing.ARITHMETIC)[0]
            if other is not node and other in there:
                changed = tracing.substitute([root], node, other)[0]
                root = changed if _alike(root, changed, parameters, side) else root
    return root


def _bounded(graph, roots, parameters):
    """The roots with a bound for what exp gets, where only infinities and NaN see it: large is large enough."""
    found = (_bounded_by(graph, roots, parameters, bound) for bound in _EXP_BOUNDS)
    return next((kept for kept in found if kept is not roots), roots)


def _bounded_by(graph, roots, parameters, bound):
    bound = graph.raw("named", value=bound)
    trial = roots
    for node in [n for n in tracing.ordered(roots) if n.op == "exp" and tracing.depends(n)]:
        if not any(np.isinf(tracing.evaluate([node], probes("float32", side), parameters, "float32")).any() for side in (1, -1)):
            continue
        trial = tracing.substitute(trial, node, graph.raw("exp", graph.raw("min", node.args[0], bound)))
    alike = all(_alike(before, after, parameters, side) for side in (1, -1) for before, after in zip(roots, trial, strict=True))
    return trial if alike and all(_as_float64(roots, trial, parameters, side) for side in (1, -1)) else roots


def _as_float64(roots, trial, parameters, side):
    """Whether what float32 makes of a trial is what float64 makes of the roots: one factor must not be held while another one falls on."""
    x = side * np.concatenate([np.abs(probes("float32", side)), np.linspace(0, 120, 241)])
    right, got = np.array(tracing.evaluate(roots, x, parameters)), np.array(tracing.evaluate(trial, x, parameters, "float32"), float)
    with np.errstate(all="ignore"):
        off = (np.abs(right) < 1e38) & np.isfinite(got) & ~(np.abs(got - right) <= 0.01 * np.abs(right) + 0.01)
        # Where float64 overflows too: what was constant stays so.
        near, far = (
            np.array(tracing.evaluate(trial, side * np.array(at), parameters, "float32"), float) for at in ([1e3, 1e5], [1e20, 1e30, 3e38])
        )
        slack = 1e-3 * np.abs(near[:, :1]) + 1e-6
        moved = (np.abs(near[:, :1] - near[:, 1:]) <= slack) & ~(np.abs(far - near[:, :1]) <= 10 * slack)
    return not off.any() and not moved.any()


def _alike(before, after, parameters, side):
    """Whether two forms of a root are the same on one side of 0, wherever the first one is a number."""
    for dtype in language.PRECISIONS:
        x = np.concatenate([probes(dtype, side), side * np.linspace(0, 120, 241)])
        y, z = tracing.evaluate([before, after], x, parameters, dtype)
        known = np.isfinite(y)
        with np.errstate(all="ignore"):
            if not np.all(np.abs(y - z)[known] <= 1e-6 * np.abs(y)[known] + np.finfo(dtype).tiny) or np.any(
                (y != z) & ~known & ~np.isnan(y)
            ):
                return False
    return True


def _held(graph, roots, lost, parameters, side, limit, truth):
    """The roots with x held at this limit, or None where that would change what they are."""
    bound = graph.raw("named", value=limit)
    x = graph.raw("min", graph.x, bound) if side > 0 else graph.raw("max", graph.x, graph.raw("neg", bound))
    trial = tracing.substitute(roots, graph.x, x)
    kept = []
    for before, after, was in zip(roots, trial, lost, strict=True):
        end = _end(after, parameters, side, limit[1])
        beyond = graph.raw("gt" if side > 0 else "lt", graph.x, bound if side > 0 else graph.raw("neg", bound))
        if end == "constant" and (was or _alike(before, after, parameters, side)):
            kept.append(_zero_at_infinity(after, parameters, side) if was and limit[0] == "LARGEST" else after)
        elif not was:
            kept.append(before)
        elif end == "vanishes":
            kept.append(graph.raw("select", beyond, graph.zero, after))
        elif end == "grows" and limit[0] == "LARGEST":
            kept.append(graph.raw("select", beyond, graph.raw("copysign", graph.x, after), after))
        else:
            return None
    return None if any(_lost(kept, parameters, side, truth)) else kept


def _better(value, slope, roots, findings, parameters):
    """Another form of the derivative that loses no digits, where sympy is installed and finds one; else what there was."""
    from . import algebra

    for other in algebra.forms(slope, parameters):
        other = _joined(value, other, parameters)
        held = _safe(value, other, parameters)
        found = checking.tails(value, other, held, parameters)
        if len(found) < len(findings):
            slope, roots, findings = other, held, found
    return slope, roots, findings


# --- Export --------------------------------------------------------------------------------------------------------------


def export(activation):
    """Write an activation of one's own as a formula, ready for the catalog.

    Parameters
    ----------
    activation : activation
        Made by `fastact.activation`.

    Returns
    -------
    str
        The text for ``fastact/formulas.py``: what to import, and the function under its record. The bounds in ``ulp`` are to be measured.

    Raises
    ------
    TypeError
        It was not made by `fastact.activation`.
    ActivationError
        It is too long to be written as one expression.

    Examples
    --------
    >>> import fastact
    >>> rational = fastact.activation(lambda x: x / (2 + abs(x)), name="rational", kinks=())
    >>> print(fastact.export(rational))  # doctest: +ELLIPSIS
    from .language import activation, ...
    <BLANKLINE>
    <BLANKLINE>
    @activation(
        definition="x / (2 + abs(x))", numpy="x / (2 + np.abs(x))", ulp=(4, 5), kinks=(),
        paper="",
    )
    def rational(x):
        \"\"\"x / (2 + abs(x)).\"\"\"
    ...
    """
    record = getattr(activation, "record", None)
    definition = getattr(getattr(record, "formula", None), "custom", None)
    if definition is None:
        raise TypeError(f"activation: expected an activation made by fastact.activation, not {activation!r}")
    if ";" in record.definition:  # see `tracing.text`
        raise ActivationError(f"{record.name} is too long for an export: a record in the catalog has its definition as one expression")
    modules = {"language": {"activation"}}
    for name, function in definition.calls.items():
        modules.setdefault(function.__module__.rpartition(".")[2], set()).add(name)
    own = []
    for name, number in definition.constants.items():
        if name in _IMPORTED:
            modules.setdefault(_IMPORTED[name], set()).add(name)
        else:
            modules["language"].add("constant")
            own.append(f"{name} = constant(float32={number.float32!r}, float64={number.float64!r})  # beyond, the function is constant\n")
    if "INFINITY" in definition.source:
        modules.setdefault("primitives", set()).add("INFINITY")
    modules.pop("formulas", None)  # they are in that file already
    lines = [f"from .{module} import {', '.join(sorted(names))}\n" for module, names in sorted(modules.items())]
    written, numpy = (_rewritten(record.definition, way) for way in ("definition", "numpy"))
    entry = (
        f"@activation(\n    definition={_quoted(written)}, numpy={_quoted(numpy)}, ulp=(4, 5), kinks={_plain_tuple(record.kinks)},\n"
        f"    paper={_quoted(record.paper)},\n)\n"
    )
    return ("".join(lines) + "".join(own) + "\n\n" + entry + definition.source).rstrip("\n")


_IMPORTED = {"LARGEST": "primitives", "NAN": "primitives", "MODERATE": "elementary", "ROUNDING_MAGIC": "language"}
_MPMATH = {n: n for n in ("exp", "expm1", "log", "log1p", "sin", "cos", "atan", "sqrt", "abs", "tanh", "erf", "erfc")} | {
    "maximum": "max",
    "minimum": "min",
}
_NUMPY = {n: f"np.{n}" for n in ("exp", "expm1", "log", "log1p", "sin", "cos", "sqrt", "abs", "tanh", "maximum", "minimum")} | {
    "atan": "np.arctan", "select": "np.where",
}  # fmt: skip


def _rewritten(shown, way):
    """A function as it is shown, in mpmath's names (``definition``) or NumPy's (``numpy``); what the catalog has is written out."""
    import ast

    known = _MPMATH if way == "definition" else _NUMPY

    class Names(ast.NodeTransformer):
        def __init__(self, given=()):
            self.given = dict(given)

        def visit_Name(self, node):
            return self.given.get(node.id, node)

        def visit_Call(self, node):
            self.generic_visit(node)
            name = getattr(node.func, "id", "")
            if name in known:
                node.func = ast.parse(known[name], mode="eval").body
            elif name == "select":
                return ast.IfExp(*node.args)
            elif name in catalog.records():
                record = catalog.records()[name]
                values = [*node.args[1:], *(ast.Constant(p.default) for p in record.given("value")[len(node.args) - 1 :])]
                names = dict(zip(["x", *(p.name for p in record.given("value"))], [node.args[0], *values], strict=True))
                return Names(names).visit(ast.parse(getattr(record, way), mode="eval").body)
            return node

        def visit_BinOp(self, node):
            self.generic_visit(node)
            if way == "definition" and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
                return ast.BoolOp(ast.And() if isinstance(node.op, ast.BitAnd) else ast.Or(), [node.left, node.right])
            return node

    return ast.unparse(Names().visit(ast.parse(shown, mode="eval")))


def _quoted(shown):
    return '"' + shown.replace('"', "'") + '"'


def _plain_tuple(numbers):
    listed = ", ".join(f"{n:.15g}" for n in numbers)
    return f"({listed},)" if len(numbers) == 1 else f"({listed})"
