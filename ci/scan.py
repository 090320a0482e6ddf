"""The loops of `verify.py`: results of kernels against a table of `series.py`, compiled by Numba."""

import numba
import numpy as np

BINS = 41  # of the histogram: an eighth of an ULP each, the last one for all that is more
WIDTH = 8
BLOCK = 512
NORMAL, SUBNORMAL, NEAR_ZERO = range(3)
ENOUGH = 2.0**-54  # terms that together are this part of the first one are left out
SIZE = 0x7FFFFFFFFFFFFFFF  # the bits of a float64 without its sign


class Measure:
    """What a scan finds: the largest error by kind of result, where it is, a histogram, and how many are beyond their bound."""

    def __init__(self):
        self.largest = np.full(3, -1.0)
        self.where = np.zeros(3, np.uint32)
        self.histogram = np.zeros(BINS, np.int64)
        self.beyond = np.zeros(1, np.int64)
        self.worst_beyond = np.zeros(2)  # by how much of its bound, and the bits of x
        self.covered = 0

    def add(self, other):
        for kind in range(3):
            if other.largest[kind] > self.largest[kind]:
                self.largest[kind], self.where[kind] = other.largest[kind], other.where[kind]
        self.histogram += other.histogram
        self.beyond += other.beyond
        if other.worst_beyond[0] > self.worst_beyond[0]:
            self.worst_beyond[:] = other.worst_beyond
        self.covered += other.covered


# Degree and terms written out, so that the terms stay in registers and the loop becomes SIMD code.


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract"}, cache=True)
def _polynomial14(x, near, terms, high, low, inverse):
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14 = (
        terms[0], terms[1], terms[2], terms[3], terms[4], terms[5], terms[6], terms[7],
        terms[8], terms[9], terms[10], terms[11], terms[12], terms[13], terms[14],
    )  # fmt: skip
    for k in range(x.size):
        t = ((np.float64(x[k]) - high) - low) * inverse
        u = t * t
        rest = ((c14 * u + (c13 * t + c12)) * u + (c11 * t + c10)) * u + (c9 * t + c8)
        rest = ((rest * u + (c7 * t + c6)) * u + (c5 * t + c4)) * u + (c3 * t + c2)
        near[k] = (rest * t + c1) * t + c0


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract"}, cache=True)
def _polynomial7(x, near, terms, high, low, inverse):
    c0, c1, c2, c3, c4, c5, c6, c7 = terms[0], terms[1], terms[2], terms[3], terms[4], terms[5], terms[6], terms[7]
    for k in range(x.size):
        t = ((np.float64(x[k]) - high) - low) * inverse
        u = t * t
        rest = ((c7 * t + c6) * u + (c5 * t + c4)) * u + (c3 * t + c2)
        near[k] = (rest * t + c1) * t + c0


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract"}, cache=True)
def _polynomial3(x, near, terms, high, low, inverse):
    c0, c1, c2, c3 = terms[0], terms[1], terms[2], terms[3]
    for k in range(x.size):
        t = ((np.float64(x[k]) - high) - low) * inverse
        near[k] = ((c3 * t + c2) * t + c1) * t + c0


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _degree(terms, reach):
    """The degree that is enough for |t| <= reach."""
    lead = 0
    while lead < terms.size - 1 and terms[lead] == 0:
        lead += 1
    least, rest = ENOUGH * abs(terms[lead]), 0.0
    for k in range(terms.size - 1, lead, -1):
        rest += abs(terms[k]) * reach ** (k - lead)
        if rest > least:
            return k
    return lead


