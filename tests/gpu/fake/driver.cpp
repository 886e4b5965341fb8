// A fake libcuda.so.1: the driver API on the CPU, with the rules and the error codes of a real one.
//
// Environment: KILN_FAKE_DEVICES (1), KILN_FAKE_MEMORY (bytes of each, 2 GiB), KILN_FAKE_DRIVER_VERSION (13000),
// KILN_FAKE_SEED (1: the order of threads and blocks; 0 is the order of their numbers),
// KILN_FAKE_LAZY=1 (work of streams runs when somebody waits for it, not when it is submitted),
// KILN_FAKE_GUARD=1 (device memory is out of bounds for the host, but for kernels and copies).
#include "fibers.h"
#include "state.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

using namespace kiln_fake;

#define API extern "C" __attribute__((visibility("default")))

namespace {

constexpr unsigned static_shared_limit = 48 << 10, shared_limit = 227 << 10;

// What a function asks for before it does anything.
enum class Needs { Nothing, Initialized, Context };

// A function's counter, by its name with or without the version at its end.
Counter& counter_of(std::string_view function) {
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

Device* device_of(CUdevice ordinal) {
    bool known = ordinal >= 0 && size_t(ordinal) < state().devices.size();
    return known ? state().devices[size_t(ordinal)].get() : nullptr;
}

CUcontext context_of(Device* device) { return reinterpret_cast<CUcontext>(device); }

// Null for what is no context, or none that anybody holds.
Device* device_of(CUcontext context) {
    for (const auto& device : state().devices) {
        if (context_of(device.get()) == context && device->retained > 0) return device.get();
    }
    return nullptr;
}

}  // namespace

// ---- Errors

API CUresult cuGetErrorName(CUresult error, const char** text) {
    CALL(Nothing);
    switch (error) {
#define KILN_FAKE_ERROR(name, number, description) \
    case number: *text = #name; return CUDA_SUCCESS;
        KILN_FAKE_ERRORS(KILN_FAKE_ERROR)
#undef KILN_FAKE_ERROR
    }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGetErrorString(CUresult error, const char** text) {
    CALL(Nothing);
    switch (error) {
#define KILN_FAKE_ERROR(name, number, description) \
    case number: *text = description; return CUDA_SUCCESS;
        KILN_FAKE_ERRORS(KILN_FAKE_ERROR)
#undef KILN_FAKE_ERROR
    }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

// ---- Devices

API CUresult cuInit(unsigned flags) {
    CALL(Nothing);
    REQUIRE(flags == 0, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(!state().devices.empty(), CUDA_ERROR_NO_DEVICE);
    state().initialized = true;
    return CUDA_SUCCESS;
}

API CUresult cuDriverGetVersion(int* version) {
    CALL(Nothing);
    REQUIRE(version, CUDA_ERROR_INVALID_VALUE);
    *version = state().driver_version;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int* count) {
    CALL(Initialized);
    REQUIRE(count, CUDA_ERROR_INVALID_VALUE);
    *count = int(state().devices.size());
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    CALL(Initialized);
    REQUIRE(device, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(ordinal), CUDA_ERROR_INVALID_DEVICE);
    *device = ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
    CALL(Initialized);
    REQUIRE(name && length > 0, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    snprintf(name, size_t(length), "Kiln fake GPU (sm_90)");
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
    CALL(Initialized);
    REQUIRE(uuid, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    memcpy(uuid->bytes, "kiln-fake-gpu-0", 16);
    uuid->bytes[15] = char('0' + device);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    CALL(Initialized);
    REQUIRE(bytes, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    *bytes = device_of(device)->memory_bytes;
    return CUDA_SUCCESS;
}

// An H200's, where the fake has none of its own. What is not listed is 0.
API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    CALL(Initialized);
    REQUIRE(value && int(attribute) > 0, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    static const std::map<int, int> values = {
        {1, 1024},                      // threads of a block
        {2, 1024}, {3, 1024}, {4, 64},  // a block's width, height, depth
        {5, 0x7fffffff}, {6, 65535}, {7, 65535},
        {8, int(static_shared_limit)},  // shared memory of a block
        {9, 65536},                     // constant memory
        {10, 32},                       // threads of a warp
        {11, 0x7fffffff},               // pitch
        {12, 65536},                    // registers of a block
        {13, 1980000},                  // clock rate, in kHz
        {14, 512},                      // alignment of textures
        {16, 132},                      // multiprocessors
        {19, 1},                        // maps memory of the host
        {31, 1},                        // kernels at once
        {32, 1},                        // ECC
        {34, 0},
        {36, 3201000},                  // memory clock, in kHz
        {37, 6144},                     // width of the memory's bus, in bits
        {38, 60 << 20},                 // second-level cache
        {39, 2048},                     // threads of a multiprocessor
        {40, 3},                        // engines for copies
        {41, 1},                        // one space of addresses
        {75, 9}, {76, 0},               // compute capability
        {78, 1},                        // priorities of streams
        {81, 228 << 10},                // shared memory of a multiprocessor
        {82, 65536},                    // registers of a multiprocessor
        {90, 1},                        // preemption
        {97, int(shared_limit)},        // shared memory of a block that asks for it
        {106, 32},                      // blocks of a multiprocessor
        {111, 1024},                    // shared memory that is reserved
    };
    auto at = values.find(int(attribute));
    *value = at == values.end() ? 0 : at->second;
    if (int(attribute) == 33) *value = 1 + device;  // PCI bus
    return CUDA_SUCCESS;
}

API CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
    CALL(Initialized);
    REQUIRE(can, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device) && device_of(peer), CUDA_ERROR_INVALID_DEVICE);
    *can = device != peer;
    return CUDA_SUCCESS;
}

// ---- Contexts. Each device has one.

API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    CALL(Initialized);
    REQUIRE(context, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    device_of(device)->retained++;
    *context = context_of(device_of(device));
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CALL(Initialized);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    REQUIRE(device_of(device)->retained > 0, CUDA_ERROR_INVALID_CONTEXT);
    finish_all();
    device_of(device)->retained--;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    CALL(Initialized);
    REQUIRE(device_of(device), CUDA_ERROR_INVALID_DEVICE);
    finish_all();
    device_of(device)->failure = CUDA_SUCCESS;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
    CALL(Initialized);
    REQUIRE(!context || device_of(context), CUDA_ERROR_INVALID_CONTEXT);
    set_current_device(context ? device_of(context) : nullptr);
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext* context) {
    CALL(Initialized);
    REQUIRE(context, CUDA_ERROR_INVALID_VALUE);
    *context = current_device() ? context_of(current_device()) : nullptr;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice* device) {
    CALL(Context);
    REQUIRE(device, CUDA_ERROR_INVALID_VALUE);
    *device = current_device()->ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    CALL(Context);
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSynchronize() {
    CALL(Context);
    TRY(forbid_in_capture());
    finish_all();
    return current_device()->failure;
}

API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
    CALL(Context);
    REQUIRE(flags == 0, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(device_of(peer), CUDA_ERROR_INVALID_CONTEXT);
    REQUIRE(device_of(peer) != current_device(), CUDA_ERROR_INVALID_DEVICE);
    bool is_new = current_device()->peers.insert(device_of(peer)->ordinal).second;
    return is_new ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
}

// ---- Memory

API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    CALL(Context);
    REQUIRE(address && bytes > 0, CUDA_ERROR_INVALID_VALUE);
    TRY(forbid_in_capture());
    *address = current_device()->allocate(bytes);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuMemFree_v2(CUdeviceptr address) {
    CALL(Context);
    TRY(forbid_in_capture());
    REQUIRE(owner(address, 1), CUDA_ERROR_INVALID_VALUE);
    // As a real one, it waits for the work that may use the memory.
    finish_all();
    return owner(address, 1)->release(address) ? current_device()->failure : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    CALL(Context);
    REQUIRE(free_bytes && total, CUDA_ERROR_INVALID_VALUE);
    *total = current_device()->memory_bytes;
    *free_bytes = *total - current_device()->live_bytes;
    return CUDA_SUCCESS;
}

static CUresult allocate_pinned(void** address, size_t bytes) {
    REQUIRE(address && bytes > 0, CUDA_ERROR_INVALID_VALUE);
    TRY(forbid_in_capture());
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    *address = rounded >= bytes ? aligned_alloc(4096, rounded) : nullptr;
    REQUIRE(*address, CUDA_ERROR_OUT_OF_MEMORY);
    memset(*address, 0xCB, bytes);
    state().pinned[uintptr_t(*address)] = bytes;
    return CUDA_SUCCESS;
}

API CUresult cuMemAllocHost_v2(void** address, size_t bytes) {
    CALL(Context);
    return allocate_pinned(address, bytes);
}

API CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned flags) {
    CALL(Context);
    // Portable, mapped, write-combined.
    REQUIRE(flags <= 7, CUDA_ERROR_INVALID_VALUE);
    return allocate_pinned(address, bytes);
}

API CUresult cuMemFreeHost(void* address) {
    CALL(Context);
    TRY(forbid_in_capture());
    REQUIRE(state().pinned.count(uintptr_t(address)), CUDA_ERROR_INVALID_VALUE);
    finish_all();
    state().pinned.erase(uintptr_t(address));
    free(address);
    return current_device()->failure;
}

// ---- Copies

namespace {

// Memory that an operation reads or writes: of a device, or of the host.
struct Range {
    CUdeviceptr address;
    size_t bytes;
    bool on_device;
};

Range on_device(CUdeviceptr address, size_t bytes) { return {address, bytes, true}; }
Range on_host(const void* address, size_t bytes) { return {CUdeviceptr(address), bytes, false}; }

bool is_valid(const Range& range) {
    if (range.bytes == 0) return true;
    return range.on_device ? owner(range.address, range.bytes) != nullptr : range.address != 0;
}

// Opens a device's memory and does something with it, if all of it is still there: a graph may be older than its memory.
void touch(Device& device, const std::vector<Range>& ranges, const std::function<void()>& action) {
    std::vector<std::unique_ptr<Opened>> opened;
    for (const Range& range : ranges) {
        if (range.bytes == 0) return;
        Device* holder = range.on_device ? owner(range.address, range.bytes) : nullptr;
        if (range.on_device && !holder) {
            return fail(device, CUDA_ERROR_ILLEGAL_ADDRESS, "a copy or a fill uses memory that has been freed");
        }
        if (holder) opened.push_back(std::make_unique<Opened>(*holder));
    }
    action();
}

CUresult copy(Stream* stream, Range to, Range from) {
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(is_valid(to) && is_valid(from), CUDA_ERROR_INVALID_VALUE);
    Device* device = stream->device;
    auto plain = [=] {
        touch(*device, {to, from}, [=] {
            memmove(reinterpret_cast<void*>(to.address), reinterpret_cast<const void*>(from.address), to.bytes);
        });
    };
    auto pageable = [](const Range& range) {
        return !range.on_device && !is_pinned(reinterpret_cast<const void*>(range.address), range.bytes);
    };
    if (!pageable(to) && !pageable(from)) return submit(*stream, CU_GRAPH_NODE_TYPE_MEMCPY, plain);
    // A real driver would record the address, and every replay would read whatever lies there by then.
    if (stream->capture) return invalidate(*stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (pageable(to)) {
        // Returns when the bytes are there.
        TRY(submit(*stream, CU_GRAPH_NODE_TYPE_MEMCPY, plain));
        finish(*stream);
        return device->failure;
    }
    // The caller may reuse its memory at once, so the driver copies it at once to a place of its own.
    auto bytes = reinterpret_cast<const unsigned char*>(from.address);
    auto staged = std::make_shared<std::vector<unsigned char>>(bytes, bytes + from.bytes);
    return submit(*stream, CU_GRAPH_NODE_TYPE_MEMCPY, [=] {
        touch(*device, {to}, [=] { memcpy(reinterpret_cast<void*>(to.address), staged->data(), to.bytes); });
    });
}

// Of the functions without a stream: they run in the legacy stream and return when that is done.
CUresult copy_and_wait(Range to, Range from) {
    Stream* stream = find_stream(nullptr);
    TRY(forbid_in_capture());
    TRY(copy(stream, to, from));
    finish(*stream);
    return stream->device->failure;
}

template <class Element>
CUresult fill(CUstream handle, CUdeviceptr address, Element value, size_t count) {
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    Range to = on_device(address, count * sizeof(Element));
    REQUIRE(is_valid(to) && address % sizeof(Element) == 0, CUDA_ERROR_INVALID_VALUE);
    Device* device = stream->device;
    return submit(*stream, CU_GRAPH_NODE_TYPE_MEMSET, [=] {
        touch(*device, {to}, [=] {
            auto elements = reinterpret_cast<Element*>(address);
            for (size_t i = 0; i < count; i++) elements[i] = value;
        });
    });
}

}  // namespace

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    CALL(Context);
    return copy_and_wait(on_device(to, bytes), on_host(from, bytes));
}
API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    CALL(Context);
    return copy_and_wait(on_host(to, bytes), on_device(from, bytes));
}
API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    CALL(Context);
    return copy_and_wait(on_device(to, bytes), on_device(from, bytes));
}
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    CALL(Context);
    return copy(find_stream(stream), on_device(to, bytes), on_host(from, bytes));
}
API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CALL(Context);
    return copy(find_stream(stream), on_host(to, bytes), on_device(from, bytes));
}
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CALL(Context);
    return copy(find_stream(stream), on_device(to, bytes), on_device(from, bytes));
}
API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                               size_t bytes, CUstream stream) {
    CALL(Context);
    Device *to_device = device_of(to_context), *from_device = device_of(from_context);
    REQUIRE(to_device && from_device, CUDA_ERROR_INVALID_CONTEXT);
    REQUIRE(to_device->owns(to, bytes) && from_device->owns(from, bytes), CUDA_ERROR_INVALID_VALUE);
    return copy(find_stream(stream), on_device(to, bytes), on_device(from, bytes));
}
API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    CALL(Context);
    return fill(stream, to, value, count);
}
API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
    CALL(Context);
    return fill(stream, to, value, count);
}
API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    CALL(Context);
    return fill(stream, to, value, count);
}

