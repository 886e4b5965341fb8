// A fake libcudnn.so.9: convolutions on the CPU, as work of the fake driver's streams, with the rules of the real one that Kiln
// relies on. It multiplies plainly and adds in double precision.
//
// Environment: KILN_FAKE_CUDNN=1 (else it does not start, so that Kiln's own kernels are tested), KILN_FAKE_CUDNN_VERSION (of another
// than 9.19.0: 90100), KILN_FAKE_CUDNN_REFUSES=1 (it supports no convolution), KILN_FAKE_CUDNN_WORKSPACE (how many bytes it wants).
#include "api.h"
#include "numbers.h"

#include <dlfcn.h>
#include <stdlib.h>

#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// The types and numbers of cudnn.h, written down anew.
typedef enum {
    SUCCESS = 0,
    NOT_INITIALIZED = 1001,
    BAD_PARAM = 2000,
    MISALIGNED_POINTER = 2003,
    NOT_SUPPORTED = 3000,
    EXECUTION_FAILED = 5000,
} Status;
enum Data { FLOAT = 0, DOUBLE = 1, HALF = 2, BFLOAT16 = 9 };
enum { NHWC = 1, CROSS_CORRELATION = 1 };
enum { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, FMA_MATH = 3 };

struct Handle {
    CUstream stream;
};
// Of a tensor images, channels, rows and columns; of a filter filters, channels of a group, rows and columns.
struct Tensor {
    int type, dims[4];
};
struct Convolution {
    int padding[2], stride[2], dilation[2], compute, groups, math;
};

