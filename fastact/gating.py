"""Gated units: a value times an activation of a gate, and both gradients, in one pass over memory."""

import functools

import numpy as np

from . import callables, catalog, dispatch, pipeline
from .pipeline import NUMBERS, Program, Step

_PAPERS = {
    "glu": "Dauphin, Fan, Auli and Grangier, Language modeling with gated convolutional networks, ICML 2017",
    "": "Shazeer, GLU variants improve Transformer, arXiv:2002.05202",
}


@functools.cache
def _value(limited, offset):
    value, gate = "limited value" if limited or offset else "value", "limited gate" if limited else "gate"
    return Program("value", ("value", "gate"), ("y",), (), (), (
        *([Step("limited_gate", ("gate",), (gate,))] if limited else ()),
        *([Step("limited_value", ("value",), (value,))] if value != "value" else ()),
        Step("kernel", (gate,), ("act",)), Step("multiply", ("act", value), ("y",)),
    ))  # fmt: skip


@functools.cache
def _backward(limited, offset):
    value, gate = "limited value" if limited or offset else "value", "limited gate" if limited else "gate"
    gradients = ("dvalue", "dgate")
    raw = ("raw dvalue", "raw dgate") if limited else gradients
    return Program("value_and_grad", ("grad_output", "value", "gate"), gradients, (), (), (
        *([Step("limited_gate", ("gate",), (gate,))] if limited else ()),
        *([Step("limited_value", ("value",), (value,))] if value != "value" else ()),
        Step("kernel", (gate,), ("act", "slope")), Step("gated_backward", ("grad_output", value, "act", "slope"), raw),
        *([Step("within_limits", (*raw, "value", "gate"), gradients)] if limited else ()),
    ))  # fmt: skip


class Gated:
    """A gated unit: ``value * act(gate)``. See `gated`."""

    def __init__(self, act):
        self.activation, self.record = act, act.record
        self.__name__ = next((name for name, gate in catalog.gated_units().items() if gate == act.record.name), f"gated({act.record.name})")
        self.__qualname__, self.__module__ = self.__name__, __package__
        self.__doc__ = _docstring(self)
        self._quick, self._quick_backward = (pipeline.Quick(act.record, made(False, False)) for made in (_value, _backward))

    def __call__(self, value, /, gate="second", *, axis=-1, limit=None, value_offset=0.0, out=None, **parameters):
        """Compute the gated unit; see the object's own docstring."""
        if limit is None and type(value_offset) in NUMBERS and value_offset == 0 and not parameters and type(axis) is int and axis == -1:
            parts = (value, gate) if type(gate) is np.ndarray else _halves(value, gate)
            result = self._quick(parts, out) if parts else None
            if result is not None:
                return result
        call = _Call(self.__name__, self.record, "value", value, gate, axis, limit, value_offset, parameters)
        for watcher in tuple(dispatch.watchers):  # while one is awake, there is no short cut
            watcher.see_inside(self.__name__, self.record, (call.gate,), call.given, call.limit)
        (out,) = call.outputs(out, ("y",), (call.shape,), call.dtype)
        (y,), _ = call.execute(_value(call.limited, bool(call.offset)), [call.value, call.gate], (out,))
        return y

    def backward(self, grad_output, value, /, gate="second", *, axis=-1, limit=None, value_offset=0.0, out=None, **parameters):
        """Compute the gradients of value and gate in one pass.

        Parameters
        ----------
        grad_output : array_like
            The gradient with respect to the output, of its shape.
        value, gate, axis, limit, value_offset, **parameters
            As in the call.
        out : tuple of ndarray or ndarray, optional
            Where the result goes: ``(dvalue, dgate)``, or one array of the shape of `value` where that holds both halves.

        Returns
        -------
        dvalue, dgate : ndarray
            Where `value` holds both halves, one array that is laid out as it is.

        Raises
        ------
        TypeError, ValueError
            As the call, and where the shape of `grad_output` does not fit.

        Notes
        -----
        Where a limit cuts a number off, its gradient is 0; at the limit itself it is not.

        Examples
        --------
        >>> import numpy as np
        >>> import fastact
        >>> dvalue, dgate = fastact.reglu.backward(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([3.0, -3.0]))
        >>> dvalue, dgate
        (array([3., 0.]), array([2., 0.]))
        """
        if limit is None and type(value_offset) in NUMBERS and value_offset == 0 and not parameters and type(axis) is int and axis == -1:
            if type(gate) is np.ndarray:
                result = self._quick_backward((grad_output, value, gate), out)
                if result is not None:
                    return result
            elif parts := _halves(value, gate):
                result = np.empty_like(value, subok=False) if out is None else out
                to = _halves(result, gate)
                if to and self._quick_backward((grad_output, *parts), to, out is None or out.flags.c_contiguous) is not None:
                    return result
        call = _Call(f"{self.__name__}.backward", self.record, "backward", value, gate, axis, limit, value_offset, parameters, grad_output)
        program = _backward(call.limited, bool(call.offset))
        inputs = [call.grad_output, call.value, call.gate]
        if call.whole is None:
            out = call.outputs(out, ("dvalue", "dgate"), (call.shape,) * 2, call.dtype)
            results, _ = call.execute(program, inputs, out)
            return tuple(results)
        (out,) = call.outputs(out, ("dx",), (call.whole.shape,), call.dtype)
        fresh = np.empty_like(call.whole, call.dtype, subok=False) if out is None else out
        call.execute(program, inputs, call.halves(fresh), fresh=out is None)
        return fresh

    def __repr__(self):
        return f"<gated unit {self.__name__}: value * {self.record.name}(gate)>"

    def __reduce__(self):
        return gated, (self.activation,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memory):
        return self


