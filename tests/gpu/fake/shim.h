// CUDA C++ for a C++17 compiler and a CPU: what a kernel may name without including anything. Barriers, warps and
// the order of threads are the scheduler's business (fibers.cpp); arithmetic rounds as it is written
// (-ffp-contract=off).
//
// A kernel's dynamic shared memory is declared by KILN_SHARED(type, name). `extern __shared__` has no counterpart
// here.
#pragma once
#include "contract.h"

#define KILN_FAKE 1

typedef decltype(sizeof(0)) size_t;

// Where the running thread is described. Each library has its own pointer, set by the driver when it loads the library.
static kiln_fake::Running* kiln_fake_running;

#define threadIdx (kiln_fake_running->thread)
#define blockIdx (kiln_fake_running->block)
#define blockDim (kiln_fake_running->block_size)
#define gridDim (kiln_fake_running->grid_size)
#define warpSize 32

// ---- Words of the language. `__global__` and `__launch_bounds__` stay for nvrtc.cpp, which looks for kernels by them.

#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __shared__ static __attribute__((section("kiln_shared")))
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define KILN_SHARED(type, name) type* name = reinterpret_cast<type*>(kiln_fake_running->dynamic_shared)

#define KILN_FAKE_HERE                                                          \
    const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- Vectors

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define KILN_FAKE_VECTOR(element, name)                                         \
    struct alignas(2 * sizeof(element)) name##2 {                               \
        element x, y;                                                           \
    };                                                                          \
    struct name##3 {                                                            \
        element x, y, z;                                                        \
    };                                                                          \
    struct alignas(sizeof(element) < 4 ? 4 * sizeof(element) : 16) name##4 {    \
        element x, y, z, w;                                                     \
    };                                                                          \
    inline name##2 make_##name##2(element x, element y) { return {x, y}; }      \
    inline name##3 make_##name##3(element x, element y, element z) {            \
        return {x, y, z};                                                       \
    }                                                                           \
    inline name##4 make_##name##4(element x, element y, element z, element w) { \
        return {x, y, z, w};                                                    \
    }
KILN_FAKE_VECTOR(float, float)
KILN_FAKE_VECTOR(double, double)
KILN_FAKE_VECTOR(int, int)
KILN_FAKE_VECTOR(unsigned, uint)
KILN_FAKE_VECTOR(short, short)
KILN_FAKE_VECTOR(unsigned short, ushort)
KILN_FAKE_VECTOR(signed char, char)
KILN_FAKE_VECTOR(unsigned char, uchar)
KILN_FAKE_VECTOR(long long, longlong)
KILN_FAKE_VECTOR(unsigned long long, ulonglong)

// ---- Bits

namespace kiln_fake {
template <class To, class From>
__forceinline__ To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "a cast of bits keeps their number");
    To to;
    __builtin_memcpy(&to, &from, sizeof(To));
    return to;
}
}  // namespace kiln_fake

__forceinline__ unsigned __float_as_uint(float x) { return kiln_fake::bits<unsigned>(x); }
__forceinline__ float __uint_as_float(unsigned x) { return kiln_fake::bits<float>(x); }
__forceinline__ int __float_as_int(float x) { return kiln_fake::bits<int>(x); }
__forceinline__ float __int_as_float(int x) { return kiln_fake::bits<float>(x); }
__forceinline__ long long __double_as_longlong(double x) { return kiln_fake::bits<long long>(x); }
__forceinline__ double __longlong_as_double(long long x) { return kiln_fake::bits<double>(x); }

__forceinline__ int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
__forceinline__ unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
__forceinline__ long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
__forceinline__ int __popc(unsigned x) { return __builtin_popcount(x); }
__forceinline__ int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
__forceinline__ int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
__forceinline__ int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
__forceinline__ int __ffs(int x) { return __builtin_ffs(x); }
__forceinline__ int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev(unsigned(x)) << 32 | __brev(unsigned(x >> 32));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}
// Chooses four of eight bytes by the four lowest hexadecimal digits of `selector`; digit 8 and above repeat a
// byte's sign.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    unsigned long long bytes = (unsigned long long)b << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned choice = selector >> 4 * i & 0xf;
        unsigned byte = unsigned(bytes >> 8 * (choice & 7)) & 0xff;
        if (choice & 8) byte = byte & 0x80 ? 0xff : 0;
        result |= byte << 8 * i;
    }
    return result;
}

