// Cross-entropy of rows of logits and their labels, and its gradient. A label that is no class is told and counts nothing.

INLINE bool is_class(i64 label, i64 classes, i64 row, kiln::Faults faults) {
    if (label >= 0 && label < classes) return true;
    kiln::fault(faults, row, label);
    return false;
}

#ifdef FORWARD
KERNEL __launch_bounds__(256) forward(Rows rows, const T* x, const I* labels, T* y, kiln::Faults faults) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        const T* logits = x + (is_row ? row : 0) * rows.length;
        Sums s = sums_of(logits, is_row ? rows.length : 0, 1, lane);
        if (is_row && lane == 0) {
            i64 label = kiln::whole(labels[row]);
            // Not negated: of a certain label the loss is 0 and not -0.
            y[row] = is_class(label, rows.length, row, faults)
                         ? kiln::store<T>((C)0 - ((kiln::load<C>(logits[label]) - s.top) - kiln::ln(s.total)))
                         : kiln::store<T>((C)0);
        }
    }
}
#else
KERNEL __launch_bounds__(256)
    backward(Rows rows, const T* x, const I* labels, const T* dy, T* y, kiln::Faults faults) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        i64 first = (is_row ? row : 0) * rows.length;
        Sums s = sums_of(x + first, is_row ? rows.length : 0, 1, lane);
        if (is_row) {
            i64 label = kiln::whole(labels[row]);
            if (lane == 0) is_class(label, rows.length, row, faults);
            C scale = kiln::load<C>(dy[row]), share = (C)1 / s.total;
            for (i64 i = lane; i < rows.length; i += LANES) {
                C p = kiln::exp(kiln::load<C>(x[first + i]) - s.top) * share;
                y[first + i] = kiln::store<T>((p - (i == label ? (C)1 : (C)0)) * scale);
            }
        }
    }
}
#endif
