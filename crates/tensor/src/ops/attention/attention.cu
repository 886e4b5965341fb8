// Attention of f16 and bf16 with tensor cores: see `tiled.rs` for what is computed, and Dao 2023 for how the work is shared out.
//
// A block of four warps has 64 rows of its own, queries or keys, 16 for each warp, and goes through the others a tile at a time. INNER
// and WIDTH are the features of keys and of values, multiples of 16.

#define OWN 64
#define BLOCK 128
// Others that a tile has.
#define TILE (INNER > 64 || WIDTH > 64 ? 32 : 64)

struct Sizes {
    i64 batches, rows, columns;
};
// From row to row of queries, keys, values and the gradient of the result.
struct Steps {
    i64 q, k, v, dy;
};

INLINE int lane() { return threadIdx.x % 32; }
// Of the two rows that a thread has of its warp's 16, which.
INLINE int own_row(int i) { return threadIdx.x / 32 * 16 + lane() / 4 + 8 * i; }
// Of the two columns that it has of eight, the first.
INLINE int own_column() { return lane() % 4 * 2; }

INLINE u32 pack(f32 first, f32 second) {
    return (u32)kiln::store<T>(first).bits | (u32)kiln::store<T>(second).bits << 16;
}

// The block's own rows, as the left operand of a product over their features.
template <int D> INLINE void load_own(u32 (&to)[D / 16][4], const T* x, i64 step, i64 first, i64 count) {
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const i64 row = first + own_row(i % 2);
            const T* from = x + row * step + k * 16 + i / 2 * 8 + own_column();
            to[k][i] = row < count ? *reinterpret_cast<const u32*>(from) : 0;
        }
}

// A tile of the others, by row for products over their features, and by pair for those over themselves; either may be null.
template <int D> INLINE void bring(u32* rows, u32* pairs, const T* x, i64 step, i64 first, i64 count) {
    for (int unit = threadIdx.x; unit < TILE / 2 * (D / 8); unit += BLOCK) {
        const int pair = unit / (D / 8), place = unit % (D / 8);
        kiln::Eight both[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const i64 row = first + 2 * pair + i;
            both[i] = kiln::eight(x + row * step + 8 * place, row < count);
            if (rows) reinterpret_cast<kiln::Eight*>(rows + (2 * pair + i) * kiln::by_row(D))[place] = both[i];
        }
        if (pairs) kiln::put_pair(pairs + pair * kiln::by_pair(D) + 8 * place, both[0], both[1]);
    }
}

// Own rows times a tile by row: a column for each of the others.
template <int D> INLINE void with_others(f32 (&y)[TILE / 8][4], const u32 (&own)[D / 16][4], const u32* rows) {
#pragma unroll
    for (int j = 0; j < TILE / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) y[j][i] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int j = 0; j < TILE / 8; j++) {
            const u32* from = rows + (j * 8 + lane() / 4) * kiln::by_row(D) + k * 8 + lane() % 4;
            const u32 b[2] = {from[0], from[4]};
            kiln::multiply_add(y[j], own[k], b, T());
        }
}

// Adds a number for each of the others times a tile by pair: a column for each feature.
template <int D> INLINE void add_others(f32 (&y)[D / 8][4], const f32 (&x)[TILE / 8][4], const u32* pairs) {
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        // What a thread has of a result is what it has of an operand.
        const u32 a[4] = {pack(x[2 * k][0], x[2 * k][1]), pack(x[2 * k][2], x[2 * k][3]),
                          pack(x[2 * k + 1][0], x[2 * k + 1][1]), pack(x[2 * k + 1][2], x[2 * k + 1][3])};
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
            const u32* from = pairs + (k * 8 + lane() % 4) * kiln::by_pair(D) + j * 8 + lane() / 4;
            const u32 b[2] = {from[0], from[4 * kiln::by_pair(D)]};
            kiln::multiply_add(y[j], a, b, T());
        }
    }
}

template <int D> INLINE void clear(f32 (&y)[D / 8][4]) {
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) y[j][i] = 0;
}

// Writes the block's own rows, each times a factor.
template <int D> INLINE void write_own(T* y, i64 first, i64 count, const f32 (&x)[D / 8][4], f32 upper, f32 lower) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const i64 row = first + own_row(i);
        const f32 factor = i ? lower : upper;
        if (row >= count) continue;
#pragma unroll
        for (int j = 0; j < D / 8; j++)
            *reinterpret_cast<u32*>(y + row * D + j * 8 + own_column()) = pack(x[j][2 * i] * factor, x[j][2 * i + 1] * factor);
    }
}

