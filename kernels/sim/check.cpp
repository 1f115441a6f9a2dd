// Check mode: judges every access of every thread, by happens-before and not by the order that the schedule chose.
//
// Every granule of an array (up to 4 bytes), of shared memory and of __device__ variables has a cell: its last writer and two who read it,
// each with thread, epoch and place. An epoch ends at every barrier of a block and at its end; two accesses
// of one block are ordered if their epochs differ, if they are one thread's, or if a chain of __syncwarp lies
// between them (vector clocks, Lamport 1978 and Mattern 1988, of 32 lanes). Accesses of two blocks are never ordered.
// If one of two that are not ordered writes, and not both are atomic, that is a race.
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "runtime.h"

namespace gpusim {

struct Access {
    unsigned epoch, instruction;
    unsigned thread : 10, atomic : 1, sequence : 21;
};
struct Cell {
    Access writer, reader[2];  // an atomic access is a writer; one that others followed is kept among the readers
};

static Pages<Cell> array_cells, shared_cells, data_cells;

// Epochs count on from launch to launch, so that what is left in a cell tells by itself that it is out of date.
static unsigned epoch = 0, launch_epoch, block_epoch;
static Pages<unsigned> block_epochs;  // of the blocks of this launch, in the order in which they ran
static size_t blocks_begun;
static unsigned sequence[1024];             // the __syncwarps that a thread has gone through in this block
static unsigned seen[1024][32];             // per lane of its warp: the sequence up to which it knows the lane's accesses
static bool synchronised_warps;

bool reserve_cells(size_t count) { return array_cells.reserve(count); }

// Shared memory has a cell for each byte, but while all accesses to a word are whole words only the first of its
// four is in use; the first access to a part of it spreads that one.
static std::vector<bool> spread;  // of each word
static bool any_spread;

static void spread_words(size_t offset, size_t size) {
    any_spread = true;
    for (size_t word = offset / 4; word <= (offset + size - 1) / 4; word++) {
        Cell* cell = shared_cells.items + 4 * word;
        if (!spread[word]) cell[1] = cell[2] = cell[3] = cell[0];
        spread[word] = true;
    }
}
static bool whole_words(size_t offset, size_t size) {
    if (offset % 4 || size % 4) return false;
    for (size_t word = offset / 4; any_spread && word < (offset + size) / 4; word++)
        if (spread[word]) return false;
    return true;
}

bool check_launch(unsigned long long blocks) {
    if (epoch > 1u << 30) array_cells.clear(), shared_cells.clear(), data_cells.clear(), epoch = 0;
    if (!shared_cells.reserve(shared.size + 64) || !data_cells.reserve(data.size + 64)) return false;
    if (!block_epochs.reserve(blocks)) return false;
    spread.assign(shared.size / 4 + 1, false);
    any_spread = false;
    launch_epoch = epoch + 1;
    blocks_begun = 0;
    return true;
}

[[noreturn]] static void stop(unsigned instruction, const Access* other);

// The first read of this epoch of what nobody had written. It is not a fault at once, because it may turn out to be
// one side of a race: the write that a barrier should have put before it. Whatever else goes wrong follows from it.
static struct Unwritten {
    unsigned instruction;
    int thread;  // -1: none
    char text[160];
} unwritten;

[[noreturn]] static void stop_unwritten() {
    current = &threads[unwritten.thread];
    unwritten.thread = -1;
    describe("uninitialised", "read of %s: nobody of this block has written there", unwritten.text);
    stop(unwritten.instruction, nullptr);
}
void check_unwritten() {
    if (unwritten.thread >= 0) stop_unwritten();
}

void check_block() {
    block_epoch = ++epoch;
    block_epochs.items[blocks_begun++] = epoch;
    if (synchronised_warps) memset(sequence, 0, sizeof sequence), memset(seen, 0, sizeof seen);
    synchronised_warps = false;
    unwritten.thread = -1;
}

void check_barrier() {
    check_unwritten();
    epoch++;
}

void check_warp(int warp, unsigned present) {
    unsigned known[32] = {};
    for (int lane = 0; lane < 32; lane++) {
        if (!(present >> lane & 1)) continue;
        for (int other = 0; other < 32; other++) known[other] = std::max(known[other], seen[warp * 32 + lane][other]);
    }
    for (int lane = 0; lane < 32; lane++)
        if (present >> lane & 1) known[lane] = ++sequence[warp * 32 + lane];
    for (int lane = 0; lane < 32; lane++)
        if (present >> lane & 1) memcpy(seen[warp * 32 + lane], known, sizeof known);
    synchronised_warps = true;
}

static bool ordered(const Access& before, unsigned self) {
    if (before.epoch < block_epoch) return false;  // another block's
    return before.epoch < epoch || before.thread == self ||
           (before.thread / 32 == self / 32 && seen[self][before.thread % 32] > before.sequence);
}

// `what` stays complete where it matters: of two reads that no barrier orders one suffices to betray the next write
// of any third thread, and each of them betrays the other's.
static void remember(Cell& cell, const Access& what, unsigned since) {
    for (Access& reader : cell.reader) {
        if (reader.epoch < since || (reader.epoch >= block_epoch && ordered(reader, what.thread))) {
            reader = what;
            return;
        }
    }
    if (cell.reader[0].epoch < block_epoch && cell.reader[1].epoch < block_epoch) cell.reader[1] = what;
}

static void put(Place& place, unsigned instruction, unsigned thread, uint3 block) {
    place = {nullptr, 0, instruction, {}, {}};
    set_index(place.thread, threads[thread].index);
    set_index(place.block, block);
}

[[noreturn]] static void stop(unsigned instruction, const Access* other) {
    if (!other) check_unwritten();
    put(fault->place[fault->places++], instruction, unsigned(number(current)), blockIdx);
    if (other) {
        const unsigned* after = std::upper_bound(block_epochs.items, block_epochs.items + blocks_begun, other->epoch);
        put(fault->place[fault->places++], other->instruction, other->thread,
            block_index((unsigned long long)(after - block_epochs.items) - 1));
    }
    leave_fiber(host);
}

static const char* const VERB[] = {"read", "write", "atomic access", "asynchronous write"};

struct Spot {  // what a message says about an address
    char text[160];
};
static Spot spot(const void* p, size_t size, const Region* region) {
    Spot spot;
    const char* address = static_cast<const char*>(p);
    if (region) {
        const long offset = address - region->copy.begin;
        snprintf(spot.text, sizeof spot.text, "%zu bytes at byte %ld of argument %d, which has %zu bytes", size, offset,
                 region->argument, region->copy.size);
    } else if (address >= dynamic_shared && address < dynamic_shared + launch->dynamic_room) {
        snprintf(spot.text, sizeof spot.text, "%zu bytes at byte %td of dynamic shared memory, which has %lu bytes", size,
                 address - dynamic_shared, launch->dynamic_bytes);
    } else if (shared.holds(p)) {
        snprintf(spot.text, sizeof spot.text, "%zu bytes at byte %td of static shared memory", size, address - shared.begin);
    } else if (data.holds(p)) {
        snprintf(spot.text, sizeof spot.text, "%zu bytes at byte %td of module data", size, address - image.begin);
    } else {
        snprintf(spot.text, sizeof spot.text, "%zu bytes at address %p, where no argument lies", size, p);
    }
    return spot;
}

void check_access(const void* p, size_t size, size_t alignment, Kind kind, const void* return_address) {
    const char* address = static_cast<const char*>(p);
    const Region* region = nullptr;
    Cell *cell, *end;
    size_t step = 1;
    const unsigned instruction = unsigned(static_cast<const char*>(return_address) - image.begin);
    const bool in_shared = shared.holds(p);
    bool inside;
    if (in_shared) {
        const size_t offset = size_t(address - dynamic_shared);
        inside = offset >= launch->dynamic_room || offset + size <= launch->dynamic_bytes;
        const size_t byte = size_t(address - shared.begin);
        if (whole_words(byte, size)) step = 4;
        else if (inside) spread_words(byte, size);
        cell = shared_cells.items + byte, end = cell + size;
    } else if ((region = find_region(p))) {
        const size_t offset = size_t(address - region->copy.begin), granule = size_t(region->granule);
        inside = offset < region->copy.size && offset + size <= region->copy.size;
        cell = array_cells.items + region->first_cell + offset / granule;
        end = cell + (offset % granule + size + granule - 1) / granule;
    } else if (data.holds(p)) {
        inside = true;
        cell = data_cells.items + (address - data.begin), end = cell + size;
    } else {
        if (stacks.holds(p) || image.holds(p) || runtime_holds(p)) return;
        inside = false;
    }
    if (!inside) {
        describe("out-of-bounds", "%s of %s", VERB[kind], spot(p, size, region).text);
        stop(instruction, nullptr);
    }
    if (alignment && reinterpret_cast<size_t>(p) % alignment) {
        describe("misaligned", "%s of %s: the address is not a multiple of %zu", VERB[kind], spot(p, size, region).text,
                 alignment);
        stop(instruction, nullptr);
    }
    const unsigned self = unsigned(number(current)), since = in_shared ? block_epoch : launch_epoch;
    const Access now = {epoch, instruction, self, kind == ATOMIC, sequence[self]};
    if (launch->reported && kind != ANNOUNCE)
        report_access(instruction, epoch, kind, in_shared,
                      size_t(address - (in_shared ? shared.begin : region ? region->copy.begin : data.begin)), size);
    for (; cell < end; cell += step) {
        const bool written = cell->writer.epoch >= since;
        if (in_shared && !written && (kind == READ || kind == ATOMIC) && unwritten.thread < 0) {
            unwritten = {instruction, int(self), {}};
            memcpy(unwritten.text, spot(p, size, region).text, sizeof unwritten.text);
        }
        auto conflicts = [&](const Access& other) {
            return other.epoch >= since && !(other.atomic && kind == ATOMIC) && !ordered(other, self);
        };
        const Access* rival = conflicts(cell->writer) ? &cell->writer : nullptr;
        for (const Access& reader : cell->reader)
            if (!rival && (kind != READ || reader.atomic) && conflicts(reader)) rival = &reader;
        if (rival) {
            const char* earlier = rival->atomic ? "an atomic access" : rival == &cell->writer ? "a write" : "a read";
            describe("race", "%s of %s, after %s that nothing orders before it", VERB[kind], spot(p, size, region).text,
                     earlier);
            stop(instruction, rival);
        }
        if (kind == READ) {
            remember(*cell, now, since);
        } else if (kind != ANNOUNCE) {
            if (kind == ATOMIC && written && cell->writer.atomic && !ordered(cell->writer, self))
                remember(*cell, cell->writer, since);
            cell->writer = now;
        }
    }
}

}  // namespace gpusim
