"""Is it an activation? What is looked at when a user makes one, and the report that `check` gives of any."""

import math

import numpy as np

from . import catalog, describe, tracing
from .errors import DerivativeError, LinearActivationError

STEP = 1e-8  # beside a point, relative to x
SPAN = 30.0  # kinks and mistakes are looked for in [-SPAN, SPAN]


# --- When a user makes one -----------------------------------------------------------------------------------------------


def checked_kinks(name, value, slope, parameters, kinks, given):
    """Look at a function and its derivative, as graphs; returns the kinks, or raises."""

    def both(x):
        return tracing.evaluate([value, slope], x, parameters)

    if not tracing.depends(value):
        raise LinearActivationError(f"{name} is a constant: it does not depend on x, so nothing can be learned through it")
    _linear(name, value, slope, both, parameters, given)
    borders = _borders([value, slope], parameters)
    found = set(kinks)
    for x0 in borders:
        if _jumps(name, x0, both):
            found.add(x0)
    _slopes(name, both, found | set(borders), given)
    if given:
        _given_elsewhere(name, value, slope, parameters, found)
    return tuple(sorted(found))


def _given_elsewhere(name, value, slope, parameters, kinks):
    """Hold a derivative that was given against differences where a parameter is not at its default, the only value it may be right for."""
    for p, default in parameters.items():
        for other in (1.5 * default, 0.5 * default) if default else (0.5,):
            changed = parameters | {p: other}

            def both(x, changed=changed):
                y, d = tracing.evaluate([value, slope], x, changed)
                return np.where(np.isfinite(d), y, math.nan), d  # that it has a domain is no mistake here

            _slopes(name, both, kinks | set(_borders([value, slope], changed)), True, f" with {p} = {other:g}")


def _linear(name, value, slope, both, parameters, given):
    """A straight line: by the derivative's formula, by second differences, and by sympy where it is installed."""
    x = np.concatenate([np.linspace(-SPAN, SPAN, 601), [-1e3, -200.0, 200.0, 1e3]])
    y, _ = both(x)
    fine = np.isfinite(y)
    if fine.sum() < 3:
        nodes = tracing.ordered([value])
        constant = next((n.value for n in nodes if n.op == "const" and not math.isfinite(n.value)), None)
        if constant is not None:
            cause = f"the number {constant} is in it"
        elif any(n.op == "div" and n.args[1] is value.graph.zero for n in nodes):
            cause = "it divides by 0"
        else:
            cause = "is there a logarithm or root of negative x?"
        raise DerivativeError(f"{name} gives NaN or infinity nearly everywhere, as for x = {x[~fine][0]:g}; {cause}")
    x, y = x[fine], y[fine]
    a = (y[-1] - y[0]) / (x[-1] - x[0])
    b = y[0] - a * x[0]
    known = not given and not tracing.depends(slope)
    if not np.all(np.abs(y - (a * x + b)) <= 1e-9 * (np.abs(a * x) + np.abs(b) + 1e-12)):
        return
    how = "its derivative does not depend on x" if known else _proof(value, parameters) or "second differences are 0 to nine digits"
    a, b = (float(f"{v:.6g}") if abs(v) > 1e-9 else 0.0 for v in (a, b))
    line, shown = _tends((a, b)), tracing.text(value)
    raise LinearActivationError(
        f"{name} is linear: {shown}{'' if shown == line else f' is {line} for every x'} ({how}). Layers with it between them are one linear layer, however "
        "many there are; make it bend, such as x * sigmoid(x) or where(x > 0, x, 0.1 * x)"
    )


def _proof(value, parameters):
    """What sympy makes of it, where it is installed and can read the function."""
    from . import algebra

    return "sympy: the second derivative is 0" if algebra.is_linear(value, parameters) else ""


