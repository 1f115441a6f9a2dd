// The access report: which requests the warps make, and what they cost. A request is what the lanes of one warp do
// with one instruction at one time; lanes run on their own here, so their accesses are matched afterwards, the first
// of each lane with the first of the others, between two barriers.
//
// Global memory moves in sectors of 32 bytes; shared memory has 32 banks of 4 bytes, and answers a request in as many
// rounds as the busiest bank has different words to give ("CUDA C++ Programming Guide", compute capability 5 and on).
#include <algorithm>
#include <map>
#include <vector>

#include "runtime.h"

namespace gpusim {

struct Recorded {
    unsigned instruction, epoch;
    unsigned short warp, nth;  // the nth time that this lane is here in this epoch
    unsigned char lane, size, kind;
    bool in_shared;
    size_t offset;  // from the beginning of the array, or of shared memory
};
static std::vector<Recorded> accesses;  // of the block that runs

struct Row {  // mirrored in report.py
    unsigned instruction;
    int kind, in_shared;
    unsigned long long requests, sectors, rounds;
};
static std::map<std::pair<unsigned, int>, Row> rows;
static std::vector<Row> listed;

void report_launch() { rows.clear(), accesses.clear(); }

void report_access(unsigned instruction, unsigned epoch, Kind kind, bool in_shared, size_t offset, size_t size) {
    const unsigned thread = unsigned(number(current));
    accesses.push_back({instruction, epoch, static_cast<unsigned short>(thread / 32), 0, static_cast<unsigned char>(thread % 32),
                        static_cast<unsigned char>(size), static_cast<unsigned char>(kind), in_shared, offset});
}

// The different values of offset / unit that the lanes [first, first + lanes) touch, a list that grows.
static int distinct(const Recorded* begin, const Recorded* end, size_t unit, int first, int lanes, size_t* units) {
    int n = 0;
    for (const Recorded* access = begin; access < end; access++) {
        if (access->lane < first || access->lane >= first + lanes) continue;
        for (size_t u = access->offset / unit; u <= (access->offset + access->size - 1) / unit; u++) units[n++] = u;
    }
    std::sort(units, units + n);
    return int(std::unique(units, units + n) - units);
}

static void add_request(const Recorded* begin, const Recorded* end) {
    Row& row = rows[{begin->instruction, begin->kind}];
    row.instruction = begin->instruction, row.kind = begin->kind, row.in_shared = begin->in_shared;
    row.requests++;
    size_t units[32 * 256 / 4 + 64];
    if (!begin->in_shared) {
        row.sectors += unsigned(distinct(begin, end, 32, 0, 32, units));
        return;
    }
    // 8 and 16 bytes a lane are answered to half and to a quarter of a warp at a time: 128 bytes a round.
    const int lanes = begin->size >= 16 ? 8 : begin->size >= 8 ? 16 : 32;
    int rounds = 0;
    for (int first = 0; first < 32; first += lanes) {
        const int n = distinct(begin, end, 4, first, lanes, units);
        int of_bank[32] = {};
        for (int i = 0; i < n; i++) of_bank[units[i] % 32]++;
        rounds = std::max(rounds, *std::max_element(of_bank, of_bank + 32));
    }
    row.rounds += unsigned(rounds);
}

void report_block() {
    const auto place = [](const Recorded& a) { return std::make_tuple(a.instruction, a.kind, a.warp, a.epoch, a.lane); };
    std::stable_sort(accesses.begin(), accesses.end(), [&](auto& a, auto& b) { return place(a) < place(b); });
    for (size_t i = 1; i < accesses.size(); i++)
        if (place(accesses[i]) == place(accesses[i - 1])) accesses[i].nth = static_cast<unsigned short>(accesses[i - 1].nth + 1);
    const auto request = [](const Recorded& a) { return std::make_tuple(a.instruction, a.kind, a.warp, a.epoch, a.nth); };
    std::stable_sort(accesses.begin(), accesses.end(), [&](auto& a, auto& b) { return request(a) < request(b); });
    for (size_t i = 0, j; i < accesses.size(); i = j) {
        for (j = i + 1; j < accesses.size() && request(accesses[i]) == request(accesses[j]);) j++;
        add_request(&accesses[i], &accesses[i] + (j - i));
    }
    accesses.clear();
}

extern "C" int gpusim_report(const Row** to) {
    listed.clear();
    for (const auto& [key, row] : rows) listed.push_back(row);
    *to = listed.data();
    return int(listed.size());
}

}  // namespace gpusim