@numba.njit(nogil=True, error_model="numpy", cache=True)
def evaluate(bits, x, first, last, high, low, inverse, terms, near):
    """The reference at these ascending bit patterns; NaN where the table has no segment. Returns how many it has."""
    n, i, covered = bits.size, 0, 0
    s = np.searchsorted(first, bits[0], side="right") - 1
    s = max(s, 0)
    while i < n:
        while s < first.size and last[s] < bits[i]:
            s += 1
        if s == first.size or bits[i] < first[s]:
            near[i] = np.nan
            i += 1
            continue
        j = i
        if last[s] - bits[i] >= bits[n - 1] - bits[i]:
            j = n
        else:
            a, b = i, n  # the first beyond this segment
            while a < b:
                m = (a + b) // 2
                if bits[m] <= last[s]:
                    a = m + 1
                else:
                    b = m
            j = a
        ends = abs(((np.float64(x[i]) - high[s]) - low[s]) * inverse[s]), abs(((np.float64(x[j - 1]) - high[s]) - low[s]) * inverse[s])
        degree = _degree(terms[s], max(ends[0], ends[1]))
        if degree <= 3:
            _polynomial3(x[i:j], near[i:j], terms[s], high[s], low[s], inverse[s])
        elif degree <= 7:
            _polynomial7(x[i:j], near[i:j], terms[s], high[s], low[s], inverse[s])
        else:
            _polynomial14(x[i:j], near[i:j], terms[s], high[s], low[s], inverse[s])
        covered += j - i
        i = j
    return covered