def _borders(roots, parameters):
    """Where a comparison, an absolute value, a minimum or a maximum in these graphs changes sides."""
    differences = []
    for node in tracing.ordered(roots):
        if node.op in tracing.COMPARISONS or node.op in ("max", "min"):
            differences.append(node.graph.sub(*node.args))
        elif node.op in ("abs", "sqrt"):
            differences.append(node.args[0])
        elif node.op == "formula":
            differences += [node.graph.sub(node.args[0], node.graph.const(k)) for k in _kinks(node, parameters)]
    differences = [d for d in dict.fromkeys(differences) if tracing.depends(d)]
    x = np.unique(np.concatenate([np.linspace(-SPAN, SPAN, 4001), [-1e3, -300, -100, -50, 50, 100, 300, 1e3]]))
    return sorted(_zeros(differences, x, parameters)) if differences else []


def _kinks(node, parameters):
    """Where the argument of an activation of the catalog makes it bend, as numbers."""
    record = catalog.records()[node.value[0]]
    if len(node.args) == 1:
        return record.kinks
    given = [tracing.evaluate([a], 0.0, parameters)[0].item() for a in node.args[1:]]
    defaults = [p._replace(default=v) for p, v in zip(record.given("value"), given, strict=True)]
    return catalog.places(record.formula, defaults)["kinks"]


def _zeros(roots, x, parameters):
    """Where any of these graphs changes its sign between two of these x, or is 0 at one; all together, as they have much in common."""
    g = np.array(tracing.evaluate(roots, x, parameters))
    zero = g == 0
    alone = zero & ~np.roll(zero, 1, axis=1) | zero & ~np.roll(zero, -1, axis=1)
    finite, signs = np.isfinite(g), np.sign(g)
    crossed = (signs[:, :-1] * signs[:, 1:] < 0) & finite[:, :-1] & finite[:, 1:]
    found = {x0 for row in alone for x0 in x[row].tolist()[:40]}
    which, i = np.nonzero(crossed & (np.cumsum(crossed, axis=1) <= 40))
    low, high = x[i], x[i + 1]
    for _ in range(70 if i.size else 0):
        middle = (low + high) / 2
        at = np.array(tracing.evaluate(roots, middle, parameters))[which, np.arange(i.size)]
        same = np.sign(at) == signs[which, i]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    for end in high.tolist():
        near = round(end, 9)
        found.add(near if abs(near - end) < 1e-12 * max(1, abs(end)) else end)
    return found


def off_joints(slope, joints):
    """The joints where the slope, a function of x, is not between what it is on either side: ``(x, from the left, at x, from the right)``."""
    found = []
    for x0 in joints:
        step = STEP * max(1.0, abs(x0))
        with np.errstate(all="ignore"):
            far_left, left, at, right, far_right = slope(x0 + step * np.array([-100, -1, 0, 1, 100]))
            slack = 1e-6 * max(1.0, abs(left), abs(right))
            slack += 10 * max(abs(left - far_left), abs(right - far_right))  # more where it has no bound
            if at < min(left, right) - slack or at > max(left, right) + slack:
                found.append((float(x0), float(left), float(at), float(right)))
    return found


def joints(value, slope, parameters):
    """`off_joints` of a graph's slope, wherever comparisons and the like in the two change sides."""
    return off_joints(lambda x: tracing.evaluate([slope], x, parameters)[0], _borders([value, slope], parameters))


def _alone(found):
    """Sentences about what `off_joints` found where both sides have the same slope; at a kink it is a convention."""
    return [
        f"the derivative at x = {x + 0.0:.4g} is {at:.4g}, and {left:.4g} on both sides of it"
        for x, left, at, right in found
        if math.isclose(left, right, rel_tol=1e-4, abs_tol=1e-4)
    ]


