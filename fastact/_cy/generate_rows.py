"""Write the Cython source of the row kernels: loops around the formulas of `rows.py`; setup.py calls this before it compiles.

A sum has one order, whatever the layout, the number of threads or the instruction set: 64 numbers are added up in pairs to 16
lanes (number i belongs to lane i % 16), in two steps; blocks of 64 lane by lane, and then the lanes in pairs, for float32 in float64, for float64
with what each addition loses summed apart; segments of 8,192 with what is lost summed apart. So its error does not grow with the row.

Loops write to local arrays only, and these are copied: what they write to can't be what they read from, so nothing is checked before they
start. Loops are 8 numbers long or multiples of it, so that a row of any length keeps full registers busy.

Each operation has kernels for one row (`largest`, `sum`, `close`, `finish`, over pieces of it if need be) and `columns`, for 32 rows that lie
side by side in memory: element i of row j at ``x[i * ldx + j]``.
"""

import re
import textwrap

from .. import catalog, rows, translate
from .generate import SHORT, CythonWriter

# The numbers of a row, in this order; `fastact/_cy/rows.hpp` knows how many and which are the first and the last.
STATE = ("value", "value_low", "m", "c", "k", "floor", "high", "low", "count", "infinite", "sign", "inverse", "inverse_low", "temperature")

# By operation: the first three passes' terms and results, as Cython text over the element v (or g, y) and the row's numbers.
# `pad`: what stands for no element. `count`: whether the largest are counted rather than summed.
PLAIN = {
    "softmax": {"term": "term_@p(v, c, k, floor)", "store": True, "finish": "fma_@p(y, value, y * value_low)"},
    "log_softmax": {"term": "select_@p(v == m, 0, term_@p(v, c, k, floor))", "count": True, "finish": "(v - m) - value"},
    "logsumexp": {"term": "select_@p(v == m, 0, term_@p(v, c, k, floor))", "count": True},
    "softmax_backward": {"term": "g * y", "finish": "(y * (g - value)) * inverse"},
    "log_softmax_backward": {"term": "g", "finish": "fma_@p(-share_@p(y), value, g) * inverse"},
}
SCALED = {
    name: {
        key: text.replace("term_@p(v, c, k, floor)", "scaled_term_@p(v, c, k, floor, inverse, inverse_low)").replace("(v - m)", "(v - m) / temperature")
        if isinstance(text, str) else text
        for key, text in PLAIN[name].items()
    }
    for name in ("softmax", "log_softmax")
}  # fmt: skip

HEADER = """# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True, always_allow_keywords=False, binding=False
# Generated from rows.py by fastact/_cy/generate_rows.py.
from libc.math cimport INFINITY
from libc.stdint cimport intptr_t
from libc.string cimport memcpy, memset

cdef extern from "convert.h" nogil:
    void fastact_widen_float16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_float16(const void *, void *, intptr_t) noexcept
    void fastact_widen_bfloat16(const void *, void *, intptr_t) noexcept
    void fastact_narrow_bfloat16(const void *, void *, intptr_t) noexcept

cdef extern from "turn.h" nogil:
    void soon_read(const void *, intptr_t) noexcept
    void soon_written(const void *, intptr_t) noexcept
    void turn_float32(const float *, intptr_t, float *, intptr_t) noexcept
    void turn_float64(const double *, intptr_t, double *, intptr_t) noexcept
    void add_across_float64(const double *, double *) noexcept
    void add_quarters_float64(const double *, double *) noexcept
    void turn_all_float32(const float *, intptr_t, float *, intptr_t, intptr_t, intptr_t) noexcept
    void turn_all_float64(const double *, intptr_t, double *, intptr_t, intptr_t, intptr_t) noexcept

cdef extern from "primitives.h" nogil:
{intrinsics}

cdef enum:
    {state}

"""

