// How any fold runs. Before it stand the state, `start`, `take`, `join`, `finish` and `front`, made of the fold's programs.

// The states of the threads of a warp in the first of them. All threads take part.
INLINE State join_warp(State a) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        State b;
        for (int i = 0; i < (int)(sizeof(State) / sizeof(A)); i++) b.v[i] = __shfl_down_sync(0xffffffffu, a.v[i], distance);
        a = join(a, b);
    }
    return a;
}

#if PARTS
typedef State Folded;
#else
typedef RESULT Folded;
#endif

// Each result by LANES threads of a block, or a part of it where a grid has several (PARTS) for each.
JOINABLE(256, fold, i64 outputs, i64 count, i64 length, KEPT kept, FOLDED folded, POINTERS, Folded* to) {
    i64 first = AT.y * length, end = first + length < count ? first + length : count;
#if ACROSS
    // Neighbouring threads have neighbouring results; those below each other share one.
    __shared__ State rows[LANES][32];
    int lane = threadIdx.y, place = threadIdx.x;
    const i64 tile = 32;
#else
    int lane = threadIdx.x, place = threadIdx.y;
    const i64 tile = LANES == 32 ? 8 : 1;
#endif
    for (i64 block = AT.x; block * tile < outputs; block += GRID.x) {
        i64 output = block * tile + place;
        State state = start();
        if (output < outputs) {
            i64 base[OPERANDS], at[OPERANDS];
            kept.at(output, base);
#pragma unroll 4
            for (i64 i = first + lane; i < end; i += LANES) {
                folded.at(i, at);
                state = take(state, front(ELEMENTS));
            }
        }
#if ACROSS
        rows[lane][place] = state;
        __syncthreads();
        if (lane == 0)
            for (int other = 1; other < LANES; other++) state = join(state, rows[other][place]);
        __syncthreads();
#else
        state = join_warp(state);
#if LANES > 32
        __shared__ State warps[LANES / 32];
        if (lane % 32 == 0) warps[lane / 32] = state;
        __syncthreads();
        if (lane == 0)
            for (int other = 1; other < LANES / 32; other++) state = join(state, warps[other]);
        __syncthreads();
#endif
#endif
        if (lane == 0 && output < outputs) {
#if PARTS
            to[output * GRID.y + AT.y] = state;
#else
            to[output] = finish(state, count);
#endif
        }
    }
}

// The parts of each result, by a warp.
JOINABLE(256, join_parts, i64 outputs, i64 count, i64 parts, const State* from, RESULT* to) {
    for (i64 block = AT.x; block * 8 < outputs; block += GRID.x) {
        i64 output = block * 8 + threadIdx.y;
        State state = start();
        if (output < outputs)
            for (i64 part = threadIdx.x; part < parts; part += 32) state = join(state, from[output * parts + part]);
        state = join_warp(state);
        if (threadIdx.x == 0 && output < outputs) to[output] = finish(state, count);
    }
}