def _jumps(name, x0, both):
    """Raise where the value jumps at x0; returns whether the derivative does."""
    scale = max(1.0, abs(x0))
    steps = scale * np.array([1e-5, 1e-7])
    (y, d) = both(np.concatenate([x0 - steps, [x0], x0 + steps]))
    left, right = y[1], y[4]
    gaps = np.abs([y[3] - y[0], y[4] - y[1]])
    size = 1e-9 * max(1.0, abs(left), abs(right))

    def across(steps):
        return np.abs(both(x0 + steps)[0] - both(x0 - steps)[0])

    if np.isfinite(gaps).all() and gaps[1] > size and gaps[1] > 0.5 * gaps[0] and not _closes(x0, across):
        raise DerivativeError(
            f"{name} jumps at x = {x0:.9g}, from {round(left, 6) + 0.0:g} to {round(right, 6) + 0.0:g}: it has no derivative there, and training does not see the step. "
            "Let both sides of the condition meet at that point, or use a steep sigmoid in place of the step",
            x0, (float(left), float(right)),
        )  # fmt: skip

    def beside(steps):
        at = both(np.array([x0]))[0]
        return np.fmin(*(np.abs(both(x0 + side * steps)[0] - at) for side in (-1, 1)))

    off = min(abs(y[2] - left), abs(y[2] - right))
    if np.isfinite(off) and off > size and off > 100 * abs(right - left) + 1e-6 * max(1.0, abs(left)) and not _closes(x0, beside):
        raise DerivativeError(
            f"{name} is {y[2]:.6g} at x = {x0:.9g} alone, and {left:.6g} beside it; let it be the same there",
            x0,
            (float(y[2]), float(left)),
        )
    if not np.isfinite(d[[1, 4]]).all() or not np.isfinite(d[[0, 3]]).all():
        return True
    grows = np.abs(d[[1, 4]]).max() > 5 * np.abs(d[[0, 3]]).max() and np.abs(d[[1, 4]]).max() > 100
    return bool(grows or abs(d[4] - d[1]) > 1e-4 * max(1e-3, abs(d[1]), abs(d[4])) and abs(d[4] - d[1]) > 0.5 * abs(d[3] - d[0]))


def _nearer(x0):
    """Distances that get ever smaller, as far as numbers near x0 allow."""
    return np.array([1e-7, 1e-12, 1e-20, 1e-40, 1e-80, 1e-140]) if x0 == 0 else max(1.0, abs(x0)) * np.array([1e-7, 1e-9, 1e-11, 1e-13])


def _closes(x0, gap):
    """Whether a gap shrinks without end towards x0, as that of a root does and that of a jump does not."""
    with np.errstate(all="ignore"):
        gaps = gap(_nearer(x0))
    return bool(np.isfinite(gaps).all() and np.all(np.diff(gaps) <= 0) and gaps[-1] <= 0.9 * gaps[-2])


def steep(slope, kinks, findings):
    """Where the slope, a function of x, has no bound: sentences, as far as these findings do not say so of the point itself."""
    found = []
    for x0 in kinks:
        where = f"{x0 + 0.0:.4g}"
        if any(f.startswith("the derivative is") and f.split(" (")[0].endswith(f"at x = {where}") for f in findings):
            continue
        with np.errstate(all="ignore"):
            for side in (1, -1):
                size = np.abs(slope(x0 + side * _nearer(x0)))
                if not np.isnan(size).any() and size[0] > 1 and np.all(size[1:] >= 1.05 * size[:-1]) and size[-1] > 2 * size[0]:
                    at = slope(np.array([x0]))[0]
                    taken = f", where it is taken as {at + 0.0:.4g}" if np.isfinite(at) else ""
                    found.append(f"the derivative grows without bound towards x = {where}{taken}")
                    break
    return found