COMMON = """
cdef inline @r log1p_@p(@r z) noexcept nogil:
    return log1p_parts_@p(z, exponent_@p(1 + z))


cdef inline @r larger_@p(@r a, @r b) noexcept nogil:
    return a if a > b else b


cdef inline @r lost_@p(@r a, @r b, @r sum) noexcept nogil:
    # What the rounding of sum = a + b lost, exactly.
    cdef @r part = sum - a
    return (a - (sum - part)) + (b - part)


cdef inline void add_@p(@r *high, @r *low, @r x) noexcept nogil:
    cdef @r sum = high[0] + x
    low[0] = low[0] + lost_@p(high[0], x, sum)
    high[0] = sum


@sums


@tree


cdef inline @r counted_@p(const @r *lane) noexcept nogil:
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))


cdef inline void put_@p(@r *y, const @r *t, int n) noexcept nogil:
    # Fewer than 8 numbers. In pieces of known size: a masked store takes a dozen cycles on some processors.
    if n & 4:
        memcpy(y, t, 4 * sizeof(@r))
    if n & 2:
        memcpy(y + (n & 4), t + (n & 4), 2 * sizeof(@r))
    if n & 1:
        y[n & 6] = t[n & 6]


cdef inline @r left_@p(@r high, @r low, @r total) noexcept nogil:
    return (high - total) + low


cdef inline @r reciprocal_rest_@p(@r value, @r total, @r rest) noexcept nogil:
    # What value = 1 / total lacks to be the reciprocal of total + rest.
    return (fma_@p(-value, total, 1) - value * rest) * value


cdef inline @r total_@p(@r high, @r low) noexcept nogil:
    # What an infinity loses is not a number; and no -0, which padding would make a 0.
    return (high + low if low == low else high) + 0


cdef void join_@p(@r *s, const @r *other) noexcept nogil:
    # Take in the next piece of the same row.
    s[M] = larger_@p(other[M], s[M])
    add_@p(&s[HIGH], &s[LOW], other[HIGH])
    s[LOW] += other[LOW]
    s[COUNT] += other[COUNT]
    s[INFINITE] += other[INFINITE]


cdef @r alike_@p(const @r *x, intptr_t step, intptr_t n, @r m) noexcept nogil:
    # How many equal m; NaN if there is one.
    cdef @r count = 0
    cdef intptr_t i
    for i in range(n):
        count += 1 if x[i * step] == m else x[i * step] - x[i * step] if x[i * step] != x[i * step] else 0
    return count


cdef void repair_@p(@r *y, intptr_t step, intptr_t n, @r value, @r rest) noexcept nogil:
    # Where the largest number is infinite, the difference with it is NaN at the infinite ones only.
    cdef intptr_t i
    for i in range(n):
        y[i * step] = value if y[i * step] != y[i * step] else rest


cdef inline void peaks_@p(const @r *x, intptr_t n, @r sign, @r *w) noexcept nogil:
    # The largest number, in 8 lanes. NaN may get lost or not: it shows in the sum.
    cdef @r lane[32]
    cdef intptr_t i = 0, j
    if n < 32:
        for j in range(8):
            w[j] = -INFINITY
    else:
        for j in range(32):
            lane[j] = x[j] * sign
        i = 32
        while i + 64 <= n:
            for j in range(32):
                lane[j] = larger_@p(larger_@p(x[i + j] * sign, x[i + j + 32] * sign), lane[j])
            i += 64
        for j in range(8):
            w[j] = larger_@p(larger_@p(lane[j], lane[j + 8]), larger_@p(lane[j + 16], lane[j + 24]))
    while i + 8 <= n:
        for j in range(8):
            w[j] = larger_@p(x[i + j] * sign, w[j])
        i += 8
    if i < n:
        for j in range(8):
            w[j] = larger_@p(x[i + j] * sign if j < n - i else w[j], w[j])


cdef inline @r peak_@p(@r *w, intptr_t n) noexcept nogil:
    # The largest of 8 lanes, n apart.
    return larger_@p(
        larger_@p(larger_@p(w[0], w[4 * n]), larger_@p(w[2 * n], w[6 * n])), larger_@p(larger_@p(w[n], w[5 * n]), larger_@p(w[3 * n], w[7 * n]))
    )


cdef void largest_@p(const @r *x, intptr_t n, @r *s) noexcept nogil:
    cdef @r w[8]
    peaks_@p(x, n, s[SIGN], w)
    s[M] = larger_@p(peak_@p(w, 1), s[M])


cdef void fix_@p(@r *s) noexcept nogil:
    # The largest number is known: what the other passes need of it.
    s[M] = s[M] + 0  # no -0
    s[C], s[K], s[FLOOR] = anchor_@p(s[M], s[INVERSE], s[TEMPERATURE])
"""

