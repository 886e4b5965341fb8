// The fake driver, tested: kernels, the mistakes that it must notice, the rules of the API. The first argument is the
// folder of the two libraries. Every test begins with a device as new, and prints what it expected where it was wrong.
#include "api.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return call("cuLaunchKernel", function, grid, 1u, 1u, block, 1u, 1u, shared, stream, arguments.data(), (void**)nullptr);
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
    CUfunction kernel = load(R"(
#include "extra.cuh"
#if THREE != 3
#error not defined
#endif
struct Table { const float* x; int n; };
extern "C" __global__ void kernel(float* out, const __grid_constant__ Table table) {
    atomicAdd(&out[0], 1.0f);
    atomicMax((int*)&out[1], __float_as_int((float)threadIdx.x));
    if (threadIdx.x == 5) out[2] = __fmul_rn(table.x[1], 3.0f);
    if (threadIdx.x == 6) out[3] = __uint_as_float(__umulhi(0x80000000u, 0x7f000000u));
    if (threadIdx.x == 7) { float4 v = make_float4(1, 2, 3, 4); out[4] = v.w + table.n; }
    if (threadIdx.x == 8) out[5] = isnan(__uint_as_float(0x7fc00000u)) && min(2u, 7u) == 2 ? 1 : 0;
    if (threadIdx.x == 9) out[6] = __clz(1) + __ffs(8) + (__brev(1u) == 0x80000000u);
    int from = __shfl_sync(0xffffffffu, (int)threadIdx.x, 3, 8);
    if (threadIdx.x == 29) out[7] = from + __all_sync(1u << 29, 1);
}
)" + 0 == nullptr ? "" : "extern \"C\" __global__ void kernel() {}", "kernel");
    (void)kernel;
}

}  // namespace
