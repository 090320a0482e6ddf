// Runs a kernel over real arrays: blocks, threads, layout, streaming stores. Knows nothing of mathematics, nor of Python.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "flags.hpp"
#include "pool.hpp"

namespace fastact {

// T is float or double, everything contiguous and aligned, one thread. `z` is the second output (value_and_grad) or the
// incoming gradient (backward). `y` may be `x` or `z`.
using kernel_fn = void (*)(const void *x, void *y, void *z, const void *parameters, intptr_t n);

// A kernel that converts by itself, in tiles, from and to arrays of one format, by its code. `y` and `z` may be `x`.
using direct_fn = void (*)(const void *x, void *y, void *z, const void *parameters, intptr_t n, int format);

// From one contiguous and aligned array to another, as in convert.h.
using convert_fn = void (*)(const void *from, void *to, intptr_t n);

// What memory holds, where kernels compute in something wider: blocks are converted on the way to them and back, each result
// rounded once.
struct Format {
    int itemsize;
    int code;   // what kernels that convert by themselves know it by
    convert_fn widen, narrow;
};
enum { FLOAT16, BFLOAT16, FLOAT32 };   // the first two for float32 kernels, the last for float64 ones
extern Format formats[3];              // for any processor, until set_converters() brings what this one can do

void set_converters(int format, convert_fn widen, convert_fn narrow);

constexpr int MAX_PARAMETERS = 8;
constexpr int MAX_ARRAYS = 3;        // one input and two outputs, or the other way round
constexpr int MAX_DIMENSIONS = 64;   // as in NumPy 2

// How work is shared out and blocks lie, for the executor, pipelines and rows alike.
constexpr intptr_t CHUNKS_PER_THREAD = 4;    // evens out what a busy neighbour takes
constexpr double CHUNK_NS = 1000;            // a claim and a count cost some 100 ns when lines travel between cores
constexpr intptr_t BLOCK_BYTES = 4096;       // of each operand: all of them together stay in the first-level cache
constexpr intptr_t PAD = 192;                // bytes between blocks: loads and stores a multiple of 4096 apart wait for each other
constexpr intptr_t LONG_ROW = 128;           // elements; shorter rows share a block

// Operands of one shape in memory: structs with `data` and `strides`. Dimension 0 is the innermost here; flat indices are in the order of the
// dimensions.

// Takes over a shape and strides in NumPy's order, without dimensions of length 1; returns how many are left, 1 at least.
template <class Operand>
int take_shape(int ndim, const intptr_t *lengths, const intptr_t *const *strides, intptr_t *shape, Operand *operand, int operands) {
    int left = 0;
    for (int d = ndim - 1; d >= 0; d--) {
        if (lengths[d] == 1) continue;
        for (int k = 0; k < operands; k++) operand[k].strides[left] = strides[k][d];
        shape[left++] = lengths[d];
    }
    if (left) return left;
    for (int k = 0; k < operands; k++) operand[k].strides[0] = 0;
    shape[0] = 1;
    return 1;
}

// Forwards through operand `out`, its smallest strides innermost, and in as few dimensions as will do; returns how many.
template <class Operand>
int coalesce(int ndim, intptr_t *shape, Operand *operand, int operands, int out) {
    for (int d = 0; d < ndim; d++) {
        if (operand[out].strides[d] >= 0) continue;
        for (int k = 0; k < operands; k++) {
            operand[k].data += (shape[d] - 1) * operand[k].strides[d];
            operand[k].strides[d] = -operand[k].strides[d];
        }
    }
    for (int d = 1; d < ndim; d++)   // by insertion: stable, and mostly sorted already
        for (int i = d; i > 0 && operand[out].strides[i] < operand[out].strides[i - 1]; i--) {
            std::swap(shape[i], shape[i - 1]);
            for (int k = 0; k < operands; k++) std::swap(operand[k].strides[i], operand[k].strides[i - 1]);
        }
    int last = 0;
    for (int d = 1; d < ndim; d++) {
        bool joins = true;
        for (int k = 0; k < operands && joins; k++) joins = operand[k].strides[d] == operand[k].strides[last] * shape[last];
        if (joins) {
            shape[last] *= shape[d];
            continue;
        }
        shape[++last] = shape[d];
        for (int k = 0; k < operands; k++) operand[k].strides[last] = operand[k].strides[d];
    }
    return last + 1;
}

// How many elements lie side by side, from every multiple of it on; 0 where one is misaligned.
inline intptr_t stretch_of(const char *data, const intptr_t *strides, intptr_t itemsize, const intptr_t *shape, int ndim) {
    intptr_t aligned = reinterpret_cast<intptr_t>(data), size = itemsize, stretch = 1;
    for (int d = 0; d < ndim; d++) aligned |= strides[d];
    for (int d = 0; d < ndim && strides[d] == size; size *= shape[d], d++) stretch *= shape[d];
    return aligned % itemsize ? 0 : stretch;
}

inline void coordinates(intptr_t index, const intptr_t *shape, int ndim, intptr_t *at) {
    for (int d = 0; d < ndim; d++) at[d] = index % shape[d], index /= shape[d];
}

inline void advance(intptr_t count, const intptr_t *shape, int ndim, intptr_t *at) {
    at[0] += count;
    for (int d = 0; d < ndim - 1 && at[d] >= shape[d]; d++) {
        at[d + 1] += at[d] / shape[d];
        at[d] %= shape[d];
    }
}

// What the executor must know of one (activation, mode, precision).
struct Plan {
    kernel_fn kernel;         // one scalar for each parameter: parameters[j]
    kernel_fn varying;        // parameters[j * n + i] for element i; null when there are no parameters
    int itemsize;             // 4 or 8: what is computed in, and what parameters are held in
    int inputs;               // 1, or 2 (backward)
    int outputs;              // 1, or 2 (value_and_grad)
    int parameters;           // at most MAX_PARAMETERS
    double ns_per_element;    // one thread, data in cache (tuning table): decides about threads
    bool converted;           // whether any array is held in another format
    bool direct;              // whether the kernels are direct_fn; then all arrays are held in one format
    const Format *format[MAX_ARRAYS];   // of the inputs in ufunc order, then of the outputs; null = as it is computed

