// Asynchronous copies from global to shared memory. A thread's copy reads at once and writes when the thread waits
// for its group; the check sees a write at both times, because on a GPU it may happen at any time between them.
#include <string.h>

#include <algorithm>
#include <vector>

#include "runtime.h"

namespace gpusim {

struct Copy {
    char* to;
    const void* instruction;
    unsigned bytes;
    int group;
    char data[16];
};
static struct Copies {
    std::vector<Copy> waiting;
    int groups = 0;  // that were committed
} copies[1024];

static bool any;

void forget_copies() {
    for (int i = 0; any && i < block_threads; i++) copies[i].waiting.clear(), copies[i].groups = 0;
    any = false;
}

extern "C" void gpusim_copy_async(void* to, const void* from, unsigned bytes, unsigned used) {
    const void* instruction = __builtin_return_address(0);
    used = std::min(used, bytes);
    if (launch->checked) {
        if (used) check_access(from, used, bytes, READ, instruction);
        check_access(to, bytes, bytes, ANNOUNCE, instruction);
    }
    any = true;
    Copies& own = copies[number(current)];
    own.waiting.push_back({static_cast<char*>(to), instruction, bytes, own.groups, {}});
    memcpy(own.waiting.back().data, from, used);
}

extern "C" void gpusim_copy_commit() { copies[number(current)].groups++; }

// Until at most the latest `most` groups are under way; -1: until no copy is, not even one of no group.
extern "C" void gpusim_copy_wait(int most) {
    Copies& own = copies[number(current)];
    const auto under_way = [&](const Copy& copy) { return most >= 0 && copy.group >= own.groups - most; };
    for (const Copy& copy : own.waiting) {
        if (under_way(copy)) continue;
        if (launch->checked) check_access(copy.to, copy.bytes, copy.bytes, WRITE, copy.instruction);
        memcpy(copy.to, copy.data, copy.bytes);
    }
    std::erase_if(own.waiting, [&](const Copy& copy) { return !under_way(copy); });
}

}  // namespace gpusim
