#include "pool.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__) || defined(_M_IX86)
#include <emmintrin.h>
#elif defined(_MSC_VER)
#include <intrin.h>
#endif

namespace fastact {

// In a tight loop sharing breaks even at 400 to 600 ns; twice that, because elsewhere the data lie in the caller's own cache.
std::atomic<double> hot_threshold_ns{1000};

namespace {

std::atomic<double> cold_threshold_ns{120000};   // a wake-up: 12 µs of the caller's time, and help after 85 µs
std::atomic<double> spin_ns{50000};              // a few times what lies between the calls of a loop over layers
std::atomic<int> num_threads{0};   // 0: not asked for yet

constexpr int MAX_WORKERS = 255;
constexpr double WAIT_SPIN_NS = 20000, WAIT_YIELD_NS = 500000;

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__) || defined(_M_IX86)
    _mm_pause();
#elif defined(_MSC_VER)
    __yield();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");   // `yield` is a no-op on most cores
#endif
}

double now_ns() {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Spins until `ready()`, at most about `ns`; says whether it became so. The clock is read seldom: it takes longer than a look.
template <class Ready>
bool spin(double ns, Ready ready) {
    const double start = now_ns();
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (ready()) return true;
            pause();
        }
        if (now_ns() - start >= ns) return false;
    }
}

struct Worker {
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<bool> asleep{false};
    std::thread::native_handle_type handle{};
#if defined(__linux__)
    cpu_set_t allowed;   // guarded by `mutex`
    bool steered = false;
#endif

    // The kernel likes to wake a thread on its waker's own processor, where it would wait for the very call that it should help
    // (300 of 300 wake-ups, with the other processor idle). So forbid it that one until it runs.
    void steer(bool away) {
#if defined(__linux__)
        if (!away) {
            if (steered) pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
            steered = false;
            return;
        }
        const int here = sched_getcpu();
        if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
        cpu_set_t others = allowed;
        CPU_CLR(here, &others);
        steered = CPU_COUNT(&others) > 0 && pthread_setaffinity_np(handle, sizeof others, &others) == 0;
#else
        (void)away;
#endif
    }
};

// Chunks that are free, high << 32 | low. Each thread has a slice of its own, so that in a loop over the same arrays it meets
// the same data in its cache again (32,768 float32, two threads: 1.6 times one thread, against 1.2 with a common counter).
struct Slice {
    std::atomic<uint64_t> range{0};
    char pad[128 - sizeof(uint64_t)];   // instead of alignas: aligned `new` does not exist on old macOS

    bool empty() const {
        const uint64_t word = range.load(std::memory_order_relaxed);
        return uint32_t(word) == uint32_t(word >> 32);
    }
    // The owner's chunks from below, a thief's from above; -1 when there is none.
    intptr_t claim(bool own) {
        uint64_t word = range.load(std::memory_order_acquire);
        for (;;) {
            const uint64_t low = uint32_t(word), high = word >> 32;
            if (low == high) return -1;
            const uint64_t rest = own ? high << 32 | (low + 1) : (high - 1) << 32 | low;
            if (range.compare_exchange_weak(word, rest, std::memory_order_acq_rel, std::memory_order_acquire))
                return intptr_t(own ? low : high - 1);
        }
    }
};

// One job at a time. A claim by compare-and-swap succeeds only while that very chunk is free, and a claimed chunk pins the job,
// because the caller waits for it. Hence `task` and `context`, read after a claim, are those of the chunk, however late a
// worker comes.
struct Pool {
    task_fn task = nullptr;
    void *context = nullptr;
    std::atomic<int> team{0};             // slices in use
    char pad1[128];
    std::atomic<intptr_t> finished{0};
    std::atomic<bool> caller_asleep{false};
    std::mutex done_mutex;
    std::condition_variable done;
    char pad2[128];
    std::atomic<bool> busy{false};        // who sets it owns everything below, and may publish a job
    // Workers that spin or work, so that a hand-over takes 1 or 2 µs, and those on their way: woken in this call they may be there in
    // the next one (a virtual machine's idle processor takes 150 µs), and whoever is not leaves his share to the others.
    std::atomic<int> awake{0};
    int started = 0;
    Worker *workers[MAX_WORKERS];
    std::atomic<double> missed_ns{0}, missed_at{0};
    char pad3[128];
    Slice slices[MAX_WORKERS + 1];        // 0: the caller's

    // Claims and runs chunks until none is left, those of slice `self` first.
    void help(int self) {
        const int count = team.load(std::memory_order_relaxed);
        for (int i = 0; i < count; i++) {
            const int slice = self + i < count ? self + i : self + i - count;
            for (intptr_t chunk; (chunk = slices[slice].claim(i == 0)) >= 0;) {
                task(context, chunk);
                finished.fetch_add(1, std::memory_order_seq_cst);
                if (!caller_asleep.load(std::memory_order_seq_cst)) continue;
                { std::lock_guard<std::mutex> lock(done_mutex); }
                done.notify_one();
            }
        }
    }

