// The fake driver, tested: kernels, the mistakes that it must notice, the rules of the API. The first argument is the
// folder of the two libraries. Every test begins with a device as new, and prints what it expected where it was wrong.
// A second argument does something else: --times measures, --overrun writes out of bounds, for AddressSanitizer to see.
#include "api.h"

#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace {

void* driver;
void* compiler;
int failures;

// Functions are looked up by name and called as what they are said to be.
template <class Result = CUresult, class... Argument>
Result call(const char* function, Argument... arguments) {
    void* address = dlsym(strncmp(function, "nvrtc", 5) == 0 ? compiler : driver, function);
    if (!address) {
        printf("%s is missing\n", function);
        exit(1);
    }
    return reinterpret_cast<Result (*)(Argument...)>(address)(arguments...);
}

void expect(long long left, long long right, const char* text, int line) {
    if (left == right) return;
    printf("line %d: %s: %lld, not %lld (%s)\n", line, text, left, right, call<const char*>("kiln_fake_last_error"));
    failures++;
}

#define EXPECT(left, right) expect((long long)(left), (long long)(right), #left, __LINE__)
#define OK(expression) EXPECT(expression, CUDA_SUCCESS)

void expect_text(const std::string& text, const char* part, int line) {
    if (text.find(part) != std::string::npos) return;
    printf("line %d: \"%s\" is not in: %s\n", line, part, text.c_str());
    failures++;
}

#define EXPECT_TEXT(text, part) expect_text(text, part, __LINE__)

bool lazy() {
    const char* text = getenv("KILN_FAKE_LAZY");
    return text && *text == '1';
}

std::string compile_log;

// The image of a program, empty if it does not compile.
std::string compile(const char* source, const char* header = nullptr) {
    void* program;
    const char* header_name = "extra.cuh";
    EXPECT(call<int>("nvrtcCreateProgram", &program, source, "test.cu", header ? 1 : 0, &header, &header_name), 0);
    const char* options[] = {"--gpu-architecture=sm_90a", "--fmad=false", "-DTHREE=3"};
    int result = call<int>("nvrtcCompileProgram", program, 3, (const char* const*)options);
    size_t size;
    call<int>("nvrtcGetProgramLogSize", program, &size);
    compile_log.resize(size);
    call<int>("nvrtcGetProgramLog", program, compile_log.data());
    std::string image;
    if (result == 0) {
        call<int>("nvrtcGetCUBINSize", program, &size);
        image.resize(size);
        call<int>("nvrtcGetCUBIN", program, image.data());
    } else {
        EXPECT(result, 6);
    }
    call<int>("nvrtcDestroyProgram", &program);
    return image;
}

CUfunction load(const char* source, const char* name) {
    std::string image = compile(source);
    if (image.empty()) printf("%s\n", compile_log.c_str());
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    OK(call("cuModuleLoadData", &module, (const void*)image.data()));
    OK(call("cuModuleGetFunction", &function, module, name));
    return function;
}

CUresult launch(CUfunction function, unsigned grid, unsigned block, unsigned shared, CUstream stream,
                std::vector<void*> arguments) {
    return call("cuLaunchKernel", function, grid, 1u, 1u, block, 1u, 1u, shared, stream, arguments.data(),
                (void**)nullptr);
}

// Floats on the device.
struct Floats {
    CUdeviceptr address = 0;
    size_t count;

    explicit Floats(size_t count, const float* from = nullptr) : count(count) {
        OK(call("cuMemAlloc_v2", &address, count * 4));
        if (from) OK(call("cuMemcpyHtoD_v2", address, (const void*)from, count * 4));
    }
    explicit Floats(const std::vector<float>& values) : Floats(values.size(), values.data()) {}
    ~Floats() { call("cuMemFree_v2", address); }

    std::vector<float> values() const {
        std::vector<float> result(count);
        OK(call("cuCtxSynchronize"));
        OK(call("cuMemcpyDtoH_v2", (void*)result.data(), address, count * 4));
        return result;
    }
};

