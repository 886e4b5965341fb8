// Running folds along rows: sums and recurrences, which are kept in double precision or in 64 bits, or positions of extremes.

using kiln::Rows;

#ifndef REVERSE
#define REVERSE 0
#endif
#ifndef LARGEST
#define LARGEST 0
#endif

#ifdef ARG
struct State {
    C value;
    i64 at;
};
INLINE State nothing() {
    State s = {(C)0, -1};
    return s;
}
INLINE State one(T x, T, i64 at) {
    State s = {kiln::load<C>(x), at};
    return s;
}
// The last of equal ones; NaN wins, and the last of those.
INLINE State join(State a, State b) {
    if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
    bool reaches = b.value != b.value || (LARGEST ? b.value >= a.value : b.value <= a.value);
    return reaches ? b : a;
}
INLINE State above(State s, int lanes) {
    State other;
    other.value = __shfl_up_sync(0xffffffffu, s.value, lanes);
    other.at = __shfl_up_sync(0xffffffffu, s.at, lanes);
    return other;
}
INLINE U finished(State s) { return s.at; }
#elif defined(RECURRENCE)
// What a piece makes of the value before it: the value times a factor, and a term. The factor is that of many elements, and may
// be beyond all numbers where no result is: it counts STEPs beside it, each a power of two that changes no digit.
struct State {
    C factor, term;
    i32 steps;
    i32 some;
};
#define STEP 0x1p768
#define HALF_STEP 0x1p384
INLINE void hold(f64& x, i32& steps) {
    f64 size = x < 0 ? -x : x;
    if (size > HALF_STEP) x *= 1 / STEP, steps++;
    if (size < 1 / HALF_STEP && size > 0) x *= STEP, steps--;
}
INLINE f64 times(f64 factor, i32 steps, f64 x) {
    if (steps == 0) return kiln::mul(factor, x);
    hold(x, steps);
    x = kiln::mul(factor, x);
    // After four of them nothing is left, or too much.
    for (int i = 0; i < 4 && i < steps; i++) x *= STEP;
    for (int i = 0; i < 4 && i < -steps; i++) x *= 1 / STEP;
    return x;
}
INLINE void hold(i64&, i32&) {}
INLINE i64 times(i64 factor, i32, i64 x) { return kiln::mul(factor, x); }

INLINE State nothing() {
    State s = {(C)1, (C)0, 0, 0};
    return s;
}
INLINE State one(T x, T factor, i64) {
    State s = {kiln::load<C>(factor), kiln::load<C>(x), 0, 1};
    hold(s.factor, s.steps);
    return s;
}
INLINE State join(State a, State b) {
    if (!a.some || !b.some) return a.some ? a : b;
    State s = {kiln::mul(b.factor, a.factor), kiln::add(times(b.factor, b.steps, a.term), b.term), a.steps + b.steps, 1};
    hold(s.factor, s.steps);
    return s;
}
INLINE State above(State s, int lanes) {
    State other;
    other.factor = __shfl_up_sync(0xffffffffu, s.factor, lanes);
    other.term = __shfl_up_sync(0xffffffffu, s.term, lanes);
    other.steps = __shfl_up_sync(0xffffffffu, s.steps, lanes);
    other.some = __shfl_up_sync(0xffffffffu, s.some, lanes);
    return other;
}
INLINE U finished(State s) { return kiln::store<U>(s.term); }
#else
typedef C State;
INLINE State nothing() { return (C)0; }
INLINE State one(T x, T, i64) { return kiln::load<C>(x); }
INLINE State join(State a, State b) { return kiln::add(a, b); }
INLINE State above(State s, int lanes) { return __shfl_up_sync(0xffffffffu, s, lanes); }
INLINE U finished(State s) { return kiln::store<U>(s); }
#endif