namespace {

bool is_set(const char* name) {
    const char* value = getenv(name);
    return value && *value;
}

bool type_of(int data, Type* type) {
    if (data == FLOAT) *type = R_32F;
    else if (data == HALF) *type = R_16F;
    else if (data == BFLOAT16) *type = R_16BF;
    else return false;
    return true;
}

enum Which { FORWARD, INPUT, WEIGHTS };

struct Work {
    Which which;
    Tensor x, w, y;
    Convolution c;
    Type type;
    // Images, weights and what they give; one of them is written.
    unsigned char *of_x, *of_w, *of_y;
};

size_t count(const Tensor& t) { return size_t(t.dims[0]) * t.dims[1] * t.dims[2] * t.dims[3]; }

// Where an element lies, channels last.
size_t at(const Tensor& t, int first, int channel, int row, int column) {
    return ((size_t(first) * t.dims[2] + row) * t.dims[3] + column) * t.dims[1] + channel;
}

void convolve(const Work& work) {
    const Tensor &x = work.x, &w = work.w, &y = work.y;
    const Convolution& c = work.c;
    bool tf32 = work.type == R_32F && c.math == DEFAULT_MATH;
    auto read = [&](const unsigned char* from, size_t i) { return load(work.type, from + i * size_of(work.type), tf32); };
    const Tensor& target = work.which == FORWARD ? y : work.which == INPUT ? x : w;
    unsigned char* to = work.which == FORWARD ? work.of_y : work.which == INPUT ? work.of_x : work.of_w;
    std::vector<double> sums(count(target), 0.0);
    int inner = w.dims[1], outer = y.dims[1] / c.groups;
    for (int n = 0; n < y.dims[0]; n++)
        for (int k = 0; k < y.dims[1]; k++)
            for (int i = 0; i < y.dims[2]; i++)
                for (int j = 0; j < y.dims[3]; j++)
                    for (int r = 0; r < w.dims[2]; r++)
                        for (int s = 0; s < w.dims[3]; s++) {
                            int row = i * c.stride[0] + r * c.dilation[0] - c.padding[0];
                            int column = j * c.stride[1] + s * c.dilation[1] - c.padding[1];
                            if (row < 0 || row >= x.dims[2] || column < 0 || column >= x.dims[3]) continue;
                            for (int m = 0; m < inner; m++) {
                                size_t of_x = at(x, n, k / outer * inner + m, row, column);
                                size_t of_w = at(w, k, m, r, s), of_y = at(y, n, k, i, j);
                                switch (work.which) {
                                    case FORWARD: sums[of_y] += read(work.of_x, of_x) * read(work.of_w, of_w); break;
                                    case INPUT: sums[of_x] += read(work.of_y, of_y) * read(work.of_w, of_w); break;
                                    case WEIGHTS: sums[of_w] += read(work.of_x, of_x) * read(work.of_y, of_y); break;
                                }
                            }
                        }
    for (size_t i = 0; i < sums.size(); i++) store(work.type, to + i * size_of(work.type), sums[i]);
}

// What is wrong with a convolution, and the room that it wants.
Status look(const Handle* handle, const Tensor* x, const Tensor* w, const Convolution* c, const Tensor* y, int algorithm,
            int wanted, size_t* bytes) {
    Type type;
    if (!handle || !x || !w || !c || !y || !bytes) return BAD_PARAM;
    if (x->type != w->type || x->type != y->type || !type_of(x->type, &type) || c->compute != FLOAT) return BAD_PARAM;
    if (x->dims[0] != y->dims[0] || x->dims[1] != w->dims[1] * c->groups || y->dims[1] != w->dims[0]) return BAD_PARAM;
    if (w->dims[0] % c->groups) return BAD_PARAM;
    for (int i = 0; i < 2; i++) {
        int reach = c->dilation[i] * (w->dims[2 + i] - 1) + 1;
        if (y->dims[2 + i] != (x->dims[2 + i] + 2 * c->padding[i] - reach) / c->stride[i] + 1) return BAD_PARAM;
    }
    // Tensor cores of halves alone; others are to multiply as exactly as they are asked to.
    if ((type == R_32F) == (c->math == TENSOR_OP_MATH)) return BAD_PARAM;
    if (algorithm != wanted || is_set("KILN_FAKE_CUDNN_REFUSES")) return NOT_SUPPORTED;
    const char* room = getenv("KILN_FAKE_CUDNN_WORKSPACE");
    *bytes = room ? size_t(atoll(room)) : 1024;
    return SUCCESS;
}

Status run(const char* name, const Handle* handle, const void* alpha, const void* beta, void* room, size_t room_bytes,
           size_t needed, Work work) {
    if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return NOT_SUPPORTED;
    if (room_bytes < needed || (needed && !room)) return BAD_PARAM;
    CUdeviceptr addresses[4] = {CUdeviceptr(work.of_x), CUdeviceptr(work.of_w), CUdeviceptr(work.of_y), CUdeviceptr(room)};
    for (CUdeviceptr address : addresses)
        if (address % 16) return MISALIGNED_POINTER;
    type_of(work.x.type, &work.type);
    size_t size = size_of(work.type);
    size_t bytes[4] = {count(work.x) * size, count(work.w) * size, count(work.y) * size, needed};
    auto submit = reinterpret_cast<CUresult (*)(const char*, CUstream, unsigned, const CUdeviceptr*, const size_t*,
                                                void (*)(void*), void*, void (*)(void*))>(
        dlsym(RTLD_DEFAULT, "kiln_fake_submit"));
    if (!submit) return NOT_INITIALIZED;
    auto convolution = [](void* data) { convolve(*static_cast<Work*>(data)); };
    auto drop = [](void* data) { delete static_cast<Work*>(data); };
    CUresult result = submit(name, handle->stream, needed ? 4 : 3, addresses, bytes, convolution, new Work(work), drop);
    return result == CUDA_SUCCESS ? SUCCESS : EXECUTION_FAILED;
}

// How they are called: of the ways that there are, one for each.
enum { PRECOMPUTED_GEMM = 1, DATA_1 = 1, FILTER_1 = 1 };

unsigned char* bytes_of(const void* p) { return static_cast<unsigned char*>(const_cast<void*>(p)); }

}  // namespace

API size_t cudnnGetVersion() {
    const char* version = getenv("KILN_FAKE_CUDNN_VERSION");
    return version ? size_t(atoll(version)) : 91900;
}

API Status cudnnCreate(Handle** handle) {
    if (!is_set("KILN_FAKE_CUDNN")) return NOT_INITIALIZED;
    *handle = new Handle{};
    return SUCCESS;
}
API Status cudnnSetStream(Handle* handle, CUstream stream) {
    handle->stream = stream;
    return SUCCESS;
}

API Status cudnnCreateTensorDescriptor(Tensor** tensor) {
    *tensor = new Tensor{};
    return SUCCESS;
}
API Status cudnnDestroyTensorDescriptor(Tensor* tensor) {
    delete tensor;
    return SUCCESS;
}
API Status cudnnSetTensor4dDescriptor(Tensor* tensor, int format, int data, int n, int c, int h, int w) {
    if (format != NHWC || n < 1 || c < 1 || h < 1 || w < 1) return BAD_PARAM;
    *tensor = {data, {n, c, h, w}};
    return SUCCESS;
}