// ---- Streams

static CUresult create_stream(CUstream* handle, unsigned flags) {
    REQUIRE(handle && flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
    auto stream = std::make_shared<Stream>();
    stream->device = current_device();
    stream->blocking = flags != CU_STREAM_NON_BLOCKING;
    *handle = state().streams.insert(stream);
    return CUDA_SUCCESS;
}

API CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    CALL(Context);
    return create_stream(stream, flags);
}

API CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) {
    CALL(Context);
    return create_stream(stream, flags);
}

API CUresult cuStreamDestroy_v2(CUstream handle) {
    CALL(Context);
    Stream* stream = state().streams.find(handle).get();
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture) return invalidate(*stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    finish(*stream);
    state().streams.erase(handle);
    return CUDA_SUCCESS;
}

API CUresult cuStreamSynchronize(CUstream handle) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture) return invalidate(*stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    TRY(forbid_in_capture());
    finish_before(*stream);
    finish(*stream);
    return stream->device->failure;
}

API CUresult cuStreamQuery(CUstream handle) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture) return invalidate(*stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    TRY(forbid_in_capture());
    REQUIRE(!stream->queue.empty(), stream->device->failure);
    // Who asks again and again sees the work go on.
    step(*stream);
    return stream->device->failure ? stream->device->failure : CUDA_ERROR_NOT_READY;
}

API CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    std::shared_ptr<Event> event = state().events.find(event_handle);
    REQUIRE(stream && event, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(flags == 0, CUDA_ERROR_INVALID_VALUE);
    return wait(*stream, *event);
}

// ---- Events

API CUresult cuEventCreate(CUevent* handle, unsigned flags) {
    CALL(Context);
    REQUIRE(handle && flags <= 3, CUDA_ERROR_INVALID_VALUE);
    auto event = std::make_shared<Event>();
    event->timed = !(flags & CU_EVENT_DISABLE_TIMING);
    event->device = current_device();
    *handle = state().events.insert(event);
    return CUDA_SUCCESS;
}

API CUresult cuEventDestroy_v2(CUevent event) {
    CALL(Context);
    return state().events.erase(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuEventRecord(CUevent event_handle, CUstream handle) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    std::shared_ptr<Event> event = state().events.find(event_handle);
    REQUIRE(stream && event && stream->device == event->device, CUDA_ERROR_INVALID_HANDLE);
    return record(*stream, *event);
}

// The checks that waiting for an event and asking for it have in common.
static CUresult check_event(const std::shared_ptr<Event>& event) {
    REQUIRE(event, CUDA_ERROR_INVALID_HANDLE);
    if (event->mark && event->mark->captured) {
        std::shared_ptr<Capture> capture = event->mark->capture.lock();
        return capture ? invalidate(*capture, CUDA_ERROR_CAPTURED_EVENT) : CUDA_ERROR_CAPTURED_EVENT;
    }
    return forbid_in_capture();
}

API CUresult cuEventQuery(CUevent handle) {
    CALL(Context);
    std::shared_ptr<Event> event = state().events.find(handle);
    TRY(check_event(event));
    if (!event->mark || event->mark->reached) return event->device->failure;
    step(*event->mark->stream);
    return event->device->failure ? event->device->failure : CUDA_ERROR_NOT_READY;
}

API CUresult cuEventSynchronize(CUevent handle) {
    CALL(Context);
    std::shared_ptr<Event> event = state().events.find(handle);
    TRY(check_event(event));
    if (event->mark) finish(event->mark);
    return event->device->failure;
}

static CUresult elapsed(float* milliseconds, CUevent start_handle, CUevent end_handle) {
    std::shared_ptr<Event> start = state().events.find(start_handle), end = state().events.find(end_handle);
    REQUIRE(milliseconds, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(start && end && start->timed && end->timed, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(start->mark && end->mark, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(!start->mark->captured && !end->mark->captured, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(start->mark->reached && end->mark->reached, CUDA_ERROR_NOT_READY);
    std::chrono::duration<float, std::milli> span = end->mark->when - start->mark->when;
    *milliseconds = span.count();
    return CUDA_SUCCESS;
}

API CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    CALL(Context);
    return elapsed(milliseconds, start, end);
}

API CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
    CALL(Context);
    return elapsed(milliseconds, start, end);
}

// ---- Modules and kernels

namespace {

// What stands behind a word at the beginning of a line of the text that the fake NVRTC calls a cubin or PTX.
std::string value_of(const std::string& text, const std::string& word) {
    size_t at = text.find("\n" + word + " ");
    if (at == std::string::npos) return "";
    at += word.size() + 2;
    return text.substr(at, text.find('\n', at) - at);
}

CUresult load(CUmodule* handle, const void* image) {
    REQUIRE(handle && image, CUDA_ERROR_INVALID_VALUE);
    TRY(forbid_in_capture());
    const char* beginning = static_cast<const char*>(image);
    bool is_cubin = strncmp(beginning, "kiln-fake-cubin\n", 16) == 0;
    bool is_ptx = strncmp(beginning, "// kiln-fake-ptx\n", 17) == 0;
    REQUIRE(is_cubin || is_ptx, CUDA_ERROR_INVALID_IMAGE);
    std::string text = beginning, architecture = value_of(text, "architecture");
    int number = atoi(architecture.c_str() + architecture.find('_') + 1);
    // A cubin runs on its own generation only, and PTX on all that follow.
    REQUIRE(is_ptx ? number <= 90 : number == 90, CUDA_ERROR_NO_BINARY_FOR_GPU);
    std::string path = value_of(text, "library");
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        state().last_error = dlerror();
        return CUDA_ERROR_INVALID_IMAGE;
    }
    auto module = std::make_shared<Module>();
    module->library = library;
    module->device = current_device();
    *handle = state().modules.insert(module);
    return CUDA_SUCCESS;
}

}  // namespace

API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    CALL(Context);
    return load(module, image);
}

API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    CALL(Context);
    return load(module, image);
}

