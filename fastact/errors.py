"""What can be wrong with a user's own activation."""


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


class ActivationWarning(UserWarning):
    """An activation that works, but not everywhere: NaN, overflow or lost digits, with the x where they begin."""
