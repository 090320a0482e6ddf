"""The functions along an axis by NumPy, in blocks of rows that stay in the cache: what `_cy/rows.cpp` does where there is no extension.

A block is a new C-contiguous array of rows, in float64. For float32 that is all the accuracy there is to want. For float64 the rounding
of x - m, which exp would turn into hundreds of ULP, is computed and put right.
"""

import math

import numpy as np

from .. import language

BLOCK = 32_768  # elements


def run(operation, x, g, mask, y, axis, sign, temperature, precision):
    """Run one operation along an axis of arrays of one shape (y's axis has length 1 where it reduces).

    `y` may be `x` or `g`. `precision`: what it is rounded to first.
    """
    one = OPERATIONS[operation]
    exact = precision == np.float64
    n = x.shape[axis]
    with np.errstate(all="ignore"):
        for index in _blocks(x.shape, axis, max(1, BLOCK // max(1, n))):
            parts = [None if a is None else _rows(a[index], axis, kind) for a, kind in ((x, np.float64), (g, np.float64), (mask, bool))]
            inner = np.moveaxis(y[index], axis, -1)
            inner[...] = one(*parts, exact, sign, temperature).astype(precision).reshape(inner.shape)
        np.add(1.0, 1.0)


def _blocks(shape, axis, rows):
    """Indices of parts of an array, of about so many rows each, whole rows all of them."""
    if 0 in shape[:axis] + shape[axis + 1 :]:
        return
    index = [slice(None)] * len(shape)
    free = [d for d in range(len(shape)) if d != axis]
    # The last dimensions whole as far as they fit, one sliced, those before it one by one.
    whole, at = 1, len(free)
    while at and whole * shape[free[at - 1]] <= rows:
        at -= 1
        whole *= shape[free[at]]
    if not at:
        yield tuple(index)
        return
    cut, step = free[at - 1], max(1, rows // whole)
    for place in np.ndindex(*[shape[d] for d in free[: at - 1]]):
        for d, i in zip(free, place, strict=False):
            index[d] = slice(i, i + 1)
        for start in range(0, shape[cut], step):
            index[cut] = slice(start, start + step)
            yield tuple(index)


def _rows(part, axis, kind):
    n = part.shape[axis]
    return np.array(np.moveaxis(part, axis, -1), kind, order="C").reshape(
        part.size // n if n else math.prod(part.shape[:axis] + part.shape[axis + 1 :]), n
    )


def _distances(x, mask, exact, sign, temperature):
    """(x - m) / temperature as two numbers, the second None where it is nothing; m; which are m; all for rows without infinite m."""
    v = x if sign > 0 else -x
    if mask is not None:
        v = np.where(mask, v, -np.inf)
    m = np.max(v, axis=1, keepdims=True, initial=-np.inf)
    infinite = np.isposinf(m)[:, 0]
    if infinite.any():
        # Those at infinity share it: the limit where they go there together.
        some = v[infinite]
        v[infinite] = np.where(some == np.inf, 0.0, np.where(np.isnan(some), np.nan, -np.inf))
    top = np.where(np.isposinf(m), 0.0, m)
    d = v - top
    low = None
    if exact:
        part = d - v
        low = (v - (d - part)) - (top + part)
        low[~np.isfinite(low)] = 0
    if temperature != 1:
        z = d / temperature
        if exact:
            rest = _remainder(d, z, temperature)
            rest[~np.isfinite(rest)] = 0
            low = (low + rest) / temperature
        d = z
    return d, low, m, v == top


def _remainder(d, z, temperature):
    """d - z * temperature without the rounding of the product."""

    def split(a):
        c = a * language.SPLITTER
        high = c - (c - a)
        return high, a - high

    zh, zl = split(z)
    th, tl = split(np.float64(temperature))
    product = z * temperature
    return (d - product) - (((zh * th - product) + zh * tl + zl * th) + zl * tl)


def _exp(d, low):
    e = np.exp(d)
    if low is not None:
        e += e * low
    return e


def _sum(e, exact):
    # NumPy's sums are good to some ULP; where longdouble is longer, to less than one.
    return e.sum(axis=1, keepdims=True, dtype=np.longdouble if exact else None).astype(np.float64)


def _softmax(x, g, mask, exact, sign, temperature):
    d, low, m, top = _distances(x, mask, exact, sign, temperature)
    e = _exp(d, low)
    e /= _sum(e, exact)
    if mask is not None:
        e[~mask] = 0
    return e


def _log_sum(d, low, top):
    e = _exp(d, low)
    e[top] = 0
    return np.log1p(_sum(e, low is not None) + (np.count_nonzero(top, axis=1)[:, None] - 1.0))


def _log_softmax(x, g, mask, exact, sign, temperature):
    d, low, m, top = _distances(x, mask, exact, sign, temperature)
    y = d - _log_sum(d, low, top)
    if low is not None:
        y += low
    if mask is not None:
        y[~mask] = -np.inf
    return y


def _logsumexp(x, g, mask, exact, sign, temperature):
    d, low, m, top = _distances(x, mask, exact, sign, temperature)
    if not x.shape[1]:
        return m
    return np.where(np.isinf(m), m, m + _log_sum(d, low, top))  # m is NaN if there is one


def _softmax_backward(y, g, mask, exact, sign, temperature):
    if mask is not None:
        y, g = np.where(mask, y, 0), np.where(mask, g, 0)
    dx = y * (g - (y * g).sum(axis=1, keepdims=True)) * (sign / temperature)
    return dx if mask is None else np.where(mask, dx, 0)


def _log_softmax_backward(y, g, mask, exact, sign, temperature):
    if mask is not None:
        y, g = np.where(mask, y, -np.inf), np.where(mask, g, 0)
    dx = (g - np.exp(y) * g.sum(axis=1, keepdims=True)) * (sign / temperature)
    return dx if mask is None else np.where(mask, dx, 0)


OPERATIONS = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "softmax_backward": _softmax_backward,
    "log_softmax_backward": _log_softmax_backward,
}