// Over the four threads that share a row.
INLINE f32 row_max(f32 x) {
    x = ::fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return ::fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
INLINE f32 row_sum(f32 x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

INLINE bool is_seen(i64 query, i64 key, const Sizes& s) {
    return query < s.rows && key < s.columns && (!CAUSAL || key <= query);
}

#ifdef ATTEND
KERNEL __launch_bounds__(BLOCK, 3) attend(Sizes s, kiln::Walk<RANK, 3> lead, Steps steps, f32 scale, const T* q, const T* k,
                                       const T* v, T* y, f32* sums) {
    __shared__ __align__(16) u32 keys[TILE * kiln::by_row(INNER)];
    __shared__ __align__(16) u32 values[TILE / 2 * kiln::by_pair(WIDTH)];
    const f32 infinity = kiln::float_of(0x7f800000u);
    const i64 tiles = (s.rows + OWN - 1) / OWN;
    for (i64 work = blockIdx.x; work < tiles * s.batches; work += gridDim.x) {
        i64 batch, at[3];
        // Where queries see what is before them, the last see most: they begin.
        const i64 first = (tiles - 1 - kiln::divide(work, s.batches, &batch)) * OWN;
        lead.at(batch, at);
        u32 query[INNER / 16][4];
        load_own<INNER>(query, q + at[0], steps.q, first, s.rows);
        f32 out[WIDTH / 8][4], top[2] = {-infinity, -infinity}, total[2] = {0, 0};
        clear<WIDTH>(out);
        const i64 end = CAUSAL && first + OWN < s.columns ? first + OWN : s.columns;
        for (i64 other = 0; other < end; other += TILE) {
            __syncthreads();
            bring<INNER>(keys, nullptr, k + at[1], steps.k, other, s.columns);
            bring<WIDTH>(nullptr, values, v + at[2], steps.v, other, s.columns);
            __syncthreads();
            f32 scores[TILE / 8][4];
            with_others<INNER>(scores, query, keys);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                f32 highest = top[i];
#pragma unroll
                for (int j = 0; j < TILE / 8; j++)
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        f32& score = scores[j][2 * i + n];
                        const bool seen = is_seen(first + own_row(i), other + j * 8 + own_column() + n, s);
                        score = seen ? score * scale : -infinity;
                        highest = ::fmaxf(highest, score);
                    }
                highest = row_max(highest);
                // Of a row that has seen nothing yet, nothing is subtracted.
                const f32 from = highest == -infinity ? 0.0f : highest, factor = ::expf(top[i] - from);
                f32 sum = 0;
#pragma unroll
                for (int j = 0; j < TILE / 8; j++)
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        f32& share = scores[j][2 * i + n];
                        share = ::expf(share - from);
                        sum += share;
                    }
                total[i] = total[i] * factor + sum;
#pragma unroll
                for (int j = 0; j < WIDTH / 8; j++) {
                    out[j][2 * i] *= factor;
                    out[j][2 * i + 1] *= factor;
                }
                top[i] = highest;
            }
            add_others<WIDTH>(out, scores, values);
        }
        f32 factors[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const f32 sum = row_sum(total[i]);
            factors[i] = sum == 0.0f ? 0.0f : 1.0f / sum;
            const i64 row = first + own_row(i);
            if (own_column() == 0 && row < s.rows) sums[batch * s.rows + row] = top[i] + ::logf(sum);
        }
        write_own<WIDTH>(y + batch * s.rows * WIDTH, first, s.rows, out, factors[0], factors[1]);
    }
}
#endif

#ifdef COMMON
// Of each row, the product of the result and its gradient: what the shares' gradients have in common. A warp for a row.
KERNEL __launch_bounds__(BLOCK) common(Sizes s, kiln::Walk<RANK, 4> lead, Steps steps, const T* y, const T* dy, f32* to) {
    const i64 count = s.batches * s.rows;
    for (i64 row = (i64)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32; row < count; row += (i64)gridDim.x * (BLOCK / 32)) {
        i64 place, at[4];
        lead.at(kiln::divide(row, s.rows, &place), at);
        f32 sum = 0;
        for (int i = lane(); i < WIDTH; i += 32)
            sum += kiln::load<f32>(y[row * WIDTH + i]) * kiln::load<f32>(dy[at[3] + place * steps.dy + i]);
        for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
        if (lane() == 0) to[row] = sum;
    }
}
#endif

