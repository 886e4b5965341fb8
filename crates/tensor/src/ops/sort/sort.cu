// Sorting rows of pairs: tiles of a row in shared memory, then runs of two sizes more at each launch.

INLINE bool before(Pair a, Pair b) { return a.key < b.key || (a.key == b.key && a.at < b.at); }

#ifdef T
struct Rows {
    i64 count, length, inner;
};

// Where element i of all rows lies.
INLINE i64 place(Rows rows, i64 i) {
    i64 within, column;
    i64 row = kiln::divide(i, rows.length, &within);
    i64 outer = kiln::divide(row, rows.inner, &column);
    return (outer * rows.length + within) * rows.inner + column;
}

KERNEL __launch_bounds__(256) ranks(Rows rows, const T* x, Pair* pairs) {
    for (i64 i = THREAD; i < rows.count * rows.length; i += THREADS) {
        u64 key = rank(x[place(rows, i)]);
        pairs[i].key = DESCENDING ? ~key : key;
        pairs[i].at = i % rows.length;
    }
}

// The first `count` positions of each row.
KERNEL __launch_bounds__(256) positions(Rows rows, i64 count, const Pair* pairs, i64* y) {
    const Rows few = {rows.count, count, rows.inner};
    for (i64 i = THREAD; i < rows.count * count; i += THREADS) {
        i64 within;
        i64 row = kiln::divide(i, count, &within);
        y[place(few, i)] = pairs[row * rows.length + within].at;
    }
}
#endif

#ifdef TILE
// Sorts the pieces of TILE pairs that rows of `length` are made of: a bitonic network (Batcher 1968).
KERNEL __launch_bounds__(TILE / 2) tiles(i64 rows, i64 length, Pair* pairs) {
    __shared__ Pair tile[TILE];
    i64 pieces = (length + TILE - 1) / TILE;
    for (i64 block = blockIdx.x; block < rows * pieces; block += gridDim.x) {
        i64 row = block / pieces, start = block % pieces * TILE;
        Pair* from = pairs + row * length + start;
        for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
            // What fills the last piece up comes after all else.
            Pair last = {~0ull, 0x7fffffffffffffffLL};
            tile[i] = start + i < length ? from[i] : last;
        }
        __syncthreads();
        for (int size = 2; size <= TILE; size *= 2) {
            for (int step = size / 2; step > 0; step /= 2) {
                int low = 2 * (int)threadIdx.x - ((int)threadIdx.x & (step - 1)), high = low + step;
                Pair a = tile[low], b = tile[high];
                if (before(b, a) == ((low & size) == 0)) {
                    tile[low] = b;
                    tile[high] = a;
                }
                __syncthreads();
            }
        }
        for (int i = threadIdx.x; i < TILE; i += blockDim.x)
            if (start + i < length) from[i] = tile[i];
        __syncthreads();
    }
}
#endif

// Merges neighbouring runs of `width` sorted pairs: each pair finds its place by how many of the other run come before it.
KERNEL __launch_bounds__(256) merge(i64 rows, i64 length, i64 width, const Pair* from, Pair* to) {
    for (i64 i = THREAD; i < rows * length; i += THREADS) {
        i64 within, offset;
        i64 row = kiln::divide(i, length, &within);
        i64 run = kiln::divide(within, width, &offset);
        i64 first = run * width - ((run & 1) != 0 ? width : 0);
        const Pair* base = from + row * length;
        Pair pair = base[within];
        i64 low = (run ^ 1) * width, high = low + width;
        low = low < length ? low : length;
        high = high < length ? high : length;
        i64 start = low;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            // Of equal ones those of the first run come first.
            bool comes = (run & 1) != 0 ? !before(pair, base[middle]) : before(base[middle], pair);
            if (comes) low = middle + 1;
            else high = middle;
        }
        to[row * length + first + offset + (low - start)] = pair;
    }
}
