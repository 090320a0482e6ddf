#include "rows.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <thread>

#include "flags.hpp"
#include "pool.hpp"

namespace fastact {

namespace {

constexpr intptr_t LANES = 32, SEGMENT = 8192;   // as in generate_rows.py
constexpr intptr_t MANY = 16384;            // elements of a call of `rows` straight from memory
constexpr intptr_t TOGETHER = 2048;         // elements of the rows that one call of `rows` gets: they stay in the first-level cache
constexpr intptr_t FEW = 8;                 // fewer columns side by side would leave most of the lanes idle
constexpr intptr_t NARROW = 4096;           // longer rows are not copied into blocks of columns, which would leave the cache

// Whole lines of the cache, and one of padding.
intptr_t padded(intptr_t bytes) { return (bytes + 2 * LINE - 1) / LINE * LINE; }

// ---- between memory and a block --------------------------------------------------------------------------------------

template <class Bits>
void pick(const char *from, intptr_t step, char *to, intptr_t n) {
    if (step == intptr_t(sizeof(Bits))) {
        std::memcpy(to, from, n * sizeof(Bits));
        return;
    }
    for (intptr_t i = 0; i < n; i++, from += step, to += sizeof(Bits)) std::memcpy(to, from, sizeof(Bits));
}

template <class Bits>
void place(const char *from, char *to, intptr_t step, intptr_t n) {
    if (step == intptr_t(sizeof(Bits))) {
        std::memcpy(to, from, n * sizeof(Bits));
        return;
    }
    for (intptr_t i = 0; i < n; i++, to += step, from += sizeof(Bits)) std::memcpy(to, from, sizeof(Bits));
}

template <class Function>
void by_size(intptr_t size, Function function) {
    if (size == 1) function(uint8_t());
    else if (size == 2) function(uint16_t());
    else if (size == 4) function(uint32_t());
    else function(uint64_t());
}

template <class Real>
void hide(char *block, const char *mask, intptr_t n, double missing) {
    Real *numbers = reinterpret_cast<Real *>(block);
    for (intptr_t i = 0; i < n; i++) numbers[i] = mask[i] ? numbers[i] : Real(missing);
}

void hide(intptr_t itemsize, char *block, const char *mask, intptr_t n, double missing) {
    itemsize == 4 ? hide<float>(block, mask, n, missing) : hide<double>(block, mask, n, missing);
}

// ---- the rows of a job -----------------------------------------------------------------------------------------------

struct Scratch {
    char *x, *g, *y, *mask, *raw;
};
constexpr intptr_t SCRATCHES = 5;

class Rows {
  public:
    explicit Rows(RowJob &job) : job(job), size(job.itemsize) {
        operands[0] = &job.x, operands[1] = &job.g, operands[2] = &job.mask, operands[3] = &job.y;
        used[0] = used[3] = true, used[1] = job.has_gradient, used[2] = job.has_mask;
        arrange();
        for (int k = 0; k < 4; k++) plain[k] = used[k] && k != 2 && is_plain(*operands[k]);
        std::memset(start, 0, sizeof start);
        for (int i = 0; i < STATE; i++) put(start, i, i == STATE_M ? -std::numeric_limits<double>::infinity() : i >= STATE_SIGN ? job.numbers[i - STATE_SIGN] : 0);
    }
    bool run();

  private:
    RowJob &job;
    const intptr_t size;
    RowOperand *operands[4];   // x, gradient, mask, y
    bool used[4], plain[4];    // plain: a kernel can have it straight from memory, as far as the strides are right
    alignas(64) char start[STATE * 8];
    intptr_t count = 1;        // rows
    intptr_t longest = 0;
    bool beside = false;       // 32 rows at a time that lie side by side, by `columns`
    intptr_t inner = 1;        // that many lie side by side
    intptr_t together = 1;     // rows at a time by `rows`; 1: one by one in pieces
    int team = 1;
    char *memory = nullptr;    // scratch: a slot for each thread
    std::unique_ptr<std::atomic<bool>[]> slots;

    void put(char *state, int i, double value) const {
        if (size == 4) {
            const float single = float(value);
            std::memcpy(state + i * 4, &single, 4);
        } else {
            std::memcpy(state + i * 8, &value, 8);
        }
    }

