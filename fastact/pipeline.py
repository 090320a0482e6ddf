"""Pipelines: a kernel with cheap arithmetic around it, block by block, so that memory is passed once.

A `Program` says what is done to a block, as steps over named registers. With the extension `_cy/pipeline.cpp` runs it; without, or for
dtypes and backends that it does not know, `_Blocks` does. Gated units, bias and mask, and the gradients of parameters are programs.
"""

import collections
import ctypes
import functools
import operator

import numpy as np

from . import catalog, dispatch, executor
from .backends import cython, numba
from .backends import numpy as numpy_backend
from .errors import ActivationError, kind_of, not_an_array, not_real

BLOCK = 16_384  # elements: as the NumPy backend's
PIECE = 65_536  # elements that a Python thread takes at once; also where the sum of one piece ends and the next one's begins
NUMBERS = float, int  # what a short cut compares with a default: an array would be compared element by element
CONSTANTS = ("limit", "offset", "scale")
STAGE_NS = 0.05  # what a step costs an element

Step = collections.namedtuple("Step", "op inputs outputs")
Step.__doc__ = "One step: ``kernel``, ``sum`` or a stage of stages.h; the registers it reads and writes."

Program = collections.namedtuple("Program", "mode inputs outputs sums spread steps")
Program.__doc__ = """What is done to a block.

`mode` is the kernel's. `inputs` and `outputs` are registers that are arrays, `sums` those that are summed up; `spread` lists the inputs
that may be one number for a whole block. All other registers are temporary.
"""


# --- By the extension ----------------------------------------------------------------------------------------------------


@functools.cache
def _compiled(record, program, precision, backend):
    """The compiled pipeline of a program."""
    parameters = [f"parameter {j}" for j in range(len(record.parameters))]
    memory = [*program.inputs, *parameters, *program.outputs, *program.sums]
    kernel = next(step for step in program.steps if step.op == "kernel")
    segments = kernel.outputs if program.mode == catalog.TRAINING else ()
    temporary = list(dict.fromkeys([*segments, *(r for step in program.steps for r in step.outputs if r not in memory)]))
    number = {register: i for i, register in enumerate([*memory, *temporary])}
    stages, steps = cython.stages(), []
    for op, read, written in program.steps:
        code, address = {"kernel": (0, 0), "sum": (2, 0)}.get(op) or (1, stages[op, precision])
        written = written[:1] if code == 0 and segments else written
        steps.append((code, address, [number[r] for r in read], [number[r] for r in written]))
    cost = dispatch.measured(record, program.mode, precision, backend) or dispatch.UNMEASURED_NS
    return cython.frontend.Pipeline(
        np.dtype(precision).itemsize, _address(record, program.mode, precision, backend, False),
        _address(record, program.mode, precision, backend, True) if parameters else 0, len(parameters), cost + STAGE_NS * len(steps),
        len(program.inputs), len(program.outputs), len(program.sums), len(temporary), len(segments),
        sum(1 << number[r] for r in program.spread), steps, stages["sum_all", precision], stages["sum_columns", precision], stages["sum_columns", "float64"],
    )  # fmt: skip


def _address(record, mode, precision, backend, varying):
    if backend == "cython":
        return cython.kernel(record, mode, precision, varying)
    return numba.kernel(record, mode, precision, varying).address


# --- By Python -----------------------------------------------------------------------------------------------------------

STAGES = {  # as stages.h, of the inputs and the constants
    "copy": lambda x, c: (x,),
    "multiply": lambda a, b, c: (a * b,),
    "add": lambda a, b, c: (a + b,),
    "scaled": lambda x, c: (x * c["scale"],),
    "dropped": lambda x, mask, c: (np.where(mask, x * c["scale"], c["zero"]),),
    "limited_gate": lambda x, c: (np.where(x > c["limit"], c["limit"], x),),
    "limited_value": lambda x, c: (np.clip(x, -c["limit"], c["limit"]) + c["offset"],),
    "gated_backward": lambda g, value, y, dy, c: (g * y, (g * value) * dy),
    "within_limits": lambda dvalue, dgate, value, gate, c: (
        np.where(abs(value) > c["limit"], c["zero"], dvalue),
        np.where(gate > c["limit"], c["zero"], dgate),
    ),
}