    // A worker that holds a chunk may be off its core: give it ours, and do not burn a time slice for it.
    void wait(intptr_t chunks) {
        auto ready = [&] { return finished.load(std::memory_order_seq_cst) == chunks; };
        if (ready() || spin(WAIT_SPIN_NS, ready)) return;
        for (double start = now_ns(); now_ns() - start < WAIT_YIELD_NS;) {
            std::this_thread::yield();
            if (ready()) return;
        }
        std::unique_lock<std::mutex> lock(done_mutex);
        caller_asleep.store(true, std::memory_order_seq_cst);   // before the last look at `finished`: help() does it the other way round
        done.wait(lock, ready);
        caller_asleep.store(false, std::memory_order_relaxed);
    }

    // Missed wake-ups are harmless, since the caller does what nobody claims.
    void wake(int count) {
        for (int i = 0; i < count && i < MAX_WORKERS; i++) {
            if (i == started && !start()) return;
            Worker &worker = *workers[i];
            if (!worker.asleep.load(std::memory_order_relaxed)) continue;
            {
                std::lock_guard<std::mutex> lock(worker.mutex);
                worker.steer(true);
                worker.asleep.store(false, std::memory_order_relaxed);
            }
            awake.fetch_add(1, std::memory_order_relaxed);
            worker.wake.notify_one();
        }
    }

    bool start();
};

void worker_main(Pool *pool, Worker *self, int index) {
    auto help = [=] {
        if (pool->slices[index + 1].empty()) return false;
        pool->help(index + 1);
        return true;
    };
    for (;;) {
        while (spin(spin_ns.load(std::memory_order_relaxed), help)) {}
        pool->awake.fetch_sub(1, std::memory_order_relaxed);
        std::unique_lock<std::mutex> lock(self->mutex);
        self->asleep.store(true, std::memory_order_relaxed);
        self->wake.wait(lock, [=] { return !self->asleep.load(std::memory_order_relaxed); });
        self->steer(false);
    }
}

bool Pool::start() {
    Worker *self = nullptr;
    awake.fetch_add(1, std::memory_order_relaxed);
#if !defined(_WIN32)
    sigset_t all, before;   // signals are the business of the program's own threads
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    try {
        self = new Worker;
        std::thread thread(worker_main, this, self, started);
        self->handle = thread.native_handle();
        thread.detach();
        workers[started++] = self;
    } catch (...) {   // no thread, no memory: work with those there are
        awake.fetch_sub(1, std::memory_order_relaxed);
        delete self;
        self = nullptr;
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return self != nullptr;
}

// Never destroyed: its threads are detached and may outlive every static object.
std::atomic<Pool *> the_pool{nullptr};

#if !defined(_WIN32)
// A forked child has none of the threads and perhaps a locked mutex: it makes a new pool when it needs one. Registered on
// loading; a guarded static could be locked at the moment of the fork.
const int at_fork = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr, std::memory_order_relaxed); });
#endif

Pool *get_pool() {
    Pool *pool = the_pool.load(std::memory_order_acquire);
    if (pool) return pool;
    Pool *fresh = new (std::nothrow) Pool;
    if (!fresh) return nullptr;
    if (the_pool.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) return fresh;
    delete fresh;
    return pool;
}

#if defined(__linux__)
// Processors that a cgroup's quota amounts to; a large number when there is none.
double quota_of(const char *folder) {
    char path[1200];
    double quota = 0, period = 0;
    std::snprintf(path, sizeof path, "%s/cpu.max", folder);            // version 2: "150000 100000" or "max 100000"
    if (FILE *file = std::fopen(path, "r")) {
        if (std::fscanf(file, "%lf %lf", &quota, &period) != 2) quota = 0;
        std::fclose(file);
    } else {
        for (double *value : {&quota, &period}) {
            std::snprintf(path, sizeof path, "%s/cpu/%s", folder, value == &quota ? "cpu.cfs_quota_us" : "cpu.cfs_period_us");
            if (FILE *old = std::fopen(path, "r")) {
                if (std::fscanf(old, "%lf", value) != 1) *value = 0;
                std::fclose(old);
            }
        }
    }
    return quota > 0 && period > 0 ? quota / period : 1e9;
}

double cgroup_quota() {
    const char *root = "/sys/fs/cgroup";
    double quota = quota_of(root);
    char line[1024], folder[1100];
    if (FILE *file = std::fopen("/proc/self/cgroup", "r")) {
        while (std::fgets(line, sizeof line, file)) {
            line[std::strcspn(line, "\n")] = 0;
            if (std::strncmp(line, "0::/", 4) != 0) continue;
            // the own group, then each that holds it: every quota counts
            std::snprintf(folder, sizeof folder, "%s%s", root, line + 3);
            for (; std::strlen(folder) > std::strlen(root) + 1; *std::strrchr(folder, '/') = 0)
                quota = std::min(quota, quota_of(folder));
        }
        std::fclose(file);
    }
    return quota;
}
#endif

}  // namespace

