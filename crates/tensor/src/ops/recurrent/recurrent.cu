// Recurrent layers step by step: a launch is a step, since all of a state has to be there before the next one can begin.
// LAYER says which, and UNIT_GATES how many gates a unit has. States are kept in the type that is computed in.

#define SIMPLE 0
#define GRU 1
#define LSTM 2

// Rows of the batch and parts of the sum that a block of 32 times PARTS threads takes, besides 32 units.
#define ROWS 4
#define PARTS 8

struct Sizes {
    i64 batch, time, units;
};

INLINE C fma_of(C a, C b, C c) { return kiln::Exact<C>::fma(a, b, c); }

// For a row of the batch and a unit of each thread with threadIdx.y < ROWS: the sums over k of a[row][k] times
// b[k][gate * units + unit], for N gates. All threads of the block come here.
template <int N, class B> INLINE void product(i64 batch, i64 units, i64 terms, i64 first_row, const C* a, const B* b, C* y) {
    __shared__ C parts[PARTS][ROWS * N][32];
    const i64 unit = (i64)blockIdx.x * 32 + threadIdx.x, width = units * N;
    C sums[ROWS][N];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int g = 0; g < N; g++) sums[r][g] = (C)0;
    for (i64 k = threadIdx.y; unit < units && k < terms; k += PARTS) {
        C weights[N];
#pragma unroll
        for (int g = 0; g < N; g++) weights[g] = kiln::load<C>(b[k * width + g * units + unit]);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            // Past the last row that one is taken once more, and nobody looks at the sum.
            i64 row = first_row + r < batch ? first_row + r : batch - 1;
            C x = a[row * terms + k];
#pragma unroll
            for (int g = 0; g < N; g++) sums[r][g] = fma_of(x, weights[g], sums[r][g]);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int g = 0; g < N; g++) parts[threadIdx.y][r * N + g][threadIdx.x] = sums[r][g];
    __syncthreads();
    if (threadIdx.y < ROWS) {
#pragma unroll
        for (int g = 0; g < N; g++) {
            C sum = (C)0;
            for (int part = 0; part < PARTS; part++) sum += parts[part][threadIdx.y * N + g][threadIdx.x];
            y[g] = sum;
        }
    }
    __syncthreads();
}

// The first states, as they are computed with.
KERNEL __launch_bounds__(256) begin(i64 count, const T* x, C* y) {
    for (i64 i = THREAD; i < count; i += THREADS) y[i] = kiln::load<C>(x[i]);
}

KERNEL __launch_bounds__(256) zeros(i64 count, T* y) {
    for (i64 i = THREAD; i < count; i += THREADS) y[i] = kiln::store<T>((C)0);
}

#ifdef LAYER
KERNEL __launch_bounds__(32 * PARTS)
    step(Sizes s, i64 t, const T* kernel, const T* x, const C* h_before, C* h_after, T* all_h
#if LAYER == GRU
         , const T* bias, T* gates, T* inner
#elif LAYER == LSTM
         , C* cell, T* all_c, T* gates
#endif
#if MASKED
         , const bool* mask
#endif
    ) {
    const i64 units = s.units, width = units * UNIT_GATES, unit = (i64)blockIdx.x * 32 + threadIdx.x;
    for (i64 tile = blockIdx.y; tile * ROWS < s.batch; tile += gridDim.y) {
        C z[UNIT_GATES];
        product<UNIT_GATES>(s.batch, units, units, tile * ROWS, h_before, kernel, z);
        const i64 row = tile * ROWS + threadIdx.y;
        if (threadIdx.y >= ROWS || row >= s.batch || unit >= units) continue;
        const i64 step = row * s.time + t, at = step * units + unit;
        const T* from = x + step * width + unit;
        C h = h_before[row * units + unit];
#if MASKED
        const bool counts = mask[step];
#else
        const bool counts = true;
#endif
#if LAYER == SIMPLE
        if (counts) h = kiln::tanh(kiln::load<C>(*from) + z[0]);
#elif LAYER == GRU
        C opened[3] = {(C)0, (C)0, (C)0}, before_reset = (C)0;
        if (counts) {
            for (int gate = 0; gate < 3; gate++) {
                z[gate] += kiln::load<C>(bias[gate * units + unit]);
                opened[gate] = kiln::load<C>(from[gate * units]);
            }
            before_reset = z[2];
            opened[0] = kiln::sigmoid(opened[0] + z[0]);
            opened[1] = kiln::sigmoid(opened[1] + z[1]);
            opened[2] = kiln::tanh(opened[2] + opened[1] * z[2]);
            h = opened[0] * h + ((C)1 - opened[0]) * opened[2];
        }
        // Gates may lie where they are read.
        for (int gate = 0; gate < 3; gate++) gates[step * width + gate * units + unit] = kiln::store<T>(opened[gate]);
        inner[at] = kiln::store<T>(before_reset);
#else
        C opened[4] = {(C)0, (C)0, (C)0, (C)0}, c = cell[row * units + unit];
        if (counts) {
            for (int gate = 0; gate < 4; gate++) opened[gate] = kiln::load<C>(from[gate * units]) + z[gate];
            opened[0] = kiln::sigmoid(opened[0]);
            opened[1] = kiln::sigmoid(opened[1]);
            opened[2] = kiln::tanh(opened[2]);
            opened[3] = kiln::sigmoid(opened[3]);
            c = opened[1] * c + opened[0] * opened[2];
            h = opened[3] * kiln::tanh(c);
        }
        // Gates may lie where they are read.
        for (int gate = 0; gate < 4; gate++) gates[step * width + gate * units + unit] = kiln::store<T>(opened[gate]);
        cell[row * units + unit] = c;
        all_c[at] = kiln::store<T>(c);
#endif
        h_after[row * units + unit] = h;
        all_h[at] = kiln::store<T>(h);
    }
}

