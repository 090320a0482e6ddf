"""Dispatch: which backend's kernel serves a call.

One function decides, `choose`; `explain` shows its decision. ``auto`` takes the fastest kernel that is ready, by the tuning table; what
would first have to be compiled is not ready, unless there is nothing else.
"""

import collections
import contextlib
import contextvars
import functools
import itertools

import numpy as np

from . import catalog, executor, language, settings
from .backends import cython, numba, numpy

BACKENDS = {"cython": cython, "numba": numba, "numpy": numpy}
CHOICES = ("auto", *BACKENDS)
KERNEL_PRECISIONS = (*catalog.DTYPES, *language.REDUCED)  # what kernels are made in, in the front end's order
UNMEASURED_NS = 0.3  # per element, of a kernel that the tuning table does not know

_backend = "auto"
_override = contextvars.ContextVar("fastact_backend", default=None)
_accuracy = "default"
_accuracy_override = contextvars.ContextVar("fastact_accuracy", default=None)
watchers = []  # what `monitor.watch` opened: each is shown the calls that take the general path
_listeners = []  # called when a decision may have changed
_decided = object()

threads = cython.frontend or executor  # who has set_num_threads and get_num_threads


Choice = collections.namedtuple("Choice", "backend ns_per_element why")
Choice.__doc__ = "A decision: the backend, what one element costs there, and why it was taken."


# --- What the user sets --------------------------------------------------------------------------------------------------


def _known(name):
    if not isinstance(name, str) or name not in CHOICES:
        raise ValueError(f"backend: there is no backend {name!r}; give one of {', '.join(CHOICES)}")
    if name != "auto" and not BACKENDS[name].available():
        there = ", ".join(n for n, b in BACKENDS.items() if b.available())
        raise RuntimeError(f"backend: {name!r} is not installed here; there is {there}")
    return name


def set_backend(name):
    """Choose the backend of all calls, in all threads.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}
        ``auto`` takes the fastest kernel that is ready.

    Raises
    ------
    ValueError
        There is no such backend.
    RuntimeError
        It is not installed here.

    Examples
    --------
    >>> import fastact
    >>> fastact.set_backend("numpy")
    >>> fastact.get_backend()
    'numpy'
    >>> fastact.set_backend("auto")
    """
    global _backend
    _backend = _known(name)
    changed()


def get_backend():
    """Return the backend that is set here and now: ``"auto"``, ``"cython"``, ``"numba"`` or ``"numpy"``.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_backend("numpy"):
    ...     fastact.get_backend()
    'numpy'
    """
    return _override.get() or _backend


def get_global_backend():
    """What `set_backend` set, whatever this thread's ``use_backend`` says."""
    return _backend


@contextlib.contextmanager
def use_backend(name):
    """Choose the backend inside a ``with`` block, for this thread or task only.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}

    Raises
    ------
    ValueError
        There is no such backend.
    RuntimeError
        It is not installed here.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_backend("numpy"):
    ...     fastact.relu([-1.0, 2.0])
    array([0., 2.])
    """
    with _for_now(_override, _known(name)):
        yield


@contextlib.contextmanager
def _for_now(variable, value):
    token = variable.set(value)
    if cython.frontend is not None:
        cython.frontend.add_override(1)
    try:
        yield
    finally:
        if cython.frontend is not None:
            cython.frontend.add_override(-1)
        variable.reset(token)


def overridden():
    """Whether this thread or task is inside a ``use_backend`` or ``use_accuracy`` block."""
    return bool(_override.get() or _accuracy_override.get())


def known_accuracy(name):
    """The name, if there is such an accuracy."""
    if not isinstance(name, str) or name not in catalog.ACCURACIES:
        raise ValueError(f"accuracy: {name!r} is not one of {', '.join(catalog.ACCURACIES)}")
    return name


def set_accuracy(name):
    """Choose how accurate all calls of activations are, in all threads.

    Parameters
    ----------
    name : {"default", "high"}
        ``default`` computes float32 in float32, within the bound that each activation promises. ``high`` computes float32 in float64 and
        rounds once: at most 0.51 ULP, at 0.35 times the speed or more (median 0.58). float64, float16 and bfloat16 are computed alike by both;
        so are gates, biases, gradients of parameters and functions along an axis, and what the ufuncs compute.

    Raises
    ------
    ValueError
        There is no such accuracy.

    Examples
    --------
    >>> import fastact
    >>> fastact.set_accuracy("high")
    >>> fastact.get_accuracy()
    'high'
    >>> fastact.set_accuracy("default")
    """
    global _accuracy
    _accuracy = known_accuracy(name)
    if cython.frontend is not None:
        cython.frontend.set_accuracy(_accuracy == "high")
    changed()


