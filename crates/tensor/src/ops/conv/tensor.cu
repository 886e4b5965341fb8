// The products of conv.cuh with tensor cores, for f16 and bf16 whose channels and filters of a group come in eights.
//
// A block of eight warps has a tile of 128 rows and COLUMNS columns of the product, a warp 64 rows and a quarter of the columns. 32
// terms at a time are brought into shared memory, while those before are multiplied; each thread brings packs of eight elements
// that lie dense.

#define ROWS 128
#define DEPTH 32
#define ACROSS (COLUMNS / 4)

// An operand whose terms lie dense is kept by row, the words of its terms one after the other; one whose rows lie dense is kept by
// pair of terms, the words of its rows one after the other.
#define BY_ROW kiln::by_row(DEPTH)
#define BY_PAIR(ROWS) kiln::by_pair(ROWS)

#define A_BY_ROW (PRODUCT != WEIGHT_GRAD)
#define B_BY_ROW (PRODUCT == INPUT_GRAD)
#define A_WORDS (A_BY_ROW ? ROWS * BY_ROW : DEPTH / 2 * BY_PAIR(ROWS))
#define B_WORDS (B_BY_ROW ? COLUMNS * BY_ROW : DEPTH / 2 * BY_PAIR(COLUMNS))
// Packs of eight that a thread brings of each operand.
#define A_PACKS 2
#define B_PACKS (B_BY_ROW ? COLUMNS / 64 : 2)

INLINE u32 word_of_a(const u32* a, int row, int pair) { return A_BY_ROW ? a[row * BY_ROW + pair] : a[pair * BY_PAIR(ROWS) + row]; }
INLINE u32 word_of_b(const u32* b, int column, int pair) {
    return B_BY_ROW ? b[column * BY_ROW + pair] : b[pair * BY_PAIR(COLUMNS) + column];
}

// Blocks that a multiprocessor has room for, in registers that a thread may use. What stands in for the instruction before 8.0 takes more.
#if __CUDA_ARCH__ >= 800
#define BLOCKS_AT_A_TIME 2
#else
#define BLOCKS_AT_A_TIME 1
#endif