# The sums of n lanes or rows that lie side by side, by precision: `high` and `low`, which are WIDE, hold them; float32 has no use for
# `low`. `tree`: 16 lanes of n sums each, one after another; `fold` and `across`: the same in two steps, for rows one by one and then for 8.
WIDE = "double"
TREE = """
cdef inline void tree_@p(@wide *high, @wide *low, intptr_t n) noexcept nogil:
    cdef intptr_t l
    for l in range(8):
        merge_@p(high + l * n, low + l * n, high + (l + 8) * n, low + (l + 8) * n, n)
    for l in range(4):
        merge_@p(high + l * n, low + l * n, high + (l + 4) * n, low + (l + 4) * n, n)
    ends_@p(high, low, n)


cdef inline void ends_@p(@wide *high, @wide *low, intptr_t n) noexcept nogil:
    # What tree does with the last 4 lanes.
    cdef intptr_t l
    for l in range(2):
        merge_@p(high + l * n, low + l * n, high + (l + 2) * n, low + (l + 2) * n, n)
    merge_@p(high, low, high + n, low + n, n)
"""
SUMS = {
    "float32": """
cdef inline void begin_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    cdef intptr_t j
    for j in range(n):
        high[j] = x[j]
    low[0] = 0


cdef inline void gather_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    cdef intptr_t j
    for j in range(n):
        high[j] = high[j] + x[j]


cdef inline void merge_@p(@wide *high, @wide *low, const @wide *other, const @wide *other_low, intptr_t n) noexcept nogil:
    cdef intptr_t j
    for j in range(n):
        high[j] = high[j] + other[j]


cdef inline void whole_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    # begin and tree.
    cdef @wide a, b, c, d
    cdef intptr_t j
    for j in range(n):
        a = (<@wide>x[j] + <@wide>x[j + 8 * n]) + (<@wide>x[j + 4 * n] + <@wide>x[j + 12 * n])
        b = (<@wide>x[j + 2 * n] + <@wide>x[j + 10 * n]) + (<@wide>x[j + 6 * n] + <@wide>x[j + 14 * n])
        c = (<@wide>x[j + n] + <@wide>x[j + 9 * n]) + (<@wide>x[j + 5 * n] + <@wide>x[j + 13 * n])
        d = (<@wide>x[j + 3 * n] + <@wide>x[j + 11 * n]) + (<@wide>x[j + 7 * n] + <@wide>x[j + 15 * n])
        high[j] = (a + b) + (c + d)
    low[0] = 0


cdef inline void fold_@p(@wide *to, @wide *to_low, const @wide *high, const @wide *low) noexcept nogil:
    # What tree does before `ends`, to 16 lanes of one sum.
    add_quarters_float64(high, to)


cdef inline void across_@p(@wide *high, @wide *low, const @wide *folded, const @wide *folded_low) noexcept nogil:
    # `ends` for 8 rows, 4 lanes of one after those of another.
    add_across_float64(folded, high)
    low[0] = 0


cdef inline void into_@p(@r *total, @r *lost, @wide high, @wide low) noexcept nogil:
    cdef @r rounded = <@r>high
    add_@p(total, lost, rounded)
    lost[0] = lost[0] + <@r>(high - rounded)
""",
    "float64": """
cdef inline void begin_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    cdef intptr_t j
    for j in range(n):
        high[j] = x[j]
        low[j] = 0


cdef inline void gather_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    cdef @r sum
    cdef intptr_t j
    for j in range(n):
        sum = high[j] + x[j]
        low[j] = low[j] + lost_@p(high[j], x[j], sum)
        high[j] = sum


cdef inline void merge_@p(@wide *high, @wide *low, const @wide *other, const @wide *other_low, intptr_t n) noexcept nogil:
    cdef @r sum
    cdef intptr_t j
    for j in range(n):
        sum = high[j] + other[j]
        low[j] = (low[j] + other_low[j]) + lost_@p(high[j], other[j], sum)
        high[j] = sum


cdef inline void whole_@p(@wide *high, @wide *low, const @r *x, intptr_t n) noexcept nogil:
    # begin and tree.
    cdef @wide all_high[512]
    cdef @wide all_low[512]
    cdef intptr_t j
    begin_@p(all_high, all_low, x, 16 * n)
    tree_@p(all_high, all_low, n)
    for j in range(n):
        high[j] = all_high[j]
        low[j] = all_low[j]


cdef inline void fold_@p(@wide *to, @wide *to_low, @wide *high, @wide *low) noexcept nogil:
    # What tree does before `ends`, to 16 lanes of one sum.
    cdef intptr_t l
    merge_@p(high, low, high + 8, low + 8, 8)
    merge_@p(high, low, high + 4, low + 4, 4)
    for l in range(4):
        to[l] = high[l]
        to_low[l] = low[l]


cdef inline void across_@p(@wide *high, @wide *low, @wide *folded, @wide *folded_low) noexcept nogil:
    # `ends` for 8 rows, 4 lanes of one after those of another.
    cdef intptr_t r
    for r in range(8):
        ends_@p(folded + 4 * r, folded_low + 4 * r, 1)
        high[r] = folded[4 * r]
        low[r] = folded_low[4 * r]


cdef inline void into_@p(@r *total, @r *lost, @wide high, @wide low) noexcept nogil:
    add_@p(total, lost, high)
    lost[0] = lost[0] + low
""",
}


ROW = """
cdef inline void rest_@s(const @r *x, const @r *g, @r *y, intptr_t n, @parameters, @r *w, @r *counts) noexcept nogil:
    # What at most 64 elements sum to, in 16 lanes. What is not there counts as 0.
    cdef @r t[64]
    cdef @r pads[8]
    cdef @r padg[8]
    cdef intptr_t i = 0, j
    cdef int l, left
    for j in range(16):
        t[j] = 0
    if n > 16:
        for j in range(16):
            t[j + 16] = 0
    if n > 32:
        for j in range(32):
            t[j + 32] = 0
    while i + 8 <= n:
        for j in range(8):
            t[i + j] = @term(x[i + j], g[i + j])
        @count_eight
        @store_eight
        i += 8
    if i < n:
        left = <int>(n - i)
        # A blend and no conditional store, which a load after it would wait for.
        for l in range(8):
            pads[l] = x[i + l] if l < left else @pad
        @pad_g
        for j in range(8):
            t[i + j] = @term(pads[j], padg[j])
        @count_pad
        @store_tail
    # By 8, as it was written: a longer vector that is read would wait for all its parts to be in the cache.
    for i in range(0, 16, 8):
        if n <= 16:
            for j in range(8):
                w[i + j] = t[i + j]
        elif n <= 32:
            for j in range(8):
                w[i + j] = t[i + j] + t[i + j + 16]
        else:
            for j in range(8):
                w[i + j] = (t[i + j] + t[i + j + 32]) + (t[i + j + 16] + t[i + j + 48])


cdef void segment_@s(const @r *x, const @r *g, @r *y, intptr_t n, const @r *s, @wide *total, @wide *lost, @r *counted) noexcept nogil:
    # What at most SEGMENT elements sum to, in 4 lanes.
    cdef @r t[64]
    cdef @r w[16]
    cdef @r counts[8]
    cdef @wide high[16]
    cdef @wide low[16]
    cdef @r v
    cdef @r @names
    cdef intptr_t start = 0, i, j
    @load
    for j in range(8):
        counts[j] = 0
    for j in range(16):
        high[j] = low[j] = 0
    while start + 64 <= n:
        @block
        gather_@p(high, low, w, 16)
        start += 64
    if start < n:
        rest_@s(x + start, g + start, y + start, n - start, @names, w, counts)
        gather_@p(high, low, w, 16)
    fold_@p(total, lost, high, low)
    @count_tree


@finished
cdef inline void result_@s(const @r *x, const @r *g, @r *y, intptr_t n, @parameters) noexcept nogil:
    @result_row


cdef void sum_@s(const @r *x, const @r *g, @r *y, intptr_t n, @r *s) noexcept nogil:
    cdef @wide total[4]
    cdef @wide lost[4]
    cdef intptr_t start
    @inspect
    for start in range(0, n, 8192):
        segment_@s(x + start, g + start, y + start, n - start if n - start < 8192 else 8192, s, total, lost, &s[COUNT])
        ends_@p(total, lost, 1)
        into_@p(&s[HIGH], &s[LOW], total[0], lost[0])


cdef void close_@s(@r *s) noexcept nogil:
    s[VALUE] = @close_row
    s[VALUE_LOW] = @low_row


cdef void finish_@s(const @r *x, const @r *g, @r *y, intptr_t n, @r *s) noexcept nogil:
    @finish_row
"""

