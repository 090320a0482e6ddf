"""The callables that users hold: the front end.

A `Function` is one mode of one activation. With the extension it is a compiled `Runner`, whose fast path serves plain arrays, and this
file serves all the rest; without, this file serves everything.
"""

import contextlib
import functools
import math
import numbers
import sys
import threading

import numpy as np

from . import catalog, describe, dispatch, executor, language
from .backends import cython, numba
from .backends import numpy as numpy_backend
from .errors import ActivationError, kind_of, not_an_array, not_real, truth, warn

_UFUNC_OPTIONS = ("where", "casting", "order", "dtype", "subok", "signature")
_FLOATS = {np.dtype(name): name for name in catalog.HELD if name != "bfloat16"}  # that is ml_dtypes' to bring
_LARGEST = 3.4028234663852886e38  # of float32: a parameter beyond it is infinite there, and no news
_READABLE, _WRITABLE = 0x101, 0x501  # C-contiguous and aligned; writeable too, as array.flags.num has it


class _PythonRunner:
    """The pure-Python twin of `_cy.frontend.Runner`: a quick route for plain arrays of one shape and dtype, parameters at their defaults."""

    def setup(self, inputs, outputs, names, positional, accepted, defaults, nonnegative, general):
        self._call, self._defaults = general, tuple(defaults)
        self._counts = inputs, outputs

    def __call__(self, *args, **options):
        if len(args) == self._counts[0] and (not options or (len(options) == 1 and "out" in options)):
            result = self._quick(args[-1], args[0], options.get("out"))
            if result is not None:
                return result
        return self._call(*args, **options)

    def _quick(self, x, first, out):
        if (
            type(x) is not np.ndarray
            or x.dtype not in _FLOATS
            or dispatch.overridden()
            or dispatch.watchers
            or x.flags.num & _READABLE != _READABLE
            or not x.ndim
        ):
            return None
        shape, dtype, (inputs, outputs) = x.shape, x.dtype, self._counts
        z = None
        if inputs == 2:
            z = first
            if type(z) is not np.ndarray or z.dtype != dtype or z.shape != shape or z.flags.num & _READABLE != _READABLE:
                return None
        if out is None:
            y = np.empty(shape, dtype)
            if outputs == 2:
                z = np.empty(shape, dtype)
        else:
            outs = out if type(out) is tuple else (out,)
            if len(outs) != outputs:
                return None
            for a in outs:
                if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or a.flags.num & _WRITABLE != _WRITABLE:
                    return None
            y = outs[0]
            if outputs == 2:
                z = outs[1]
            if (
                not executor.apart(x, y)
                or (z is not None and not (executor.apart(y, z) and executor.apart(x, z)))
                or (outputs == 2 and y is z)
            ):
                return None
        executor.run(self._kernels.get(dtype) or self._kernel(dtype), x, y, z, self._defaults)
        return y if outputs == 1 else (y, z)


Runner = _PythonRunner if cython.frontend is None else cython.frontend.Runner


def set_up(runner, record, mode, general):
    runner.setup(
        inputs=len(catalog.INPUTS[mode]),
        outputs=catalog.OUTPUTS[mode],
        names=[p.name for p in record.parameters],
        positional=len(record.given(mode)),
        accepted=len(record.accepted(mode)),
        defaults=[p.default for p in record.parameters],
        nonnegative=[mode == "backward_from_output" and p.name in record.nonnegative for p in record.parameters],
        general=general,
    )


def _install(runner, record, mode, precision, backend):
    """Put the kernels of a backend into a compiled runner."""
    index = dispatch.KERNEL_PRECISIONS.index(precision)
    cost = dispatch.measured(record, mode, precision, backend) or dispatch.UNMEASURED_NS
    address = {
        "cython": lambda varying: cython.kernel(record, mode, precision, varying),
        "numba": lambda varying: numba.kernel(record, mode, precision, varying).address,
    }[backend]
    direct = backend == "cython" and cython.converts(record, mode, precision)
    runner.set_kernel(index, address(False), address(True) if record.parameters else 0, cost, direct)


# --- bfloat16, which is ml_dtypes' -----------------------------------------------------------------------------------------

_lock = threading.Lock()
_waiting = []  # what gives the ufuncs that there are their loop for it


def _bfloat16():
    """Its dtype; None as long as ml_dtypes is not imported, and so no such array can be there."""
    dtype = getattr(sys.modules.get("ml_dtypes"), "bfloat16", None)
    return None if dtype is None else np.dtype(dtype)


