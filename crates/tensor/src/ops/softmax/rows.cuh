// The largest element of a row and the sum of the exponentials below it, by LANES threads for each row: 1, a part of a warp,
// a warp, or a block of several.

#define ROWS_OF_BLOCK (LANES > 32 ? 1 : 256 / LANES)

using kiln::Rows;

struct Sums {
    C top, total;
};

INLINE C infinity() { return (C)kiln::float_of(0x7f800000u); }

INLINE void take(Sums& s, C x) {
    if (x > s.top) {
        s.total = s.total * kiln::exp(s.top - x) + (C)1;
        s.top = x;
    } else if (x != -infinity()) {
        // Of NaN the exponential is NaN, which is what the sum becomes.
        s.total += kiln::exp(x - s.top);
    }
}

INLINE Sums join(Sums a, Sums b) {
    Sums s;
    s.top = a.top < b.top ? b.top : a.top;
    C left = a.top == s.top ? (C)1 : kiln::exp(a.top - s.top);
    C right = b.top == s.top ? (C)1 : kiln::exp(b.top - s.top);
    s.total = a.total * left + b.total * right;
    return s;
}

INLINE Sums exchanged(Sums s, int lanes) {
    Sums other;
    other.top = __shfl_xor_sync(0xffffffffu, s.top, lanes);
    other.total = __shfl_xor_sync(0xffffffffu, s.total, lanes);
    return other;
}

// The same in each thread of a row. All threads of the block come here, those without a row with a length of 0.
INLINE Sums sums_of(const T* x, i64 length, i64 step, int lane) {
    Sums s = {-infinity(), (C)0};
    for (i64 i = lane; i < length; i += LANES) take(s, kiln::load<C>(x[i * step]));
#pragma unroll
    for (int lanes = (LANES < 32 ? LANES : 32) / 2; lanes > 0; lanes /= 2) s = join(s, exchanged(s, lanes));
#if LANES > 32
    __shared__ Sums warps[LANES / 32];
    if (lane % 32 == 0) warps[lane / 32] = s;
    __syncthreads();
    s = warps[0];
    for (int warp = 1; warp < LANES / 32; warp++) s = join(s, warps[warp]);
    __syncthreads();
#endif
    // Of an infinity the difference from itself is NaN, and so is the sum.
    if (s.top == infinity() || s.top == -infinity()) s.total = (C)kiln::float_of(0x7fc00000u);
    return s;
}
