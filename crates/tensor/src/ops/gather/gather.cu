// Reading and writing at indices. An index out of range is told and then passed over.

#ifdef I
INLINE bool is_valid(i64 index, i64 length, i64 position, kiln::Faults faults) {
    if (index >= 0 && index < length) return true;
    kiln::fault(faults, position, index);
    return false;
}

// What is done where there is no element to read or write.
KERNEL __launch_bounds__(256) check(i64 count, i64 length, const I* index, kiln::Faults faults) {
    for (i64 i = THREAD; i < count; i += THREADS) is_valid(kiln::whole(index[i]), length, i, faults);
}
#endif

#ifdef PIECE
struct __align__(16) Sixteen { u64 v[2]; };

struct Selection {
    i64 pieces, inner, indices, length;
};

// Slices of a dense operand, in pieces that an instruction can copy: `inner` of them make up the part of a slice that is
// adjacent.
KERNEL __launch_bounds__(256) select(Selection s, const PIECE* x, const I* index, PIECE* y, kiln::Faults faults) {
    for (i64 i = THREAD; i < s.pieces; i += THREADS) {
        i64 within, position;
        i64 outer = kiln::divide(kiln::divide(i, s.inner, &within), s.indices, &position);
        i64 at = kiln::whole(index[position]);
        y[i] = is_valid(at, s.length, position, faults) ? x[(outer * s.length + at) * s.inner + within] : PIECE();
    }
}
#endif

#ifdef TAKE
// Of each element's coordinates one comes from the indices: operand and indices are walked through together, `step` is that
// of the operand along the axis.
KERNEL __launch_bounds__(256)
    take(i64 count, i64 length, i64 step, kiln::Walk<RANK, 2> walk, const T* x, const I* index, T* y, kiln::Faults faults) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        i64 places[2];
        walk.at(i, places);
        i64 at = kiln::whole(index[places[1]]);
        y[i] = is_valid(at, length, places[1], faults) ? x[places[0] + at * step] : T();
    }
}
#endif

// Joining at indices takes the indices in the order of what they name, with where each stood: then each element of the result
// joins those that name it in their order. No sum depends on which thread comes first.

#ifdef ROW_KEYS
KERNEL __launch_bounds__(256)
    row_keys(i64 count, i64 length, i64 inner, const I* index, Pair* pairs, kiln::Faults faults) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        i64 at = kiln::whole(index[i]);
        pairs[i].key = is_valid(at, length, i, faults) ? (u64)at : ~0ull;
        pairs[i].at = i * inner;
    }
}
#endif

#ifdef ELEMENT_KEYS
// The walk: where in the result, but for the axis, and where in the source.
KERNEL __launch_bounds__(256)
    element_keys(i64 count, i64 length, i64 step, kiln::Walk<RANK, 2> walk, const I* index, Pair* pairs,
                 kiln::Faults faults) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        i64 places[2];
        walk.at(i, places);
        i64 at = kiln::whole(index[i]);
        pairs[i].key = is_valid(at, length, i, faults) ? (u64)(places[0] + at * step) : ~0ull;
        pairs[i].at = places[1];
    }
}
#endif

#ifdef STARTS
// Where among the sorted pairs those of each key begin, and in one more place where all end.
KERNEL __launch_bounds__(256) starts(i64 length, i64 count, const Pair* pairs, i64* y) {
    for (i64 i = THREAD; i <= length; i += THREADS) {
        i64 low = 0, high = count;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            if (pairs[middle].key < (u64)i) low = middle + 1;
            else high = middle;
        }
        y[i] = low;
    }
}
#endif

#ifdef SUM
struct Addition {
    i64 count, length, inner, outer_step;
};

namespace kiln {
template <class C> INLINE C last(C, C b) { return b; }
}

// A sum is kept in double precision and rounded once: of the many that may meet in one element, in half precision 2048
// and 1 are 2048. Where all indices are equal, the threads of one row add them all while the others have nothing to do.
KERNEL __launch_bounds__(256)
    join(Addition a, const T* x, const i64* starts, const Pair* pairs, const T* source, T* y) {
    for (i64 i = THREAD; i < a.count; i += THREADS) {
        i64 within, row;
        i64 outer = kiln::divide(kiln::divide(i, a.inner, &within), a.length, &row);
        const T* from = source + outer * a.outer_step + within;
        SUM sum = kiln::load<SUM>(x[i]);
        const i64 end = starts[row + 1];
        for (i64 pair = starts[row]; pair < end; pair++)
            sum = kiln::JOIN(sum, kiln::load<SUM>(from[pairs[pair].at]));
        y[i] = kiln::store<T>(sum);
    }
}
#endif
