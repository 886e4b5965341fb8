// The gradient of the softmax of rows, or of its logarithm.

KERNEL __launch_bounds__(256) gradient(Rows rows, const T* y, const T* dy, T* dx) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        i64 first = is_row ? rows.first(row) : 0, length = is_row ? rows.length : 0;
        C sum = (C)0;
        for (i64 i = lane; i < length; i += LANES) {
            i64 at = first + i * rows.inner;
            sum += LOG ? kiln::load<C>(dy[at]) : kiln::load<C>(y[at]) * kiln::load<C>(dy[at]);
        }
        sum = total(sum, lane);
        for (i64 i = lane; i < length; i += LANES) {
            i64 at = first + i * rows.inner;
            C result = kiln::load<C>(y[at]), slope = kiln::load<C>(dy[at]);
            dx[at] = kiln::store<T>(LOG ? slope - kiln::exp(result) * sum : result * (slope - sum));
        }
    }
}