    bool is_plain(const RowOperand &o) const {
        intptr_t bits = reinterpret_cast<intptr_t>(o.data) | (job.n > 1 ? o.along : 0);
        for (int d = 0; d < job.ndim; d++) bits |= o.strides[d];
        return !o.convert && bits % size == 0;
    }

    // The smallest strides of y innermost, and as few dimensions as will do.
    void arrange() {
        int nd = 0;
        for (int d = 0; d < job.ndim; d++) {
            count *= job.shape[d];
            if (job.shape[d] == 1) continue;
            job.shape[nd] = job.shape[d];
            for (auto o : operands) o->strides[nd] = o->strides[d];
            nd++;
        }
        auto length = [&](int d) { return std::abs(job.y.strides[d]); };
        for (int d = 1; d < nd; d++)
            for (int i = d; i > 0 && length(i - 1) < length(i); i--) {
                std::swap(job.shape[i], job.shape[i - 1]);
                for (auto o : operands) std::swap(o->strides[i], o->strides[i - 1]);
            }
        int last = 0;
        for (int d = 1; d < nd; d++) {
            bool joins = true;
            for (int k = 0; k < 4; k++) joins &= !used[k] || operands[k]->strides[last] == operands[k]->strides[d] * job.shape[d];
            if (!joins) last++;
            job.shape[last] = joins ? job.shape[last] * job.shape[d] : job.shape[d];
            for (auto o : operands) o->strides[last] = o->strides[d];
        }
        job.ndim = nd ? last + 1 : 0;
        longest = job.n;
        if (job.offsets) {
            count = job.shape[0], longest = 0;
            for (intptr_t r = 0; r < count; r++) longest = std::max(longest, job.offsets[r + 1] - job.offsets[r]);
            job.ndim = 0;
        }
    }

    void locate(intptr_t row, char *at[4]) const {
        for (int k = 0; k < 4; k++) at[k] = operands[k]->data;
        if (job.offsets) {
            for (int k = 0; k < 4; k++) at[k] += job.offsets[row] * operands[k]->along;
            if (job.reduces) at[3] = operands[3]->data + row * operands[3]->along;
            return;
        }
        for (int d = job.ndim - 1; d >= 0 && row; d--) {
            const intptr_t index = d ? row % job.shape[d] : row;
            for (int k = 0; k < 4; k++) at[k] += index * operands[k]->strides[d];
            row = d ? row / job.shape[d] : 0;
        }
    }

    intptr_t length(intptr_t row) const { return job.offsets ? job.offsets[row + 1] - job.offsets[row] : job.n; }
    intptr_t result(intptr_t n) const { return job.reduces ? 1 : n; }

    Scratch scratch(char *slot) const {
        const intptr_t block = block_bytes();
        return {slot, slot + block, slot + 2 * block, slot + 3 * block, slot + 4 * block};
    }

    intptr_t slot_bytes() const { return SCRATCHES * block_bytes(); }
    intptr_t block_bytes() const { return padded(longest * size * (beside && longest <= NARROW ? LANES : together) + LANES * 8); }

    // One row's numbers, from wherever they are.
    const char *fetch(int k, const char *from, intptr_t n, const Scratch &s, char *block) const {
        const RowOperand &o = *operands[k];
        if (plain[k] && (o.along == size || n == 1) && !used[2]) return from;
        if (o.convert) {
            by_size(o.itemsize, [&](auto bits) { pick<decltype(bits)>(from, o.along, s.raw, n); });
            o.convert(s.raw, block, n);
        } else {
            by_size(size, [&](auto bits) { pick<decltype(bits)>(from, o.along, block, n); });
        }
        if (used[2]) hide(size, block, s.mask, n, o.missing);
        return block;
    }

    void one(intptr_t row, const Scratch &s) const {
        char *at[4];
        locate(row, at);
        const intptr_t n = length(row), results = result(n);
        const RowOperand &o = job.y;
        if (used[2]) pick<uint8_t>(at[2], job.mask.along, s.mask, n);
        const char *x = fetch(0, at[0], n, s, s.x), *g = used[1] ? fetch(1, at[1], n, s, s.g) : nullptr;
        const bool direct = plain[3] && (o.along == size || results <= 1) && !used[2];
        char *y = direct ? at[3] : s.y;
        alignas(64) char state[STATE * 8];
        std::memcpy(state, start, sizeof state);
        const RowKernels &kernel = job.kernels;
        if (kernel.largest) {
            kernel.largest(x, n, state);
            kernel.fix(state);
        }
        kernel.sum(x, g, y, n, state);
        kernel.close(state);
        kernel.finish(x, g, y, n, state);
        if (direct) return;
        if (used[2] && !job.reduces) hide(size, y, s.mask, n, o.missing);
        if (o.convert) o.convert(y, s.raw, results), y = s.raw;
        by_size(o.itemsize, [&](auto bits) { place<decltype(bits)>(y, at[3], o.along, results); });
    }

