// A fake libcuda.so.1: the driver API on the CPU, with the rules and the error codes of a real one.
//
// Environment: KILN_FAKE_DEVICES (1), KILN_FAKE_MEMORY (bytes of each, 2 GiB), KILN_FAKE_DRIVER_VERSION (13000),
// KILN_FAKE_SEED (1: the order of threads and blocks; 0 is the order of their numbers),
// KILN_FAKE_LAZY=1 (work of streams runs when somebody waits for it, not when it is submitted),
// KILN_FAKE_GUARD=1 (device memory is out of bounds for the host, but for kernels and copies).
//
// This file has what needs no stream of its own: errors, devices, contexts, memory, copies. work.cpp has the rest.
#include "call.h"

#include <stdlib.h>
#include <string.h>

using namespace kiln_fake;

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

// Opens a device's memory and does something with it, if all of it is still there: a graph may be older than its
// memory.
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

// For libraries over the driver: work of a stream on these ranges of a device's memory, counted as a call of `function`.
API CUresult kiln_fake_submit(const char* function, CUstream handle, unsigned count, const CUdeviceptr* addresses,
                              const size_t* bytes, void (*run)(void*), void* data, void (*drop)(void*)) {
    std::shared_ptr<void> held(data, drop);
    Call call(function, Needs::Context);
    if (call.result != CUDA_SUCCESS) return call.result;
    Stream* stream = find_stream(handle);
    REQUIRE(stream && stream->device == current_device(), CUDA_ERROR_INVALID_HANDLE);
    std::vector<Range> ranges;
    for (unsigned i = 0; i < count; i++) ranges.push_back(on_device(addresses[i], bytes[i]));
    for (const Range& range : ranges) REQUIRE(is_valid(range), CUDA_ERROR_ILLEGAL_ADDRESS);
    Device* device = stream->device;
    return submit(*stream, CU_GRAPH_NODE_TYPE_KERNEL, [=] { touch(*device, ranges, [=] { run(held.get()); }); });
}

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