def _learn_bfloat16():
    """Give the front end and all ufuncs what they need for bfloat16, once it is there."""
    dtype = _bfloat16()
    if dtype is None or dtype in _FLOATS:
        return
    with _lock:
        if dtype in _FLOATS:
            return
        if cython.frontend is not None:
            cython.frontend.set_bfloat16(dtype)
        for add in _waiting:
            add()
        _waiting.clear()
        _FLOATS[dtype] = "bfloat16"


def _extend(add):
    """Have `add` called when bfloat16 is there."""
    with _lock:
        known = "bfloat16" in _FLOATS.values()
        if not known:
            _waiting.append(add)
    if known:
        add()


# --- Ufuncs by backend ---------------------------------------------------------------------------------------------------


@functools.cache
def ufunc_of(record, mode, backend, full=False, accuracy="default"):
    """The NumPy ufunc of one mode over one backend; `full`: with the conventions as operands."""
    if backend != "numpy" and cython.frontend is not None:
        runner = Runner()
        set_up(runner, record, mode, None)
        for precision in dispatch.KERNEL_PRECISIONS:
            _install(runner, record, mode, precision, backend)
        return _compiled_ufunc(runner, record, mode, full, accuracy)
    # Not by numba.vectorize: in place and backwards in memory, its loops free memory twice (Numba 0.68.1).

    def row(held):
        computed = catalog.computed_in(held, accuracy)
        dtype = _bfloat16() if held == "bfloat16" else np.dtype(held)
        return dtype, computed, functools.partial(block_kernel, record, mode, held, catalog.precision_for(held, accuracy), backend)

    made, add = executor.make_ufunc(
        record.ufunc_name(mode), describe.one_line(record, mode), len(catalog.INPUTS[mode]), catalog.OUTPUTS[mode],
        len(record.parameters if full else record.given(mode)), [] if full else [p.default for p in record.parameters if p.convention],
        [row(held) for held in catalog.HELD if held != "bfloat16"],
    )  # fmt: skip
    _extend(lambda: add(*row("bfloat16")))
    return _belongs(made)


def _compiled_ufunc(runner, record, mode, full, accuracy):
    made = runner.make_ufunc(record.ufunc_name(mode), describe.one_line(record, mode), full, accuracy == "high")
    _extend(lambda: runner.add_bfloat16(made, full))
    return _belongs(made)


@functools.cache
def block_kernel(record, mode, held, precision, backend):
    """A kernel for the pure-Python executor, of arrays that hold `held`."""
    computed = language.type_of(precision)
    if held != computed:
        return executor.converted(block_kernel(record, mode, computed, precision, backend), computed, catalog.OUTPUTS[mode])
    if backend == "numpy":  # in all digits of the type: what it spends is spent on moving memory
        return numpy_backend.kernel(record, mode, computed)
    return executor.compiled(
        *[lambda varying=v: numba.kernel(record, mode, precision, varying).address for v in (False, True)], catalog.OUTPUTS[mode]
    )


# --- The callables -------------------------------------------------------------------------------------------------------


