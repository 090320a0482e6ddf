// Runs row kernels over real arrays: which rows there are, how they lie, threads. Knows nothing of mathematics, nor of Python.
#pragma once
#include <cstdint>

#include "executor.hpp"

namespace fastact {

// The kernels of one operation, as generate_rows.py makes them. T is float or double; `s` is the row's state, STATE numbers.
struct RowKernels {
    void (*largest)(const void *x, intptr_t n, void *s);   // null where nothing depends on the largest number
    void (*fix)(void *s);
    void (*sum)(const void *x, const void *g, void *y, intptr_t n, void *s);
    void (*close)(void *s);
    void (*finish)(const void *x, const void *g, void *y, intptr_t n, void *s);
    void (*columns)(const void *x, intptr_t ldx, const void *g, intptr_t ldg, void *y, intptr_t ldy, intptr_t n, void *s);
    void (*rows)(const void *x, intptr_t ldx, const void *g, intptr_t ldg, void *y, intptr_t ldy, intptr_t rows, intptr_t n, void *s);
    void (*join)(void *s, const void *piece);
};

constexpr int STATE = 14, STATE_M = 2, STATE_SIGN = 10;   // as generate_rows.STATE: the numbers of the call come last
constexpr int ROW_DIMENSIONS = 64;

// One of x, gradient, mask and y. Strides in bytes.
struct RowOperand {
    char *data;
    intptr_t along;                       // the stride along the axis
    intptr_t strides[ROW_DIMENSIONS];     // of the other dimensions
    int itemsize;
    convert_fn convert;                   // null: it is what the kernels compute in
    double missing;                       // what stands for an element that is masked out
};

struct RowJob {
    RowKernels kernels;
    int itemsize;                         // 4 or 8: what the kernels compute in
    int ndim;                             // dimensions beside the axis
    intptr_t shape[ROW_DIMENSIONS];
    intptr_t n;                           // along the axis
    const intptr_t *offsets;              // null; or rows + 1 of them, for one dimension whose rows are pieces of the axis
    bool reduces;                         // y has one element for each row
    bool has_gradient, has_mask;
    double numbers[4];                    // sign, inverse, inverse_low, temperature
    RowOperand x, g, mask, y;
    double ns_per_element;
};

bool run_rows(RowJob &job);   // false: there was no memory for it

}  // namespace fastact
