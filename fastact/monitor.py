"""What activations do to a network: dead units, saturation, vanishing gradients, seen from the preactivations."""

import functools
import math
import numbers
import operator
import os
import sys
import threading
import time
import weakref

import numpy as np

from . import catalog, dispatch
from .backends import cython
from .checking import values
from .pipeline import is_half

_BLOCK = 65_536  # entries whose derivatives are in memory at a time
ENOUGH = 30  # samples: half of them are 0 in a usual relu, and all of so many by chance in one of 1e9
LAYERS = 10  # how deep the network is that the estimate is for


class _Tally:
    """Counts over preactivations, block by block; samples first, units behind."""

    def __init__(self, record, shape, threshold, gated=False):
        self.record, self.shape, self.threshold, self.gated = record, shape, threshold, gated
        self.alive = np.zeros(math.prod(shape), bool)
        self.samples = self.entries = self.saturated = self.flat = self.nan = self.infinite = 0
        self.squares = self.extent = 0.0

    def add(self, x, parameters=None, limit=math.inf):
        """Count one array of shape (samples, units); parameters are numbers, or arrays of that shape and dtype.

        Beyond the limit, which a gated unit may have, the derivative is 0.
        """
        rows = max(1, _BLOCK // max(1, x.shape[1]))
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            given = {k: np.ascontiguousarray(p[part]) if isinstance(p, np.ndarray) else p for k, p in (parameters or {}).items()}
            self._block(np.ascontiguousarray(x[part]), given, limit)
        self.samples += len(x)
        self.entries += x.size

    def _block(self, x, parameters, limit):
        slope = np.abs(self._slope(x if limit == math.inf else np.minimum(x, limit), parameters))
        if limit != math.inf:
            slope[x > limit] = 0
        known = slope == slope
        if not known.all():
            self.nan += int(slope.size - known.sum())
            self.alive |= ~known.all(axis=0)  # broken, but not dead
        self.alive |= (slope > 0).any(axis=0)
        self.flat += int(np.count_nonzero(slope == 0))
        self.saturated += int(np.count_nonzero(slope < self.threshold))
        self.infinite += int(np.count_nonzero(np.isinf(x)))
        finite = np.minimum(np.where(known, slope, 0), 1e15).astype(np.float64, copy=False)
        self.squares += float(np.dot(finite.ravel(), finite.ravel()))

    def _slope(self, x, parameters):
        precision = x.dtype.name
        backend = dispatch.choose(self.record, "grad", precision).backend
        if backend != "numpy" and dispatch.ready(self.record, "grad", precision, backend):
            from .callables import own

            return own(self.record).grad(x, **parameters)
        given = {k: p.reshape(-1) if isinstance(p, np.ndarray) else p for k, p in parameters.items()}
        return values(self.record, precision, given)(x.reshape(-1))[1].reshape(x.shape)  # compiles nothing

    def result(self, name=None):
        units = max(1, self.alive.size)
        entries = self.entries - self.nan
        known = max(1, entries)
        return Health(
            name=name or self.record.name, activation=self.record.name, samples=self.samples, units=self.alive.size,
            dead=float(np.count_nonzero(~self.alive)) / units if self.samples else 0.0, saturated=self.saturated / known,
            flat=self.flat / known, gain=math.sqrt(self.squares / known) if entries or not self.entries else math.nan, nan=self.nan, infinite=self.infinite, threshold=self.threshold,
            dead_units=~self.alive.reshape(self.shape), _gated=self.gated,
        )  # fmt: skip


def _floats(x):
    try:
        x = np.asarray(x)
    except ValueError:
        raise ValueError("preactivations: the rows are ragged; give rows of equal length") from None
    if not (x.dtype.kind in "biuf" or is_half(x.dtype)) or x.dtype.itemsize > 8:
        raise TypeError(f"preactivations: expected real numbers, not dtype {x.dtype}")
    return x if x.dtype.name in catalog.DTYPES else x.astype(np.float32 if is_half(x.dtype) else np.result_type(x.dtype, np.float32))


def _number(threshold):
    if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real):
        raise TypeError(f"threshold: expected a number, not {threshold!r}")
    return threshold