ROWS = """
cdef void batch_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    # At most 32 rows of at most SEGMENT elements: what is done once a row is done for 8 of them at a time.
    @numbers
    cdef @r w[32 * 8]
    cdef @r turned[64]
    cdef @wide folded[32 * 4]
    cdef @wide folded_low[32 * 4]
    cdef @wide totals[32]
    cdef @wide losts[32]
    cdef intptr_t up = (rows + 7) // 8 * 8, b, j, r
    if 0 < n < 64:
        turned_@s(x, ldx, y, ldy, rows, n, s)
        return
    for b in range(0, up, 8):
        for j in range(b, b + 8):
            lanes[j] = alike[j] = sums[j] = rests[j] = c[j] = k[j] = floor[j] = totals[j] = losts[j] = 0
            m[j] = -INFINITY
    for b in range(8 * rows, 8 * up, 8):
        for j in range(b, b + 8):
            w[j] = 0
    for b in range(4 * rows, 4 * up, 4):
        for j in range(b, b + 4):
            folded[j] = folded_low[j] = 0
    for r in range(rows):
        soon_written(y + r * ldy, @results * sizeof(@r))
        peaks_@p(x + r * ldx, n, sign, w + 8 * r)
    for b in range(0, up, 8):
        turn_@p(w + 8 * b, 8, turned, 8)
        for j in range(8):
            m[b + j] = peak_@p(turned + j, 8) + 0
        for j in range(b, b + 8):
            c[j], k[j], floor[j] = anchor_@p(m[j], inverse, temperature)
    for r in range(rows):
        if m[r] - m[r] != 0:
            alike[r] = alike_@p(x + r * ldx, 1, n, m[r] * sign)
        s[M], s[C], s[K], s[FLOOR] = m[r], c[r], k[r], floor[r]
        segment_@s(x + r * ldx, NULL, y + r * ldy, n, s, folded + 4 * r, folded_low + 4 * r, &lanes[r])
    for b in range(0, up, 8):
        across_@p(totals + b, losts + b, folded + 4 * b, folded_low + 4 * b)
        for j in range(b, b + 8):
            into_@p(&sums[j], &rests[j], totals[j], losts[j])
            value[j] = @close_columns
            value_low[j] = @low_columns
    for r in range(rows):
        soon_read(x + (r + rows) * ldx, n * sizeof(@r))
        @finish_rows


cdef void rows_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    # Rows of at most SEGMENT elements, in batches that stay in the first-level cache.
    cdef intptr_t each = 32 if n <= 64 else 1 if n > 2048 else 2048 // n, r = 0
    while r < rows:
        batch_@s(x + r * ldx, ldx, NULL, 0, y + r * ldy, ldy, rows - r if rows - r < each else each, n, s)
        r += each
"""

BLOCK = """
    for j in range(64):
        t[j] = @term(x[start + j], g[start + j])
    @count_block
    @store_block
    for j in range(16):
        w[j] = (t[j] + t[j + 32]) + (t[j + 16] + t[j + 48])
"""

# Where nothing else is done with the terms they stay in registers.
BLOCK_BACKWARD = """
    for j in range(16):
        w[j] = (@block0 + @block32) + (@block16 + @block48)
"""

