// Positions of the largest or smallest elements of rows, by LANES threads for each row: a part of a warp, a warp, or a block.

using kiln::Rows;

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

// Of each of the equal parts that a row is cut into the best position.
KERNEL __launch_bounds__(256) arg_reduce(Rows rows, i64 parts, const T* x, i64* y) {
    const int per_block = LANES > 32 ? 1 : 256 / LANES, lane = threadIdx.x % LANES;
    const i64 size = (rows.length + parts - 1) / parts;
    for (i64 block = blockIdx.x; block * per_block < rows.count * parts; block += gridDim.x) {
        i64 piece = block * per_block + threadIdx.x / LANES;
        bool is_piece = piece < rows.count * parts;
        i64 row = is_piece ? piece / parts : 0, start = is_piece ? piece % parts * size : 0;
        i64 end = !is_piece ? 0 : start + size < rows.length ? start + size : rows.length;
        const T* from = x + rows.first(row);
        Best best = {(C)0, -1};
        for (i64 i = start + lane; i < end; i += LANES) {
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
        if (is_piece && lane == 0) y[piece] = best.at;
    }
}

// Of each row the best of its parts, of which the last ones may have had no element.
KERNEL arg_join(Rows rows, i64 parts, const T* x, const i64* found, i64* y) {
    for (i64 row = THREAD; row < rows.count; row += THREADS) {
        const T* from = x + rows.first(row);
        Best best = {(C)0, -1};
        for (i64 part = 0; part < parts; part++) {
            i64 at = found[row * parts + part];
            Best next = {at < 0 ? (C)0 : kiln::load<C>(from[at * rows.inner]), at};
            if (is_better(next, best)) best = next;
        }
        y[row] = best.at;
    }
}