class Function(Runner):
    """One mode of one activation, as a callable: what ``fastact.gelu`` and ``fastact.gelu.grad`` are."""

    def __init__(self, record, mode):
        self.record, self.mode = record, mode
        self.__name__ = record.name if mode == "value" else mode
        self.__qualname__ = record.name if mode == "value" else f"{record.name}.{mode}"
        self.__module__ = __package__
        self._accepted = {p.name: p.default for p in record.accepted(mode)}
        self._inputs = catalog.INPUTS[mode]
        self._positional = self._inputs + tuple(p.name for p in record.given(mode))
        self._conventions = {p.name: p.default for p in record.accepted(mode) if p.convention}
        self._own = {}
        self._runners = {mode: self}
        set_up(self, record, mode, self._general)
        if mode == "backward" and record.from_output is not None and cython.frontend is not None:
            runner = self._runners["backward_from_output"] = Runner()
            set_up(runner, record, "backward_from_output", None)
            self.set_by_output(runner)
        self._refresh()
        dispatch.on_change(self._refresh)

    # What dispatch decides

    def _refresh(self):
        """Take over the kernels that dispatch chooses now; what it would have to compile waits for the first call."""
        if cython.frontend is None:
            self._kernels = {}
            return
        decided = dispatch.decisions()
        for mode, runner in self._runners.items():
            for index, precision in enumerate(dispatch.KERNEL_PRECISIONS):
                choice = dispatch.choose(self.record, mode, precision, dispatch.get_global_backend())
                if choice.backend != "numpy" and dispatch.ready(self.record, mode, precision, choice.backend):
                    _install(runner, self.record, mode, precision, choice.backend)
                    continue
                if dispatch.ready(self.record, mode, precision, "cython"):
                    _install(runner, self.record, mode, precision, "cython")  # for the public ufunc, which no setting changes
                runner.set_fast(index, False)
        if dispatch.decisions() is not decided:  # another thread's: whichever of the two comes last
            self._refresh()

    def _kernel(self, dtype):
        # For the quick route of `_PythonRunner`.
        self._kernels[dtype] = self._block_kernel(self.mode, dtype, dispatch.get_accuracy())
        return self._kernels[dtype]

    def _block_kernel(self, mode, dtype, accuracy):
        held = _FLOATS[dtype]
        precision = catalog.precision_for(held, accuracy)
        return block_kernel(self.record, mode, held, precision, dispatch.choose(self.record, mode, precision).backend)

    def _ufunc(self, mode, full, accuracy):
        """The ufunc that serves a call here and now."""
        setting = dispatch.get_backend()
        choice = dispatch.choose(self.record, mode, "float32", setting).backend
        if choice == "numba" and not dispatch.ready(self.record, mode, "float32", "numba"):
            warm(self.record, mode, dispatch.KERNEL_PRECISIONS)
            self._refresh()
        if setting == "auto" and cython.frontend is not None and choice != "numpy":
            return self._own_ufunc(mode, full, accuracy)
        return ufunc_of(self.record, mode, choice, full, accuracy)

    def _own_ufunc(self, mode, full, accuracy):
        # Over this object's own kernels, so that it follows every decision of dispatch.
        made = self._own.get((mode, full, accuracy))
        if made is None:
            made = _compiled_ufunc(self._runners[mode], self.record, mode, full, accuracy)
            made = self._own.setdefault((mode, full, accuracy), made)
        return made

    @property
    def ufunc(self):
        """The NumPy ufunc under this callable: its operands are the inputs, then the parameters."""
        return self._public_ufunc(self.mode)

    @property
    def vectorized(self):
        """The function of ``numba.vectorize``, to be called inside ``numba.njit`` code on scalars or arrays; needs Numba."""
        if catalog.OUTPUTS[self.mode] > 1:
            raise AttributeError(
                f"{self.__qualname__} has no vectorized: numba.vectorize makes functions of one output; use the other modes"
            )
        if not numba.available():
            raise AttributeError(f"{self.__qualname__}.vectorized needs Numba, which is not installed")
        return numba.vectorized(self.record, self.mode)

    def _public_ufunc(self, mode):
        _learn_bfloat16()
        made = self._own.get((mode, False, "default"))
        if made is not None:
            return made
        backend = dispatch.choose(self.record, mode, "float32", "auto").backend
        if cython.frontend is not None and backend != "numpy":
            return self._own_ufunc(mode, False, "default")
        return ufunc_of(self.record, mode, backend)

    # The general path

    def _general(self, *args, **kwargs):
        if dispatch.watchers and self.mode in ("value", "value_and_grad"):
            for watcher in tuple(dispatch.watchers):
                watcher.see(self, args, kwargs)
        if not self.record.also.keys().isdisjoint(kwargs):
            return self._meant(kwargs)(*args, **kwargs)
        if "parameters" in kwargs and self.mode == "backward" and truth(self.__qualname__, "parameters", kwargs.pop("parameters")):
            from .parameters import backward

            return backward(self, *args, **kwargs)
        _learn_bfloat16()
        mode, inputs, full, out, options, accuracy = self._bind(args, kwargs)
        count = len(catalog.INPUTS[mode])
        try:
            if cython.frontend is None and not options:
                result = self._plain(mode, inputs, out, accuracy)
                if result is not None:
                    return result
            ufunc = self._ufunc(mode, full, accuracy)
            narrows = out is not None or "dtype" in options or "signature" in options
            strict = options.get("casting") in ("no", "equiv")  # then integers are NumPy's to refuse
            operands = [value if strict else _real(value) for value in inputs[:count]] + inputs[count : ufunc.nin]
            if "dtype" not in options and "signature" not in options:
                options.update(_loop(operands, count, ufunc.nout, out, accuracy))
            elif options.get("dtype") is not None and "signature" not in options:
                options = _loop_of(options, count, len(operands) - count, ufunc.nout, accuracy)
            if out is not None:
                options["out"] = out
            # Beyond the largest number of a narrower dtype is infinite, and no news.
            quiet = narrows or any(type(p) in (float, int) and _LARGEST < abs(p) < math.inf for p in operands)
            if quiet and any(map(_overrides, (*operands, *_tuple(out), options.get("where")))):
                quiet = False  # theirs are their own
            elif out is None and options.get("where", True) is not True:
                if "out" not in kwargs:
                    what = f"'where' used without 'out': elsewhere {self.__qualname__} leaves uninitialized memory"
                    warn(f"{what}; if that is meant, give out=None", UserWarning)
                options["out"] = (None,) * ufunc.nout
            with np.errstate(over="ignore", under="ignore") if quiet else contextlib.nullcontext():
                return executor.failures.raising(ufunc, operands, options)
        except ActivationError:  # a user's function is being followed
            raise
        except (TypeError, ValueError, OverflowError) as error:
            if any(map(_overrides, (*inputs, *_tuple(out), options.get("where")))):
                raise  # what it says is that object's own, or NumPy's about it
            raise self._explained(error, mode, inputs, out, options) from None

    def _meant(self, kwargs):
        """The callable that arguments of other libraries ask for; takes them out of `kwargs`."""
        meant = self
        for name in self.record.also.keys() & kwargs.keys():
            value, (_, choices) = kwargs.pop(name), self.record.also[name]
            if choices is None:
                _parameter(self, name, value)
                continue
            try:
                other = _made(catalog.records()[choices[value]])
            except (KeyError, TypeError):
                raise ValueError(f"{self.__qualname__}: {name}: expected one of {', '.join(map(repr, choices))}, not {value!r}") from None
            if other.record is not self.record.base:
                meant = other if self.mode == "value" else getattr(other, self.mode)
        return meant

    def _bind(self, args, kwargs):
        """Sort the arguments: the mode, the ufunc's operands, whether conventions differ from their defaults, out, options, accuracy."""
        if len(args) > len(self._positional):
            raise TypeError(
                f"{self.__qualname__}: {len(args)} positional arguments were given, but there are only {', '.join(self._positional)}; "
                "give out= and the like by name"
            )
        values = dict(zip(self._positional, args, strict=False))
        options, out, accuracy = {}, None, None
        for name, value in kwargs.items():
            if name == "out":
                out = value
            elif name == "accuracy":
                accuracy = value
            elif name in self._inputs or name in self._accepted or (name == "output" and self.mode == "backward"):
                if name in values:
                    raise TypeError(f"{self.__qualname__}: {name} was given twice, by position and by name")
                values[name] = value
            elif name in _UFUNC_OPTIONS:
                options[name] = value
            else:
                known = [
                    *self._inputs,
                    *(["output"] if self.mode == "backward" else []),
                    *self._accepted,
                    *self.record.also,
                    "out",
                    "accuracy",
                    *_UFUNC_OPTIONS,
                ]
                raise TypeError(f"{self.__qualname__}: there is no argument {name!r}; there are {', '.join(known)}")
        mode = self.mode
        if self.mode == "backward":  # None is their default: not given
            values = {name: value for name, value in values.items() if value is not None or name not in ("x", "output")}
        if "output" in values:
            mode = "backward_from_output"
            if "x" in values:
                raise TypeError(f"{self.__qualname__}: both x and output were given; give one of them")
            if self.record.from_output is None:
                raise TypeError(
                    f"{self.__qualname__}: output was given, but the derivative of {self.record.name} can't be had from its output; give x"
                )
        for name in catalog.INPUTS[mode]:
            if name not in values:
                also = " (or output)" if mode == "backward" and name == "x" and self.record.from_output is not None else ""
                raise TypeError(f"{self.__qualname__}: {name}{also} is missing")
        if accuracy is not None and (not isinstance(accuracy, str) or accuracy not in catalog.ACCURACIES):
            raise ValueError(f"{self.__qualname__}: accuracy: {accuracy!r} is not one of {', '.join(catalog.ACCURACIES)}")
        parameters = [_parameter(self, name, values.get(name, default)) for name, default in self._accepted.items()]
        if mode == "backward_from_output":
            for name, value in zip(self._accepted, parameters, strict=True):
                if name in self.record.nonnegative and not _nonnegative(value):
                    raise ValueError(
                        f"{self.__qualname__}: {name} is {value!r}, but the derivative can be had from the output only while it is not "
                        "negative; give x in place of output"
                    )
        full = any(name in values and not _equal(values[name], default) for name, default in self._conventions.items())
        operands = [values[name] for name in catalog.INPUTS[mode]] + parameters
        return mode, operands, full, out, options, accuracy or dispatch.get_accuracy()

    def _plain(self, mode, inputs, out, accuracy):
        """Serve plain arrays without the ufunc: its calls back into Python cost some microseconds each. None: not plain."""
        count = len(catalog.INPUTS[mode])
        arrays = list(inputs[:count])
        outs = [] if out is None else list(out) if isinstance(out, tuple) else [out]
        if out is not None and len(outs) != catalog.OUTPUTS[mode]:
            return None
        first = arrays[0]
        for a in (*arrays, *outs):
            if (
                type(a) is not np.ndarray
                or a.dtype not in _FLOATS
                or a.dtype != first.dtype
                or a.shape != first.shape
                or a.ndim == 0
                or not a.flags.c_contiguous
            ):
                return None
        if not all(type(p) is float for p in inputs[count:]) or not all(a.flags.writeable for a in outs):
            return None
        parts = [*arrays, *outs]
        for i, a in enumerate(outs, len(arrays)):
            if any(np.may_share_memory(a, b) for j, b in enumerate(parts) if i != j):
                return None
        results = outs or [np.empty(first.shape, first.dtype) for _ in range(catalog.OUTPUTS[mode])]
        flat = [np.ascontiguousarray(a, first.dtype.newbyteorder("=")).reshape(-1) for a in arrays]
        z = flat[0] if count == 2 else results[1].reshape(-1) if len(results) == 2 else None
        full = [*inputs[count:], *[p.default for p in self.record.parameters[len(inputs) - count :]]]
        executor.run(self._block_kernel(mode, first.dtype, accuracy), flat[-1], results[0].reshape(-1), z, full)
        return tuple(results) if len(results) == 2 else results[0]

    # Errors that name the argument, what was given, and what would do

    def _explained(self, error, mode, inputs, out, options):
        names = [*catalog.INPUTS[mode], *self._accepted]
        arrays = {}
        for name, value in zip(names, inputs, strict=False):
            try:
                arrays[name] = (
                    value if isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "shape") else np.asarray(value)
                )
            except (TypeError, ValueError) as refused:
                return not_an_array(self.__qualname__, name, value, refused)
            dtype = arrays[name].dtype
            if (dtype.kind not in "biuf" or dtype.itemsize > 8) and dtype not in _FLOATS:
                return not_real(self.__qualname__, name, arrays[name])
        try:
            shape = np.broadcast_shapes(*[a.shape for a in arrays.values()])
        except ValueError:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items() if a.shape)
            return ValueError(f"{self.__qualname__}: the shapes do not broadcast together: {shapes}")
        except RuntimeError:  # it knows 32 dimensions only
            return type(error)(f"{self.__qualname__}: {error}") if type(error) in (TypeError, ValueError) else error
        outputs = catalog.OUTPUTS[mode]
        if out is not None:
            outs = _tuple(out)
            if len(outs) != outputs:
                wanted = "a tuple (y, dy) of two arrays" if outputs == 2 else "one array"
                return TypeError(f"{self.__qualname__}: out: expected {wanted}, not {kind_of(out)}")
            for a in outs:
                if a is None:
                    continue
                if not isinstance(a, np.ndarray):
                    return TypeError(f"{self.__qualname__}: out: expected an array, not {type(a).__name__}")
                if not a.flags.writeable:
                    return ValueError(f"{self.__qualname__}: out is read-only; give an array that can be written to")
                try:
                    fits = np.broadcast_shapes(shape, a.shape) == a.shape
                except (ValueError, RuntimeError):
                    fits = False
                if not fits:
                    return ValueError(
                        f"{self.__qualname__}: out has shape {a.shape}, but the result has shape {shape}; give an array of that shape"
                    )
                if a.dtype.kind != "f" and a.dtype not in _FLOATS:
                    return TypeError(
                        f"{self.__qualname__}: out has dtype {a.dtype}, which does not hold the result; give float32 or float64 "
                        "(or casting='unsafe')"
                    )
        return type(error)(f"{self.__qualname__}: {error}") if type(error) in (TypeError, ValueError) else error

    # What a person and the standard library look at

    @property
    def __doc__(self):
        return describe.docstring(self.record, self.mode)

    @property
    def __signature__(self):
        return signature(self.record, self.mode)

    def __get__(self, instance, owner=None):
        # As a class attribute it stays what it is, like a ufunc; and help() takes it for the function that it is.
        return self

    def __repr__(self):
        return f"<activation {self.__qualname__}{self.__signature__}>"

    def __reduce__(self):
        if hasattr(self.record.formula, "custom"):
            from . import custom

            return custom.reduced(self.record, self.mode)
        return (_restore, (self.record.name, self.mode))

    def __copy__(self):
        return self

    def __deepcopy__(self, memory):
        return self