// The recurrent kernel with rows and columns exchanged, so that neighbouring threads read neighbouring elements.
KERNEL __launch_bounds__(256) turn(i64 units, i64 width, const T* kernel, C* turned) {
    for (i64 i = THREAD; i < units * width; i += THREADS) {
        i64 unit;
        i64 column = kiln::divide(i, units, &unit);
        turned[i] = kiln::load<C>(kernel[unit * width + column]);
    }
}

// A step back. `into` has the gradients of what the products with the kernel went into, [time, batch, width]: those of the
// next step are multiplied with it here, and those of this one written. `carried` is what the state has besides.
KERNEL __launch_bounds__(32 * PARTS)
    step_back(Sizes s, i64 t, const C* turned, C* into, C* carried_h, const T* dh, T* dz
#if LAYER == SIMPLE
              , const T* all_h
#elif LAYER == GRU
              , const T* gates, const T* inner, const T* all_h, const T* first_h
#else
              , const T* gates, const T* all_c, const T* first_c, C* carried_c
#endif
#if CELL
              , const T* dc_of_steps
#endif
#if MASKED
              , const bool* mask
#endif
    ) {
    const i64 units = s.units, width = units * UNIT_GATES, unit = (i64)blockIdx.x * 32 + threadIdx.x;
    const bool is_last = t + 1 == s.time;
    for (i64 tile = blockIdx.y; tile * ROWS < s.batch; tile += gridDim.y) {
        C through[1] = {(C)0};
        if (!is_last) product<1>(s.batch, units, width, tile * ROWS, into + (t + 1) * s.batch * width, turned, through);
        const i64 row = tile * ROWS + threadIdx.y;
        if (threadIdx.y >= ROWS || row >= s.batch || unit >= units) continue;
        const i64 step = row * s.time + t, at = step * units + unit, state = row * units + unit;
        C d = through[0] + kiln::load<C>(dh[at]);
        if (!is_last) d += carried_h[state];
        C to_gates[UNIT_GATES];
        for (int gate = 0; gate < UNIT_GATES; gate++) to_gates[gate] = (C)0;
#if MASKED
        const bool counts = mask[step];
#else
        const bool counts = true;
#endif
#if LAYER == SIMPLE
        if (counts) {
            C h = kiln::load<C>(all_h[at]);
            to_gates[0] = d * ((C)1 - h * h);
            d = (C)0;
        }
#elif LAYER == GRU
        C to_inner = (C)0;
        if (counts) {
            const T* from = gates + step * width + unit;
            C z = kiln::load<C>(from[0]), r = kiln::load<C>(from[units]), g = kiln::load<C>(from[2 * units]);
            C before = kiln::load<C>(t > 0 ? all_h[at - units] : first_h[state]);
            C to_g = d * ((C)1 - z) * ((C)1 - g * g), to_z = d * (before - g), to_r = to_g * kiln::load<C>(inner[at]);
            d *= z;
            to_inner = to_g * r;
            to_gates[0] = to_z * z * ((C)1 - z);
            to_gates[1] = to_r * r * ((C)1 - r);
            to_gates[2] = to_g;
        }
#else
        C to_c = is_last ? (C)0 : carried_c[state];
#if CELL
        to_c += kiln::load<C>(dc_of_steps[at]);
#endif
        if (counts) {
            const T* from = gates + step * width + unit;
            C i = kiln::load<C>(from[0]), f = kiln::load<C>(from[units]);
            C g = kiln::load<C>(from[2 * units]), o = kiln::load<C>(from[3 * units]);
            C before = kiln::load<C>(t > 0 ? all_c[at - units] : first_c[state]);
            C y = kiln::tanh(kiln::load<C>(all_c[at]));
            to_c += d * o * ((C)1 - y * y);
            to_gates[0] = to_c * g * i * ((C)1 - i);
            to_gates[1] = to_c * before * f * ((C)1 - f);
            to_gates[2] = to_c * i * ((C)1 - g * g);
            to_gates[3] = d * y * o * ((C)1 - o);
            to_c *= f;
            d = (C)0;
        }
        carried_c[state] = to_c;
#endif
        carried_h[state] = d;
        // Gradients may lie where the gates are read.
        for (int gate = 0; gate < UNIT_GATES; gate++) dz[step * width + gate * units + unit] = kiln::store<T>(to_gates[gate]);
#if LAYER == GRU
        // Of what is reset, the gradient is another than that of the gate's own input.
        to_gates[2] = to_inner;
#endif
        C* to = into + (t * s.batch + row) * width + unit;
        for (int gate = 0; gate < UNIT_GATES; gate++) to[gate * units] = to_gates[gate];
    }
}