API Status cudnnCreateFilterDescriptor(Tensor** filter) { return cudnnCreateTensorDescriptor(filter); }
API Status cudnnDestroyFilterDescriptor(Tensor* filter) { return cudnnDestroyTensorDescriptor(filter); }
API Status cudnnSetFilter4dDescriptor(Tensor* filter, int data, int format, int k, int c, int h, int w) {
    return cudnnSetTensor4dDescriptor(filter, format, data, k, c, h, w);
}

API Status cudnnCreateConvolutionDescriptor(Convolution** convolution) {
    *convolution = new Convolution{};
    return SUCCESS;
}
API Status cudnnDestroyConvolutionDescriptor(Convolution* convolution) {
    delete convolution;
    return SUCCESS;
}
API Status cudnnSetConvolution2dDescriptor(Convolution* c, int pad_h, int pad_w, int u, int v, int dilation_h, int dilation_w,
                                           int mode, int compute) {
    if (mode != CROSS_CORRELATION || pad_h < 0 || pad_w < 0 || u < 1 || v < 1 || dilation_h < 1 || dilation_w < 1)
        return BAD_PARAM;
    *c = {{pad_h, pad_w}, {u, v}, {dilation_h, dilation_w}, compute, 1, DEFAULT_MATH};
    return SUCCESS;
}
API Status cudnnSetConvolutionGroupCount(Convolution* c, int groups) {
    c->groups = groups;
    return groups < 1 ? BAD_PARAM : SUCCESS;
}
API Status cudnnSetConvolutionMathType(Convolution* c, int math) {
    c->math = math;
    return math < DEFAULT_MATH || math > FMA_MATH ? BAD_PARAM : SUCCESS;
}

API Status cudnnGetConvolutionForwardWorkspaceSize(Handle* handle, Tensor* x, Tensor* w, Convolution* c, Tensor* y,
                                                   int algorithm, size_t* bytes) {
    return look(handle, x, w, c, y, algorithm, PRECOMPUTED_GEMM, bytes);
}
API Status cudnnGetConvolutionBackwardDataWorkspaceSize(Handle* handle, Tensor* w, Tensor* dy, Convolution* c, Tensor* dx,
                                                        int algorithm, size_t* bytes) {
    return look(handle, dx, w, c, dy, algorithm, DATA_1, bytes);
}
API Status cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle* handle, Tensor* x, Tensor* dy, Convolution* c, Tensor* dw,
                                                          int algorithm, size_t* bytes) {
    return look(handle, x, dw, c, dy, algorithm, FILTER_1, bytes);
}

API Status cudnnConvolutionForward(Handle* handle, const void* alpha, Tensor* x, const void* of_x, Tensor* w, const void* of_w,
                                   Convolution* c, int algorithm, void* room, size_t room_bytes, const void* beta, Tensor* y,
                                   void* of_y) {
    size_t needed;
    if (Status status = look(handle, x, w, c, y, algorithm, PRECOMPUTED_GEMM, &needed)) return status;
    Work work = {FORWARD, *x, *w, *y, *c, R_32F, bytes_of(of_x), bytes_of(of_w), bytes_of(of_y)};
    return run("cudnnConvolutionForward", handle, alpha, beta, room, room_bytes, needed, work);
}
API Status cudnnConvolutionBackwardData(Handle* handle, const void* alpha, Tensor* w, const void* of_w, Tensor* dy,
                                        const void* of_dy, Convolution* c, int algorithm, void* room, size_t room_bytes,
                                        const void* beta, Tensor* dx, void* of_dx) {
    size_t needed;
    if (Status status = look(handle, dx, w, c, dy, algorithm, DATA_1, &needed)) return status;
    Work work = {INPUT, *dx, *w, *dy, *c, R_32F, bytes_of(of_dx), bytes_of(of_w), bytes_of(of_dy)};
    return run("cudnnConvolutionBackwardData", handle, alpha, beta, room, room_bytes, needed, work);
}
API Status cudnnConvolutionBackwardFilter(Handle* handle, const void* alpha, Tensor* x, const void* of_x, Tensor* dy,
                                          const void* of_dy, Convolution* c, int algorithm, void* room, size_t room_bytes,
                                          const void* beta, Tensor* dw, void* of_dw) {
    size_t needed;
    if (Status status = look(handle, x, dw, c, dy, algorithm, FILTER_1, &needed)) return status;
    Work work = {WEIGHTS, *x, *dw, *dy, *c, R_32F, bytes_of(of_x), bytes_of(of_dw), bytes_of(of_dy)};
    return run("cudnnConvolutionBackwardFilter", handle, alpha, beta, room, room_bytes, needed, work);
}
