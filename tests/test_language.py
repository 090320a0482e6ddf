"""The formula language: every formula is in it, and what is not in it is refused with the place."""

import ast
import inspect
import types

import numpy as np
import pytest
import support

from fastact import formulas, language, primitives, translate

FUNCTIONS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": function
    for module in (primitives, formulas)
    for name, function in vars(module).items()
    if isinstance(function, types.FunctionType) and function.__module__ == module.__name__
}

ALLOWED = (
    ast.Assign, ast.Return, ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Tuple, ast.keyword,
    ast.operator, ast.unaryop, ast.cmpop, ast.expr_context,
)  # fmt: skip


@pytest.mark.parametrize("function", [pytest.param(f, id=name) for name, f in FUNCTIONS.items()])
def test_is_in_the_language(function):
    translate.check(function)


@pytest.mark.parametrize("function", [pytest.param(f, id=name) for name, f in FUNCTIONS.items()])
def test_is_straight_line_code(function):
    # Not by translate.check, which is under test: by the nodes themselves.
    body = ast.parse(inspect.getsource(function)).body[0].body
    statements = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))]
    assert all(isinstance(s, ast.Assign) for s in statements[:-1]) and isinstance(statements[-1], ast.Return)
    for statement in statements:
        for node in ast.walk(statement):
            assert isinstance(node, ALLOWED), ast.unparse(node)


def test_every_formula_is_in_the_catalog():
    entries = {f for f in vars(formulas).values() if hasattr(f, "entry")}
    assert {r.formula for r in support.RECORDS} == entries


@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_shape_of_a_formula(record):
    assert next(iter(inspect.signature(record.formula).parameters)) == "x"
    assert translate.source(record.formula).count == 2
    assert record.summary.endswith("."), "the summary is a sentence"
    if record.from_output is not None:
        by_output = inspect.signature(record.from_output).parameters.values()
        assert [p.replace(name="x") if p.name == "y" else p for p in by_output] == list(
            inspect.signature(record.formula).parameters.values()
        )
        assert translate.source(record.from_output).count == 1


# Each value: the function's text; the line of the text at fault, from 1, or None where no line is.
FORBIDDEN = {
    "if statement": ("def f(x):\n    if x > 0:\n        x = 1\n    return x, 1", 2),
    "conditional expression": ("def f(x):\n    return (x if x > 0 else 0), 1", 2),
    "for loop": ("def f(x):\n    for i in x:\n        pass\n    return x, 1", 2),
    "while loop": ("def f(x):\n    while x:\n        pass\n    return x, 1", 2),
    "with": ("def f(x):\n    with x:\n        pass\n    return x, 1", 2),
    "augmented assignment": ("def f(x):\n    y = x\n    y += 1\n    return y, 1", 3),
    "annotated assignment": ("def f(x):\n    y: float = x\n    return y, 1", 2),
    "chained assignment": ("def f(x):\n    y = z = x\n    return y, z", 2),
    "second assignment": ("def f(x):\n    y = x\n    y = 2 * y\n    return y, 1", 3),
    "assignment to an argument": ("def f(x):\n    x = 2 * x\n    return x, 1", 2),
    "assignment to an item": ("def f(x):\n    x[0] = 1\n    return x, 1", 2),
    "same name twice in one assignment": ("def f(x):\n    a, a = g(x)\n    return a, 1", 2),
    "early return": ("def f(x):\n    return x, 1\n    return x, 2", 2),
    "no return": ("def f(x):\n    y = x", 1),
    "bare return": ("def f(x):\n    y = x\n    return", 1),
    "expression statement": ("def f(x):\n    g(x)\n    return x, 1", 2),
    "power": ("def f(x):\n    return x ** 2, 1", 2),
    "remainder": ("def f(x):\n    return x % 2, 1", 2),
    "whole division": ("def f(x):\n    return x // 2, 1", 2),
    "not": ("def f(x):\n    return select(not x, 0, 1), 1", 2),
    "and": ("def f(x):\n    return select(x > 0 and x < 1, 0, 1), 1", 2),
    "chained comparison": ("def f(x):\n    return select(0 < x < 1, 0, 1), 1", 2),
    "membership": ("def f(x):\n    return select(x in x, 0, 1), 1", 2),
    "attribute": ("def f(x):\n    return x.real, 1", 2),
    "method": ("def f(x):\n    return x.sum(), 1", 2),
    "subscript": ("def f(x):\n    return x[0], 1", 2),
    "lambda": ("def f(x):\n    g = lambda y: y\n    return x, 1", 2),
    "comprehension": ("def f(x):\n    return [y for y in x], 1", 2),
    "walrus": ("def f(x):\n    return (y := x), 1", 2),
    "string": ("def f(x):\n    return 'x', 1", 2),
    "boolean": ("def f(x):\n    return True, 1", 2),
    "complex number": ("def f(x):\n    return 1j, 1", 2),
    "nested tuple": ("def f(x):\n    return (x, x), 1", 2),
    "nested function": ("def f(x):\n    def h(y):\n        return y\n    return x, 1", 2),
    "unknown name": ("def f(x):\n    return unknown, 1", 2),
    "name before its assignment": ("def f(x):\n    a = b\n    b = x\n    return a, b", 2),
    "unknown function": ("def f(x):\n    return unknown(x), 1", 2),
    "Python's own function": ("def f(x):\n    return max(x, 0), 1", 2),
    "polynomial of a list": ("def f(x):\n    return polynomial(x, (1, 2)), 1", 2),
    "starred call": ("def f(x):\n    return select(*x), 1", 2),
    "variable arguments": ("def f(*x):\n    return x, 1", 1),
    "keyword arguments": ("def f(x, **options):\n    return x, 1", 1),
    "recursion": ("def f(x):\n    return f(x), 1", None),
    "fault in a callee": ("def f(x):\n    return bad(x), 1\n\ndef bad(x):\n    return x ** 2", 5),
}