// ---- Mathematics

// The library's functions are the CPU's: within an ulp or two of a GPU's, not the same bits. What IEEE 754 rounds
// (+ - * / sqrt fma, and the roundings) has the same bits.

extern "C" {
#define KILN_FAKE_MATH(name)  \
    float name##f(float);     \
    double name(double);
KILN_FAKE_MATH(sqrt) KILN_FAKE_MATH(rint) KILN_FAKE_MATH(nearbyint) KILN_FAKE_MATH(floor) KILN_FAKE_MATH(ceil)
KILN_FAKE_MATH(trunc) KILN_FAKE_MATH(round) KILN_FAKE_MATH(fabs) KILN_FAKE_MATH(exp) KILN_FAKE_MATH(exp2)
KILN_FAKE_MATH(expm1) KILN_FAKE_MATH(log) KILN_FAKE_MATH(log2) KILN_FAKE_MATH(log10) KILN_FAKE_MATH(log1p)
KILN_FAKE_MATH(sin) KILN_FAKE_MATH(cos) KILN_FAKE_MATH(tan) KILN_FAKE_MATH(asin) KILN_FAKE_MATH(acos)
KILN_FAKE_MATH(atan) KILN_FAKE_MATH(sinh) KILN_FAKE_MATH(cosh) KILN_FAKE_MATH(tanh) KILN_FAKE_MATH(asinh)
KILN_FAKE_MATH(acosh) KILN_FAKE_MATH(atanh) KILN_FAKE_MATH(cbrt) KILN_FAKE_MATH(erf) KILN_FAKE_MATH(erfc)
KILN_FAKE_MATH(lgamma) KILN_FAKE_MATH(tgamma) KILN_FAKE_MATH(logb)
#undef KILN_FAKE_MATH
#define KILN_FAKE_MATH(name)       \
    float name##f(float, float);   \
    double name(double, double);
KILN_FAKE_MATH(pow) KILN_FAKE_MATH(fmod) KILN_FAKE_MATH(copysign) KILN_FAKE_MATH(fmin) KILN_FAKE_MATH(fmax)
KILN_FAKE_MATH(atan2) KILN_FAKE_MATH(hypot) KILN_FAKE_MATH(remainder) KILN_FAKE_MATH(nextafter) KILN_FAKE_MATH(fdim)
#undef KILN_FAKE_MATH
float fmaf(float, float, float);
double fma(double, double, double);
float ldexpf(float, int);
double ldexp(double, int);
float scalbnf(float, int);
double scalbn(double, int);
float frexpf(float, int*);
double frexp(double, int*);
float modff(float, float*);
double modf(double, double*);
int printf(const char*, ...);
void* memcpy(void*, const void*, size_t);
void* memset(void*, int, size_t);
int abs(int);
long long llabs(long long);
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline void sincosf(float x, float* sine, float* cosine) { *sine = sinf(x), *cosine = cosf(x); }
inline void sincos(double x, double* sine, double* cosine) { *sine = sin(x), *cosine = cos(x); }
inline float normcdff(float x) { return 0.5f * erfcf(x * -0.70710678f); }
inline double normcdf(double x) { return 0.5 * erfc(x * -0.7071067811865476); }
inline float exp10f(float x) { return powf(10.0f, x); }
inline double exp10(double x) { return pow(10.0, x); }

// Conversions. To integers, those of a GPU saturate and take NaN for 0; C++ leaves it open, so it is spelled out.
namespace kiln_fake {
template <class Integer, class Float>
inline Integer saturate(Float x) {
    constexpr bool is_signed = Integer(-1) < Integer(0);
    constexpr Integer high = Integer(~0ull >> (64 - 8 * sizeof(Integer) + is_signed));
    constexpr Integer low = is_signed ? -high - 1 : 0;
    if (x != x) return 0;
    if (x <= Float(low)) return low;
    return x >= Float(high) ? high : Integer(x);
}
}  // namespace kiln_fake
#define KILN_FAKE_CONVERSIONS(name, integer)                                                                \
    inline integer __float2##name##_rn(float x) { return kiln_fake::saturate<integer>(rintf(x)); }          \
    inline integer __float2##name##_rz(float x) { return kiln_fake::saturate<integer>(truncf(x)); }         \
    inline integer __float2##name##_rd(float x) { return kiln_fake::saturate<integer>(floorf(x)); }         \
    inline integer __float2##name##_ru(float x) { return kiln_fake::saturate<integer>(ceilf(x)); }          \
    inline integer __double2##name##_rn(double x) { return kiln_fake::saturate<integer>(rint(x)); }         \
    inline integer __double2##name##_rz(double x) { return kiln_fake::saturate<integer>(trunc(x)); }        \
    inline float __##name##2float_rn(integer x) { return float(x); }                                        \
    inline double __##name##2double_rn(integer x) { return double(x); }
KILN_FAKE_CONVERSIONS(int, int)
KILN_FAKE_CONVERSIONS(uint, unsigned)
KILN_FAKE_CONVERSIONS(ll, long long)
KILN_FAKE_CONVERSIONS(ull, unsigned long long)
inline float __double2float_rn(double x) { return float(x); }

// The fast ones of a GPU are less exact than these; what a test may rely on is the looser of both.
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }

__forceinline__ float __fadd_rn(float a, float b) { return a + b; }
__forceinline__ float __fsub_rn(float a, float b) { return a - b; }
__forceinline__ float __fmul_rn(float a, float b) { return a * b; }
__forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
__forceinline__ float __frcp_rn(float a) { return 1.0f / a; }
__forceinline__ float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
__forceinline__ float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ double __dadd_rn(double a, double b) { return a + b; }
__forceinline__ double __dsub_rn(double a, double b) { return a - b; }
__forceinline__ double __dmul_rn(double a, double b) { return a * b; }
__forceinline__ double __ddiv_rn(double a, double b) { return a / b; }
__forceinline__ double __drcp_rn(double a) { return 1.0 / a; }
__forceinline__ double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
__forceinline__ double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }

__forceinline__ bool isnan(float x) { return __builtin_isnan(x); }
__forceinline__ bool isnan(double x) { return __builtin_isnan(x); }
__forceinline__ bool isinf(float x) { return __builtin_isinf(x); }
__forceinline__ bool isinf(double x) { return __builtin_isinf(x); }
__forceinline__ bool isfinite(float x) { return __builtin_isfinite(x); }
__forceinline__ bool isfinite(double x) { return __builtin_isfinite(x); }
__forceinline__ bool signbit(float x) { return __builtin_signbit(x); }
__forceinline__ bool signbit(double x) { return __builtin_signbit(x); }

// A GPU's min and max of floats are fmin and fmax: of a NaN and a number they give the number.
__forceinline__ int min(int a, int b) { return a < b ? a : b; }
__forceinline__ int max(int a, int b) { return a > b ? a : b; }
__forceinline__ unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
__forceinline__ unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
__forceinline__ unsigned min(int a, unsigned b) { return min(unsigned(a), b); }
__forceinline__ unsigned max(int a, unsigned b) { return max(unsigned(a), b); }
__forceinline__ unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
__forceinline__ unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
__forceinline__ long min(long a, long b) { return a < b ? a : b; }
__forceinline__ long max(long a, long b) { return a > b ? a : b; }
__forceinline__ unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
__forceinline__ unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
__forceinline__ long long min(long long a, long long b) { return a < b ? a : b; }
__forceinline__ long long max(long long a, long long b) { return a > b ? a : b; }
__forceinline__ unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
__forceinline__ unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
inline long long abs(long long x) { return llabs(x); }