# Where little is computed, what is done for several rows at a time is the sum alone; and what a loop over rows does besides counts, so the
# commonest short rows have loops of their own. Where rows are short both passes ask for the memory that the other one, or the next batch, will
# need; longer ones the processor finds by itself, and asking costs more than it saves. A row's sum is left in 4 lanes, for the last of it to be
# done for 8 rows at a time: a vector read of what was written number by number would wait for all stores before it, and those for memory.
ROWS_BACKWARD = """
cdef inline void short_@s(
    const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @parameters, @wide *folded, @wide *folded_low
) noexcept nogil:
    # What rows of at most 64 elements sum to, in 4 lanes; the commonest n are known where this is called.
    cdef @wide high[16]
    cdef @wide low[16]
    cdef @r w[16]
    cdef intptr_t r, j
    for r in range(rows):
        soon_written(y + r * ldy, n * sizeof(@r))
        if n == 16:
            for j in range(16):
                w[j] = @row0
        elif n == 32:
            for j in range(16):
                w[j] = @row0 + @row16
        elif n == 64:
            for j in range(16):
                w[j] = (@row0 + @row32) + (@row16 + @row48)
        else:
            rest_@s(x + r * ldx, g + r * ldg, y + r * ldy, n, @names, w, w)
        begin_@p(high, low, w, 16)
        fold_@p(folded + 4 * r, folded_low + 4 * r, high, low)


cdef inline void results_@s(
    const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, const @r *values, const @r *s
) noexcept nogil:
    cdef @r v
    cdef @r @names
    cdef intptr_t r
    @load
    for r in range(rows):
        value = values[r]
        if n <= 64:
            soon_read(x + (r + rows) * ldx, n * sizeof(@r))
            soon_read(g + (r + rows) * ldg, n * sizeof(@r))
        if n == 16:
            finished_@s(x + r * ldx, g + r * ldg, y + r * ldy, 16, @names)
        elif n == 32 or n == 64:
            finished_@s(x + r * ldx, g + r * ldg, y + r * ldy, 32, @names)
            if n == 64:
                finished_@s(x + r * ldx + 32, g + r * ldg + 32, y + r * ldy + 32, 32, @names)
        else:
            result_@s(x + r * ldx, g + r * ldg, y + r * ldy, n, @names)


cdef void batch_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    # At most 32 rows of at most SEGMENT elements.
    cdef @wide folded[32 * 4]
    cdef @wide folded_low[32 * 4]
    cdef @wide totals[32]
    cdef @wide losts[32]
    cdef @r sums[32]
    cdef @r rests[32]
    cdef @r values[32]
    cdef @r v
    cdef @r @names
    cdef intptr_t up = (rows + 7) // 8 * 8, b, j, r
    @load
    if n == 16:
        short_@s(x, ldx, g, ldg, y, ldy, rows, 16, @names, folded, folded_low)
    elif n == 32:
        short_@s(x, ldx, g, ldg, y, ldy, rows, 32, @names, folded, folded_low)
    elif n == 64:
        short_@s(x, ldx, g, ldg, y, ldy, rows, 64, @names, folded, folded_low)
    elif n < 64:
        short_@s(x, ldx, g, ldg, y, ldy, rows, n, @names, folded, folded_low)
    else:
        for r in range(rows):
            segment_@s(x + r * ldx, g + r * ldg, y + r * ldy, n, s, folded + 4 * r, folded_low + 4 * r, &v)
    for b in range(4 * rows, 4 * up, 4):
        for j in range(b, b + 4):
            folded[j] = folded_low[j] = 0
    for b in range(0, up, 8):
        across_@p(totals + b, losts + b, folded + 4 * b, folded_low + 4 * b)
        for j in range(b, b + 8):
            sums[j] = rests[j] = 0
            into_@p(&sums[j], &rests[j], totals[j], losts[j])
            values[j] = @close_batch
    if n == 16:
        results_@s(x, ldx, g, ldg, y, ldy, rows, 16, values, s)
    elif n == 32:
        results_@s(x, ldx, g, ldg, y, ldy, rows, 32, values, s)
    elif n == 64:
        results_@s(x, ldx, g, ldg, y, ldy, rows, 64, values, s)
    else:
        results_@s(x, ldx, g, ldg, y, ldy, rows, n, values, s)


cdef void pipelined_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    # Rows of more than 128 elements. Each is followed by the next one's sum before anything waits for its own: so nothing does.
    cdef @wide folded[2 * 4]
    cdef @wide folded_low[2 * 4]
    cdef @r high, low, v
    cdef @r @names
    cdef intptr_t r, now
    @load
    segment_@s(x, g, y, n, s, folded, folded_low, &v)
    for r in range(rows):
        now = r % 2 * 4
        if r + 1 < rows:
            segment_@s(x + (r + 1) * ldx, g + (r + 1) * ldg, y, n, s, folded + 4 - now, folded_low + 4 - now, &v)
        ends_@p(folded + now, folded_low + now, 1)
        high = low = 0
        into_@p(&high, &low, folded[now], folded_low[now])
        value = @close_pipelined
        result_@s(x + r * ldx, g + r * ldg, y + r * ldy, n, @names)


cdef void rows_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    # Rows of at most SEGMENT elements: short ones in batches, for reading and writing to overlap between them; then those of which two fit into
    # the first-level cache; long ones one by one.
    cdef intptr_t each = 32 if n <= 16 else 16 if n <= 32 else 8 if n <= 128 else 1, r = 0
    if 128 < n <= 1024:
        pipelined_@s(x, ldx, g, ldg, y, ldy, rows, n, s)
        return
    while r < rows:
        batch_@s(x + r * ldx, ldx, g + r * ldg, ldg, y + r * ldy, ldy, rows - r if rows - r < each else each, n, s)
        r += each
"""

NUMBERS = """
    cdef @r m[32]
    cdef @r c[32]
    cdef @r k[32]
    cdef @r floor[32]
    cdef @r value[32]
    cdef @r value_low[32]
    cdef @r lanes[32]
    cdef @r alike[32]
    cdef @r sums[32]
    cdef @r rests[32]
    cdef @r sign = s[SIGN]
    cdef @r inverse = s[INVERSE]
    cdef @r inverse_low = s[INVERSE_LOW]
    cdef @r temperature = s[TEMPERATURE]
"""