def get_accuracy():
    """Return the accuracy that is set here and now: ``"default"`` or ``"high"``.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_accuracy("high"):
    ...     fastact.get_accuracy()
    'high'
    """
    return _accuracy_override.get() or _accuracy


@contextlib.contextmanager
def use_accuracy(name):
    """Choose the accuracy inside a ``with`` block, for this thread or task only.

    Parameters
    ----------
    name : {"default", "high"}
        As `set_accuracy` takes it.

    Raises
    ------
    ValueError
        There is no such accuracy.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_accuracy("high"):
    ...     fastact.relu([-1.0, 2.0])
    array([0., 2.])
    """
    with _for_now(_accuracy_override, known_accuracy(name)):
        yield


def set_num_threads(n):
    """Set how many threads one call may use, itself included; small arrays use one whatever is set.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError
        It is not a number.
    ValueError
        It is not a whole number, or below 1.

    Examples
    --------
    >>> import fastact
    >>> before = fastact.get_num_threads()
    >>> fastact.set_num_threads(1)
    >>> fastact.get_num_threads()
    1
    >>> fastact.set_num_threads(before)
    """
    try:
        count = int(None if isinstance(n, (str, bytes)) else n)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"n: expected a whole number of threads, not {n!r}") from None
    if count != n or count < 1:
        raise ValueError(f"n: {n!r} is not a number of threads; give 1 or more")
    for pool in {threads, executor}:
        pool.set_num_threads(min(count, 1024))


def get_num_threads():
    """Return how many threads one call may use.

    Examples
    --------
    >>> import fastact
    >>> fastact.get_num_threads() >= 1
    True
    """
    return threads.get_num_threads()


# --- The decision --------------------------------------------------------------------------------------------------------


def _numbers(table):
    """The table, if numbers are where numbers have to be."""
    costs = [c for modes in table["ns_per_element"].values() for rows in modes.values() for row in rows.values() for c in row.values()]
    costs += [table[name] for name in ("hot_ns", "cold_ns", "stream_bytes") if name in table]
    if not all(isinstance(c, (int, float)) and 0 < c < 1e18 for c in costs):  # bytes have to fit an integer
        raise ValueError("what it says of costs are not all positive numbers below 1e18")
    return table


