"""Write the Cython source of all kernels from the formulas; setup.py calls this before it compiles."""

import inspect

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

cdef extern from *:
    """
    #define fastact_tiles
    """

cdef extern from "convert.h" nogil:
    void fastact_widen_float16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_float16(const void *, void *, intptr_t) noexcept
    void fastact_widen_bfloat16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_bfloat16(const void *, void *, intptr_t) noexcept
    void fastact_widen_float32(const void *, void *, intptr_t) noexcept
    void fastact_narrow_float32(const void *, void *, intptr_t) noexcept
    int fastact_use_bfloat16(int) noexcept

    enum: fastact_tile_half, fastact_tile_single

    ctypedef void (*kernel_half "fastact_kernel_half")(const void *, void *, void *, const float *, intptr_t, int) noexcept nogil
    void fastact_load_half(float *, const void *, intptr_t, int) noexcept
    void fastact_store_half(const float *, void *, intptr_t, int) noexcept
    void fastact_order_half(float *, const float *, int) noexcept
    void fastact_rest_half(kernel_half, const void *, void *, void *, const float *, intptr_t, int, int, int, int) noexcept

    ctypedef void (*kernel_single "fastact_kernel_single")(const void *, void *, void *, const double *, intptr_t, int) noexcept nogil
    void fastact_load_single(double *, const void *, intptr_t, int) noexcept
    void fastact_store_single(const double *, void *, intptr_t, int) noexcept
    void fastact_order_single(double *, const double *, int) noexcept
    void fastact_rest_single(kernel_single, const void *, void *, void *, const double *, intptr_t, int, int, int, int) noexcept

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


def use_bfloat16(wanted):
    """Have the processor's own instruction round to bfloat16, where there is one; tell whether it does. It does from the start: tests look at both."""
    return bool(fastact_use_bfloat16(wanted))
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
            kinds["condition" if translate.is_condition(statement.value) else "number"] += translate.targets(statement)
        return "\n".join([head, *self.declare(**kinds), *rest]) + "\n"


def intrinsics(writer):
    """The declarations of what primitives.h has: all intrinsics but those that the writer writes out."""
    real = writer.real
    functions = {name: f for name, f in language.INTRINSICS.items() if name not in ("select", "lost", "polynomial")}
    counts = {name: len(inspect.signature(f).parameters) for name, f in functions.items()}
    lines = [f"    {real} {writer.intrinsic(name)}({', '.join([real] * count)}) noexcept" for name, count in counts.items()]
    return [*lines, f"    {real} {writer.intrinsic('select')}(bint, {real}, {real}) noexcept"]


