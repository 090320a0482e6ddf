#include "executor.hpp"

#include "convert.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <tuple>

namespace fastact {

Format formats[3] = {
    {2, 1, fastact_widen_float16, fastact_narrow_float16},
    {2, 2, fastact_widen_bfloat16, fastact_narrow_bfloat16},
    {4, 1, fastact_widen_float32, fastact_narrow_float32},
};

const Plan *kept(const Plan &plan) {
    struct Less {
        static auto all(const Plan &p) {
            return std::tuple(reinterpret_cast<uintptr_t>(p.kernel), reinterpret_cast<uintptr_t>(p.varying), p.itemsize, p.inputs, p.outputs, p.parameters,
                              p.ns_per_element, p.converted, p.direct, uintptr_t(p.format[0]), uintptr_t(p.format[1]), uintptr_t(p.format[2]));
        }
        bool operator()(const Plan &a, const Plan &b) const { return all(a) < all(b); }
    };
    static auto &plans = *new std::set<Plan, Less>;   // never destroyed: calls may outlive every static object
    static auto &mutex = *new std::mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    return &*plans.insert(plan).first;
}

char *thread_memory() {
    thread_local std::unique_ptr<char[]> own;
    if (!own) own.reset(new (std::nothrow) char[THREAD_BYTES + LINE]);
    return own ? own.get() + up_to_line(own.get()) : nullptr;
}

void set_converters(int format, convert_fn widen, convert_fn narrow) {
    formats[format].widen = widen;
    formats[format].narrow = narrow;
}

namespace {

constexpr int MAX_OPERANDS = 2 + MAX_PARAMETERS + 2;

// ---- threads over a range --------------------------------------------------------------------------------------------

constexpr intptr_t MAX_CHUNK_BYTES = 1 << 20;

// Calls range(begin, end) over 0 ... n, on several threads where it pays. Inner boundaries are `first` plus multiples of `unit`.
template <class Range>
void share(intptr_t n, intptr_t first, intptr_t unit, intptr_t itemsize, double serial_ns, const Range &range) {
    const int team = team_size(serial_ns);
    if (team < 2) return range(0, n);
    intptr_t chunks = std::max<intptr_t>(2, std::min<intptr_t>(team * CHUNKS_PER_THREAD, intptr_t(serial_ns / CHUNK_NS)));
    chunks = std::max(chunks, n / (MAX_CHUNK_BYTES / itemsize));
    chunks = (chunks + team - 1) / team * team;   // as many for each
    const intptr_t step = std::max(unit, (n / chunks + unit - 1) / unit * unit);
    chunks = n <= first + step ? 1 : (n - first + step - 1) / step;
    struct Job { const Range &range; intptr_t n, first, step, chunks; } job{range, n, first, step, chunks};
    parallel([](void *context, intptr_t i) {
        const Job &j = *static_cast<Job *>(context);
        j.range(i ? j.first + i * j.step : 0, i == j.chunks - 1 ? j.n : j.first + (i + 1) * j.step);
    }, &job, chunks, team);
}

// ---- streaming stores ------------------------------------------------------------------------------------------------

std::atomic<intptr_t> stream_bytes{-1};   // below 0: not asked for yet

#if FASTACT_SSE2
// The last-level cache that this processor's cores really share: sysconf() says 384 MB where it is 32.
intptr_t last_level_cache() {
    long size = 0;
    char unit = 0;
#if defined(__linux__)
    if (std::FILE *file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r")) {
        if (std::fscanf(file, "%ld%c", &size, &unit) < 1) size = 0;
        std::fclose(file);
    }
#endif
    if (size <= 0) return intptr_t(32) << 20;
    return intptr_t(size) << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
}

#endif

// Bytes. Best of 1,024 to 32,768 (64 M float32 relu, one thread: 31 ms; 8,192: 38; without streaming 44).
constexpr intptr_t STAGE_BLOCK = 2048, FETCH_AHEAD = 4096;

// ns a byte of output, in one thread. A cheap kernel waits for memory, and streaming spares it a third of what it waits for: 1.3 to 2.2 times as fast
// from 16 MB on. One that computes all the while loses by it what it can't do while a block is stored. Between the two it pays, 1.0 to 1.2, where
// hardly anything of the output stays in the cache (two threads, 260 MB of cache that others share).
constexpr double CHEAP_BYTE_NS = 0.03, DEAR_BYTE_NS = 0.09;

// Whether the output, n elements of `size` bytes each, goes around the cache.
bool streams(const Plan &plan, intptr_t size, intptr_t n) {
    const double limit = double(get_stream_bytes()), bytes = double(n) * double(size * plan.outputs), ns = plan.ns_per_element / double(size * plan.outputs);
    return limit > 0 && ns < DEAR_BYTE_NS && bytes > (ns < CHEAP_BYTE_NS ? limit : 4 * limit);
}

// From a block to memory, around the cache or through it.
void put_block(char *to, const char *from, size_t bytes, bool stream, Next next = {nullptr, nullptr, 0}) {
    if (stream) return stream_copy(to, from, bytes, next);
    std::memcpy(to, from, bytes);
}

// ---- contiguous ------------------------------------------------------------------------------------------------------

// Bytes of each array as it is computed in. A cheap kernel gains by few calls, another by what the processor does at the same time:
// the last of this block and the first of the next (1 M float16, one thread: relu 70 us, 90 with short blocks; sigmoid 255, 272 with
// long ones).
constexpr intptr_t CONVERT_BLOCK = 4096, SHORT_BLOCK = 1024;

enum class Store { direct, staged, streamed };

struct Contiguous {
    const Plan &plan;
    const char *x;
    char *y, *z;
    const void *parameters;
    Store how;

