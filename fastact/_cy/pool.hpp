// A small thread pool: the caller works too, and nobody waits for a worker that has not begun.
//
// OpenMP is out: libgomp hangs in forked children, and its barrier waits for every thread, also for one that the system has
// taken off its core (p99 of 12 ms on 16 elements beside a busy process).
#pragma once
#include <atomic>
#include <cstdint>

namespace fastact {

using task_fn = void (*)(void *context, intptr_t chunk);

// How many threads to share `serial_ns` of work with, the caller included; 1 = do it alone.
int team_size(double serial_ns);

// While one of these lives, team_size() is 1 in its thread.
struct Alone {
    explicit Alone(bool on);
    ~Alone();
    Alone(const Alone &) = delete;
    const bool on;
};

// Calls task(context, i) once for every i in 0 ... chunks - 1 (< 2^31) and returns when all have returned, using up to `team`
// threads, and seldom more: workers that come late from the call before, whose team was larger. Alone when the pool is busy, so
// nested calls and several callers at once are right, just not faster.
void parallel(task_fn task, void *context, intptr_t chunks, int team);

void set_num_threads(int n);       // 1 = never threads; below 1 = default_num_threads()
int get_num_threads();
int default_num_threads();         // processors that this process may use: affinity mask and cgroup quota

void set_spin_us(double us);       // how long an idle worker spins before it sleeps; 0 = not
double get_spin_us();

// Serial time from which sharing pays: with a worker that spins, and with one that must be woken.
void set_thread_thresholds_ns(double hot, double cold);
double get_hot_threshold_ns();
double get_cold_threshold_ns();

extern std::atomic<double> hot_threshold_ns;   // here for the inline check in run(); use the functions above

}  // namespace fastact