class Health:
    """How well an activation passes gradients on; print it.

    Attributes
    ----------
    name, activation : str
    samples, units : int
    dead : float
        The share of units whose derivative is 0 for every sample: they learn no more.
    saturated : float
        The share of entries whose derivative is below `threshold`; NaN is left out here and below.
    flat : float
        The share of entries whose derivative is exactly 0; for relu, half is usual.
    gain : float
        By how much a gradient grows on its way back through the activation: the root of the mean squared derivative.
    nan, infinite : int
        How many derivatives are NaN, and how many preactivations are infinite.
    dead_units : ndarray of bool
        Which units are dead.
    """

    _gated = False  # of a gate: the gradient goes back through the value too, and the gain does not say how much of it

    def __init__(self, **found):
        self.__dict__.update(found)

    def through(self, layers=LAYERS):
        """What is left of a gradient behind so many such layers, if the weights between them neither stretch nor shrink it."""
        return self.gain**layers

    @property
    def advice(self):
        """What to try, as sentences; empty if nothing is wrong."""
        found = []
        if self.nan or self.infinite:
            found.append(
                f"{self.nan} derivatives are NaN and {self.infinite} preactivations infinite: lower the learning rate, clip gradients, and look at "
                "the inputs (divide by their standard deviation)"
            )
        if self.dead > 0.02 and self.samples < ENOUGH:
            found.append(
                f"{self.dead:.0%} of the units have the derivative 0 for every sample, but {self.samples} sample{'s are' if self.samples > 1 else ' is'} too few to "
                f"call them dead: give {ENOUGH} or more"
            )
        elif self.dead > 0.02:
            found.append(
                f"{self.dead:.0%} of the units are dead: their derivative is 0 for every sample, so nothing brings them back. Try leaky_relu, elu or silu, "
                "which have a slope for negative inputs, or a lower learning rate and biases that start at 0"
            )
        flat = self.flat > 0.75 and self.dead < 0.75
        if flat:
            found.append(
                f"{self.flat:.0%} of the entries lie where {self.activation} is flat, so most units learn from few samples. Try normalised inputs, biases that "
                "start at 0, or leaky_relu, elu or silu"
            )
        elif self.saturated - self.flat > 0.4 and self.gain < 0.5:
            found.append(
                f"{self.saturated:.0%} of the entries are saturated (derivative below {self.threshold:g}): the inputs are too large for {self.activation}. "
                "Try smaller first weights (divide by the root of the number of inputs), normalised inputs, or silu, gelu or leaky_relu"
            )
        if self.gain < 0.5 and not self._gated and not flat:
            steep = (
                np.abs(values(catalog.find(self.activation))(np.linspace(-4, 4, 161))[1]).max() > 0.9
                if self.activation in catalog.records()
                else False
            )
            instead = (
                f"Most inputs lie where {self.activation} has little slope: try normalised inputs, or weights of variance 2 / inputs"
                if steep
                else "Try relu, silu or gelu in hidden layers, and keep sigmoid and tanh for the output"
            )
            found.append(
                f"the gradient shrinks to {self.gain:.2g} in each layer, to {self.through():.1e} in {LAYERS} of them: it vanishes on its way. {instead}"
            )
        elif self.gain > 1.5 and not self._gated:
            found.append(
                f"the gradient grows {self.gain:.2g} times in each layer: it explodes in deep networks. Try smaller weights, or clip gradients"
            )
        return found

    def as_dict(self):
        """The numbers, for JSON."""
        return {k: v for k, v in self.__dict__.items() if k not in ("dead_units", "_gated")} | {
            "through": self.through(),
            "advice": self.advice,
        }

    def __repr__(self):
        return f"<health of {self.name}: {self.dead:.1%} dead, {self.saturated:.1%} saturated, gain {self.gain:.3g}>"

    def __str__(self):
        lines = [
            f"{self.name}: {self.samples:,} samples, {self.units:,} units",
            f"  dead units  {self.dead:7.1%}   derivative 0 for every sample",
            f"  saturated   {self.saturated:7.1%}   of the entries: derivative below {self.threshold:g}",
            f"  gain        {self.gain:7.3f}   of the gradient in one layer; through {LAYERS} of them {self.through():.2g}",
        ]
        if self.nan or self.infinite:
            lines.append(f"  not finite  {self.nan:,} NaN, {self.infinite:,} infinite")
        return "\n".join(lines + [f"  try         {text}" for text in self.advice])

    def plot(self, axes=None):
        """Draw shares and gain as bars; returns matplotlib's axes. Needs matplotlib."""
        return _bars([self], axes)


