// What a kernel may touch: the module's shared memory, which is its thread-local block, the arrays among its
// arguments, and the module's own constants and the stacks of its threads.
//
// In a checked launch the arrays are copied into an arena, one array a slot; a slot is at least twice as large as
// the largest array, so that an index that is off by a whole array still lands where nobody lives.
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "runtime.h"

namespace gpusim {

char* map_pages(size_t bytes, bool accessible) {
    const int access = accessible ? PROT_READ | PROT_WRITE : PROT_NONE;
    void* pages = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? nullptr : static_cast<char*>(pages);
}
void unmap_pages(void* pages, size_t bytes) { munmap(pages, bytes); }

Range shared, image, stacks, data;
char* dynamic_shared;

struct Module {
    const void* address;  // anywhere in it
    Range image, data, thread_local_block;
};
static int look_at(dl_phdr_info* info, size_t, void* data) {
    Module& module = *static_cast<Module*>(data);
    char* const base = reinterpret_cast<char*>(info->dlpi_addr);
    module.image = {base, 0}, module.data = module.thread_local_block = {};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr)& part = info->dlpi_phdr[i];
        if (part.p_type == PT_TLS) module.thread_local_block = {static_cast<char*>(info->dlpi_tls_data), part.p_memsz};
        if (part.p_type != PT_LOAD) continue;
        module.image.size = std::max(module.image.size, size_t(part.p_vaddr + part.p_memsz));
        if (!(part.p_flags & PF_W)) continue;
        if (!module.data.begin) module.data.begin = base + part.p_vaddr;  // the first: they ascend
        module.data.size = size_t(base + part.p_vaddr + part.p_memsz - module.data.begin);
    }
    return module.image.holds(module.address);
}

static Range runtime;
bool runtime_holds(const void* p) { return runtime.holds(p); }

void find_module() {
    dynamic_shared = static_cast<char*>(launch->dynamic_shared());  // which also brings the block into being
    Module module = {reinterpret_cast<void*>(launch->kernel), {}, {}, {}}, own = {&threadIdx, {}, {}, {}};
    dl_iterate_phdr(look_at, &module);
    dl_iterate_phdr(look_at, &own);
    image = module.image, data = module.data, shared = module.thread_local_block, runtime = own.image;
}

// All ones, NaN as a float: what the block before left behind must not pass for a value.
void poison_shared() {
    memset(shared.begin, 0xFF, size_t(dynamic_shared - shared.begin) + launch->dynamic_bytes);
    char* behind = dynamic_shared + launch->dynamic_room;
    if (shared.holds(behind)) memset(behind, 0xFF, size_t(shared.begin + shared.size - behind));
}

static Range arena;
static size_t slot;  // its size
static std::vector<Region> regions;

// Around the arena is address space where nothing lies, as far as an int may index floats.
constexpr size_t AROUND = size_t(8) << 30;

static bool reserve(size_t size) {
    if (size <= arena.size) return true;
    if (arena.begin) unmap_pages(arena.begin - AROUND, arena.size + 2 * AROUND);
    arena = {};
    char* pages = map_pages(size + 2 * AROUND, false);
    if (!pages) return false;
    if (mprotect(pages + AROUND, size, PROT_READ | PROT_WRITE)) {
        unmap_pages(pages, size + 2 * AROUND);
        return false;
    }
    arena = {pages + AROUND, size};
    return true;
}

bool place_arrays(unsigned long long* values) {
    std::vector<Array> arrays(launch->arrays, launch->arrays + launch->array_count);
    std::sort(arrays.begin(), arrays.end(), [](const Array& a, const Array& b) { return a.host < b.host; });
    regions.clear();
    std::vector<size_t> region_of;
    size_t largest = 0, cells = 0;
    for (const Array& array : arrays) {
        const int granule = std::min(4, array.element);
        Region* last = regions.empty() ? nullptr : &regions.back();
        if (last && array.host < last->host + last->copy.size) {  // they overlap, and must go on doing so
            last->copy.size = std::max(last->copy.size, size_t(array.host - last->host) + array.bytes);
            last->granule = std::min(last->granule, granule);
            last->argument = std::min(last->argument, array.argument);
            last->writable |= array.writable != 0;
        } else {
            regions.push_back({{nullptr, array.bytes}, array.host, array.writable != 0, granule, 0, array.argument});
        }
        region_of.push_back(regions.size() - 1);
        largest = std::max(largest, regions.back().copy.size);
    }
    for (slot = 64 << 10; slot < 2 * largest + 4096;) slot *= 2;
    if (!reserve(slot * (regions.size() + 1))) return false;
    for (size_t i = 0; i < regions.size(); i++) {
        Region& region = regions[i];
        // Less than half a slot from its beginning, and as far from a 256-byte boundary as the array itself.
        region.copy.begin = arena.begin + slot * i + slot / 2 - (largest / 2 + 256) / 256 * 256 + size_t(region.host) % 256;
        region.first_cell = cells;
        cells += region.copy.size / size_t(region.granule) + 1;
        memcpy(region.copy.begin, region.host, region.copy.size);
    }
    for (size_t i = 0; i < arrays.size(); i++) {
        const Region& region = regions[region_of[i]];
        values[arrays[i].argument] = reinterpret_cast<size_t>(region.copy.begin + (arrays[i].host - region.host));
    }
    return reserve_cells(cells);
}

void return_arrays() {
    for (const Region& region : regions)
        if (region.writable) memcpy(region.host, region.copy.begin, region.copy.size);
}

const Region* find_region(const void* p) {
    const size_t offset = size_t(static_cast<const char*>(p) - arena.begin);
    return offset < slot * regions.size() ? &regions[offset / slot] : nullptr;
}

}  // namespace gpusim
