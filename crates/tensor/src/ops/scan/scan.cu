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
// What a piece makes of the value before it: the value times a factor, and a term.
struct State {
    C factor, term;
    bool some;
};
INLINE State nothing() {
    State s = {(C)1, (C)0, false};
    return s;
}
INLINE State one(T x, T factor, i64) {
    State s = {kiln::load<C>(factor), kiln::load<C>(x), true};
    return s;
}
INLINE State join(State a, State b) {
    if (!a.some || !b.some) return a.some ? a : b;
    State s = {kiln::mul(b.factor, a.factor), kiln::add(kiln::mul(b.factor, a.term), b.term), true};
    return s;
}
INLINE State above(State s, int lanes) {
    State other;
    other.factor = __shfl_up_sync(0xffffffffu, s.factor, lanes);
    other.term = __shfl_up_sync(0xffffffffu, s.term, lanes);
    other.some = __shfl_up_sync(0xffffffffu, (int)s.some, lanes) != 0;
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

// A row by one block: as many elements as it has threads, then the next ones.
KERNEL __launch_bounds__(256) shared(Rows rows, const T* x, const T* factors, U* y) {
    __shared__ State warps[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (i64 row = blockIdx.x; row < rows.count; row += gridDim.x) {
        i64 first = rows.first(row);
        State carried = nothing();
        for (i64 start = 0; start < rows.length; start += 256) {
            i64 i = start + threadIdx.x;
            i64 place = REVERSE ? rows.length - 1 - i : i, at = first + place * rows.inner;
            State s = i < rows.length ? one(x[at], factors[at], place) : nothing();
#pragma unroll
            for (int lanes = 1; lanes < 32; lanes *= 2) {
                State before = above(s, lanes);
                if (lane >= lanes) s = join(before, s);
            }
            if (lane == 31) warps[warp] = s;
            __syncthreads();
            State before = carried;
            for (int other = 0; other < 8; other++) {
                if (other == warp) s = join(before, s);
                before = join(before, warps[other]);
            }
            carried = before;
            if (i < rows.length) y[at] = finished(s);
            __syncthreads();
        }
    }
}