class Activation(Function):
    # An activation: called, its value; its attributes grad, value_and_grad and backward are the other modes, and ufunc, grad_ufunc,
    # value_and_grad_ufunc and backward_ufunc the NumPy ufuncs underneath. (No docstring: an instance has its own, by Function.)

    __doc__ = Function.__dict__["__doc__"]  # a class without a docstring has None, which would hide it

    def __init__(self, record):
        super().__init__(record, "value")
        self.grad = Function(record, "grad")
        self.value_and_grad = Function(record, "value_and_grad")
        self.backward = Function(record, "backward")

    @property
    def name(self):
        """The canonical name."""
        return self.record.name

    def mode_ufunc(self, mode):
        """The NumPy ufunc of a mode by its name."""
        holder = self if mode == "value" else self.backward if mode == "backward_from_output" else getattr(self, mode)
        return holder._public_ufunc(mode)

    def plot(self, **options):
        """Draw value and derivative: see `fastact.plot`."""
        from . import plotting

        return plotting.plot(self, **options)

    def _repr_html_(self):
        from . import plotting

        return plotting.html(self)

    @property
    def grad_ufunc(self):
        """The NumPy ufunc of the derivative."""
        return self.grad.ufunc

    @property
    def value_and_grad_ufunc(self):
        """The NumPy ufunc of value and derivative."""
        return self.value_and_grad.ufunc

    @property
    def backward_ufunc(self):
        """The NumPy ufunc of a gradient times the derivative."""
        return self.backward.ufunc