API CUresult cuModuleUnload(CUmodule handle) {
    CALL(Context);
    std::shared_ptr<Module> module = state().modules.find(handle);
    REQUIRE(module, CUDA_ERROR_INVALID_HANDLE);
    TRY(forbid_in_capture());
    finish_all();
    // The library itself stays: a graph may still have nodes of its kernels.
    for (CUfunction function : module->functions) state().functions.erase(function);
    state().modules.erase(handle);
    return CUDA_SUCCESS;
}

API CUresult cuModuleGetFunction(CUfunction* handle, CUmodule module_handle, const char* name) {
    CALL(Context);
    REQUIRE(handle && name, CUDA_ERROR_INVALID_VALUE);
    std::shared_ptr<Module> module = state().modules.find(module_handle);
    REQUIRE(module, CUDA_ERROR_INVALID_HANDLE);
    void* kernel = dlsym(module->library, (std::string(name) + "_kiln_kernel").c_str());
    REQUIRE(kernel, CUDA_ERROR_NOT_FOUND);
    auto function = std::make_shared<Function>();
    function->kernel = static_cast<const Kernel*>(kernel);
    function->device = module->device;
    unsigned used = function->kernel->static_shared_bytes();
    // The compiler of a real one refuses such a kernel.
    REQUIRE(used <= static_shared_limit, CUDA_ERROR_INVALID_IMAGE);
    function->dynamic_shared_limit = static_shared_limit - used;
    *handle = state().functions.insert(function);
    module->functions.insert(*handle);
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    CALL(Context);
    std::shared_ptr<Function> function = state().functions.find(handle);
    REQUIRE(function, CUDA_ERROR_INVALID_HANDLE);
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
    REQUIRE(attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, CUDA_ERROR_INVALID_VALUE);
    size_t used = function->kernel->static_shared_bytes();
    REQUIRE(value >= 0 && used + size_t(value) <= shared_limit, CUDA_ERROR_INVALID_VALUE);
    function->dynamic_shared_limit = unsigned(value);
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
    CALL(Context);
    REQUIRE(value, CUDA_ERROR_INVALID_VALUE);
    std::shared_ptr<Function> function = state().functions.find(handle);
    REQUIRE(function, CUDA_ERROR_INVALID_HANDLE);
    const Kernel& kernel = *function->kernel;
    *value = 0;
    switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = int(kernel.thread_limit); break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = int(kernel.static_shared_bytes()); break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = int(function->dynamic_shared_limit); break;
        default: break;
    }
    return CUDA_SUCCESS;
}

