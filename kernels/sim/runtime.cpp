// The scheduler: runs a grid block after block, and a block's threads as fibers that take turns at barriers and at
// the collectives of a warp. A thread gets a stack of its own only when it has to wait while others have not
// started, so threads that never wait run one after another as plain calls.
#include "runtime.h"

#include <string.h>

#include <algorithm>
#include <numeric>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace gpusim {

Thread threads[1024];
Thread* current;
const Launch* launch;
Fault* fault;

int block_threads, live_threads;
static int at_barrier;               // threads at __syncthreads
static Barrier barrier_kind;
static int started;                  // of `sequence`
static short sequence[1024];         // the order in which threads start
static short ready[1025];            // a ring: waited, and may go on
static int ready_head, ready_count;
static unsigned long long values[256];
static void* arguments[256];
static Fiber* on;                    // the fiber that runs
static Thread* handed;               // the thread that the fiber switched to is to start
static struct Warp {
    unsigned exists, exited, waiting;  // a bit a lane
} warps[32];

static unsigned long long random_state;
static unsigned random_below(unsigned bound) {  // splitmix64 (Steele et al. 2014)
    unsigned long long z = random_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return unsigned(((z ^ (z >> 31)) >> 32) * bound >> 32);
}
template <class T> static void arrange(T* items, int n) {  // which are in forward order
    if (launch->order == 1) std::reverse(items, items + n);
    if (launch->order == 2)
        for (int i = n - 1; i > 0; i--) std::swap(items[i], items[random_below(unsigned(i) + 1)]);
}

static void make_ready(Thread* thread) {
    thread->state = READY;
    ready[(ready_head + ready_count++) % 1025] = short(number(thread));
}

// The next thread to run: those that waited before new ones, or any of them in random order. nullptr: none can run.
static Thread* pick() {
    int from_ready = ready_count > 0;
    if (launch->order == 2 && ready_count) {
        const unsigned chosen = random_below(unsigned(ready_count + block_threads - started));
        from_ready = chosen < unsigned(ready_count);
        if (from_ready) std::swap(ready[ready_head], ready[(ready_head + int(chosen)) % 1025]);
    }
    if (from_ready) {
        Thread* next = &threads[ready[ready_head]];
        ready_head = (ready_head + 1) % 1025;
        ready_count--;
        return next;
    }
    return started < block_threads ? &threads[sequence[started++]] : nullptr;
}

static void run(Thread* thread) {  // for whoever comes back from a switch
    current = thread;
    threadIdx = thread->index;
    thread->state = RUNNING;
}
static void go(Fiber* to) {
    Fiber* self = on;
    on = to;
    switch_fiber(self, to);
}

// All threads must come to the same barrier; a GPU that counts arrivals alone goes on with half of them elsewhere.
static void check_barrier_met() {
    const Thread *first = nullptr, *gone = nullptr;
    for (const Thread* thread = threads; thread < threads + block_threads; thread++) {
        if (thread->state == EXITED) gone = thread;
        else if (!first) first = thread;
        else if (first->line != thread->line || strcmp(first->file, thread->file))
            fail("divergent-barrier", thread, first, "the threads of a block wait at different barriers");
    }
    if (gone) fail("divergent-barrier", first, nullptr, "%d threads of the block have returned before this barrier", block_threads - live_threads);
    check_barrier();
}

static void leave_barrier() {
    if (launch->checked) check_barrier_met();
    int result = barrier_kind == AND;
    short waiting[1024];
    int n = 0;
    for (int i = 0; i < block_threads; i++) {
        if (threads[i].state != AT_BARRIER) continue;
        waiting[n++] = short(i);
        const bool predicate = threads[i].predicate != 0;
        if (barrier_kind == COUNT) result += predicate;
        if (barrier_kind == AND) result &= predicate;
        if (barrier_kind == OR) result |= predicate;
    }
    at_barrier = 0;
    arrange(waiting, n);
    for (int i = 0; i < n; i++) threads[waiting[i]].predicate = result, make_ready(&threads[waiting[i]]);
}

// Carries the collective out if all lanes of the mask that still run have arrived.
static void try_collective(Warp& warp, unsigned mask) {
    Thread* first = &threads[32 * (&warp - warps)];
    const unsigned present = mask & warp.exists & ~warp.exited;
    if (!present || (warp.waiting & present) != present) return;
    void* lanes[32] = {};
    short waiting[32];
    int n = 0;
    for (int lane = 0; lane < 32; lane++) {
        if (!(present >> lane & 1)) continue;
        Thread* thread = first + lane;
        const Thread* other = first + waiting[0];
        if (n && (thread->mask != other->mask || thread->execute != other->execute))
            fail("bad-mask", thread, other, "lanes of one mask wait at different operations, with masks 0x%08x and 0x%08x",
                 thread->mask, other->mask);
        lanes[lane] = thread->operands;
        waiting[n++] = short(lane);
    }
    if (first[waiting[0]].execute) first[waiting[0]].execute(lanes, present);
    if (launch->checked && first[waiting[0]].orders_memory) check_warp(int(&warp - warps), present);
    warp.waiting &= ~present;
    arrange(waiting, n);
    for (int i = 0; i < n; i++) make_ready(first + waiting[i]);
}