std::vector<float> ramp(size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++) values[i] = float(i % 97) - 48;
    return values;
}

CUstream new_stream() {
    CUstream stream;
    OK(call("cuStreamCreate", &stream, 1u));
    return stream;
}

CUcontext context;

void begin(const char* name) {
    if (getenv("KILN_FAKE_VERBOSE")) printf("%s\n", name);
    call<void>("kiln_fake_reset");
    OK(call("cuCtxSetCurrent", context));
}

// ---- Kernels

const char* const add_source = R"(
extern "C" __global__ void __launch_bounds__(256) add(float* __restrict__ out, const float* a, const float* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = a[i] + b[i];
}
)";

void adds_vectors() {
    begin("adds_vectors");
    int n = 1000;
    Floats a(ramp(1000)), b(ramp(1000)), out(1000);
    CUfunction add = load(add_source, "add");
    OK(launch(add, 4, 256, 0, nullptr, {&out.address, &a.address, &b.address, &n}));
    std::vector<float> values = out.values(), expected = ramp(1000);
    for (size_t i = 0; i < 1000; i++) EXPECT(values[i], 2 * expected[i]);
    EXPECT(call<long>("kiln_fake_launches"), 1);
    EXPECT(call<long>("kiln_fake_calls", "cuLaunchKernel"), 1);
    EXPECT(call<long>("kiln_fake_calls", "cuMemAlloc"), 3);
}

void reduces_blocks() {
    begin("reduces_blocks");
    CUfunction sums = load(R"(
template <class T> __device__ __forceinline__ T warp_sum(T value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}
template <class T> __device__ T block_sum(T value) {
    __shared__ T sums[32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x < blockDim.x / 32 ? sums[threadIdx.x] : T(0);
    if (threadIdx.x < 32) value = warp_sum(value);
    return value;
}
extern "C" __global__ void sums(float* out, const float* x, int n) {
    __shared__ unsigned count;
    if (threadIdx.x == 0) count = 0;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * n + i];
    double total = block_sum((double)sum);
    atomicAdd(&count, 1u);
    unsigned votes = __popc(__ballot_sync(0xffffffffu, threadIdx.x % 2));
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = (float)total + (count == blockDim.x ? 0 : 1e9f) + votes;
}
)", "sums");
    const int rows = 9;
    int n = 777;
    Floats x(ramp(size_t(rows * n))), out(rows);
    OK(launch(sums, rows, 256, 0, nullptr, {&out.address, &x.address, &n}));
    std::vector<float> values = out.values(), all = ramp(size_t(rows * n));
    for (int row = 0; row < rows; row++) {
        float sum = 16;
        for (int i = 0; i < n; i++) sum += all[size_t(row * n + i)];
        EXPECT(values[size_t(row)], sum);
    }
}

std::string matmul_source(bool barrier) {
    return std::string(R"(
extern "C" __global__ void matmul(float* out, const float* a, const float* b, int n) {
    KILN_SHARED(float, tiles);
    float *left = tiles, *right = tiles + 256;
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < n; k += 16) {
        left[threadIdx.y * 16 + threadIdx.x] = a[row * n + k + threadIdx.x];
        right[threadIdx.y * 16 + threadIdx.x] = b[(k + threadIdx.y) * n + column];
        __syncthreads();
        for (int i = 0; i < 16; i++) sum = fmaf(left[threadIdx.y * 16 + i], right[i * 16 + threadIdx.x], sum);
)") + (barrier ? "        __syncthreads();\n" : "") + R"(
    }
    out[row * n + column] = sum;
}
)";
}

