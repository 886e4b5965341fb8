// An operand copied to its place among others, in pieces of one element or several.

struct __align__(16) Sixteen { u64 v[2]; };

JOINABLE(256, copy, i64 count, i64 start, kiln::Walk<RANK, 2> walk, const PIECE* x, PIECE* y) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        i64 places[2];
        walk.at(i, places);
        y[start + places[1]] = x[places[0]];
    }
}
