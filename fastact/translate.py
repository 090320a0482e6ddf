"""Reading formulas and writing them for a backend.

`check` refuses what is not in the formula language, with the line that is wrong. A `Writer` writes functions for one target and precision.
"""

import ast
import collections
import inspect
import itertools
import re
import textwrap
import types

from .language import COMPUTED, INTRINSICS, REDUCED, TABLES, paired, type_of

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.BitAnd: "&", ast.BitOr: "|"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class FormulaError(ValueError):
    """A function uses something that the formula language does not have."""


# --- Reading -------------------------------------------------------------------------------------------------------------


class Source:
    """One function of the language, read: its arguments, assignments, results, and the functions it calls."""

    def __init__(self, function):
        self.function = function
        self.name = function.__name__
        self.tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        self.file = inspect.getsourcefile(function)
        self.first_line = function.__code__.co_firstlineno
        if not isinstance(self.tree, ast.FunctionDef):
            raise FormulaError(f"{self.name} is not a plain function; write it with def")
        arguments = self.tree.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            raise FormulaError(self.where(self.tree) + "a formula takes plain arguments: x, then parameters")
        self.arguments = [a.arg for a in arguments.args + arguments.kwonlyargs]
        body = self.tree.body
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        if not body or not isinstance(body[-1], ast.Return) or body[-1].value is None:
            raise FormulaError(self.where(self.tree) + "a formula ends with one return")
        self.body, result = body[:-1], body[-1].value
        self.results = list(result.elts) if isinstance(result, ast.Tuple) else [result]
        self.calls = []  # functions of the language that this one calls, in order, without repetition
        known = set(self.arguments)
        for statement in self.body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise FormulaError(self.where(statement) + "only assignments may stand before the return")
            self._read(statement.value, known)
            target = statement.targets[0]
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for name in names:
                if not isinstance(name, ast.Name):
                    raise FormulaError(self.where(statement) + "assign to plain names")
                if name.id in known or sum(name.id == other.id for other in names if isinstance(other, ast.Name)) > 1:
                    raise FormulaError(self.where(statement) + f"{name.id!r} is assigned twice; give the second another name")
            known.update(name.id for name in names)
        for value in self.results:
            self._read(value, known)

    @property
    def count(self):
        """How many numbers it returns: as many as the function whose results it hands on."""
        result = self.results[0]
        if len(self.results) > 1 or not isinstance(result, ast.Call) or self.is_intrinsic(result.func.id):
            return len(self.results)
        return source(self.resolve(result.func.id)).count

    def where(self, node):
        return f"{self.file}:{self.first_line + node.lineno - 1}: in {self.name}: "

    def resolve(self, name):
        """What a global name of this function stands for."""
        if name in self.function.__globals__:
            return self.function.__globals__[name]
        return INTRINSICS.get(name)

    def is_intrinsic(self, name):
        return name in INTRINSICS and self.resolve(name) in (INTRINSICS[name], None)

    def _read(self, node, known):
        """Check one expression and note what it calls."""
        if isinstance(node, ast.Name):
            if node.id not in known and not isinstance(self.resolve(node.id), (int, float)):
                raise FormulaError(self.where(node) + f"{node.id!r} is neither an argument, a variable nor a number")
        elif isinstance(node, ast.Constant):
            if type(node.value) not in (int, float):
                raise FormulaError(self.where(node) + f"{node.value!r} is not a number")
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            self._read(node.left, known)
            self._read(node.right, known)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            self._read(node.operand, known)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
            self._read(node.left, known)
            self._read(node.comparators[0], known)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self._read_call(node, known)
        else:
            raise FormulaError(self.where(node) + f"`{ast.unparse(node)}` is not in the formula language (see language.py)")

    def _read_call(self, node, known):
        name = node.func.id
        if self.is_intrinsic(name):
            tables = TABLES.get(name, ())
            for i in tables:
                if not isinstance(node.args[i], ast.Name) or not isinstance(self.resolve(node.args[i].id), dict):
                    raise FormulaError(self.where(node) + f"{name} takes a table of coefficients by precision")
            if tables:
                for i, argument in enumerate(node.args):
                    if i not in tables:
                        self._read(argument, known)
                return
        else:
            function = self.resolve(name)
            if not isinstance(function, types.FunctionType):
                raise FormulaError(self.where(node) + f"{name!r} is no intrinsic, primitive or formula")
            if function not in self.calls:
                self.calls.append(function)
        for argument in node.args + [k.value for k in node.keywords]:
            self._read(argument, known)

    def bind(self, node):
        """The arguments of a call of another function of the language, in order, defaults filled in."""
        function = self.resolve(node.func.id)
        bound = inspect.signature(function).bind(*node.args, **{k.arg: k.value for k in node.keywords})
        bound.apply_defaults()
        return [a if isinstance(a, ast.AST) else ast.Constant(a) for a in bound.arguments.values()]