// How many elements of a product are wrong.
int wrong_products(const std::string& source) {
    CUfunction matmul = load(source.c_str(), "matmul");
    int n = 64, wrong = 0;
    std::vector<float> a = ramp(64 * 64), b = ramp(64 * 64 + 5);
    Floats left(a), right(64 * 64, b.data() + 5), out(64 * 64);
    void* arguments[] = {&out.address, &left.address, &right.address, &n};
    OK(call("cuLaunchKernel", matmul, 4u, 4u, 1u, 16u, 16u, 1u, 2048u, (CUstream) nullptr, (void**)arguments,
            (void**)nullptr));
    std::vector<float> values = out.values();
    for (int i = 0; i < n * n; i++) {
        float sum = 0;
        for (int k = 0; k < n; k++) sum += a[size_t(i / n * n + k)] * b[size_t(k * n + i % n + 5)];
        wrong += values[size_t(i)] != sum;
    }
    return wrong;
}

void multiplies_matrices() {
    begin("multiplies_matrices");
    EXPECT(wrong_products(matmul_source(true)), 0);
    // A warp that runs ahead overwrites the tile that another still reads.
    EXPECT(wrong_products(matmul_source(false)) > 0, true);
}

void has_atomics_and_arithmetic() {
    begin("has_atomics_and_arithmetic");
    const char* source = R"(
#include "extra.cuh"
struct Table { const float* x; int n; };
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(64, 2) name
KERNEL(kernel)(float* out, const __grid_constant__ Table table) {
    int i = threadIdx.x;
    atomicAdd(&out[0], 1.0f);
    atomicMax((int*)&out[1], __float_as_int((float)i));
    if (i == 5) out[2] = __fmul_rn(table.x[1], twice(THREE));
    if (i == 6) out[3] = __uint_as_float(__umulhi(0x80000000u, 0x7f000000u));
    if (i == 7) { float4 v = make_float4(1, 2, 3, 4); out[4] = v.w + table.n; }
    if (i == 8) {
        float nan = __uint_as_float(0x7fc00000u);
        out[5] = isnan(nan) && min(2u, 7) == 2 && max(nan, 1.0f) == 1;
        bool saturates = __float2int_rn(3e9f) == 0x7fffffff && __float2uint_rz(-1.0f) == 0 &&
                         __float2int_rz(nan) == 0 && __double2ll_rn(-1e30) == -0x7fffffffffffffffll - 1 &&
                         __float2int_rn(2.5f) == 2;
        if (!saturates) out[5] = -1;
    }
    if (i == 9) out[6] = __clz(1) + __ffs(8) + (__brev(1u) == 0x80000000u);
    int from = __shfl_sync(0xffffffffu, i, 3, 8);
    if (i == 29) out[7] = from + __all_sync(1u << 29, 1);
}
#if 0
KERNEL(absent)() {}
#endif
)";
    std::string image = compile(source, "__device__ inline float twice(float x) { return 2 * x; }\n");
    CUmodule module;
    CUfunction kernel, absent;
    OK(call("cuModuleLoadData", &module, (const void*)image.data()));
    OK(call("cuModuleGetFunction", &kernel, module, "kernel"));
    EXPECT(call("cuModuleGetFunction", &absent, module, "absent"), CUDA_ERROR_NOT_FOUND);
    Floats x(std::vector<float>{1, 7}), out(std::vector<float>(8));
    struct {
        CUdeviceptr x;
        int n;
    } table = {x.address, 10};
    OK(launch(kernel, 1, 64, 0, nullptr, {&out.address, &table}));
    std::vector<float> values = out.values(), expected = {64, 63, 42, 1, 14, 1, 36, 28};
    for (size_t i = 0; i < 8; i++) EXPECT(values[i] * 1000, expected[i] * 1000);
    EXPECT(launch(kernel, 1, 65, 0, nullptr, {&out.address, &table}), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    int limit;
    OK(call("cuFuncGetAttribute", &limit, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel));
    EXPECT(limit, 64);
}