    // Several rows of at most SEGMENT elements.
    void several(intptr_t row, intptr_t rows, const Scratch &s) const {
        char *table[LANES][4];
        locate(row, table[0]);
        const bool even = job.ndim <= 1;   // the rows are at even distances
        for (intptr_t r = 1; r < rows && !even; r++) locate(row + r, table[r]);
        const auto at = [&](intptr_t r, int k) { return even ? table[0][k] + (r ? r * operands[k]->strides[0] : 0) : table[r][k]; };
        const intptr_t n = job.n, results = result(n);
        // How far apart the rows are in memory, in numbers; false: a kernel can't have them from there.
        const auto apart = [&](int k, intptr_t &step) {
            const bool reduced = k == 3 && job.reduces;
            if (!plain[k] || used[2] || (operands[k]->along != size && n > 1 && !reduced)) return false;
            const intptr_t bytes = rows > 1 ? at(1, k) - at(0, k) : 0;
            for (intptr_t r = 2; r < rows && !even; r++)
                if (at(r, k) - at(r - 1, k) != bytes) return false;
            step = bytes / size;
            return true;
        };
        char *blocks[4] = {s.x, s.g, nullptr, s.y};
        intptr_t ld[4] = {n, n, 0, results};
        if (used[2])
            for (intptr_t r = 0; r < rows; r++) pick<uint8_t>(at(r, 2), job.mask.along, s.mask + r * n, n);
        bool direct = false;
        for (int k : {0, 1, 3}) {
            if (!used[k]) continue;
            if (apart(k, ld[k])) {
                blocks[k] = at(0, k);
                direct |= k == 3;
                continue;
            }
            if (k == 3) continue;
            const RowOperand &o = *operands[k];
            char *to = o.convert ? s.raw : blocks[k];
            by_size(o.itemsize, [&](auto bits) {
                for (intptr_t r = 0; r < rows; r++) pick<decltype(bits)>(at(r, k), o.along, to + r * n * o.itemsize, n);
            });
            if (o.convert) o.convert(to, blocks[k], n * rows);
            if (used[2]) hide(size, blocks[k], s.mask, n * rows, o.missing);
        }
        alignas(64) char state[STATE * 8];
        std::memcpy(state, start, sizeof state);
        job.kernels.rows(blocks[0], ld[0], blocks[1], ld[1], blocks[3], ld[3], rows, n, state);
        if (direct) return;
        const RowOperand &o = job.y;
        char *y = s.y;
        if (used[2] && !job.reduces) hide(size, y, s.mask, n * rows, o.missing);
        if (o.convert) o.convert(y, s.raw, results * rows), y = s.raw;
        by_size(o.itemsize, [&](auto bits) {
            for (intptr_t r = 0; r < rows; r++) place<decltype(bits)>(y + r * results * o.itemsize, at(r, 3), o.along, results);
        });
    }

