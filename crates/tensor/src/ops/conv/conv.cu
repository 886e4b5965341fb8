// The products of conv.cuh with the arithmetic of all threads.

INLINE C fma_of(C a, C b, C c) { return kiln::Exact<C>::fma(a, b, c); }

#ifdef TILED
#define TILE 64
#define DEPTH 16
#define PADDED (TILE + 4)

// A tile of 64 by 64 elements of the product by a block of 256 threads, each of which has 4 by 4 in registers. Of several parts
// of the sums each has room of its own, in the order of which `sum` adds.
KERNEL __launch_bounds__(256) tiled(Conv c, Sizes s, const T* a, const T* b, OUT* y) {
    __shared__ __align__(16) C rows[DEPTH][PADDED];
    __shared__ __align__(16) C columns[DEPTH][PADDED];
    const int thread = threadIdx.x, down = thread / 16 * 4, across = thread % 16 * 4;
    const Index channels = c.channels / c.groups, filters = c.filters / c.groups;
    const Index parts = parts_of(c, s, TILE, TILE);
    for (Index number = blockIdx.x; number < parts; number += gridDim.x) {
        const Part part = part_of(number, c, s, TILE, TILE);
        const Index first_row = part.row, first_column = part.column, group = part.group, split = part.split;
        const Index first_term = part.first_term, end_term = part.end_term;

        // A thread loads four elements of each tile. What it needs to find them and does not change is found here.
#if PRODUCT == WEIGHT_GRAD
        // Rows are elements of the kernel, terms are outputs.
        const Index own_row = first_row + thread % TILE, own_column = first_column + thread % TILE;
        const Tap own_tap = tap_of(own_row < s.rows ? own_row : 0, c, channels);
#else
        // Rows are pixels, terms are elements of the kernel.
        Pixel pixels[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            Index row = first_row + thread / DEPTH + 16 * j;
            pixels[j] = pixel_of(row < s.rows ? row : 0, PRODUCT == FORWARD ? c.output : c.input);
        }
#endif
        C sums[4][4];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sums[i][j] = (C)0;

        for (Index term = first_term; term < end_term; term += DEPTH) {
#if PRODUCT == WEIGHT_GRAD
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int place = thread / TILE + 4 * j;
                Index output = term + place;
                C x = (C)0, dy = (C)0;
                if (output < end_term) {
                    Index pixel = own_row < s.rows ? under(c, pixel_of(output, c.output), own_tap) : -1;
                    if (pixel >= 0) x = kiln::load<C>(a[pixel * c.channels + group * channels + own_tap.channel]);
                    if (own_column < s.columns) dy = kiln::load<C>(b[output * c.filters + group * filters + own_column]);
                }
                rows[place][thread % TILE] = x;
                columns[place][thread % TILE] = dy;
            }
#else
            const Index own_term = term + thread % DEPTH;
            const bool is_term = own_term < end_term;
            const Tap tap = tap_of(is_term ? own_term : 0, c, PRODUCT == FORWARD ? channels : filters);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int place = thread / DEPTH + 16 * j;
                C x = (C)0;
                if (is_term && first_row + place < s.rows) {
#if PRODUCT == FORWARD
                    Index pixel = under(c, pixels[j], tap);
                    if (pixel >= 0) x = kiln::load<C>(a[pixel * c.channels + group * channels + tap.channel]);
#else
                    Index pixel = over(c, pixels[j], tap);
                    if (pixel >= 0) x = kiln::load<C>(a[pixel * c.filters + group * filters + tap.channel]);
#endif
                }
                rows[thread % DEPTH][place] = x;
            }
#if PRODUCT == FORWARD
            // Neighbouring threads read neighbouring filters.
            const Index own_column = first_column + thread % TILE;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int place = thread / TILE + 4 * j;
                bool is_weight = term + place < end_term && own_column < s.columns;
                columns[place][thread % TILE] =
                    is_weight ? kiln::load<C>(b[(term + place) * c.filters + group * filters + own_column]) : (C)0;
            }