namespace {

// A kernel with copies of its arguments, as a launch or a node of a graph keeps it.
struct Prepared {
    Device* device;
    const Kernel* kernel;
    Index grid, block;
    unsigned shared_bytes;
    std::vector<std::vector<unsigned char>> arguments;
};

void run_kernel(Prepared& prepared) {
    std::vector<void*> arguments;
    // Copied again, as a kernel may change its parameters and a graph runs it more than once.
    auto values = prepared.arguments;
    for (auto& value : values) arguments.push_back(value.data());
    state().launches++;
    unsigned long long seed = state().seed;
    if (seed != 0) seed = seed * 0x9E3779B97F4A7C15ull + (unsigned long long)state().launches;
    std::string why;
    Opened opened(*prepared.device);
    Outcome outcome = run({prepared.kernel, prepared.grid, prepared.block, prepared.shared_bytes, arguments.data(), seed},
                          why);
    if (outcome == Outcome::Failed) fail(*prepared.device, CUDA_ERROR_LAUNCH_FAILED, why);
    if (outcome == Outcome::BadAddress) fail(*prepared.device, CUDA_ERROR_ILLEGAL_ADDRESS, why);
    std::string damage = prepared.device->damage();
    if (!damage.empty()) {
        fail(*prepared.device, CUDA_ERROR_ILLEGAL_ADDRESS, "kernel " + std::string(prepared.kernel->name) + ": " + damage);
    }
}

bool fits(Index index, Index limit) {
    return index.x - 1 < limit.x && index.y - 1 < limit.y && index.z - 1 < limit.z;
}

}  // namespace

