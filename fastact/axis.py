"""Functions along an axis: softmax and its family.

Each row, the numbers along the axis, is one distribution. With the extension the compiled row kernels serve (`_cy/rows.cpp`), without it
NumPy (`backends/numpy_rows.py`); Numba makes none of these.
"""

import functools
import math
import operator
import re
import textwrap

import numpy as np

from . import catalog, dispatch
from .backends import cython
from .errors import generator, truth
from .pipeline import NUMBERS, as_array, axis_number, common, float_dtype, is_half, number, overlaps_itself, real_array, takes

__all__ = list(catalog.AXIS)

# Nanoseconds an element on one thread, float32, data in cache: decides about threads.
_NS = {"softmax": 0.25, "log_softmax": 0.25, "logsumexp": 0.2, "softmax_backward": 0.2, "log_softmax_backward": 0.2}
_BLOCK = 32_768  # elements: what is done by NumPy is done in blocks that stay in the cache


# --- Arguments -----------------------------------------------------------------------------------------------------------


def _precision(*dtypes):
    return np.dtype(np.float64 if any(d == np.float64 for d in dtypes) else np.float32)


def _within(a, precision):
    """An array whose numbers the precision has: it is rounded where it holds more; beyond the largest is infinite, and no news."""
    if a is None or np.can_cast(a.dtype, precision):
        return a
    with np.errstate(all="ignore"):
        return a.astype(precision)


def _array(who, name, value):
    return real_array(who, name, value, f", or {name}.data and where=~{name}.mask to leave them out")


def _gradient(who, value, x):
    """The gradient as an array: a number of Python's own takes the dtype of x, as in a ufunc."""
    g = _array(who, "grad_output", value)
    if type(value) in NUMBERS:
        with np.errstate(all="ignore"):
            return g.astype(float_dtype(x.dtype))
    return g


def _fitting(who, g, shape, name):
    """The gradient broadcast to the shape of what it belongs to."""
    try:
        return np.broadcast_to(g, shape)
    except ValueError:
        raise ValueError(f"{who}: grad_output: shape {g.shape} does not fit that of {name}, {shape}") from None