_sources = {}


def source(function):
    """The `Source` of a function, read once."""
    if function not in _sources:
        _sources[function] = Source(function)
    return _sources[function]


def check(function):
    """Raise `FormulaError` if `function`, or one that it calls, is not in the language.

    Examples
    --------
    >>> from fastact import formulas
    >>> check(formulas.silu)
    """
    for _ in closure([function]):
        pass


def closure(functions):
    """These functions and all that they call, callees first."""
    done = []

    def visit(function, path):
        if function in path:
            raise FormulaError(f"{function.__name__} calls itself")
        if function in done:
            return
        for callee in source(function).calls:
            visit(callee, (*path, function))
        done.append(function)

    for function in functions:
        visit(function, ())
    return done


def is_condition(node):
    """Whether an expression is true or false, and not a number."""
    return isinstance(node, ast.Compare) or (isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)))


def targets(statement):
    """The names that an assignment is to."""
    target = statement.targets[0]
    return [n.id for n in (target.elts if isinstance(target, ast.Tuple) else [target])]


# --- Writing -------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes functions of the language for one target and one precision. A target overrides the syntax below."""

    def __init__(self, precision):
        self.precision, self.type = precision, type_of(precision)

    def literal(self, value):
        """A number in this precision. Bare, it would be a float64 and drag the whole kernel along."""
        raise NotImplementedError

    def define(self, name, arguments, results):
        """The line that opens a function."""
        raise NotImplementedError

    def declare(self, number, condition):
        """The lines that declare variables of these names, where the target wants any."""
        return []

    def function_name(self, function):
        return f"{function.__name__}_{self.precision}"

    def intrinsic(self, name):
        return f"{name}_{self.type}"

    def value(self, number):
        return float(getattr(number, self.precision, number))

    def number(self, value):
        return self.literal(self.value(value))

    def table(self, read, node):
        table = read.resolve(node.id)
        return table[self.precision if self.precision in table else self.type]

    def write(self, function):
        """The text of one function."""
        read = source(function)
        lines = [self.define(self.function_name(function), read.arguments, read.count)]
        known = {name: name for name in read.arguments}
        for statement in read.body:
            names = targets(statement)
            lines.append(f"    {', '.join(names)} = {self.expression(read, statement.value, known)}")
            known.update(zip(names, names, strict=True))
        lines.append("    return " + ", ".join(self.expression(read, value, known) for value in read.results))
        return "\n".join(lines) + "\n"

    def compose(self, name, arguments, statements, results):
        """The text of a function of these statements."""
        lines = [self.define(name, arguments, len(results))]
        lines += self.declare([s.name for s in statements if not s.condition], [s.name for s in statements if s.condition])
        lines += [f"    {s.name} = {s.text}" for s in statements]
        return "\n".join([*lines, f"    return {', '.join(results)}"]) + "\n"

    def called(self, read, node, known):
        """The text of a call of another function of the language."""
        arguments = [self.expression(read, argument, known) for argument in read.bind(node)]
        return f"{self.function_name(read.resolve(node.func.id))}({', '.join(arguments)})"

    def expression(self, read, node, known, called=None):
        """The text of an expression; `known`: what stands for the names of arguments and variables; `called` writes calls in place of `called`."""

        def text(child):
            return self.expression(read, child, known, called)

        if isinstance(node, ast.Name):
            return known[node.id] if node.id in known else self.number(read.resolve(node.id))
        if isinstance(node, ast.Constant):
            return self.number(node.value)
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.operand, ast.Constant):
                return self.number(-node.operand.value if isinstance(node.op, ast.USub) else node.operand.value)
            return f"(-{text(node.operand)})" if isinstance(node.op, ast.USub) else text(node.operand)
        if isinstance(node, ast.BinOp):
            return f"({text(node.left)} {_OPERATORS[type(node.op)]} {text(node.right)})"
        if isinstance(node, ast.Compare):
            return f"({text(node.left)} {_COMPARISONS[type(node.ops[0])]} {text(node.comparators[0])})"
        name = node.func.id
        if not read.is_intrinsic(name):
            return (called or self.called)(read, node, known)
        tables = [self.table(read, node.args[i]) for i in TABLES.get(name, ())]
        if name == "polynomial":
            return self.polynomial(text(node.args[0]), [self.literal(c) for c in tables[0]])
        if name == "lost":
            return text(node.args[0])
        return f"{self.intrinsic(name)}({', '.join(text(a) for a in node.args)})"

    def polynomial(self, x, terms):
        fma = self.intrinsic("fma")
        return paired(x, terms, lambda a, b, c: f"{fma}({a}, {b}, {c})", self.literal(1.0))