    // Up to LANES rows that lie side by side.
    void columns(intptr_t row, intptr_t rows, const Scratch &s) const {
        char *at[4];
        locate(row, at);
        const intptr_t n = job.n, results = result(n);
        if (used[2]) {
            std::memset(s.mask, 0, n * LANES);
            for (intptr_t i = 0; i < n; i++)
                for (intptr_t r = 0; r < rows; r++) s.mask[i * LANES + r] = at[2][i * job.mask.along + r * job.mask.strides[job.ndim - 1]];
        }
        const auto straight = [&](int k) { return plain[k] && rows == LANES && !used[2]; };
        char *blocks[4] = {s.x, s.g, nullptr, s.y};
        intptr_t ld[4] = {LANES, LANES, 0, LANES};
        for (int k : {0, 1, 3}) {
            if (!used[k]) continue;
            const RowOperand &o = *operands[k];
            if (straight(k)) {
                blocks[k] = at[k], ld[k] = o.along / size;
                continue;
            }
            if (k == 3) continue;
            char *to = o.convert ? s.raw : blocks[k];
            if (rows < LANES) std::memset(to, 0, n * LANES * o.itemsize);
            for (intptr_t i = 0; i < n; i++) std::memcpy(to + i * LANES * o.itemsize, at[k] + i * o.along, rows * o.itemsize);
            if (o.convert) o.convert(to, blocks[k], n * LANES);
            if (used[2]) hide(size, blocks[k], s.mask, n * LANES, o.missing);
        }
        alignas(64) char state[STATE * 8];
        std::memcpy(state, start, sizeof state);
        job.kernels.columns(blocks[0], ld[0], blocks[1], ld[1], blocks[3], ld[3], n, state);
        if (straight(3)) return;
        const RowOperand &o = job.y;
        char *y = s.y;
        if (used[2] && !job.reduces) hide(size, y, s.mask, n * LANES, o.missing);
        if (o.convert) o.convert(y, s.raw, results * LANES), y = s.raw;
        for (intptr_t i = 0; i < results; i++) std::memcpy(at[3] + i * o.along, y + i * LANES * o.itemsize, rows * o.itemsize);
    }

    // Tasks `begin` to `end`: rows, or batches of them.
    void range(intptr_t begin, intptr_t end) {
        int taken = -1;
        for (int i = 0; memory && taken < 0; i = (i + 1) % team) {   // as many as threads; who joins from another call's larger team waits for one
            if (!slots[i].exchange(true, std::memory_order_acquire)) taken = i;
            else if (i == team - 1) std::this_thread::yield();
        }
        const Scratch s = scratch(memory ? memory + taken * slot_bytes() : nullptr);
        const intptr_t each = (inner + LANES - 1) / LANES;
        for (intptr_t i = begin; i < end; i++) {
            if (!beside) {
                if (together > 1) several(i * together, std::min(together, count - i * together), s);
                else one(i, s);
                continue;
            }
            const intptr_t row = i / each * inner + i % each * LANES, rows = std::min(LANES, inner - i % each * LANES);
            if (rows == LANES || longest <= NARROW) columns(row, rows, s);
            else for (intptr_t r = 0; r < rows; r++) one(row + r, s);
        }
        if (taken >= 0) slots[taken].store(false, std::memory_order_release);
    }

    bool all_direct() const {
        if (used[2] || job.offsets) return false;
        for (int k : {0, 1, 3})
            if (used[k] && !(plain[k] && (operands[k]->along == size || (k == 3 && job.reduces)))) return false;
        return true;
    }

