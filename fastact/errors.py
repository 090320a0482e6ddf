"""What can be wrong with a user's own activation; and what is said of arguments, in the same words everywhere."""

import sys
import warnings


class ActivationError(ValueError):
    """A function can't be made an activation; the message says which part of it is at fault, and what would do."""


class UnsupportedOperationError(ActivationError):
    """The function does something that no formula can: the message names it."""


class LinearActivationError(ActivationError):
    """The function is a straight line: a network of such units is one linear layer, however deep it is."""


class DerivativeError(ActivationError):
    """The function jumps, or a derivative that was given is not its derivative.

    Attributes
    ----------
    x : float
        Where.
    numbers : tuple of float
        The two numbers that ought to be equal there.
    """

    def __init__(self, message, x=None, numbers=()):
        super().__init__(message)
        self.x, self.numbers = x, numbers


def not_an_array(who, name, value, error):
    """The error of a value that NumPy made no array of, and said so by `error`."""
    if isinstance(error, ValueError) and isinstance(value, (list, tuple)):
        return ValueError(f"{who}: {name} is ragged; give rows of equal length")
    return type(error)(f"{who}: {name} can't be an array ({error}); give real numbers")


def not_real(who, name, array):
    """The error of an array of numbers that there are no kernels for."""
    dtype = array.dtype
    if dtype.kind == "c":
        return TypeError(f"{who}: {name} is complex ({dtype}); activations take real numbers, such as {name}.real")
    if dtype.kind == "O":
        try:
            array.astype(float)
        except OverflowError:
            return TypeError(f"{who}: {name} has a whole number that is too large for a float; give real numbers up to 1.8e308, or inf")
        except (AttributeError, TypeError, ValueError):
            pass
    return TypeError(f"{who}: {name} has dtype {dtype}; give real numbers, such as np.asarray({name}, dtype=np.float64)")


def truth(who, name, value):
    """An argument that is true or false."""
    try:
        return bool(value)
    except (TypeError, ValueError):  # an array is neither
        raise TypeError(f"{who}: {name}: expected True or False, not {value!r}") from None


def generator(who, rng):
    """An argument that random numbers are drawn from."""
    import numpy as np

    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{who}: rng: expected a numpy.random.Generator, such as np.random.default_rng(0), not {type(rng).__name__}")
    return rng


def warn(message, category):
    """Warn of the line outside of the package that the call is in."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def kind_of(out):
    """What was given for `out`, in words."""
    return f"a tuple of {len(out)}" if isinstance(out, tuple) else type(out).__name__


class ActivationWarning(UserWarning):
    """An activation that works, but not everywhere: NaN, overflow or lost digits, with the x where they begin."""