def _slopes(name, both, avoid, given, where=""):
    """Hold the derivative against finite differences."""
    rng = np.random.default_rng(0)
    x = np.unique(np.concatenate([np.linspace(-8, 8, 321) + 0.0123, rng.uniform(-SPAN, SPAN, 100)]))
    for k in avoid:
        x = x[np.abs(x - k) > 0.02]
    y, d = both(x)
    estimates = []
    for h in (1e-3, 1e-5):
        a, b, c, e = (both(x + k * h)[0] for k in (-2, -1, 1, 2))
        with np.errstate(all="ignore"):
            estimates.append((a - 8 * b + 8 * c - e) / (12 * h))
    with np.errstate(all="ignore"):
        good = np.isfinite(estimates[0]) & np.isfinite(y) & (np.abs(y) < 1e12)
        # Where the two steps agree, the differences are to be believed.
        steady = np.abs(estimates[0] - estimates[1]) <= 1e-5 * np.maximum(np.abs(estimates[0]), 1e-3) + 1e-9 * np.abs(y)
        wrong = good & steady & ~(np.abs(d - estimates[0]) <= 1e-4 * np.maximum(np.abs(estimates[0]), 1e-3) + 1e-8 * np.abs(y))
    if not wrong.any():
        return
    worst = np.nonzero(wrong)[0][np.argmin(np.abs(x[wrong] - 1))]  # near 1, where numbers are easy to follow by hand
    raise DerivativeError(
        f"{name}: the derivative{' that was given' if given else ''} is {d[worst]:.6g} at x = {x[worst]:.6g}{where}, but differences of the function say "
        f"{estimates[0][worst]:.6g} ({wrong.sum()} of {good.sum()} points disagree). {_cause(x[good], d[good], estimates[0][good], y[good])}",
        float(x[worst]), (float(d[worst]), float(estimates[0][worst])),
    )  # fmt: skip


def _cause(x, d, true, y):
    """The likely reason of a wrong derivative."""

    def alike(a, b):
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(a - b) <= 1e-4 * np.maximum(np.abs(b), 1e-3)))

    if alike(d, y):
        return "Likely cause: it is the function itself, not its derivative"
    if alike(-d, true):
        return "Likely cause: its sign is wrong"
    with np.errstate(all="ignore"):
        ratio = true / d
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) > 0.9 * len(d) and np.all(np.abs(ratio - ratio[0]) <= 1e-4 * abs(ratio[0])):
        return f"Likely cause: a factor {ratio[0]:.6g} is missing, as the chain rule's inner derivative"
    if alike(d[x > 0], true[x > 0]):
        return "It is right for x > 0: likely cause: the side of negative x was forgotten"
    if alike(d[x < 0], true[x < 0]):
        return "It is right for x < 0: likely cause: the side of positive x was forgotten"
    if len(x) and np.all(np.abs(d - true - (d - true)[0]) <= 1e-4 * max(1e-3, abs((d - true)[0]))):
        return f"Likely cause: a term {-(d - true)[0]:.6g} is missing"
    return "Likely cause: a term of the product or chain rule is missing; leave derivative= out, and it is derived"


# --- What is wrong far out -----------------------------------------------------------------------------------------------


def at_joints(value, slope, parameters):
    """Sentences about a derivative that is another one where smooth pieces meet than beside that point."""
    return _alone(joints(value, slope, parameters))


def tails(value, slope, roots, parameters):
    """What is wrong with what will be computed: sentences about NaN, overflow and lost digits."""
    return tail_findings(
        lambda x, dtype: tracing.evaluate(roots, x, parameters, dtype), lambda x: tracing.evaluate([value, slope], x, parameters)
    )


def tail_findings(computed, exact):
    """Sentences about NaN, overflow and lost digits, each with the x where that begins; `exact` is in float64."""
    found = []
    for which, word in enumerate(("value", "derivative")):
        for side in (1.0, -1.0):
            x = side * np.unique(np.concatenate([np.linspace(0, SPAN, 241), np.geomspace(SPAN, 1e4, 240)]))
            y = np.asarray(computed(x, "float32")[which], np.float64)
            y64 = np.asarray(exact(x)[which], np.float64)
            far = np.concatenate([side * 10.0 ** np.arange(5, 39, 3), [side * math.inf]])
            out = np.asarray(computed(far, "float32")[which], np.float64)
            finding = _tail(word, x, y, y64) or _far(word, far, out, np.asarray(exact(far)[which], np.float64))
            if not finding and (ends := breaks_off(lambda x, dtype, which=which: computed(x, dtype)[which], side)):
                finding = (
                    f"the {word} is {ends[0]:.4g} at x = {side * math.inf:g}, although it goes to {ends[1]:.4g} at the largest numbers"
                )
            if finding and finding not in found:  # what is said of 0 itself, both sides say
                found.append(finding)
    return found


