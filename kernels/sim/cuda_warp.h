// The warp's shuffles and votes: every lane deposits its operands and waits, the last one to arrive computes for all.
#pragma once

extern "C" void* memcpy(void*, const void*, size_t) noexcept;

namespace gpusim {

struct Shuffle {
    unsigned value[2];  // the operand's bits; afterwards those of the lane read from
    int argument, width;
};
using Source = int (*)(int lane, int argument, int width);  // the lane to read from

// A lane that takes no part has no value: what CUDA leaves undefined is all ones here, a NaN in a float.
template <Source source> void shuffle(Lanes lanes, unsigned present) {
    unsigned before[32][2];
    for (int lane = 0; lane < 32; lane++)
        for (int word = 0; word < 2; word++)
            before[lane][word] = present >> lane & 1 ? static_cast<Shuffle*>(lanes[lane])->value[word] : 0xFFFFFFFFu;
    for (int lane = 0; lane < 32; lane++) {
        if (!(present >> lane & 1)) continue;
        Shuffle* own = static_cast<Shuffle*>(lanes[lane]);
        const int from = source(lane, own->argument, own->width);
        own->value[0] = before[from][0], own->value[1] = before[from][1];
    }
}

// Lanes read within their own group of `width`; outside of it, they keep their own value.
GPUSIM_INLINE int group(int lane, int width) { return lane & ~(width - 1); }
inline int from_index(int lane, int index, int width) { return group(lane, width) + (index & (width - 1)); }
inline int from_up(int lane, int delta, int width) { return lane - delta < group(lane, width) ? lane : lane - delta; }
inline int from_down(int lane, int delta, int width) {
    return lane + delta >= group(lane, width) + width ? lane : lane + delta;
}
inline int from_xor(int lane, int bits, int width) {
    return (lane ^ bits) >= group(lane, width) + width ? lane : lane ^ bits;
}

template <class T, Source source> GPUSIM_INLINE T exchange(unsigned mask, T value, int argument, int width, Site at) {
    static_assert((sizeof(T) == 4 || sizeof(T) == 8) && T(1) > T(0), "a shuffle moves a number of 4 or 8 bytes");
    Shuffle operands = {{0, 0}, argument, width};
    memcpy(operands.value, &value, sizeof(T));
    gpusim_collective(mask, shuffle<source>, &operands, false, at.file, at.line);
    memcpy(&value, operands.value, sizeof(T));
    return value;
}

struct Vote {
    int predicate;
    unsigned ballot, present;
};
inline void vote(Lanes lanes, unsigned present) {
    unsigned ballot = 0;
    for (int lane = 0; lane < 32; lane++)
        if (present >> lane & 1 && static_cast<Vote*>(lanes[lane])->predicate) ballot |= 1u << lane;
    for (int lane = 0; lane < 32; lane++)
        if (present >> lane & 1) *static_cast<Vote*>(lanes[lane]) = {0, ballot, present};
}
GPUSIM_INLINE Vote voted(unsigned mask, int predicate, Site at) {
    Vote operands = {predicate, 0, 0};
    gpusim_collective(mask, vote, &operands, false, at.file, at.line);
    return operands;
}

}  // namespace gpusim

#define GPUSIM_SHUFFLE(name, source, Argument)                                                                  \
    template <class T>                                                                                          \
    GPUSIM_INLINE T name(unsigned mask, T value, Argument argument, int width = 32, gpusim::Site at = gpusim::here()) { \
        return gpusim::exchange<T, gpusim::source>(mask, value, int(argument), width, at);                      \
    }
GPUSIM_SHUFFLE(__shfl_sync, from_index, int)
GPUSIM_SHUFFLE(__shfl_up_sync, from_up, unsigned)
GPUSIM_SHUFFLE(__shfl_down_sync, from_down, unsigned)
GPUSIM_SHUFFLE(__shfl_xor_sync, from_xor, int)

GPUSIM_INLINE unsigned __ballot_sync(unsigned mask, int predicate, gpusim::Site at = gpusim::here()) {
    return gpusim::voted(mask, predicate, at).ballot;
}
GPUSIM_INLINE int __any_sync(unsigned mask, int predicate, gpusim::Site at = gpusim::here()) {
    return gpusim::voted(mask, predicate, at).ballot != 0;
}
GPUSIM_INLINE int __all_sync(unsigned mask, int predicate, gpusim::Site at = gpusim::here()) {
    const gpusim::Vote result = gpusim::voted(mask, predicate, at);
    return result.ballot == result.present;
}
