// How every function of the API begins: counted, alone, and refused where a test asked for that.
#pragma once
#include "state.h"

#include <string_view>

#define API extern "C" __attribute__((visibility("default")))

namespace kiln_fake {

constexpr unsigned static_shared_limit = 48 << 10, shared_limit = 227 << 10;

// What a function asks for before it does anything.
enum class Needs { Nothing, Initialized, Context };

// A function's counter, by its name with or without the version at its end.
inline Counter& counter_of(std::string_view function) {
    size_t length = function.size();
    if (length > 3 && function.substr(length - 3, 2) == "_v") function.remove_suffix(3);
    auto& counters = state().counters;
    auto at = counters.find(function);
    return at == counters.end() ? counters[std::string(function)] : at->second;
}

// A call of the API, for as long as it lasts: counted, alone, and refused where the test asked for that.
class Call {
public:
    Call(const char* function, Needs needs) : held(state().lock) {
        Counter& counter = counter_of(function);
        counter.calls++;
        if (counter.fails_in > 0 && --counter.fails_in == 0) {
            result = counter.failure;
        } else if (needs != Needs::Nothing && !state().initialized) {
            result = CUDA_ERROR_NOT_INITIALIZED;
        } else if (needs == Needs::Context) {
            Device* device = current_device();
            result = device && device->retained > 0 ? device->failure : CUDA_ERROR_INVALID_CONTEXT;
        }
    }

    CUresult result = CUDA_SUCCESS;

private:
    std::lock_guard<std::mutex> held;
};

#define CALL(needs)                    \
    Call call(__func__, Needs::needs); \
    if (call.result != CUDA_SUCCESS) return call.result

#define REQUIRE(condition, result) \
    if (!(condition)) return result

#define TRY(expression) \
    if (CUresult result = expression) return result

inline Device* device_of(CUdevice ordinal) {
    bool known = ordinal >= 0 && size_t(ordinal) < state().devices.size();
    return known ? state().devices[size_t(ordinal)].get() : nullptr;
}

inline CUcontext context_of(Device* device) { return reinterpret_cast<CUcontext>(device); }

// Null for what is no context, or none that anybody holds.
inline Device* device_of(CUcontext context) {
    for (const auto& device : state().devices) {
        if (context_of(device.get()) == context && device->retained > 0) return device.get();
    }
    return nullptr;
}

}  // namespace kiln_fake