def _overrides(value):
    """Whether NumPy leaves it to a value what a ufunc does with it."""
    method = getattr(type(value), "__array_ufunc__", np.ndarray.__array_ufunc__)
    return method is not np.ndarray.__array_ufunc__


def _real(value):
    """Integers and bools as float32, or float64 where that is too narrow: half precision, NumPy's choice for small ones, is for those who
    ask for it. Python's own numbers give float64, as they do with any ufunc."""
    if type(value) in (float, int):
        return value
    if isinstance(value, bool):
        return float(value)
    if not hasattr(value, "__array_ufunc__"):
        value = np.asarray(value)
    dtype = getattr(value, "dtype", None)
    integers = isinstance(dtype, np.dtype) and dtype.kind in "biu"  # a dtype of pandas' own is for pandas to convert
    return value.astype(_floats_for(dtype)) if integers and hasattr(value, "astype") else value


@functools.cache
def _floats_for(dtype):
    return np.result_type(dtype, np.float32)


def _loop(operands, count, outputs, out, accuracy):
    """The ufunc's loop for these operands, as options, where NumPy's search could take another one.

    That is so where the loop's parameters are of another dtype than its arrays. Besides, an `out` of another dtype gets what was
    computed, not that rounded to half precision first.
    """
    held = set()
    for value in operands:
        if type(value) in (float, int):
            continue  # takes the dtype of the others
        dtype = getattr(value, "dtype", None)
        name = _FLOATS.get(dtype)
        if name is None and isinstance(dtype, np.dtype):
            name = _name(_floats_for(dtype) if dtype.kind in "biu" else dtype)
        if name is None:
            return {}
        held.add(name)
    if not held or (held.isdisjoint(catalog.HALF) and (accuracy == "default" or len(operands) == count)):
        return {}
    result = "float64" if "float64" in held else held.pop() if len(held) == 1 else "float32"
    outs = [a.dtype for a in _tuple(out) if isinstance(a, np.ndarray)]
    if result in catalog.HALF and any(_name(dtype) not in (result, None) for dtype in outs):
        result = "float32"
    arrays = next(dtype for dtype, name in _FLOATS.items() if name == result)
    return {"signature": _signature(arrays, count, len(operands) - count, outputs, accuracy)}


