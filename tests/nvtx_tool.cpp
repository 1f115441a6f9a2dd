// A tool that NVTX's library loads where NVTX_INJECTION64_PATH names it, as it loads nsys's: it prints what it hears.
// Its interface is nvtx3/nvtxDetail/nvtxTypes.h of github.com/NVIDIA/NVTX; numbers are those of its enumerations.

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

struct Attributes {  // nvtxEventAttributes_v2
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    uint64_t payload;
    int32_t message_type;
    uintptr_t message;  // of messages that were registered before, what registering them returned
};

struct Callbacks {  // NvtxExportTableCallbacks
    size_t size;
    int (*table_of_module)(int module, void*** table, unsigned* size);
};

static std::vector<std::string> names{""};  // of domains and messages, by the handles that they get

static uintptr_t keep(const char* name) {
    names.push_back(name);
    return names.size() - 1;
}

static uintptr_t create_domain(const char* name) { return keep(name); }
static uintptr_t register_string(uintptr_t, const char* text) { return keep(text); }

static int push(uintptr_t domain, const Attributes* range) {
    return std::printf("push %s:%s\n", names[domain].c_str(), names[range->message].c_str());
}

static int pop(uintptr_t domain) { return std::printf("pop %s\n", names[domain].c_str()); }

extern "C" int InitializeInjectionNvtx2(const void* (*export_table)(uint32_t)) {
    const auto* callbacks = static_cast<const Callbacks*>(export_table(1));  // NVTX_ETID_CALLBACKS
    void** table = nullptr;
    unsigned size = 0;
    if (!callbacks || !callbacks->table_of_module(5, &table, &size) || size <= 12) return 0;  // NVTX_CB_MODULE_CORE2
    const auto hear = [&](int number, void* function) { *static_cast<void**>(table[number]) = function; };
    hear(4, reinterpret_cast<void*>(push));             // DomainRangePushEx
    hear(5, reinterpret_cast<void*>(pop));              // DomainRangePop
    hear(10, reinterpret_cast<void*>(register_string));  // DomainRegisterStringA
    hear(12, reinterpret_cast<void*>(create_domain));   // DomainCreateA
    return 1;
}
