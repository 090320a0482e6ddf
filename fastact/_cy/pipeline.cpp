#include "pipeline.hpp"

#include <algorithm>
#include <cstring>

namespace fastact {

namespace {

constexpr intptr_t STREAM_BYTES = 2048;      // of a block where results go around the cache (16 M float32 swiglu: 3.8 ms, else 4.6)
// Of a block, what all steps pass before the next. Many arrays gain by short ones (1 M float32, swiglu's gradients: 610 us, with whole
// blocks 900), few by fewer calls.
constexpr intptr_t STRETCH_BYTES = 2048, SHORT_STRETCH_BYTES = 1024, FEW_ARRAYS = 3;
constexpr intptr_t PIECE = 16384;            // elements that are worth a claim by a thread
constexpr intptr_t MOST_PIECES = 4096, MOST_SUMS = 64;
static_assert((MAX_REGISTERS + MAX_PARAMETERS) * (BLOCK_BYTES + PAD) <= THREAD_BYTES);

using move_fn = void (*)(char *to, const char *from, intptr_t to_stride, intptr_t from_stride, intptr_t count);

// One row between a block and memory; bytewise, for any alignment.
template <class Bits>
void move(char *to, const char *from, intptr_t to_stride, intptr_t from_stride, intptr_t count) {
    if (to_stride == intptr_t(sizeof(Bits)) && from_stride == intptr_t(sizeof(Bits))) {
        std::memcpy(to, from, count * sizeof(Bits));
        return;
    }
    for (; count; count--, to += to_stride, from += from_stride) std::memcpy(to, from, sizeof(Bits));
}

struct Operand {
    char *data;
    intptr_t strides[MAX_DIMENSIONS];
    intptr_t size;       // bytes of an element in memory
    const Format *format;   // null: in blocks it is as in memory
    intptr_t stretch;    // elements that lie side by side, from every multiple of it on; 0 = never straight from memory
    bool direct;         // always straight from memory
    bool constant;       // one number for all
    move_fn move;
};

// What one thread works with.
struct Work {
    double *totals;
    char *pointer[MAX_REGISTERS];    // of each register, in memory or in the arena
    intptr_t carry[MAX_REGISTERS];   // streamed outputs: bytes that wait in the arena until their line is full
    unsigned single = 0;             // registers that are one number
    unsigned fixed = 0;              // those whose pointers stay where they are within a block: these, and parameters
    char *arena;                     // THREAD_BYTES, of which only what is used is touched
};

struct Sweep {
    const Pipeline &pipe;
    const double *constants;
    double *totals;   // of each piece: its sums, then what their roundings lost
    const intptr_t *sum_sizes;
    intptr_t sum_size = 0;
    int ndim = 0;
    const int operands, first_output, first_sum;
    unsigned jumps = 0;   // inputs whose next row lies elsewhere, not far off
    bool by_row, uniform, staged, streamed = false;
    intptr_t n = 1, pieces = 1, step = 0;
    intptr_t shape[MAX_DIMENSIONS];
    intptr_t offset[MAX_REGISTERS];   // of each register in a thread's arena
    Operand operand[MAX_REGISTERS];
    char *sum_base[MAX_REGISTERS];

    Sweep(const Pipeline &p, int nd, const intptr_t *lengths, char *const *data, const intptr_t *const *strides, const int *types)
        : pipe(p), operands(p.inputs + p.plan.parameters + p.outputs + p.sums), first_output(p.inputs + p.plan.parameters),
          first_sum(p.inputs + p.plan.parameters + p.outputs) {
        for (int k = 0; k < operands; k++) {
            operand[k].data = data[k];
            const bool half = k < first_sum && types[k] >= HALF;
            operand[k].format = half ? &formats[types[k] == HALF ? FLOAT16 : BFLOAT16] : nullptr;
            operand[k].size = k >= first_sum ? 8 : types[k] == BYTE ? 1 : half ? 2 : p.plan.itemsize;
            operand[k].move = operand[k].size == 8   ? move<uint64_t>
                              : operand[k].size == 4 ? move<uint32_t>
                              : half                 ? move<uint16_t>
                                                     : move<uint8_t>;
        }
        for (int d = 0; d < nd; d++) n *= lengths[d];
        for (int k = first_sum; k < operands; k++) sum_base[k] = operand[k].data;
        if (n) ndim = coalesce(take_shape(nd, lengths, strides, shape, operand, operands), shape, operand, operands, first_output);
    }