CLEAR = """
    for j in range(32):
        lanes[j] = alike[j] = sums[j] = rests[j] = c[j] = k[j] = floor[j] = 0
        m[j] = -INFINITY
"""

# A function, for its array to end with it: so the C compiler keeps it in registers.
FINISHED = """
cdef inline void finished_@s(const @r *x, const @r *g, @r *y, intptr_t n, @parameters) noexcept nogil:
    cdef @r t[32]
    cdef intptr_t j
    for j in range(n):
        t[j] = @finish
    for j in range(n):
        y[j] = t[j]


"""

RESULT_ROW = """
    cdef @r tail[8]
    cdef @r pads[8]
    cdef @r padg[8]
    cdef int l, left
    cdef intptr_t i = 0, j
    while i + 32 <= n:
        finished_@s(x + i, g + i, y + i, 32, @names)
        i += 32
    while i + 8 <= n:
        finished_@s(x + i, g + i, y + i, 8, @names)
        i += 8
    if i < n:
        left = <int>(n - i)
        for l in range(8):
            pads[l] = @source[i + l] if l < left else 0
        @pad_g_result
        for j in range(8):
            tail[j] = @finish_pad
        put_@p(y + i, tail, left)
"""

COLUMNS = """
cdef void columns_@s(const @r *x, intptr_t ldx, const @r *g, intptr_t ldg, @r *y, intptr_t ldy, intptr_t n, @r *s) noexcept nogil:
    cdef @r scratch[@scratch]
    cdef @wide high[16 * 32]
    cdef @wide low[16 * 32]
    cdef @r t[32]
    cdef @r w[16 * 32]
    cdef @r none[32]
    @numbers
    cdef const @r *q[4]
    cdef @r *e
    cdef @r v
    cdef intptr_t lde, segment, start, stop, rows, i, j, l, p
    @clear
    for j in range(32):
        none[j] = 0
    @largest
    for segment in range(0, n, 8192):
        stop = segment + 8192 if segment + 8192 < n else n
        for start in range(segment, stop, 64):
            rows = stop - start if stop - start < 64 else 64
            @place
            for i in range(rows):
                for j in range(32):
                    t[j] = @term(x[(start + i) * ldx + j], g[(start + i) * ldg + j])
                for j in range(32):
                    e[i * lde + j] = t[j]
                @count_columns
            for l in range(16):
                for p in range(4):
                    q[p] = e + (16 * p + l) * lde if 16 * p + l < rows else none
                if rows <= 16:
                    for j in range(32):
                        w[l * 32 + j] = q[0][j]
                else:
                    for j in range(32):
                        w[l * 32 + j] = (q[0][j] + q[2][j]) + (q[1][j] + q[3][j])
            if n <= 64:
                whole_@p(high, low, w, 32)
            elif start == segment:
                begin_@p(high, low, w, 512)
            else:
                gather_@p(high, low, w, 512)
        if n > 64:
            tree_@p(high, low, 32)
        for j in range(32):
            into_@p(&sums[j], &rests[j], high[j], low[j])
    for j in range(32):
        value[j] = @close_columns
        value_low[j] = @low_columns
    @finish_columns
"""

# Fewer than 64 numbers: what is done once a row would take longer than turning rows into columns, 8 numbers of 8 rows in registers.
TURNED = """
cdef void turned_@s(const @r *x, intptr_t ldx, @r *y, intptr_t ldy, intptr_t rows, intptr_t n, @r *s) noexcept nogil:
    cdef @r xs[64 * 32]
    cdef intptr_t j
    for j in range(rows):
        soon_written(y + j * ldy, @results * sizeof(@r))
        soon_read(x + (j + rows) * ldx, n * sizeof(@r))
    if rows < 32:
        memset(xs, 0, n * 32 * sizeof(@r))
    turn_all_@p(x, ldx, xs, 32, rows, n)
    columns_@s(xs, 32, NULL, 0, xs, 32, n, s)
    @turn_back
"""

LARGEST_COLUMNS = """
    i = 0
    while i + 4 <= n:
        for j in range(32):
            v = larger_@p(x[i * ldx + j] * sign, larger_@p(x[(i + 1) * ldx + j] * sign, m[j]))
            m[j] = larger_@p(x[(i + 2) * ldx + j] * sign, larger_@p(x[(i + 3) * ldx + j] * sign, v))
        i += 4
    while i < n:
        for j in range(32):
            m[j] = larger_@p(x[i * ldx + j] * sign, m[j])
        i += 1
    for j in range(32):
        m[j] = m[j] + 0
        c[j], k[j], floor[j] = anchor_@p(m[j], inverse, temperature)
    for j in range(32):
        if m[j] - m[j] != 0:
            alike[j] = alike_@p(x + j, ldx, n, m[j] * sign)
"""