@functools.cache
def tuning():
    """The tuning table: of FASTACT_TUNING, of `python -m fastact tune`, or as shipped."""
    import json
    import pathlib

    chosen = settings.variable("FASTACT_TUNING")
    own = settings.cache_folder() / "tuning.json"
    path = pathlib.Path(chosen) if chosen else own if own.is_file() else pathlib.Path(__file__).with_name("tuning.json")
    try:
        table = _numbers(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if chosen:
            raise ValueError(f"FASTACT_TUNING: {chosen} is not a tuning table ({error})") from None
        return {"ns_per_element": {}, "source": "none"}
    table["source"] = str(path)
    return table


def measured(record, mode, precision, backend):
    """Nanoseconds an element of this kernel on one thread, data in cache; None where nobody measured."""
    row = tuning()["ns_per_element"].get(record.kernel_name, {}).get(mode, {}).get(language.type_of(precision), {})
    if backend != "cython":
        return row.get(backend)
    # A level that nobody measured costs no more than the next.
    return next((row[key] for level in cython.loaded_and_lower() if (key := f"cython-{level}") in row), None)


def ready(record, mode, precision, backend):
    """Whether this backend could serve a call without compiling first."""
    if not BACKENDS[backend].available():
        return False
    if backend == "cython":
        return bool(cython.kernel(record, mode, precision))
    return backend == "numpy" or numba.compiled(record, mode, precision)


def numba_pays(record, mode, precision):
    """Whether the tuning table has Numba's kernel as clearly faster than Cython's: less is within the noise of the measurement."""
    ours, theirs = (measured(record, mode, precision, b) for b in ("numba", "cython"))
    return bool(ours and theirs and ours < 0.9 * theirs)


def choose(record, mode, precision, setting=None):
    """Decide which backend serves (activation, mode, dtype).

    Parameters
    ----------
    setting : str, optional
        In place of the setting in force.
    """
    setting = setting or get_backend()
    if setting != "auto":
        cost = measured(record, mode, precision, setting) or UNMEASURED_NS
        if setting == "cython" and not cython.kernel(record, mode, precision):
            return Choice("numba" if numba.available() else "numpy", cost, f"cython was asked for, but has no kernel of {record.name}")
        return Choice(setting, cost, "it was asked for")
    compiled = [b for b in ("cython", "numba") if ready(record, mode, precision, b)]
    if not compiled and numba.available():
        return Choice(
            "numba", measured(record, mode, precision, "numba") or UNMEASURED_NS, "no compiled kernel is ready, so Numba makes one"
        )
    if not compiled:
        why = "Numba, which would compile it, is not installed" if cython.available() else "neither the extension nor Numba is installed"
        return Choice("numpy", UNMEASURED_NS, why)
    costs = {b: measured(record, mode, precision, b) for b in compiled}
    if len(compiled) > 1 and all(costs.values()):
        best = "numba" if numba_pays(record, mode, precision) else "cython"
        other = "cython" if best == "numba" else "numba"
        return Choice(best, costs[best], f"{costs[best]:.3g} ns an element, {other} {costs[other]:.3g}")
    best = compiled[0]
    return Choice(
        best, costs[best] or UNMEASURED_NS, "nothing is measured" if len(compiled) > 1 else ""
    )  # `_why_alone` says more, to who asks


def _why_alone(record, mode, precision, backend):
    """Why no other compiled kernel than this backend's is at hand."""
    if backend == "numba":
        return f"compiled by Numba; the extension has no kernel of {record.name}" if cython.available() else "compiled by Numba"
    if not numba.available():
        return "compiled ahead of time"
    if numba_pays(record, mode, precision):
        return "compiled ahead of time; Numba's is measured as faster, once fastact.warmup has compiled it"
    return "compiled ahead of time; Numba's is not measured as faster"


class Explanation(collections.namedtuple("Explanation", "activation mode dtype computed accuracy size backend level threads path why")):
    """Which kernel would serve a call, and why; print it."""

    __slots__ = ()

    def __str__(self):
        size = "any size" if self.size is None else f"{self.size:,} elements"
        kernel = self.backend + (f", instruction set x86-64-{self.level}" if self.level not in (None, "base") else "")
        computed = f", computed in {self.computed} and rounded once" if self.computed != self.dtype else ""
        accuracy = f", accuracy {self.accuracy}" if self.accuracy != "default" else ""
        return (
            f"{self.activation}, mode {self.mode}, {self.dtype}, {size}{accuracy}\n"
            f"  kernel   {kernel}{computed}: {self.why}\n"
            f"  threads  {self.threads}\n"
            f"  path     {self.path}"
        )


def explain(activation, x=None, *, mode="value", dtype=None, accuracy=None):
    """Say which kernel would serve a call, and why.

    Parameters
    ----------
    activation : str or activation
    x : array_like, optional
        The call's argument: its dtype, size and layout decide.
    mode : {"value", "grad", "value_and_grad", "backward"}
    dtype : str or dtype, optional
        Where there is no `x`; float32 if not given.
    accuracy : {"default", "high"}, optional
        What the call would be given; otherwise what is set.

    Returns
    -------
    Explanation
        Prints as a few lines; its fields are there for programs.

    Raises
    ------
    LookupError
        There is no activation of this name.
    TypeError
        `activation` is something else, or there are no kernels for the dtype.
    ValueError
        There is no such mode of the activation, or no such accuracy.

    Examples
    --------
    >>> import fastact
    >>> with fastact.use_backend("numpy"):
    ...     print(fastact.explain("gelu", [1.0, 2.0]))
    gelu, mode value, float64, 2 elements
      kernel   numpy: it was asked for
      threads  1
      path     general: list becomes an array first
    """
    record = catalog.as_record(activation)
    mode = getattr(activation, "mode", mode) if mode == "value" else mode
    if not isinstance(mode, str) or mode not in record.modes:
        raise ValueError(f"mode: there is no mode {mode!r} of {record.name}; give one of {', '.join(record.modes)}")
    accuracy = get_accuracy() if accuracy is None else known_accuracy(accuracy)
    array = None if x is None else np.asarray(x)
    if array is None and isinstance(dtype, str) and dtype in catalog.HELD:
        held = found = dtype  # bfloat16 has this name for NumPy only once ml_dtypes is imported
    else:
        found = as_dtype(dtype or "float32") if array is None else array.dtype
        held = np.result_type(found, np.float32).name if found.kind in "biu" else found.name
    if held not in catalog.HELD:
        raise TypeError(
            f"{'dtype' if array is None else 'x'}: there are no kernels for dtype {found}; give one of {', '.join(catalog.HELD)}"
        )
    computed = catalog.computed_in(held, accuracy)
    choice = choose(record, mode, catalog.precision_for(held, accuracy))
    n = 0 if array is None else array.size
    quick = choice.backend != "numpy" and cython.frontend is not None and not overridden()
    if array is not None and type(x) is not np.ndarray:
        path = f"general: {type(x).__name__} becomes an array first"
    elif not quick:
        path = "general: a NumPy ufunc, in pure Python" if cython.frontend is None else "general: the NumPy ufunc of the chosen backend"
    elif array is not None and found.name != held:
        path = f"general: {found} is converted to {held} first"
    elif array is not None and not array.dtype.isnative:
        path = "general: byte-swapped data, converted by the NumPy ufunc"
    elif array is not None and not (array.flags.c_contiguous or array.flags.f_contiguous):
        path = "fast: blocks are gathered from strided memory"
    elif computed != held:
        path = "fast: blocks are converted on the way to the kernel and back"
    else:
        path = "fast: straight to the kernel"
    if cython.frontend is not None and choice.backend != "numpy":
        arrays = len(catalog.INPUTS[mode]) + catalog.OUTPUTS[mode]
        team = cython.frontend.team_for(n * choice.ns_per_element, n * int(held[-2:]) // 8 * arrays)
    else:
        team = get_num_threads() if n >= executor.PARALLEL else 1
    return Explanation(
        record.name, mode, held, computed, accuracy, None if array is None else n, choice.backend,
        cython.level() if choice.backend == "cython" else None, team, path,
        choice.why or _why_alone(record, mode, catalog.precision_for(held, accuracy), choice.backend),
    )  # fmt: skip


def as_dtype(given):
    """What was given for a dtype, as one."""
    try:
        return np.dtype(given)
    except TypeError:
        raise TypeError(f"dtype: expected a dtype, one of {', '.join(catalog.HELD)}, not {given!r}") from None


def on_change(listener):
    """Call `listener` whenever a decision may have changed."""
    _listeners.append(listener)


def decisions():
    """What is another object once a decision may have changed: whoever acts on one looks behind it whether another thread changed it meanwhile."""
    return _decided


def changed():
    global _decided
    _decided = object()
    for listener in _listeners:
        listener()


def start():
    """Take over what the environment says; returns what is wrong with it, an error for each variable."""
    wrong = {}
    for variable, setter in (("FASTACT_BACKEND", set_backend), ("FASTACT_ACCURACY", set_accuracy)):
        name = settings.variable(variable)
        if name is not None:
            try:
                setter(name)
            except (ValueError, RuntimeError) as error:
                argument, _, text = str(error).partition(": ")  # another variable may be what is wrong
                wrong[variable] = error if argument in settings.VARIABLES else type(error)(f"{variable}: {text}")
    count = settings.variable("FASTACT_NUM_THREADS")
    if count is not None:
        if count.isdecimal() and len(count) <= 18 and int(count) > 0:
            set_num_threads(int(count))
        else:
            wrong["FASTACT_NUM_THREADS"] = ValueError(f"FASTACT_NUM_THREADS: {count!r} is not a number of threads; give 1 or more")
    spin = settings.variable("FASTACT_SPIN_US")
    if spin is not None and cython.frontend is not None:
        try:
            us = float(spin)
        except ValueError:
            us = -1.0
        if 0 <= us < float("inf"):
            cython.frontend.set_spin_us(us)
        else:
            wrong["FASTACT_SPIN_US"] = ValueError(f"FASTACT_SPIN_US: {spin!r} is not a number of microseconds")
    return wrong


def mistakes():
    """What is wrong with the environment: an error for each variable; those that are looked at only when they are needed too."""
    found = dict(_wrong)
    looks = {"FASTACT_TUNING": tuning} | ({"FASTACT_LEVEL": cython.levels} if cython.frontend is not None else {})
    for variable, look in looks.items():
        try:
            look()
        except ValueError as error:
            found[variable] = error
    return found


@functools.cache
def prepare():
    """Give the executor the tuning table's thresholds; before the first call, and not at import."""
    table = tuning()
    if cython.frontend is None:
        return
    if "hot_ns" in table and "cold_ns" in table:
        cython.frontend.set_thresholds_ns(table["hot_ns"], table["cold_ns"])
    if "stream_bytes" in table:
        cython.frontend.set_stream_bytes(int(table["stream_bytes"]))


def _is_command_line():
    """Whether this is `python -m fastact`, or the command: they say by themselves what is wrong, in a line."""
    import os
    import sys

    if sys.argv[:1] == ["-m"]:  # so far: Python is looking for the module
        return any(f"{one}{other}" == f"-m{__package__}" for one, other in itertools.pairwise(["", *sys.orig_argv, ""]))
    return os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe") == __package__


_wrong = start()
if _wrong and not _is_command_line():
    raise next(iter(_wrong.values()))