class Inlined:
    """One function with all that it calls written into it, to the letter: every variable is assigned once, and holds one number."""

    def __init__(self, writer, function):
        self.writer, self.function, self.statements = writer, function, []
        read = source(function)
        self.arguments = read.arguments
        self.results = [self.written(value) for value in self.inline(read, read.arguments)]

    @property
    def text(self):
        """The function, whole."""
        return self.writer.compose(self.writer.function_name(self.function), self.arguments, self.statements, self.results)

    def written(self, value):
        return value

    def named(self, value, condition=False):
        """A value that costs nothing to use twice."""
        if isinstance(value, float) or value.isidentifier():
            return value
        name = f"v{len(self.statements)}"
        self.statements.append(Statement(name, value, condition))
        return name

    def inline(self, read, arguments):
        """The results of a function of these values."""
        known = dict(zip(read.arguments, arguments, strict=True))
        for statement in read.body:
            values = self.values(read, statement.value, known)
            known.update(zip(targets(statement), [self.named(v, is_condition(statement.value)) for v in values], strict=True))
        return [v for result in read.results for v in self.values(read, result, known)]

    def values(self, read, node, known):
        """The values of an expression: several where it calls a function that has several results."""
        if isinstance(node, ast.Call) and not read.is_intrinsic(node.func.id):
            arguments = [self.named(self.one(read, a, known)) for a in read.bind(node)]
            return self.inline(source(read.resolve(node.func.id)), arguments)
        return [self.one(read, node, known)]

    def one(self, read, node, known):
        """The value of an expression."""
        return self.writer.expression(read, node, known, lambda *call: self.values(*call)[0])


Statement = collections.namedtuple("Statement", "name text condition")
Fission = collections.namedtuple("Fission", "arguments first kept rest results")
FREE = 2  # operations that cost no more than to keep their result
LITTLE = 16  # operations that are done sooner than one loop turns into another


def _names(text):
    return set(re.findall(r"\b[a-z]\w*", text))


def _operations(text):
    return len(re.findall(r" [-+*/&|<>=!]=? |[a-z]\w*\(", text))


def _needed(statements, texts):
    """Those of the statements that these texts use, and what they use."""
    used, found = set().union(*map(_names, texts)), []
    for s in reversed(statements):
        if s.name in used:
            used |= _names(s.text)
            found.append(s)
    return found[::-1]