    void prepare(bool in_place, bool fresh) {
        by_row = ndim == 1 || shape[0] >= LONG_ROW;
        uniform = true;
        staged = in_place;
        bool whole = true;
        intptr_t bytes = 0;
        const intptr_t limit = get_stream_bytes();
        for (int k = 0; k < first_sum; k++) {
            Operand &o = operand[k];
            o.stretch = o.format ? 0 : stretch_of(o.data, o.strides, o.size, shape, ndim);
            if (k >= first_output) bytes += n * o.size, whole &= o.stretch == n;
            o.constant = true;
            for (int d = 0; d < ndim; d++) o.constant &= o.strides[d] == 0;
            if (k >= pipe.inputs && k < first_output)
                for (int d = 0; d < (by_row ? 1 : ndim); d++) uniform &= o.strides[d] == 0;
        }
        streamed = whole && !fresh && !in_place && limit > 0 && bytes > limit;
        staged |= streamed;
        for (int k = 0; k < first_sum; k++)   // by row, a block lies within a row
            operand[k].direct = (by_row ? operand[k].stretch >= shape[0] : operand[k].stretch == n) && !(k >= first_output && staged);
        for (int k = 0; k < pipe.inputs; k++)
            if (by_row && ndim > 1 && operand[k].direct && jumps_by_row(operand[k].strides, shape[0], operand[k].size)) jumps |= 1u << k;
        intptr_t at = 0;
        const int temporary = operands, registers = operands + pipe.temporaries;
        for (int r = 0; r < registers; r++) {
            offset[r] = at;
            if (r >= first_sum && r < temporary) continue;
            const bool joined = (r >= pipe.inputs && r < first_output - 1) || (r >= temporary && r < temporary + pipe.segments - 1);
            at += BLOCK_BYTES + (joined ? 0 : PAD);
        }
    }

    // Calls patch(coordinates, elements done, length) for each row, or part of one, that `count` elements from coordinates `at` make.
    template <class Patch>
    void rows(const intptr_t *at, intptr_t count, Patch patch) const {
        intptr_t where[MAX_DIMENSIONS];
        std::copy(at, at + ndim, where);
        for (intptr_t done = 0; done < count;) {
            const intptr_t length = std::min(count - done, shape[0] - where[0]);
            patch(where, done, length);
            done += length;
            where[0] += length;
            for (int d = 0; d < ndim - 1 && where[d] == shape[d]; d++) where[d] = 0, where[d + 1]++;
        }
    }

    char *address(const Operand &o, const intptr_t *at) const {
        char *memory = o.data;
        for (int d = 0; d < ndim; d++) memory += at[d] * o.strides[d];
        return memory;
    }

    void gather(const Operand &o, char *block, const intptr_t *at, intptr_t count) const {
        alignas(64) char held[BLOCK_BYTES];
        char *to = o.format ? held : block;
        rows(at, count, [&](const intptr_t *where, intptr_t done, intptr_t length) {
            o.move(to + done * o.size, address(o, where), o.size, o.strides[0], length);
        });
        if (o.format) o.format->widen(held, block, count);
    }

    void scatter(const Operand &o, const char *block, const intptr_t *at, intptr_t count) const {
        alignas(64) char held[BLOCK_BYTES];
        if (o.format) o.format->narrow(block, held, count);
        const char *from = o.format ? held : block;
        rows(at, count, [&](const intptr_t *where, intptr_t done, intptr_t length) {
            o.move(address(o, where), from + done * o.size, o.strides[0], o.size, length);
        });
    }

    // Whole lines go around the cache; what is left of the last one waits for the next block, in front of its place.
    void stream(const Operand &o, const intptr_t *at, intptr_t count, char *block, intptr_t &carry, bool last) const {
        char *to = address(o, at) - carry;
        intptr_t bytes = carry + count * o.size;
        const intptr_t end = last ? 0 : intptr_t((reinterpret_cast<uintptr_t>(to) + bytes) % LINE);
        carry = std::min(end, bytes);
        bytes -= carry;
        stream_copy(to, block, bytes);
        std::memmove(block, block + bytes, carry);
    }