def breaks_off(computed, side):
    """What a function of x and the dtype is at infinity, and what it is at the largest numbers, where that does not go there; else None."""
    for dtype, far in (("float32", [1e28, 1e33, 1e38]), ("float64", [1e28, 1e160, 1e307])):
        *y, end = np.asarray(computed(side * np.array([*far, math.inf]), dtype), np.float64)
        first, second, last = y
        with np.errstate(all="ignore"):
            slack = 1e-3 * abs(last) + 1e-6
            if not np.isfinite(y).all() or np.isnan(end):
                continue
            steady = abs(first - last) <= slack and abs(second - last) <= slack
            rises, falls = first < second < last, first > second > last
            far_off = abs(end - last) > 2 * slack if steady else end < last - slack if rises else end > last + slack if falls else False
            grows = (rises or falls) and abs(last) > 1e3 * abs(second) > 0 and abs(last) > 1e10
            if far_off or (grows and not math.isinf(end)):
                return float(end), float(last)
    return None


def _tail(word, x, y, y64):
    nan = np.isnan(y)
    if nan.any():
        # A single one may be a point of its own, such as 0 / 0 at 0.
        where = f"at x = {x[nan][0] + 0.0:.4g}" if nan.sum() == 1 else f"from x = {x[nan][0] + 0.0:.4g} {'down' if x.sum() < 0 else 'on'}"
        where = where.replace("x = -0", "x = 0") if where.endswith("x = -0") else where
        if not np.isnan(y64[nan]).all():
            why = " although the function has a value there (an overflow inside?)"
        else:
            why = " (0 / 0, or 0 times infinity?)" if nan.sum() == 1 else " (a root, logarithm or power of a negative number? abs(x) helps)"
        return f"the {word} is NaN {where}{why}"
    infinite = np.isinf(y)
    inside = infinite & (np.abs(x) <= 1e-6 + np.abs(x[1]))
    if inside.any():
        return f"the {word} is infinite at x = {x[inside][0] + 0.0:.4g}"
    with np.errstate(all="ignore"):
        overflow = infinite & (np.abs(y64) < 1e300)
        if overflow.any():
            start, right = x[overflow][0], y64[overflow][0]
            if abs(right) < 3e38:
                return f"the {word} overflows inside from x = {start:.4g} on: it is infinite in float32, but should be {right:.4g}"
            return f"the {word} grows beyond float32 from x = {start:.4g} on; large inputs turn a network's numbers into infinity"
        error = np.abs(y - y64) / np.abs(y64)
    bad = np.isfinite(y64) & (np.abs(y64) > 1e-15) & np.isfinite(y) & (error > 1e-3)
    run = bad[:-2] & bad[1:-1] & bad[2:]
    if not run.any():
        return ""
    i = int(np.nonzero(run)[0][0]) + 1
    lost = "all" if y[i + 1] == 0 or error[i + 1] > 0.5 else "most of"
    return f"the {word} loses {lost} its digits from x = {x[i]:.4g} on: {y[i]:.6g} in float32, where {y64[i]:.6g} is right (two large terms cancel?)"


def _far(word, x, y, y64):
    nan = np.isnan(y)
    if nan.any():
        start = x[nan][0]
        return f"the {word} is NaN at x = {start:g}" if math.isinf(start) else f"the {word} is NaN from about x = {start:g} on"
    wrong = np.isinf(y) & (np.abs(y64) < 1e38)
    if wrong.any():
        return (
            f"the {word} overflows inside from about x = {x[wrong][0]:g} on: it is infinite in float32, but should be {y64[wrong][0]:.4g}"
        )
    return ""


# --- The report ----------------------------------------------------------------------------------------------------------


