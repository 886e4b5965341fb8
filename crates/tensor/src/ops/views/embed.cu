// An operand in a larger tensor, at evenly spaced places of each dimension, and a number elsewhere.

struct Ranges {
    // Of the result; then of the operand's place in it; then the operand's own steps.
    i64 dims[RANK], start[RANK], step[RANK], length[RANK], stride[RANK];
};

KERNEL __launch_bounds__(256) embed(i64 count, Ranges r, f64 fill, const T* x, T* y) {
    T other = kiln::store<T>(fill);
    for (i64 i = THREAD; i < count; i += THREADS) {
        i64 rest = i, at = 0;
        bool inside = true;
#pragma unroll
        for (int axis = RANK - 1; axis >= 0; axis--) {
            i64 coordinate, beside = 0;
            rest = kiln::divide(rest, r.dims[axis], &coordinate);
            bool backwards = r.step[axis] < 0;
            i64 distance = backwards ? r.start[axis] - coordinate : coordinate - r.start[axis];
            i64 step = backwards ? -r.step[axis] : r.step[axis];
            i64 place = distance < 0 ? -1 : step == 1 ? distance : kiln::divide(distance, step, &beside);
            inside = inside && place >= 0 && place < r.length[axis] && beside == 0;
            at += place * r.stride[axis];
        }
        y[i] = inside ? x[at] : other;
    }
}
