// What every kernel begins with: element types, conversions, the scalar functions of `scalar/float.rs` and the random
// draws of `ops/random`, to the same bits where those are Kiln's own. No header of CUDA's is needed.

typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
struct f16 { u16 bits; };
struct bf16 { u16 bits; };

#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__

// The number of the thread in a one-dimensional grid, and how many there are.
#define THREAD ((i64)blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS ((i64)gridDim.x * blockDim.x)

#ifndef KILN_SHARED
#define KILN_SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type* name = reinterpret_cast<type*>(name##_bytes)
#endif

namespace kiln {

INLINE f32 float_of(u32 bits) { return __uint_as_float(bits); }
INLINE u32 bits_of(f32 x) { return __float_as_uint(x); }
INLINE f64 double_of(u64 bits) { return __longlong_as_double((i64)bits); }
INLINE u64 bits_of(f64 x) { return (u64)__double_as_longlong(x); }

// ---- Conversions between element types, as `Element` of `dtype.rs` says.

INLINE f32 widen(f16 x) {
#ifndef KILN_FAKE
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#else
    u32 sign = (u32)(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    f32 tiny = (f32)fraction * 5.9604644775390625e-8f;
    return sign ? -tiny : tiny;
#endif
}

INLINE f16 to_f16(f32 x) {
    f16 y;
#ifndef KILN_FAKE
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    u32 bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) y.bits = (u16)(sign | 0x7e00);
    else if (size >= 0x47800000u) y.bits = (u16)(sign | 0x7c00);
    else if (size < 0x38800000u) {
        // At 2^-1 the distance between numbers is that of the smallest ones here: adding it rounds.
        f32 shifted = float_of(size) + 0.5f;
        y.bits = (u16)(sign | (bits_of(shifted) - bits_of(0.5f)));
    } else y.bits = (u16)(sign | ((size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13));
#endif
    return y;
}

INLINE f32 widen(bf16 x) { return float_of((u32)x.bits << 16); }

INLINE bf16 to_bf16(f32 x) {
    bf16 y;
    u32 bits = bits_of(x);
    y.bits = (u16)(x != x ? bits >> 16 | 64 : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
    return y;
}

// To single precision, rounded to the neighbour with the odd last bit where it is not exact: rounded once more to half
// precision, it comes out as if it had been rounded once.
INLINE f32 odd(f64 x) {
    f32 near = (f32)x;
    f64 back = (f64)near;
    u32 beyond = (back < 0 ? -back : back) > (x < 0 ? -x : x) ? 1 : 0;
    return float_of((bits_of(near) - beyond) | (back != x ? 1u : 0u));
}

INLINE f32 odd_integer(i64 i) {
    u64 size = i < 0 ? 0 - (u64)i : (u64)i;
    if (size >> 53 == 0) return odd((f64)i);
    const i64 low = (1 << 10) - 1;
    return odd((f64)((i & ~low) | ((i & low) != 0 ? 1 << 10 : 0)));
}

template <class T> struct As;

// Floats are cut off towards zero and saturate; NaN becomes 0.
#define INTEGER(T, LOW, HIGH) \
    template <> struct As<T> { \
        INLINE T cut(f64 x) { return x != x ? (T)0 : x <= (f64)(LOW) ? (LOW) : x >= (f64)(HIGH) ? (HIGH) : (T)x; } \
        INLINE T of(f32 x) { return cut((f64)x); } \
        INLINE T of(f64 x) { return cut(x); } \
        INLINE T of(i64 x) { return (T)x; } \
    };
INTEGER(u8, (u8)0, (u8)255)
INTEGER(i32, (i32)(-2147483647 - 1), (i32)2147483647)
INTEGER(i64, (i64)(-9223372036854775807LL - 1), (i64)9223372036854775807LL)
#undef INTEGER
template <> struct As<bool> {
    INLINE bool of(f32 x) { return x != 0; }
    INLINE bool of(f64 x) { return x != 0; }
    INLINE bool of(i64 x) { return x != 0; }
};
template <> struct As<f16> {
    INLINE f16 of(f32 x) { return to_f16(x); }
    INLINE f16 of(f64 x) { return to_f16(odd(x)); }
    INLINE f16 of(i64 x) { return to_f16((f32)x); }
};
template <> struct As<bf16> {
    INLINE bf16 of(f32 x) { return to_bf16(x); }
    INLINE bf16 of(f64 x) { return to_bf16(odd(x)); }
    INLINE bf16 of(i64 x) { return to_bf16(odd_integer(x)); }
};
template <> struct As<f32> {
    INLINE f32 of(f32 x) { return x; }
    INLINE f32 of(f64 x) { return (f32)x; }
    INLINE f32 of(i64 x) { return (f32)x; }
    INLINE f32 load(bool x) { return x ? 1.0f : 0.0f; }
    INLINE f32 load(u8 x) { return (f32)x; }
    INLINE f32 load(i32 x) { return (f32)x; }
    INLINE f32 load(i64 x) { return (f32)x; }
    INLINE f32 load(f16 x) { return widen(x); }
    INLINE f32 load(bf16 x) { return widen(x); }
    INLINE f32 load(f32 x) { return x; }
    INLINE f32 load(f64 x) { return (f32)x; }
};
template <> struct As<f64> {
    INLINE f64 of(f32 x) { return (f64)x; }
    INLINE f64 of(f64 x) { return x; }
    INLINE f64 of(i64 x) { return (f64)x; }
    INLINE f64 load(bool x) { return x ? 1.0 : 0.0; }
    INLINE f64 load(u8 x) { return (f64)x; }
    INLINE f64 load(i32 x) { return (f64)x; }
    INLINE f64 load(i64 x) { return (f64)x; }
    INLINE f64 load(f16 x) { return (f64)widen(x); }
    INLINE f64 load(bf16 x) { return (f64)widen(x); }
    INLINE f64 load(f32 x) { return (f64)x; }
    INLINE f64 load(f64 x) { return x; }
};
// Integers are computed in 64 bits.
INLINE i64 whole(bool x) { return x ? 1 : 0; }
INLINE i64 whole(u8 x) { return x; }
INLINE i64 whole(i32 x) { return x; }
INLINE i64 whole(i64 x) { return x; }
INLINE i64 whole(f16 x) { return As<i64>::of(widen(x)); }
INLINE i64 whole(bf16 x) { return As<i64>::of(widen(x)); }
INLINE i64 whole(f32 x) { return As<i64>::of(x); }
INLINE i64 whole(f64 x) { return As<i64>::of(x); }

// An element of any type in the type that is computed in, and back.
template <class C, class T> struct Load { INLINE C of(T x) { return As<C>::load(x); } };
template <class T> struct Load<i64, T> { INLINE i64 of(T x) { return whole(x); } };
template <class C, class T> INLINE C load(T x) { return Load<C, T>::of(x); }
template <class T, class C> INLINE T store(C x) { return As<T>::of(x); }

// The type that elements of a type are computed in.
template <class T> struct Computed { typedef f32 type; };
template <> struct Computed<f64> { typedef f64 type; };
template <> struct Computed<i64> { typedef i64 type; };
template <> struct Computed<i32> { typedef i64 type; };
template <> struct Computed<u8> { typedef i64 type; };
template <> struct Computed<bool> { typedef i64 type; };

// ---- Several elements at once: up to 16 bytes are read or written by one instruction.

template <class T, int N> struct __align__(sizeof(T) * N) Pack { T v[N]; };
template <int N, class T> INLINE Pack<T, N> read(const T* x) { return *reinterpret_cast<const Pack<T, N>*>(x); }
template <int N, class T> INLINE void write(T* y, const Pack<T, N>& pack) { *reinterpret_cast<Pack<T, N>*>(y) = pack; }

// ---- Where the elements of strided operands lie: dimensions, and the steps of N operands through them.

// A quotient and what is left; neither number is negative. A division of 64 bits takes ten times as long as one of 32.
INLINE i64 divide(i64 a, i64 b, i64* left) {
    i64 quotient = ((u64)a | (u64)b) >> 32 == 0 ? (i64)((u32)a / (u32)b) : a / b;
    *left = a - quotient * b;
    return quotient;
}
INLINE i32 divide(i32 a, i32 b, i32* left) {
    i32 quotient = (i32)((u32)a / (u32)b);
    *left = a - quotient * b;
    return quotient;
}

// The rows along one axis of a dense tensor: how many, their length, and the step from one element to the next.
struct Rows {
    i64 count, length, inner;
    __device__ __forceinline__ i64 first(i64 row) const {
        i64 column;
        i64 outer = divide(row, inner, &column);
        return outer * length * inner + column;
    }
};

template <int RANK, int N> struct Walk {
    i64 dims[RANK];
    i64 steps[N][RANK];
    __device__ __forceinline__ void at(i64 index, i64* offsets) const {
        for (int i = 0; i < N; i++) offsets[i] = 0;
#pragma unroll
        for (int axis = RANK - 1; axis > 0; axis--) {
            i64 place;
            index = divide(index, dims[axis], &place);
            for (int i = 0; i < N; i++) offsets[i] += place * steps[i][axis];
        }
        for (int i = 0; i < N; i++) offsets[i] += index * steps[i][0];
    }
};

// ---- What only values show, such as an index out of range: the first report is told when the host reads next.

struct Faults {
    u64* report;
    i64 id;
};
INLINE void fault(Faults faults, i64 position, u64 value) {
    if (atomicCAS(faults.report, 0ull, 1ull) != 0ull) return;
    faults.report[1] = (u64)faults.id;
    faults.report[2] = (u64)position;
    faults.report[3] = value;
}
INLINE void fault(Faults faults, i64 position, i64 value) { fault(faults, position, (u64)value); }
INLINE void fault(Faults faults, i64 position, f64 value) { fault(faults, position, bits_of(value)); }

// ---- Scalar functions, each for the three types that are computed in.

INLINE f32 add(f32 a, f32 b) { return a + b; }
INLINE f64 add(f64 a, f64 b) { return a + b; }
INLINE i64 add(i64 a, i64 b) { return (i64)((u64)a + (u64)b); }
INLINE f32 sub(f32 a, f32 b) { return a - b; }
INLINE f64 sub(f64 a, f64 b) { return a - b; }
INLINE i64 sub(i64 a, i64 b) { return (i64)((u64)a - (u64)b); }
INLINE f32 mul(f32 a, f32 b) { return a * b; }
INLINE f64 mul(f64 a, f64 b) { return a * b; }
INLINE i64 mul(i64 a, i64 b) { return (i64)((u64)a * (u64)b); }
INLINE f32 div(f32 a, f32 b) { return a / b; }
INLINE f64 div(f64 a, f64 b) { return a / b; }
INLINE i64 div(i64 a, i64 b) { return b == 0 ? 0 : b == -1 ? (i64)(0 - (u64)a) : a / b; }
INLINE f32 neg(f32 a) { return -a; }
INLINE f64 neg(f64 a) { return -a; }
INLINE i64 neg(i64 a) { return (i64)(0 - (u64)a); }
INLINE f32 fmod(f32 a, f32 b) { return ::fmodf(a, b); }
INLINE f64 fmod(f64 a, f64 b) { return ::fmod(a, b); }
INLINE i64 fmod(i64 a, i64 b) { return b == 0 || b == -1 ? 0 : a % b; }
template <class C> INLINE bool lt(C a, C b) { return a < b; }
template <class C> INLINE bool le(C a, C b) { return a <= b; }
template <class C> INLINE bool equals(C a, C b) { return a == b; }
template <class C> INLINE C select(bool mask, C a, C b) { return mask ? a : b; }
// NaN wins.
template <class C> INLINE C max(C a, C b) { return (b < a) | (a != a) ? a : b; }
template <class C> INLINE C min(C a, C b) { return (a < b) | (a != a) ? a : b; }
// What does not vary adds nothing to a derivative.
template <class C> INLINE C times_tangent(C a, C b) { return b == (C)0 ? (C)0 : mul(a, b); }

INLINE f32 abs(f32 x) { return ::fabsf(x); }
INLINE f64 abs(f64 x) { return ::fabs(x); }
INLINE i64 abs(i64 x) { return x < 0 ? neg(x) : x; }
template <class C> INLINE C sign(C x) { return (C)((x > (C)0 ? 1 : 0) - (x < (C)0 ? 1 : 0)); }

#define ROUNDING(name, single, wide) \
    INLINE f32 name(f32 x) { return ::single(x); } \
    INLINE f64 name(f64 x) { return ::wide(x); } \
    INLINE i64 name(i64 x) { return x; }
ROUNDING(floor, floorf, floor)
ROUNDING(ceil, ceilf, ceil)
ROUNDING(round, rintf, rint)
ROUNDING(trunc, truncf, trunc)
#undef ROUNDING

// Integers go through doubles.
#define WIDE(name, wide) \
    INLINE f64 name(f64 x) { return ::wide(x); } \
    INLINE i64 name(i64 x) { return As<i64>::of(name((f64)x)); }
#define BOTH(name, single, wide) \
    INLINE f32 name(f32 x) { return ::single(x); } \
    WIDE(name, wide)
BOTH(sqrt, sqrtf, sqrt)
BOTH(exp2, exp2f, exp2)
BOTH(log2, log2f, log2)
BOTH(log10, log10f, log10)
BOTH(sin, sinf, sin)
BOTH(cos, cosf, cos)
BOTH(tan, tanf, tan)
BOTH(asin, asinf, asin)
BOTH(acos, acosf, acos)
BOTH(atan, atanf, atan)
BOTH(sinh, sinhf, sinh)
BOTH(cosh, coshf, cosh)
BOTH(asinh, asinhf, asinh)
BOTH(acosh, acoshf, acosh)
BOTH(atanh, atanhf, atanh)
WIDE(exp, exp)
WIDE(exp_m1, expm1)
WIDE(ln, log)
WIDE(ln_1p, log1p)
WIDE(tanh, tanh)
WIDE(erf, erf)
WIDE(erfc, erfc)
#undef BOTH
#undef WIDE

// e^x - 1 of what is left of x after n times ln 2, and n.
INLINE f32 reduced_exp(f32 x, i32* n) {
    const f32 shift = 12582912.0f;
    f32 shifted = ::fmaf(x, 1.44269504088896340736f, shift);
    f32 whole = shifted - shift;
    f32 r = ::fmaf(-whole, 0.6933594f, x);
    r = ::fmaf(-whole, -2.1219444e-4f, r);
    f32 p = 1.9875691e-4f;
    p = ::fmaf(p, r, 1.3982e-3f);
    p = ::fmaf(p, r, 8.333452e-3f);
    p = ::fmaf(p, r, 4.1665796e-2f);
    p = ::fmaf(p, r, 1.6666665e-1f);
    p = ::fmaf(p, r, 0.5f);
    *n = (i32)(bits_of(shifted) - bits_of(shift));
    return ::fmaf(p, r * r, r);
}
INLINE f32 clamp(f32 x, f32 low, f32 high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}
INLINE f32 power_of_two(i32 n) { return float_of((u32)(n + 127) << 23); }
INLINE f32 exp(f32 x) {
    i32 n;
    f32 y = reduced_exp(clamp(x, -104.0f, 89.0f), &n);
    i32 half = n >> 1;
    return (y + 1.0f) * power_of_two(half) * power_of_two(n - half);
}
INLINE f32 near_exp(f32 x) {
    i32 n;
    f32 y = reduced_exp(x, &n);
    return (y + 1.0f) * power_of_two(n);
}
INLINE f32 exp_m1(f32 x) {
    i32 n;
    f32 y = reduced_exp(clamp(x, -25.0f, 89.0f), &n);
    f32 half = power_of_two(n - 1);
    f32 far = 2.0f * ::fmaf(half, y, half - 0.5f);
    return x == 0.0f ? x : n == 0 ? y : far;
}
INLINE f32 ln(f32 x) {
    bool subnormal = x < 1.17549435e-38f;
    f32 scaled = subnormal ? x * 8388608.0f : x;
    i32 offset = (i32)(bits_of(scaled) - 0x3f3504f3u);
    f32 e = (f32)(offset >> 23) - (subnormal ? 23.0f : 0.0f);
    f32 m = float_of((u32)((offset & 0x007fffff) + 0x3f3504f3)) - 1.0f;
    f32 z = m * m;
    f32 p = 7.0376836e-2f;
    p = ::fmaf(p, m, -1.151461e-1f);
    p = ::fmaf(p, m, 1.1676999e-1f);
    p = ::fmaf(p, m, -1.2420141e-1f);
    p = ::fmaf(p, m, 1.4249323e-1f);
    p = ::fmaf(p, m, -1.6668058e-1f);
    p = ::fmaf(p, m, 2.0000715e-1f);
    p = ::fmaf(p, m, -2.4999994e-1f);
    p = ::fmaf(p, m, 3.333333e-1f);
    f32 y = ::fmaf(e, -2.1219444e-4f, m * z * p);
    y = ::fmaf(-0.5f, z, y);
    y = ::fmaf(e, 0.6933594f, m + y);
    y = x == float_of(0x7f800000u) ? x : y;
    y = x == 0.0f ? float_of(0xff800000u) : y;
    return x < 0.0f || x != x ? float_of(0x7fc00000u) : y;
}
INLINE f32 ln_1p(f32 x) {
    f32 u = 1.0f + x;
    f32 y = ln(u) * (x / (u - 1.0f));
    y = u == 1.0f ? x : y;
    return x == float_of(0x7f800000u) ? x : y;
}
INLINE f32 tanh(f32 x) {
    f32 z = x * x;
    f32 p = -5.7049887e-3f;
    p = ::fmaf(p, z, 2.0639088e-2f);
    p = ::fmaf(p, z, -5.3739715e-2f);
    p = ::fmaf(p, z, 1.3331442e-1f);
    p = ::fmaf(p, z, -3.333328e-1f);
    f32 near = ::fmaf(p * z, x, x);
    f32 t = 2.0f * abs(x);
    t = t > 20.0f ? 20.0f : t;
    f32 far = ::copysignf(1.0f - 2.0f / (near_exp(t) + 1.0f), x);
    return abs(x) < 0.625f ? near : far;
}
INLINE f32 erf(f32 x) {
    f32 z = x * x;
    f32 p = 7.853854e-5f;
    p = ::fmaf(p, z, -8.010191e-4f);
    p = ::fmaf(p, z, 5.1883273e-3f);
    p = ::fmaf(p, z, -2.685381e-2f);
    p = ::fmaf(p, z, 0.112835854f);
    p = ::fmaf(p, z, -0.37612626f);
    p = ::fmaf(p, z, 0.12837917f);
    f32 near = ::fmaf(p, x, x);
    f32 t = clamp(abs(x), 1.0f, 4.0f);
    f32 q = 1.8638009e-4f;
    q = ::fmaf(q, t, -2.9476667e-3f);
    q = ::fmaf(q, t, 2.1838097e-2f);
    q = ::fmaf(q, t, -0.10310681f);
    q = ::fmaf(q, t, -0.63814473f);
    q = ::fmaf(q, t, -1.1270893f);
    q = ::fmaf(q, t, -3.4151258e-4f);
    f32 far = ::copysignf(1.0f - near_exp(q), x);
    return abs(x) < 1.0f ? near : far;
}
INLINE f32 erfc(f32 x) { return (f32)erfc((f64)x); }
template <class C> INLINE C sigmoid(C x) { return div((C)1, add((C)1, exp(neg(x)))); }
template <class C> INLINE C softplus(C x) { return add((C)0 < x ? x : (C)0, ln_1p(exp(neg(abs(x))))); }

INLINE f32 pow(f32 x, f32 y) { return ::powf(x, y); }
INLINE f64 pow(f64 x, f64 y) { return ::pow(x, y); }
INLINE i64 pow(i64 x, i64 y) {
    if (y < 0) return As<i64>::of(::pow((f64)x, (f64)y));
    i64 power = 1;
    for (; y > 0; y >>= 1, x = mul(x, x))
        if (y & 1) power = mul(power, x);
    return power;
}
INLINE f32 atan2(f32 y, f32 x) { return ::atan2f(y, x); }
INLINE f64 atan2(f64 y, f64 x) { return ::atan2(y, x); }
INLINE i64 atan2(i64 y, i64 x) { return As<i64>::of(::atan2((f64)y, (f64)x)); }
INLINE f32 hypot(f32 a, f32 b) {
    f64 x = (f64)a, y = (f64)b;
    f32 infinity = float_of(0x7f800000u);
    return (abs(a) == infinity) | (abs(b) == infinity) ? infinity : (f32)::sqrt(x * x + y * y);
}
INLINE f64 hypot(f64 a, f64 b) { return ::hypot(a, b); }
INLINE i64 hypot(i64 a, i64 b) { return As<i64>::of(::hypot((f64)a, (f64)b)); }
INLINE f32 next_after(f32 x, f32 end) { return ::nextafterf(x, end); }
INLINE f64 next_after(f64 x, f64 end) { return ::nextafter(x, end); }
INLINE i64 next_after(i64 x, i64 end) { return add(x, (i64)(end > x) - (i64)(end < x)); }
// Bits of integers; other numbers give the bits of their whole parts.
INLINE i64 bit_and(i64 a, i64 b) { return a & b; }
INLINE i64 bit_or(i64 a, i64 b) { return a | b; }
INLINE i64 bit_xor(i64 a, i64 b) { return a ^ b; }
INLINE i64 shift_left(i64 a, i64 b) { return b >= 0 && b < 64 ? (i64)((u64)a << b) : 0; }
INLINE i64 shift_right(i64 a, i64 b) { return a >> (b >= 0 && b < 64 ? b : 63); }
#define BITS(name) \
    INLINE f32 name(f32 a, f32 b) { return (f32)name(As<i64>::of(a), As<i64>::of(b)); } \
    INLINE f64 name(f64 a, f64 b) { return (f64)name(As<i64>::of(a), As<i64>::of(b)); }
BITS(bit_and)
BITS(bit_or)
BITS(bit_xor)
BITS(shift_left)
BITS(shift_right)
#undef BITS

// ---- Random draws: Philox4x32-10 (Salmon et al. 2011). Which bits an element gets is said in `ops/random`.

struct Block { u32 word[4]; };

INLINE Block philox(u64 seed, u64 stream, u64 position, u32 domain) {
    u32 c0 = (u32)position, c1 = (u32)(position >> 32), c2 = (u32)stream, c3 = (u32)(stream >> 32) ^ domain;
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 a = (u64)c0 * 0xD2511F53u, b = (u64)c2 * 0xCD9E8D57u;
        u32 next0 = (u32)(b >> 32) ^ c1 ^ k0, next2 = (u32)(a >> 32) ^ c3 ^ k1;
        c1 = (u32)b;
        c3 = (u32)a;
        c0 = next0;
        c2 = next2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    Block block = {{c0, c1, c2, c3}};
    return block;
}

// cos πa and sin πa for -1 ≤ a < 1, and ln x for normal x > 0, of sums, products and fused multiply-adds alone.
template <class C> struct Exact;
template <> struct Exact<f32> {
    INLINE f32 fma(f32 a, f32 b, f32 c) { return ::fmaf(a, b, c); }
    INLINE f32 cos_series(f32 z) {
        f32 p = (f32)(-1.0 / 3628800.0);
        p = fma(p, z, (f32)(1.0 / 40320.0));
        p = fma(p, z, (f32)(-1.0 / 720.0));
        p = fma(p, z, (f32)(1.0 / 24.0));
        p = fma(p, z, -0.5f);
        return fma(p, z, 1.0f);
    }
    INLINE f32 sin_series(f32 z) {
        f32 p = (f32)(1.0 / 362880.0);
        p = fma(p, z, (f32)(-1.0 / 5040.0));
        p = fma(p, z, (f32)(1.0 / 120.0));
        p = fma(p, z, (f32)(-1.0 / 6.0));
        return fma(p, z, 1.0f);
    }
    INLINE f32 ln(f32 x) {
        i32 above = (i32)(bits_of(x) - bits_of((f32)0.70710678118654752440));
        i32 e = above >> 23;
        return finish(float_of(bits_of(x) - ((u32)e << 23)), (f32)e, 5);
    }
    INLINE f32 finish(f32 m, f32 e, int terms) {
        f32 s = (m - 1.0f) / (m + 1.0f), z = s * s, tail = 0.0f;
        for (int k = terms; k > 0; k--) tail = fma(tail, z, 1.0f / (f32)(2 * k + 1));
        f32 series = fma(2.0f * s, tail * z, 2.0f * s);
        return fma(e, (f32)0.693359375, fma(e, (f32)-2.1219444005469058e-4, series));
    }
};
template <> struct Exact<f64> {
    INLINE f64 fma(f64 a, f64 b, f64 c) { return ::fma(a, b, c); }
    INLINE f64 cos_series(f64 z) {
        f64 p = -1.0 / 6402373705728000.0;
        p = fma(p, z, 1.0 / 20922789888000.0);
        p = fma(p, z, -1.0 / 87178291200.0);
        p = fma(p, z, 1.0 / 479001600.0);
        p = fma(p, z, -1.0 / 3628800.0);
        p = fma(p, z, 1.0 / 40320.0);
        p = fma(p, z, -1.0 / 720.0);
        p = fma(p, z, 1.0 / 24.0);
        p = fma(p, z, -0.5);
        return fma(p, z, 1.0);
    }
    INLINE f64 sin_series(f64 z) {
        f64 p = 1.0 / 355687428096000.0;
        p = fma(p, z, -1.0 / 1307674368000.0);
        p = fma(p, z, 1.0 / 6227020800.0);
        p = fma(p, z, -1.0 / 39916800.0);
        p = fma(p, z, 1.0 / 362880.0);
        p = fma(p, z, -1.0 / 5040.0);
        p = fma(p, z, 1.0 / 120.0);
        p = fma(p, z, -1.0 / 6.0);
        return fma(p, z, 1.0);
    }
    INLINE f64 ln(f64 x) {
        i64 above = (i64)(bits_of(x) - bits_of(0.70710678118654752440));
        i64 e = above >> 52;
        return finish(double_of(bits_of(x) - ((u64)e << 52)), (f64)e, 11);
    }
    INLINE f64 finish(f64 m, f64 e, int terms) {
        f64 s = (m - 1.0) / (m + 1.0), z = s * s, tail = 0.0;
        for (int k = terms; k > 0; k--) tail = fma(tail, z, 1.0 / (f64)(2 * k + 1));
        f64 series = fma(2.0 * s, tail * z, 2.0 * s);
        return fma(e, 0.693359375, fma(e, -2.1219444005469058e-4, series));
    }
};
// The cosine (or, where `sine`, the sine) of a half turns.
template <class C> INLINE C turn(C a, bool sine) {
    C quarters = round(a + a);
    C x = Exact<C>::fma((C)-0.5, quarters, a) * (C)3.14159265358979323846;
    C z = x * x;
    C cos = Exact<C>::cos_series(z), sin = Exact<C>::sin_series(z) * x;
    bool odd = abs(quarters) == (C)1, half = abs(quarters) == (C)2;
    if (sine) {
        C b = odd ? cos : sin;
        return half | (quarters == (C)-1) ? -b : b;
    }
    C b = odd ? sin : cos;
    return half | (quarters == (C)1) ? -b : b;
}
// The quantile of the normal distribution for 0.02 < p < 0.98 (algorithm AS 241, Wichura 1988).
INLINE f64 quotient(f64 x, const f64* a, const f64* b) {
    f64 above = a[0], below = b[0];
    for (int i = 1; i < 8; i++) {
        above = ::fma(above, x, a[i]);
        below = ::fma(below, x, b[i]);
    }
    return above / below;
}
INLINE f64 quantile(f64 p) {
    f64 q = p - 0.5;
    if (abs(q) <= 0.425) {
        const f64 a[8] = {2.5090809287301227e3, 3.343057558358813e4,   6.726577092700870e4,  4.592195393154987e4,
                          1.373169376550946e4,  1.9715909503065513e3, 1.3314166789178438e2, 3.3871328727963665};
        const f64 b[8] = {5.226495278852854e3, 2.8729085735721943e4, 3.930789580009271e4,  2.1213794301586597e4,
                          5.394196021424751e3, 6.871870074920579e2,  4.231333070160091e1,  1.0};
        return q * quotient(0.180625 - q * q, a, b);
    }
    const f64 a[8] = {7.745450142783414e-4, 2.2723844989269184e-2, 2.417807251774506e-1, 1.2704582524523684,
                      3.6478483247632045,   5.769497221460691,     4.630337846156546,    1.4234371107496835};
    const f64 b[8] = {1.0507500716444169e-9, 5.475938084995345e-4, 1.5198666563616457e-2, 1.4810397642748008e-1,
                      6.897673349851e-1,     1.6763848301838038,   2.053191626637759,     1.0};
    f64 x = quotient(::sqrt(-Exact<f64>::ln(q < 0.0 ? p : 1.0 - p)) - 1.6, a, b);
    return q < 0.0 ? -x : x;
}
INLINE f64 truncated(f64 u) {
    const f64 beyond = 0.02275013194817921;
    f64 x = quantile(beyond + u * (1.0 - 2.0 * beyond));
    return x < -2.0 ? -2.0 : x > 2.0 ? 2.0 : x;
}
template <class C> INLINE bool is_finite(C x) { return x - x == (C)0; }
template <class C> INLINE C spread(C a, C b, C u) {
    return is_finite(b - a) ? a + (b - a) * u : (C)2 * ((C)0.5 * a + ((C)0.5 * b - (C)0.5 * a) * u);
}
// The largest number of a type below a bound.
template <class T> struct Raw;
template <> struct Raw<f16> { INLINE f16 of(u32 bits) { f16 x = {(u16)bits}; return x; } INLINE u32 bits(f16 x) { return x.bits; } static const u32 sign = 0x8000u; };
template <> struct Raw<bf16> { INLINE bf16 of(u32 bits) { bf16 x = {(u16)bits}; return x; } INLINE u32 bits(bf16 x) { return x.bits; } static const u32 sign = 0x8000u; };
template <> struct Raw<f32> { INLINE f32 of(u32 bits) { return float_of(bits); } INLINE u32 bits(f32 x) { return bits_of(x); } static const u32 sign = 0x80000000u; };
template <class T> INLINE T below(f64 bound) {
    T nearest = As<T>::of(bound);
    f64 back = load<f64>(nearest);
    if (back < bound) return nearest;
    u32 bits = Raw<T>::bits(nearest);
    return Raw<T>::of(back > 0.0 ? bits - 1 : back < 0.0 ? bits + 1 : 1u | Raw<T>::sign);
}
// Element `i` of what a key draws.
INLINE u32 word32(i64 seed, i64 stream, i64 i) { return philox((u64)seed, (u64)stream, (u64)i / 4, 0).word[i & 3]; }
INLINE u64 word64(Block block, int half) { return (u64)block.word[2 * half] << 32 | block.word[2 * half + 1]; }
template <class T> struct Draw {
    INLINE T uniform(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        f32 u = (f32)(word32(seed, stream, i) >> 8) * 5.9604644775390625e-8f;
        T x = As<T>::of(spread((f32)a, (f32)b, u));
        return load<f64>(x) >= b ? (a < b ? below<T>(b) : As<T>::of(b)) : x;
    }
    INLINE T normal(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        Block block = philox((u64)seed, (u64)stream, (u64)i / 4, 0);
        int pair = (int)(i & 2);
        f32 radius = ::sqrtf(-2.0f * Exact<f32>::ln(((f32)block.word[pair] + 1.0f) * 2.3283064365386962890625e-10f));
        f32 angle = (f32)(i32)block.word[pair + 1] * 4.656612873077392578125e-10f;
        return As<T>::of((f32)a + (f32)b * (radius * turn<f32>(angle, i & 1)));
    }
    INLINE T truncated_normal(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        f64 u = ((f64)word32(seed, stream, i) + 0.5) * 2.3283064365386962890625e-10;
        return As<T>::of(a + b * truncated(u));
    }
};
template <> struct Draw<f64> {
    INLINE f64 fraction(i64 seed, i64 stream, i64 i) {
        u64 word = word64(philox((u64)seed, (u64)stream, (u64)i / 2, 0), (int)(i & 1));
        return (f64)(word >> 11) * 1.1102230246251565404e-16;
    }
    INLINE f64 uniform(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        // The number below b.
        f64 top = b == 0.0 ? double_of(0x8000000000000001ull) : double_of(bits_of(b) + (b > 0.0 ? (u64)-1 : (u64)1));
        f64 x = spread(a, b, fraction(seed, stream, i));
        x = x < top ? x : top;
        return x > a ? x : a;
    }
    INLINE f64 normal(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        Block block = philox((u64)seed, (u64)stream, (u64)i / 2, 0);
        f64 radius = ::sqrt(-2.0 * Exact<f64>::ln(((f64)word64(block, 0) + 1.0) * 5.42101086242752217e-20));
        f64 angle = (f64)(i64)word64(block, 1) * 1.084202172485504434e-19;
        return a + b * (radius * turn<f64>(angle, i & 1));
    }
    INLINE f64 truncated_normal(i64 seed, i64 stream, i64 i, f64 a, f64 b) {
        return a + b * truncated(fraction(seed, stream, i));
    }
};
INLINE bool bernoulli(i64 seed, i64 stream, i64 i, f64 p) {
    return (u64)word32(seed, stream, i) < (u64)(p * 4294967296.0);
}

}  // namespace kiln