void rounds_as_written() {
    begin("rounds_as_written");
    CUfunction kernel = load(R"(
extern "C" __global__ void kernel(float* out, float a, float b, float c) {
    out[0] = a * b + c;
    out[1] = fmaf(a, b, c);
}
)", "kernel");
    float a = 1 + ldexpf(1, -12), c = -1;
    Floats out(2);
    OK(launch(kernel, 1, 1, 0, nullptr, {&out.address, &a, &a, &c}));
    std::vector<float> values = out.values();
    EXPECT(ldexpf(values[0], 24), 8192);
    EXPECT(ldexpf(values[1], 24), 8193);
}

// ---- Mistakes of kernels

// Runs a kernel of one float* that must fail, and gives the text.
std::string failure_of(const char* body, CUresult expected) {
    std::string source = std::string("extern \"C\" __global__ void wrong(float* x) {\n") + body + "\n}\n";
    CUfunction wrong = load(source.c_str(), "wrong");
    CUdeviceptr x;
    OK(call("cuMemAlloc_v2", &x, size_t(4000)));
    CUresult result = launch(wrong, 2, 256, 0, nullptr, {&x});
    if (lazy()) OK(result);
    EXPECT(call("cuCtxSynchronize"), expected);
    // It stays, until the context is reset.
    EXPECT(call("cuMemFree_v2", x), expected);
    std::string text = call<const char*>("kiln_fake_last_error");
    OK(call("cuDevicePrimaryCtxReset_v2", 0));
    OK(call("cuMemFree_v2", x));
    return text;
}

void notices_wrong_barriers() {
    begin("notices_wrong_barriers");
    std::string text =
        failure_of("if (threadIdx.x < 128)\n__syncthreads();\nx[threadIdx.x] = 1;", CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "kernel wrong, block (");
    EXPECT_TEXT(text, "a barrier is not reached by all threads: 128 wait at __syncthreads (test.cu:3), 128 have ended");
    text = failure_of(
        "if (threadIdx.x < 32) __syncwarp(); else if (threadIdx.x < 48) __syncwarp(); else __syncthreads();",
        CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "deadlock: ");
    EXPECT_TEXT(text, "16 wait in __syncwarp (test.cu:2, mask ffffffff)");
    text = failure_of("if (threadIdx.x < 32) __syncthreads();\nelse __syncthreads();", CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "threads wait at different barriers: 32 wait at __syncthreads (test.cu:2), 224 wait");
    text = failure_of("__syncwarp(1);", CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "is not in the mask 00000001 of __syncwarp");
    text = failure_of("if (blockIdx.x == 1 && threadIdx.x == 9) __trap();", CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "block (1, 0, 0) of (2, 1, 1), 256 threads: __trap() at test.cu:2 in thread (9, 0, 0)");
}