    void operator()(intptr_t begin, intptr_t end) const {
        if (how != Store::direct) return through_blocks(begin, end);
        if (is_split(plan, y + begin * plan.size_of(0), end - begin)) {
            const intptr_t first = up_to_line(y + begin * plan.size_of(0)) / plan.size_of(0);
            compute(begin, begin + first);
            begin += first;
        }
        compute(begin, end);
    }

    void compute(intptr_t begin, intptr_t end) const {
        const intptr_t at = begin * plan.size_of(0);
        plan.compute(plan.kernel, x + at, y + at, z ? z + at : nullptr, parameters, end - begin);
    }

    // Into a block in the first-level cache and from there to memory: around the cache, or over the input. The processor does not look ahead past
    // the end of a page, and not while a block is stored: what the next block but one or two reads is fetched (64 M float32, two threads: relu
    // 20.3 ms without, 18.5 with what the very next one reads, 15.9 so; its pair 26.4, 21.5, 20.2).
    void through_blocks(intptr_t begin, intptr_t end) const {
        alignas(64) char block[2][STAGE_BLOCK];
        const intptr_t size = plan.size_of(0);
        const bool two = plan.outputs == 2, stream = how == Store::streamed;
        intptr_t stop = begin + (STAGE_BLOCK - intptr_t(reinterpret_cast<uintptr_t>(y + begin * size) % LINE)) / size;
        for (; begin < end; begin = stop, stop += STAGE_BLOCK / size) {
            stop = std::min(stop, end);
            const intptr_t at = begin * size, bytes = (stop - begin) * size;
            plan.compute(plan.kernel, x + at, block[0], two ? block[1] : z ? z + at : nullptr, parameters, stop - begin);
            const intptr_t fetched = stream && stop < end ? bytes : 0, part = two ? fetched / 2 / LINE * LINE : fetched;   // by each of two stores
            const intptr_t soon = at + bytes + FETCH_AHEAD;
            put_block(y + at, block[0], bytes, stream, {x + soon, two || !z ? nullptr : z + soon, part});
            if (two) put_block(z + at, block[1], bytes, stream, {x + soon + part, nullptr, fetched - part});
        }
        if (stream) stream_done();
    }
};

// The same with arrays of other formats. What needs no converting the kernel has straight from memory, unless it is written over.
struct Converted {
    const Plan &plan;
    const char *x;
    char *y, *z;
    const void *parameters;
    bool stream;