static void exit_thread(Thread* thread) {
    thread->state = EXITED;
    live_threads--;
    if (at_barrier && at_barrier == live_threads) leave_barrier();
    Warp& warp = warps[number(thread) / 32];
    warp.exited |= 1u << number(thread) % 32;
    for (int lane = 0; warp.waiting && lane < 32; lane++)  // those who waited for this one
        if (warp.waiting >> lane & 1) try_collective(warp, threads[number(thread) / 32 * 32 + lane].mask);
}

// What every fiber does: start threads while there are any, then give way to those that waited.
static void work() {
    for (;;) {
        Thread* next = handed ? handed : pick();
        handed = nullptr;
        if (next && !next->fiber) {
            next->fiber = on;
            run(next);
            launch->kernel(arguments);
            exit_thread(current);
        } else {
            if (!next && live_threads) deadlock();
            if (!next && launch->checked) check_unwritten();
            give_fiber(on);
            go(next ? next->fiber : host);
        }
    }
}

// The current thread has said what it waits for; the others go on.
static void wait() {
    Thread* self = current;
    Thread* next = pick();
    if (!next) deadlock();
    if (next != self) {
        if (!next->fiber) handed = next;
        go(next->fiber ? next->fiber : take_fiber(work));
    }
    run(self);
}

extern "C" int gpusim_barrier(Barrier kind, int predicate, const char* file, int line) {
    Thread* self = current;
    self->state = AT_BARRIER, self->file = file, self->line = line, self->predicate = predicate;
    barrier_kind = kind;
    if (++at_barrier == live_threads) leave_barrier();
    wait();
    return self->predicate;
}

extern "C" void gpusim_collective(unsigned mask, Execute execute, void* operands, bool orders_memory, const char* file,
                                  int line) {
    Thread* self = current;
    const int lane = number(self) % 32;
    self->file = file, self->line = line, self->mask = mask, self->execute = execute, self->operands = operands;
    self->orders_memory = orders_memory;
    if (!(mask >> lane & 1)) fail("bad-mask", self, nullptr, "lane %d is not in its own mask 0x%08x", lane, mask);
    self->state = AT_COLLECTIVE;
    Warp& warp = warps[number(self) / 32];
    warp.waiting |= 1u << lane;
    try_collective(warp, mask);
    wait();
}

extern "C" unsigned gpusim_lane() { return unsigned(number(current)) % 32; }

static Pages<unsigned> block_order;  // if it is random
uint3 block_index(unsigned long long ordinal) {
    const unsigned long long last = 1ull * gridDim.x * gridDim.y * gridDim.z - 1;
    const unsigned long long b = launch->order == 2 ? block_order.items[ordinal] : launch->order ? last - ordinal : ordinal;
    return {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
}

static void run_block() {
    started = ready_head = ready_count = at_barrier = 0;
    live_threads = block_threads;
    for (int i = 0; i < block_threads; i++) {
        threads[i].fiber = nullptr;
        sequence[i] = short(i);
    }
    for (int w = 0; w * 32 < block_threads; w++) {
        const int lanes = block_threads - w * 32;
        warps[w] = {lanes < 32 ? (1u << lanes) - 1 : 0xFFFFFFFFu, 0, 0};
    }
    arrange(sequence, block_threads);
    go(take_fiber(work));
}

extern "C" __attribute__((visibility("default"))) int gpusim_launch(const Launch* request, Fault* report) {
    launch = request, fault = report;
    fault->places = 0, fault->kind[0] = 0;
    random_state = launch->seed;
    blockDim = {launch->block[0], launch->block[1], launch->block[2]};
    gridDim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    block_threads = int(blockDim.x * blockDim.y * blockDim.z);
    for (int i = 0; i < block_threads; i++) {
        const unsigned u = unsigned(i);
        threads[i].index = {u % blockDim.x, u / blockDim.x % blockDim.y, u / (blockDim.x * blockDim.y)};
    }
    std::copy(launch->values, launch->values + launch->value_count, values);
    for (int i = 0; i < launch->value_count; i++) arguments[i] = &values[i];
    find_module();
    const unsigned long long blocks = 1ull * gridDim.x * gridDim.y * gridDim.z;
    if (!reserve_fibers() || (launch->order == 2 && !block_order.reserve(blocks)) ||
        (launch->checked && !(check_launch(blocks) && place_arrays(values)))) {
        describe("out-of-memory", "the launch needs more address space than there is; ulimit -v may set the limit");
        return 1;
    }
    if (launch->order == 2) {
        std::iota(block_order.items, block_order.items + blocks, 0u);
        arrange(block_order.items, int(blocks));
    }
    if (launch->reported) report_launch();
    on = host;
    for (unsigned long long i = 0; i < blocks && !fault->kind[0]; i++) {
        blockIdx = block_index(i);
        poison_shared();
        if (launch->checked) check_block();
        forget_copies();
        run_block();
        if (launch->reported) report_block();
    }
    if (fault->kind[0]) reset_fibers();
    else if (launch->checked) return_arrays();
    return fault->kind[0] != 0;
}

}  // namespace gpusim