#define KILN_FAKE_MATH(name) \
    inline float name(float x) { return name##f(x); }
KILN_FAKE_MATH(sqrt) KILN_FAKE_MATH(rsqrt) KILN_FAKE_MATH(rint) KILN_FAKE_MATH(floor) KILN_FAKE_MATH(ceil)
KILN_FAKE_MATH(trunc) KILN_FAKE_MATH(round) KILN_FAKE_MATH(fabs) KILN_FAKE_MATH(exp) KILN_FAKE_MATH(exp2)
KILN_FAKE_MATH(expm1) KILN_FAKE_MATH(log) KILN_FAKE_MATH(log2) KILN_FAKE_MATH(log10) KILN_FAKE_MATH(log1p)
KILN_FAKE_MATH(sin) KILN_FAKE_MATH(cos) KILN_FAKE_MATH(tan) KILN_FAKE_MATH(tanh) KILN_FAKE_MATH(erf)
#undef KILN_FAKE_MATH
inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
inline float pow(float x, float y) { return powf(x, y); }
inline float fmod(float x, float y) { return fmodf(x, y); }
inline float copysign(float x, float y) { return copysignf(x, y); }

// ---- Memory

template <class T>
__forceinline__ T __ldg(const T* address) {
    return *address;
}
template <class T>
__forceinline__ T __ldcs(const T* address) {
    return *address;
}
template <class T>
__forceinline__ void __stcs(T* address, T value) {
    *address = value;
}
__forceinline__ void __threadfence() {}
__forceinline__ void __threadfence_block() {}
__forceinline__ void __threadfence_system() {}

// One thread runs at a time, and none is interrupted: plain code is atomic. These are the types that a GPU has.
#define KILN_FAKE_ATOMIC(name, type, result)                \
    inline type name(type* address, type value) {           \
        type old = *address;                                \
        *address = result;                                  \
        return old;                                         \
    }
#define KILN_FAKE_ATOMIC_INTEGER(type)                                      \
    KILN_FAKE_ATOMIC(atomicMax, type, old > value ? old : value)            \
    KILN_FAKE_ATOMIC(atomicMin, type, old < value ? old : value)            \
    KILN_FAKE_ATOMIC(atomicExch, type, value)                               \
    KILN_FAKE_ATOMIC(atomicAnd, type, old & value)                          \
    KILN_FAKE_ATOMIC(atomicOr, type, old | value)                           \
    KILN_FAKE_ATOMIC(atomicXor, type, old ^ value)
KILN_FAKE_ATOMIC_INTEGER(int)
KILN_FAKE_ATOMIC_INTEGER(unsigned)
KILN_FAKE_ATOMIC_INTEGER(long long)
KILN_FAKE_ATOMIC_INTEGER(unsigned long long)
KILN_FAKE_ATOMIC(atomicAdd, float, old + value)
KILN_FAKE_ATOMIC(atomicAdd, double, old + value)
KILN_FAKE_ATOMIC(atomicAdd, int, int(unsigned(old) + unsigned(value)))
KILN_FAKE_ATOMIC(atomicAdd, unsigned, old + value)
KILN_FAKE_ATOMIC(atomicAdd, unsigned long long, old + value)
KILN_FAKE_ATOMIC(atomicSub, int, int(unsigned(old) - unsigned(value)))
KILN_FAKE_ATOMIC(atomicSub, unsigned, old - value)
KILN_FAKE_ATOMIC(atomicExch, float, value)
KILN_FAKE_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
KILN_FAKE_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

#define KILN_FAKE_COMPARE_AND_SWAP(type)                            \
    inline type atomicCAS(type* address, type expected, type value) { \
        type old = *address;                                        \
        if (old == expected) *address = value;                      \
        return old;                                                 \
    }
KILN_FAKE_COMPARE_AND_SWAP(int)
KILN_FAKE_COMPARE_AND_SWAP(unsigned)
KILN_FAKE_COMPARE_AND_SWAP(unsigned long long)
KILN_FAKE_COMPARE_AND_SWAP(unsigned short)

// ---- Barriers and warps

inline void __syncthreads(KILN_FAKE_HERE) { kiln_fake_running->block_barrier({file, line}); }
inline void __syncwarp(unsigned mask = 0xffffffffu, KILN_FAKE_HERE) {
    kiln_fake_running->warp(kiln_fake::WarpOperation::Synchronize, mask, 0, 0, {file, line});
}
inline unsigned __activemask() { return kiln_fake_running->active_lanes(); }
[[noreturn]] inline void __trap(KILN_FAKE_HERE) {
    kiln_fake_running->trap({file, line}, "__trap()");
    __builtin_unreachable();
}

namespace kiln_fake {

template <class T>
__forceinline__ T shuffle(unsigned mask, T value, unsigned source, Place place) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    unsigned long long raw = 0;
    __builtin_memcpy(&raw, &value, sizeof(T));
    raw = kiln_fake_running->warp(WarpOperation::Shuffle, mask, raw, source, place);
    __builtin_memcpy(&value, &raw, sizeof(T));
    return value;
}

}  // namespace kiln_fake

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, KILN_FAKE_HERE) {
    unsigned first = kiln_fake_running->lane & ~unsigned(width - 1);
    return kiln_fake::shuffle(mask, value, first | (unsigned(source) & unsigned(width - 1)), {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, KILN_FAKE_HERE) {
    unsigned lane = kiln_fake_running->lane, within = lane & unsigned(width - 1);
    return kiln_fake::shuffle(mask, value, within >= delta ? lane - delta : lane, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, KILN_FAKE_HERE) {
    unsigned lane = kiln_fake_running->lane, within = lane & unsigned(width - 1);
    return kiln_fake::shuffle(mask, value, within + delta < unsigned(width) ? lane + delta : lane, {file, line});
}
// As on a GPU, a lane may read from a segment before its own, not from one behind it.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, KILN_FAKE_HERE) {
    unsigned lane = kiln_fake_running->lane, source = lane ^ unsigned(lanes);
    bool reachable = source < 32 && source <= (lane | unsigned(width - 1));
    return kiln_fake::shuffle(mask, value, reachable ? source : lane, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, KILN_FAKE_HERE) {
    return unsigned(kiln_fake_running->warp(kiln_fake::WarpOperation::Ballot, mask, predicate != 0, 0, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, KILN_FAKE_HERE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, KILN_FAKE_HERE) {
    return __ballot_sync(mask, !predicate, file, line) == 0;
}
inline int __syncthreads_or(int predicate, KILN_FAKE_HERE) {
    __shared__ int any;
    if (threadIdx.x + threadIdx.y + threadIdx.z == 0) any = 0;
    kiln_fake_running->block_barrier({file, line});
    if (predicate) any = 1;
    kiln_fake_running->block_barrier({file, line});
    int result = any;
    kiln_fake_running->block_barrier({file, line});
    return result;
}

// A clock that advances, which is all that a kernel may expect of it.
inline long long clock64() {
    static long long ticks;
    return ticks += 16;
}
inline void __nanosleep(unsigned) {}

// ---- What the driver needs of each kernel; nvrtc.cpp appends a line that calls `describe` for each

extern "C" __attribute__((visibility("hidden"), weak)) unsigned char __start_kiln_shared[];
extern "C" __attribute__((visibility("hidden"), weak)) unsigned char __stop_kiln_shared[];

namespace kiln_fake {

inline void bind(Running* running) { kiln_fake_running = running; }

template <unsigned... I>
struct Positions {};
template <unsigned Count, unsigned... I>
struct CountUp : CountUp<Count - 1, Count - 1, I...> {};
template <unsigned... I>
struct CountUp<0, I...> {
    using Result = Positions<I...>;
};

template <auto kernel>
struct Entry;
template <class... Argument, void (*kernel)(Argument...)>
struct Entry<kernel> {
    static constexpr unsigned count = sizeof...(Argument);
    static constexpr unsigned bytes[count + 1] = {sizeof(Argument)..., 0};

    template <unsigned... I>
    static void unpack(void** arguments, Positions<I...>) {
        kernel(*static_cast<Argument*>(arguments[I])...);
    }
    static void call(void** arguments) { unpack(arguments, typename CountUp<count>::Result()); }
};

// The first argument of __launch_bounds__, which may have up to three and may be missing.
constexpr unsigned thread_limit(unsigned limit = 1024, unsigned = 0, unsigned = 0) { return limit; }

template <auto kernel>
constexpr Kernel describe(const char* name, unsigned limit, bool alone) {
    using Entry = kiln_fake::Entry<kernel>;
    return {name, Entry::count, Entry::bytes, limit, Entry::call, bind, __start_kiln_shared, __stop_kiln_shared, alone};
}

}  // namespace kiln_fake
