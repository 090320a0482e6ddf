"""Write the Cython source of all kernels from the formulas; setup.py calls this before it compiles."""

from .. import catalog, language, translate

SHORT = {"float32": "float", "float64": "double"}

# The loops of stages.h: what a pipeline does around a kernel.
STAGES = ("copy", "multiply", "add", "scaled", "dropped", "limited_gate", "limited_value", "gated_backward", "within_limits")
SUMS = ("sum_all", "sum_columns")

HEADER = '''# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True, always_allow_keywords=False, binding=False
# Generated from formulas.py by fastact/_cy/generate.py.
from libc.math cimport INFINITY, NAN
from libc.stdint cimport intptr_t

cdef extern from "primitives.h" nogil:
{intrinsics}

cdef extern from "stages.h" nogil:
{stages}

cdef extern from "convert.h" nogil:
    void fastact_widen_float16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_float16(const void *, void *, intptr_t) noexcept
    void fastact_widen_bfloat16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_bfloat16(const void *, void *, intptr_t) noexcept
    void fastact_widen_float32(const void *, void *, intptr_t) noexcept
    void fastact_narrow_float32(const void *, void *, intptr_t) noexcept

ctypedef void (*converter)(const void *, void *, intptr_t) noexcept nogil
ctypedef void (*kernel_float32)(const float *, float *, float *, const float *, intptr_t) noexcept nogil
ctypedef void (*kernel_float64)(const double *, double *, double *, const double *, intptr_t) noexcept nogil

'''

FOOTER = '''
def converters():
    """Addresses of what stands between memory and kernels: to what is computed in, and back; by what memory holds."""
    return {
        "float16": (<intptr_t><converter>fastact_widen_float16, <intptr_t><converter>fastact_narrow_float16),
        "bfloat16": (<intptr_t><converter>fastact_widen_bfloat16, <intptr_t><converter>fastact_narrow_bfloat16),
        "float32": (<intptr_t><converter>fastact_widen_float32, <intptr_t><converter>fastact_narrow_float32),
    }
'''


class CythonWriter(translate.Writer):
    """The formula language as Cython: C functions on float or double, results as C tuples."""

    @property
    def real(self):
        return SHORT[self.type]

    def literal(self, value):
        return f"(<{self.real}>{value!r})".replace("inf", "INFINITY").replace("nan", "NAN")

    def define(self, name, arguments, results):
        result = self.real if results == 1 else f"({', '.join([self.real] * results)})"
        return f"cdef inline {result} {name}({', '.join(f'{self.real} {a}' for a in arguments)}) noexcept nogil:"

    def declare(self, number, condition):
        return [f"    cdef {kind} {', '.join(names)}" for kind, names in ((self.real, number), ("bint", condition)) if names]

    def write(self, function):
        head, *rest = super().write(function).splitlines()
        kinds = {"number": [], "condition": []}
        for statement in translate.source(function).body:
            kinds["condition" if translate.is_condition(statement.value) else "number"] += [n.id for n in _names(statement.targets[0])]
        return "\n".join([head, *self.declare(**kinds), *rest]) + "\n"


def _names(target):
    return target.elts if hasattr(target, "elts") else [target]


def intrinsics(writer):
    """The declarations of what primitives.h has."""
    real = writer.real
    counts = {
        "abs": 1, "abs_at_most": 2, "minimum": 2, "maximum": 2, "fma": 3, "product_rest": 3, "copysign": 2, "sqrt": 1, "biased_power": 1, "exponent": 1, "mantissa": 1,
    }  # fmt: skip
    lines = [f"    {real} {writer.intrinsic(name)}({', '.join([real] * count)}) noexcept" for name, count in counts.items()]
    return [*lines, f"    {real} {writer.intrinsic('select')}(bint, {real}, {real}) noexcept"]