def health(activation, preactivations, axis=0, *, threshold=0.01):
    """Say what an activation does to gradients, from what is put into it.

    Parameters
    ----------
    activation : str or activation
    preactivations : array_like
        What the activation is computed of, for many samples.
    axis : int or tuple of int
        The axes of the samples; all others are units.
    threshold : float
        An entry whose derivative is smaller counts as saturated.

    Returns
    -------
    Health
        Prints as a few lines, with what to try.

    Raises
    ------
    LookupError
        There is no activation of this name.
    TypeError
        An argument is of the wrong kind, or `preactivations` are not real.
    ValueError
        There are no samples, the rows are ragged, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> x = np.array([[1.0, -2.0, -1.0], [2.0, -1.0, 3.0]])
    >>> found = fastact.health("relu", x)
    >>> round(found.dead, 3), round(found.saturated, 3)
    (0.333, 0.5)
    """
    x = _floats(preactivations)
    if x.ndim == 0:
        raise ValueError("preactivations: expected an array with an axis for the samples, not a single number")
    try:
        axes = sorted({a + x.ndim if a < 0 else a for a in map(operator.index, axis if isinstance(axis, tuple) else (axis,))})
    except TypeError:
        raise TypeError(f"axis: expected a whole number or a tuple of them, not {axis!r}") from None
    if any(not 0 <= a < x.ndim for a in axes):
        raise ValueError(f"axis: {axis} is not an axis of an array of shape {x.shape}")
    if not x.size:
        raise ValueError(f"preactivations: there are no samples in an array of shape {x.shape}")
    x = np.moveaxis(x, axes, range(len(axes)))
    tally = _Tally(catalog.as_record(activation), x.shape[len(axes) :], _number(threshold))
    tally.add(x.reshape(math.prod(x.shape[: len(axes)]), -1))
    return tally.result()


# --- Watching ------------------------------------------------------------------------------------------------------------

_ENTRIES = 4_096  # looked at in one call
_BURST_CALLS, _FEWEST, _BURST_SECONDS = 32, 16, 0.01  # then there is a rest; the first burst is what a short block pays
_REST = 120  # times what a burst took: with what that leaves out, under 2% of the time
_CALL_SECONDS, _INSIDE_SECONDS = 1.5e-5, 3e-5  # what the general path costs a call; one of bias or a gated unit
_FRONT_END = {__name__, *(f"{__package__}.{name}" for name in ("callables", "gating", "biasing"))}  # whose frames are not the program's


def _given(function, args, kwargs):
    """The parameters of one call, by name; errors are those that the call will give."""
    _, inputs, *_ = function._bind(args, kwargs)
    return dict(zip(function._accepted, inputs[1:], strict=True))


