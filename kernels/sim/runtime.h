// What the parts of the runtime share: fiber.cpp switches stacks, runtime.cpp schedules threads, check.cpp judges accesses.
#pragma once
#include "gpusim.h"

namespace gpusim {

// Launch, Array, Place and Fault are mirrored field by field in launch.py.
struct Array {           // an array among the arguments
    char* host;
    size_t bytes;
    int element;         // bytes of one of its numbers
    int argument;        // its index among the arguments
    int writable;
};
struct Launch {
    void (*kernel)(void* const* arguments);
    const unsigned long long* values;  // the arguments, 8 bytes each
    int value_count;
    int array_count;
    const Array* arrays;
    void* (*dynamic_shared)();    // where the module's dynamic shared memory begins, for the calling OS thread
    unsigned long dynamic_room;   // the bytes that the module set apart for it
    unsigned long dynamic_bytes;  // the bytes that the launch asked for
    unsigned grid[3], block[3];
    int order;  // 0 forward, 1 reverse, 2 random
    int checked;
    int reported;
    unsigned long long seed;
};

struct Place {  // of one side of a fault: a line that the thread named itself, or its instruction in the module
    const char* file;
    int line;
    unsigned instruction;
    int thread[3], block[3];
};
struct Fault {
    char kind[32];
    char text[480];
    int places;  // 0, 1, or 2 where another thread is involved
    Place place[2];
};

// memory.cpp: address space that is backed where it is touched. nullptr: there is not so much.
char* map_pages(size_t bytes, bool accessible = true);
void unmap_pages(void* pages, size_t bytes);
template <class T> struct Pages {
    T* items = nullptr;
    size_t count = 0;
    void clear() {
        if (items) unmap_pages(items, count * sizeof(T));
        items = nullptr, count = 0;
    }
    bool reserve(size_t wanted) {  // false: no memory. What was in it is lost if it grows
        if (wanted <= count) return true;
        clear();
        if (wanted > (size_t(1) << 47) / sizeof(T)) return false;  // beyond any address
        items = reinterpret_cast<T*>(map_pages(wanted * sizeof(T)));
        if (items) count = wanted;
        return items != nullptr;
    }
};

// fiber.cpp: stacks that take turns on one OS thread.
struct Fiber;
using Body = void (*)();
bool reserve_fibers();           // false: no memory
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
extern int block_threads, live_threads;  // of the block, and those of them that have not exited
extern Thread* current;
extern const Launch* launch;
extern Fault* fault;
inline int number(const Thread* thread) { return int(thread - threads); }
uint3 block_index(unsigned long long ordinal);  // of the ordinal-th block that runs

// fault.cpp
void set_index(int (&to)[3], uint3 index);
void describe(const char* kind, const char* text, ...) __attribute__((format(printf, 2, 3)));  // writes `fault`
[[noreturn]] void fail(const char* kind, const Thread* at, const Thread* other, const char* text, ...)
    __attribute__((format(printf, 4, 5)));
[[noreturn]] void deadlock();

// memory.cpp: what a kernel may touch.
struct Range {
    char* begin = nullptr;
    size_t size = 0;
    bool holds(const void* p) const { return size_t(static_cast<const char*>(p) - begin) < size; }
};
extern Range shared, image, stacks;  // the module's shared memory, all of the module, the stacks of all fibers
extern Range data;                   // the part of the module that can be written to: its __device__ variables
extern char* dynamic_shared;
struct Region {        // one array, or several that overlap, copied to where nothing else is near
    Range copy;
    char* host;
    bool writable;
    int granule;       // bytes that a shadow cell stands for
    size_t first_cell;
    int argument;
};
void find_module();                      // shared, image, data
void poison_shared();                    // before each block
bool place_arrays(unsigned long long* values);  // checked: copies the arrays in and points the arguments there
void return_arrays();                           // copies them back
bool runtime_holds(const void* p);          // the runtime's own variables: threadIdx, the arguments
const Region* find_region(const void* p);  // nullptr: not near any array. `p` may lie outside of its region's array

// check.cpp: who touched what, and in which order.
bool reserve_cells(size_t count);  // false, here and below: no memory
bool check_launch(unsigned long long blocks);
void check_block();
void check_barrier();                                   // everything before it is over
void check_unwritten();                                 // at the end of a block, and before any other fault but a race
void check_warp(int warp, unsigned present);            // the lanes have seen one another's accesses
enum Kind { READ, WRITE, ATOMIC, ANNOUNCE };  // ANNOUNCE: a write that will happen between now and then
void check_access(const void* p, size_t size, size_t alignment, Kind kind, const void* return_address);

void forget_copies();  // async.cpp: those of the block before

// report.cpp: what the accesses of a warp cost.
void report_launch();
void report_access(unsigned instruction, unsigned epoch, Kind kind, bool in_shared, size_t offset, size_t size);
void report_block();

}  // namespace gpusim