    void sum(int k, const char *terms, const intptr_t *at, intptr_t count, double *totals) const {
        const Operand &o = operand[k];
        double *rest = totals + sum_size;
        bool one = true;
        for (int d = 0; d < ndim; d++) one &= o.strides[d] == 0;
        if (one) return pipe.sum_all(terms, totals, rest, count);
        rows(at, count, [&](const intptr_t *where, intptr_t done, intptr_t length) {
            const intptr_t index = (address(o, where) - sum_base[k]) / 8;
            const char *from = terms + done * pipe.plan.itemsize;
            if (o.strides[0] == 0) return pipe.sum_all(from, totals + index, rest + index, length);
            if (o.strides[0] == 8) return pipe.sum_columns(from, totals + index, rest + index, length);
            for (intptr_t i = 0; i < length; i++) {
                const intptr_t j = index + i * (o.strides[0] / 8);
                pipe.sum_columns(from + i * pipe.plan.itemsize, totals + j, rest + j, 1);
            }
        });
    }

    // Before the first block: what stays as it is.
    void start(Work &work) const {
        for (int r = 0; r < operands + pipe.temporaries; r++) {
            work.pointer[r] = work.arena + offset[r];
            work.carry[r] = 0;
            const bool parameter = r >= pipe.inputs && r < first_output;
            if (parameter && uniform) {
                work.pointer[r] = work.arena + offset[pipe.inputs] + (r - pipe.inputs) * pipe.plan.itemsize;
                if (operand[r].constant) std::memcpy(work.pointer[r], operand[r].data, operand[r].size);
            }
        }
        for (int k = 0; k < pipe.inputs; k++)
            if (pipe.spread >> k & 1 && by_row && operand[k].strides[0] == 0) work.single |= 1u << k;
        work.fixed = work.single;
        for (int k = pipe.inputs; k < first_output; k++) work.fixed |= 1u << k;
    }

    void run_steps(const intptr_t *at, intptr_t count, Work &work) const {
        const intptr_t size = pipe.plan.itemsize;
        char **pointer = work.pointer;
        for (int j = 1; j < pipe.segments; j++) pointer[operands + j] = pointer[operands] + j * count * size;
        for (int s = 0; s < pipe.steps; s++) {
            const Step &step = pipe.step[s];
            if (step.op == KERNEL) {
                char *z = step.inputs == 2 ? pointer[step.in[1]] : step.outputs == 2 ? pointer[step.out[1]] : nullptr;
                (uniform ? pipe.plan.kernel : pipe.plan.varying)(
                    pointer[step.in[0]], pointer[step.out[0]], z, work.arena + offset[pipe.inputs], count);
            } else if (step.op == SUM) {
                const int k = step.out[0];
                double *to = work.totals;
                for (int j = first_sum; j < k; j++) to += sum_sizes[j - first_sum];
                sum(k, pointer[step.in[0]], at, count, to);
            } else {
                const void *in[MAX_STAGE_INPUTS];
                void *out[MAX_STAGE_OUTPUTS];
                unsigned single = 0;
                for (int i = 0; i < step.inputs; i++) in[i] = pointer[step.in[i]], single |= (work.single >> step.in[i] & 1) << i;
                for (int i = 0; i < step.outputs; i++) out[i] = pointer[step.out[i]];
                step.stage(in, out, constants, count, single);
            }
        }
    }

