"""The executor in pure Python: what `_cy/executor.cpp` does, for installations without the extension.

It runs kernels of arrays, ``kernel(x, y, z, parameters)``, by several threads, and makes real NumPy ufuncs of them. The arrays are of one
shape and either contiguous or one-dimensional; an output may be an input, and does not overlap one otherwise.
"""

import ctypes
import functools
import os
import threading

import numpy as np

PARALLEL = 1_048_576  # elements from which Python threads pay: to wake one costs 100 microseconds
_BUFFER = 16_384  # elements of the detour by which results go into memory that the kernel reads

_threads = None
_pool = None
_lock = threading.Lock()


def _forked():
    """A child has none of the threads, and the lock as another thread of its parent may have held it."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def default_num_threads():
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def set_num_threads(n):
    """How many threads a large array may use; below 1: all processors."""
    global _threads
    _threads = n if n > 0 else None


def get_num_threads():
    """How many threads a large array may use."""
    return _threads or default_num_threads()


def thread_pool():
    """The threads that large arrays are shared out to."""
    global _pool
    with _lock:
        if _pool is None or _pool[0] != get_num_threads():
            import concurrent.futures

            _pool = get_num_threads(), concurrent.futures.ThreadPoolExecutor(get_num_threads(), "fastact")
        return _pool[1]


def run(kernel, x, y, z, parameters, alone=False):
    """Run a kernel, by several threads where that pays; `alone`: in order, by this one."""
    n = x.size
    if alone or n < PARALLEL or get_num_threads() == 1:
        kernel(x, y, z, parameters)
        return
    x, y, z = x.reshape(-1), y.reshape(-1), z if z is None else z.reshape(-1)
    step = -(-n // (4 * get_num_threads()) // _BUFFER) * _BUFFER

    def piece(start):
        part = slice(start, start + step)
        kernel(x[part], y[part], None if z is None else z[part], _cut(parameters, part))

    list(thread_pool().map(piece, range(0, n, step)))  # list() so that an exception in a thread comes out here


def _cut(parameters, part):
    # A tuple is the defaults.
    return [p[part] if isinstance(p, np.ndarray) else p for p in parameters] if type(parameters) is list else parameters


_pointer = ctypes.c_void_p.from_address
_DATA = object.__basicsize__  # where NumPy's array struct has the pointer to its data


def address(array):
    """Where the data of an array are. The public ways, ``array.ctypes.data`` and such, cost a microsecond."""
    return _pointer(id(array) + _DATA).value


if address(_known := np.empty(1)) != _known.ctypes.data:  # another Python than CPython

    def address(array):
        return array.ctypes.data


def apart(a, b):
    """Whether two contiguous arrays of one size are one, or share no memory."""
    distance = address(a) - address(b)
    return not distance or abs(distance) >= a.nbytes


def compiled(kernel, varying, outputs):
    """A kernel of arrays from two compiled ones by address: for scalar parameters and for varying ones."""
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_ssize_t)  # releases the interpreter's lock
    scalar = signature(kernel())
    defaults = None, None, 0  # parameters, as the kernel wants them, and the address of that

    def run(x, y, z, parameters):
        nonlocal defaults
        at, to = address(x), address(y)
        if type(parameters) is tuple and x.flags.c_contiguous and y.flags.c_contiguous and abs(at - to) >= x.nbytes:
            # Most calls, by `Runner`: parameters at their defaults, arrays that are whole
            known = defaults  # held while the kernel runs
            if parameters is not known[0]:
                table = np.array(parameters or [0], x.dtype)
                known = defaults = parameters, table, address(table)
            if z is None:
                scalar(at, to, 0, known[2], x.size)
                return
            other = address(z)
            if z.flags.c_contiguous and abs(other - to) >= x.nbytes and (outputs == 1 or abs(other - at) >= x.nbytes):
                scalar(at, to, other, known[2], x.size)
                return
        # The loop is SIMD only if it writes where it does not read; so results take a detour.
        x, y, z = x.reshape(-1), y.reshape(-1), z if z is None else z.reshape(-1)
        for start in range(0, x.size, _BUFFER):
            part = slice(start, start + _BUFFER)
            first = np.ascontiguousarray(x[part])
            value = np.empty_like(first)
            second = z if z is None else np.ascontiguousarray(z[part]) if outputs == 1 else np.empty_like(first)
            values, count, call = _cut(parameters, part), len(first), scalar
            with np.errstate(over="ignore"):  # a parameter beyond the largest number is infinite, and no news
                if any(isinstance(p, np.ndarray) for p in values):
                    values = np.concatenate([np.broadcast_to(np.asarray(p, x.dtype), count) for p in values])
                    call = signature(varying())
                table = np.array(values if len(values) else [0], x.dtype)
            call(address(first), address(value), 0 if z is None else address(second), address(table), count)
            y[part] = value
            if outputs == 2:
                z[part] = second

    return run


def converted(kernel, computed, outputs):
    """A kernel of arrays that hold something else than it computes in: blocks are converted, and results rounded once."""

    def run(x, y, z, parameters):
        x, y, z = x.reshape(-1), y.reshape(-1), z if z is None else z.reshape(-1)
        with np.errstate(all="ignore"):  # beyond the largest number is infinite, and no news
            for start in range(0, x.size, _BUFFER):
                part = slice(start, start + _BUFFER)
                first = x[part].astype(computed)
                value = np.empty_like(first)
                second = z if z is None else z[part].astype(computed) if outputs == 1 else np.empty_like(first)
                kernel(first, value, second, _cut(parameters, part))
                y[part] = value
                if outputs == 2:
                    z[part] = second

    return run


# --- Real ufuncs, through NumPy's public C interface ---------------------------------------------------------------------


class _Failures(threading.local):
    """What went wrong in a loop of this thread. NumPy does not ask, and ctypes only prints it."""

    error = None
    caught = False  # whether somebody will ask

    def raising(self, ufunc, operands, options):
        """Call a ufunc, and raise what its loops raised."""
        self.error, self.caught = None, True
        try:
            result = ufunc(*operands, **options)
        finally:
            self.caught = False
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return result


failures = _Failures()
_LOOP = ctypes.CFUNCTYPE(
    None, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_ssize_t), ctypes.POINTER(ctypes.c_ssize_t), ctypes.c_void_p
)
_KEEP = []


@functools.cache
def _api(entry, result, *arguments):
    """A function of NumPy's ufunc table."""
    from numpy._core import _multiarray_umath

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get(_multiarray_umath._UFUNC_API, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(result, *arguments)(table[entry])


def _from_function():
    text, number = ctypes.c_char_p, ctypes.c_int
    return _api(1, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, text, *[number] * 4, text, text, number)  # PyUFunc_FromFuncAndData


def _register_loop():
    kinds = ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
    return _api(2, ctypes.c_int, *kinds)  # PyUFunc_RegisterLoopForType


def _view(address, n, step, dtype):
    low = min(0, (n - 1) * step)
    buffer = (ctypes.c_char * (abs((n - 1) * step) + dtype.itemsize)).from_address(address + low)
    return np.ndarray((n,), dtype, buffer, -low, (step,))


def make_ufunc(name, doc, inputs, outputs, given, rest, kernels):
    """A NumPy ufunc over kernels of arrays.

    Parameters
    ----------
    inputs, outputs, given : int
        Operands: inputs in ufunc order, `given` parameters, outputs.
    rest : list of float
        The parameters that are not operands.
    kernels : list of (dtype, dtype, function)
        For each loop, what inputs and outputs hold, what is computed in (and parameters hold), and a function without arguments that
        returns the kernel (so it is compiled when it is needed).

    Returns
    -------
    ufunc, add
        ``add(dtype, dtype, function)`` registers one more loop, of a dtype that NumPy itself does not have.
    """

    def loop_for(held, computed, kernel):
        dtypes = [np.dtype(held)] * inputs + [np.dtype(computed)] * given + [np.dtype(held)] * outputs

        def loop(arguments, dimensions, steps, data):
            n = dimensions[0]
            if n == 0:
                return
            arrays = [_view(arguments[i], n, steps[i], dtype) for i, dtype in enumerate(dtypes)]
            x = arrays[inputs - 1]
            parameters = [a[0].item() if steps[inputs + j] == 0 or n == 1 else a for j, a in enumerate(arrays[inputs : inputs + given])]
            z = arrays[0] if inputs == 2 else arrays[-1] if outputs == 2 else None
            # NumPy lets an output run behind an input in memory, as far as it is written in order.
            near = any(
                0 < abs(arguments[i] - arguments[j]) < n * max(abs(steps[i]), abs(steps[j]))
                for i in range(inputs + given) for j in range(inputs + given, len(dtypes))
            )  # fmt: skip
            try:
                run(kernel(), x, arrays[inputs + given], z, parameters + rest, near)
            except BaseException as error:
                for a in arrays[inputs + given :]:
                    a[...] = np.nan  # and not whatever was there
                failures.error = error
                if not failures.caught:
                    raise
            np.add(1.0, 1.0)  # clears the processor's flags: an underflow of exp is not the caller's

        return _LOOP(loop), [dtype.num for dtype in dtypes]

    loops = [loop_for(*row) for row in kernels]
    functions = (ctypes.c_void_p * len(loops))(*[ctypes.cast(f, ctypes.c_void_p) for f, _ in loops])
    datas = (ctypes.c_void_p * len(loops))()
    types = b"".join(bytes(numbers) for _, numbers in loops)
    text, described = name.encode(), doc.encode()
    types_buffer = ctypes.create_string_buffer(types, len(types))
    ufunc = _from_function()(
        functions, datas, ctypes.cast(types_buffer, ctypes.c_char_p), len(loops), inputs + given, outputs, -1, text, described, 0
    )
    _KEEP.append((loops, functions, datas, types_buffer, text, described, ufunc))  # the ufunc holds bare pointers to all of it

    def add(held, computed, kernel):
        function, numbers = loop_for(held, computed, kernel)
        _KEEP.append(function)
        _register_loop()(ufunc, held.num, ctypes.cast(function, ctypes.c_void_p), (ctypes.c_int * len(numbers))(*numbers), None)

    return ufunc, add