class _Reduced(Inlined):
    """A function as the reduced precisions have it.

    A value is a number, the name of a variable, or text. What is known to be 0 or 1 is not computed with; so a rest that the precision does
    without vanishes with all that is made of it alone, through any number of calls.
    """

    def written(self, value):
        return self.writer.literal(value) if isinstance(value, float) else value

    def one(self, read, node, known):
        writer = self.writer
        if isinstance(node, ast.Name):
            return known[node.id] if node.id in known else writer.value(read.resolve(node.id))
        if isinstance(node, ast.Constant):
            return writer.value(node.value)
        if isinstance(node, ast.UnaryOp):
            value = self.one(read, node.operand, known)
            return value if isinstance(node.op, ast.UAdd) else self.negative(value)
        if isinstance(node, ast.BinOp):
            return self.binary(_OPERATORS[type(node.op)], self.one(read, node.left, known), self.one(read, node.right, known))
        if isinstance(node, ast.Compare):
            left, right = (self.written(self.one(read, n, known)) for n in (node.left, node.comparators[0]))
            return f"({left} {_COMPARISONS[type(node.ops[0])]} {right})"
        if not read.is_intrinsic(node.func.id):
            return self.values(read, node, known)[0]
        return self.intrinsic(read, node, known)

    def intrinsic(self, read, node, known):
        writer, name, tables = self.writer, node.func.id, TABLES.get(node.func.id, ())
        if name in ("lost", "product_rest"):
            return 0.0
        values = [writer.table(read, a) if i in tables else self.one(read, a, known) for i, a in enumerate(node.args)]
        if name == "polynomial":
            return writer.polynomial(self.written(self.named(values[0])), [writer.literal(c) for c in values[1]])
        if name == "select" and repr(values[1]) == repr(values[2]):  # 0.0 is not -0.0
            return values[1]
        if name == "fma" and (values[2] == 0.0 or 0.0 in values[:2] or 1.0 in values[:2]):
            return self.binary("+", self.binary("*", *values[:2]), values[2])
        return f"{writer.intrinsic(name)}({', '.join(map(self.written, values))})"

    def negative(self, value):
        return -value if isinstance(value, float) else f"(-{value})"

    def binary(self, operator, a, b):
        if operator in "+-" and b == 0.0:
            return a
        if operator in "+-" and a == 0.0:
            return b if operator == "+" else self.negative(b)
        if operator == "*" and 0.0 in (a, b) or operator == "/" and a == 0.0:
            return 0.0
        if operator in "*/" and b == 1.0:
            return a
        if operator == "*" and a == 1.0:
            return b
        return f"({self.written(a)} {operator} {self.written(b)})"


def inlined(writer, function):
    """One function with all that it calls, as the writer's precision has it."""
    return (_Reduced if writer.precision in REDUCED else Inlined)(writer, function)


def fission(writer, function, wanted, level=None):
    """A function as two, the first of which does the share of the work that `language.fission` says; None where it says none, or there is little work.

    `first` and `rest` are statements; `kept`: what of the first the rest uses; `results`: those that are wanted. What costs next to nothing, or is
    the same for every element, is computed in both.
    """
    shares, cell = getattr(function, "fission", {}), (COMPUTED[wanted], writer.type)
    share = shares.get((*cell, level), shares.get((*cell, None)))
    if share is None:
        return None
    whole = inlined(writer, function)
    results = [whole.results[i] for i in wanted]
    statements = _needed(whole.statements, results)
    done = list(itertools.accumulate(_operations(s.text) for s in statements))
    work = sum(done[-1:]) + sum(map(_operations, results))
    if work < LITTLE:
        return None
    cut = next((i + 1 for i, so_far in enumerate(done) if so_far >= share * work), len(done))
    before, after = statements[:cut], statements[cut:]
    used = set().union(*map(_names, [s.text for s in after] + results))
    kept, again = [], []
    for s in before:
        if s.name in used:
            needed = _needed(before, [s.name])
            same = whole.arguments[0] not in set().union(*(_names(n.text) for n in needed))
            free = same or s.condition or sum(_operations(n.text) for n in needed) <= FREE
            (again if free else kept).append(s.name)
    repeated = _needed([s for s in before if s.name not in kept], again)
    return Fission(whole.arguments, _needed(before, kept), kept, repeated + after, results) if kept else None


def reduces(function, precision):
    """Whether there is less to compute in a reduced precision: a shorter polynomial, or something that is not missed."""
    for called in closure([function]):
        read = source(called)
        calls = [
            n for n in ast.walk(read.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and read.is_intrinsic(n.func.id)
        ]
        if any(
            n.func.id in ("lost", "product_rest") or any(precision in read.resolve(n.args[i].id) for i in TABLES.get(n.func.id, ()))
            for n in calls
        ):
            return True
    return False


def translate(functions, writer):
    """The text of these functions and all that they call, callees first, by `writer`; in a reduced precision all in one."""
    if writer.precision in REDUCED:
        return "\n".join(inlined(writer, function).text for function in dict.fromkeys(functions))
    return "\n".join(writer.write(function) for function in closure(functions))