#ifdef OF_QUERIES
KERNEL __launch_bounds__(BLOCK, 2) of_queries(Sizes s, kiln::Walk<RANK, 4> lead, Steps steps, f32 scale, const T* q, const T* k,
                                           const T* v, const T* dy, const f32* sums, const f32* commons, T* dq) {
    __shared__ __align__(16) u32 keys[TILE * kiln::by_row(INNER)];
    __shared__ __align__(16) u32 key_pairs[TILE / 2 * kiln::by_pair(INNER)];
    __shared__ __align__(16) u32 values[TILE * kiln::by_row(WIDTH)];
    const i64 tiles = (s.rows + OWN - 1) / OWN;
    for (i64 work = blockIdx.x; work < tiles * s.batches; work += gridDim.x) {
        i64 batch, at[4];
        const i64 first = (tiles - 1 - kiln::divide(work, s.batches, &batch)) * OWN;
        lead.at(batch, at);
        u32 query[INNER / 16][4], along[WIDTH / 16][4];
        load_own<INNER>(query, q + at[0], steps.q, first, s.rows);
        load_own<WIDTH>(along, dy + at[3], steps.dy, first, s.rows);
        f32 own_sum[2], own_common[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const i64 row = first + own_row(i);
            own_sum[i] = row < s.rows ? sums[batch * s.rows + row] : 0.0f;
            own_common[i] = row < s.rows ? commons[batch * s.rows + row] : 0.0f;
        }
        f32 out[INNER / 8][4];
        clear<INNER>(out);
        const i64 end = CAUSAL && first + OWN < s.columns ? first + OWN : s.columns;
        for (i64 other = 0; other < end; other += TILE) {
            __syncthreads();
            bring<INNER>(keys, key_pairs, k + at[1], steps.k, other, s.columns);
            bring<WIDTH>(values, nullptr, v + at[2], steps.v, other, s.columns);
            __syncthreads();
            f32 shares[TILE / 8][4], slopes[TILE / 8][4];
            with_others<INNER>(shares, query, keys);
            with_others<WIDTH>(slopes, along, values);
#pragma unroll
            for (int j = 0; j < TILE / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const bool seen = is_seen(first + own_row(i / 2), other + j * 8 + own_column() + i % 2, s);
                    const f32 share = seen ? ::expf(shares[j][i] * scale - own_sum[i / 2]) : 0.0f;
                    shares[j][i] = seen ? share * (slopes[j][i] - own_common[i / 2]) : 0.0f;
                }
            add_others<INNER>(out, shares, key_pairs);
        }
        write_own<INNER>(dq + batch * s.rows * INNER, first, s.rows, out, scale, scale);
    }
}
#endif

#ifdef OF_KEYS
KERNEL __launch_bounds__(BLOCK, 2) of_keys(Sizes s, kiln::Walk<RANK, 4> lead, Steps steps, f32 scale, const T* q, const T* k,
                                        const T* v, const T* dy, const f32* sums, const f32* commons, T* dk, T* dv) {
    __shared__ __align__(16) u32 queries[TILE * kiln::by_row(INNER)];
    __shared__ __align__(16) u32 query_pairs[TILE / 2 * kiln::by_pair(INNER)];
    __shared__ __align__(16) u32 along[TILE * kiln::by_row(WIDTH)];
    __shared__ __align__(16) u32 along_pairs[TILE / 2 * kiln::by_pair(WIDTH)];
    __shared__ f32 of_row[2][TILE];
    const i64 tiles = (s.columns + OWN - 1) / OWN;
    for (i64 work = blockIdx.x; work < tiles * s.batches; work += gridDim.x) {
        i64 batch, at[4];
        // Where queries see what is before them, the first keys are seen most.
        const i64 first = kiln::divide(work, s.batches, &batch) * OWN;
        lead.at(batch, at);
        u32 key[INNER / 16][4], value[WIDTH / 16][4];
        load_own<INNER>(key, k + at[1], steps.k, first, s.columns);
        load_own<WIDTH>(value, v + at[2], steps.v, first, s.columns);
        f32 of_key[INNER / 8][4], of_value[WIDTH / 8][4];
        clear<INNER>(of_key);
        clear<WIDTH>(of_value);
        for (i64 other = CAUSAL ? first : 0; other < s.rows; other += TILE) {
            __syncthreads();
            bring<INNER>(queries, query_pairs, q + at[0], steps.q, other, s.rows);
            bring<WIDTH>(along, along_pairs, dy + at[3], steps.dy, other, s.rows);
            for (int i = threadIdx.x; i < TILE; i += BLOCK) {
                const bool is_there = other + i < s.rows;
                of_row[0][i] = is_there ? sums[batch * s.rows + other + i] : 0.0f;
                of_row[1][i] = is_there ? commons[batch * s.rows + other + i] : 0.0f;
            }
            __syncthreads();
            f32 shares[TILE / 8][4], slopes[TILE / 8][4];
            with_others<INNER>(shares, key, queries);
            with_others<WIDTH>(slopes, value, along);
#pragma unroll
            for (int j = 0; j < TILE / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int place = j * 8 + own_column() + i % 2;
                    const bool seen = is_seen(other + place, first + own_row(i / 2), s);
                    shares[j][i] = seen ? ::expf(shares[j][i] * scale - of_row[0][place]) : 0.0f;
                    slopes[j][i] = seen ? shares[j][i] * (slopes[j][i] - of_row[1][place]) : 0.0f;
                }
            add_others<WIDTH>(of_value, shares, along_pairs);
            add_others<INNER>(of_key, slopes, query_pairs);
        }
        write_own<INNER>(dk + batch * s.columns * INNER, first, s.columns, of_key, scale, scale);
        write_own<WIDTH>(dv + batch * s.columns * WIDTH, first, s.columns, of_value, 1.0f, 1.0f);
    }
}
#endif