def _axes(who, axis, ndim):
    """The axes as a tuple of numbers from 0 on, in order."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    # A 0-d array is a row of one.
    found = [axis_number(who, a, max(ndim, 1), "a whole number, a tuple of them or None") for a in given]
    if len(set(found)) != len(found):
        raise ValueError(f"{who}: axis: {axis!r} names an axis twice")
    if not found and ndim:
        raise ValueError(f"{who}: axis: an empty tuple names no axis")
    return tuple(sorted(found))[:ndim]


def _positive(who, temperature, precision):
    value = number(who, "temperature", temperature)
    limits = np.finfo(precision)
    if not (1 / float(limits.max) <= value <= float(limits.max)):
        raise ValueError(f"{who}: temperature: {temperature!r} is not a positive number that {precision} can divide by")
    return value


def _mask(who, where, shape):
    if where is None or where is True:
        return None
    mask = as_array(who, "where", where)
    if mask.dtype != bool:
        raise TypeError(f"{who}: where: expected booleans, not dtype {mask.dtype}")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"{who}: where: shape {mask.shape} does not broadcast to that of x, {shape}") from None


def _checked_out(who, out, shape, result):
    if isinstance(out, tuple):
        if len(out) != 1:
            raise ValueError(f"{who}: out: expected one array, not a tuple of {len(out)}")
        out = out[0]
        if out is None:
            return None
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{who}: out: expected an array, not {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{who}: out: its shape is {out.shape}, that of the result {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{who}: out: the array is read-only")
    if not takes(out.dtype, result):
        raise TypeError(f"{who}: out: dtype {out.dtype} can't take a result of dtype {result}; give an array of floats")
    if overlaps_itself(out):
        raise ValueError(f"{who}: out: its elements share memory; give an array of its own")
    return out


def _lengths(who, lengths, axis, shape):
    found = as_array(who, "lengths", lengths)
    if found.ndim != 1 or found.dtype.kind not in "iu" and found.size:
        raise TypeError(f"{who}: lengths: expected a sequence of whole numbers, not {lengths!r}")
    try:
        first = operator.index(axis) in (-1, 0)
    except TypeError:  # None, several, or no axis at all
        first = False
    if not first:
        raise ValueError(f"{who}: axis: with lengths the rows lie one after another along axis 0, so {axis!r} can't be given")
    if not shape:
        raise ValueError(f"{who}: lengths: x has no axis to divide")
    if (found < 0).any():
        raise ValueError(f"{who}: lengths: {found.min()} is negative")
    if (found > shape[0]).any():  # before their sum overflows
        raise ValueError(f"{who}: lengths: {found.max()} is more than x has along axis 0, {shape[0]}")
    offsets = np.zeros(found.size + 1, np.intp)
    np.cumsum(found, out=offsets[1:], dtype=np.intp)
    if offsets[-1] != shape[0]:
        raise ValueError(f"{who}: lengths: they add up to {offsets[-1]}, but x has {shape[0]} along axis 0")
    return offsets


# --- Running -------------------------------------------------------------------------------------------------------------


@functools.cache
def _kernels():
    dispatch.prepare()
    return cython.rows()


def _backend():
    """Which backend serves: NumPy where it is asked for or nothing else is there."""
    return "numpy" if dispatch.get_backend() == "numpy" or cython.frontend is None or not _kernels() else "cython"


def _converter(dtype, way, precision):
    """The address of what converts a memory's dtype to the kernels' float32, or back; 0: nothing does; None: it takes NumPy to do it."""
    if dtype == precision and dtype.isnative:
        return 0
    return _kernels().get(f"{way}_{dtype.name}") if dtype.isnative and precision == np.float32 else None


def _same_memory(a, b):
    """Whether two arrays are the same elements in the same places."""
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.strides == b.strides
        and a.shape == b.shape
        and a.dtype == b.dtype
    )


def _missing(operation, sign):
    """What stands for a masked element of x, of the gradient, and of the result."""
    if operation.endswith("backward"):
        return (-math.inf if operation.startswith("log") else 0.0), 0.0, 0.0
    return -math.inf * sign, 0.0, -math.inf if operation == "log_softmax" else 0.0


def _run(operation, x, g, mask, y, axis, precision, sign=1.0, temperature=1.0, offsets=None):
    """One operation along one axis of checked arrays of one shape into `y`, which may be x or g, or overlap none of them."""
    if _backend() == "numpy":
        _run_numpy(operation, x, g, mask, y, axis, precision, sign, temperature, offsets)
        return
    convert = [0 if a is None else _converter(a.dtype, way, precision) for a, way in ((x, "widen"), (g, "widen"), (y, "narrow"))]
    if None in convert:  # byte-swapped, integers, or another width: NumPy converts
        x = x.astype(precision) if convert[0] is None else x
        g = g.astype(precision) if convert[1] is None else g
        target = y if convert[2] is not None else np.empty(y.shape, precision)
        _run(operation, x, g, mask, target, axis, precision, sign, temperature, offsets)
        if target is not y:
            with np.errstate(all="ignore"):
                np.copyto(y, target, casting="unsafe")
        return
    inverse = 1 / temperature
    high = float(precision.type(inverse))
    low = inverse - high if precision == np.float32 else _reciprocal_rest(temperature, high)
    scaled = (sign, temperature) != (1.0, 1.0) and not operation.endswith("backward") and operation != "logsumexp"
    if operation.endswith("backward"):
        high *= sign
    cython.frontend.run_rows(
        _kernels()[operation, precision.name, scaled], precision.itemsize, operation == "logsumexp", (sign, high, low, temperature),
        _NS[operation] * precision.itemsize / 4, x, g, mask, y, axis, tuple(convert), _missing(operation, sign), offsets,
    )  # fmt: skip


def _reciprocal_rest(temperature, inverse):
    """What the rounding of 1 / temperature lost."""
    from fractions import Fraction

    return float((1 / Fraction(temperature)) - Fraction(inverse)) if inverse * temperature != 1 or temperature != 1 else 0.0


def _run_numpy(operation, x, g, mask, y, axis, precision, sign, temperature, offsets):
    from .backends import numpy_rows

    if not y.size:
        return
    if offsets is None:
        numpy_rows.run(operation, x, g, mask, y, axis, sign, temperature, precision)
        return
    for i, (a, b) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        part = slice(a, b)
        target = y[i : i + 1] if operation == "logsumexp" else y[part]
        parts = [None if array is None else array[part] for array in (x, g, mask)]
        if b > a or operation == "logsumexp":
            numpy_rows.run(operation, *parts, target, 0, sign, temperature, precision)


def _quick(operation, x, g, axis, out, sign):
    """The commonest call, rows of plain arrays along the last axis, with few checks; None where it is another."""
    if dispatch.get_backend() == "numpy" or cython.frontend is None:
        return None
    kernels = _kernels()
    if not kernels:
        return None
    size = x.itemsize
    found = kernels[operation, "float32" if size == 4 else "float64", g is None and sign != 1]
    return cython.frontend.run_plain_rows(found, operation == "logsumexp", sign, _NS[operation] * size / 4, x, g, axis, out)


def _along(who, operation, x, g, axis, where, out, dtype, lengths, sign=1.0, temperature=1.0, keepdims=False, name="x"):
    """The whole of a call: check the arguments, lay the rows out, run, and give the result."""
    usual = where is None and dtype is None and lengths is None and type(temperature) is float and temperature == 1
    if usual and not keepdims and type(x) is np.ndarray and x.dtype.char in "fd":
        found = _quick(operation, x, g, axis, out, sign)
        if found is not None:
            return found
    x = _array(who, name, x)
    reduces = operation == "logsumexp"
    result = _wanted(who, dtype, x)
    if g is not None:
        g = _gradient(who, g, x)
        if dtype is None:
            result = common(result, float_dtype(g.dtype))
        g = g if g.shape == x.shape else _fitting(who, g, x.shape, name)
    precision = _precision(result)
    if dtype is not None:
        x, g = _within(x, precision), _within(g, precision)
    temperature = _positive(who, temperature, precision)
    mask = _mask(who, where, x.shape)
    offsets = None
    if lengths is not None:
        offsets, axes = _lengths(who, lengths, axis, x.shape), (0,)
        shape = (offsets.size - 1, *x.shape[1:]) if reduces else x.shape
    else:
        axes = _axes(who, axis, x.ndim)
        kept = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
        shape = (kept if keepdims else tuple(n for d, n in enumerate(x.shape) if d not in axes)) if reduces else x.shape
    if out is not None:
        out = _checked_out(who, out, shape, result)
    if out is None:
        # As ufuncs do: laid out like x.
        y = np.empty(shape, result) if reduces or x.flags.c_contiguous else np.empty_like(x, result, subok=False)
    else:
        y = out
        x, g, mask = (_apart(a, out, reduces) for a in (x, g, mask))
    if x.ndim == 0:
        views = [None if a is None else a.reshape(1) for a in (x, g, mask, y)]
        _run(operation, *views, 0, precision, sign, temperature)
    elif len(axes) == 1 and (offsets is None or x.ndim == 1):
        target = y if not reduces or keepdims or offsets is not None else np.expand_dims(y, axes[0])
        _run(operation, x, g, mask, target, axes[0], precision, sign, temperature, offsets)
    elif offsets is not None:
        for i, (a, b) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            target = y[i : i + 1] if reduces else y[a:b]
            _run(operation, *(None if p is None else p[a:b] for p in (x, g, mask)), target, 0, precision, sign, temperature)
    else:
        _run_axes(operation, x, g, mask, y, axes, kept, precision, sign, temperature)
    return y if out is not None or y.ndim else y[()]


def _wanted(who, dtype, x):
    """The dtype of the result: what was asked for, or that for the numbers of x."""
    if dtype is None:
        return float_dtype(x.dtype)
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{who}: dtype: {dtype!r} is not a dtype") from None
    if not (found.kind == "f" or is_half(found)) or found.itemsize > 8:
        raise TypeError(f"{who}: dtype: the result can't be of dtype {found}; give float16, bfloat16, float32 or float64")
    return found.newbyteorder("=")


def _apart(a, out, reduces):
    """An input that `out` may be written over: it is exactly `out`, or lies elsewhere."""
    if a is None or not np.may_share_memory(a, out) or (not reduces and _same_memory(a, out)):
        return a
    return a.copy()


def _run_axes(operation, x, g, mask, y, axes, kept, precision, sign, temperature):
    """Several axes: side by side at the end they are one."""
    rest = [d for d in range(x.ndim) if d not in axes]
    shape = (*(x.shape[d] for d in rest), math.prod(x.shape[d] for d in axes))

    def joined(a):
        return None if a is None else a.transpose(*rest, *axes).reshape(shape)

    reduces = operation == "logsumexp"
    target = np.empty((*shape[:-1], 1) if reduces else shape, y.dtype)
    _run(operation, joined(x), joined(g), joined(mask), target, len(rest), precision, sign, temperature)
    if reduces:
        y[...] = target.reshape(y.shape)
    else:
        y.transpose(*rest, *axes)[...] = target.reshape([x.shape[d] for d in (*rest, *axes)])


# --- softmax -------------------------------------------------------------------------------------------------------------

_ARGUMENTS = """
    where : array_like of bool, optional
        Which elements count; it broadcasts to the shape of `x`. The result of the others is {missing}, also where none counts.
    out : ndarray, optional
        Where the result goes: an array of the result's shape, which may be `x`.
    dtype : dtype, optional
        The dtype of the result, and what is computed in if that is float64.
