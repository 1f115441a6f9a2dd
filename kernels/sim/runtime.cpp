// The scheduler: runs a grid block after block, and a block's threads as fibers that take turns at barriers and at
// the collectives of a warp. A thread gets a stack of its own only when it has to wait while others have not
// started, so threads that never wait run one after another as plain calls.
#include "runtime.h"

#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace gpusim {

Thread threads[1024];
Thread* current;
const Launch* launch;

static Fault* fault;
static int count, live, at_barrier;  // threads in the block, those that have not exited, those at __syncthreads
static Barrier barrier_kind;
static int started;                  // of `sequence`
static short sequence[1024];         // the order in which threads start
static short ready[1025];            // a ring: waited, and may go on
static int ready_head, ready_count;
static Fiber* on;                     // the fiber that runs
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

static void place(Place& place, const Thread* thread) {
    place = {thread->file, thread->line, nullptr, {}, {}};
    const unsigned t[3] = {thread->index.x, thread->index.y, thread->index.z};
    const unsigned b[3] = {blockIdx.x, blockIdx.y, blockIdx.z};
    for (int i = 0; i < 3; i++) place.thread[i] = int(t[i]), place.block[i] = int(b[i]);
}

void fail(const char* kind, const Thread* at, const Thread* other, const char* text, ...) {
    snprintf(fault->kind, sizeof fault->kind, "%s", kind);
    va_list values;
    va_start(values, text);
    vsnprintf(fault->text, sizeof fault->text, text, values);
    va_end(values);
    for (const Thread* thread : {at, other})
        if (thread) place(fault->place[fault->places++], thread);
    leave_fiber(host);
}

// Nobody can go on: says who waits where.
[[noreturn]] static void deadlock() {
    int barriers = 0, collectives = 0;
    const Thread *first_barrier = nullptr, *first_collective = nullptr;
    for (const Thread* thread = threads; thread < threads + count; thread++) {
        if (thread->state == AT_BARRIER && !barriers++) first_barrier = thread;
        if (thread->state == AT_COLLECTIVE && !collectives++) first_collective = thread;
    }
    fail("deadlock", first_collective ? first_collective : first_barrier, first_collective ? first_barrier : nullptr,
         "%d threads wait at __syncthreads, %d at a warp collective, %d have exited", barriers, collectives, count - live);
}

static void make_ready(Thread* thread) {
    thread->state = READY;
    ready[(ready_head + ready_count++) % 1025] = short(number(thread));
}

