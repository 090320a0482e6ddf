// Runs a kernel with cheap arithmetic around it, block by block in the first-level cache, so that memory is passed once. What is
// done to a block is a short list of steps over registers; where the blocks lie in memory is the business of this file.
#pragma once
#include "executor.hpp"
#include "stages.h"

namespace fastact {

constexpr int MAX_REGISTERS = 24, MAX_STEPS = 12, MAX_STAGE_INPUTS = 4, MAX_STAGE_OUTPUTS = 2;

enum Op { KERNEL, STAGE, SUM };

// KERNEL: `in` is x, then the incoming gradient where there is one; `out` is y, then the second output where there is one.
// SUM: adds in[0] to the accumulators of operand out[0].
struct Step {
    Op op;
    fastact_stage stage;
    int in[MAX_STAGE_INPUTS], out[MAX_STAGE_OUTPUTS];   // registers; -1: none
    int inputs, outputs;
};

// Registers: inputs, the activation's parameters, outputs, sums, then temporaries.
struct Pipeline {
    Plan plan;                // kernel, varying, itemsize, parameters, ns_per_element of the whole
    int inputs, outputs, sums, temporaries;
    int segments;             // so many temporaries, from the first on, lie `count` elements apart: y of a kernel with several results
    unsigned spread;          // bit k: operand k may reach its stages as one number
    int steps;
    Step step[MAX_STEPS];
    fastact_sum sum_all, sum_columns;    // of numbers of the plan's precision
    fastact_sum sum_doubles;             // as sum_columns, of float64
};

// What a memory operand holds: numbers of the plan's precision, bytes, or numbers that are converted on the way to their block.
enum Type { REAL, BYTE, HALF, BRAIN };

// Into how many pieces a run is cut, whatever the number of threads: the order of additions, and so the bits of a sum, depend on
// the shape only. `sum_size`: accumulators of all sums together.
intptr_t pipeline_pieces(intptr_t n, intptr_t sum_size);

// Operands are the registers that are memory, in order, with strides in bytes; those of sums are of float64 accumulators with
// strides of 0 where they are summed over, and are written at the end. `work`: zeros, 2 * pieces * sum_size. `in_place`: outputs may
// be inputs, element by element. `fresh`: as for run().
void run_pipeline(const Pipeline &pipeline, int ndim, const intptr_t *shape, char *const *data, const intptr_t *const *strides,
                  const int *types, const double *constants, const intptr_t *sum_sizes, double *work, bool in_place, bool fresh);

}  // namespace fastact
