// The part of the CUDA driver API that the fake has: the types and numbers of cuda.h, written down anew, because no
// machine without a GPU needs to have that header.
#pragma once
#include <stddef.h>

// Every error that the fake gives or may be told to give: name, number, text.
#define KILN_FAKE_ERRORS(X)                                                                                     \
    X(CUDA_SUCCESS, 0, "no error")                                                                              \
    X(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")                                                          \
    X(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                             \
    X(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")                                                    \
    X(CUDA_ERROR_DEINITIALIZED, 4, "driver shutting down")                                                      \
    X(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                          \
    X(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                 \
    X(CUDA_ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                                          \
    X(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")                                                \
    X(CUDA_ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")            \
    X(CUDA_ERROR_ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                                 \
    X(CUDA_ERROR_INVALID_PTX, 218, "a PTX JIT compilation failed")                                              \
    X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.")  \
    X(CUDA_ERROR_FILE_NOT_FOUND, 301, "file not found")                                                         \
    X(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                                \
    X(CUDA_ERROR_ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")                  \
    X(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")                                                      \
    X(CUDA_ERROR_NOT_READY, 600, "device not ready")                                                            \
    X(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                              \
    X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                       \
    X(CUDA_ERROR_LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                                \
    X(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, 704, "peer access is already enabled")                            \
    X(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, 705, "peer access has not been enabled")                              \
    X(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                              \
    X(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")                                                 \
    X(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")           \
    X(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")    \
    X(CUDA_ERROR_STREAM_CAPTURE_MERGE, 902, "operation would result in a merge of separate capture sequences")  \
    X(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903, "capture was not ended in the same stream as it began")         \
    X(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")                            \
    X(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream")      \
    X(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, 906,                                                                  \
      "operation would make the legacy stream depend on a capturing blocking stream")                           \
    X(CUDA_ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream") \
    X(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, 908,                                                              \
      "attempt to terminate a thread-local capture sequence from another thread")                               \
    X(CUDA_ERROR_UNKNOWN, 999, "unknown error")

typedef enum cudaError_enum {
#define KILN_FAKE_ERROR(name, number, text) name = number,
    KILN_FAKE_ERRORS(KILN_FAKE_ERROR)
#undef KILN_FAKE_ERROR
} CUresult;

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long cuuint64_t;
typedef struct CUctx_st* CUcontext;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef struct CUstream_st* CUstream;
typedef struct CUevent_st* CUevent;
typedef struct CUgraph_st* CUgraph;
typedef struct CUgraphNode_st* CUgraphNode;
typedef struct CUgraphExec_st* CUgraphExec;
typedef struct CUgraphEdgeData_st CUgraphEdgeData;

typedef struct CUuuid_st {
    char bytes[16];
} CUuuid;

typedef enum CUstreamCaptureMode_enum {
    CU_STREAM_CAPTURE_MODE_GLOBAL = 0,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    CU_STREAM_CAPTURE_MODE_RELAXED = 2,
} CUstreamCaptureMode;

typedef enum CUstreamCaptureStatus_enum {
    CU_STREAM_CAPTURE_STATUS_NONE = 0,
    CU_STREAM_CAPTURE_STATUS_ACTIVE = 1,
    CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2,
} CUstreamCaptureStatus;

typedef enum CUgraphNodeType_enum {
    CU_GRAPH_NODE_TYPE_KERNEL = 0,
    CU_GRAPH_NODE_TYPE_MEMCPY = 1,
    CU_GRAPH_NODE_TYPE_MEMSET = 2,
} CUgraphNodeType;

typedef enum CUfunction_attribute_enum {
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
    CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
    CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES = 2,
    CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
    CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
    CU_FUNC_ATTRIBUTE_PTX_VERSION = 5,
    CU_FUNC_ATTRIBUTE_BINARY_VERSION = 6,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT = 9,
} CUfunction_attribute;

// Only the numbers of those that driver.cpp answers are there.
typedef enum CUdevice_attribute_enum { CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1 } CUdevice_attribute;
typedef enum CUjit_option_enum { CU_JIT_MAX_REGISTERS = 0 } CUjit_option;

enum {
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_DISABLE_TIMING = 2,
};