def kernel(record, mode, precision, varying, writer, level=None):
    """One loop over contiguous memory. A varying parameter has one number for each element, parameter after parameter."""
    real = writer.real
    name = f"{record.name}_{mode}_{precision}" + ("_varying" if varying else "")
    count, tiles = len(record.parameters), precision in language.REDUCED
    parameters = [(f"p{j}[i]" if tiles else f"p[{j} * n + i]") if varying else f"p{j}" for j in range(count)]
    gradients = [f"d{j}" for j in range(len(record.given(mode)))] if mode == catalog.TRAINING else []
    if tiles:
        lines = [
            f"cdef inline void {name}_tiles(const void *x_at, void *y_at, void *z_at, const {real} *p, intptr_t n, int format) noexcept nogil:"
        ]
    else:
        lines = [f"cdef void {name}(const {real} *x, {real} *y, {real} *z, const {real} *p, intptr_t n) noexcept nogil:"]
    lines.append("    cdef intptr_t i, at = 0")
    scalars = [] if varying else [f"p{j} = p[{j}]" for j in range(count)]
    if scalars:
        lines.append(f"    cdef {real} " + ", ".join(scalars))
    if mode != "backward_from_output":
        lines.append(f"    cdef {real} " + ", ".join(["value", "derivative", *gradients]))
    if tiles:
        held = ["x", "y", "z", *(f"p{j}" for j in range(count) if varying)]
        lines.append(f"    cdef {real} " + ", ".join(f"{a}[fastact_tile_{precision}]" for a in held))
    trained = [f"y[{j + 1} * n + i] = z[i] * {name}" for j, name in enumerate(gradients)]
    if gradients:
        given = ", ".join(["x[i]", *parameters[: len(gradients)]])
        trained.insert(0, f"{', '.join(gradients)} = {writer.function_name(record.parameter_gradients)}({given})")
    parted = []

    def loop(function, arguments):
        whole = catalog.statements(mode, f"{writer.function_name(function)}({', '.join(['x[i]', *arguments])})", trained)
        if tiles:  # which are four vectors side by side: so many elements are under way as it is
            return _tiles(precision, mode, whole, count if varying else 0)
        plain = ["for i in range(at, n):", *_indented(whole)]
        fission = None if varying or mode not in WANTED else translate.fission(writer, function, WANTED[mode], level)
        if not fission:
            return plain
        parted.append(_Fissioned(writer, fission, mode, name, len(parted)))
        return [*parted[-1].lines(arguments), *plain]

    faster, body = record.at_defaults(mode, writer.precision), []
    if faster and not varying:
        condition = " and ".join(f"p{j} == {writer.number(p.default)}" for j, p in enumerate(record.parameters))
        body += [f"if {condition}:", *_indented([*loop(faster, []), "return"])]
    body += loop(record.function(mode, writer.precision), parameters)
    if parted:
        lines.append(f"    cdef {real} " + ", ".join(name for p in parted for name in p.declared))
    lines += _indented(body)
    if tiles:
        lines += ["", *_by_format(name, mode, precision, real, count if varying else 0)]
    return name, "\n".join([*(f for p in parted for f in p.functions), *lines]) + "\n"


WANTED = {"value": (0,), "grad": (1,), "value_and_grad": (0, 1), "backward": (1,)}  # which of a formula's results a mode needs
STRIP = 256  # elements (strip mining): few enough for all that is kept to stay in the cache of the first level


class _Fissioned:
    """A formula's loop as two, strip by strip: the first keeps what the second goes on with."""

    def __init__(self, writer, parts, mode, name, number):
        self.mode, self.first, self.rest = mode, f"first{number}_{name}", f"rest{number}_{name}"
        self.found, self.kept = ([f"{what}{number}_{kept}" for kept in parts.kept] for what in ("found", "kept"))
        self.declared = [*self.found, *(f"{kept}[{STRIP}]" for kept in self.kept)]
        results = dict(zip(WANTED[mode], parts.results, strict=True))
        self.functions = [
            writer.compose(self.first, parts.arguments, parts.first, parts.kept),
            writer.compose(self.rest, parts.arguments + parts.kept, parts.rest, [results.get(i, writer.number(0)) for i in range(2)]),
        ]

    def lines(self, parameters):
        """The loops over whole strips, which leave in `at` where they ended."""
        arguments = ", ".join(["x[at + i]", *parameters])
        call = f"{self.rest}({', '.join([arguments, *(f'{kept}[i]' for kept in self.kept)])})"
        first = [
            f"{', '.join(self.found)} = {self.first}({arguments})",
            *[f"{k}[i] = {f}" for k, f in zip(self.kept, self.found, strict=True)],
        ]
        rest = [line.replace("y[i]", "y[at + i]").replace("z[i]", "z[at + i]") for line in catalog.statements(self.mode, call)]
        over = f"for i in range({STRIP}):"
        return [f"while at <= n - {STRIP}:", *_indented([over, *_indented(first), over, *_indented(rest), f"at += {STRIP}"])]


def _indented(lines):
    return [f"    {line}" for line in lines]


