// The fake driver's streams, events, modules, kernels and graphs, and the functions that tests have beside the API.
#include "call.h"
#include "fibers.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

using namespace kiln_fake;

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
    unsigned used = function->kernel->static_shared_bytes(), arguments = 0;
    for (unsigned i = 0; i < function->kernel->argument_count; i++) arguments += function->kernel->argument_bytes[i];
    // The compiler of a real one refuses such a kernel.
    REQUIRE(used <= static_shared_limit, CUDA_ERROR_INVALID_IMAGE);
    REQUIRE(arguments <= (state().driver_version >= 12010 ? 32764u : 4096u), CUDA_ERROR_INVALID_IMAGE);
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

void run_kernel(const Prepared& prepared) {
    std::vector<void*> arguments;
    // Copied again, as a kernel may change its parameters and a graph runs it more than once.
    auto values = prepared.arguments;
    for (auto& value : values) arguments.push_back(value.data());
    state().launches++;
    unsigned long long seed = state().seed;
    if (seed != 0) seed = seed * 0x9E3779B97F4A7C15ull + (unsigned long long)state().launches;
    std::string why;
    Opened opened(*prepared.device);
    Launch launch = {prepared.kernel, prepared.grid, prepared.block, prepared.shared_bytes, arguments.data(), seed};
    Outcome outcome = run(launch, why);
    if (outcome == Outcome::Failed) fail(*prepared.device, CUDA_ERROR_LAUNCH_FAILED, why);
    if (outcome == Outcome::BadAddress) fail(*prepared.device, CUDA_ERROR_ILLEGAL_ADDRESS, why);
    std::string damage = prepared.device->damage();
    if (!damage.empty()) {
        why = "kernel " + std::string(prepared.kernel->name) + ": " + damage;
        fail(*prepared.device, CUDA_ERROR_ILLEGAL_ADDRESS, why);
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