@pytest.mark.parametrize("text, line", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_refused(text, line, tmp_path):
    path = tmp_path / "formula.py"
    path.write_text("from fastact.language import polynomial, select\n\ndef g(x):\n    return x, x\n\n" + text)
    scope = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    with pytest.raises(translate.FormulaError) as caught:
        translate.check(scope["f"])
    if line is not None:
        assert f"{path}:{5 + line}:" in str(caught.value)


def test_lambda_is_refused():
    with pytest.raises(translate.FormulaError, match="def"):
        translate.check(lambda x: (x, 1))


def test_formula_error_is_a_value_error():
    assert issubclass(translate.FormulaError, ValueError)


@pytest.mark.parametrize("precision", language.PRECISIONS)
def test_constant_has_a_number_for_each_precision(precision):
    c = language.constant(float32=1.5, float64=2.5)
    assert float(c) == 2.5 and getattr(c, precision) == {"float32": 1.5, "float64": 2.5}[precision]


def test_constant_of_a_reduced_precision():
    c = language.constant(float32=1.5, float64=2.5, single=3.5)
    assert (c.half, c.single) == (1.5, 3.5)
    assert [language.type_of(p) for p in ("float32", "float64", "half", "single")] == ["float32", "float64", "float32", "float64"]


class _Plain(translate.Writer):
    def literal(self, value):
        return repr(value)

    def define(self, name, arguments, results):
        return f"def {name}({', '.join(arguments)}):"

    def function_name(self, function):
        return function.__name__


class _Python(_Plain):
    """Formulas as Python that computes with the intrinsics of the language."""

    def intrinsic(self, name):
        return name

    def select(self, condition, yes, no):
        return f"select({condition}, {yes}, {no})"


PARTED = {
    f"{f.__name__} {what} {precision} {level}": (f, next(w for w, name in language.COMPUTED.items() if name == what), precision, level)
    for f in FUNCTIONS.values()
    for what, precision, level in getattr(f, "fission", {})
}


@pytest.mark.parametrize("function, wanted, precision, level", PARTED.values(), ids=PARTED)
def test_fission_gives_the_same(function, wanted, precision, level):
    writer = _Python(precision)
    parts = translate.fission(writer, function, wanted, level)
    if parts is None:  # what is wanted takes little work
        assert len(wanted) == 1
        return
    assert parts.kept and parts.first and all(not s.condition for s in parts.first if s.name in parts.kept)
    whole = translate.inlined(writer, function)
    scope = dict(language.INTRINSICS, inf=np.inf, nan=np.nan)
    texts = [
        whole.text,
        writer.compose("first", parts.arguments, parts.first, parts.kept),
        writer.compose("rest", parts.arguments + parts.kept, parts.rest, parts.results),
    ]
    exec("\n".join(texts), scope)
    parameters = [p.default for p in inspect.signature(function).parameters.values()][1:]
    x = np.concatenate([support.specials(precision), support.sample(500, precision)])
    with np.errstate(all="ignore"):
        expected = scope[function.__name__](x, *parameters)
        kept = scope["first"](x, *parameters)
        found = scope["rest"](x, *parameters, *(kept if len(parts.kept) > 1 else (kept,)))
    for i, result in zip(wanted, found if len(wanted) > 1 else (found,), strict=True):
        np.testing.assert_array_equal(result, expected[i])


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_fission_wants_a_share(share):
    with pytest.raises(ValueError, match="float64 is .*between 0 and 1"):
        language.fission(float32=0.5, float64=share)
    with pytest.raises(ValueError, match="fission was given no share; give float32=, float64= or both"):
        language.fission("value")


def test_fission_where_it_pays():
    @language.fission("value", float32=0.3)
    @language.fission(float64=0.6)
    @language.fission("both", float64=0.7)
    def formula(x):
        return language.fma(x, x, x), 1

    expected = {("value", "float32"): 0.3, ("value", "float64"): 0.6, ("derivative", "float64"): 0.6, ("both", "float64"): 0.6}
    assert formula.fission == {(*cell, None): share for cell, share in expected.items()}
    assert translate.fission(_Python("float32"), formula, (1,)) is None
    with pytest.raises(ValueError, match="computed is .*'pair'.*; it may have 'value', 'derivative' and 'both' in it"):
        language.fission("pair", float32=0.5)


def test_fission_at_a_level():
    @language.fission("both", float32=0.5)
    @language.fission("both", float32=0.2, level="v3")
    def formula(x):
        return x, 1

    assert formula.fission == {("both", "float32", None): 0.5, ("both", "float32", "v3"): 0.2}
    first = [translate.fission(_Python("float64"), formulas.quick_gelu, (0, 1), level).first for level in ("v3", "v4")]
    assert len(first[0]) > len(first[1])
    with pytest.raises(ValueError, match="level is 'v5'; it may be v2, v3 or v4"):
        language.fission(float32=0.5, level="v5")


def _written(path, text, precision):
    """What becomes of a function ``f`` in a reduced precision, line by line."""
    path.write_text(
        f"from {language.__name__} import *\nfrom {language.__name__} import fma, lost, product_rest, select\n\nT = {{'float32': (1.0, 2.0, 3.0, 4.0), 'half': (1.0, 2.0)}}\n\n{text}"
    )
    scope = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return translate.translate([scope["f"]], _Plain(precision)).splitlines()[1:]


def test_reduced_precisions_leave_out_what_roundings_lost(tmp_path):
    text = (
        "def parts(a):\n    p = a * a\n    return p, product_rest(a, a, p), lost(a - p)\n\n"
        "def f(x):\n    p, rest, low = parts(x)\n    r = fma(-x, rest, p - low)\n    return select(x > 0, rest, 0) + r * fma(1, x, low), 2 * rest\n"
    )
    assert _written(tmp_path / "formula.py", text, "half") == ["    v0 = (x * x)", "    return (v0 * x), 0.0"]
    full = "\n".join(_written(tmp_path / "full.py", text, "float32"))
    assert "product_rest_float32(a, a, p)" in full and "lost" not in full


def test_reduced_precisions_keep_signs_of_zero_and_what_is_not_lost(tmp_path):
    text = "def f(x):\n    return select(x > 0, 0.0, -0.0), x - 0 * (x + 1)\n"
    assert _written(tmp_path / "formula.py", text, "single") == ["    return select_float64((x > 0.0), 0.0, -0.0), x"]


def test_reduced_precisions_have_tables_of_their_own(tmp_path):
    text = "from fastact.language import polynomial\n\ndef f(x):\n    return polynomial(x, T)\n"
    assert _written(tmp_path / "formula.py", text, "half") == ["    return fma_float32(2.0, x, 1.0)"]


@pytest.mark.parametrize("precision", language.REDUCED)
@pytest.mark.parametrize("record", support.by_name(support.RECORDS))
def test_where_there_is_a_reduced_precision(record, precision):
    found = {record.precision(mode, precision) for mode in ("value", "grad", "value_and_grad", "backward")}
    assert len(found) == 1 and found <= {precision, language.type_of(precision)}, "all modes that compute a number compute the same"
    assert record.precision("backward_from_output", precision) == language.type_of(precision)
    if precision in getattr(record.formula, "reduced", {}):
        assert found == {precision}, "what is made for it serves all modes"
    elif precision == "single" and (record.derivative_zero or record.value_zero):
        assert found == {"float64"}, "near a zero all digits count"
    assert record.precision("value", "float32") == "float32"
