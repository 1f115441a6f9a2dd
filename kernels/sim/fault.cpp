// How a launch ends early: the fault is written down, and the fiber that met it hands over to the launch for good.
#include <stdarg.h>
#include <stdio.h>

#include <initializer_list>

#include "runtime.h"

namespace gpusim {

void set_index(int (&to)[3], uint3 index) { to[0] = int(index.x), to[1] = int(index.y), to[2] = int(index.z); }

static void describe(const char* kind, const char* text, va_list values) {
    snprintf(fault->kind, sizeof fault->kind, "%s", kind);
    vsnprintf(fault->text, sizeof fault->text, text, values);
}
void describe(const char* kind, const char* text, ...) {
    va_list values;
    va_start(values, text);
    describe(kind, text, values);
    va_end(values);
}
void fail(const char* kind, const Thread* at, const Thread* other, const char* text, ...) {
    if (launch->checked) check_unwritten();
    va_list values;
    va_start(values, text);
    describe(kind, text, values);
    va_end(values);
    for (const Thread* thread : {at, other}) {
        if (!thread) continue;
        Place& place = fault->place[fault->places++];
        place = {thread->file, thread->line, 0, {}, {}};
        set_index(place.thread, thread->index), set_index(place.block, blockIdx);
    }
    leave_fiber(host);
}

// Nobody can go on: says who waits where.
void deadlock() {
    int barriers = 0, collectives = 0;
    const Thread *first_barrier = nullptr, *first_collective = nullptr;
    for (const Thread* thread = threads; thread < threads + block_threads; thread++) {
        if (thread->state == AT_BARRIER && !barriers++) first_barrier = thread;
        if (thread->state == AT_COLLECTIVE && !collectives++) first_collective = thread;
    }
    fail("deadlock", first_collective ? first_collective : first_barrier, first_collective ? first_barrier : nullptr,
         "%d threads wait at __syncthreads, %d at a warp collective, %d have exited", barriers, collectives,
         block_threads - live_threads);
}

extern "C" void gpusim_stop(const char* kind, const char* what, const char* file, int line) {
    if (file) current->file = file, current->line = line;  // otherwise it stands where it waited last
    fail(kind, current, nullptr, "%s", what);
}

}  // namespace gpusim