API CUresult cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream_handle,
                            void** arguments, void** extra) {
    CALL(Context);
    std::shared_ptr<Function> function = state().functions.find(handle);
    Stream* stream = find_stream(stream_handle);
    REQUIRE(function && stream, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(function->device == current_device() && stream->device == current_device(), CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(!extra, CUDA_ERROR_NOT_SUPPORTED);
    const Kernel& kernel = *function->kernel;
    Index grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
    REQUIRE(fits(grid, {0x7fffffff, 65535, 65535}) && fits(block, {1024, 1024, 64}), CUDA_ERROR_INVALID_VALUE);
    unsigned threads = block_x * block_y * block_z;
    REQUIRE(threads <= 1024, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(threads <= kernel.thread_limit, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    REQUIRE(shared_bytes <= function->dynamic_shared_limit, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(arguments || kernel.argument_count == 0, CUDA_ERROR_INVALID_VALUE);
    auto prepared = std::make_shared<Prepared>();
    *prepared = {current_device(), &kernel, grid, block, shared_bytes, {}};
    for (unsigned i = 0; i < kernel.argument_count; i++) {
        auto bytes = static_cast<const unsigned char*>(arguments[i]);
        REQUIRE(bytes, CUDA_ERROR_INVALID_VALUE);
        prepared->arguments.emplace_back(bytes, bytes + kernel.argument_bytes[i]);
    }
    return submit(*stream, CU_GRAPH_NODE_TYPE_KERNEL, [prepared] { run_kernel(*prepared); });
}

// ---- Captures and graphs

API CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(unsigned(mode) <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
    return begin_capture(*stream, mode);
}

API CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
    CALL(Context);
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(graph, CUDA_ERROR_INVALID_VALUE);
    return end_capture(*stream, graph);
}

// The state of a stream's capture, its number and its graph; what a caller does not ask for is null.
static CUresult capture_state(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id) {
    Stream* stream = find_stream(handle);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(status, CUDA_ERROR_INVALID_VALUE);
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    if (!stream->capture) return CUDA_SUCCESS;
    *status = stream->capture->valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
    if (id) *id = stream->capture->id;
    return CUDA_SUCCESS;
}

API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
    CALL(Context);
    return capture_state(stream, status, nullptr);
}

API CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id) {
    CALL(Context);
    return capture_state(stream, status, id);
}

// Of the graph under construction it tells nothing: no edges, and a null graph.
API CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                       const CUgraphNode** dependencies, size_t* count) {
    CALL(Context);
    if (graph) *graph = nullptr;
    if (dependencies) *dependencies = nullptr;
    if (count) *count = 0;
    return capture_state(stream, status, id);
}

API CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                       const CUgraphNode** dependencies, const CUgraphEdgeData** edges, size_t* count) {
    CALL(Context);
    if (graph) *graph = nullptr;
    if (dependencies) *dependencies = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return capture_state(stream, status, id);
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph handle, unsigned long long) {
    CALL(Context);
    std::shared_ptr<Graph> graph = state().graphs.find(handle);
    REQUIRE(executable && graph, CUDA_ERROR_INVALID_VALUE);
    *executable = state().executables.insert(std::make_shared<Graph>(*graph));
    return CUDA_SUCCESS;
}

