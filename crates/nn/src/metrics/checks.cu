// Samples sorted into cells, and what belongs in none.

KERNEL __launch_bounds__(256) cells(i64 n, i64 classes, const i64* actual, const i64* predicted, const f64* weights, i64* cells,
                                    kiln::Faults faults) {
    for (i64 i = THREAD; i < n; i += THREADS) {
        i64 a = actual[i], p = predicted[i];
        bool exists = a >= 0 && a < classes && p >= 0 && p < classes;
        if (weights[i] != 0.0 && !exists) kiln::fault(faults, i, (i64)((u64)a << 32 | (u64)(u32)p));
        cells[i] = exists ? a * classes + p : 0;
    }
}

// The bounds are in ascending order.
KERNEL __launch_bounds__(256) bounds_below(i64 n, i64 count, const f64* bounds, const f64* scores, const f64* weights,
                                           i64* below, kiln::Faults faults) {
    for (i64 i = THREAD; i < n; i += THREADS) {
        f64 score = scores[i];
        bool counts = weights[i] != 0.0;
        if (counts && !(score >= 0.0 && score <= 1.0)) kiln::fault(faults, i, score);
        i64 low = 0, high = counts ? count : 0;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            if (bounds[middle] < score) low = middle + 1;
            else high = middle;
        }
        below[i] = low;
    }
}
