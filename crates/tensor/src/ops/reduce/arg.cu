// Positions of the largest or smallest elements of rows, by LANES threads for each row: a part of a warp, a warp, or a block.

struct Rows {
    i64 count, length, inner;
};

struct Best {
    C value;
    i64 at;
};

// Whether the first is to be preferred: the first NaN to all else, and of equal ones the first. Without an element `at` is
// negative.
INLINE bool is_better(Best a, Best b) {
    if (a.at < 0 || b.at < 0) return b.at < 0;
    bool nan = a.value != a.value, other = b.value != b.value;
    if (nan != other) return nan;
    if (!nan && a.value != b.value) return LARGEST ? a.value > b.value : a.value < b.value;
    return a.at < b.at;
}

KERNEL __launch_bounds__(256) arg_reduce(Rows rows, const T* x, i64* y) {
    const int per_block = LANES > 32 ? 1 : 256 / LANES, lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * per_block < rows.count; block += gridDim.x) {
        i64 row = block * per_block + threadIdx.x / LANES, column;
        bool is_row = row < rows.count;
        i64 outer = kiln::divide(is_row ? row : 0, rows.inner, &column);
        const T* from = x + outer * rows.length * rows.inner + column;
        Best best = {(C)0, -1};
        for (i64 i = lane; is_row && i < rows.length; i += LANES) {
            Best next = {kiln::load<C>(from[i * rows.inner]), i};
            if (is_better(next, best)) best = next;
        }
#pragma unroll
        for (int lanes = (LANES < 32 ? LANES : 32) / 2; lanes > 0; lanes /= 2) {
            Best other;
            other.value = __shfl_xor_sync(0xffffffffu, best.value, lanes);
            other.at = __shfl_xor_sync(0xffffffffu, best.at, lanes);
            if (is_better(other, best)) best = other;
        }
#if LANES > 32
        __shared__ Best warps[LANES / 32];
        if (lane % 32 == 0) warps[lane / 32] = best;
        __syncthreads();
        if (lane == 0)
            for (int warp = 1; warp < LANES / 32; warp++)
                if (is_better(warps[warp], best)) best = warps[warp];
        __syncthreads();
#endif
        if (is_row && lane == 0) y[row] = best.at;
    }
}