class Watch:
    """What `watch` collects: one `Health` for each layer. Print it."""

    def __init__(self, threshold=0.01):
        self.threshold = _number(threshold)
        self._tallies, self._labels, self._owners = {}, {}, {}
        self._lock, self._open, self._awake = threading.RLock(), False, False
        self._calls, self._spent, self._timer = 0, 0.0, None
        self.cost = 0.0  # seconds spent looking

    # While it is awake, every call takes the general path, which shows it what it gets.

    def __enter__(self):
        if self._open:
            raise RuntimeError("this watch is open already; make another one")
        self._open = True
        dispatch.watchers.append(self)
        self._wake()
        return self

    def __exit__(self, *error):
        with self._lock:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._sleep()
            dispatch.watchers.remove(self)

    def _wake(self):
        with self._lock:
            if self._open and not self._awake:
                self._awake, self._calls, self._spent = True, 0, 0.0
                if cython.frontend is not None:
                    cython.frontend.add_override(1)

    def _sleep(self):
        if self._awake:
            self._awake = False
            if cython.frontend is not None:
                cython.frontend.add_override(-1)

    def _rest(self):
        self._sleep()
        self._timer = threading.Timer(_REST * self._spent, self._wake)
        self._timer.daemon = True
        self._timer.start()

    def see(self, function, args, kwargs):
        """Look at a call of an activation; errors in it are the call's own, and come later."""
        if not self._awake or not args or not function.record.also.keys().isdisjoint(kwargs):  # that comes again, as the call that it means
            return
        self._seen(args[0], lambda: self._look(function.record.name, function.record, args[:1], _given(function, args, kwargs)))

    def see_inside(self, name, record, terms, parameters, limit=None):
        """Look at what another call computes an activation of: a sum of arrays; `limit` is a gated unit's, and bounds it above."""
        if not self._awake:
            return
        given = dict(zip([p.name for p in record.parameters], parameters, strict=True))
        self._seen(terms[0], lambda: self._look(name, record, terms, given, limit), _INSIDE_SECONDS)

    def _seen(self, x, look, cost=_CALL_SECONDS):
        if not isinstance(x, np.ndarray) or not (x.dtype.kind == "f" or is_half(x.dtype)) or x.ndim == 0 or not x.size:
            return
        start = time.perf_counter()
        with self._lock:
            try:
                with np.errstate(all="ignore"):
                    look()
            except (TypeError, ValueError, LookupError, RuntimeError):  # the last from broadcasting more than 32 dimensions
                return
            finally:
                took = time.perf_counter() - start + cost
                self._calls, self._spent, self.cost = self._calls + 1, self._spent + took, self.cost + took
                enough = _BURST_CALLS if self._spent < _BURST_SECONDS else _FEWEST
                if self._open and self._awake and self._calls >= enough:
                    self._rest()

    def _look(self, name, record, terms, parameters, limit=None):
        varying = {k: np.asarray(p) for k, p in parameters.items() if np.ndim(p)}
        shape = terms[0].shape if len(terms) == 1 and not varying else np.broadcast_shapes(*[a.shape for a in (*terms, *varying.values())])
        width = shape[1:] if len(shape) > 1 else shape
        units = math.prod(width)
        rows = max(1, _ENTRIES // max(1, units))

        def sampled(a):
            a = a if a.shape == shape else np.broadcast_to(a, shape)
            a = a if a.ndim > 1 else a[None]
            return _floats(a[:: -(-len(a) // rows)]).reshape(-1, units)

        x = functools.reduce(np.add, map(sampled, terms))
        if varying:  # what they have in common is what the call computes in
            varying = {k: sampled(p) for k, p in varying.items()}
            dtype = np.result_type(x, *varying.values())
            x, parameters = x.astype(dtype, copy=False), parameters | {k: p.astype(dtype, copy=False) for k, p in varying.items()}
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__") in _FRONT_END:
            frame = frame.f_back
        owner = frame.f_locals.get("self")
        key = name, record, width, frame.f_code, frame.f_lineno, id(owner) if owner is not None else None
        tally = self._tallies.get(key)
        if tally is None:
            if owner is not None:
                try:
                    self._owners[key] = weakref.ref(owner)
                except TypeError:
                    self._owners[key] = owner  # kept, so that its id is not used again
            tally = self._tallies[key] = _Tally(record, width, self.threshold, limit is not None)
            self._labels[key] = f"{name} {'x'.join(map(str, width))} {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        tally.add(x, parameters, math.inf if limit is None else limit)

    @property
    def layers(self):
        """One `Health` for each layer, in the order in which they were first seen."""
        return [tally.result(f"{i + 1} {self._labels[key]}") for i, (key, tally) in enumerate(self._tallies.items())]

    @property
    def through(self):
        """What is left of a gradient behind all the layers but gated units, if the weights between them neither stretch nor shrink it."""
        return math.prod(layer.gain for layer in self.layers if not layer._gated)

    def __str__(self):
        layers = self.layers
        if not layers:
            return "no activation was seen: only calls for a value are, of activations, bias and gated units, with an array of floats"
        width = max(5, *(len(layer.name) for layer in layers))
        lines = [f"{'layer'.ljust(width)}  samples    dead  saturated    gain  not finite"]
        lines += [
            f"{layer.name.ljust(width)}  {layer.samples:7,}  {layer.dead:6.1%}  {layer.saturated:9.1%}  {layer.gain:6.3f}  {layer.nan + layer.infinite:10,}"
            for layer in layers
        ]  # fmt: skip
        count = sum(not layer._gated for layer in layers)
        if count:
            which = "" if count == len(layers) else " that are not gated"
            lines.append(
                f"through all {count} layers{which} a gradient is multiplied by about {self.through:.2g}, besides what the weights do"
            )
        said = dict.fromkeys(f"{layer.name}: {text}" for layer in layers for text in layer.advice)
        return "\n".join([*lines, *said])

    def __repr__(self):
        return f"<watch of {len(self._tallies)} layers>"

    def plot(self, axes=None):
        """Draw shares and gain of each layer as bars; returns matplotlib's axes. Needs matplotlib."""
        return _bars(self.layers, axes)


def watch(threshold=0.01):
    """Collect the health of each layer while a ``with`` block runs, whatever code calls the activations in it.

    It looks at samples, in bursts with rests between them: the first burst takes some 10 ms, and in the long run less than 3% of the time
    is spent. A layer is a place in the
    program that calls an activation, on arrays of one width; where that place is a method, each object is a layer of its own. Value calls
    on arrays of floats are looked at: ``f(x)`` and ``f.value_and_grad(x)``, before they overwrite anything, each with its own parameters.

    So are `bias`, whose preactivation is ``x + b``, and gated units, of which it is the gate: beyond a `limit` its derivative is 0. A gradient
    goes back through the value of a gated unit too, so `through` leaves them out. Not seen are lists and integers, derivatives on their own,
    ufuncs called as such, and softmax and its family, which have no derivative by element.

    Parameters
    ----------
    threshold : float
        An entry whose derivative is smaller counts as saturated.

    Returns
    -------
    Watch
        Print it, or take its `layers`.

    Raises
    ------
    TypeError
        The threshold is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> with fastact.watch() as seen:
    ...     y = fastact.sigmoid(np.array([[0.0, 9.0], [1.0, 12.0]]))
    >>> [(layer.activation, layer.saturated) for layer in seen.layers]
    [('sigmoid', 0.5)]
    """
    return Watch(threshold)


def _bars(layers, axes):
    from . import plotting

    return plotting.bars(layers, axes)