@numba.njit(nogil=True, error_model="numpy", cache=True)
def compare(bits, x, actual, near, gradient, limits, bound, subnormal, zero, largest, where, histogram, beyond, worst_beyond):
    """Errors of results against the reference `near`, each against what is allowed there.

    gradient: empty, or what a derivative was multiplied by. limits: the dtype's smallest exponent, digits and largest number.
    zero: (x0, reach, term, in whose units): near x0 the error may be one unit of a number as large as the term. Below 0: what `near` itself may be
    off by there, which is more than a unit of the result at a double zero, or where a parameter's rounding moves the zero by less than one of x.
    """
    lowest, digits, most = int(limits[0]), int(limits[1]), limits[2]
    tiny = 2.0**lowest
    smallest = 2.0 ** (lowest - digits)
    # Where a unit of the result is larger than this, the bound is what is allowed, near the zero too.
    steep = tiny if zero[1] < 0 else max(tiny, 2.0**digits * zero[2] / (bound - zero[3])) if bound > zero[3] else np.inf
    raw = near.view(np.int64)
    by_gradient = gradient.size > 0
    error, inverse, product, bins = np.empty(BLOCK), np.empty(BLOCK, np.int64), np.empty(BLOCK), np.empty(BLOCK, np.int32)
    counts = np.zeros((4, BINS), np.int64)
    for start in range(0, bits.size, BLOCK):
        part = slice(start, min(start + BLOCK, bits.size))
        count = part.stop - start
        least, greatest = _range(raw[part])
        if greatest < smallest / 2 and not by_gradient and _all_zero(actual[part]):
            if greatest / smallest > largest[SUBNORMAL]:
                k = np.argmax(np.abs(near[part]))
                largest[SUBNORMAL], where[SUBNORMAL] = greatest / smallest, bits[start + k]
            continue
        first, last = x[start] - zero[0], x[part.stop - 1] - zero[0]
        worst = 0.0
        plain = least >= steep or not (min(abs(first), abs(last)) < zero[1] or (first < 0) != (last < 0))
        if plain and by_gradient:
            # One rounding more, of the product; a block with an error beyond that is looked at number by number.
            plain = least >= tiny
            if plain:
                for k in range(count):
                    product[k] = near[start + k] * np.float64(gradient[start + k])
                least, greatest = _range(product[:count].view(np.int64))
                plain = least >= tiny and greatest <= most
                if plain:
                    worst = _errors(actual[part], product[:count], digits, error, inverse)
                    plain = worst <= bound + 0.5
        elif plain:
            plain = least >= tiny and greatest <= most
            if plain:
                worst = _errors(actual[part], near[part], digits, error, inverse)
                plain = worst <= bound
        if not plain:
            some = gradient[part] if by_gradient else gradient
            _one_by_one(bits[part], x[part], actual[part], near[part], raw[part], some, lowest, digits, most, bound, subnormal, zero,
                        largest, where, histogram, beyond, worst_beyond)  # fmt: skip
            continue
        for k in range(count):
            bins[k] = min(np.int32(error[k] * WIDTH), np.int32(BINS - 1))  # int64 would take five times as long
        whole = count & ~3
        for k in range(0, whole, 4):  # four, as one would wait for its last sum to be stored
            counts[0, bins[k]] += 1
            counts[1, bins[k + 1]] += 1
            counts[2, bins[k + 2]] += 1
            counts[3, bins[k + 3]] += 1
        for k in range(whole, count):
            counts[0, bins[k]] += 1
        if worst > largest[NORMAL]:
            largest[NORMAL], where[NORMAL] = worst, bits[start + np.argmax(error[:count])]
    histogram += counts.sum(axis=0)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _range(raw):
    """The least and the greatest magnitude of float64 numbers, given as bits: as such they are compared in SIMD code. NaN is greatest."""
    least, greatest = SIZE, 0
    for k in range(raw.size):
        size = raw[k] & SIZE
        least = min(least, size)
        greatest = max(greatest, size)
    ends = np.array([least, greatest]).view(np.float64)
    return ends[0], ends[1]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _all_zero(actual):
    found = 0
    for k in range(actual.size):
        found += actual[k] != 0
    return found == 0


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _errors(actual, near, digits, error, inverse):
    """The errors in ULP of normal results. Returns the largest; NaN or infinity if one is."""
    raw = near.view(np.int64)
    for k in range(near.size):
        inverse[k] = (2046 + digits - ((raw[k] >> 52) & 0x7FF)) << 52
    scale = inverse.view(np.float64)
    for k in range(near.size):
        error[k] = abs(np.float64(actual[k]) - near[k]) * scale[k]
    return _range(error[: near.size].view(np.int64))[1]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def differing(a, b):
    """How many of two results (as bits of float32) differ, and the first; every NaN is the same."""
    found = 0
    for k in range(a.size):
        found += (a[k] != b[k]) & (((a[k] & 0x7FFFFFFF) <= 0x7F800000) | ((b[k] & 0x7FFFFFFF) <= 0x7F800000))
    where = -1
    if found:
        for k in range(a.size):
            if a[k] != b[k] and not ((a[k] & 0x7FFFFFFF) > 0x7F800000 and (b[k] & 0x7FFFFFFF) > 0x7F800000):
                where = k
                break
    return found, where


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _one_by_one(
    bits, x, actual, near, raw, gradient, lowest, digits, most, bound, subnormal, zero, largest, where, histogram, beyond, worst_beyond
):
    tiny = 2.0**lowest
    by_gradient = gradient.size > 0
    for i in range(bits.size):
        y = near[i]
        if y != y:
            continue
        a = np.float64(actual[i])
        exponent = max(((raw[i] >> 52) & 0x7FF) - 1023, lowest)
        unit = 2.0 ** (exponent - digits)
        allowed = bound
        kind = NORMAL
        size = abs(y)
        own = unit
        off = 0.0
        if size < tiny:
            allowed = subnormal
            kind = SUBNORMAL
        if abs(x[i] - zero[0]) < zero[1]:
            of_term = max(zero[2], 0.0) / unit + zero[3]
            off = max(-zero[2], 0.0)
            if of_term > allowed:
                allowed = of_term
                kind = NEAR_ZERO
        if by_gradient:
            g = abs(np.float64(gradient[i]))
            y *= np.float64(gradient[i])
            size = abs(y)
            exponent = lowest if size == 0 else max(int(np.floor(np.log2(size))), lowest)
            product = 2.0 ** (exponent - digits)
            own *= max(g, 1e-300)
            allowed = allowed * unit * g / product + 0.5000001
            unit = product
            if size < tiny:
                kind = SUBNORMAL
                allowed = max(allowed, subnormal)
            own = max(own, product)
        if size > most and np.isinf(a) and (a > 0) == (y > 0):
            error = 0.0
        else:
            error = max(abs(a - y) - off, 0.0) / unit
            if not error < 1e300:
                error = 1e300
        if error > allowed:
            beyond[0] += 1
            if error / max(allowed, 1e-3) > worst_beyond[0]:
                worst_beyond[0] = error / max(allowed, 1e-3)
                worst_beyond[1] = bits[i]
        # What counts in units of the derivative, or of the term that cancels near its zero, is shown in those.
        if kind == NEAR_ZERO and zero[2] > 0:
            error *= unit / (zero[2] * own / 2.0 ** (max(((raw[i] >> 52) & 0x7FF) - 1023, lowest) - digits))
        elif kind == SUBNORMAL:
            error *= unit / own
        if error > largest[kind]:
            largest[kind] = error
            where[kind] = bits[i]
        if kind == NORMAL:
            histogram[int(min(error * WIDTH, BINS - 1))] += 1  # some errors are beyond any int