class Report:
    """What `check` found; print it.

    Attributes
    ----------
    name : str
    passed : bool
        Nothing is wrong; kinks are not.
    problems, warnings : list of str
    kinks : list of tuple
        Where the derivative jumps: ``(x, from the left, at x, from the right)``.
    limits : dict
        For ``"-inf"`` and ``"inf"``: a line ``(a, b)`` that the value tends to, a * x + b, or None.
    range : tuple of float
        The least and the largest value on [-1000, 1000].
    derivative_error : float
        The largest relative difference between derivative and finite differences.
    ulp : tuple or None
        The largest errors seen of value and derivative in float32, in units in the last place; None without mpmath.
    """

    def __init__(self, name, **found):
        self.name = name
        self.__dict__.update(found)

    @property
    def passed(self):
        """Nothing is wrong."""
        return not self.problems

    def as_dict(self):
        """All of it, for JSON."""
        return dict(self.__dict__.items()) | {"passed": self.passed}

    def __repr__(self):
        return f"<check of {self.name}: {'passed' if self.passed else 'failed'}, {len(self.warnings)} warnings>"

    def __str__(self):
        rows = {"formula": self.formula}
        rows["linear"] = "no" if not self.linear else "yes"
        rows["derivative"] = (
            f"agrees with finite differences to {self.derivative_error:.1e}" if self.derivative_error < 1e-4 else "does NOT agree with finite differences"
        )  # fmt: skip
        rows["kinks"] = (
            "; ".join(f"x = {x:g}: the slope goes from {a:.4g} to {b:.4g}, and is {at:.4g} there" for x, a, at, b in self.kinks) or "none"
        )
        rows["tails"] = "; ".join(f"{_tends(limit)} as x goes to {side}" for side, limit in self.limits.items())
        rows["range"] = f"{self.range[0]:.6g} to {self.range[1]:.6g} for |x| <= 1000"
        rows["special"] = self.special
        if self.ulp:
            rows["float32"] = f"value within {self.ulp[0]:.2g} ULP, derivative within {self.ulp[1]:.2g} ULP, of mpmath (for |x| < 20)"
        for i, text in enumerate(self.problems):
            rows["problems" if i == 0 else " " * (i + 1)] = text
        for i, text in enumerate(self.warnings):
            rows["warnings" if i == 0 else " " * (i + 20)] = text
        width = max(len(k.strip()) for k in rows)
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.name}: {verdict}\n" + "\n".join(f"  {k.strip().ljust(width)}  {v}" for k, v in rows.items())


def _tends(limit):
    if limit is None:
        return "no straight line"
    a, b = limit
    if a == 0:
        return f"{b:.6g}"
    slope = "" if a == 1 else "-" if a == -1 else f"{a:.6g} * "
    return f"{slope}x" + (f" {'+' if b > 0 else '-'} {abs(b):.6g}" if b else "")


def asymptote(value, side):
    """The line (a, b) that ``value(x)`` tends to on one side, or None."""
    x = side * np.array([1e3, 2e3, 1e4, 2e4, 1e6])
    y = value(x)
    if not np.isfinite(y).all():
        return None
    slopes = np.diff(y) / np.diff(x)
    a = slopes[1]
    if not np.all(np.abs(slopes - a) <= 1e-3 * max(abs(a), 1e-4)):
        return None
    a = 0.0 if abs(a) < 1e-6 else float(f"{a:.5g}")
    rest = y - a * x
    if abs(rest[-1] - rest[2]) > 1e-2 * max(1.0, abs(rest[2])):
        return None
    b = float(f"{rest[-1]:.4g}")  # no more digits: some tend slowly
    return a, 0.0 if abs(b) < 1e-5 else b


def values(record, dtype="float64", parameters=None):
    """``x -> (value, derivative)`` of a record by NumPy, which compiles nothing."""
    from .backends import numpy as backend

    kernel = backend.kernel(record, "value_and_grad", dtype)
    given = [(parameters or {}).get(p.name, p.default) for p in record.parameters]

    def both(x):
        x = np.ascontiguousarray(x, dtype)
        y, d = np.empty_like(x), np.empty_like(x)
        kernel(x, y, d, given)
        return y, d

    return both