def kernel(record, mode, precision, varying, writer):
    """One loop over contiguous memory. A varying parameter has one number for each element, parameter after parameter."""
    real = writer.real
    name = f"{record.name}_{mode}_{precision}" + ("_varying" if varying else "")
    arguments = ["x[i]"] + [f"p[{j} * n + i]" if varying else f"p{j}" for j in range(len(record.parameters))]
    call = f"{writer.function_name(record.function(mode))}({', '.join(arguments)})"
    gradients = [f"d{j}" for j in range(len(record.given(mode)))] if mode == catalog.TRAINING else []
    lines = [f"cdef void {name}(const {real} *x, {real} *y, {real} *z, const {real} *p, intptr_t n) noexcept nogil:", "    cdef intptr_t i"]
    scalars = [] if varying else [f"p{j} = p[{j}]" for j in range(len(record.parameters))]
    if scalars:
        lines.append(f"    cdef {real} " + ", ".join(scalars))
    if mode != "backward_from_output":
        lines.append(f"    cdef {real} " + ", ".join(["value", "derivative", *gradients]))
    trained = [f"y[{j + 1} * n + i] = z[i] * {name}" for j, name in enumerate(gradients)]
    if gradients:
        trained.insert(0, f"{', '.join(gradients)} = {writer.function_name(record.parameter_gradients)}({', '.join(arguments[: 1 + len(gradients)])})")
    faster = record.at_defaults(mode)
    if faster and not varying:
        condition = " and ".join(f"p{j} == {writer.number(p.default)}" for j, p in enumerate(record.parameters))
        lines += [f"    if {condition}:", *_loop(mode, f"{writer.function_name(faster)}(x[i])", "        ", trained), "        return"]
    return name, "\n".join([*lines, *_loop(mode, call, "    ", trained)]) + "\n"


def _loop(mode, call, indent, trained):
    return [f"{indent}for i in range(n):", *[f"{indent}    {line}" for line in catalog.statements(mode, call, trained)]]


def generate(reduced=True):
    """The text of the Cython module that holds every kernel; those of the reduced precisions only where they are wanted."""
    parts, rows, declared = [], [], []
    for precision in (*catalog.DTYPES, *(language.REDUCED if reduced else ())):
        writer = CythonWriter(precision)
        cells = [(r, m) for r in catalog.records().values() for m in r.kernels if r.precision(m, precision) == precision]
        if precision in catalog.DTYPES:
            declared += intrinsics(writer)
            functions = [f for r, m in cells for f in (r.formula, r.at_defaults("value"), r.from_output, r.parameter_gradients)]
        else:
            declared.append(f"    {writer.real} biased_power_{precision}({writer.real}) noexcept")
            functions = [f for r, m in cells for f in (r.function(m), r.at_defaults(m))]
        parts.append(translate.translate([f for f in functions if f is not None], writer))
        for record, mode in cells:
            for varying in (False, True) if record.parameters else (False,):
                name, text = kernel(record, mode, precision, varying, writer)
                parts.append(text)
                rows.append(f"    table['{record.name}', '{mode}', '{precision}', {varying}] = <intptr_t><kernel_{writer.type}>{name}")
    table = ["def kernels():", '    """Addresses of all kernels, by (activation, mode, dtype, varying)."""', "    table = {}", *rows, "    return table"]
    stages = [(name, precision) for name in (*STAGES, *SUMS) for precision in catalog.DTYPES]
    table += ["", "", "def stages():", '    """Addresses of the loops of stages.h, by (name, dtype)."""', "    table = {}"]
    table += [f"    table['{name}', '{precision}'] = <intptr_t>&{name}_{SHORT[precision]}" for name, precision in stages] + ["    return table"]
    loops = [f"    void {name}_{SHORT[precision]}()" for name, precision in stages]
    return HEADER.format(intrinsics="\n".join(declared), stages="\n".join(loops)) + "\n".join(parts) + "\n" + "\n".join(table) + "\n" + FOOTER