def _halves(x, gate):
    """Value and gate of a plain array whose last axis has two halves, or None: then the general path decides."""
    if type(x) is not np.ndarray or not x.ndim or x.shape[-1] % 2 or not (isinstance(gate, str) and gate in ("first", "second")):
        return None
    half = x.shape[-1] // 2
    one, other = x[..., :half], x[..., half:]
    return (other, one) if gate == "first" else (one, other)


class _Call(pipeline.Arguments):
    """The arguments of one call of a gated unit."""

    def __init__(self, who, record, mode, value, gate, axis, limit, value_offset, parameters, grad_output=None):
        super().__init__(who, record)
        value = self.array("value", value)
        self.whole, self.axis, self.first = None, axis, False
        if isinstance(gate, str):
            if gate not in ("first", "second"):
                raise ValueError(f"{who}: gate: {gate!r} is no half; give 'first', 'second' or the array of the gate")
            self.whole, self.first = value, gate == "first"
            length = self.length(axis, value.shape)
            if length % 2:
                raise ValueError(
                    f"{who}: value has length {length} along axis {axis}, which has no halves; give an even one, or value and gate apart"
                )
            self.value, self.gate = self.halves(value)
        else:
            if np.ndim(axis) or axis != -1:
                raise TypeError(f"{who}: axis says where value has two halves; with a gate of its own leave it out")
            self.value, self.gate = value, self.array("gate", gate)
            if self.value.shape != self.gate.shape:
                raise ValueError(f"{who}: value has shape {value.shape} and gate {self.gate.shape}; give arrays of one shape")
        self.shape = self.value.shape
        if mode == "backward":
            self.grad_output = self.array("grad_output", grad_output)
            self.broadcasts("grad_output", self.grad_output.shape, self.shape)
        self.given = self.parameters(parameters, mode, self.shape)
        self.limited = limit is not None
        self.limit = self.number("limit", limit) if self.limited else np.inf
        if not self.limit > 0:
            raise ValueError(f"{who}: limit: {limit!r} is not positive; give a positive number, or None for no limit")
        self.offset = self.number("value_offset", value_offset)
        self.dtype = self.dtype()

    def halves(self, a):
        """Value and gate in an array that holds both."""
        half = a.shape[self.axis] // 2
        lead = (slice(None),) * (self.axis % a.ndim)
        one, other = a[(*lead, slice(None, half))], a[(*lead, slice(half, None))]
        return (other, one) if self.first else (one, other)

    def execute(self, program, inputs, outputs, fresh=None):
        return pipeline.execute(
            self.record,
            program,
            self.shape,
            inputs,
            self.given,
            outputs,
            self.dtype,
            like=self.value,
            fresh=fresh,
            limit=self.limit,
            offset=self.offset,
        )


def gated(act):
    """Return the gated unit of an activation: ``value * act(gate)``.

    Parameters
    ----------
    act : str or activation
        By its name, an alias, or as it is; of one's own, too.

    Returns
    -------
    callable
        Called, it computes the unit; its attribute ``backward`` computes both gradients. `glu`, `reglu`, `geglu`, `geglu_tanh`,
        `swiglu` and `bilinear` are such units.

    Raises
    ------
    LookupError
        There is no such activation.

    Examples
    --------
    >>> import fastact
    >>> fastact.gated("silu") is fastact.swiglu
    True
    >>> fastact.gated(fastact.relu)([2.0, -3.0], [5.0, 7.0])
    array([ 10., -21.])
    """
    return _made(callables.resolve(act, "gated"))


@functools.cache
def _made(act):
    return Gated(act)


def named(name):
    """The unit of a published name."""
    return gated(catalog.gated_units()[name])


def _docstring(unit):
    name, act = unit.__name__, unit.record.name
    short = name if name in catalog.gated_units() else "unit"
    parameters = "".join(
        f"    {p.name} : array_like, default {p.default:g}\n        Of {act}: a scalar, or an array that broadcasts with the gate.\n"
        for p in unit.record.given("value")
    )
    call = f"fastact.{name}" if name in catalog.gated_units() else f'fastact.gated("{act}")'
    return f"""Compute the gated unit of {act}: ``value * {act}(gate)``, in one pass over memory.

    Parameters
    ----------
    value : array_like
        The value; or, without a gate of its own, value and gate side by side.
    gate : array_like or {{"first", "second"}}, default "second"
        The gate, of the shape of `value`; or which half of `value` along `axis` it is. PyTorch's glu and most models have it second,
        ONNX, ggml and the fused projections of many language models first.
    axis : int, default -1
        Along which `value` has its halves.
    limit : float, optional
        Bounds the gate above by `limit` and the value to -limit ... limit, as ONNX Runtime's SwiGLU does.
    value_offset : float, default 0
        Added to the value, after the limit: the ``beta`` of ONNX Runtime's SwiGLU.
    out : ndarray, optional
        Where the result goes; it may be the value or the gate.
{parameters}
    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        An input is not real or has masked elements, or an argument is unknown.
    ValueError
        The shapes differ, there are no two halves, or `out` can't be written to.

    Notes
    -----
    Arrays may be strided: ``{short}(x[..., 1::2], x[..., ::2])`` takes interleaved pairs without a copy. The result is rounded twice,
    once for {act}'s own error and once for the product. ``{short}.backward(grad_output, value, gate)`` gives both gradients.

    References
    ----------
    .. [1] {_PAPERS.get(name, _PAPERS[""])}.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> x = np.array([2.0, -3.0, 0.5, 4.0])
    >>> bool(({call}(x) == {call}(x[:2], x[2:])).all())
    True
    """