def check(activation):
    """Look an activation over: derivative, kinks, tails, special values, accuracy.

    Parameters
    ----------
    activation : str or activation
        A built-in one, or one made by `fastact.activation`.

    Returns
    -------
    Report
        Prints as a report; `passed`, `problems`, `warnings` and the rest are there for programs.

    Raises
    ------
    LookupError
        There is no activation of this name.
    TypeError
        `activation` is something else.

    Examples
    --------
    >>> import fastact
    >>> report = fastact.check("relu")
    >>> report.passed, report.kinks
    (True, [(0.0, 0.0, 0.0, 1.0)])
    """
    record = catalog.as_record(activation)
    both = values(record)
    problems = []
    definition = getattr(record.formula, "custom", None)
    x = np.unique(np.concatenate([np.linspace(-1000, 1000, 2001), np.linspace(-SPAN, SPAN, 6001)]))
    y, _ = both(x)
    kinks = []
    for k in record.kinks:
        at = both(np.array([k - 1e-7 * max(1, abs(k)), k, k + 1e-7 * max(1, abs(k))]))[1]
        kinks.append((float(k), *(float(f"{d:.6g}") for d in at)))
    fine = np.isfinite(y)
    a, b = np.polyfit(x[fine], y[fine], 1) if fine.sum() > 2 else (0.0, 0.0)
    linear = bool(fine.sum() > 2 and np.abs(y - a * x - b)[fine].max() < 1e-9 * (1 + np.abs(y[fine]).max()))
    if linear and definition is not None:  # what the catalog has that is linear is meant to be
        problems.append(f"it is linear: {_tends(tuple(float(f'{v:.6g}') if abs(v) > 1e-9 else 0.0 for v in (a, b)))}")
    difference = _difference(both, record.kinks)
    try:
        _slopes(record.name, both, set(record.kinks), False)
    except DerivativeError as error:
        problems.append(str(error))
    parameters = {p.name: p.default for p in record.parameters}
    borders, single = [0.0, *record.kinks], values(record, "float32")

    def computed(x, dtype):
        return single(x) if dtype == "float32" else both(x)

    if definition is not None and definition.value is not None:
        graphs = [definition.value, definition.derivative]
        borders += _borders(graphs, parameters)
        found = tail_findings(computed, lambda x: tracing.evaluate(graphs, x, parameters))
    else:
        found = tail_findings(computed, both)
    problems += _alone(off_joints(lambda x: both(x)[1], sorted(set(borders))))
    found += steep(lambda x: both(x)[1], record.kinks, found)
    if record.domain is not None:  # it is meant to be NaN outside
        found = [finding for finding in found if "is NaN from" not in finding]
    odd = [part + 0.0 for part in both(np.array([math.nan, math.inf, -math.inf]))]  # + 0: for people, -0 is 0
    if not np.isnan([odd[0][0], odd[1][0]]).all():
        problems.append("NaN does not give NaN")
    special = f"NaN gives NaN; inf gives {odd[0][1]:.6g}, slope {odd[1][1]:.6g}; -inf gives {odd[0][2]:.6g}, slope {odd[1][2]:.6g}"
    if wave := describe.wave_reach(record):
        special += f"; {wave[0].lower()}{wave[1:]}"
    if record.domain is not None:
        special += f"; NaN outside of {record.domain[0]:g} to {record.domain[1]:g}"
    return Report(
        record.name, formula=record.definition, linear=linear, derivative_error=difference, kinks=kinks,
        limits={"-inf": asymptote(lambda x: both(x)[0], -1), "inf": asymptote(lambda x: both(x)[0], 1)},
        range=(float(y[fine].min()), float(y[fine].max())) if fine.any() else (math.nan, math.nan), special=special,
        ulp=_measured(record, parameters), problems=problems, warnings=found,
    )  # fmt: skip


def _difference(both, kinks):
    x = np.linspace(-8, 8, 321) + 0.0123
    for k in kinks:
        x = x[np.abs(x - k) > 0.02]
    h = 1e-3
    a, b, c, e = (both(x + k * h)[0] for k in (-2, -1, 1, 2))
    d = both(x)[1]
    with np.errstate(all="ignore"):
        error = np.abs((a - 8 * b + 8 * c - e) / (12 * h) - d) / np.maximum(np.abs(d), 1.0)
    return float(np.nanmax(error)) if np.isfinite(error).any() else math.inf


