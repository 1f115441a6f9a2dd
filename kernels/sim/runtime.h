// What the parts of the runtime share: fiber.cpp switches stacks, runtime.cpp schedules threads, check.cpp judges accesses.
#pragma once
#include "gpusim.h"

namespace gpusim {

// The launch, the fault and the site are mirrored field by field in launch.py.
struct Launch {
    void (*kernel)(void* const* arguments);
    void* const* arguments;
    void* (*dynamic_shared)();    // where the module's dynamic shared memory begins, for the calling OS thread
    unsigned long dynamic_room;   // the bytes that the module set apart for it
    unsigned long dynamic_bytes;  // the bytes that the launch asked for
    unsigned grid[3], block[3];
    int order;  // 0 forward, 1 reverse, 2 random
    int checked;
    unsigned long long seed;
};

struct Place {  // of one side of a fault: a line that the thread named itself, or the address of its instruction
    const char* file;
    int line;
    void* instruction;
    int thread[3], block[3];
};
struct Fault {
    char kind[32];
    char text[480];
    int places;  // 0, 1, or 2 where another thread is involved
    Place place[2];
};

// fiber.cpp: stacks that take turns on one OS thread.
struct Fiber;
using Body = void (*)();
Fiber* take_fiber(Body body);    // a new one that will run body(), which never returns, or one given back
void give_fiber(Fiber* fiber);   // back to the idle ones; it goes on from its last switch when it is taken again
void switch_fiber(Fiber* from, Fiber* to);
[[noreturn]] void leave_fiber(Fiber* to);  // never to come back
void reset_fibers();                       // every fiber is idle and starts afresh
extern Fiber* const host;                  // the caller of the launch

// runtime.cpp
enum State : unsigned char { RUNNING, READY, AT_BARRIER, AT_COLLECTIVE, EXITED };
struct Thread {
    uint3 index;
    Fiber* fiber;
    State state;
    const char* file;  // where it waits
    int line;
    int predicate;     // of a barrier; afterwards its result
    unsigned mask;     // of a collective
    Execute execute;
    void* operands;
    bool orders_memory;
};
extern Thread threads[1024];
extern Thread* current;
extern const Launch* launch;
inline int number(const Thread* thread) { return int(thread - threads); }

[[noreturn]] void fail(const char* kind, const Thread* at, const Thread* other, const char* text, ...)
    __attribute__((format(printf, 4, 5)));

}  // namespace gpusim