// The gradients of the first states, when all steps are done.
KERNEL __launch_bounds__(32 * PARTS)
    first_states(Sizes s, const C* turned, const C* into, const C* carried_h, T* dh
#if LAYER == LSTM
                 , const C* carried_c, T* dc
#endif
    ) {
    const i64 units = s.units, unit = (i64)blockIdx.x * 32 + threadIdx.x;
    for (i64 tile = blockIdx.y; tile * ROWS < s.batch; tile += gridDim.y) {
        C through[1];
        product<1>(s.batch, units, units * UNIT_GATES, tile * ROWS, into, turned, through);
        const i64 row = tile * ROWS + threadIdx.y, state = row * units + unit;
        if (threadIdx.y >= ROWS || row >= s.batch || unit >= units) continue;
        dh[state] = kiln::store<T>(carried_h[state] + through[0]);
#if LAYER == LSTM
        dc[state] = kiln::store<T>(carried_c[state]);
#endif
    }
}

// The gradient of the recurrent kernel: the states before all steps, transposed, times `into`. A block has 32 by 32 elements
// and a part of the steps, for which it has room of its own; `sum` adds the parts in their order.
KERNEL __launch_bounds__(256)
    kernel_grad(Sizes s, i64 splits, i64 steps_of_split, const T* all_h, const T* first_h, const C* into, C* parts) {
    __shared__ C states[32][33], gradients[32][33];
    const int across = threadIdx.x % 32, down = threadIdx.x / 32;
    const i64 units = s.units, width = units * UNIT_GATES, steps = s.batch * s.time;
    const i64 row_tiles = (units + 31) / 32, column_tiles = (width + 31) / 32;
    for (i64 block = blockIdx.x; block < row_tiles * column_tiles * splits; block += gridDim.x) {
        i64 row_tile, column_tile;
        const i64 split = kiln::divide(kiln::divide(block, row_tiles, &row_tile), column_tiles, &column_tile);
        const i64 end = (split + 1) * steps_of_split < steps ? (split + 1) * steps_of_split : steps;
        C sums[4] = {(C)0, (C)0, (C)0, (C)0};
        for (i64 first = split * steps_of_split; first < end; first += 32) {
            for (int j = down; j < 32; j += 8) {
                i64 step = first + j, unit = row_tile * 32 + across, column = column_tile * 32 + across, row;
                i64 t = kiln::divide(step, s.batch, &row);
                C h = (C)0, d = (C)0;
                if (step < end && unit < units)
                    h = kiln::load<C>(t > 0 ? all_h[(row * s.time + t - 1) * units + unit] : first_h[row * units + unit]);
                if (step < end && column < width) d = into[step * width + column];
                states[j][across] = h;
                gradients[j][across] = d;
            }
            __syncthreads();
            for (int k = 0; k < 32; k++) {
                C d = gradients[k][across];
#pragma unroll
                for (int i = 0; i < 4; i++) sums[i] = fma_of(states[k][down + 8 * i], d, sums[i]);
            }
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            i64 unit = row_tile * 32 + down + 8 * i, column = column_tile * 32 + across;
            if (unit < units && column < width) parts[(split * units + unit) * width + column] = sums[i];
        }
    }
}

// The gradient of the recurrent bias: the sums of `into` over parts of the steps.
KERNEL __launch_bounds__(256) bias_grad(Sizes s, i64 splits, i64 steps_of_split, const C* into, C* parts) {
    const i64 width = s.units * UNIT_GATES, steps = s.batch * s.time;
    for (i64 i = THREAD; i < width * splits; i += THREADS) {
        i64 column;
        const i64 split = kiln::divide(i, width, &column);
        C sum = (C)0;
        for (i64 step = split * steps_of_split; step < (split + 1) * steps_of_split && step < steps; step++)
            sum += into[step * width + column];
        parts[i] = sum;
    }
}
#endif

KERNEL __launch_bounds__(256) sum(i64 count, i64 splits, const C* parts, T* y) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        C sum = parts[i];
        for (i64 split = 1; split < splits; split++) sum += parts[split * count + i];
        y[i] = kiln::store<T>(sum);
    }
}
