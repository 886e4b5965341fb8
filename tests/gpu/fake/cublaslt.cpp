// A fake libcublasLt.so.13: products of matrices on the CPU, as work of the fake driver's streams, with the rules of the real
// one. It multiplies plainly and adds in double precision.
//
// Environment: KILN_FAKE_NO_PRODUCTS=1 (it does not start, as on a machine without the library).
#include "api.h"
#include "numbers.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// The types and numbers of cublasLt.h, written down anew.
typedef enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 } Status;
enum Compute { COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_32F_FAST_TF32 = 77 };

struct Description {
    Compute compute;
    Type scale;
    bool transposed[2];
};
struct Layout {
    Type type;
    uint64_t rows, columns;
    int64_t step;
    int32_t batches;
    int64_t batch_step;
};
struct Preference {
    size_t workspace;
    uint32_t alignments[4];
};
struct Algorithm {
    uint64_t data[8];
};
struct Found {
    Algorithm algorithm;
    size_t workspace;
    Status state;
    float waves;
    int reserved[4];
};

namespace {

// What an algorithm was chosen for; another product must not use it.
Algorithm algorithm_for(const Description& description, const Layout& a, const Layout& b, const Layout& d,
                        const uint32_t* alignments) {
    Algorithm algorithm = {};
    algorithm.data[0] = 0x6b696c6e;
    algorithm.data[1] = d.rows, algorithm.data[2] = d.columns;
    algorithm.data[3] = description.transposed[0] ? a.rows : a.columns;
    algorithm.data[4] = uint64_t(d.batches) << 32 | uint64_t(d.type) << 2 | uint64_t(description.transposed[0]) << 1 |
                        uint64_t(description.transposed[1]);
    algorithm.data[5] = uint64_t(a.step) << 32 | uint64_t(b.step);
    // A plain copy of the alignments in the library's order: a, b, d.
    algorithm.data[6] = uint64_t(alignments[0]) << 32 | alignments[1];
    algorithm.data[7] = alignments[3];
    return algorithm;
}

struct Product {
    Description description;
    Layout a, b, d;
    const unsigned char *of_a, *of_b;
    unsigned char* of_d;
};

void multiply(const Product& p) {
    size_t size = size_of(p.d.type), terms = p.description.transposed[0] ? p.a.rows : p.a.columns;
    bool tf32 = p.description.compute == COMPUTE_32F_FAST_TF32;
    size_t rows = p.d.rows, columns = p.d.columns;
    std::vector<double> left(rows * terms), right(terms * columns);
    for (int64_t batch = 0; batch < p.d.batches; batch++) {
        auto at = [&](const Layout& layout, bool transposed, size_t row, size_t column) {
            if (transposed) std::swap(row, column);
            return size_t(batch * layout.batch_step + int64_t(column) * layout.step + int64_t(row)) * size;
        };
        for (size_t i = 0; i < rows; i++)
            for (size_t k = 0; k < terms; k++)
                left[i * terms + k] = load(p.d.type, p.of_a + at(p.a, p.description.transposed[0], i, k), tf32);
        for (size_t j = 0; j < columns; j++)
            for (size_t k = 0; k < terms; k++)
                right[j * terms + k] = load(p.d.type, p.of_b + at(p.b, p.description.transposed[1], k, j), tf32);
        for (size_t j = 0; j < columns; j++)
            for (size_t i = 0; i < rows; i++) {
                double sum = 0;
                for (size_t k = 0; k < terms; k++) sum += left[i * terms + k] * right[j * terms + k];
                store(p.d.type, p.of_d + at(p.d, false, i, j), sum);
            }
    }
}

// From the first element to behind the last.
size_t reach(const Layout& layout) {
    int64_t last = (layout.batches - 1) * layout.batch_step + int64_t(layout.columns - 1) * layout.step;
    return size_t(last + int64_t(layout.rows)) * size_of(layout.type);
}

bool fit(const Description& description, const Layout& a, const Layout& b, const Layout& d) {
    bool is_double = description.compute == COMPUTE_64F;
    if (a.type != b.type || a.type != d.type || is_double != (a.type == R_64F)) return false;
    if (description.scale != (is_double ? R_64F : R_32F)) return false;
    if (description.compute == COMPUTE_32F_FAST_TF32 && a.type != R_32F) return false;
    uint64_t rows = description.transposed[0] ? a.columns : a.rows, terms = description.transposed[0] ? a.rows : a.columns;
    uint64_t columns = description.transposed[1] ? b.rows : b.columns;
    uint64_t others = description.transposed[1] ? b.columns : b.rows;
    return rows == d.rows && columns == d.columns && terms == others && a.batches == d.batches && b.batches == d.batches;
}

template <class T>
Status assign(T* to, const void* from, size_t bytes) {
    if (!from || bytes != sizeof(T)) return INVALID_VALUE;
    memcpy(to, from, bytes);
    return SUCCESS;
}

}  // namespace

API size_t cublasLtGetVersion() { return 130100; }

API Status cublasLtCreate(void** handle) {
    const char* none = getenv("KILN_FAKE_NO_PRODUCTS");
    if (none && *none) return NOT_INITIALIZED;
    *handle = new int(0);
    return SUCCESS;
}
API Status cublasLtDestroy(void* handle) {
    delete static_cast<int*>(handle);
    return SUCCESS;
}

