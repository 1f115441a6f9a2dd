// The table of a module's kernels. build.py writes GPUSIM_KERNEL(name) for each at the foot of the text, and the
// compiler deduces the parameters' types, so that Python can check the arguments against them.
#pragma once

namespace gpusim {

// One row of a module's table of kernels; `call` unpacks the launch's arguments.
struct Kernel {
    const char* name;
    const char* parameters;  // "const float*, float*, int"
    void (*call)(void* const* arguments);
    int most_threads;        // of __launch_bounds__, 0 where there are none
};

struct Text {
    char characters[512] = {};
    int length = 0;
    constexpr void add(const char* text) {
        while (*text) characters[length++] = *text++;
    }
};

template <class T> inline constexpr const char* type_name = nullptr;
#define GPUSIM_TYPE(T) template <> inline constexpr const char* type_name<T> = #T;
GPUSIM_TYPE(void) GPUSIM_TYPE(bool) GPUSIM_TYPE(float) GPUSIM_TYPE(double) GPUSIM_TYPE(int) GPUSIM_TYPE(unsigned)
GPUSIM_TYPE(char) GPUSIM_TYPE(signed char) GPUSIM_TYPE(unsigned char) GPUSIM_TYPE(short) GPUSIM_TYPE(unsigned short)
GPUSIM_TYPE(long) GPUSIM_TYPE(unsigned long) GPUSIM_TYPE(long long) GPUSIM_TYPE(unsigned long long)
GPUSIM_TYPE(float2) GPUSIM_TYPE(float4) GPUSIM_TYPE(int2) GPUSIM_TYPE(int4) GPUSIM_TYPE(uint2) GPUSIM_TYPE(uint4)

template <class T> struct Spell {
    static_assert(type_name<T> != nullptr, "a kernel's parameter is a number, or a pointer to numbers");
    static constexpr void to(Text& text) { text.add(type_name<T>); }
};
template <class T> struct Spell<const T> {
    static constexpr void to(Text& text) { text.add("const "), Spell<T>::to(text); }
};
template <class T> struct Spell<T*> {
    static constexpr void to(Text& text) { Spell<T>::to(text), text.add("*"); }
};
template <class T> struct Spell<T* const> {
    static constexpr void to(Text& text) { Spell<T*>::to(text), text.add(" const"); }
};

template <int... I> struct Indices {};
template <int n, int... I> struct CountTo : CountTo<n - 1, n - 1, I...> {};
template <int... I> struct CountTo<0, I...> { using type = Indices<I...>; };

template <class F, F kernel> struct Entry;
template <class... A, void (*kernel)(A...)> struct Entry<void (*)(A...), kernel> {
    static constexpr Text text = [] {
        Text all;
        ((all.add(all.length ? ", " : ""), Spell<A>::to(all)), ...);
        return all;
    }();
    template <int... I> static inline void unpack(void* const* arguments, Indices<I...>) {
        kernel(*static_cast<A*>(arguments[I])...);
    }
    static void call(void* const* arguments) { unpack(arguments, typename CountTo<sizeof...(A)>::type()); }
};

}  // namespace gpusim

#define GPUSIM_KERNEL(name, bounds)                                                          \
    {#name, gpusim::Entry<decltype(&name), &name>::text.characters, gpusim::Entry<decltype(&name), &name>::call, bounds},