    void operator()(intptr_t begin, intptr_t end) const {
        alignas(64) char block[MAX_ARRAYS][CONVERT_BLOCK + PAD];
        alignas(64) char narrowed[CONVERT_BLOCK];
        const bool two_in = plan.inputs == 2, two_out = plan.outputs == 2;
        const Format *in = plan.format[two_in], *gradient = plan.format[0], *out = plan.format[plan.inputs], *second = plan.format[MAX_ARRAYS - 1];
        const intptr_t most = (plan.ns_per_element < CHEAP_NS ? CONVERT_BLOCK : SHORT_BLOCK) / plan.itemsize;
        for (intptr_t count; begin < end; begin += count) {
            count = std::min(most, end - begin);
            const char *from = x + begin * plan.size_of(two_in);
            char *to = y + begin * plan.size_of(plan.inputs);
            char *other = z ? z + begin * plan.size_of(two_in ? 0 : MAX_ARRAYS - 1) : nullptr;
            if (in) in->widen(from, block[0], count);
            if (two_in && gradient) gradient->widen(other, block[2], count);
            const bool direct = !out && !stream && to != from && to != other;
            plan.kernel(in ? block[0] : from, direct ? to : block[1], two_out || (two_in && gradient) ? block[2] : other, parameters, count);
            if (!direct) put(out, to, block[1], narrowed, count);
            if (two_out) put(second, other, block[2], narrowed, count);
        }
        if (stream) stream_done();
    }

    void put(const Format *format, char *to, const char *block, char *narrowed, intptr_t count) const {
        if (!format) return put_block(to, block, count * plan.itemsize, stream);
        if (!stream) return format->narrow(block, to, count);
        format->narrow(block, narrowed, count);
        put_block(to, narrowed, count * format->itemsize, true);
    }
};

}  // namespace

void run_large(const Plan &plan, const void *x, void *y, void *z, const void *parameters, intptr_t n, bool fresh) {
    const intptr_t size = plan.itemsize;
    const bool in_place = y == x || z == x || z == y;   // the lines are in the cache already
    const bool stream = !fresh && streams(plan, size, n);
    const Store how = in_place ? Store::staged : stream ? Store::streamed : Store::direct;
    const Contiguous range{plan, static_cast<const char *>(x), static_cast<char *>(y), static_cast<char *>(z), parameters, how};
    const intptr_t first = up_to_line(y) / size;
    share(n, first, LINE / size, size, serial_time(double(n) * plan.ns_per_element, double(n) * size * (plan.inputs + plan.outputs)), range);
}

void run_converted(const Plan &plan, const void *x, void *y, void *z, const void *parameters, intptr_t n, bool fresh) {
    const intptr_t size = plan.size_of(plan.inputs);
    const bool apart = y != x && y != z && z != x;
    const bool stream = !fresh && apart && streams(plan, size, n);
    const double ns = serial_time(double(n) * plan.ns_per_element, double(n) * size * (plan.inputs + plan.outputs));
    const auto run_range = [&](const auto &range) {
        if (ns < hot_threshold_ns.load(std::memory_order_relaxed)) return range(0, n);
        const intptr_t first = up_to_line(y) / size;
        share(n, first, LINE / size, size, ns, range);
    };
    const char *from = static_cast<const char *>(x);
    char *to = static_cast<char *>(y), *other = static_cast<char *>(z);
    if (plan.direct) run_range(Contiguous{plan, from, to, other, parameters, stream ? Store::streamed : Store::direct});
    else run_range(Converted{plan, from, to, other, parameters, stream});
}

namespace {

// ---- any layout ------------------------------------------------------------------------------------------------------

constexpr double MOVE_NS = 0.3;            // gathering or scattering one element

// Between a block and memory: `rows` rows of `count` elements, as they are in memory.
using load_fn = void (*)(char *block, const char *memory, intptr_t stride, intptr_t count, intptr_t row_stride, intptr_t rows);
using store_fn = void (*)(char *memory, const char *block, intptr_t stride, intptr_t count, intptr_t row_stride, intptr_t rows);

// As unsigned integers, bytewise: any alignment, and a NaN keeps its payload.
template <class Bits>
void load(char *block, const char *memory, intptr_t stride, intptr_t count, intptr_t row_stride, intptr_t rows) {
    for (; rows; rows--, memory += row_stride) {
        if (stride == intptr_t(sizeof(Bits)) && count >= 8) {
            std::memcpy(block, memory, count * sizeof(Bits));
            block += count * sizeof(Bits);
            continue;
        }
        const char *from = memory;
        for (intptr_t i = 0; i < count; i++, from += stride, block += sizeof(Bits)) std::memcpy(block, from, sizeof(Bits));
    }
}

template <class Bits>
void store(char *memory, const char *block, intptr_t stride, intptr_t count, intptr_t row_stride, intptr_t rows) {
    for (; rows; rows--, memory += row_stride) {
        if (stride == intptr_t(sizeof(Bits)) && count >= 8) {
            std::memcpy(memory, block, count * sizeof(Bits));
            block += count * sizeof(Bits);
            continue;
        }
        char *to = memory;
        for (intptr_t i = 0; i < count; i++, to += stride, block += sizeof(Bits)) std::memcpy(to, block, sizeof(Bits));
    }
}

struct Operand {
    char *data;
    intptr_t strides[MAX_DIMENSIONS];
    intptr_t stretch;       // elements that lie side by side, from every multiple of it on; 0 = move through a block always
    load_fn load;
    store_fn store;
    const Format *format;   // as in Plan
    intptr_t itemsize;      // in memory
};

struct Loop {
    const Plan &plan;
    int ndim, operands;
    bool by_row;            // no block reaches beyond its row
    bool uniform;           // the parameters do not vary within a block
    intptr_t shape[MAX_DIMENSIONS];
    Operand operand[MAX_OPERANDS];