API Status cublasLtMatmulDescCreate(Description** description, Compute compute, Type scale) {
    *description = new Description{compute, scale, {false, false}};
    return SUCCESS;
}
API Status cublasLtMatmulDescDestroy(Description* description) {
    delete description;
    return SUCCESS;
}
API Status cublasLtMatmulDescSetAttribute(Description* description, int attribute, const void* value, size_t bytes) {
    // TRANSA and TRANSB; 0 is as it lies, 1 is transposed.
    if (attribute != 3 && attribute != 4) return INVALID_VALUE;
    int32_t operation = 0;
    Status status = assign(&operation, value, bytes);
    if (operation < 0 || operation > 1) return INVALID_VALUE;
    description->transposed[attribute - 3] = operation == 1;
    return status;
}

API Status cublasLtMatrixLayoutCreate(Layout** layout, Type type, uint64_t rows, uint64_t columns, int64_t step) {
    if (!rows || !columns || step < int64_t(rows)) return INVALID_VALUE;
    *layout = new Layout{type, rows, columns, step, 1, 0};
    return SUCCESS;
}
API Status cublasLtMatrixLayoutDestroy(Layout* layout) {
    delete layout;
    return SUCCESS;
}
API Status cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
    if (attribute == 5) return assign(&layout->batches, value, bytes);
    if (attribute == 6) return assign(&layout->batch_step, value, bytes);
    return INVALID_VALUE;
}

API Status cublasLtMatmulPreferenceCreate(Preference** preference) {
    *preference = new Preference{0, {256, 256, 256, 256}};
    return SUCCESS;
}
API Status cublasLtMatmulPreferenceDestroy(Preference* preference) {
    delete preference;
    return SUCCESS;
}
API Status cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t bytes) {
    if (attribute == 1) return assign(&preference->workspace, value, bytes);
    if (attribute >= 5 && attribute <= 8) return assign(&preference->alignments[attribute - 5], value, bytes);
    return INVALID_VALUE;
}

API Status cublasLtMatmulAlgoGetHeuristic(void* handle, Description* description, Layout* a, Layout* b, Layout* c, Layout* d,
                                          Preference* preference, int wanted, Found* found, int* count) {
    if (!handle || !description || !a || !b || !c || !d || !preference || wanted < 1) return INVALID_VALUE;
    *count = 0;
    if (!fit(*description, *a, *b, *d)) return NOT_SUPPORTED;
    // As little as an element is too little of some products of the real one.
    for (uint32_t alignment : preference->alignments)
        if (alignment < size_of(d->type)) return NOT_SUPPORTED;
    *count = 1;
    *found = {algorithm_for(*description, *a, *b, *d, preference->alignments), 0, SUCCESS, 1, {}};
    return SUCCESS;
}

API Status cublasLtMatmul(void* handle, Description* description, const void* alpha, const void* of_a, Layout* a,
                          const void* of_b, Layout* b, const void* beta, const void* of_c, Layout* c, void* of_d, Layout* d,
                          const Algorithm* algorithm, void* workspace, size_t workspace_bytes, CUstream stream) {
    if (!handle || !description || !a || !b || !c || !d || !algorithm || of_c != of_d) return INVALID_VALUE;
    if (!fit(*description, *a, *b, *d) || (workspace_bytes && !workspace)) return INVALID_VALUE;
    bool is_double = description->scale == R_64F;
    double factors[2];
    for (int i = 0; i < 2; i++) {
        const void* factor = i ? beta : alpha;
        factors[i] = is_double ? *static_cast<const double*>(factor) : *static_cast<const float*>(factor);
    }
    // Others are not asked for.
    if (factors[0] != 1 || factors[1] != 0) return NOT_SUPPORTED;
    uint32_t alignments[4] = {uint32_t(algorithm->data[6] >> 32), uint32_t(algorithm->data[6]), 0, uint32_t(algorithm->data[7])};
    Algorithm expected = algorithm_for(*description, *a, *b, *d, alignments);
    if (memcmp(&expected, algorithm, sizeof expected) != 0) return NOT_SUPPORTED;
    CUdeviceptr addresses[4] = {CUdeviceptr(of_a), CUdeviceptr(of_b), CUdeviceptr(of_d), CUdeviceptr(workspace)};
    if (addresses[0] % alignments[0] || addresses[1] % alignments[1] || addresses[2] % alignments[3]) return INVALID_VALUE;
    size_t bytes[4] = {reach(*a), reach(*b), reach(*d), workspace_bytes};
    auto submit = reinterpret_cast<CUresult (*)(const char*, CUstream, unsigned, const CUdeviceptr*, const size_t*,
                                                void (*)(void*), void*, void (*)(void*))>(
        dlsym(RTLD_DEFAULT, "kiln_fake_submit"));
    if (!submit) return NOT_INITIALIZED;
    auto product = new Product{*description, *a, *b, *d, static_cast<const unsigned char*>(of_a),
                               static_cast<const unsigned char*>(of_b), static_cast<unsigned char*>(of_d)};
    auto run = [](void* data) { multiply(*static_cast<Product*>(data)); };
    auto drop = [](void* data) { delete static_cast<Product*>(data); };
    return submit("cublasLtMatmul", stream, workspace_bytes ? 4 : 3, addresses, bytes, run, product, drop) == CUDA_SUCCESS
               ? SUCCESS
               : EXECUTION_FAILED;
}