    bool pieces();
    void share(intptr_t tasks, double serial_ns);
};

// Few long rows: each pass over all of them is shared out by segments.
bool Rows::pieces() {
    const intptr_t each = (job.n + SEGMENT - 1) / SEGMENT, total = count * each, state = STATE * size;
    const auto states = static_cast<char *>(std::malloc((total + count) * state));
    if (!states) return false;
    char *const own = states + total * state;
    for (intptr_t r = 0; r < count; r++) std::memcpy(own + r * state, start, state);
    struct Pass {
        Rows &rows;
        char *states, *own;
        intptr_t each, total, state, chunks;
        int pass;
        void operator()(intptr_t chunk) const {
            const RowKernels &kernel = rows.job.kernels;
            for (intptr_t i = total * chunk / chunks; i < total * (chunk + 1) / chunks; i++) {
                const intptr_t row = i / each, from = i % each * SEGMENT, n = std::min(SEGMENT, rows.job.n - from);
                char *at[4];
                rows.locate(row, at);
                for (int k : {0, 1, 3}) at[k] += rows.used[k] && !(k == 3 && rows.job.reduces) ? from * rows.size : 0;
                char *s = states + i * state;
                std::memcpy(s, own + row * state, state);
                if (pass == 0) kernel.largest(at[0], n, s);
                else if (pass == 1) kernel.sum(at[0], at[1], at[3], n, s);
                else kernel.finish(at[0], at[1], at[3], n, s);
            }
        }
    } pass{*this, states, own, each, total, state, std::min<intptr_t>(total, 4 * team), 0};
    const auto share = [&](int which) {
        pass.pass = which;
        parallel([](void *context, intptr_t chunk) { (*static_cast<const Pass *>(context))(chunk); }, &pass, pass.chunks, team);
    };
    const RowKernels &kernel = job.kernels;
    if (kernel.largest) {
        share(0);
        for (intptr_t r = 0; r < count; r++) {
            for (intptr_t i = 0; i < each; i++) kernel.join(own + r * state, states + (r * each + i) * state);
            kernel.fix(own + r * state);
        }
    }
    share(1);
    for (intptr_t r = 0; r < count; r++) {
        for (intptr_t i = 0; i < each; i++) kernel.join(own + r * state, states + (r * each + i) * state);
        kernel.close(own + r * state);
    }
    if (job.reduces) {
        for (intptr_t r = 0; r < count; r++) {
            char *at[4];
            locate(r, at);
            kernel.finish(nullptr, nullptr, at[3], 1, own + r * state);
        }
    } else {
        share(2);
    }
    std::free(states);
    return true;
}

bool Rows::run() {
    if (!count || (!job.n && !job.reduces)) return true;   // of rows without a number there may be 2**62
    const double serial_ns = double(job.offsets ? job.offsets[count] : count * job.n) * job.ns_per_element;
    team = team_size(serial_ns);
    if (team > 1 && count < 2 * team && job.n >= 4 * SEGMENT && all_direct() && pieces()) return true;

    const int last = job.ndim - 1;
    beside = job.ndim && job.shape[last] >= FEW && job.n > 1 && !job.offsets;
    for (int k : {0, 1, 3}) beside = beside && (!used[k] || operands[k]->strides[last] == operands[k]->itemsize);
    bool straight = !used[2];
    for (int k : {0, 1, 3}) straight = straight && (!used[k] || plain[k]);
    beside = beside && (straight || job.n <= NARROW);
    inner = beside ? job.shape[last] : count;
    if (!beside && !job.offsets && job.n <= SEGMENT) {
        intptr_t most = std::min(LANES, TOGETHER / std::max<intptr_t>(1, job.n));
        if (all_direct() && job.ndim <= 1)   // nothing is copied: so many that a call costs nothing, but enough calls for all threads
            most = std::max(most, std::min(MANY / std::max<intptr_t>(1, job.n), count / (team * CHUNKS_PER_THREAD)));
        together = std::max<intptr_t>(1, most);
    }

    const intptr_t tasks = beside ? count / inner * ((inner + LANES - 1) / LANES) : (count + together - 1) / together;
    if (beside || !all_direct() || (together > 1 && job.ndim > 1)) {   // rows at uneven distances are gathered
        // A row that is broadcast may be longer than any memory.
        if (longest > std::numeric_limits<intptr_t>::max() / (2 * LANES * SCRATCHES * intptr_t(sizeof(double)) * team)) return false;
        slots.reset(new (std::nothrow) std::atomic<bool>[team]);
        void *block = std::malloc(team * slot_bytes() + 64);
        if (!block || !slots) {
            std::free(block);
            return false;
        }
        for (int i = 0; i < team; i++) slots[i].store(false);
        memory = static_cast<char *>(block) + (-reinterpret_cast<uintptr_t>(block)) % 64;
        share(tasks, serial_ns);
        std::free(block);
    } else {
        share(tasks, serial_ns);
    }
    return true;
}

void Rows::share(intptr_t tasks, double serial_ns) {
    const intptr_t usual = team * CHUNKS_PER_THREAD, worth = std::max<intptr_t>(2, intptr_t(serial_ns / CHUNK_NS));
    const intptr_t chunks = std::min({tasks, tasks < 4 * usual ? tasks : usual, worth});   // 8 of 10 rows: two threads may have 6 and 4 of them
    if (team < 2 || chunks < 2) return range(0, tasks);
    struct Job { Rows &rows; intptr_t tasks, chunks; } shared{*this, tasks, chunks};
    parallel([](void *context, intptr_t i) {
        const Job &j = *static_cast<Job *>(context);
        j.rows.range(j.tasks * i / j.chunks, j.tasks * (i + 1) / j.chunks);
    }, &shared, chunks, team);
}

}  // namespace

bool run_rows(RowJob &job) {
    const KeepFlags keep;
    return Rows(job).run();
}

}  // namespace fastact