void notices_wrong_addresses() {
    // Which ends the process at the first.
    if (dlsym(RTLD_DEFAULT, "__asan_init")) return;
    begin("notices_wrong_addresses");
    std::string text = failure_of("if (threadIdx.x == 3) *(float*)64 = 1;", CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_TEXT(text, "thread (3, 0, 0) touches the address 0x40");
    text = failure_of("KILN_SHARED(float, all);\nall[threadIdx.x] = 0;", CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_TEXT(text, "it writes behind its 0 bytes of dynamic shared memory");
    text = failure_of("x[1000] = 1;", CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_TEXT(text, "byte 4000 was written of an allocation of 4000 bytes");
}

void tells_of_errors_in_sources() {
    begin("tells_of_errors_in_sources");
    EXPECT(compile("\n\nextern \"C\" __global__ void f() { int x = unknown; }\n").size(), 0);
    EXPECT_TEXT(compile_log, "test.cu:3:");
    EXPECT_TEXT(compile_log, "unknown");
    EXPECT(compile("#include \"absent.cuh\"\n").size(), 0);
    EXPECT_TEXT(compile_log, "test.cu:1:");
}

// ---- Rules

void has_rules_for_launches() {
    begin("has_rules_for_launches");
    CUfunction add = load(add_source, "add");
    CUfunction free_of_bounds = load("extern \"C\" __global__ void f() {}", "f");
    EXPECT(launch(free_of_bounds, 1, 1025, 0, nullptr, {}), CUDA_ERROR_INVALID_VALUE);
    EXPECT(launch(free_of_bounds, 0, 32, 0, nullptr, {}), CUDA_ERROR_INVALID_VALUE);
    EXPECT(launch(free_of_bounds, 1, 0, 0, nullptr, {}), CUDA_ERROR_INVALID_VALUE);
    EXPECT(launch(free_of_bounds, 1, 32, 50000, nullptr, {}), CUDA_ERROR_INVALID_VALUE);
    CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    EXPECT(call("cuFuncSetAttribute", free_of_bounds, dynamic, 227 * 1024 + 1), CUDA_ERROR_INVALID_VALUE);
    OK(call("cuFuncSetAttribute", free_of_bounds, dynamic, 227 * 1024));
    OK(launch(free_of_bounds, 1, 32, 50000, nullptr, {}));
    EXPECT(launch(add, 1, 257, 0, nullptr, {}), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    EXPECT(launch((CUfunction)0x77, 1, 1, 0, nullptr, {}), CUDA_ERROR_INVALID_HANDLE);
    CUstream stream = new_stream();
    OK(call("cuStreamDestroy_v2", stream));
    EXPECT(launch(free_of_bounds, 1, 1, 0, stream, {}), CUDA_ERROR_INVALID_HANDLE);
    EXPECT(call("cuStreamSynchronize", stream), CUDA_ERROR_INVALID_HANDLE);
    OK(call("cuCtxSetCurrent", (CUcontext) nullptr));
    EXPECT(launch(free_of_bounds, 1, 1, 0, nullptr, {}), CUDA_ERROR_INVALID_CONTEXT);
}

void has_rules_for_memory() {
    begin("has_rules_for_memory");
    size_t before = call<size_t>("kiln_fake_live_bytes", 0), free_bytes, total;
    CUdeviceptr address;
    EXPECT(call("cuMemAlloc_v2", &address, size_t(0)), CUDA_ERROR_INVALID_VALUE);
    OK(call("cuMemGetInfo_v2", &free_bytes, &total));
    EXPECT(call("cuMemAlloc_v2", &address, free_bytes + 1), CUDA_ERROR_OUT_OF_MEMORY);
    OK(call("cuMemAlloc_v2", &address, size_t(1000)));
    EXPECT(address % 256, 0);
    EXPECT(call<size_t>("kiln_fake_live_bytes", 0), before + 1024);
    unsigned char bytes[1000];
    OK(call("cuMemcpyDtoH_v2", (void*)bytes, address, size_t(1000)));
    EXPECT(bytes[0], 0xCB);
    EXPECT(bytes[999], 0xCB);
    EXPECT(call("cuMemcpyDtoH_v2", (void*)bytes, address + 1, size_t(1000)), CUDA_ERROR_INVALID_VALUE);
    EXPECT(call("cuMemFree_v2", address + 256), CUDA_ERROR_INVALID_VALUE);
    OK(call("cuMemFree_v2", address));
    EXPECT(call("cuMemFree_v2", address), CUDA_ERROR_INVALID_VALUE);
    EXPECT(call<size_t>("kiln_fake_live_bytes", 0), before);
    call<void>("kiln_fake_fail", "cuMemAlloc", 2l, (int)CUDA_ERROR_OUT_OF_MEMORY);
    CUdeviceptr first, second;
    OK(call("cuMemAlloc_v2", &first, size_t(8)));
    EXPECT(call("cuMemAlloc_v2", &second, size_t(8)), CUDA_ERROR_OUT_OF_MEMORY);
    OK(call("cuMemAlloc_v2", &second, size_t(8)));
    OK(call("cuMemFree_v2", first));
    OK(call("cuMemFree_v2", second));
}

void guards_memory() {
    begin("guards_memory");
    Floats x(ramp(4));
    // In a process of its own, which may crash.
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        volatile float value = *reinterpret_cast<volatile float*>(x.address);
        _exit(value == -48 ? 7 : 8);
    }
    int status = 0;
    waitpid(child, &status, 0);
    const char* guard = getenv("KILN_FAKE_GUARD");
    if (guard && *guard == '1') {
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, true);
    } else {
        EXPECT(WEXITSTATUS(status), 7);
    }
}

void orders_streams() {
    begin("orders_streams");
    CUstream one = new_stream(), two = new_stream();
    CUevent event;
    float* pinned;
    OK(call("cuEventCreate", &event, 0u));
    OK(call("cuMemHostAlloc", (void**)&pinned, size_t(16), 0u));
    CUdeviceptr a, b;
    OK(call("cuMemAlloc_v2", &a, size_t(16)));
    OK(call("cuMemAlloc_v2", &b, size_t(16)));
    pinned[0] = 1;
    OK(call("cuMemcpyHtoDAsync_v2", a, (const void*)pinned, size_t(16), one));
    // A lazy stream reads it when it gets there, and by then it is this.
    pinned[0] = 2;
    OK(call("cuEventRecord", event, one));
    OK(call("cuStreamWaitEvent", two, event, 0u));
    OK(call("cuMemcpyDtoDAsync_v2", b, a, size_t(16), two));
    EXPECT(call("cuStreamQuery", two), lazy() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
    while (call("cuStreamQuery", two) == CUDA_ERROR_NOT_READY) {
    }
    OK(call("cuEventSynchronize", event));
    float result = 0, staged = 5;
    // Pageable memory is read before the call returns, and written.
    OK(call("cuMemcpyHtoDAsync_v2", a, (const void*)&staged, size_t(4), one));
    staged = 6;
    OK(call("cuStreamSynchronize", one));
    OK(call("cuMemcpyDtoHAsync_v2", (void*)&staged, a, size_t(4), one));
    EXPECT(staged, 5);
    OK(call("cuMemcpyDtoHAsync_v2", (void*)&result, b, size_t(4), two));
    EXPECT(result, lazy() ? 2 : 1);
    OK(call("cuMemFreeHost", (void*)pinned));
    OK(call("cuMemFree_v2", a));
    OK(call("cuMemFree_v2", b));
    OK(call("cuEventDestroy_v2", event));
    OK(call("cuStreamDestroy_v2", one));
    OK(call("cuStreamDestroy_v2", two));
}

void replays_graphs() {
    begin("replays_graphs");
    CUfunction add = load(add_source, "add");
    CUstream stream = new_stream(), branch = new_stream();
    CUevent fork, join;
    OK(call("cuEventCreate", &fork, 2u));
    OK(call("cuEventCreate", &join, 2u));
    Floats x(std::vector<float>{1, 2, 3, 4}), y(4), z(4);
    int n = 4;
    OK(call("cuStreamBeginCapture_v2", stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(launch(add, 1, 32, 0, stream, {&y.address, &x.address, &x.address, &n}));
    OK(call("cuEventRecord", fork, stream));
    OK(call("cuStreamWaitEvent", branch, fork, 0u));
    OK(launch(add, 1, 32, 0, branch, {&z.address, &y.address, &x.address, &n}));
    OK(call("cuEventRecord", join, branch));
    OK(call("cuStreamWaitEvent", stream, join, 0u));
    OK(call("cuMemsetD32Async", y.address, 0u, size_t(1), stream));
    CUstreamCaptureStatus status;
    OK(call("cuStreamIsCapturing", branch, &status));
    EXPECT(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CUgraph graph;
    CUgraphExec executable;
    OK(call("cuStreamEndCapture", stream, &graph));
    EXPECT(call<long>("kiln_fake_launches"), 0);
    size_t nodes;
    OK(call("cuGraphGetNodes", graph, (CUgraphNode*)nullptr, &nodes));
    EXPECT(nodes, 3);
    OK(call("cuGraphInstantiateWithFlags", &executable, graph, 0ull));
    OK(call("cuGraphDestroy", graph));
    OK(call("cuGraphUpload", executable, stream));
    for (int replay = 1; replay <= 3; replay++) {
        float changed = float(10 * replay);
        OK(call("cuMemcpyHtoD_v2", x.address, (const void*)&changed, size_t(4)));
        OK(call("cuGraphLaunch", executable, stream));
        std::vector<float> values = z.values();
        EXPECT(values[0], 30 * replay);
        EXPECT(values[3], 12);
        EXPECT(y.values()[0], 0);
        EXPECT(call<long>("kiln_fake_launches"), 2 * replay);
    }
    OK(call("cuGraphExecDestroy", executable));
    EXPECT(call("cuGraphLaunch", executable, stream), CUDA_ERROR_INVALID_VALUE);
}

// Captures, does something that a capture forbids, and expects its error and a capture that has come to nothing.
template <class Forbidden>
void spoils(CUresult expected, int line, Forbidden forbidden) {
    CUstream stream = new_stream();
    OK(call("cuStreamBeginCapture_v2", stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    expect(forbidden(stream), expected, "a call that spoils a capture", line);
    CUgraph graph = (CUgraph)0x1;
    expect(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the end of the capture",
           line);
    EXPECT(graph == nullptr, true);
    OK(call("cuStreamDestroy_v2", stream));
}

void has_rules_for_captures() {
    begin("has_rules_for_captures");
    CUresult unsupported = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    CUdeviceptr address, other;
    float pageable = 0;
    CUevent event;
    OK(call("cuMemAlloc_v2", &address, size_t(16)));
    OK(call("cuEventCreate", &event, 0u));
    OK(call("cuEventRecord", event, (CUstream) nullptr));
    spoils(unsupported, __LINE__, [&](CUstream) { return call("cuMemAlloc_v2", &other, size_t(16)); });
    spoils(unsupported, __LINE__, [&](CUstream) { return call("cuMemFree_v2", address); });
    spoils(unsupported, __LINE__, [&](CUstream) { return call("cuCtxSynchronize"); });
    spoils(unsupported, __LINE__, [&](CUstream stream) { return call("cuStreamSynchronize", stream); });
    spoils(unsupported, __LINE__, [&](CUstream stream) { return call("cuStreamQuery", stream); });
    spoils(unsupported, __LINE__, [&](CUstream) { return call("cuEventQuery", event); });
    spoils(unsupported, __LINE__, [&](CUstream stream) {
        return call("cuMemcpyHtoDAsync_v2", address, (const void*)&pageable, size_t(4), stream);
    });
    spoils(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, __LINE__,
           [&](CUstream stream) { return call("cuStreamWaitEvent", stream, event, 0u); });
    spoils(CUDA_ERROR_CAPTURED_EVENT, __LINE__, [&](CUstream stream) {
        OK(call("cuEventRecord", event, stream));
        return call("cuEventSynchronize", event);
    });
    // A capture of this thread does not forbid another thread to allocate.
    CUstream stream = new_stream();
    CUgraph graph;
    OK(call("cuStreamBeginCapture_v2", stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    std::thread([&] {
        OK(call("cuCtxSetCurrent", context));
        OK(call("cuMemAlloc_v2", &other, size_t(16)));
        EXPECT(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    }).join();
    OK(call("cuStreamEndCapture", stream, &graph));
    OK(call("cuGraphDestroy", graph));
    EXPECT(call("cuStreamEndCapture", stream, &graph), CUDA_ERROR_ILLEGAL_STATE);
    EXPECT(call("cuStreamBeginCapture_v2", (CUstream) nullptr, CU_STREAM_CAPTURE_MODE_RELAXED), unsupported);
    OK(call("cuMemFree_v2", other));
    OK(call("cuMemFree_v2", address));
}

void has_several_devices() {
    begin("has_several_devices");
    int count;
    OK(call("cuDeviceGetCount", &count));
    if (count < 2) return;
    CUcontext second;
    OK(call("cuDevicePrimaryCtxRetain", &second, 1));
    Floats x(ramp(8));
    OK(call("cuCtxSetCurrent", second));
    {
        Floats y(8);
        EXPECT(call<size_t>("kiln_fake_live_bytes", 1), 256);
        OK(call("cuCtxEnablePeerAccess", context, 0u));
        EXPECT(call("cuCtxEnablePeerAccess", context, 0u), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
        OK(call("cuMemcpyPeerAsync", y.address, second, x.address, context, size_t(32), (CUstream) nullptr));
        EXPECT(y.values()[7], ramp(8)[7]);
    }
    OK(call("cuCtxSetCurrent", context));
}

// ---- Times, with --times

void measure() {
    using Clock = std::chrono::steady_clock;
    auto milliseconds = [](Clock::time_point since) {
        return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
    };
    int n = int(Clock::now().time_since_epoch().count() & 0xffffff);
    std::string comment = "// " + std::to_string(n) + "\n";
    auto start = Clock::now();
    compile((comment + add_source).c_str());
    double plain = milliseconds(start);
    start = Clock::now();
    compile((comment + matmul_source(true)).c_str());
    printf("compiling: %.0f ms (add), %.0f ms (matmul)\n", plain, milliseconds(start));
    CUfunction add = load(add_source, "add");
    CUfunction sum = load(R"(
extern "C" __global__ void sum(float* out) {
    __shared__ float all[256];
    all[threadIdx.x] = threadIdx.x;
    __syncthreads();
    float value = all[255 - threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = value;
}
)", "sum");
    n = 512 * 256;
    Floats x(ramp(512 * 256)), out(512 * 256);
    start = Clock::now();
    OK(launch(add, 512, 256, 0, nullptr, {&out.address, &x.address, &x.address, &n}));
    OK(call("cuCtxSynchronize"));
    plain = milliseconds(start);
    start = Clock::now();
    OK(launch(sum, 512, 256, 0, nullptr, {&out.address}));
    OK(call("cuCtxSynchronize"));
    printf("512 blocks of 256 threads: %.1f ms (add), %.1f ms (2 barriers, 5 shuffles)\n", plain, milliseconds(start));
}

// Writes one element more than there is.
void overrun() {
    const char* source = "extern \"C\" __global__ void overrun(float* x) {\n    x[4 + threadIdx.x] = 1;\n}\n";
    CUfunction kernel = load(source, "overrun");
    Floats x(4);
    launch(kernel, 1, 1, 0, nullptr, {&x.address});
}

}  // namespace

int main(int count, char** arguments) {
    std::string folder = count > 1 ? arguments[1] : ".";
    driver = dlopen((folder + "/libcuda.so.1").c_str(), RTLD_NOW | RTLD_LOCAL);
    compiler = driver ? dlopen((folder + "/libnvrtc.so.13").c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (!compiler) {
        printf("%s\n", dlerror());
        return 1;
    }
    EXPECT(call("cuCtxSetCurrent", (CUcontext) nullptr), CUDA_ERROR_NOT_INITIALIZED);
    OK(call("cuInit", 0u));
    OK(call("cuDevicePrimaryCtxRetain", &context, 0));
    if (count > 2) {
        OK(call("cuCtxSetCurrent", context));
        if (strcmp(arguments[2], "--times") == 0) measure();
        if (strcmp(arguments[2], "--overrun") == 0) overrun();
        return failures > 0;
    }
    adds_vectors();
    reduces_blocks();
    multiplies_matrices();
    has_atomics_and_arithmetic();
    rounds_as_written();
    notices_wrong_barriers();
    notices_wrong_addresses();
    tells_of_errors_in_sources();
    has_rules_for_launches();
    has_rules_for_memory();
    guards_memory();
    orders_streams();
    replays_graphs();
    has_rules_for_captures();
    has_several_devices();
    printf(failures ? "%d expectations were wrong\n" : "all passed\n", failures);
    return failures > 0;
}