KERNEL __launch_bounds__(256, BLOCKS_AT_A_TIME) tensor(Conv c, Sizes s, const T* a, const T* b, OUT* y) {
    __shared__ __align__(16) u32 rows[2][A_WORDS];
    __shared__ __align__(16) u32 columns[2][B_WORDS];
    const int thread = threadIdx.x, warp = thread / 32, g = thread % 32 / 4, t = thread % 4;
    const int down = warp / 4 * 64, across = warp % 4 * ACROSS;
    const Index channels = c.channels / c.groups, filters = c.filters / c.groups;
    const Index parts = parts_of(c, s, ROWS, COLUMNS);
    for (Index number = blockIdx.x; number < parts; number += gridDim.x) {
        const Part part = part_of(number, c, s, ROWS, COLUMNS);
        const Index first_row = part.row, first_column = part.column, group = part.group, split = part.split;
        const Index first_term = part.first_term, end_term = part.end_term;

        // What a thread needs to find its packs and does not change. By row: rows thread / 4 and 64 further on, terms 8 (thread % 4)
        // and on. By pair: the terms of pair thread / eights, and eight rows.
#if A_BY_ROW
        Pixel pixels[A_PACKS];
#pragma unroll
        for (int j = 0; j < A_PACKS; j++) {
            Index row = first_row + thread / 4 + 64 * j;
            pixels[j] = pixel_of(row < s.rows ? row : 0, PRODUCT == FORWARD ? c.output : c.input);
        }
#else
        const Index own_row = first_row + thread % (ROWS / 8) * 8;
        const Tap own_tap = tap_of(own_row < s.rows ? own_row : 0, c, channels);
#endif
#if !B_BY_ROW
        const int eights = COLUMNS / 8, pair = thread / eights;
        const Index own_column = first_column + thread % eights * 8;
#endif
        kiln::Eight of_a[A_PACKS], of_b[B_PACKS];

        auto bring = [&](Index term) {
#if A_BY_ROW
            const Index own_term = term + thread % 4 * 8;
            const bool is_term = own_term < end_term;
            const Tap tap = tap_of(is_term ? own_term : 0, c, PRODUCT == FORWARD ? channels : filters);
#pragma unroll
            for (int j = 0; j < A_PACKS; j++) {
                const bool is_row = is_term && first_row + thread / 4 + 64 * j < s.rows;
                const Index pixel = PRODUCT == FORWARD ? under(c, pixels[j], tap) : over(c, pixels[j], tap);
                const Index width = PRODUCT == FORWARD ? c.channels : c.filters;
                const Index first = group * (PRODUCT == FORWARD ? channels : filters) + tap.channel;
                of_a[j] = kiln::eight(a + pixel * width + first, is_row && pixel >= 0);
            }
#else
#pragma unroll
            for (int j = 0; j < A_PACKS; j++) {
                const Index output = term + thread / (ROWS / 8) * 2 + j;
                const bool is_there = output < end_term && own_row < s.rows;
                const Index pixel = is_there ? under(c, pixel_of(output, c.output), own_tap) : -1;
                of_a[j] = kiln::eight(a + pixel * c.channels + group * channels + own_tap.channel, pixel >= 0);
            }
#endif
#if B_BY_ROW
#pragma unroll
            for (int j = 0; j < B_PACKS; j++) {
                const Index column = first_column + thread / 4 + 64 * j;
                const Index place = (tap.at[0] * c.kernel[1] + tap.at[1]) * channels + column;
                of_b[j] = kiln::eight(b + place * c.filters + group * filters + tap.channel, is_term && column < s.columns);
            }
#else
#pragma unroll
            for (int j = 0; j < B_PACKS; j++) {
                const Index place = term + pair * 2 + j;
                const bool is_there = pair < DEPTH / 2 && place < end_term && own_column < s.columns;
                of_b[j] = kiln::eight(b + place * c.filters + group * filters + own_column, is_there);
            }
#endif
        };
        auto put = [&](int buffer) {
#if A_BY_ROW
#pragma unroll
            for (int j = 0; j < A_PACKS; j++)
                reinterpret_cast<kiln::Eight*>(rows[buffer] + (thread / 4 + 64 * j) * BY_ROW)[thread % 4] = of_a[j];
#else
            kiln::put_pair(rows[buffer] + thread / (ROWS / 8) * BY_PAIR(ROWS) + thread % (ROWS / 8) * 8, of_a[0], of_a[1]);
#endif
#if B_BY_ROW
#pragma unroll
            for (int j = 0; j < B_PACKS; j++)
                reinterpret_cast<kiln::Eight*>(columns[buffer] + (thread / 4 + 64 * j) * BY_ROW)[thread % 4] = of_b[j];
#else
            if (pair < DEPTH / 2) kiln::put_pair(columns[buffer] + pair * BY_PAIR(COLUMNS) + thread % eights * 8, of_b[0], of_b[1]);
#endif
        };

        f32 sums[4][ACROSS / 8][4];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < ACROSS / 8; j++)
#pragma unroll
                for (int k = 0; k < 4; k++) sums[i][j][k] = 0;

        if (first_term < end_term) {
            bring(first_term);
            put(0);
        }
        __syncthreads();
        int buffer = 0;
        for (Index term = first_term; term < end_term; term += DEPTH) {
            const bool goes_on = term + DEPTH < end_term;
            if (goes_on) bring(term + DEPTH);
#pragma unroll
            for (int first = 0; first < DEPTH / 2; first += 8) {
                u32 left[4][4], right[ACROSS / 8][2];
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
                        left[i][k] = word_of_a(rows[buffer], down + i * 16 + g + k % 2 * 8, first + t + k / 2 * 4);
#pragma unroll
                for (int j = 0; j < ACROSS / 8; j++)
#pragma unroll
                    for (int k = 0; k < 2; k++)
                        right[j][k] = word_of_b(columns[buffer], across + j * 8 + g, first + t + k * 4);
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < ACROSS / 8; j++) kiln::multiply_add(sums[i][j], left[i], right[j], T());
            }
            // The other buffer was read before the last barrier.
            buffer ^= 1;
            if (goes_on) put(buffer);
            __syncthreads();
        }

        const Index width = PRODUCT == INPUT_GRAD ? c.channels : c.filters;
        OUT* to = y + split * s.rows * width + group * s.columns;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < ACROSS / 8; j++)
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    const Index row = first_row + down + i * 16 + g + k * 8, column = first_column + across + j * 8 + t * 2;
                    if (row >= s.rows || column >= s.columns) continue;
                    // Columns come in eights, so both are there.
                    kiln::Pack<OUT, 2> both;
                    both.v[0] = kiln::store<OUT>(sums[i][j][2 * k]);
                    both.v[1] = kiln::store<OUT>(sums[i][j][2 * k + 1]);
                    kiln::write<2>(to + row * width + column, both);
                }
    }
}