def _loop_of(options, count, parameters, outputs, accuracy):
    """Options with the loop for the `dtype` that they ask for: NumPy's search wants parameters of that dtype too."""
    dtype = np.dtype(options["dtype"])
    if dtype not in _FLOATS:
        return options
    return {k: v for k, v in options.items() if k != "dtype"} | {"signature": _signature(dtype, count, parameters, outputs, accuracy)}


def _signature(dtype, count, parameters, outputs, accuracy):
    computed = np.dtype(catalog.computed_in(_FLOATS[dtype], accuracy))
    return (dtype,) * count + (computed,) * parameters + (dtype,) * outputs


def _name(dtype):
    """Which of `catalog.HELD` a dtype is, in any byte order, or None."""
    return _FLOATS.get(dtype) or _FLOATS.get(dtype.newbyteorder("="))


def _tuple(out):
    return out if isinstance(out, tuple) else (out,)


def _parameter(function, name, value):
    """A parameter as the ufunc wants it. Scalars become Python's own, which do not change the result's dtype."""
    if type(value) is float or _overrides(value):
        return value
    real = getattr(value, "dtype", None) in _FLOATS
    scalar = isinstance(value, (np.ndarray, np.generic)) and not value.ndim and (real or value.dtype.kind in "biuf")
    # A timedelta64 says that it is real.
    if scalar or (isinstance(value, (numbers.Real, np.bool_)) and not isinstance(value, np.timedelta64)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if value is None or isinstance(value, (str, bytes, complex)):
        raise TypeError(f"{function.__qualname__}: {name}: expected a real number or an array of them, not {value!r}")
    if real:
        return value
    try:
        array = np.asarray(value)
    except ActivationError:  # a user's function is being followed
        raise
    except ValueError as refused:
        raise not_an_array(function.__qualname__, name, value, refused) from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{function.__qualname__}: {name}: expected a real number or an array of them, not dtype {array.dtype}")
    if isinstance(value, np.ndarray):
        return value
    return array if array.ndim else float(array)


def _nonnegative(value):
    array = np.asarray(value)
    return array.dtype == object or np.all(array >= 0)  # what it holds, an object that is not NumPy's has to know


def _equal(value, default):
    return isinstance(value, numbers.Real) and value == default


def _belongs(ufunc):
    # Where pickle finds it; ufuncs have no such attribute before NumPy 2.2, and pickle then searches all modules.
    with contextlib.suppress(AttributeError):
        ufunc.__module__ = f"{__package__}.ufuncs"
    return ufunc


def _restore(name, mode):
    activation = get(name)
    return activation if mode == "value" else getattr(activation, mode)


def signature(record, mode):
    """The signature of a mode's callable."""
    import inspect

    kinds = inspect.Parameter
    parameters = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in catalog.INPUTS[mode]]
    by_output = mode == "backward" and record.from_output is not None
    if by_output:
        parameters[1] = parameters[1].replace(default=None)
    parameters += [kinds(p.name, kinds.POSITIONAL_OR_KEYWORD, default=p.default) for p in record.given(mode)]
    if by_output:
        parameters.append(kinds("output", kinds.KEYWORD_ONLY, default=None))
    parameters += [kinds(p.name, kinds.KEYWORD_ONLY, default=p.default) for p in record.accepted(mode) if p.convention]
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, (default, _) in record.also.items()]
    if mode == "backward" and record.parameter_gradients is not None:
        parameters.append(kinds("parameters", kinds.KEYWORD_ONLY, default=False))
    parameters.append(kinds("out", kinds.KEYWORD_ONLY, default=None))
    parameters.append(kinds("accuracy", kinds.KEYWORD_ONLY, default=None))
    parameters.append(kinds("ufunc_options", kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


@functools.cache
def _made(record):
    dispatch.prepare()
    return Activation(record)


def own(record):
    """An activation that is not in the catalog."""
    return _made(record)


def get(name, like=None):
    """Return an activation by its name or an alias; case, hyphens and underscores do not matter.

    Parameters
    ----------
    name : str
        The name here, or the one that a library has for it.
    like : {"torch", "jax", "keras", "tensorflow", "onnx", "thinc", "transformers", "scipy"}, optional
        Return what that library means by the name, with its default parameters and its conventions at kinks.

    Raises
    ------
    LookupError
        There is no such activation, or not in that library; the message lists close names, or the libraries that have it.
    ValueError
        The library is not one of those.

    Notes
    -----
    Where a library is wrong (NaN at infinities, a lost tail), fastact stays right. ``get("leaky_relu", like="keras")`` is also
    ``fastact.leaky_relu_keras``.

    Examples
    --------
    >>> import fastact
    >>> fastact.get("SiLU") is fastact.get("swish") is fastact.silu
    True
    >>> fastact.get("leaky_relu", like="keras")([-1.0])
    array([-0.2])
    """
    return _made(catalog.find(name, like))


def resolve(act, who):
    """An activation, given as it is or by name."""
    if isinstance(act, str):
        return get(act)
    if not isinstance(act, Activation):
        raise TypeError(f"{who}: act: expected an activation or its name, not {act!r}")
    return act


def names():
    """Return the canonical names of all activations.

    Examples
    --------
    >>> import fastact
    >>> "gelu" in fastact.names()
    True
    """
    return list(catalog.records())


# --- Warming up and explaining -------------------------------------------------------------------------------------------


def warm(record, mode, precisions):
    """Compile Numba's kernels."""
    for precision in precisions:
        if dispatch.ready(record, mode, precision, "numba"):
            continue
        if record.parameters:
            numba.kernel(record, mode, precision, True)
        numba.kernel(record, mode, precision)  # last: with it the kernel counts as ready


def warmup(name=None, dtype=None, mode=None, backend=None):
    """Compile now what a hot loop will need, and cache it on disk.

    With the extension there is nothing to wait for; Numba's kernels are then compiled where the tuning table has them as the faster ones,
    and ``auto`` uses them from now on.

    Parameters
    ----------
    name : str, activation, or list of them, optional
        Activations; all of the catalog if not given.
    dtype : str or dtype, optional
        Of the arrays; all if not given. float16 and bfloat16 are computed in float32.
    mode : str or list of str, optional
        ``"value"``, ``"grad"``, ``"value_and_grad"``, ``"backward"``; all if not given.
    backend : {"numba"}, optional
        Compile for Numba whatever dispatch would choose.

    Returns
    -------
    int
        How many kernels are ready that were not before.

    Raises
    ------
    LookupError
        There is no activation of a name.
    TypeError
        An argument is of the wrong kind.
    ValueError
        There is no such mode, no kernel for the dtype, or the backend compiles nothing.
    RuntimeError
        Numba is asked for and not installed.

    Examples
    --------
    >>> import fastact
    >>> count = fastact.warmup("relu", dtype="float32", mode="value")
    """
    named = [name] if isinstance(name, (str, Function)) else name
    if name is not None and not np.iterable(named):
        raise TypeError(f"name: expected an activation, its name or a list of them, not {name!r}")
    chosen = catalog.records().values() if name is None else [n.record if isinstance(n, Function) else catalog.find(n) for n in named]
    precisions = catalog.DTYPES if dtype is None else [catalog.precision_for(_held(dtype), dispatch.get_accuracy())]
    if mode is not None and not np.iterable(mode):
        raise TypeError(f"mode: expected one of {', '.join(catalog.MODES)}, or a list of them, not {mode!r}")
    wanted = None if mode is None else [mode] if isinstance(mode, str) else list(mode)
    for m in wanted or ():
        if m not in catalog.MODES:
            raise ValueError(f"mode: there is no mode {m!r}; give one of {', '.join(catalog.MODES)}")
    if backend not in (None, "numba"):
        raise ValueError(f"backend: {backend!r} compiles nothing; give 'numba' or leave it out")
    if not numba.available():
        if backend == "numba":
            raise RuntimeError("backend: 'numba' is not installed here")
        return 0
    count = 0
    for record in chosen:
        for m in record.modes if wanted is None else [m for m in wanted if m in record.modes]:
            for precision in precisions:
                if dispatch.ready(record, m, precision, "numba"):
                    continue
                if backend == "numba" or _numba_pays(record, m, precision):
                    warm(record, m, [precision])
                    count += 1
    dispatch.changed()
    return count


def _numba_pays(record, mode, precision):
    setting = dispatch.get_backend()
    if setting != "auto":
        return setting == "numba"
    if not dispatch.ready(record, mode, precision, "cython"):
        return True
    return dispatch.numba_pays(record, mode, precision)


def _held(dtype):
    name = dtype if isinstance(dtype, str) and dtype in catalog.HELD else dispatch.as_dtype(dtype).name
    if name not in catalog.HELD:
        raise ValueError(f"dtype: there are no kernels for {name}; give one of {', '.join(catalog.HELD)}")
    return name
