// Softmax of rows, or its logarithm.

KERNEL __launch_bounds__(256) softmax(Rows rows, const T* x, T* y) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        i64 first = is_row ? rows.first(row) : 0;
        Sums s = sums_of(x + first, is_row ? rows.length : 0, rows.inner, lane);
#if LOG
        // Two subtractions: the sum of a large maximum and a small logarithm would lose the logarithm.
        C total = kiln::ln(s.total);
#else
        C share = (C)1 / s.total;
#endif
        for (i64 i = lane; is_row && i < rows.length; i += LANES) {
            i64 at = first + i * rows.inner;
            C below = kiln::load<C>(x[at]) - s.top;
#if LOG
            y[at] = kiln::store<T>(below - total);
#else
            y[at] = kiln::store<T>(kiln::exp(below) * share);
#endif
        }
    }
}
