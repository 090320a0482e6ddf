"""An activation with a bias before it and an inverted-dropout mask behind it, and their gradients, in one pass over memory."""

import functools

from . import callables, dispatch, pipeline
from .pipeline import NUMBERS, Program, Step


@functools.cache
def _value(mask, scale):
    last = "dropped" if mask else "scaled" if scale else None
    return Program("value", ("x", "b", *(["mask"] if mask else ())), ("y",), (), ("b",), (
        Step("add", ("x", "b"), ("sum",)), Step("kernel", ("sum",), ("act" if last else "y",)),
        *([Step(last, ("act", *(["mask"] if mask else ())), ("y",))] if last else ()),
    ))  # fmt: skip


@functools.cache
def _backward(mask, scale):
    first = "dropped" if mask else "scaled" if scale else None
    return Program("backward", ("grad_output", "x", "b", *(["mask"] if mask else ())), ("dx",), ("db",), ("b",), (
        *([Step(first, ("grad_output", *(["mask"] if mask else ())), ("kept",))] if first else ()),
        Step("add", ("x", "b"), ("sum",)), Step("kernel", ("sum", "kept" if first else "grad_output"), ("dx",)), Step("sum", ("dx",), ("db",)),
    ))  # fmt: skip


class Bias:
    """An activation behind a bias: ``act(x + b)``. See `bias`."""

    def __init__(self, act):
        self.activation, self.record = act, act.record
        self.__name__ = self.__qualname__ = f"bias({act.record.name})"
        self.__module__ = __package__
        self._quick, self._quick_backward = (pipeline.Quick(act.record, made(False, False)) for made in (_value, _backward))

    def __call__(self, x, b, /, axis=-1, *, mask=None, scale=1.0, out=None, **parameters):
        """Compute ``act(x + b) * mask * scale`` in one pass over memory.

        Parameters
        ----------
        x : array_like
            Real numbers.
        b : array_like
            The bias: one number for each index of `axis`.
        axis : int, default -1
            The axis of `x` that `b` belongs to: -1 behind a dense layer, 1 for images whose channels come second.
        mask : array_like of bool, optional
            What is kept; elsewhere the result is 0, whatever `x` is there. It broadcasts to the shape of `x`.
        scale : float, default 1
            Times this: ``1 / (1 - p)`` for dropout with probability p.
        out : ndarray, optional
            Where the result goes; it may be `x`.
        **parameters
            Those of the activation.

        Returns
        -------
        ndarray

        Raises
        ------
        TypeError
            An input is not real or has masked elements, the mask is not boolean, or an argument is unknown.
        ValueError
            The shapes do not fit, or `out` can't be written to.

        Examples
        --------
        >>> import numpy as np
        >>> import fastact
        >>> fastact.bias("relu")(np.array([[1.0, -2.0]]), np.array([1.0, 1.0]), mask=np.array([[True, True]]), scale=2.0)
        array([[4., 0.]])
        """
        if mask is None and type(axis) is int and axis == -1 and type(scale) in NUMBERS and scale == 1 and not parameters:
            result = self._quick((x, b), out)
            if result is not None:
                return result
        call = _Call(self.__name__, self.record, "value", x, b, axis, mask, scale, parameters)
        for watcher in tuple(dispatch.watchers):  # while one is awake, there is no short cut
            watcher.see_inside(self.__name__, self.record, (call.x, call.spread), call.given)
        out = call.outputs(out, ("y",), (call.shape,), call.dtype)
        (y,), _ = call.execute(_value(mask is not None, call.scale != 1), [], out)
        return y

    def backward(self, grad_output, x, b, /, axis=-1, *, mask=None, scale=1.0, out=None, **parameters):
        """Compute the gradients of x and b in one pass over memory.

        Parameters
        ----------
        grad_output : array_like
            The gradient with respect to the output.
        x, b, axis, mask, scale, **parameters
            As in the call.
        out : tuple of ndarray, optional
            Where the result goes: ``(dx, db)``; None for one that is to be made.

        Returns
        -------
        dx, db : ndarray
            `dx` of the shape of `x`; `db`, its sum over all other axes, of the shape of `b`.

        Raises
        ------
        TypeError, ValueError
            As the call, and where the shape of `grad_output` does not fit.

        Notes
        -----
        The sum is taken in float64, for float64 with what its roundings lose, so that its error does not grow with the number of
        elements; its bits do not depend on the number of threads.

        Examples
        --------
        >>> import numpy as np
        >>> import fastact
        >>> x = np.array([[1.0, -2.0], [3.0, 4.0]])
        >>> dx, db = fastact.bias("relu").backward(np.ones((2, 2)), x, np.array([1.0, 1.0]))
        >>> db
        array([2., 1.])
        """
        if mask is None and type(axis) is int and axis == -1 and type(scale) in NUMBERS and scale == 1 and not parameters:
            result = self._quick_backward((grad_output, x, b), out)
            if result is not None:
                return result
        call = _Call(f"{self.__name__}.backward", self.record, "backward", x, b, axis, mask, scale, parameters, grad_output)
        out = call.outputs(out, ("dx", "db"), (call.shape, call.b.shape), call.dtype)
        (dx,), (total,) = call.execute(_backward(mask is not None, call.scale != 1), [call.grad_output], out[:1], (call.spread.shape,))
        return dx, pipeline.hand_over(total.reshape(call.b.shape), out[1], call.dtype)

    def __repr__(self):
        return f"<{self.__name__}: {self.record.name}(x + b)>"

    def __reduce__(self):
        return bias, (self.activation,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memory):
        return self


class _Call(pipeline.Arguments):
    """The arguments of one call."""

    def __init__(self, who, record, mode, x, b, axis, mask, scale, parameters, grad_output=None):
        super().__init__(who, record)
        self.x, self.b = self.array("x", x), self.array("b", b)
        self.shape = self.x.shape
        length = self.length(axis, self.shape)
        if self.b.shape != (length,):
            raise ValueError(f"{who}: b has shape {self.b.shape}, but x has {length} channels along axis {axis}; give shape ({length},)")
        self.spread = self.b.reshape((length,) + (1,) * (self.x.ndim - 1 - axis % self.x.ndim))
        if mode == "backward":
            self.grad_output = self.array("grad_output", grad_output)
            self.broadcasts("grad_output", self.grad_output.shape, self.shape)
        self.mask = [] if mask is None else [self.bytes("mask", mask, self.shape)]
        self.scale = self.number("scale", scale)
        self.given = self.parameters(parameters, mode, self.shape)
        self.dtype = self.dtype()

    def execute(self, program, before, outputs, sums=()):
        inputs = [*before, self.x, self.spread, *self.mask]
        return pipeline.execute(self.record, program, self.shape, inputs, self.given, outputs, self.dtype, sums, self.x, scale=self.scale)


def bias(act):
    """Return an activation with a bias before it: ``act(x + b)``, if wanted times a dropout mask.

    Parameters
    ----------
    act : str or activation
        By its name, an alias, or as it is.

    Returns
    -------
    callable
        ``bias(act)(x, b, axis=-1, mask=None, scale=1.0)``; its attribute ``backward`` computes the gradients of x and b in one pass.

    Raises
    ------
    LookupError
        There is no such activation.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> fastact.bias("relu")(np.array([[1.0, -2.0]]), np.array([1.0, 1.0]))
    array([[2., 0.]])
    """
    return _made(callables.resolve(act, "bias"))


@functools.cache
def _made(act):
    return Bias(act)