// A row by one thread: for many rows.
KERNEL __launch_bounds__(256) serial(Rows rows, const T* x, const T* factors, U* y) {
    for (i64 row = THREAD; row < rows.count; row += THREADS) {
        i64 first = rows.first(row);
        State s = nothing();
        for (i64 i = 0; i < rows.length; i++) {
            i64 place = REVERSE ? rows.length - 1 - i : i, at = first + place * rows.inner;
            s = join(s, one(x[at], factors[at], place));
            y[at] = finished(s);
        }
    }
}

// `STATE` of the host, which makes the room for those of parts.
static_assert(sizeof(State) <= 24, "a state is larger than its room");

// Of each thread of a warp what it makes with those before it.
INLINE State along_warp(State s) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        State before = above(s, lanes);
        if (lane >= lanes) s = join(before, s);
    }
    return s;
}

// Places from `start` to `end` by one block, behind what is carried: as many as it has threads, then the next ones. `read` gives
// the state of a place, `write` is given what it makes with those before it.
template <class Read, class Write>
INLINE void along_block(i64 start, i64 end, State carried, Read read, Write write) {
    __shared__ State warps[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (; start < end; start += 256) {
        i64 i = start + threadIdx.x;
        State s = along_warp(i < end ? read(i) : nothing());
        if (lane == 31) warps[warp] = s;
        __syncthreads();
        State before = carried;
        for (int other = 0; other < 8; other++) {
            if (other == warp) s = join(before, s);
            before = join(before, warps[other]);
        }
        carried = before;
        if (i < end) write(i, s);
        __syncthreads();
    }
}

// The elements of a row in the order in which they are gone through.
struct Row {
    const T *x, *factors;
    i64 length, inner, first;
    __device__ __forceinline__ i64 at(i64 i) const { return first + (REVERSE ? length - 1 - i : i) * inner; }
    __device__ __forceinline__ State state(i64 i) const {
        return one(x[at(i)], factors[at(i)], REVERSE ? length - 1 - i : i);
    }
};

INLINE Row row_of(Rows rows, i64 row, const T* x, const T* factors) {
    Row it = {x, factors, rows.length, rows.inner, rows.first(row)};
    return it;
}

// A part of so many elements of a row by one block, which may be the whole row. Of a row of several parts `sums` has what each
// makes with those before it.
KERNEL __launch_bounds__(256)
    shared(Rows rows, i64 parts, i64 size, const State* sums, const T* x, const T* factors, U* y) {
    for (i64 piece = blockIdx.x; piece < rows.count * parts; piece += gridDim.x) {
        i64 part, row = kiln::divide(piece, parts, &part), start = part * size;
        const Row elements = row_of(rows, row, x, factors);
        along_block(
            start, start + size < rows.length ? start + size : rows.length, part > 0 ? sums[piece - 1] : nothing(),
            [&](i64 i) { return elements.state(i); }, [&](i64 i, State s) { y[elements.at(i)] = finished(s); });
    }
}

// What each part makes by itself: each warp goes through an eighth of it, and nobody waits for others before the end.
KERNEL __launch_bounds__(256) totals(Rows rows, i64 parts, i64 size, const T* x, const T* factors, State* to) {
    __shared__ State warps[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (i64 piece = blockIdx.x; piece < rows.count * parts; piece += gridDim.x) {
        i64 part, row = kiln::divide(piece, parts, &part), start = part * size + warp * (size / 8), end = start + size / 8;
        const Row elements = row_of(rows, row, x, factors);
        State total = nothing();
        for (i64 from = start; from < end; from += 32) {
            i64 i = from + lane;
            total = join(total, along_warp(i < rows.length ? elements.state(i) : nothing()));
        }
        if (lane == 31) warps[warp] = total;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int other = 1; other < 8; other++) warps[0] = join(warps[0], warps[other]);
            to[piece] = warps[0];
        }
        __syncthreads();
    }
}

// What each part makes with those before it, in place, a row by one block.
KERNEL __launch_bounds__(256) along_parts(i64 rows, i64 parts, State* sums) {
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        State* of = sums + row * parts;
        along_block(
            0, parts, nothing(), [&](i64 i) { return of[i]; }, [&](i64 i, State s) { of[i] = s; });
    }
}