def _tiles(precision, mode, statements, varying):
    """The loop of a reduced precision's kernel over whole tiles: each is loaded from memory of whatever format, computed and stored."""
    load, store, order, tile = (f"fastact_{what}_{precision}" for what in ("load", "store", "order", "tile"))
    inside = [f"{load}({a}, {a}_at, at, format)" for a in ("x", "z")[: len(catalog.INPUTS[mode])]]
    inside += [f"{order}(p{j}, p + {j} * n + at, format)" for j in range(varying)]
    inside += [f"for i in range({tile}):", *_indented(statements)]
    inside += [f"{store}({a}, {a}_at, at, format)" for a in ("y", "z")[: catalog.OUTPUTS[mode]]]
    return [f"while at <= n - {tile}:", *_indented([*inside, f"at += {tile}"])]


def _by_format(name, mode, precision, real, varying):
    """The kernel itself: the loop, compiled for each format, and then what lies behind the last whole tile."""
    lines = [f"cdef void {name}(const void *x, void *y, void *z, const {real} *p, intptr_t n, int format) noexcept nogil:"]
    if precision == "half":
        lines += ["    if format == 1:", f"        {name}_tiles(x, y, z, p, n, 1)", "    else:", f"        {name}_tiles(x, y, z, p, n, 2)"]
    else:
        lines.append(f"    {name}_tiles(x, y, z, p, n, 1)")
    arrays = f"{len(catalog.INPUTS[mode])}, {catalog.OUTPUTS[mode]}, {varying}"
    return [*lines, f"    if n % fastact_tile_{precision}:", f"        fastact_rest_{precision}({name}, x, y, z, p, n, format, {arrays})"]


def generate(level=None):
    """The text of the Cython module that holds every kernel at one instruction-set level; those for narrower memory where there is fma."""
    parts, rows, declared, records = [], [], [], catalog.records().values()
    reduced = level != "v2"  # rounding a fused product twice would cost them what they spare
    for precision in (*catalog.DTYPES, *(language.REDUCED if reduced else ())):
        cells = [(r, m, r.precision(m, precision)) for r in records for m in r.kernels]
        writer = CythonWriter(precision)
        if precision in catalog.DTYPES:
            declared += intrinsics(writer)
            functions = [f for r in records for f in (r.formula, r.at_defaults("value"), r.from_output, r.parameter_gradients)]
        else:  # for all activations, in as many digits as it takes
            cells = [cell for cell in cells if cell[1] not in ("backward_from_output", catalog.TRAINING)]
            functions = [
                f for r, m, digits in cells if digits == precision for f in (r.function(m, precision), r.at_defaults(m, precision))
            ]
        parts.append(translate.translate([f for f in functions if f is not None], writer))
        for record, mode, digits in cells:
            for varying in (False, True) if record.parameters else (False,):
                name, text = kernel(record, mode, precision, varying, CythonWriter(digits), level)
                parts.append(text)
                rows.append(f"    table['{record.name}', '{mode}', '{precision}', {varying}] = <intptr_t><kernel_{precision}>{name}")
    table = [
        "def kernels():",
        '    """Addresses of all kernels, by (activation, mode, dtype, varying)."""',
        "    table = {}",
        *rows,
        "    return table",
    ]
    stages = [(name, precision) for name in (*STAGES, *SUMS) for precision in catalog.DTYPES]
    table += ["", "", "def stages():", '    """Addresses of the loops of stages.h, by (name, dtype)."""', "    table = {}"]
    table += [f"    table['{name}', '{precision}'] = <intptr_t>&{name}_{SHORT[precision]}" for name, precision in stages] + [
        "    return table"
    ]
    loops = [f"    void {name}_{SHORT[precision]}()" for name, precision in stages]
    return (
        HEADER.format(intrinsics="\n".join(declared), stages="\n".join(loops)) + "\n".join(parts) + "\n" + "\n".join(table) + "\n" + FOOTER
    )