API CUresult cuGraphUpload(CUgraphExec executable, CUstream stream) {
    CALL(Context);
    REQUIRE(state().executables.find(executable), CUDA_ERROR_INVALID_VALUE);
    REQUIRE(find_stream(stream), CUDA_ERROR_INVALID_HANDLE);
    return CUDA_SUCCESS;
}

API CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    CALL(Context);
    std::shared_ptr<Graph> graph = state().executables.find(handle);
    Stream* stream = find_stream(stream_handle);
    REQUIRE(graph, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(stream, CUDA_ERROR_INVALID_HANDLE);
    for (const Node& node : graph->nodes) TRY(submit(*stream, node.type, node.run));
    return CUDA_SUCCESS;
}

API CUresult cuGraphExecDestroy(CUgraphExec executable) {
    CALL(Context);
    return state().executables.erase(executable) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphDestroy(CUgraph graph) {
    CALL(Context);
    return state().graphs.erase(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
    CALL(Context);
    std::shared_ptr<Graph> graph = state().graphs.find(handle);
    REQUIRE(graph && count, CUDA_ERROR_INVALID_VALUE);
    size_t room = nodes ? *count : 0;
    *count = graph->nodes.size();
    for (size_t i = 0; i < room; i++) {
        nodes[i] = i < graph->nodes.size() ? reinterpret_cast<CUgraphNode>(&graph->nodes[i]) : nullptr;
    }
    return CUDA_SUCCESS;
}

API CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType* type) {
    CALL(Context);
    REQUIRE(node && type, CUDA_ERROR_INVALID_VALUE);
    *type = reinterpret_cast<Node*>(node)->type;
    return CUDA_SUCCESS;
}

// ---- For tests

// How often a function was called since the last reset.
API long kiln_fake_calls(const char* function) {
    std::lock_guard<std::mutex> held(state().lock);
    return counter_of(function).calls;
}

// Lets the nth call from now fail: 1 is the next one.
API void kiln_fake_fail(const char* function, long nth, int code) {
    std::lock_guard<std::mutex> held(state().lock);
    Counter& counter = counter_of(function);
    counter.fails_in = nth;
    counter.failure = CUresult(code);
}

// Forgets calls, failures that were asked for, and those of kernels.
API void kiln_fake_reset() {
    std::lock_guard<std::mutex> held(state().lock);
    state().counters.clear();
    state().launches = 0;
    state().last_error.clear();
    for (const auto& device : state().devices) device->failure = CUDA_SUCCESS;
}

// How many kernels ran, those of graphs included.
API long kiln_fake_launches() {
    std::lock_guard<std::mutex> held(state().lock);
    return state().launches;
}

API size_t kiln_fake_live_bytes(int device) {
    std::lock_guard<std::mutex> held(state().lock);
    return device_of(device) ? device_of(device)->live_bytes : 0;
}

// What went wrong with the last kernel that failed. The text stays until this thread asks again.
API const char* kiln_fake_last_error() {
    static thread_local std::string text;
    std::lock_guard<std::mutex> held(state().lock);
    text = state().last_error;
    return text.c_str();
}