@functools.cache
def _block_kernel(record, mode, precision, backend):
    """A kernel over contiguous arrays that share no memory, ``kernel(x, y, z, parameters)``."""
    if backend == "numpy":
        return numpy_backend.kernel(record, mode, precision)
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_ssize_t)
    made = [signature(_address(record, mode, precision, backend, v)) for v in (False, *([True] if record.parameters else ()))]

    def kernel(x, y, z, parameters):
        varying = any(isinstance(p, np.ndarray) for p in parameters)
        table = np.array([np.broadcast_to(p, x.shape) for p in parameters] if varying else [*parameters, 0], x.dtype)
        made[varying](*[0 if a is None else executor.address(a) for a in (x, y, z, table)], x.size)

    return kernel


def _cuts(shape, limit):
    """Indices of parts of an array, in order, each of about `limit` elements at most."""
    rest = 1
    for d in range(len(shape) - 1, -1, -1):
        if rest * shape[d] > limit:
            step = max(1, limit // rest)
            parts = [slice(i, i + step) for i in range(0, shape[d], step)]
            return [(*(slice(i, i + 1) for i in outer), part) for outer in np.ndindex(*shape[:d]) for part in parts]
        rest *= shape[d]
    return [()]


class _Blocks:
    """A program over arrays, in Python."""

    def __init__(self, record, program, precision, backend, shape, inputs, parameters, outputs, sums, constants):
        real = np.dtype(precision).type
        self.kernel = _block_kernel(record, program.mode, precision, backend)
        self.program, self.dtype, self.sums = program, np.dtype(precision), sums
        self.segments = len(record.given(program.mode)) + 1 if program.mode == catalog.TRAINING else 0
        with np.errstate(over="ignore"):
            self.constants = {name: real(value) for name, value in zip(CONSTANTS, constants, strict=True)} | {"zero": real(0)}
        self.inputs = [np.broadcast_to(a, shape) for a in inputs]
        self.parameters = [np.broadcast_to(p, shape) if isinstance(p, np.ndarray) and p.ndim else float(p) for p in parameters]
        self.outputs = outputs
        self.shape = shape

    def run(self):
        n = int(np.prod(self.shape))
        cuts = _cuts(self.shape, BLOCK) if n else []
        each = max(1, PIECE // BLOCK, len(cuts) // 64)
        pieces = [cuts[i : i + each] for i in range(0, len(cuts), each)]
        threads = n >= executor.PARALLEL and executor.get_num_threads() > 1
        # In order, whoever comes first: the bits of a sum do not depend on the threads.
        for totals in executor.thread_pool().map(self.piece, pieces) if threads else map(self.piece, pieces):
            for (total, rest), (other, lost) in zip(self.sums, totals, strict=True):
                _add(total, rest, other)
                rest += lost

    def piece(self, cuts):
        totals = [(np.zeros_like(total), np.zeros_like(rest)) for total, rest in self.sums]
        with np.errstate(all="ignore"):
            for cut in cuts:
                self.block(cut, totals)
        return totals

    def block(self, cut, totals):
        def flat(a, dtype=self.dtype):
            return np.ascontiguousarray(a[cut], dtype).reshape(-1)

        registers = {
            name: flat(a, a.dtype if name == "mask" else self.dtype) for name, a in zip(self.program.inputs, self.inputs, strict=True)
        }
        parameters = [flat(p) if isinstance(p, np.ndarray) else p for p in self.parameters]
        results = {}
        for op, read, written in self.program.steps:
            values = [registers[r] for r in read]
            if op == "kernel":
                x = values[0]
                made = np.empty((self.segments or len(written), x.size), x.dtype)
                z = values[1] if len(values) == 2 else made[1] if len(written) == 2 and not self.segments else None
                self.kernel(x, made if self.segments else made[0], z, parameters)
                registers.update(zip(written, made, strict=True))
            elif op == "sum":
                results[written[0]] = values[0]
            else:
                registers.update(zip(written, STAGES[op](*values, self.constants), strict=True))
        for name, out in zip(self.program.outputs, self.outputs, strict=True):
            out[cut] = registers[name].reshape(out[cut].shape)
        for name, (total, rest) in zip(self.program.sums, totals, strict=True):
            lead = len(self.shape) - total.ndim
            terms = results[name].reshape(self.outputs[0][cut].shape)
            part, lost = _summed(terms, [d for d in range(terms.ndim) if d < lead or total.shape[d - lead] == 1])
            whole = [slice(None)] * terms.ndim
            at = (*(s if n > 1 else slice(None) for s, n in zip([*cut, *whole][lead : terms.ndim], total.shape, strict=True)), ...)
            _add(total[at], rest[at], part.reshape(total[at].shape))
            rest[at] += lost.reshape(total[at].shape)


def _summed(terms, axes):
    """The sum over these axes in float64, and what its roundings lost."""
    kept = [terms.shape[d] for d in range(terms.ndim) if d not in axes]
    rows = np.moveaxis(terms, axes, range(len(axes))).reshape(-1, *kept)
    if terms.dtype != np.float64:  # a float64 has room for many float32
        total = rows.sum(axis=0, dtype=np.float64)
        return total, np.zeros_like(total)
    rest = np.zeros_like(rows)
    while len(rows) > 1:
        half = len(rows) // 2
        total, lost = rows[:half].copy(), rest[:half] + rest[half : 2 * half]
        _add(total, lost, rows[half : 2 * half])
        rows, rest = (np.concatenate([a, b[2 * half :]]) for a, b in ((total, rows), (lost, rest)))
    return rows[0], rest[0]


def _add(total, rest, terms):
    """total += terms, in place; `rest` takes what the rounding loses."""
    new = total + terms
    part = new - total
    rest += (total - (new - part)) + (terms - part)
    total[...] = new


def _scalar(p, precision):
    """A parameter as an array of no dimension; too large for the precision, it is infinite, without a warning."""
    if abs(p) > float(np.finfo(precision).max):
        p = np.copysign(np.inf, p)
    return np.array(p, precision)


# --- Running -------------------------------------------------------------------------------------------------------------


def run(record, program, shape, inputs, parameters, outputs, sums=(), *, limit=np.inf, offset=0.0, scale=1.0, in_place=False, fresh=False):
    """Run a program.

    Parameters
    ----------
    shape : tuple of int
        What inputs and parameters broadcast to, and the outputs have.
    inputs : list of ndarray
        Native, of the outputs' dtype; masks are of one byte.
    parameters : list
        Of the activation, conventions too: floats and arrays.
    outputs : list of ndarray
    sums : list of tuple of int
        The shapes to sum to; they broadcast to `shape`.
    in_place : bool
        Whether outputs may be inputs, element by element.
    fresh : bool
        Whether the outputs' memory was never touched.

    Returns
    -------
    list of ndarray
        The sums, in float64.
    """
    dtype = outputs[0].dtype
    precision = "float64" if dtype == np.float64 else "float32"
    backend = dispatch.choose(record, program.mode, precision).backend
    constants = limit, offset, scale
    totals = [np.zeros(s) for s in sums]
    if cython.frontend is not None and backend != "numpy":
        given = [p.astype(precision, copy=False) if isinstance(p, np.ndarray) else _scalar(p, precision) for p in parameters]
        _compiled(record, program, precision, backend).run(shape, [*inputs, *given, *outputs, *totals], constants, in_place, fresh)
        return totals
    blocks = _Blocks(
        record, program, precision, backend, shape, inputs, parameters, outputs, [(t, np.zeros_like(t)) for t in totals], constants
    )
    with np.errstate(all="ignore"):
        blocks.run()
        return [np.where(np.isfinite(total), total + rest, total) for total, rest in blocks.sums]


class Quick:
    """The compiled short cut of one program, for plain arrays and defaults; it follows every decision of dispatch."""

    def __init__(self, record, program):
        self.record, self.program = record, program
        self.call = None
        dispatch.on_change(self.forget)

    def forget(self):
        self.call = None

    def __call__(self, inputs, out, apart=False):
        """The result, or None: then the general path decides. `apart`: parts of one array that share no memory are given for `out`."""
        call = self.call or self.prepare()
        return call and call(inputs, out, apart)

    def prepare(self):
        """The short cut, or None where there is none."""
        if cython.frontend is None:
            return None
        decided = dispatch.decisions()
        chosen = [dispatch.choose(self.record, self.program.mode, p, dispatch.get_global_backend()).backend for p in catalog.DTYPES]
        if not all(
            b != "numpy" and dispatch.ready(self.record, self.program.mode, p, b) for b, p in zip(chosen, catalog.DTYPES, strict=True)
        ):
            return None
        made = [_compiled(self.record, self.program, p, b) for b, p in zip(chosen, catalog.DTYPES, strict=True)]
        call = cython.frontend.Quick(*made, [p.default for p in self.record.parameters], (np.inf, 0.0, 1.0))
        self.call = call
        if dispatch.decisions() is not decided:  # another thread's, which the next call has to follow
            self.call = None
        return call


# --- Arguments -----------------------------------------------------------------------------------------------------------


def as_array(who, name, value, instead=""):
    """A value as an array. A masked one would lose its mask: `instead` is what else would do."""
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray and np.ma.is_masked(value):
        raise TypeError(f"{who}: {name} has masked elements, which would count as any others; give {name}.filled(...){instead}")
    try:
        return np.asarray(value)
    except ActivationError:  # a user's function is being followed
        raise
    except ValueError as refused:
        raise not_an_array(who, name, value, refused) from None


def real_array(who, name, value, instead=""):
    """A value as an array of real numbers."""
    a = as_array(who, name, value, instead)
    if not (a.dtype.kind in "biuf" or is_half(a.dtype)) or a.dtype.itemsize > 8:
        raise not_real(who, name, a)
    return a


def number(who, name, value):
    """A scalar argument as a float."""
    try:
        return float(value if not isinstance(value, (str, bytes, np.timedelta64)) else None)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
    except (TypeError, ValueError):
        raise TypeError(f"{who}: {name}: expected a number, not {value!r}") from None


def axis_number(who, axis, ndim, wanted="a whole number"):
    """Which axis it is, counted from 0."""
    try:
        i = operator.index(axis)
    except TypeError:
        raise TypeError(f"{who}: axis: expected {wanted}, not {axis!r}") from None
    if not -ndim <= i < ndim:
        raise np.exceptions.AxisError(f"{who}: axis: {i} is out of bounds for an array of {ndim} dimension{'s' * (ndim != 1)}")
    return i % ndim


class Arguments:
    """The arrays of one call: checked, of one dtype, the outputs apart from the inputs.

    `who` is what errors begin with.
    """

    def __init__(self, who, record):
        self.who, self.record = who, record
        self.arrays = {}

    def array(self, name, value):
        """Take an input."""
        a = real_array(self.who, name, value)
        if type(value) not in NUMBERS:  # Python's own take the dtype of the others
            self.arrays[name] = a
        return a

    def bytes(self, name, value, shape):
        """A mask as an array of bytes that broadcasts to `shape`."""
        a = as_array(self.who, name, value)
        if a.dtype.kind not in "bui" or a.dtype.itemsize > 1:
            raise TypeError(f"{self.who}: {name} has dtype {a.dtype}; give booleans (or bytes), such as {name} != 0")
        self.broadcasts(name, a.shape, shape)
        return a.view(np.uint8)

    def broadcasts(self, name, given, shape):
        # Not by numpy.broadcast_shapes, which knows 32 dimensions only.
        if len(given) > len(shape) or any(m not in (1, n) for m, n in zip(given[::-1], shape[::-1], strict=False)):
            raise ValueError(f"{self.who}: {name} has shape {given}, which does not broadcast to {shape}")

    def number(self, name, value):
        """A scalar argument as a float."""
        return number(self.who, name, value)

    def length(self, axis, shape):
        """How long an axis is."""
        return shape[axis_number(self.who, axis, len(shape))]

    def parameters(self, given, mode, shape):
        """All parameters of the activation, in order: floats, or arrays that broadcast to `shape`."""
        accepted = {p.name: p.default for p in self.record.accepted(mode)}
        for name in given:
            if name not in accepted:
                there = ", ".join(accepted) or "none"
                raise TypeError(f"{self.who}: there is no argument {name!r}; {self.record.name}'s parameters: {there}")
        values = []
        for p in self.record.parameters:
            value = given.get(p.name, p.default)
            if value is None or isinstance(value, (str, bytes)):
                raise TypeError(f"{self.who}: {p.name}: expected a real number or an array of them, not {value!r}")
            if isinstance(value, (float, int)):
                values.append(self.number(p.name, value))
                continue
            a = self.array(p.name, value)
            if a.ndim == 0:
                self.arrays.pop(p.name, None)  # a scalar does not change the dtype
                a = float(a)
            else:
                self.broadcasts(p.name, a.shape, shape)
            values.append(a)
        return values

    def dtype(self):
        """The dtype of the results; from now on it is the arrays' too."""
        return common(*[float_dtype(a.dtype) for a in self.arrays.values()] or [np.dtype(np.float64)])

    def outputs(self, out, names, shapes, dtype):
        """Check what was given for `out`; a tuple with None for what is to be made."""
        given = out
        if out is None:
            out = (None,) * len(names)
        elif not isinstance(out, tuple):
            out = (out,)
        if len(out) != len(names):
            wanted = f"a tuple ({', '.join(names)}) of {len(names)} arrays" if len(names) > 1 else "one array"
            raise TypeError(f"{self.who}: out: expected {wanted}, not {kind_of(given)}")
        for name, a, shape in zip(names, out, shapes, strict=True):
            if a is None:
                continue
            if not isinstance(a, np.ndarray):
                raise TypeError(f"{self.who}: out: expected an array for {name}, not {type(a).__name__}")
            if not a.flags.writeable:
                raise ValueError(f"{self.who}: out is read-only for {name}; give an array that can be written to")
            if a.shape != shape:
                raise ValueError(
                    f"{self.who}: out has shape {a.shape} for {name}, but the result has shape {shape}; give an array of that shape"
                )
            if not takes(a.dtype, dtype):
                raise TypeError(f"{self.who}: out has dtype {a.dtype} for {name}, which does not hold the result; give {dtype}")
            if overlaps_itself(a):
                raise ValueError(f"{self.who}: out: elements of {name} share memory; give an array of its own")
        arrays = [a for a in out if a is not None]
        for i, a in enumerate(arrays):
            if any(_share(a, b) for b in arrays[:i]):
                raise ValueError(f"{self.who}: out: {' and '.join(names)} share memory; give arrays of their own")
        return out


def common(*dtypes):
    """The dtype that numbers of several have together; that float16 and bfloat16 have float32 in common, NumPy does not say."""
    try:
        return np.result_type(*dtypes)
    except TypeError:
        return np.result_type(np.float32, *(d for d in dtypes if d.itemsize > 2))


def float_dtype(dtype):
    """The dtype of the result for numbers of this one, native: floats stay what they are, integers and bools become float32 or float64."""
    return np.result_type(dtype, np.float32) if dtype.kind in "biu" else dtype.newbyteorder("=")


def is_half(dtype):
    """Whether a dtype is a half precision: computed in float32, and converted by block."""
    return dtype.itemsize == 2 and dtype.name in ("float16", "bfloat16")


def takes(dtype, result):
    """Whether an output may have this dtype, for floats; that float16 and bfloat16 may be each other's, NumPy does not say."""
    return is_half(dtype) or np.can_cast(result, dtype, "same_kind")


def overlaps_itself(a):
    """Whether elements of one array may share memory: some stride does not step over all that the smaller ones reach."""
    if a.flags.c_contiguous or a.flags.f_contiguous or not a.size:
        return False
    reach = a.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach += (n - 1) * stride
    return False


def _share(a, b):
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def hand_over(total, out, dtype):
    """A sum in the dtype of the results: a scalar where it has no dimensions, or in the array that was given for it."""
    with np.errstate(all="ignore"):
        if out is None:
            return total.astype(dtype)[()]
        np.copyto(out, total, casting="unsafe")  # what it may be was checked before anything was computed
    return out


def execute(record, program, shape, inputs, parameters, outputs, dtype, sums=(), like=None, fresh=None, **constants):
    """Run a program over whatever arrays there are: with outputs to be made, of other dtypes, or that share memory with inputs.

    Returns
    -------
    outputs, sums : list of ndarray
    """
    made = [np.empty_like(like, dtype, subok=False, shape=shape) if a is None else a for a in outputs]
    if is_half(dtype) and any(a.dtype != dtype for a in made):  # they get what was computed, not that rounded to half precision first
        dtype = np.dtype(np.float32)
    work = [a if a.dtype == dtype and a.dtype.isnative else np.empty(shape, dtype) for a in made]
    with np.errstate(all="ignore"):  # a number of Python's own may be too large for the dtype
        inputs = [
            a if name == "mask" or (a.dtype == dtype and a.dtype.isnative) else a.astype(dtype)
            for name, a in zip(program.inputs, inputs, strict=True)
        ]
    parameters = [p.astype(dtype, copy=False) if isinstance(p, np.ndarray) else p for p in parameters]
    in_place = False
    if any(a is not None for a in outputs):
        for i, a in enumerate(inputs):
            for b in work:
                if _share(a, b):
                    if executor.address(a) == executor.address(b) and a.strides == b.strides and a.shape == b.shape:
                        in_place = True
                    else:
                        inputs[i] = a.copy()
        parameters = [p.copy() if isinstance(p, np.ndarray) and any(_share(p, b) for b in work) else p for p in parameters]
    fresh = all(a is None for a in outputs) if fresh is None else fresh
    totals = run(record, program, shape, inputs, parameters, work, sums, in_place=in_place, fresh=fresh, **constants)
    with np.errstate(all="ignore"):
        for a, b in zip(made, work, strict=True):
            if a is not b:
                np.copyto(a, b, casting="unsafe")
    return [a[()] if out is None else a for a, out in zip(made, outputs, strict=True)], totals
