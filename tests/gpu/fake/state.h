// What the fake driver keeps: devices and their memory, streams with the work that waits in them, captures and graphs.
// driver.cpp has the functions of the API, which are a few checks and a call of these.
#pragma once
#include "api.h"
#include "contract.h"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace kiln_fake {

// ---- Handles

inline uintptr_t next_handle() {
    static uintptr_t last = 0x100;
    return last += 16;
}

// Objects by handle. A handle is never given out twice, so that a destroyed one is an error and not another object.
template <class Handle, class Object>
class Table {
public:
    Handle insert(std::shared_ptr<Object> object) {
        Handle handle = reinterpret_cast<Handle>(next_handle());
        objects[handle] = std::move(object);
        return handle;
    }
    std::shared_ptr<Object> find(Handle handle) const {
        auto at = objects.find(handle);
        return at == objects.end() ? nullptr : at->second;
    }
    bool erase(Handle handle) { return objects.erase(handle) > 0; }

    std::unordered_map<Handle, std::shared_ptr<Object>> objects;
};

// ---- Devices and memory

struct Device {
    int ordinal;
    size_t memory_bytes, live_bytes = 0;
    // Where all its memory lies: a range of addresses, of which the first `used_bytes` have ever been given out.
    unsigned char* region = nullptr;
    size_t region_bytes, used_bytes = 0;
    // By offset: what was asked for, and the gaps.
    std::map<size_t, size_t> allocations, gaps;
    int retained = 0;
    std::set<int> peers;
    // A failure of a kernel stays, until the context is reset.
    CUresult failure = CUDA_SUCCESS;

    CUdeviceptr allocate(size_t bytes);
    bool release(CUdeviceptr address);
    // Whether the bytes lie within one allocation.
    bool owns(CUdeviceptr address, size_t bytes) const;
    // What was written beyond the end of an allocation, in words; empty if nothing was.
    std::string damage() const;
};

// Opens the memory of a device, and of its peers, for as long as it lives, where KILN_FAKE_GUARD closes it for the
// host.
class Opened {
public:
    explicit Opened(const Device& device);
    ~Opened();
    Opened(const Opened&) = delete;

private:
    std::vector<const Device*> devices;
};

// ---- Work

struct Stream;
struct Capture;

// One recording of an event. An event that is recorded anew has a new one; who waited for the former still does.
struct Mark {
    Stream* stream;
    bool reached = false;
    std::chrono::steady_clock::time_point when;
    // In a stream that captured: which capture, and how much the stream had captured.
    std::weak_ptr<Capture> capture;
    bool captured = false;
    size_t position = 0;
};

struct Event {
    bool timed;
    Device* device;
    std::shared_ptr<Mark> mark;
};

struct Node {
    CUgraphNodeType type;
    std::function<void()> run;
};

struct Graph {
    std::vector<Node> nodes;
    Device* device;
};

struct Capture {
    Graph graph;
    CUstreamCaptureMode mode;
    std::thread::id thread;
    Stream* origin;
    std::vector<Stream*> streams;
    cuuint64_t id;
    bool valid = true;
};

struct Work {
    std::function<void()> run;
    // Instead of something to run: an event to be reached, or one to wait for.
    std::shared_ptr<Mark> record, wait;
};

struct Stream {
    Device* device;
    // A blocking stream takes turns with the legacy stream.
    bool blocking;
    bool legacy = false;
    std::deque<Work> queue;
    std::shared_ptr<Capture> capture;
    // How much of it is in the capture, and whether another stream has waited for all that.
    size_t captured = 0;
    bool joined = true;
};

struct Module {
    void* library;
    Device* device;
    std::set<CUfunction> functions;
};

struct Function {
    const Kernel* kernel;
    Device* device;
    unsigned dynamic_shared_limit;
};

struct Counter {
    long calls = 0;
    // Calls until one fails; 0 if none shall.
    long fails_in = 0;
    CUresult failure = CUDA_SUCCESS;
};

struct State {
    State();

    std::mutex lock;
    bool initialized = false, lazy, guarded;
    int driver_version;
    unsigned long long seed;
    std::vector<std::unique_ptr<Device>> devices;
    // By device: the legacy stream, and the one that stands for those of threads.
    std::vector<std::unique_ptr<Stream>> legacy_streams, thread_streams;
    Table<CUstream, Stream> streams;
    Table<CUevent, Event> events;
    Table<CUmodule, Module> modules;
    Table<CUfunction, Function> functions;
    Table<CUgraph, Graph> graphs;
    Table<CUgraphExec, Graph> executables;
    std::vector<std::shared_ptr<Capture>> captures;
    std::map<uintptr_t, size_t> pinned;
    std::map<std::string, Counter, std::less<>> counters;
    long launches = 0;
    cuuint64_t last_capture = 0;
    std::string last_error;
};

// Made at the first call and never destroyed: threads may still call while a process ends.
State& state();

// The device whose context is current in this thread, or null.
Device* current_device();
void set_current_device(Device* device);

// Null for a handle of no stream.
Stream* find_stream(CUstream handle);

// Every device, wherever `address` lies, that has the bytes in one allocation; null if none has.
Device* owner(CUdeviceptr address, size_t bytes);
bool is_pinned(const void* address, size_t bytes);

// Puts work into a stream, or into the graph that the stream captures. Where streams are not lazy it runs before this
// returns, and the result is what it came to.
CUresult submit(Stream& stream, CUgraphNodeType type, std::function<void()> run);

// Runs the next work of a stream, and what that waits for in others.
void step(Stream& stream);
void finish(Stream& stream);
void finish(const std::shared_ptr<Mark>& mark);
void finish_all();
// What the legacy stream waits for, or lets wait.
void finish_before(Stream& stream);

// Captures

// For calls that a capture forbids: an error, after which the captures that forbid it are invalid, or CUDA_SUCCESS.
CUresult forbid_in_capture();
CUresult invalidate(Capture& capture, CUresult result);
CUresult invalidate(Stream& stream, CUresult result);
CUresult record(Stream& stream, Event& event);
CUresult wait(Stream& stream, const Event& event);
CUresult begin_capture(Stream& stream, CUstreamCaptureMode mode);
CUresult end_capture(Stream& stream, CUgraph* graph);

// A failure that stays with the device.
void fail(Device& device, CUresult result, const std::string& why);

}  // namespace kiln_fake