// The next thread to run: those that waited before new ones, or any of them in random order. nullptr: none can run.
static Thread* pick() {
    int from_ready = ready_count > 0;
    if (launch->order == 2 && ready_count) {
        const unsigned chosen = random_below(unsigned(ready_count + count - started));
        from_ready = chosen < unsigned(ready_count);
        if (from_ready) std::swap(ready[ready_head], ready[(ready_head + int(chosen)) % 1025]);
    }
    if (from_ready) {
        Thread* next = &threads[ready[ready_head]];
        ready_head = (ready_head + 1) % 1025;
        ready_count--;
        return next;
    }
    return started < count ? &threads[sequence[started++]] : nullptr;
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

static void leave_barrier() {
    int result = barrier_kind == AND;
    short waiting[1024];
    int n = 0;
    for (int i = 0; i < count; i++) {
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
    warp.waiting &= ~present;
    arrange(waiting, n);
    for (int i = 0; i < n; i++) make_ready(first + waiting[i]);
}

static void exit_thread(Thread* thread) {
    thread->state = EXITED;
    live--;
    if (at_barrier && at_barrier == live) leave_barrier();
    Warp& warp = warps[number(thread) / 32];
    warp.exited |= 1u << number(thread) % 32;
    for (int lane = 0; lane < 32; lane++)  // those who waited for this one
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
            launch->kernel(launch->arguments);
            exit_thread(current);
        } else {
            if (!next && live) deadlock();
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
    if (++at_barrier == live) leave_barrier();
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

extern "C" void gpusim_stop(const char* kind, const char* what, const char* file, int line) {
    current->file = file, current->line = line;
    fail(kind, current, nullptr, "%s", what);
}

template <class T> static T changed(Atomic what, T old, T value, T compare) {
    switch (what) {
        case ADD: return old + value;
        case SUB: return old - value;
        case MIN: return std::min(old, value);
        case MAX: return std::max(old, value);
        case EXCHANGE: return value;
        case CAS: return old == compare ? value : old;
        case INCREMENT: return old >= value ? T(0) : old + T(1);
        case DECREMENT: return old == T(0) || old > value ? value : old - T(1);
        default: break;
    }
    if constexpr (T(1) / T(2) == T(0)) {  // an integer
        if (what == AND_BITS) return old & value;
        if (what == OR_BITS) return old | value;
        return old ^ value;
    }
    return old;
}
#define GPUSIM_ATOMIC_ACCESS(T, name)                                     \
    extern "C" T name(Atomic what, T* p, T value, T compare) {             \
        const T old = *p;                                                 \
        *p = changed(what, old, value, compare);                          \
        return old;                                                       \
    }
GPUSIM_ATOMIC_ACCESS(float, gpusim_atomic_float)
GPUSIM_ATOMIC_ACCESS(int, gpusim_atomic_int)
GPUSIM_ATOMIC_ACCESS(unsigned, gpusim_atomic_unsigned)
GPUSIM_ATOMIC_ACCESS(unsigned long long, gpusim_atomic_long)

// The thread-local block of the module that holds `address`, as seen by the calling OS thread.
static char* shared_begin;
static size_t shared_size;
static int find_shared(dl_phdr_info* module, size_t, void* address) {
    const ElfW(Phdr)* thread_local_block = nullptr;
    bool inside = false;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr)& part = module->dlpi_phdr[i];
        if (part.p_type == PT_TLS) thread_local_block = &part;
        const size_t offset = reinterpret_cast<size_t>(address) - module->dlpi_addr - part.p_vaddr;
        inside |= part.p_type == PT_LOAD && offset < part.p_memsz;
    }
    if (!inside || !thread_local_block) return 0;
    shared_begin = static_cast<char*>(module->dlpi_tls_data);
    shared_size = thread_local_block->p_memsz;
    return 1;
}

// All ones, NaN as a float: what the block before left behind must not pass for a value.
static void poison_shared(char* dynamic) {
    memset(shared_begin, 0xFF, size_t(dynamic - shared_begin) + launch->dynamic_bytes);
    char* behind = dynamic + launch->dynamic_room;
    if (behind < shared_begin + shared_size) memset(behind, 0xFF, size_t(shared_begin + shared_size - behind));
}

static void run_block() {
    started = ready_head = ready_count = at_barrier = 0;
    live = count;
    for (int i = 0; i < count; i++) {
        threads[i].fiber = nullptr;
        sequence[i] = short(i);
    }
    for (int w = 0; w * 32 < count; w++) {
        const int lanes = count - w * 32;
        warps[w] = {lanes < 32 ? (1u << lanes) - 1 : 0xFFFFFFFFu, 0, 0};
    }
    arrange(sequence, count);
    go(take_fiber(work));
}

extern "C" __attribute__((visibility("default"))) int gpusim_launch(const Launch* request, Fault* report) {
    launch = request, fault = report;
    fault->places = 0, fault->kind[0] = 0;
    random_state = launch->seed;
    blockDim = {launch->block[0], launch->block[1], launch->block[2]};
    gridDim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    count = int(blockDim.x * blockDim.y * blockDim.z);
    for (int i = 0; i < count; i++) {
        const unsigned u = unsigned(i);
        threads[i].index = {u % blockDim.x, u / blockDim.x % blockDim.y, u / (blockDim.x * blockDim.y)};
    }
    char* dynamic = static_cast<char*>(launch->dynamic_shared());
    dl_iterate_phdr(find_shared, reinterpret_cast<void*>(launch->kernel));
    const unsigned long long blocks = 1ull * gridDim.x * gridDim.y * gridDim.z;
    std::vector<unsigned long long> sequence_of_blocks;
    if (launch->order == 2) {
        sequence_of_blocks.resize(blocks);
        for (unsigned long long i = 0; i < blocks; i++) sequence_of_blocks[i] = i;
        arrange(sequence_of_blocks.data(), int(blocks));
    }
    on = host;
    for (unsigned long long i = 0; i < blocks && !fault->kind[0]; i++) {
        const unsigned long long b = launch->order == 2 ? sequence_of_blocks[i] : launch->order ? blocks - 1 - i : i;
        blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
        poison_shared(dynamic);
        run_block();
    }
    if (fault->kind[0]) reset_fibers();
    return fault->kind[0] != 0;
}

}  // namespace gpusim
