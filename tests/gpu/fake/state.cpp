// Memory, streams and captures of the fake driver.
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// There only in a process that runs under AddressSanitizer, which then sees accesses to what is not allocated.
extern "C" __attribute__((weak)) void __asan_poison_memory_region(const volatile void*, size_t);
extern "C" __attribute__((weak)) void __asan_unpoison_memory_region(const volatile void*, size_t);

namespace kiln_fake {

namespace {

constexpr size_t alignment = 256;
// Behind every allocation are at least so many bytes that nobody may change.
constexpr size_t fence_bytes = 256;
constexpr unsigned char garbage = 0xCB, fence = 0xFB;

size_t round_up(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

long long number(const char* variable, long long otherwise) {
    const char* text = getenv(variable);
    return text && *text ? strtoll(text, nullptr, 0) : otherwise;
}

void poison(const unsigned char* from, size_t bytes) {
    if (__asan_poison_memory_region) __asan_poison_memory_region(from, bytes);
}

void unpoison(const unsigned char* from, size_t bytes) {
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(from, bytes);
}

thread_local Device* current;

}  // namespace

State& state() {
    static State* only = new State;
    return *only;
}

State::State() {
    lazy = number("KILN_FAKE_LAZY", 0) != 0;
    guarded = number("KILN_FAKE_GUARD", 0) != 0;
    driver_version = int(number("KILN_FAKE_DRIVER_VERSION", 13000));
    seed = (unsigned long long)number("KILN_FAKE_SEED", 1);
    size_t memory_bytes = size_t(number("KILN_FAKE_MEMORY", 2ll << 30));
    int count = int(number("KILN_FAKE_DEVICES", 1));
    for (int i = 0; i < count; i++) {
        auto device = std::make_unique<Device>();
        device->ordinal = i;
        device->memory_bytes = memory_bytes;
        // Fences and gaps need addresses too. Only what is touched takes memory of the host.
        device->region_bytes = 4 * memory_bytes + (64 << 20);
        int protection = guarded ? PROT_NONE : PROT_READ | PROT_WRITE;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* region = mmap(nullptr, device->region_bytes, protection, flags, -1, 0);
        if (region == MAP_FAILED) abort();
        device->region = static_cast<unsigned char*>(region);
        device->gaps[0] = device->region_bytes;
        for (auto* streams : {&legacy_streams, &thread_streams}) {
            auto stream = std::make_unique<Stream>();
            stream->device = device.get();
            stream->blocking = streams == &thread_streams;
            stream->legacy = streams == &legacy_streams;
            streams->push_back(std::move(stream));
        }
        devices.push_back(std::move(device));
    }
}

Device* current_device() { return current; }
void set_current_device(Device* device) { current = device; }

// ---- Memory

CUdeviceptr Device::allocate(size_t bytes) {
    size_t charged = round_up(bytes);
    if (bytes == 0 || charged < bytes || charged > memory_bytes - live_bytes) return 0;
    size_t taken = charged + fence_bytes;
    auto gap = gaps.begin();
    while (gap != gaps.end() && gap->second < taken) gap++;
    if (gap == gaps.end()) return 0;
    size_t offset = gap->first, rest = gap->second - taken;
    gaps.erase(gap);
    if (rest > 0) gaps[offset + taken] = rest;
    allocations[offset] = bytes;
    live_bytes += charged;
    if (offset + taken > used_bytes) used_bytes = offset + taken;
    Opened opened(*this);
    unpoison(region + offset, taken);
    memset(region + offset, garbage, bytes);
    memset(region + offset + bytes, fence, taken - bytes);
    poison(region + offset + bytes, taken - bytes);
    return CUdeviceptr(region + offset);
}

bool Device::release(CUdeviceptr address) {
    size_t offset = size_t(address) - size_t(region);
    auto at = allocations.find(offset);
    if (at == allocations.end()) return false;
    size_t length = round_up(at->second) + fence_bytes;
    live_bytes -= round_up(at->second);
    allocations.erase(at);
    Opened opened(*this);
    unpoison(region + offset, length);
    memset(region + offset, garbage, length);
    poison(region + offset, length);
    // Joined with the gaps on both sides.
    auto after = gaps.lower_bound(offset);
    if (after != gaps.end() && after->first == offset + length) {
        length += after->second;
        after = gaps.erase(after);
    }
    if (after != gaps.begin()) {
        auto before = std::prev(after);
        if (before->first + before->second == offset) {
            before->second += length;
            return true;
        }
    }
    gaps[offset] = length;
    return true;
}

bool Device::owns(CUdeviceptr address, size_t bytes) const {
    size_t offset = size_t(address) - size_t(region);
    auto at = allocations.upper_bound(offset);
    if (at == allocations.begin()) return false;
    at--;
    return offset - at->first <= at->second && bytes <= at->second - (offset - at->first);
}

std::string Device::damage() const {
    // The sanitizer has told already, and would not let this look.
    if (__asan_poison_memory_region) return "";
    for (const auto& [offset, bytes] : allocations) {
        for (size_t i = bytes; i < round_up(bytes) + fence_bytes; i++) {
            if (region[offset + i] == fence) continue;
            return "byte " + std::to_string(i) + " was written of an allocation of " + std::to_string(bytes) + " bytes";
        }
    }
    return "";
}

Opened::Opened(const Device& device) {
    if (!state().guarded) return;
    devices.push_back(&device);
    for (int peer : device.peers) devices.push_back(state().devices[size_t(peer)].get());
    for (const Device* opened : devices) mprotect(opened->region, opened->used_bytes, PROT_READ | PROT_WRITE);
}

Opened::~Opened() {
    for (const Device* opened : devices) mprotect(opened->region, opened->used_bytes, PROT_NONE);
}

Device* owner(CUdeviceptr address, size_t bytes) {
    for (const auto& device : state().devices) {
        if (device->owns(address, bytes)) return device.get();
    }
    return nullptr;
}

bool is_pinned(const void* address, size_t bytes) {
    const auto& pinned = state().pinned;
    auto at = pinned.upper_bound(uintptr_t(address));
    if (at == pinned.begin()) return false;
    at--;
    size_t offset = uintptr_t(address) - at->first;
    return offset <= at->second && bytes <= at->second - offset;
}

void fail(Device& device, CUresult result, const std::string& why) {
    if (device.failure == CUDA_SUCCESS) device.failure = result;
    state().last_error = why;
}

// ---- Streams

Stream* find_stream(CUstream handle) {
    uintptr_t number = uintptr_t(handle);
    if (number > 2) return state().streams.find(handle).get();
    if (!current) return nullptr;
    auto& streams = number == 2 ? state().thread_streams : state().legacy_streams;
    return streams[size_t(current->ordinal)].get();
}

void step(Stream& stream) {
    Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (work.wait) finish(work.wait);
    if (work.record) {
        work.record->reached = true;
        work.record->when = std::chrono::steady_clock::now();
    }
    // After a failure nothing runs any more.
    if (work.run && stream.device->failure == CUDA_SUCCESS) work.run();
}

void finish(Stream& stream) {
    while (!stream.queue.empty()) step(stream);
}

void finish(const std::shared_ptr<Mark>& mark) {
    while (!mark->reached && !mark->captured && !mark->stream->queue.empty()) step(*mark->stream);
}

namespace {

void for_each_stream(const std::function<void(Stream&)>& action) {
    for (const auto& stream : state().legacy_streams) action(*stream);
    for (const auto& stream : state().thread_streams) action(*stream);
    for (const auto& [handle, stream] : state().streams.objects) action(*stream);
}

}  // namespace

void finish_all() {
    for_each_stream([](Stream& stream) { finish(stream); });
}

void finish_before(Stream& stream) {
    if (stream.legacy) {
        for_each_stream([&](Stream& other) {
            if (other.blocking && other.device == stream.device) finish(other);
        });
    } else if (stream.blocking) {
        finish(*state().legacy_streams[size_t(stream.device->ordinal)]);
    }
}

namespace {

// The legacy stream would have to wait for blocking streams, and a stream that captures has nothing to wait for.
CUresult forbid_legacy(const Stream& stream) {
    if (!stream.legacy) return CUDA_SUCCESS;
    CUresult result = CUDA_SUCCESS;
    for (const auto& capture : state().captures) {
        for (const Stream* other : capture->streams) {
            if (other->blocking && other->device == stream.device) {
                result = invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
            }
        }
    }
    return result;
}

CUresult enqueue(Stream& stream, Work work) {
    if (CUresult result = forbid_legacy(stream)) return result;
    finish_before(stream);
    stream.queue.push_back(std::move(work));
    if (!state().lazy) finish(stream);
    return stream.device->failure;
}

}  // namespace

CUresult submit(Stream& stream, CUgraphNodeType type, std::function<void()> run) {
    if (!stream.capture) return enqueue(stream, {std::move(run), nullptr, nullptr});
    if (!stream.capture->valid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream.capture->graph.nodes.push_back({type, std::move(run)});
    stream.captured++;
    stream.joined = false;
    return CUDA_SUCCESS;
}

// ---- Captures

CUresult invalidate(Capture& capture, CUresult result) {
    capture.valid = false;
    return result;
}

CUresult invalidate(Stream& stream, CUresult result) {
    return stream.capture ? invalidate(*stream.capture, result) : result;
}

CUresult forbid_in_capture() {
    CUresult result = CUDA_SUCCESS;
    for (const auto& capture : state().captures) {
        bool own = capture->thread == std::this_thread::get_id();
        bool forbids = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
                       (capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && own);
        if (forbids) result = invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result;
}

CUresult record(Stream& stream, Event& event) {
    auto mark = std::make_shared<Mark>();
    mark->stream = &stream;
    if (stream.capture) {
        if (!stream.capture->valid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        mark->captured = true;
        mark->capture = stream.capture;
        mark->position = stream.captured;
        event.mark = mark;
        return CUDA_SUCCESS;
    }
    CUresult result = enqueue(stream, {nullptr, mark, nullptr});
    event.mark = mark;
    return result;
}

CUresult wait(Stream& stream, const Event& event) {
    const std::shared_ptr<Mark>& mark = event.mark;
    if (!mark || !mark->captured) {
        if (stream.capture) return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
        return mark ? enqueue(stream, {nullptr, nullptr, mark}) : CUDA_SUCCESS;
    }
    std::shared_ptr<Capture> capture = mark->capture.lock();
    // Of a capture that has ended, which no stream can wait for.
    if (!capture) return invalidate(stream, CUDA_ERROR_INVALID_VALUE);
    if (!capture->valid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream.legacy) return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (stream.capture && stream.capture != capture) {
        invalidate(stream, CUDA_SUCCESS);
        return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (!stream.capture) {
        // A stream that waits for work of a capture takes part in it from then on.
        stream.capture = capture;
        stream.captured = 0;
        stream.joined = false;
        capture->streams.push_back(&stream);
    }
    if (mark->stream != &stream && mark->position == mark->stream->captured) mark->stream->joined = true;
    return CUDA_SUCCESS;
}

CUresult begin_capture(Stream& stream, CUstreamCaptureMode mode) {
    if (stream.legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream.capture) return invalidate(stream, CUDA_ERROR_ILLEGAL_STATE);
    auto capture = std::make_shared<Capture>();
    capture->graph.device = stream.device;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->origin = &stream;
    capture->streams = {&stream};
    capture->id = ++state().last_capture;
    stream.capture = capture;
    stream.captured = 0;
    state().captures.push_back(capture);
    return CUDA_SUCCESS;
}

CUresult end_capture(Stream& stream, CUgraph* graph) {
    *graph = nullptr;
    std::shared_ptr<Capture> capture = stream.capture;
    if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id()) {
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    }
    if (capture->origin != &stream) return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CUresult result = capture->valid ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    for (Stream* member : capture->streams) {
        bool joined = member == capture->origin || member->joined;
        if (result == CUDA_SUCCESS && !joined) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        member->capture = nullptr;
    }
    auto& captures = state().captures;
    for (size_t i = 0; i < captures.size(); i++) {
        if (captures[i] == capture) captures.erase(captures.begin() + long(i--));
    }
    if (result == CUDA_SUCCESS) *graph = state().graphs.insert(std::make_shared<Graph>(std::move(capture->graph)));
    return result;
}

}  // namespace kiln_fake