int default_num_threads() {
    int count = int(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t *mask = CPU_ALLOC(8192);   // the plain cpu_set_t ends at 1,024 processors
    if (mask) {
        if (sched_getaffinity(0, CPU_ALLOC_SIZE(8192), mask) == 0) count = CPU_COUNT_S(CPU_ALLOC_SIZE(8192), mask);
        CPU_FREE(mask);
    }
    const double quota = cgroup_quota();
    if (quota < count) count = int(quota + 0.999);
#elif defined(_WIN32)
    DWORD_PTR own = 0, system = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &own, &system) && own) {
        int bits = 0;
        for (; own; own &= own - 1) bits++;
        count = std::min(count, bits);
    }
#endif
    return std::min(std::max(count, 1), MAX_WORKERS + 1);
}

void set_num_threads(int n) { num_threads.store(n < 1 ? default_num_threads() : std::min(n, MAX_WORKERS + 1)); }

int get_num_threads() {
    int n = num_threads.load(std::memory_order_relaxed);
    if (n) return n;
    const int count = default_num_threads();
    return num_threads.compare_exchange_strong(n, count) ? count : n;
}

void set_spin_us(double us) { spin_ns.store(us > 0 ? us * 1000 : 0); }
double get_spin_us() { return spin_ns.load() / 1000; }

void set_thread_thresholds_ns(double hot, double cold) {
    hot_threshold_ns.store(hot);
    cold_threshold_ns.store(std::max(hot, cold));
}
double get_hot_threshold_ns() { return hot_threshold_ns.load(); }
double get_cold_threshold_ns() { return cold_threshold_ns.load(); }

namespace {
thread_local int alone = 0;
}

Alone::Alone(bool on) : on(on) { alone += on; }
Alone::~Alone() { alone -= on; }

int team_size(double serial_ns) {
    if (alone) return 1;
    const double hot = hot_threshold_ns.load(std::memory_order_relaxed), cold = cold_threshold_ns.load(std::memory_order_relaxed);
    if (!(serial_ns >= hot)) return 1;
    const int most = get_num_threads() - 1;
    Pool *pool = most > 0 ? get_pool() : nullptr;
    if (!pool || pool->busy.load(std::memory_order_relaxed)) return 1;

    const int awake = pool->awake.load(std::memory_order_relaxed);
    const int worth_hot = int(std::min<double>(most, serial_ns / hot)), worth_waking = int(std::min<double>(most, serial_ns / cold));
    int coming = awake;
    if (worth_waking <= awake && awake < worth_hot) {
        // Too short to pay a wake-up for this call. But many such calls in a row (a training loop) soon lose more than one
        // costs: then wake some for the calls to come, as many as work already, and they keep spinning between them. They may help with
        // this one already: after a call that takes longer than they spin they would sleep again.
        const double spin = spin_ns.load(std::memory_order_relaxed), now = now_ns();
        // (out of the cache a call takes a few times its estimate)
        const bool row = now - pool->missed_at.load(std::memory_order_relaxed) < 4 * serial_ns + spin;
        double missed = serial_ns + (row ? pool->missed_ns.load(std::memory_order_relaxed) : 0);
        if (missed >= cold && spin > 0) {
            missed = 0;
            if (!pool->busy.exchange(true, std::memory_order_acquire)) {
                coming += std::min(coming + 1, worth_hot - coming);
                pool->wake(coming);
                pool->busy.store(false, std::memory_order_release);
            }
        }
        pool->missed_ns.store(missed, std::memory_order_relaxed);
        pool->missed_at.store(now, std::memory_order_relaxed);
    }
    return 1 + std::max(std::min(coming, worth_hot), worth_waking);
}

void parallel(task_fn task, void *context, intptr_t chunks, int team) {
    team = int(std::min<intptr_t>(std::min(team, MAX_WORKERS + 1), chunks));
    Pool *pool = team > 1 ? get_pool() : nullptr;
    if (!pool || pool->busy.exchange(true, std::memory_order_acquire)) {
        for (intptr_t i = 0; i < chunks; i++) task(context, i);
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->finished.store(0, std::memory_order_relaxed);
    pool->team.store(team, std::memory_order_relaxed);
    for (int i = team; i-- > 0;)   // the workers' first
        pool->slices[i].range.store(uint64_t(chunks * (i + 1) / team) << 32 | uint64_t(chunks * i / team), std::memory_order_release);
    if (pool->awake.load(std::memory_order_relaxed) < team - 1) pool->wake(team - 1);
    pool->help(0);
    pool->wait(chunks);
    pool->busy.store(false, std::memory_order_release);
}

}  // namespace fastact

// By plain C names, for threadpoolctl.
#if defined(_WIN32)
#define FASTACT_EXPORT __declspec(dllexport)
#else
#define FASTACT_EXPORT __attribute__((visibility("default")))
#endif
extern "C" {
FASTACT_EXPORT int fastact_get_num_threads() { return fastact::get_num_threads(); }
FASTACT_EXPORT void fastact_set_num_threads(int n) { fastact::set_num_threads(n); }
}
