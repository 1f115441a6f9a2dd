// Fibers: each CUDA thread that waits keeps its own stack. Switching is a saved stack pointer and six registers on
// x86-64 (System V), and ucontext elsewhere, which costs ten times as much because it saves the signal mask.
#include "runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace gpusim {

constexpr size_t STACK = 128 << 10;
constexpr size_t MOST = 1024;  // every thread of the largest block

struct Fiber {
    char* stack = nullptr;
    Body body = nullptr;
#if defined(__x86_64__)
    void* top = nullptr;  // the stack pointer while it is switched out
#else
    ucontext_t context;
#endif
};

static Fiber host_fiber;
Fiber* const host = &host_fiber;
static Fiber all[MOST];
static Fiber* idle[MOST];
static size_t made, idle_count;

#if defined(__x86_64__)
extern "C" void gpusim_switch(void** save, void* top);
asm(R"(
.text
.globl gpusim_switch
.hidden gpusim_switch
.type gpusim_switch, @function
gpusim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size gpusim_switch, .-gpusim_switch
)");

static void prepare(Fiber* fiber, int number) {
    // Tops are staggered: stacks one power of two apart would compete for the same sets of the cache.
    void** top = reinterpret_cast<void**>(fiber->stack + STACK - number % 61 * 64 - 64);
    *--top = nullptr;  // the return address of body(), which never returns: aligned as after a call
    *--top = reinterpret_cast<void*>(fiber->body);
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    fiber->top = top;
}
void switch_fiber(Fiber* from, Fiber* to) { gpusim_switch(&from->top, to->top); }
#else
static void prepare(Fiber* fiber, int) {
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, fiber->body, 0);
}
void switch_fiber(Fiber* from, Fiber* to) { swapcontext(&from->context, &to->context); }
#endif

void leave_fiber(Fiber* to) {
    Fiber gone;
    switch_fiber(&gone, to);
    __builtin_unreachable();
}

// One mapping holds all stacks, each above a page that stops it when it overflows; unused ones cost no memory.
static size_t page() { return size_t(sysconf(_SC_PAGESIZE)); }
bool reserve_fibers() {
    const size_t size = MOST * (page() + STACK);
    if (!stacks.begin) stacks.begin = map_pages(size);
    stacks.size = stacks.begin ? size : 0;
    return stacks.begin != nullptr;
}
static char* stack(size_t number) {
    char* begin = stacks.begin + number * (page() + STACK);
    mprotect(begin, page(), PROT_NONE);
    return begin + page();
}

Fiber* take_fiber(Body body) {
    if (idle_count) return idle[--idle_count];
    Fiber* fiber = &all[made];
    fiber->stack = stack(made);
    fiber->body = body;
    prepare(fiber, int(made++));
    return fiber;
}

void give_fiber(Fiber* fiber) { idle[idle_count++] = fiber; }

void reset_fibers() {
    for (size_t i = 0; i < made; i++) prepare(idle[i] = &all[i], int(i));
    idle_count = made;
}

}  // namespace gpusim