    void block(intptr_t begin, const intptr_t *at, intptr_t count, Work &work, bool last) const {
        const intptr_t size = pipe.plan.itemsize;
        char **pointer = work.pointer;
        unsigned moved = 0;   // outputs that lie in the arena
        for (int k = 0; k < first_sum; k++) {
            const Operand &o = operand[k];
            if (k >= pipe.inputs && k < first_output) {
                if (uniform && o.constant) continue;
                if (!uniform) pointer[k] = work.arena + offset[pipe.inputs] + (k - pipe.inputs) * count * size;
                gather(o, pointer[k], at, uniform ? 1 : count);
            } else if (o.direct || (!by_row && o.stretch >= count && begin / o.stretch == (begin + count - 1) / o.stretch &&
                                    !(k >= first_output && staged))) {
                pointer[k] = address(o, at);
            } else {
                pointer[k] = work.arena + offset[k] + work.carry[k];
                if (k >= first_output) moved |= 1u << k;
                else gather(o, pointer[k], at, work.single >> k & 1 ? 1 : count);
            }
        }
        if (jumps)
            for (int k = 0; k < pipe.inputs; k++)
                if (jumps >> k & 1) fetch(pointer[k] + operand[k].strides[1], count * operand[k].size);
        // The steps take turns at short stretches: while one waits for memory, the processor is at the next one's arithmetic.
        intptr_t where[MAX_DIMENSIONS];
        std::copy(at, at + ndim, where);
        const bool few = pipe.inputs + pipe.outputs + pipe.sums <= FEW_ARRAYS;
        const intptr_t most = by_row && uniform ? (few ? STRETCH_BYTES : SHORT_STRETCH_BYTES) / size : count;
        for (intptr_t done = 0, part; done < count; done += part) {
            part = std::min(most, count - done);
            run_steps(where, part, work);
            where[0] += part;
            for (int k = 0; k < first_sum; k++)
                if (!(work.fixed >> k & 1)) pointer[k] += part * (operand[k].size == 1 ? 1 : size);
        }
        for (int k = first_output; k < first_sum; k++) {
            if (!(moved >> k & 1)) continue;
            if (streamed) stream(operand[k], at, count, work.arena + offset[k], work.carry[k], last);
            else scatter(operand[k], work.arena + offset[k], at, count);
        }
    }

    void piece(intptr_t p, char *arena) const {
        Work work;
        work.arena = arena;
        work.totals = totals + 2 * p * sum_size;
        start(work);
        intptr_t begin = p * step;
        const intptr_t end = p == pieces - 1 ? n : begin + step, most = (streamed && !pipe.sums ? STREAM_BYTES : BLOCK_BYTES) / pipe.plan.itemsize;
        intptr_t at[MAX_DIMENSIONS];
        coordinates(begin, shape, ndim, at);
        while (begin < end) {
            intptr_t count = std::min(most, end - begin);
            if (by_row) count = std::min(count, shape[0] - at[0]);
            block(begin, at, count, work, begin + count == end);
            begin += count;
            advance(count, shape, ndim, at);
        }
        if (streamed) stream_done();
    }
};

}  // namespace

intptr_t pipeline_pieces(intptr_t n, intptr_t sum_size) {
    intptr_t pieces = std::min(n / PIECE, MOST_PIECES);
    if (sum_size) pieces = std::min(std::min(pieces, MOST_SUMS), n / (64 * sum_size));   // so that adding them up is little work
    return std::max<intptr_t>(pieces, 1);
}

void run_pipeline(const Pipeline &pipeline, int ndim, const intptr_t *shape, char *const *data, const intptr_t *const *strides,
                  const int *types, const double *constants, const intptr_t *sum_sizes, double *work, bool in_place, bool fresh) {
    Sweep sweep(pipeline, ndim, shape, data, strides, types);
    if (sweep.n == 0) return;
    sweep.constants = constants;
    sweep.totals = work;
    sweep.sum_sizes = sum_sizes;
    for (int k = 0; k < pipeline.sums; k++) sweep.sum_size += sum_sizes[k];
    sweep.prepare(in_place, fresh);
    const intptr_t most = pipeline_pieces(sweep.n, sweep.sum_size);
    sweep.step = (sweep.n / most + LINE - 1) / LINE * LINE;
    sweep.pieces = std::max<intptr_t>(1, std::min(most, (sweep.n + sweep.step - 1) / sweep.step));
    parallel([](void *context, intptr_t p) {
        with_memory([&](char *memory) { static_cast<const Sweep *>(context)->piece(p, memory); });
    }, &sweep, sweep.pieces, team_size(double(sweep.n) * pipeline.plan.ns_per_element));

    double *total = work, *rest = work + sweep.sum_size;
    for (intptr_t p = 1; p < sweep.pieces && sweep.sum_size; p++) {
        const double *other = work + 2 * p * sweep.sum_size;
        pipeline.sum_doubles(other, total, rest, sweep.sum_size);
        for (intptr_t j = 0; j < sweep.sum_size; j++) rest[j] += other[sweep.sum_size + j];
    }
    for (int k = 0; k < pipeline.sums; k++) {
        double *to = reinterpret_cast<double *>(data[sweep.first_sum + k]);
        for (intptr_t j = 0; j < sum_sizes[k]; j++, total++, rest++)
            to[j] = *total - *total == 0 ? *total + *rest : *total;   // beside an infinity the rest is NaN
    }
}

}  // namespace fastact