<lengths>
    Returns
    -------
    ndarray
        {result} The types float16, bfloat16, float32 and float64 stay what they are; integers become floats as with NumPy's ufuncs.

    Raises
    ------
    TypeError
        `x` is not real or has masked elements (say by `where` which count), or another argument is of the wrong kind.
    ValueError
        Shapes do not fit, a number is not what it has to be, or `out` can't be written to.
"""
_RAGGED = """    lengths : array_like of int, optional
        Ragged rows: `x` holds rows of these lengths, one after another along axis 0.

"""


def _documented(missing="0", result="Of the shape of `x`.", ragged=True):
    """Put in what the docstrings have in common."""

    def mark(function):
        shared = _ARGUMENTS.strip("\n").format(missing=missing, result=result).replace("<lengths>\n", _RAGGED if ragged else "\n")
        text = function.__doc__ or ""
        if "    <arguments>" not in text:  # from Python 3.13 on the compiler takes the indentation away
            shared = textwrap.dedent(shared)
        function.__doc__ = re.sub(r" *<arguments>\n", lambda _: shared + "\n\n", text)
        return function

    return mark


@_documented()
def softmax(x, axis=-1, *, temperature=1.0, where=None, out=None, dtype=None, lengths=None):
    """Compute the softmax along an axis: exp(x / temperature), divided by its sum.

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        Along what the result sums to 1; None: over the whole array.
    temperature : float, default 1
        Positive; a lower one makes the largest numbers stand out more.
    <arguments>
    Notes
    -----
    Error: at most 4 ULP, for rows of any length. Nothing overflows and nothing warns.

    NaN makes its row NaN. Numbers at +inf share the row equally; -inf gets 0, and a row of nothing but -inf is NaN, as it has no limit
    (mask it by `where` to get 0).

    References
    ----------
    .. [1] Bridle, Probabilistic interpretation of feedforward classification network outputs, Neurocomputing, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.softmax(np.array([0.0, np.log(3)]))
    array([0.25, 0.75])
    >>> fastact.softmax(np.zeros((2, 4)), where=[True, True, False, False])
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ]])
    >>> fastact.softmax(np.zeros(5), lengths=[1, 4])
    array([1.  , 0.25, 0.25, 0.25, 0.25])
    """
    return _along("softmax", "softmax", x, None, axis, where, out, dtype, lengths, 1.0, temperature)


@_documented()
def softmin(x, axis=-1, *, temperature=1.0, where=None, out=None, dtype=None, lengths=None):
    """Compute the softmin along an axis: the softmax of -x.

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        Along what the result sums to 1; None: over the whole array.
    temperature : float, default 1
        Positive; a lower one makes the smallest numbers stand out more.
    <arguments>
    Notes
    -----
    As `softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.softmin(np.array([0.0, np.log(3)]))
    array([0.75, 0.25])
    """
    return _along("softmin", "softmax", x, None, axis, where, out, dtype, lengths, -1.0, temperature)


@_documented("-inf")
def log_softmax(x, axis=-1, *, temperature=1.0, where=None, out=None, dtype=None, lengths=None):
    """Compute the logarithm of the softmax along an axis: x / temperature - logsumexp(x / temperature).

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        The axis; None: the whole array.
    temperature : float, default 1
        Positive.
    <arguments>
    Notes
    -----
    Error: at most 4 ULP, for rows of any length, also where the result is close to 0: it is -log1p of what the others sum to.

    NaN makes its row NaN. Where numbers are +inf, they get minus the logarithm of their count and the others -inf.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.log_softmax(np.array([0.0, 40.0])).round(6)
    array([-40.,  -0.])
    """
    return _along("log_softmax", "log_softmax", x, None, axis, where, out, dtype, lengths, 1.0, temperature)


@_documented("left out; where none counts it is -inf", "Of the shape of `x` without the axis.")
def logsumexp(x, axis=-1, *, keepdims=False, where=None, out=None, dtype=None, lengths=None):
    """Compute log(sum(exp(x))) along an axis, without overflow.

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        What is summed over; None: the whole array.
    keepdims : bool, default False
        Keep the axis, with length 1.
    <arguments>
    Notes
    -----
    Error: at most 3 ULP of the larger one of the result and the largest number.

    NaN in a row gives NaN, else +inf gives inf; a row of nothing but -inf, and an empty one, gives -inf.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    """
    keepdims = truth("logsumexp", "keepdims", keepdims)
    return _along("logsumexp", "logsumexp", x, None, axis, where, out, dtype, lengths, keepdims=keepdims)


_BACKWARD = """Multiply a gradient by the Jacobian of {name}: its backward pass, from the output.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the output; it broadcasts to the shape of `output`.
    output : array_like
        The output of {name}, with the same arguments.
    axis, temperature, where, lengths
        As given to {name}.
    out : ndarray, optional
        Where the result goes; it may be `grad_output` or `output`.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        ``{formula}``, of the shape of `output`.

    Raises
    ------
    TypeError
        An array is not real, or another argument is of the wrong kind.
    ValueError
        Shapes do not fit, a number is not what it has to be, or `out` can't be written to.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> y = fastact.{name}(np.array([0.0, np.log(3)]))
    >>> fastact.{name}.backward(np.array([1.0, 0.0]), output=y).round(4)
    {example}
    """


def _backward_of(function, operation, sign, formula, example):
    who = f"{function.__name__}.backward"

    def backward(grad_output, output, axis=-1, *, temperature=1.0, where=None, out=None, dtype=None, lengths=None):
        if grad_output is None:  # which would mean a forward pass
            raise TypeError(f"{who}: grad_output: expected real numbers, not None")
        return _along(who, operation, output, grad_output, axis, where, out, dtype, lengths, sign, temperature, name="output")

    backward.__doc__ = _BACKWARD.format(name=function.__name__, formula=formula, example=example)
    _attach(function, backward)


def _attach(function, backward):
    backward.__name__, backward.__qualname__, backward.__module__ = "backward", f"{function.__name__}.backward", __name__
    function.backward = backward


_backward_of(
    softmax, "softmax_backward", 1.0, "output * (grad_output - sum(grad_output * output)) / temperature", "array([ 0.1875, -0.1875])"
)
_backward_of(
    softmin, "softmax_backward", -1.0, "-output * (grad_output - sum(grad_output * output)) / temperature", "array([-0.1875,  0.1875])"
)
_backward_of(
    log_softmax, "log_softmax_backward", 1.0, "(grad_output - exp(output) * sum(grad_output)) / temperature", "array([ 0.75, -0.75])"
)


def _logsumexp_backward(grad_output, x, axis=-1, *, output=None, keepdims=False, where=None, out=None, dtype=None, lengths=None):
    """Multiply a gradient by the derivative of logsumexp, which is softmax.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the output, of the output's shape.
    x : array_like
        The input of logsumexp.
    axis, keepdims, where, lengths
        As given to logsumexp.
    output : array_like, optional
        Its output. It is not needed: exp(x - output) would be less accurate than what is computed.
    out : ndarray, optional
        Where the result goes; it may be `x`.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        ``grad_output * softmax(x)``, of the shape of `x`.

    Raises
    ------
    TypeError
        An array is not real, or another argument is of the wrong kind.
    ValueError
        Shapes do not fit, or `out` can't be written to.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.logsumexp.backward(2.0, np.array([0.0, np.log(3)]))
    array([0.5, 1.5])
    """
    who = "logsumexp.backward"
    keepdims = truth(who, "keepdims", keepdims)
    x = _array(who, "x", x)
    g = _gradient(who, grad_output, x)
    result = common(float_dtype(x.dtype), float_dtype(g.dtype)) if dtype is None else _wanted(who, dtype, x)
    if lengths is not None:
        offsets = _lengths(who, lengths, axis, x.shape)
        g = _fitting(who, g, (offsets.size - 1, *x.shape[1:]), "the output")
        g = np.repeat(g, np.diff(offsets), axis=0)
    else:
        axes = _axes(who, axis, x.ndim)
        kept = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
        shape = kept if keepdims else tuple(n for d, n in enumerate(x.shape) if d not in axes)
        g = _fitting(who, g, shape, "the output").reshape(kept)
    mask = _mask(who, where, x.shape)
    if out is not None:
        out = _checked_out(who, out, x.shape, result)
    given = out is not None
    if given:
        g, mask = (a.copy() if a is not None and np.may_share_memory(a, out) else a for a in (g, mask))
    narrow = result.itemsize < 4  # rounded once, at the end
    y = softmax(x, axis, where=mask, dtype=np.float32 if narrow else result, lengths=lengths, out=None if narrow else out)
    with np.errstate(all="ignore"):
        if out is None:
            out = y if isinstance(y, np.ndarray) and y.dtype == result else np.empty(np.shape(y), result)
        np.multiply(y, g, out=out, casting="unsafe")
    if mask is not None:  # also where the gradient is not finite
        out[~mask] = 0
    return out if given or out.ndim else out[()]


_attach(logsumexp, _logsumexp_backward)


# --- By NumPy ------------------------------------------------------------------------------------------------------------


def _prepared(who, x, axis, where, out, dtype, name="x"):
    """The checked arguments of what NumPy does: x, the axes, the mask, the result's array, and whether it was given."""
    x = _array(who, name, x)
    result = _wanted(who, dtype, x)
    x = x.astype(np.float32) if x.dtype == bool else x  # booleans are masks to `_by_rows`
    axes, mask = _axes(who, axis, x.ndim), _mask(who, where, x.shape)
    given = None if out is None else _checked_out(who, out, x.shape, result)
    return x, axes, mask, np.empty(x.shape, result) if given is None else given, given is not None


def _by_rows(function, arrays, axes, y):
    """``y = function(*arrays)`` by blocks of rows in float64, C-contiguous copies; an array may be None, and y one of them."""
    shape = y.shape or (1,)
    axes = axes or (0,)
    order = [d for d in range(len(shape)) if d not in axes] + list(axes)
    n = math.prod(shape[d] for d in axes)
    if not y.size:
        return
    parts = [None if a is None else (a.copy() if np.may_share_memory(a, y) else a).reshape(shape).transpose(order) for a in arrays]
    target = y.reshape(shape) if not y.ndim else y
    target = target.transpose(order)
    parts = [None if a is None else a.reshape(-1, n) for a in parts]
    flat = np.empty((y.size // n, n), y.dtype)
    step = max(1, _BLOCK // n)
    with np.errstate(all="ignore"):
        for start in range(0, len(flat), step):
            rows = [None if a is None else a[start : start + step] for a in parts]
            # In order "C": a sum's bits depend on it.
            flat[start : start + step] = function(*(a if a is None or a.dtype == bool else a.astype(np.float64, order="C") for a in rows))
        np.copyto(target, flat.reshape(target.shape), casting="unsafe")
        np.add(1.0, 1.0)  # clears the processor's flags


def _each(who, function, x, axis, where, out, dtype):
    """The result of a function of rows and their mask."""
    x, axes, mask, y, given = _prepared(who, x, axis, where, out, dtype)
    _by_rows(function, (x, mask), axes, y)
    return _result(y, given)


def _result(y, given):
    return y if given or y.ndim else y[()]


def _hidden(x, mask):
    return x if mask is None else np.where(mask, x, -np.inf)


def _hardmax(rows, mask):
    v = _hidden(rows, mask)
    first = v.argmax(axis=1)
    if mask is not None:
        nothing = np.isneginf(v).all(axis=1)
        first[nothing] = mask[nothing].argmax(axis=1)
    y = np.zeros_like(v)
    y[np.arange(len(v)), first] = 1
    y[np.isnan(v).any(axis=1)] = np.nan
    return y if mask is None else np.where(mask, y, 0)


@_documented(ragged=False)
def hardmax(x, axis=-1, *, where=None, out=None, dtype=None):
    """Mark the largest number along an axis: 1 at the first of the largest, 0 elsewhere.

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        The axis; None: the whole array.
    <arguments>
    Notes
    -----
    NaN makes its row NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.hardmax(np.array([1.0, 3.0, 3.0]))
    array([0., 1., 0.])
    """
    return _each("hardmax", _hardmax, x, axis, where, out, dtype)


def _sparsemax(rows, mask):
    v = _hidden(rows, mask)
    m = v.max(axis=1, keepdims=True)
    v = np.where(m == np.inf, np.where(v == np.inf, 0, -np.inf), v - m)
    z = -np.sort(-v, axis=1)
    count = np.arange(1.0, v.shape[1] + 1)
    total = np.cumsum(z, axis=1)
    within = 1 + count * z > total
    k = np.maximum(within.sum(axis=1, keepdims=True), 1)
    tau = (np.take_along_axis(total, k - 1, axis=1) - 1) / k
    y = np.maximum(v - tau, 0)
    y[np.isnan(m)[:, 0]] = np.nan
    return y if mask is None else np.where(mask, y, 0)


@_documented(ragged=False)
def sparsemax(x, axis=-1, *, where=None, out=None, dtype=None):
    """Compute the sparsemax along an axis: the point of the simplex that is nearest to x, max(x - tau, 0).

    Parameters
    ----------
    x : array_like
        Real numbers.
    axis : int, tuple of int or None, default -1
        Along what the result sums to 1; None: over the whole array.
    <arguments>
    Notes
    -----
    Infinities and NaN count as with `softmax`.

    References
    ----------
    .. [1] Martins and Astudillo, From softmax to sparsemax, ICML 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.sparsemax(np.array([0.25, 0.75, -1.0]))
    array([0.25, 0.75, 0.  ])
    """
    return _each("sparsemax", _sparsemax, x, axis, where, out, dtype)


def _sparsemax_backward(grad_output, output, axis=-1, *, where=None, out=None, dtype=None):
    """Multiply a gradient by the Jacobian of sparsemax, from the output.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the output; it broadcasts to the shape of `output`.
    output : array_like
        The output of sparsemax.
    axis, where
        As given to sparsemax.
    out : ndarray, optional
        Where the result goes; it may be `grad_output` or `output`.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        Where the output is positive, the gradient less its mean there; 0 elsewhere.

    Raises
    ------
    TypeError
        An array is not real, or another argument is of the wrong kind.
    ValueError
        Shapes do not fit, or `out` can't be written to.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.sparsemax.backward(np.array([1.0, 0.0, 5.0]), output=np.array([0.25, 0.75, 0.0]))
    array([ 0.5, -0.5,  0. ])
    """

    def one(y, g):
        support = y > 0
        mean = np.where(support, g, 0).sum(axis=1, keepdims=True) / np.maximum(support.sum(axis=1, keepdims=True), 1)
        return np.where(support, g - mean, np.where(np.isnan(y), y, 0))

    who = "sparsemax.backward"
    g = _gradient(who, grad_output, _array(who, "output", output))
    y, axes, _, dx, given = _prepared(who, output, axis, where, out, dtype, "output")
    if out is None and dtype is None:
        dx = np.empty(y.shape, common(dx.dtype, float_dtype(g.dtype)))
    g = _fitting(who, g, y.shape, "output")
    _by_rows(one, (y, g), axes, dx)
    return _result(dx, given)


_attach(sparsemax, _sparsemax_backward)


def gumbel_softmax(x, temperature=1.0, hard=False, axis=-1, *, rng=None, out=None, dtype=None):
    """Draw from the Gumbel-softmax distribution: the softmax of x plus Gumbel noise.

    Parameters
    ----------
    x : array_like
        Logarithms of unnormalized probabilities.
    temperature : float, default 1
        Positive; the lower, the closer a draw is to a single 1.
    hard : bool, default False
        Give the `hardmax` of the draw, as PyTorch's forward value is. The straight-through gradient is that of the soft draw: for it, keep
        the soft draw and take its hardmax yourself.
    axis : int, tuple of int or None, default -1
        Along what the result sums to 1; None: over the whole array.
    rng : numpy.random.Generator, optional
        Where the noise comes from; a new generator if not given.
    out : ndarray, optional
        Where the result goes; it may be `x`.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError
        `rng` is no generator, or another argument is of the wrong kind.

    References
    ----------
    .. [1] Jang, Gu and Poole, Categorical reparameterization with Gumbel-softmax, ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> y = fastact.gumbel_softmax(np.zeros((2, 3)), rng=np.random.default_rng(0))
    >>> y.sum(axis=-1).round(6)
    array([1., 1.])
    >>> fastact.gumbel_softmax(np.zeros(3), hard=True, rng=np.random.default_rng(0)).sum()
    np.float64(1.0)
    """
    who = "gumbel_softmax"
    rng = np.random.default_rng() if rng is None else generator(who, rng)
    x = real_array(who, "x", x)
    result = _wanted(who, dtype, x)
    precision = _precision(result)
    hard = truth(who, "hard", hard)
    with np.errstate(all="ignore"):
        noisy = x.astype(precision) - np.log(rng.standard_exponential(x.shape, precision))
    if hard:
        _positive(who, temperature, precision)
        return _each(who, _hardmax, noisy, axis, None, out, result)
    return _along(who, "softmax", noisy, None, axis, None, out, result, None, 1.0, temperature)


def _gumbel_backward(grad_output, output, axis=-1, *, temperature=1.0, out=None, dtype=None):
    who = "gumbel_softmax.backward"
    if grad_output is None:
        raise TypeError(f"{who}: grad_output: expected real numbers, not None")
    return _along(who, "softmax_backward", output, grad_output, axis, None, out, dtype, None, 1.0, temperature, name="output")


_gumbel_backward.__doc__ = softmax.backward.__doc__.partition("Examples")[0].replace("of softmax", "of gumbel_softmax (soft)")
_attach(gumbel_softmax, _gumbel_backward)


def maxout(x, axis=-1, *, out=None, dtype=None):
    """Take the largest number along an axis, and where it is.

    Parameters
    ----------
    x : array_like
        Real numbers; along the axis lie the pieces of each unit.
    axis : int, default -1
        The axis.
    out : ndarray, optional
        Where the largest numbers go.
    dtype : dtype, optional
        Their dtype.

    Returns
    -------
    y, which : ndarray
        The largest numbers, and the index of the first of them along the axis; of the shape of `x` without the axis.

    Raises
    ------
    ValueError
        The axis has length 0, or `out` can't be written to.

    Notes
    -----
    NaN counts as the largest.

    References
    ----------
    .. [1] Goodfellow, Warde-Farley, Mirza, Courville and Bengio, Maxout networks, ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> y, which = fastact.maxout(np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 5.0]]))
    >>> y, which
    (array([3., 5.]), array([1, 0]))
    >>> fastact.maxout.backward(np.array([10.0, 20.0]), which, 3)
    array([[ 0., 10.,  0.],
           [20.,  0.,  0.]])
    """
    who = "maxout"
    x = real_array(who, "x", x)
    axes = _axes(who, axis, x.ndim) or (0,)
    if len(axes) != 1:
        raise ValueError(f"{who}: axis: maxout takes one axis, not {axis!r}")
    x = x.reshape(1) if not x.ndim else x
    if not x.shape[axes[0]]:
        raise ValueError(f"{who}: x: axis {axes[0]} has length 0, so there is no largest number")
    result = _wanted(who, dtype, x)
    shape = tuple(n for d, n in enumerate(x.shape) if d != axes[0])
    given = None if out is None else _checked_out(who, out, shape, result)
    pieces = _of_three(x, axes[0])
    which = pieces.argmax(1)
    y = np.take_along_axis(pieces, which[:, None], 1).reshape(shape)
    which = which.reshape(shape)[()]
    with np.errstate(all="ignore"):
        if given is None:
            return y.astype(result, copy=False)[()], which
        np.copyto(given, y, casting="unsafe")
    return given, which


def _maxout_backward(grad_output, which, pieces, axis=-1, *, out=None, dtype=None):
    """Give each gradient to the piece that was the largest: the backward pass of maxout.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the output.
    which : array_like of int
        The indices that maxout returned.
    pieces : int
        The length of the axis.
    axis : int, default -1
        Where the axis is in the result.
    out : ndarray, optional
        Where the result goes.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        Of the shape of the input of maxout.

    Raises
    ------
    TypeError
        `which` has no integers, `pieces` is no integer, or the gradient is not real.
    ValueError
        Shapes differ, `pieces` does not fit the indices, or `out` can't be written to.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.maxout.backward(np.array([10.0]), np.array([2]), 3)
    array([[ 0.,  0., 10.]])
    """
    who = "maxout.backward"
    g, which = real_array(who, "grad_output", grad_output), as_array(who, "which", which)
    if which.dtype.kind not in "iu":
        raise TypeError(f"{who}: which: expected the indices that maxout returned, not dtype {which.dtype}")
    if g.shape != which.shape:
        raise ValueError(f"{who}: grad_output: its shape is {g.shape}, that of which {which.shape}")
    try:
        pieces = operator.index(pieces)
    except TypeError:
        raise TypeError(f"{who}: pieces: expected a whole number, not {pieces!r}") from None
    if pieces < 1 or (which.size and (which.min() < 0 or which.max() >= pieces)):
        raise ValueError(f"{who}: pieces: {pieces} does not fit the indices in which")
    at = _axes(who, axis, which.ndim + 1)
    if len(at) != 1:
        raise ValueError(f"{who}: axis: maxout takes one axis, not {axis!r}")
    shape = (*which.shape[: at[0]], pieces, *which.shape[at[0] :])
    result = _wanted(who, dtype, g)
    dx = np.zeros(shape, result) if out is None else _checked_out(who, out, shape, result)
    g = g.copy() if np.may_share_memory(g, dx) else g
    pieces = np.zeros(_of_three(dx, at[0]).shape, dx.dtype)
    spread = (pieces.shape[0], 1, pieces.shape[2])
    with np.errstate(all="ignore"):
        g = g.astype(dx.dtype)
    np.put_along_axis(pieces, which.reshape(spread), g.reshape(spread), 1)
    dx[...] = pieces.reshape(shape)
    return dx


def _of_three(x, axis):
    """An array with the axes before this one as one, and those behind it: NumPy indexes no more than 63."""
    return x.reshape(math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))


_attach(maxout, _maxout_backward)