    int size_of(int array) const { return converted && format[array] ? format[array]->itemsize : itemsize; }

    void compute(kernel_fn function, const void *x, void *y, void *z, const void *values, intptr_t n) const {
        if (direct) reinterpret_cast<direct_fn>(function)(x, y, z, values, n, format[0]->code);
        else function(x, y, z, values, n);
    }
};

// What one thread takes. The tuning table knows kernels with their data in the cache; arrays that are too large for a core's own take at
// least as long as it is to move them (Zen 3, relu of 1 M float32: 0.14 ns an element, 0.1 in the cache), and two cores move more.
constexpr double CACHED_BYTES = 1 << 20, MOVE_BYTE_NS = 0.015;
inline double serial_time(double ns, double bytes) {
    return bytes > CACHED_BYTES && bytes * MOVE_BYTE_NS > ns ? bytes * MOVE_BYTE_NS : ns;
}

// A vector that lies in two lines of the cache takes two accesses (8,192 float64 on a processor with AVX-512, relu's pair: 7.1 us, 3.6 with
// the lines' beginning): where that is more than it costs, the outputs' first numbers, up to a line, are computed apart: up to 15, one by one,
// in the time of some 150 in the loop, and another call. Large arrays of NumPy begin 16 bytes behind a line.
constexpr intptr_t LINE = 64, LONG = 1024;
constexpr double CHEAP_NS = 0.15, SPLIT_BYTE_NS = 0.005, FIRST_ELEMENTS = 150, FIRST_NS = 20;
inline intptr_t up_to_line(const void *y) { return intptr_t(size_t(-reinterpret_cast<uintptr_t>(y)) % LINE); }
inline bool is_split(const Plan &plan, const void *y, intptr_t n) {
    return n >= LONG && up_to_line(y) && double(n) * plan.itemsize * plan.outputs * SPLIT_BYTE_NS > FIRST_ELEMENTS * plan.ns_per_element + FIRST_NS;
}

// Calls function(memory) with memory for a thread's blocks, which it keeps. Not the stack's: threads may have little of that (64 kB and more by
// threading.stack_size(), 128 kB where musl is the C library). Only where there is no other.
constexpr intptr_t THREAD_BYTES = 137216;   // as pipeline.cpp's blocks take
char *thread_memory();                      // from a line of the cache on; null: there is none

#if defined(_MSC_VER)
#define FASTACT_NOINLINE __declspec(noinline)
#else
#define FASTACT_NOINLINE __attribute__((noinline))
#endif
template <class Function>
FASTACT_NOINLINE void with_stack_memory(const Function &function) {
    alignas(64) char memory[THREAD_BYTES];
    function(memory);
}
template <class Function>
void with_memory(const Function &function) {
    if (char *memory = thread_memory()) function(memory);
    else with_stack_memory(function);
}

void run_large(const Plan &plan, const void *x, void *y, void *z, const void *parameters, intptr_t n, bool fresh);

// The same where the plan converts. An output may be an input of the same format.
void run_converted(const Plan &plan, const void *x, void *y, void *z, const void *parameters, intptr_t n, bool fresh);

// Contiguous and aligned data, nothing to convert. Arguments as the kernel's. `fresh`: the outputs' pages were never touched. Then streaming stores
// do harm, because the system has just cleared the page, in the cache (64 M float32: 104 ms plain, 131 streamed).
inline void run(const Plan &plan, const void *x, void *y, void *z, const void *parameters, intptr_t n, bool fresh = false) {
    // In place is run_large's: a compiled loop is SIMD only where its outputs lie apart from its inputs.
    const bool small = double(n) * plan.ns_per_element < hot_threshold_ns.load(std::memory_order_relaxed);
    if (small && y != x && y != z && z != x && !is_split(plan, y, n)) plan.kernel(x, y, z, parameters, n);
    else run_large(plan, x, y, z, parameters, n, fresh);
}

// Any number of dimensions, any strides in bytes (0 = broadcast, negative allowed), any alignment. Operands: the inputs in ufunc
// order, then the parameters (of the computed type), then the outputs. Ufunc order of inputs: backward (grad_output, x), otherwise (x). An output may
// share memory with an input only element by element (same address, same strides).
void run_strided(const Plan &plan, int ndim, const intptr_t *shape, char *const *data, const intptr_t *const *strides);

// A plan that is equal to this one, never changes and is never freed: a run goes on with what it began with, whatever is decided meanwhile.
const Plan *kept(const Plan &plan);

// A NumPy ufunc's inner loop (PyUFuncGenericFunction); `data` is a UfuncData. Leaves the floating-point flags as it found them.
struct UfuncData {
    std::atomic<const Plan *> plan;
    int given;                      // how many of the parameters are operands; the others are
    double rest[MAX_PARAMETERS];    // rest[given] ... rest[parameters - 1]
};
void ufunc_loop(char **args, const intptr_t *dimensions, const intptr_t *steps, void *data);

// Contiguous outputs of more bytes than this, together, go around the cache. 0 = never.
void set_stream_bytes(intptr_t bytes);
intptr_t get_stream_bytes();

// What is read next: fetched line by line while results are stored, when memory has nothing to read otherwise.
struct Next {
    const char *x, *other;   // null: nothing
    intptr_t bytes;
};
void stream_copy(char *to, const char *from, size_t bytes, Next next = {nullptr, nullptr, 0});   // around the cache, where the processor can
void stream_done();                                           // after the last one, in each thread

// Rows that lie apart, such as halves of an array's: the processor, which foresees where a row goes on, does not foresee the next one.
// So that is asked for a row ahead (16 M float32, swiglu of halves: 8.5 ms, else 18), if it is short enough to stay in the cache.
constexpr intptr_t SHORT_ROW_BYTES = 1 << 16;
inline bool jumps_by_row(const intptr_t *strides, intptr_t row, intptr_t itemsize) {
    return strides[0] == itemsize && strides[1] && strides[1] != row * itemsize && row * itemsize <= SHORT_ROW_BYTES;
}
inline void fetch(const char *from, intptr_t bytes) {
#if FASTACT_SSE2
    for (intptr_t i = 0; i < bytes; i += 64) _mm_prefetch(from + i, _MM_HINT_T0);
#else
    (void)from, (void)bytes;
#endif
}

}  // namespace fastact