    Loop(const Plan &p, int nd, const intptr_t *lengths, char *const *data, const intptr_t *const *strides);
    int outputs_at() const { return plan.inputs + plan.parameters; }
    bool contiguous() const;
    void prepare();
    void operator()(intptr_t begin, intptr_t end) const {
        with_memory([&](char *memory) { range(begin, end, memory); });
    }
    void range(intptr_t begin, intptr_t end, char *memory) const;
    void block(intptr_t begin, intptr_t *at, intptr_t count, char *memory) const;
    template <class Patch>
    void patches(const Operand &o, const intptr_t *at, intptr_t count, Patch patch) const;
};

Loop::Loop(const Plan &p, int nd, const intptr_t *lengths, char *const *data, const intptr_t *const *strides)
    : plan(p), operands(p.inputs + p.parameters + p.outputs) {
    for (int k = 0; k < operands; k++) {
        Operand &o = operand[k];
        const bool parameter = k >= p.inputs && k < outputs_at();
        o.data = data[k];
        o.format = parameter || !p.converted ? nullptr : p.format[k < p.inputs ? k : k - p.parameters];
        o.itemsize = o.format ? o.format->itemsize : p.itemsize;
        if (p.direct) o.format = nullptr;   // the kernel's business
        o.load = o.itemsize == 2 ? load<uint16_t> : o.itemsize == 4 ? load<uint32_t> : load<uint64_t>;
        o.store = o.itemsize == 2 ? store<uint16_t> : o.itemsize == 4 ? store<uint32_t> : store<uint64_t>;
    }
    ndim = coalesce(take_shape(nd, lengths, strides, shape, operand, operands), shape, operand, operands, outputs_at());
}

// Which operands the kernel can have straight from memory, and how blocks lie.
void Loop::prepare() {
    const int out = outputs_at();
    by_row = ndim == 1 || shape[0] >= LONG_ROW;
    uniform = true;
    for (int k = 0; k < operands; k++) {
        Operand &o = operand[k];
        o.stretch = stretch_of(o.data, o.strides, o.itemsize, shape, ndim);
        if (k < plan.inputs || k >= out) continue;
        for (int d = 0; d < (by_row ? 1 : ndim); d++) uniform &= o.strides[d] == 0;
        // kernels may write onto x and z, not onto parameters; and several parameters must lie in one piece
        if (plan.parameters > 1 || o.data == operand[out].data || o.data == operand[operands - 1].data) o.stretch = 0;
    }
    if (plan.outputs == 2 && operand[out + 1].data == operand[0].data) operand[out + 1].stretch = 0;   // nor z onto x
}

bool Loop::contiguous() const {
    if (ndim > 1 || !uniform) return false;
    for (int k = 0; k < operands; k++)
        if ((k < plan.inputs || k >= outputs_at()) && operand[k].stretch != shape[0]) return false;
    return true;
}

// Calls patch(memory, stride, count, row_stride, rows) for the parts that `count` elements from coordinates `at` on consist of.
template <class Patch>
void Loop::patches(const Operand &o, const intptr_t *at, intptr_t count, Patch patch) const {
    char *memory = o.data;
    for (int d = 0; d < ndim; d++) memory += at[d] * o.strides[d];
    if (ndim == 1 || at[0] + count <= shape[0]) return patch(memory, o.strides[0], count, 0, 1);
    intptr_t where[MAX_DIMENSIONS];
    std::copy(at, at + ndim, where);
    while (count) {
        intptr_t length = std::min(count, shape[0] - where[0]), rows = 1;
        if (length == shape[0]) rows = std::min(count / length, shape[1] - where[1]);
        patch(memory, o.strides[0], length, o.strides[1], rows);
        count -= rows * length;
        where[0] += length;
        memory += length * o.strides[0];
        if (where[0] < shape[0]) return;
        where[0] = 0;
        memory += rows * o.strides[1] - shape[0] * o.strides[0];
        where[1] += rows;
        for (int d = 1; d < ndim - 1 && where[d] == shape[d]; d++) {
            where[d] = 0;
            where[d + 1]++;
            memory += o.strides[d + 1] - shape[d] * o.strides[d];
        }
    }
}

// `count` elements from flat index `begin`, coordinates `at`: gather what the kernel cannot have in place, run it, scatter.
void Loop::block(intptr_t begin, intptr_t *at, intptr_t count, char *memory) const {
    const auto buffers = reinterpret_cast<char (*)[BLOCK_BYTES + PAD]>(memory);
    char *const narrow = buffers[MAX_OPERANDS];
    static_assert((MAX_OPERANDS + 1) * (BLOCK_BYTES + PAD) <= THREAD_BYTES);
    const intptr_t size = plan.itemsize;
    const int out = outputs_at();
    char *pointer[MAX_OPERANDS], *place[MAX_OPERANDS];   // what the kernel gets; where that is in memory, if in one piece
    char *parameters = buffers[plan.inputs];
    for (int k = 0; k < operands; k++) {
        const Operand &o = operand[k];
        const bool scalar = uniform && k >= plan.inputs && k < out;
        place[k] = nullptr;
        if (!scalar && o.stretch >= count && begin / o.stretch == (begin + count - 1) / o.stretch) {
            place[k] = o.data;
            for (int d = 0; d < ndim; d++) place[k] += at[d] * o.strides[d];
            if (!o.format) {
                pointer[k] = place[k];
                if (k == plan.inputs && plan.parameters) parameters = pointer[k];
                continue;
            }
        }
        pointer[k] = k < plan.inputs || k >= out ? buffers[k] : parameters + (k - plan.inputs) * (scalar ? 1 : count) * size;
        if (k >= out) continue;
        if (!place[k]) {
            char *to = o.format ? narrow : pointer[k];
            patches(o, at, scalar ? 1 : count, [&](const char *memory, intptr_t stride, intptr_t length, intptr_t row_stride, intptr_t rows) {
                o.load(to, memory, stride, length, row_stride, rows);
                to += length * rows * o.itemsize;
            });
        }
        if (o.format) o.format->widen(place[k] ? place[k] : narrow, pointer[k], count);
    }
    char *x = pointer[plan.inputs - 1];
    char *z = plan.inputs == 2 ? pointer[0] : plan.outputs == 2 ? pointer[out + 1] : nullptr;
    plan.compute(uniform ? plan.kernel : plan.varying, x, pointer[out], z, parameters, count);
    for (int k = out; k < operands; k++) {
        if (pointer[k] != buffers[k]) continue;
        const Operand &o = operand[k];
        if (o.format) o.format->narrow(buffers[k], place[k] ? place[k] : narrow, count);
        if (place[k]) continue;
        const char *from = o.format ? narrow : buffers[k];
        patches(o, at, count, [&](char *memory, intptr_t stride, intptr_t length, intptr_t row_stride, intptr_t rows) {
            o.store(memory, from, stride, length, row_stride, rows);
            from += length * rows * o.itemsize;
        });
    }
}

void Loop::range(intptr_t begin, intptr_t end, char *memory) const {
    intptr_t at[MAX_DIMENSIONS], most = BLOCK_BYTES / plan.itemsize;
    unsigned jumps = 0;
    if (by_row) {   // nothing to gather: the whole row in one call
        bool direct = true;
        for (int k = 0; k < operands; k++)
            direct &= (operand[k].stretch >= shape[0] && !operand[k].format) || (uniform && k >= plan.inputs && k < outputs_at());
        if (direct) most = shape[0];
        for (int k = 0; k < plan.inputs && direct && ndim > 1; k++)
            if (jumps_by_row(operand[k].strides, shape[0], operand[k].itemsize)) jumps |= 1u << k;
    }
    coordinates(begin, shape, ndim, at);
    while (begin < end) {
        intptr_t count = std::min(most, end - begin);
        if (by_row) count = std::min(count, shape[0] - at[0]);
        for (int k = 0; jumps >> k; k++) {
            if (!(jumps >> k & 1)) continue;
            const char *next = operand[k].data + operand[k].strides[1];
            for (int d = 0; d < ndim; d++) next += at[d] * operand[k].strides[d];
            fetch(next, count * operand[k].itemsize);
        }
        block(begin, at, count, memory);
        begin += count;
        advance(count, shape, ndim, at);
    }
}

}  // namespace

void run_strided(const Plan &plan, int ndim, const intptr_t *shape, char *const *data, const intptr_t *const *strides) {
    intptr_t n = 1;
    for (int d = 0; d < ndim; d++) n *= shape[d];
    if (n == 0) return;
    Loop loop(plan, ndim, shape, data, strides);
    loop.prepare();
    const int out = loop.outputs_at(), size = plan.itemsize;
    if (loop.contiguous()) {
        char scalars[MAX_PARAMETERS * sizeof(double)];
        for (int j = 0; j < plan.parameters; j++) std::memcpy(scalars + j * size, data[plan.inputs + j], size);
        char *z = plan.inputs == 2 ? loop.operand[0].data : plan.outputs == 2 ? loop.operand[out + 1].data : nullptr;
        return (plan.converted ? run_converted : run)(plan, loop.operand[plan.inputs - 1].data, loop.operand[out].data, z, scalars, n, false);
    }
    double ns = plan.ns_per_element;
    for (int k = 0; k < loop.operands; k++) ns += loop.operand[k].stretch < LONG_ROW ? MOVE_NS : 0;
    if (double(n) * ns < hot_threshold_ns.load(std::memory_order_relaxed)) return loop(0, n);
    share(n, 0, LINE / loop.operand[out].itemsize, size, double(n) * ns, loop);
}

void ufunc_loop(char **args, const intptr_t *dimensions, const intptr_t *steps, void *data) {
    const UfuncData &ufunc = *static_cast<const UfuncData *>(data);
    const Plan &plan = *ufunc.plan.load(std::memory_order_acquire);
    const intptr_t n = dimensions[0], size = plan.itemsize;
    if (n == 0) return;
    const int inputs = plan.inputs, out = inputs + ufunc.given, operands = out + plan.outputs;
    KeepFlags keep;

    // NumPy makes no copy where the output lies behind the input in memory (x[1:] to x[:-1]): right for one pass from front to
    // back, and only for that.
    const auto low = [&](int k) { return args[k] + std::min<intptr_t>(0, (n - 1) * steps[k]); };
    const auto held = [&](int k) { return intptr_t(k < inputs ? plan.size_of(k) : k < out ? plan.itemsize : plan.size_of(k - ufunc.given)); };
    const auto high = [&](int k) { return args[k] + std::max<intptr_t>(0, (n - 1) * steps[k]) + held(k); };
    bool entangled = false;
    for (int y = out; y < operands; y++)
        for (int k = 0; k < y; k++)
            entangled |= low(k) < high(y) && low(y) < high(k) && !(args[k] == args[y] && steps[k] == steps[y]);
    const Alone serial(entangled);

    alignas(8) char scalars[MAX_PARAMETERS * sizeof(double)];
    for (int j = 0; j < plan.parameters; j++) {
        if (j < ufunc.given) {
            std::memcpy(scalars + j * size, args[inputs + j], size);
        } else if (size == 4) {
            const float value = float(ufunc.rest[j]);
            std::memcpy(scalars + j * size, &value, size);
        } else {
            std::memcpy(scalars + j * size, &ufunc.rest[j], size);
        }
    }
    bool plain = !(plan.outputs == 2 && args[out + 1] == args[0]);
    for (int k = 0; k < operands; k++) {
        if (k >= inputs && k < out) plain &= steps[k] == 0 || n == 1;
        else plain &= (steps[k] == held(k) || n == 1) && reinterpret_cast<uintptr_t>(args[k]) % uintptr_t(held(k)) == 0;
    }
    if (plain) {
        char *z = inputs == 2 ? args[0] : plan.outputs == 2 ? args[out + 1] : nullptr;
        return (plan.converted ? run_converted : run)(plan, args[inputs - 1], args[out], z, scalars, n, false);
    }
    char *pointers[MAX_OPERANDS];
    const intptr_t *strides[MAX_OPERANDS];
    const intptr_t zero = 0;
    for (int k = 0; k < inputs + plan.parameters + plan.outputs; k++) {
        const bool rest = k >= out && k < inputs + plan.parameters;
        const int arg = k < out ? k : k - (plan.parameters - ufunc.given);
        pointers[k] = rest ? scalars + (k - inputs) * size : args[arg];
        strides[k] = rest ? &zero : &steps[arg];
    }
    run_strided(plan, 1, &n, pointers, strides);
}

void stream_copy(char *to, const char *from, size_t bytes, Next next) {
#if FASTACT_SSE2
    const size_t head = std::min(bytes, size_t(-reinterpret_cast<uintptr_t>(to)) % LINE);   // whole lines only: parts are slow
    std::memcpy(to, from, head);
    to += head, from += head, bytes -= head;
    for (intptr_t at = 0; bytes >= size_t(LINE); to += LINE, from += LINE, bytes -= LINE, at += LINE) {
        if (at < next.bytes) fetch(next.x + at, LINE);
        if (at < next.bytes && next.other) fetch(next.other + at, LINE);
        for (int i = 0; i < LINE; i += 16)
            _mm_stream_si128(reinterpret_cast<__m128i *>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i)));
    }
#else
    (void)next;
#endif
    std::memcpy(to, from, bytes);
}

void stream_done() {
#if FASTACT_SSE2
    _mm_sfence();
#endif
}

void set_stream_bytes(intptr_t bytes) { stream_bytes.store(bytes > 0 ? bytes : 0); }

intptr_t get_stream_bytes() {
    intptr_t bytes = stream_bytes.load(std::memory_order_relaxed);
    if (bytes < 0) {
#if FASTACT_SSE2
        bytes = std::min(last_level_cache() / 2, intptr_t(16) << 20);   // a smaller output may be read from the cache next; a larger cache is not ours alone
#else
        bytes = 0;
#endif
        stream_bytes.store(bytes);
    }
    return bytes;
}

}  // namespace fastact