def _measured(record, parameters):
    """The largest errors of float32, in ULP, against mpmath; None where that is not installed."""
    try:
        import mpmath
    except ImportError:
        return None
    from .callables import own

    definition = getattr(record.formula, "custom", None)
    if definition is not None and definition.value is None:
        return None
    rng = np.random.default_rng(1)
    x = np.unique(np.concatenate([rng.uniform(-20, 20, 60), rng.normal(0, 1.5, 40)])).astype(np.float32)
    for k in record.kinks:
        x = x[np.abs(x - k) > 1e-3]
    got = own(record).value_and_grad(x)  # the kernel that serves calls
    worst = [0.0, 0.0]
    zeros = record.value_zero, record.derivative_zero
    beside = [values(record)(x + side * 0.25) for side in (-1, 1)]
    # Near a zero that is not at 0 an error counts in units of what cancels there.
    floors = [
        np.where((np.sign(beside[0][i]) != np.sign(beside[1][i])) & (np.abs(x) > 0.3) | (zeros[i] is not None), 0.25, 1e-37) for i in (0, 1)
    ]
    with mpmath.workprec(160):
        single = {k: mpmath.mpf(float(np.float32(v))) for k, v in parameters.items()}
        function = _exactly(record, definition, single, mpmath)
        for i, v in enumerate(x):
            try:
                exact = function(mpmath.mpf(float(v)))
            except (ZeroDivisionError, ValueError, OverflowError):
                continue
            if any(isinstance(e, mpmath.mpc) or not mpmath.isfinite(e) for e in exact):  # outside of its domain
                continue
            for which in (0, 1):
                unit = float(np.spacing(np.float32(max(abs(float(exact[which])), floors[which][i]))))
                worst[which] = max(worst[which], abs(float((mpmath.mpf(float(got[which][i])) - exact[which]) / unit)))
    return tuple(worst)


def _exactly(record, definition, parameters, mpmath):
    """``x -> (value, derivative)`` in mpmath."""
    listed = ("exp", "expm1", "log", "log1p", "erf", "erfc", "sin", "cos", "atan", "tanh", "sinh", "cosh", "sqrt", "sign", "pi")
    names = {n: getattr(mpmath, n) for n in listed}

    def of_record(r, x, given):
        return eval(r.definition, {"__builtins__": {"abs": abs, "min": min, "max": max}, **names}, {"x": x, **given})

    if definition is None:

        def built_in(x):
            return of_record(record, x, parameters), mpmath.diff(lambda t: of_record(record, t, parameters), x)

        return built_in

    def formula(name, which, x, *args):
        r = catalog.records()[name]
        given = {
            p.name: a
            for p, a in zip(r.given("value"), [*args, *(mpmath.mpf(p.default) for p in r.given("value")[len(args) :])], strict=True)
        }
        return mpmath.diff(lambda t: of_record(r, t, given), x) if which else of_record(r, x, given)

    own = {
        "abs": abs, "neg": lambda a: -a, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
        "max": max, "min": min, "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a, "select": lambda c, a, b: a if c else b, "hypot1": lambda a: mpmath.sqrt(1 + a * a), "power": mpmath.power,
        **tracing.COMPARE,
        **names,
    }  # fmt: skip
    nodes = tracing.ordered([definition.value, definition.derivative])

    def custom(x):
        made = {}
        for node in nodes:
            args = [made[a] for a in node.args]
            if node.op == "x":
                made[node] = x
            elif node.op == "const":
                made[node] = mpmath.mpf(node.value)
            elif node.op == "param":
                made[node] = parameters[node.value]
            elif node.op == "formula":
                made[node] = formula(*node.value[:2], *args)
            else:
                made[node] = own[node.op](*args)
        return made[definition.value], made[definition.derivative]

    return custom
