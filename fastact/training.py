"""What only training has: activations that draw random numbers."""

import math
import numbers

import numpy as np

from .callables import get
from .errors import ActivationError, generator, not_an_array
from .pipeline import float_dtype, is_half


def rrelu_training(x, rng, lower=1 / 8, upper=1 / 3):
    """Compute rrelu as in training: each negative number is multiplied by a slope drawn for it.

    ``x where it is positive, else slope * x, with slope uniform between lower and upper``

    Parameters
    ----------
    x : array_like
        Real numbers, of any shape.
    rng : numpy.random.Generator
        Draws one number for each element of `x`, so that equal seeds give equal results.
    lower : float, default 1/8
        The least slope.
    upper : float, default 1/3
        The largest slope.

    Returns
    -------
    y, dy : ndarray
        The value, and the derivative: 1, or the slope. The backward pass is ``grad_output * dy``.

    Raises
    ------
    TypeError
        `rng` is no Generator, or `x` is not real.
    ValueError
        `lower` is above `upper`, or one of them is not finite.

    Notes
    -----
    In evaluation `fastact.rrelu` takes the mean of the slopes. At 0 the derivative is the slope, as in PyTorch.

    References
    ----------
    .. [1] Xu, Wang, Chen and Li, Empirical evaluation of rectified activations in convolution network, arXiv:1505.00853.

    Examples
    --------
    >>> import numpy as np
    >>> import fastact
    >>> y, dy = fastact.rrelu_training(np.array([-1.0, 2.0]), np.random.default_rng(0))
    >>> dy.round(4)
    array([0.2577, 1.    ])
    """
    generator("rrelu_training", rng)
    for name, slope in (("lower", lower), ("upper", upper)):
        if np.ndim(slope) or not isinstance(slope, (numbers.Real, np.ndarray)):
            raise TypeError(f"rrelu_training: {name}: expected a number, not {slope!r}")
    if not (lower <= upper and upper - lower < math.inf):
        raise ValueError(f"rrelu_training: lower is {lower!r} and upper {upper!r}; give finite numbers, lower <= upper")
    try:
        array = np.asarray(x)
    except ActivationError:  # a user's function is being followed
        raise
    except ValueError as refused:
        raise not_an_array("rrelu_training", "x", x, refused) from None
    slopes = rng.uniform(lower, upper, array.shape)
    dtype = float_dtype(array.dtype)
    if dtype.kind != "f" and not is_half(dtype):
        dtype = np.float64  # prelu says what is wrong with x
    return get("prelu").value_and_grad(x, slopes.astype(dtype, copy=False))