# The number that a row's sums come to. `own`: the largest number's term.
_LOG = "log1p_@p(select_@p(m == INFINITY, infinite - 1, total_@p(high, low) / @own + (count - 1)))"
CLOSE = {
    "softmax": "select_@p(m == INFINITY, 1, 1 / total_@p(high, low))",
    "log_softmax": _LOG,
    "logsumexp": f"select_@p(m - m != 0, m + 0 * infinite, m + {_LOG})",
    "softmax_backward": "total_@p(high, low)",
    "log_softmax_backward": "total_@p(high, low)",
}
LOW_CLOSE = {
    "softmax": "select_@p(m == INFINITY, 0, reciprocal_rest_@p(value, total_@p(high, low), left_@p(high, low, total_@p(high, low))))"
}
# Where the largest number is infinite: the results at the infinite ones, of which there are @a, and at the others.
REPAIR = {"softmax": ("1 / @a", "@a * 0"), "log_softmax": ("-log1p_@p(@a - 1)", "-INFINITY + @a * 0")}


def _fill(text, **parts):
    """Replace each ``@name``; a part of several lines, alone in its line, takes over the indentation."""
    pattern = re.compile(r"(?m)^( *)@(\w+)$|@(\w+)")

    def put(found):
        if found[2] is None:
            return parts.get(found[3], found[0])
        if found[2] not in parts:
            return found[0]
        return textwrap.indent(textwrap.dedent(parts[found[2]]).strip("\n"), found[1])

    while True:  # parts have parts
        text, before = pattern.sub(put, text), text
        if text == before:
            return text


def _renamed(text, rename):
    """A text with the names of a row's numbers replaced."""
    return re.sub(r"(?<![\w@])[a-z_]+(?![\w@(])", lambda found: rename(found[0]) if found[0] in STATE else found[0], text)


def operation(name, precision, scaled):
    """The kernels of one operation."""
    how = (SCALED if scaled else PLAIN)[name]
    real, suffix = SHORT[precision], f"{name}_{precision}" + ("_scaled" if scaled else "")
    forward = not name.endswith("backward")
    sign = " * sign" if scaled else ""
    names = ["m", "c", "k", "floor", "value", "value_low", "sign", "inverse", "inverse_low", "temperature"]
    load = "\n".join(f"{n} = s[{n.upper()}]" for n in names)
    count = how.get("count", False)

    def element(text, v, g, y, lane=""):
        """The text of a term with its operands put in; `lane`: the row's numbers are arrays."""
        put = {"v": f"({v}{sign})", "g": g, "y": y}
        if lane:
            put |= {n: f"{n}[{lane}]" for n in ("m", "c", "k", "floor", "value", "value_low")}
        return re.sub(r"(?<![\w@])(v|g|y|m|c|k|floor|value|value_low)(?!\w)", lambda found: put.get(found[0], found[0]), text)

    def call(v, other, lane=""):
        return element(how["term"], v, other, v, lane)

    # The operand y of a backward pass is its x.
    forward_block = _fill(BLOCK).replace("@term(x[start + j], g[start + j])", call("x[start + j]", "g[start + j]"))
    text = _fill(ROW, block=forward_block if forward else BLOCK_BACKWARD)
    text = text.replace("@term(x[i + j], g[i + j])", call("x[i + j]", "g[i + j]"))
    text = text.replace("@term(pads[j], padg[j])", call("pads[j]", "padg[j]"))
    finish, store, finished = how.get("finish"), how.get("store", False), ""
    result_row, finish_row, finish_rows, finish_columns = (
        "pass",
        "y[0] = s[VALUE]",
        "y[r * ldy] = value[r]",
        "for j in range(32):\n    y[j] = value[j]",
    )
    if finish:
        source = "y" if store else "x"
        result_row = RESULT_ROW.replace("@finish_pad", element(finish, "pads[j]", "padg[j]", "pads[j]"))
        result_row = result_row.replace("@source", source)
        finished = FINISHED.replace("@finish", element(finish, f"{source}[j]", "g[j]", f"{source}[j]"))
        finish_row = "result_@s(x, g, y, n, @of_state)"
        finish_rows = "result_@s(x + r * ldx, g + r * ldg, y + r * ldy, n, @of_row)"
        v = f"{source}[i * ld{source} + j]"
        body = element(finish, v, "g[i * ldg + j]", v, "j")
        finish_columns = (
            f"for i in range(n):\n    for j in range(32):\n        t[j] = {body}\n    for j in range(32):\n        y[i * ldy + j] = t[j]"
        )
        if name in REPAIR:
            value, rest = (part.replace("@a", "s[INFINITE]") for part in REPAIR[name])
            finish_row += f"\nif s[M] == INFINITY:\n    repair_@p(y, 1, n, {value}, {rest})"
            finish_rows += f"\nif m[r] == INFINITY:\n    s[INFINITE] = alike[r]\n    repair_@p(y + r * ldy, 1, n, {value}, {rest})"
            value, rest = (part.replace("@a", "alike[j]") for part in REPAIR[name])
            finish_columns += f"\nfor j in range(32):\n    if m[j] == INFINITY:\n        repair_@p(y + j, ldy, n, {value}, {rest})"
    close = CLOSE[name]
    if name.startswith("log"):
        own = how["term"].removeprefix("select_@p(v == m, 0, ").removesuffix(")").replace("(v,", "(m,")
        close = close.replace("@own", own)
    low_close = LOW_CLOSE.get(name, "0")
    arrays = {"high": "sums", "low": "rests", "count": "lanes", "infinite": "alike"}
    close_row, low_row = (_renamed(part, lambda n: f"s[{n.upper()}]") for part in (close, low_close))
    close_columns, low_columns = (
        _renamed(part, lambda n: n if n.startswith("inverse") else f"{arrays.get(n, n)}[j]") for part in (close, low_close)
    )
    columns = COLUMNS.replace(
        "@term(x[(start + i) * ldx + j], g[(start + i) * ldg + j])", call("x[(start + i) * ldx + j]", "g[(start + i) * ldg + j]", "j")
    )
    text = _fill(
        columns + ("\n" + TURNED if forward else "") + "\n" + text + (ROWS if forward else ROWS_BACKWARD),
        numbers=NUMBERS,
        clear=CLEAR,
        largest=LARGEST_COLUMNS if forward else "pass",
        finished=finished or "\n",
        parameters=", ".join(f"@r {n}" for n in names),
        of_row=", ".join(n if n in ("sign", "inverse", "inverse_low", "temperature") else f"{n}[r]" for n in names),
        of_state=", ".join(f"s[{n.upper()}]" for n in names),
        results="n" if finish else "1",
        result_row=result_row,
        finish_rows=finish_rows,
        finish_row=finish_row,
        finish_columns=finish_columns,
        close_row=close_row,
        low_row=low_row,
        close_columns=close_columns,
        low_columns=low_columns,
        close_pipelined=close,
        close_batch=_renamed(close, lambda n: {"high": "sums[j]", "low": "rests[j]"}.get(n, n)),
        **{f"block{i}": call(f"x[start + j + {i}]", f"g[start + j + {i}]") for i in (0, 16, 32, 48)},
        **{f"row{i}": call(f"x[r * ldx + j + {i}]", f"g[r * ldg + j + {i}]") for i in (0, 16, 32, 48)},
        count_eight=f"for j in range(8):\n    counts[j] += 1 if x[i + j]{sign} == m else 0" if count else "pass",
        count_block=f"for i in range(0, 64, 8):\n    for j in range(8):\n        counts[j] += 1 if x[start + i + j]{sign} == m else 0"
        if count
        else "pass",
        count_pad=f"for j in range(8):\n    counts[j] += 1 if pads[j]{sign} == m else 0" if count else "pass",
        count_tree="counted[0] = counted[0] + counted_@p(counts)" if count else "pass",
        count_columns=f"for j in range(32):\n    lanes[j] += 1 if x[(start + i) * ldx + j]{sign} == m[j] else 0" if count else "pass",
        store_block="for j in range(64):\n    y[start + j] = t[j]" if store else "pass",
        store_eight="for j in range(8):\n    y[i + j] = t[i + j]" if store else "pass",
        store_tail="put_@p(y + i, t + i, left)" if store else "pass",
        turn_back="turn_all_@p(xs, 32, y, ldy, n, rows)" if finish else "for j in range(rows):\n    y[j * ldy] = xs[j]",
        pad=("-INFINITY" + sign) if forward else "0",
        pad_g="pass" if forward else "for l in range(8):\n    padg[l] = g[i + l] if l < left else 0",
        pad_g_result="pass" if forward else "for l in range(8):\n    padg[l] = g[i + l] if l < left else 0",
        inspect="if s[M] - s[M] != 0:\n    s[INFINITE] += alike_@p(x, 1, n, s[M] * s[SIGN])" if forward else "pass",
        names=", ".join(names),
        load=load,
        scratch="32" if store else "64 * 32",
        place="e = y + start * ldy\nlde = ldy" if store else "e = scratch\nlde = 32",
    )
    return _fill(text, s=suffix, p=precision, r=real, wide=WIDE), suffix