#else
#pragma unroll
            for (int j = 0; j < 4; j++) {
                Index column = first_column + thread / DEPTH + 16 * j;
                const bool is_weight = is_term && column < s.columns;
                Index place = (tap.at[0] * c.kernel[1] + tap.at[1]) * channels + (is_weight ? column : 0);
                Index weight = place * c.filters + group * filters + tap.channel;
                columns[thread % DEPTH][thread / DEPTH + 16 * j] =
                    is_weight ? kiln::load<C>(b[weight]) : (C)0;
            }
#endif
#endif
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; k++) {
                C left[4], right[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    left[i] = rows[k][down + i];
                    right[i] = columns[k][across + i];
                }
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) sums[i][j] = fma_of(left[i], right[j], sums[i][j]);
            }
            __syncthreads();
        }
        const Index width = PRODUCT == INPUT_GRAD ? c.channels : c.filters;
        OUT* to = y + split * s.rows * width + group * s.columns;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Index row = first_row + down + i;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                Index column = first_column + across + j;
                if (row < s.rows && column < s.columns) to[row * width + column] = kiln::store<OUT>(sums[i][j]);
            }
        }
    }
}
#endif

#ifdef DIRECT
// An element of the product by a thread: for groups of few channels, of which a tile would be mostly empty.
KERNEL __launch_bounds__(256) direct(Conv c, Sizes s, const T* a, const T* b, OUT* y) {
    const Index channels = c.channels / c.groups, filters = c.filters / c.groups;
    const Index width = PRODUCT == INPUT_GRAD ? c.channels : c.filters, count = s.rows * width * s.splits;
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Index row, column;
        Index split = kiln::divide(kiln::divide(i, width, &column), s.rows, &row);
        const Index group = column / s.columns, first_term = split * s.terms_of_split;
        const Index end_term = first_term + s.terms_of_split < s.terms ? first_term + s.terms_of_split : s.terms;
        C sum = (C)0;
#if PRODUCT == WEIGHT_GRAD
        const Tap tap = tap_of(row, c, channels);
        for (Index term = first_term; term < end_term; term++) {
            Index pixel = under(c, pixel_of(term, c.output), tap);
            if (pixel < 0) continue;
            C x = kiln::load<C>(a[pixel * c.channels + group * channels + tap.channel]);
            sum = fma_of(x, kiln::load<C>(b[term * c.filters + column]), sum);
        }
#else
        const Pixel own = pixel_of(row, PRODUCT == FORWARD ? c.output : c.input);
        Tap tap;
        for (tap.at[0] = 0; tap.at[0] < c.kernel[0]; tap.at[0]++) {
            for (tap.at[1] = 0; tap.at[1] < c.kernel[1]; tap.at[1]++) {
                const Index place = tap.at[0] * c.kernel[1] + tap.at[1];
#if PRODUCT == FORWARD
                Index pixel = under(c, own, tap);
                for (Index k = 0; pixel >= 0 && k < channels; k++) {
                    C x = kiln::load<C>(a[pixel * c.channels + group * channels + k]);
                    sum = fma_of(x, kiln::load<C>(b[(place * channels + k) * c.filters + column]), sum);
                }
#else
                Index pixel = over(c, own, tap);
                for (Index k = 0; pixel >= 0 && k < filters; k++) {
                    C dy = kiln::load<C>(a[pixel * c.filters + group * filters + k]);
                    Index weight = (place * channels + column % s.columns) * c.filters + group * filters + k;
                    sum = fma_of(dy, kiln::load<C>(b[weight]), sum);
                }
#endif
            }
        }
#endif
        y[i] = kiln::store<OUT>(sum);
    }
}
#endif

// Adds the parts of each sum, always in the same order.
KERNEL __launch_bounds__(256) sum(Index count, Index splits, const C* parts, T* y) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        C sum = parts[i];
        for (Index split = 1; split < splits; split++) sum += parts[split * count + i];
        y[i] = kiln::store<T>(sum);
    }
}