def generate():
    """The text of the Cython module that holds the row kernels."""
    from .generate import intrinsics

    parts, table = [], []
    for precision in catalog.DTYPES:
        writer = CythonWriter(precision)
        parts.append(translate.translate(rows.FUNCTIONS, writer))
        parts.append(_fill(COMMON, sums=SUMS[precision], tree=TREE, wide=WIDE, p=precision, r=writer.real))
        for name in PLAIN:
            for scaled in (False, True) if name in SCALED else (False,):
                text, suffix = operation(name, precision, scaled)
                parts.append(text)
                forward = not name.endswith("backward")
                pointers = [f"largest_{precision}", f"fix_{precision}"] if forward else ["NULL", "NULL"]
                pointers += [f"{kernel}_{suffix}" for kernel in ("sum", "close", "finish", "columns", "rows")] + [f"join_{precision}"]
                table.append(f"    table['{name}', '{precision}', {scaled}] = ({', '.join(f'<intptr_t><void *>{p}' for p in pointers)})")
    lines = [line for precision in catalog.DTYPES for line in intrinsics(CythonWriter(precision))]
    converters = [f"fastact_{way}_{half}" for half in ("float16", "bfloat16") for way in ("widen", "narrow")]
    end = [
        "def kernels():",
        '    """Addresses of the row kernels by (operation, dtype, scaled), and of the converters by name."""',
        "    table = {}",
        *table,
    ]
    end += [f"    table['{name.removeprefix('fastact_')}'] = <intptr_t><void *>{name}" for name in converters] + ["    return table"]
    head = HEADER.format(intrinsics="\n".join(lines), state=", ".join(name.upper() for name in STATE))
    return head + "\n".join(parts) + "\n\n" + "\n".join(end) + "\n"
